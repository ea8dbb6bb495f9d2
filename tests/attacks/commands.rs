//! The same attacks through the agent's own commands, as a suite would run them that
//! knows nothing of an agent's inside: exit code, one reason.

use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::succession::verify_first_root;
use gnomon_schemas::trust::{CertificateIdentity, Proof};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::form::{Against, Folder, Hears, Step};
use super::world::{DEVICE, NOW_MS, PROFILE, config, directed};
use super::{committed, first_root};

/// Attacks that need what a device remembers beside its floor, and why.
const BENCH_ONLY: &[(&str, &str)] = &[
    ("same-version-other-content", "the command knows the floor's version, not its digest"),
    ("announced-huge-module", "the command holds no modules, so it has no room to run out of"),
    ("jump-of-the-clock-is-bounded", "the clock is moved by a document accepted before"),
];

/// What one command has said.
struct Verdict {
    code: Option<i32>,
    reason: Option<String>,
    said: String,
}

fn run(arguments: &[String]) -> Verdict {
    let output = Command::new(env!("CARGO_BIN_EXE_gnomon-agent-under-test"))
        .args(arguments)
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Verdict {
        code: output.status.code(),
        reason: found["reason"].as_str().map(str::to_owned),
        said: format!(
            "{arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// Files in a folder of its own.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn document_of(envelope: &[u8]) -> Option<Document> {
    let envelope: Envelope = serde_json::from_slice(envelope).ok()?;
    let payload = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        envelope.payload.as_bytes(),
    );
    serde_json::from_slice(&payload.ok()?).ok()
}

/// The command line for one refused step; none where a command cannot ask that.
fn verify_document(scratch: &Scratch, folder: &Folder, index: usize) -> Option<Vec<String>> {
    let attack = &folder.attack.steps[index];
    let before = || folder.attack.steps[..index].iter().filter(|step| !step.refused);
    let mut arguments = vec!["verify-document".to_owned()];
    let mut give = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
    give("root", scratch.file("root.json", &first_root(folder, attack)));
    let is_root = |step: &&Step| step.hears == Hears::TrustRoot;
    for (number, step) in before().chain([attack]).filter(is_root).enumerate() {
        give("root", scratch.file(&format!("root-{number}.json"), &folder.bytes(step)));
    }
    let document = match attack.hears {
        Hears::Document => folder.bytes(attack),
        Hears::TrustRoot => directed(&config(1)),
        // Their bytes come on topics of their own: a command has none.
        Hears::Module | Hears::Ack | Hears::Silence => return None,
    };
    let accepted = before().rfind(|step| step.hears == Hears::Document);
    if let Some(accepted) = accepted {
        let version = document_of(&folder.bytes(accepted)).unwrap().version;
        give("floor", version.to_string());
    }
    give("document", scratch.file("document.json", &document));
    give("device", DEVICE.to_owned());
    give("profile", scratch.file("profile.json", PROFILE));
    let lowest_ms = folder.attack.given.lowest_ms.unwrap_or(NOW_MS);
    give("lowest-time-ms", lowest_ms.to_string());
    Some(arguments)
}

#[test]
fn the_agents_commands_give_every_attack_the_same_reason() {
    let mut offences = vec![];
    let mut runs = 0;
    let is_bench_only = |folder: &&Folder| BENCH_ONLY.iter().any(|(name, _)| *name == folder.name);
    for folder in committed().iter().filter(|folder| !is_bench_only(folder)) {
        for (index, step) in folder.attack.steps.iter().enumerate().filter(|(_, s)| s.refused) {
            let scratch = Scratch::new();
            let Some(arguments) = verify_document(&scratch, folder, index) else { continue };
            let verdict = run(&arguments);
            runs += 1;
            let expected = Some(folder.attack.expected.code());
            if verdict.code != Some(1) || verdict.reason.as_deref() != expected {
                offences.push(format!("{}: {step:?}: {}", folder.name, verdict.said));
            }
        }
    }
    assert!(offences.is_empty(), "\n  {}", offences.join("\n  "));
    assert!(runs >= 200, "{runs} runs");
    for (name, _) in BENCH_ONLY {
        assert!(committed().iter().any(|folder| folder.name == *name), "{name} is gone");
    }
}

#[test]
fn what_is_right_is_verified_by_the_agents_commands() {
    let scratch = Scratch::new();
    let root = super::world::rooted(&super::world::trust_root());
    let right = super::world::approved(super::world::with_inline(1, super::world::MODULE));
    let verdict = run(&[
        "verify-document".into(),
        "--root".into(),
        scratch.file("root.json", &root),
        "--document".into(),
        scratch.file("document.json", &directed(&right)),
        "--device".into(),
        DEVICE.into(),
        "--profile".into(),
        scratch.file("profile.json", PROFILE),
        "--lowest-time-ms".into(),
        NOW_MS.to_string(),
    ]);
    assert_eq!(verdict.code, Some(0), "{}", verdict.said);
}

/// The command line for the bundle inside one document.
fn verify_bundle(scratch: &Scratch, folder: &Folder, step: &Step) -> Option<Vec<String>> {
    let root = verify_first_root(&first_root(folder, step)).unwrap().into_payload();
    let known = &root.publishers[&"acme-controls".parse().unwrap()];
    let Proof::Certificate { identity, issuer, sigstore_root } = &known.proof else { return None };
    // An argument can hold no zero byte, and its type is told by its form.
    let identity = match identity {
        CertificateIdentity::Uri { value } if !value.contains('\0') => value,
        _ => return None,
    };
    let document = document_of(&folder.bytes(step))?;
    let listed = document.modules.into_values().next()?;
    let ModuleEvidence::Bundle { bundle, .. } = listed.evidence else { return None };
    let pinned = root.sigstore_roots[sigstore_root].as_bytes().to_vec();
    let lowest_ms = folder.attack.given.lowest_ms.unwrap_or(NOW_MS);
    Some(vec![
        "verify-bundle".into(),
        "--bundle".into(),
        scratch.file("bundle.json", &bundle.0),
        "--trusted-root".into(),
        scratch.file("trusted_root.json", &pinned),
        format!("--certificate-identity={identity}"),
        format!("--certificate-oidc-issuer={issuer}"),
        "--lowest-time-ms".into(),
        lowest_ms.to_string(),
        scratch.file("artifact", &listed.inline?.0),
    ])
}

#[test]
fn the_agents_commands_give_every_bundle_the_same_reason() {
    let mut offences = vec![];
    let mut runs = 0;
    for folder in committed().iter().filter(|f| f.attack.against == Against::Bundle) {
        for step in folder.attack.steps.iter().filter(|step| step.refused) {
            let scratch = Scratch::new();
            let Some(arguments) = verify_bundle(&scratch, folder, step) else { continue };
            let verdict = run(&arguments);
            runs += 1;
            let expected = Some(folder.attack.expected.code());
            if verdict.code != Some(1) || verdict.reason.as_deref() != expected {
                offences.push(format!("{}: {step:?}: {}", folder.name, verdict.said));
            }
        }
    }
    assert!(offences.is_empty(), "\n  {}", offences.join("\n  "));
    assert!(runs >= 40, "{runs} runs");
    assert!(Path::new(env!("CARGO_BIN_EXE_gnomon-agent-under-test")).is_file());
}
