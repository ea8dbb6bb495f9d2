//! Fixed keys, the example world that all files in `examples/` tell of, and where they lie.
//!
//! Nothing here is random: the same seeds give the same bytes in every checkout.

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::test_runner::{Config, FileFailurePersistence};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;
use serde_json::json;
use std::{fs, path::PathBuf};

use gnomon_schemas::ack::{Ack, AckSchema};
use gnomon_schemas::approval::{Approval, ApprovalSchema, Grant};
use gnomon_schemas::audit::{AuditCheckpoint, AuditCheckpointSchema};
use gnomon_schemas::device::{TickAnswer, TickRequest};
use gnomon_schemas::document::{Document, InlineBytes, ModuleRef};
use gnomon_schemas::envelope::{Envelope, Payload, Sign};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::module::{Manifest, ModuleEvidence};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::reported::{Reported, Status};
use gnomon_schemas::results::Results;
use gnomon_schemas::trust::{Role, TrustRoot};
use gnomon_schemas::{BootId, Digest};

/// 2026-01-01T00:00:00Z.
pub const ISSUED_AT_MS: u64 = 1_767_225_600_000;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// One Ed25519 key made from a name, for signing in tests.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The key whose seed is the digest of `name`.
    pub fn named(name: &str) -> Signer {
        let seed = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
        Signer(Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).unwrap())
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::from_ed25519(self.0.public_key().as_ref()).unwrap()
    }

    /// A signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// An envelope around `payload`, signed by each of `signers` in this order.
pub fn seal<P: Payload>(payload: &[u8], signers: &[&Signer]) -> Envelope {
    let sign: Vec<_> = signers.iter().map(|signer| |message: &[u8]| signer.sign(message)).collect();
    let signers: Vec<(String, Sign<'_>)> = signers
        .iter()
        .zip(&sign)
        .map(|(signer, sign)| (signer.public().id().to_string(), sign as Sign<'_>))
        .collect();
    Envelope::seal::<P>(payload, &signers)
}

/// A role of these keys.
pub fn role(signers: &[&Signer], threshold: usize) -> Role {
    Role { keys: signers.iter().map(|signer| signer.public()).collect(), threshold }
}

/// This many random cases; a seed that fails is kept beside the test's source.
pub fn cases(cases: u32) -> Config {
    let kept = FileFailurePersistence::WithSource("regressions");
    Config { failure_persistence: Some(Box::new(kept)), ..Config::with_cases(cases) }
}

/// Whether generated files are rewritten instead of compared.
pub fn blessing() -> bool {
    std::env::var_os("GNOMON_BLESS").is_some_and(|value| value == "1")
}

/// A path inside the crate.
pub fn path(inside: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(inside)
}

/// The bytes of a file inside the crate.
pub fn read(inside: &str) -> Vec<u8> {
    fs::read(path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
}

/// Compares a committed file with what it should be, or writes it when blessing.
pub fn hold(inside: &str, expected: &[u8]) {
    if blessing() {
        fs::create_dir_all(path(inside).parent().unwrap()).unwrap();
        fs::write(path(inside), expected).unwrap();
    }
    assert!(
        read(inside) == expected,
        "{inside} is not what the types make: run GNOMON_BLESS=1 cargo test -p gnomon-schemas"
    );
}

/// Two-space JSON with a final newline: the form of every example.
pub fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap();
    bytes.push(b'\n');
    bytes
}

/// The water heater's profile and its digest.
pub fn profile() -> (Profile, Digest) {
    Profile::parse(&read("examples/profile.json")).unwrap()
}

/// The manifest of the example module in control.
pub fn manifest() -> Manifest {
    from(json!({
        "name": "water-heater-tou",
        "version": "1.0.0",
        "release_counter": 1,
        "function": "setpoint",
    }))
}

/// A component that holds nothing but this manifest.
pub fn component(manifest: &Manifest) -> Vec<u8> {
    let name = gnomon_schemas::module::MANIFEST_SECTION.as_bytes();
    let json = serde_json::to_vec(manifest).unwrap();
    let body = [&[u8::try_from(name.len()).unwrap()], name, &json].concat();
    let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
    let (low, high) = (body.len() & 0x7f, body.len() >> 7);
    bytes.extend([u8::try_from(low).unwrap() | 0x80, u8::try_from(high).unwrap()]);
    bytes.extend(body);
    bytes
}

/// The candidate's bytes: the price planner.
pub fn candidate() -> Vec<u8> {
    let next = json!({
        "name": "water-heater-price",
        "version": "2.0.0",
        "release_counter": 2,
        "function": "setpoint",
    });
    component(&from(next))
}

/// What the document says of `bytes`.
pub fn listed(bytes: &[u8], manifest: Manifest, inline: bool) -> ModuleRef {
    ModuleRef {
        name: manifest.name,
        version: manifest.version,
        release_counter: manifest.release_counter,
        size_bytes: bytes.len() as u64,
        evidence: ModuleEvidence::Key {
            publisher: "controls-team".parse().unwrap(),
            signature: STANDARD.encode(Signer::named("publisher").sign(bytes)),
        },
        inline: inline.then(|| InlineBytes(bytes.to_vec())),
    }
}

/// The example document: one module in control, one beside it.
pub fn document() -> Document {
    let active = component(&manifest());
    let candidate = candidate();
    let (of_active, of_candidate) = (Digest::of(&active), Digest::of(&candidate));
    let later: Manifest = from(json!({
        "name": "water-heater-price", "version": "2.0.0", "release_counter": 2,
        "function": "setpoint",
    }));
    let mut document: Document = from(json!({
        "schema": "gnomon.desired.v1",
        "fleet": "acme",
        "device": "heater-001",
        "profile": profile().1,
        "epoch": 1,
        "version": 7,
        "issued_at_ms": ISSUED_AT_MS,
        "expires_at_ms": ISSUED_AT_MS + 30 * DAY_MS,
        "on_expiry": "hold",
        "config": { "comfort_min_c": 45, "site": "Guelph, unit 12", "vacation": false },
        "functions": {
            "setpoint": {
                "active": {
                    "module": of_active,
                    "params": { "comfort_c": 60.0, "peak_from_h": 7.0, "peak_to_h": 19.0 },
                },
                "candidates": [
                    { "module": of_candidate, "params": { "cheap_quantile": 0.25 } },
                ],
                "bounds": { "setpoint_c": { "max": 65.0 } },
                "budget": { "fuel": 100_000, "memory_bytes": 1_048_576 },
                "golden": [
                    {
                        "inputs": { "hour": 12.0, "tank_temp_c": 54.25 },
                        "outputs": { "setpoint_c": 60.0 },
                        "tolerance": 0.5,
                    },
                ],
                "probation": { "ticks": 60, "faults_max": 1, "clamps_max": 10 },
            },
        },
        "reporting": {
            "summary_ticks": 60,
            "record_every": 60,
            "divergent_records_max": 2,
            "record_bytes_per_day_max": 262_144,
        },
    }));
    document.modules.insert(of_active, listed(&active, manifest(), true));
    document.modules.insert(of_candidate, listed(&candidate, later, false));
    document.approvals = vec![approve(&approval(&document))];
    document
}

/// The approval that the document needs, for its device.
pub fn approval(document: &Document) -> Approval {
    Approval {
        schema: ApprovalSchema::V1,
        fleet: document.fleet.clone(),
        devices: Some([document.device.clone()].into()),
        approved_at_ms: ISSUED_AT_MS - 60_000,
        grant: Grant::of(document),
    }
}

/// The approval under the approver's signature.
pub fn approve(approval: &Approval) -> Envelope {
    seal::<Approval>(&serde_json::to_vec(approval).unwrap(), &[&Signer::named("approver")])
}

/// The example trust root: two of three root keys, one director, one publisher.
pub fn trust_root() -> TrustRoot {
    let key = |name| Signer::named(name).public();
    from(json!({
        "schema": "gnomon.trust-root.v1",
        "fleet": "acme",
        "version": 1,
        "epoch": 1,
        "expires_at_ms": ISSUED_AT_MS + 365 * DAY_MS,
        "roles": {
            "root": { "keys": [key("root-a"), key("root-b"), key("root-c")], "threshold": 2 },
            "director": { "keys": [key("director")], "threshold": 1 },
            "approver": { "keys": [key("approver")], "threshold": 1 },
        },
        "publishers": {
            "controls-team": {
                "proof": { "kind": "key", "key": key("publisher") },
                "profiles": ["water-heater"],
                "functions": ["setpoint"],
            },
        },
        "denied": [Digest::of(b"a module that was recalled")],
        "release_counter_min": { "water-heater-tou": 1 },
    }))
}

fn boot() -> BootId {
    BootId::from_random([0x5a; 16])
}

fn engine() -> Digest {
    Digest::of(b"wasmtime 48, cranelift, fuel, canonical NaN")
}

/// The example reported document.
pub fn reported() -> Reported {
    let (active, candidate) = (Digest::of(&component(&manifest())), Digest::of(&candidate()));
    from(json!({
        "schema": "gnomon.reported.v1",
        "fleet": "acme",
        "device": "heater-001",
        "boot": boot(),
        "sequence": 3,
        "at_ms": ISSUED_AT_MS + 60_000,
        "profile": profile().1,
        "engine": engine(),
        "agent_version": "0.1.0",
        "trust_version": 1,
        "state": "in_sync",
        "seen": 7,
        "applied": 7,
        "applied_digest": Digest::of(&pretty(&document())),
        "refusal": {
            "reason": "rollback",
            "detail": "version 6 is not above 7, the highest accepted",
        },
        "accepted": { "epoch": 1, "version": 7, "digest": Digest::of(&pretty(&document())) },
        "on_probation": true,
        "refused": { "rollback": 1 },
        "functions": {
            "setpoint": {
                "active": active,
                "previous": null,
                "candidates": [candidate],
                "executed": [active, candidate],
            },
        },
    }))
}

/// The example batch of results: an hour, and one evaluation of it.
pub fn results() -> Results {
    let (active, candidate) = (Digest::of(&component(&manifest())), Digest::of(&candidate()));
    let hour = json!({
        "function": "setpoint",
        "version": 7,
        "from_ms": ISSUED_AT_MS + 60_000,
        "to_ms": ISSUED_AT_MS + 60 * 60_000,
        "ticks": 60,
        "memory_bytes_max": 65_536,
    });
    let with = |more: serde_json::Value| {
        let mut summary = hour.clone();
        summary.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        summary
    };
    from(json!({
        "schema": "gnomon.results.v1",
        "fleet": "acme",
        "device": "heater-001",
        "boot": boot(),
        "sequence": 12,
        "engine": engine(),
        "summaries": [
            with(json!({
                "module": active, "role": "active", "evaluations": 60,
                "sources": { "active": 60 },
                "fuel": { "412": 60 }, "time_us": { "31": 55, "42": 5 },
            })),
            with(json!({
                "module": candidate, "role": "candidate", "evaluations": 58,
                "faults": { "out_of_fuel": 1 }, "skipped": 1,
                "clamped": { "setpoint_c": { "range": 2 } },
                "fuel": { "9856": 58 }, "time_us": { "112": 58 },
                "differences": {
                    "setpoint_c": {
                        "compared": 58, "mismatches": 12, "sum": -96.0, "sum_abs": 96.0,
                        "max_abs": 8.0, "abs_milli": { "0": 46, "7936": 12 },
                    },
                },
            })),
        ],
        "records": [{
            "at_ms": ISSUED_AT_MS + 60_000,
            "tick": 1,
            "function": "setpoint",
            "module": active,
            "role": "active",
            "inputs": { "hour": 0.016, "tank_temp_c": 54.25 },
            "params": { "comfort_c": 60.0, "peak_from_h": 7.0, "peak_to_h": 19.0 },
            "outputs": { "setpoint_c": 60.0 },
            "actuated": { "setpoint_c": 60.0 },
            "fuel": 412,
            "time_us": 31,
        }],
        "refusals": [{
            "at_ms": ISSUED_AT_MS + 90_000,
            "version": 6,
            "refusal": {
                "reason": "rollback",
                "detail": "version 6 is not above 7, the highest accepted",
            },
        }],
    }))
}

/// The example acknowledgement.
pub fn ack() -> Ack {
    Ack {
        schema: AckSchema::V1,
        fleet: "acme".parse().unwrap(),
        device: "heater-001".parse().unwrap(),
        boot: boot(),
        sequences: vec![10, 11, 12],
    }
}

/// The example checkpoint of an audit log.
pub fn audit_checkpoint() -> AuditCheckpoint {
    AuditCheckpoint {
        schema: AuditCheckpointSchema::V1,
        fleet: "acme".parse().unwrap(),
        size: 128,
        head: Digest::of(b"entry 128"),
        at_ms: ISSUED_AT_MS,
    }
}

/// The example request on the device's socket.
pub fn device_request() -> TickRequest {
    from(json!({
        "function": "setpoint", "inputs": { "hour": 0.016, "tank_temp_c": 54.25 },
    }))
}

/// Its answer.
pub fn device_answer() -> TickAnswer {
    from(json!({
        "outputs": { "setpoint_c": 65.0 }, "source": "active", "clamped": ["setpoint_c"],
    }))
}

/// The example status.
pub fn status() -> Status {
    from(json!({
        "schema": "gnomon.status.v1", "device": "heater-001", "boot": boot(), "online": true,
    }))
}

fn from<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}
