//! The invalid examples: each file is refused with exactly the text beside it.
//!
//! Blessing rewrites the sentence of an `.error` file, never its reason.

use std::collections::BTreeMap;
use std::fs;

use super::fixture::{self, Signer, blessing, path, pretty, read, seal};
use gnomon_schemas::ack::Ack;
use gnomon_schemas::audit::AuditCheckpoint;
use gnomon_schemas::device::TickRequest;
use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::{Envelope, Payload};
use gnomon_schemas::module::Manifest;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::reported::{Reported, Status};
use gnomon_schemas::results::Results;
use gnomon_schemas::strict::{ParseError, parse};
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::verify;
use gnomon_schemas::{Reason, Refusal, generate, limits};

/// Takes bytes as one wire type, as its receiver would.
fn take(kind: &str, bytes: &[u8]) -> Result<(), Refusal> {
    fn plain<T: serde::de::DeserializeOwned>(bytes: &[u8], max: usize) -> Result<(), Refusal> {
        Ok(parse::<T>(bytes, max).map(drop)?)
    }
    match kind {
        "ack" => plain::<Ack>(bytes, limits::ACK_BYTES_MAX),
        "audit-checkpoint" => plain::<AuditCheckpoint>(bytes, limits::AUDIT_CHECKPOINT_BYTES_MAX),
        "desired" => plain::<Document>(bytes, limits::DOCUMENT_BYTES_MAX),
        "device-request" => plain::<TickRequest>(bytes, limits::DEVICE_LINE_BYTES_MAX),
        "envelope" => {
            let director = fixture::trust_root().roles.director;
            Ok(verify::<Document>(bytes, &director).map(drop)?)
        }
        "json" => plain::<serde_json::Value>(bytes, limits::HTTP_JSON_BYTES_MAX),
        "manifest" => plain::<Manifest>(bytes, limits::STATUS_BYTES_MAX),
        "profile" => Ok(Profile::parse(bytes).map(drop)?),
        "reported" => plain::<Reported>(bytes, limits::REPORTED_BYTES_MAX),
        "results" => plain::<Results>(bytes, limits::RESULTS_BYTES_MAX),
        "status" => plain::<Status>(bytes, limits::STATUS_BYTES_MAX),
        "trust-root" => plain::<TrustRoot>(bytes, limits::TRUST_ROOT_BYTES_MAX),
        "trust-root-envelope" => {
            let root = fixture::trust_root().roles.root;
            Ok(verify::<TrustRoot>(bytes, &root).map(drop)?)
        }
        other => panic!("no type `{other}`"),
    }
}

const KINDS: [&str; 13] = [
    "ack",
    "audit-checkpoint",
    "desired",
    "device-request",
    "envelope",
    "json",
    "manifest",
    "profile",
    "reported",
    "results",
    "status",
    "trust-root",
    "trust-root-envelope",
];

/// Every invalid file by `kind/name`, with its bytes and the text beside it.
fn cases() -> BTreeMap<String, (Vec<u8>, String)> {
    let mut cases = BTreeMap::new();
    for kind in KINDS {
        let directory = path(&format!("examples/invalid/{kind}"));
        for entry in fs::read_dir(directory).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let extension = file.extension().unwrap().to_str().unwrap();
            assert!(file.with_extension("json").exists(), "no .json beside {}", file.display());
            if extension == "json" {
                let error = fs::read_to_string(file.with_extension("error"))
                    .unwrap_or_else(|error| panic!("beside {}: {error}", file.display()));
                cases.insert(format!("{kind}/{name}"), (fs::read(file).unwrap(), error));
            } else {
                assert_eq!(extension, "error", "{}", file.display());
            }
        }
    }
    cases
}

/// Writes the signed cases when blessing; else they must be what the keys make.
fn hold_case(kind: &str, name: &str, bytes: &[u8]) {
    fixture::hold(&format!("examples/invalid/{kind}/{name}.json"), bytes);
}

#[test]
fn every_invalid_example_earns_its_error() {
    signed_cases();
    let mut wrong = Vec::new();
    let cases = cases();
    for (case, (bytes, expected)) in &cases {
        let (kind, _) = case.split_once('/').unwrap();
        let found = match take(kind, bytes) {
            Ok(()) => "accepted".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        let (reason, _) = expected.trim_end().split_once(':').unwrap_or((expected.trim_end(), ""));
        let same_reason = found.split_once(':').is_some_and(|(code, _)| code == reason);
        if blessing() && same_reason {
            let file = path(&format!("examples/invalid/{case}.error"));
            fs::write(file, format!("{found}\n")).unwrap();
        } else if format!("{found}\n") != *expected {
            wrong.push(format!("{case}\n  expected {expected}  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 45, "only {} cases", cases.len());
    for kind in KINDS {
        let prefix = format!("{kind}/");
        assert!(cases.keys().filter(|case| case.starts_with(&prefix)).count() >= 2, "{kind}");
    }
}

/// What only the parser knows: forms that JSON Schema has no word for.
const BEYOND_JSON_SCHEMA: &[&str] = &[
    "desired/inline-not-base64",
    "desired/probation-over-u32",
    "desired/reporting-over-u32",
    "results/histogram-bucket-leading-zero",
    "trust-root/key-is-garbage",
    "trust-root/key-is-private",
];

#[test]
fn the_json_schemas_refuse_what_the_parser_refuses() {
    let schemas: BTreeMap<_, _> = generate::json_schemas()
        .into_iter()
        .map(|(stem, schema)| (stem, jsonschema::validator_for(schema.as_value()).unwrap()))
        .collect();
    let (mut compared, mut taken) = (0, Vec::new());
    for (case, (bytes, error)) in cases() {
        let (kind, _) = case.split_once('/').unwrap();
        let Some(schema) = schemas.get(kind) else { continue };
        if !error.starts_with("schema_violation: at") {
            continue;
        }
        let value = serde_json::from_slice(&bytes).unwrap();
        if schema.is_valid(&value) {
            taken.push(case);
        }
        compared += 1;
    }
    assert_eq!(taken, BEYOND_JSON_SCHEMA, "what JSON Schemas take and the parser refuses");
    assert!(compared >= 15, "only {compared} compared");
}

/// A document envelope with one thing changed.
fn envelope(change: impl FnOnce(&mut Envelope)) -> Vec<u8> {
    let document = pretty(&fixture::document());
    let mut envelope = seal::<Document>(&document, &[&Signer::named("director")]);
    change(&mut envelope);
    pretty(&envelope)
}

fn root_envelope(signers: &[&Signer]) -> Envelope {
    seal::<TrustRoot>(&pretty(&fixture::trust_root()), signers)
}

/// Envelopes that need a signature to be wrong in just one way.
fn signed_cases() {
    let document = pretty(&fixture::document());
    let (director, stranger) = (Signer::named("director"), Signer::named("stranger"));
    hold_case("envelope", "no-signature", &envelope(|e| e.signatures.clear()));
    hold_case("envelope", "wrong-payload-type", &envelope(|e| e.payload_type = "text/x".into()));
    hold_case("envelope", "payload-not-base64", &envelope(|e| e.payload.insert(0, '*')));
    let mut odd = document.clone();
    odd.resize(document.len().next_multiple_of(3) + 1, b'\n');
    let mut unpadded = seal::<Document>(&odd, &[&director]);
    let bare = unpadded.payload.trim_end_matches('=').to_owned();
    assert_eq!(bare.len() + 2, unpadded.payload.len());
    unpadded.payload = bare;
    hold_case("envelope", "payload-unpadded", &pretty(&unpadded));
    hold_case(
        "envelope",
        "payload-url-safe-base64",
        &envelope(|e| e.payload.insert_str(0, "-_-_")),
    );
    hold_case("envelope", "sig-not-base64", &envelope(|e| e.signatures[0].sig.push('!')));
    hold_case("envelope", "sig-empty", &envelope(|e| e.signatures[0].sig.clear()));
    hold_case("envelope", "sig-truncated", &envelope(|e| e.signatures[0].sig.truncate(40)));
    hold_case("envelope", "payload-changed", &envelope(|e| e.payload.replace_range(..4, "eyAK")));
    hold_case("envelope", "wrong-key", &pretty(&seal::<Document>(&document, &[&stranger])));
    hold_case(
        "envelope",
        "wrong-key-under-the-directors-keyid",
        &envelope(|e| {
            let forged = seal::<Document>(&document, &[&stranger]);
            e.signatures[0].sig.clone_from(&forged.signatures[0].sig);
        }),
    );
    // Signed by the right key, over the right bytes, as another type of payload.
    hold_case(
        "envelope",
        "signed-as-an-ack",
        &envelope(|e| {
            e.signatures = seal::<Ack>(&document, &[&director]).signatures;
        }),
    );
    let confused = seal::<Ack>(&pretty(&fixture::ack()), &[&director]);
    hold_case("envelope", "ack-in-its-own-envelope", &pretty(&confused));
    hold_case(
        "envelope",
        "ack-renamed-to-desired",
        &pretty(&Envelope { payload_type: Document::PAYLOAD_TYPE.into(), ..confused }),
    );
    let ack_as_document = seal::<Document>(&pretty(&fixture::ack()), &[&director]);
    hold_case("envelope", "ack-signed-as-desired", &pretty(&ack_as_document));
    let twice = String::from_utf8(document).unwrap().replacen("{", "{\"version\": 8,", 1);
    let twice = seal::<Document>(twice.as_bytes(), &[&director]);
    hold_case("envelope", "signed-payload-with-duplicate-key", &pretty(&twice));

    let (a, b, c) = (Signer::named("root-a"), Signer::named("root-b"), Signer::named("root-c"));
    hold_case("trust-root-envelope", "one-of-two", &pretty(&root_envelope(&[&a])));
    hold_case("trust-root-envelope", "one-key-twice", &pretty(&root_envelope(&[&a, &a])));
    let mut other_id = root_envelope(&[&a, &a]);
    other_id.signatures[1].keyid = Some(b.public().id().to_string());
    hold_case("trust-root-envelope", "one-key-twice-under-two-keyids", &pretty(&other_id));
    let mut one_id = root_envelope(&[&b, &stranger]);
    let id = one_id.signatures[0].keyid.clone();
    one_id.signatures[1].keyid = id;
    hold_case("trust-root-envelope", "duplicated-keyid", &pretty(&one_id));
    let mut director_beside = root_envelope(&[&c, &director]);
    hold_case("trust-root-envelope", "director-beside-one-root", &pretty(&director_beside));
    director_beside.signatures.clear();
    hold_case("trust-root-envelope", "no-signature", &pretty(&director_beside));
}

#[test]
fn a_duplicated_keyid_does_no_harm_where_the_keys_differ() {
    let mut envelope = root_envelope(&[&Signer::named("root-a"), &Signer::named("root-b")]);
    let id = envelope.signatures[0].keyid.clone();
    envelope.signatures[1].keyid = id;
    take("trust-root-envelope", &pretty(&envelope)).unwrap();
    envelope.signatures.iter_mut().for_each(|signature| signature.keyid = None);
    take("trust-root-envelope", &pretty(&envelope)).unwrap();
}

#[test]
fn one_byte_over_the_cap_is_refused_before_parsing() {
    let caps = [
        ("ack", limits::ACK_BYTES_MAX),
        ("desired", limits::DOCUMENT_BYTES_MAX),
        ("envelope", limits::DOCUMENT_BYTES_MAX),
        ("profile", limits::PROFILE_BYTES_MAX),
        ("reported", limits::REPORTED_BYTES_MAX),
        ("results", limits::RESULTS_BYTES_MAX),
        ("status", limits::STATUS_BYTES_MAX),
        ("trust-root", limits::TRUST_ROOT_BYTES_MAX),
        ("trust-root-envelope", limits::TRUST_ROOT_BYTES_MAX),
    ];
    for (kind, cap) in caps {
        let mut bytes = read(&format!("examples/{kind}.json"));
        bytes.resize(cap, b' ');
        take(kind, &bytes).unwrap_or_else(|refusal| panic!("{kind} at its cap: {refusal}"));
        bytes.push(b' ');
        let refusal = take(kind, &bytes).unwrap_err();
        assert_eq!(refusal.reason, Reason::TooLarge, "{kind}");
        assert!(refusal.detail.contains(&format!("{} bytes", cap + 1)), "{refusal}");
        // Not JSON at all, yet the size is what is told: nothing was parsed.
        assert_eq!(take(kind, &vec![b'x'; cap + 1]).unwrap_err().reason, Reason::TooLarge);
    }
    let error = ParseError::TooLarge { bytes: 3, bytes_max: 2 };
    assert_eq!(parse::<serde_json::Value>(b"[1]", 2), Err(error));
}
