//! The valid examples: what the types make of them, the signatures on them, and
//! whether they tell one story.

use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

use super::fixture::{self, Signer, hold, pretty, read, seal};
use gnomon_schemas::ack::Ack;
use gnomon_schemas::approval::Approval;
use gnomon_schemas::audit::AuditCheckpoint;
use gnomon_schemas::device::{TickAnswer, TickRequest};
use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::limits;
use gnomon_schemas::module::{JudgeEvidence, KeySignatures, Manifest, verify_module};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::reported::{Reported, Status};
use gnomon_schemas::results::Results;
use gnomon_schemas::succession::verify_first_root;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::verify;
use gnomon_schemas::{Digest, approval, content, generate, strict};

/// The stem of each example, the stem of its schema, and the cap of its kind.
const EXAMPLES: [(&str, &str); 14] = [
    ("ack", "ack"),
    ("approval", "approval"),
    ("audit-checkpoint", "audit-checkpoint"),
    ("desired", "desired"),
    ("device-answer", "device-answer"),
    ("device-request", "device-request"),
    ("envelope", "envelope"),
    ("manifest", "manifest"),
    ("profile", "profile"),
    ("reported", "reported"),
    ("results", "results"),
    ("status", "status"),
    ("trust-root", "trust-root"),
    ("trust-root-envelope", "envelope"),
];

#[test]
fn examples_are_what_the_types_make() {
    let document = pretty(&fixture::document());
    let root = pretty(&fixture::trust_root());
    let (a, b) = (Signer::named("root-a"), Signer::named("root-b"));
    hold("examples/ack.json", &pretty(&fixture::ack()));
    hold("examples/approval.json", &pretty(&fixture::approval(&fixture::document())));
    hold("examples/audit-checkpoint.json", &pretty(&fixture::audit_checkpoint()));
    hold("examples/desired.json", &document);
    hold("examples/device-answer.json", &pretty(&fixture::device_answer()));
    hold("examples/device-request.json", &pretty(&fixture::device_request()));
    let director = Signer::named("director");
    hold("examples/envelope.json", &pretty(&seal::<Document>(&document, &[&director])));
    hold("examples/manifest.json", &pretty(&fixture::manifest()));
    hold("examples/reported.json", &pretty(&fixture::reported()));
    hold("examples/results.json", &pretty(&fixture::results()));
    hold("examples/status.json", &pretty(&fixture::status()));
    hold("examples/trust-root.json", &root);
    hold("examples/trust-root-envelope.json", &pretty(&seal::<TrustRoot>(&root, &[&a, &b])));
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(stem: &str, bytes_max: usize) {
    let parsed: T = strict::parse(&read(&format!("examples/{stem}.json")), bytes_max)
        .unwrap_or_else(|error| panic!("{stem}: {error}"));
    for text in [serde_json::to_vec(&parsed).unwrap(), pretty(&parsed)] {
        let again: T = strict::parse(&text, bytes_max).unwrap();
        assert_eq!(again, parsed, "{stem}");
    }
}

#[test]
fn examples_survive_a_round_trip() {
    round_trip::<Ack>("ack", limits::ACK_BYTES_MAX);
    round_trip::<Approval>("approval", limits::APPROVAL_BYTES_MAX);
    round_trip::<AuditCheckpoint>("audit-checkpoint", limits::AUDIT_CHECKPOINT_BYTES_MAX);
    round_trip::<Document>("desired", limits::DOCUMENT_BYTES_MAX);
    round_trip::<TickAnswer>("device-answer", limits::DEVICE_LINE_BYTES_MAX);
    round_trip::<TickRequest>("device-request", limits::DEVICE_LINE_BYTES_MAX);
    round_trip::<Envelope>("envelope", limits::DOCUMENT_BYTES_MAX);
    round_trip::<Manifest>("manifest", limits::STATUS_BYTES_MAX);
    round_trip::<Profile>("profile", limits::PROFILE_BYTES_MAX);
    round_trip::<Reported>("reported", limits::REPORTED_BYTES_MAX);
    round_trip::<Results>("results", limits::RESULTS_BYTES_MAX);
    round_trip::<Status>("status", limits::STATUS_BYTES_MAX);
    round_trip::<TrustRoot>("trust-root", limits::TRUST_ROOT_BYTES_MAX);
    round_trip::<Envelope>("trust-root-envelope", limits::TRUST_ROOT_BYTES_MAX);
}

#[test]
fn examples_fit_their_json_schemas_and_no_other() {
    let schemas: Vec<_> = generate::json_schemas()
        .into_iter()
        .map(|(stem, schema)| (stem, jsonschema::validator_for(schema.as_value()).unwrap()))
        .collect();
    for (stem, own) in EXAMPLES {
        let value: serde_json::Value =
            serde_json::from_slice(&read(&format!("examples/{stem}.json"))).unwrap();
        for (name, schema) in &schemas {
            let error = schema.validate(&value).err().map(|error| error.to_string());
            assert_eq!(error.is_none(), *name == own, "{stem} against {name}: {error:?}");
        }
    }
}

#[test]
fn the_envelope_verifies_against_the_trust_root() {
    let root = verify_first_root(&read("examples/trust-root-envelope.json")).unwrap();
    assert_eq!(root.digest(), &Digest::of(&read("examples/trust-root.json")));
    let director = &root.payload().roles.director;
    let document = verify::<Document>(&read("examples/envelope.json"), director).unwrap();
    assert_eq!(document.digest(), &Digest::of(&read("examples/desired.json")));
    assert_eq!(document.into_payload(), fixture::document());
}

#[test]
fn the_examples_tell_one_story() {
    let (profile, digest) = fixture::profile();
    assert_eq!(digest, Digest::of(&read("examples/profile.json")));
    let document: Document =
        strict::parse(&read("examples/desired.json"), limits::DOCUMENT_BYTES_MAX).unwrap();
    let reported: Reported =
        strict::parse(&read("examples/reported.json"), limits::REPORTED_BYTES_MAX).unwrap();
    let results: Results =
        strict::parse(&read("examples/results.json"), limits::RESULTS_BYTES_MAX).unwrap();
    let ack: Ack = strict::parse(&read("examples/ack.json"), limits::ACK_BYTES_MAX).unwrap();
    assert_eq!((&document.profile, &reported.profile), (&digest, &digest));
    content::check(&document, &profile).unwrap();
    approval::check(&document, &fixture::trust_root()).unwrap();
    assert_eq!(reported.applied, Some(document.version));
    assert_eq!(reported.applied_digest, Some(Digest::of(&read("examples/desired.json"))));
    assert_eq!((&ack.boot, &results.boot), (&reported.boot, &reported.boot));
    assert!(ack.sequences.contains(&results.sequence));
    for record in &results.records {
        assert!(document.modules.contains_key(&record.module));
        for (name, value) in &record.inputs {
            let signal = &profile.signals[&name.parse().unwrap()];
            let number = signal.value_type.accept(value).unwrap().as_f64().unwrap();
            assert!(signal.range.unwrap().contains(number), "{name}");
        }
    }
    for summary in &results.summaries {
        let done = summary.evaluations + summary.skipped + summary.faults.values().sum::<u64>();
        assert_eq!((done, summary.fuel.count()), (summary.ticks, summary.evaluations));
    }
}

#[test]
fn the_example_modules_are_the_publishers() {
    let (profile, _) = fixture::profile();
    let document = fixture::document();
    let bytes = [fixture::component(&fixture::manifest()), fixture::candidate()];
    for bytes in bytes {
        let digest = Digest::of(&bytes);
        let listed = &document.modules[&digest];
        let place = (&profile, &"setpoint".parse().unwrap());
        let root = fixture::trust_root();
        let trust = (&root, &KeySignatures as &dyn JudgeEvidence, 0);
        let verified = verify_module(bytes.clone(), &digest, listed, place, trust).unwrap();
        assert_eq!((verified.bytes(), verified.digest()), (&bytes[..], &digest));
        assert!(listed.inline.as_ref().is_none_or(|inline| inline.0 == bytes));
    }
}
