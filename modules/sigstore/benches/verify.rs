//! What verification costs beside the bare signature checks that are in it.
//!
//! `cargo bench -p gnomon-sigstore`, with `-- --json` for a program to read. Every
//! figure is of the one run; what is compared takes turns, so that what disturbs one
//! round disturbs them all.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench stops at what it lacks")]

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::{Envelope, Payload as _, Sign, pre_authentication_encoding};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::trust::{CertificateIdentity, Role};
use gnomon_schemas::verify::verify;
use gnomon_sigstore::{Artifact, BundlePolicy, verify_bundle};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value as Json, json};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

const ROUNDS: usize = 200;
const CALLS_PER_ROUND: u32 = 5;
/// The size of the document's envelope.
const DOCUMENT_BYTES: usize = 64 * 1024;
const MODULE_BYTES: usize = 16 * 1024;
/// Later than any fixture was signed (Unix time, ms).
const NOW_MS: u64 = 4_000_000_000_000;

const METHOD: &str = "\
One thread; 200 rounds of 5 calls each, in which both sides take turns; a figure is the
median over the rounds. Bare is PublicKey::verifies (ring) over the very bytes that are
signed, as often as said, and nothing else.
  document  verify::<Document>: an envelope of 64 KiB, Ed25519, threshold 2 of 2; bare is
            two signature checks
  module    a detached ECDSA P-256 signature over a module of 16 KiB, from base64; bare
            is one check
  bundle    verify_bundle on the fixtures of tests/keyless, a small artifact; bare is one
            ECDSA P-256 check, though a keyless bundle holds about five signatures
            (artifact, certificate, its log's promise, log entry, checkpoint)";

fn main() {
    let rows = [document(), key(), bundle("good.json"), bundle("good-key.json")];
    let figures: Vec<Json> = rows.iter().map(figure).collect();
    let report = json!({ "method": METHOD, "rows": rows, "figures": figures });
    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", serde_json::to_string_pretty(&report).unwrap());
        return;
    }
    println!("{METHOD}\n");
    println!("{:<24} {:>10} {:>10} {:>12} {:>8}", "", "us", "bare us", "per second", "ratio");
    for row in rows {
        let figure = |name: &str| row[name].as_f64().unwrap();
        println!(
            "{:<24} {:>10.1} {:>10.1} {:>12.0} {:>8.2}",
            row["what"].as_str().unwrap(),
            figure("us"),
            figure("bare_us"),
            figure("per_second"),
            figure("ratio"),
        );
    }
}

/// A row as `fleet-sim bench` reads it.
fn figure(row: &Json) -> Json {
    json!({"what": row["what"], "value": row["us"], "unit": "us",
        "reference": "bare signature checks", "reference_value": row["bare_us"]})
}

/// Runs both sides in turns and says how they compare.
fn compare(what: &str, mut ours: impl FnMut(), mut bare: impl FnMut()) -> Json {
    let (mut of_ours, mut of_bare) = (vec![], vec![]);
    for round in 0..2 * ROUNDS {
        // Ours, bare, bare, ours: neither is always the one that comes first.
        let is_ours = matches!(round % 4, 0 | 3);
        let start = Instant::now();
        for _ in 0..CALLS_PER_ROUND {
            if is_ours { ours() } else { bare() }
        }
        let us = start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS_PER_ROUND);
        if is_ours { &mut of_ours } else { &mut of_bare }.push(us);
    }
    let (us, bare_us) = (median(of_ours), median(of_bare));
    json!({
        "what": what, "us": us, "bare_us": bare_us, "per_second": 1e6 / us,
        "ratio": us / bare_us,
    })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn document() -> Json {
    let keys = [(); 2].map(|()| {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()
    });
    let public = |key: &Ed25519KeyPair| PublicKey::from_ed25519(key.public_key().as_ref()).unwrap();
    let role = Role { keys: keys.iter().map(public).collect(), threshold: 2 };
    let example = include_bytes!("../../../schemas/examples/desired.json");
    let mut document: Document = serde_json::from_slice(example).unwrap();
    let sign = keys.each_ref().map(|key| |bytes: &[u8]| key.sign(bytes).as_ref().to_vec());
    let seal = |document: &Document| {
        let payload = serde_json::to_vec(document).unwrap();
        let signers: Vec<(String, Sign<'_>)> =
            sign.iter().map(|sign| (String::new(), sign as Sign<'_>)).collect();
        (serde_json::to_vec(&Envelope::seal::<Document>(&payload, &signers)).unwrap(), payload)
    };
    // Config fills the envelope up; base64 makes four bytes of three.
    let room = (DOCUMENT_BYTES - seal(&document).0.len()) * 3 / 4;
    let one = r#""setting_0000":1000000,"#.len();
    let filler = (0..room / one).map(|at| (format!("setting_{at:04}"), json!(1_000_000 + at)));
    document.config.extend(filler);
    let (envelope, payload) = seal(&document);
    let message = pre_authentication_encoding(Document::PAYLOAD_TYPE, &payload);
    let signatures = keys.each_ref().map(|key| key.sign(&message).as_ref().to_vec());
    let mut row = compare(
        "document, threshold 2",
        || drop(black_box(verify::<Document>(black_box(&envelope), &role).unwrap())),
        || {
            for (key, signature) in role.keys.iter().zip(&signatures) {
                assert!(key.verifies(black_box(&message), signature));
            }
        },
    );
    row["bytes"] = json!(envelope.len());
    row
}

fn key() -> Json {
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let public = PublicKey::from_p256(pair.public_key().as_ref()).unwrap();
    let module: Vec<u8> = (0..=u8::MAX).cycle().take(MODULE_BYTES).collect();
    let signature = pair.sign(&random, &module).unwrap().as_ref().to_vec();
    let text = STANDARD.encode(&signature);
    compare(
        "module, detached key",
        || {
            let signature = STANDARD.decode(black_box(&text)).unwrap();
            assert!(public.verifies(black_box(&module), &signature));
        },
        || assert!(public.verifies(black_box(&module), &signature)),
    )
}

fn bundle(file: &str) -> Json {
    let read = |name: &str| std::fs::read(fixtures().join(name)).unwrap();
    let parsed = |name: &str| serde_json::from_slice::<Json>(&read(name)).unwrap();
    let made = parsed("made.json");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let (bundle, artifact) = (read(file), read("artifact.txt"));
    let root = String::from_utf8(read("trusted_root.json")).unwrap();
    let key = PublicKey::from_pem(&String::from_utf8(read("publisher.pem")).unwrap()).unwrap();
    let (identity, issuer) = (CertificateIdentity::Uri { value: text("identity") }, text("issuer"));
    let (what, policy) = if file.contains("key") {
        ("bundle, managed key", BundlePolicy::Key(&key))
    } else {
        let policy = BundlePolicy::Certificate { identity: &identity, issuer: &issuer };
        ("bundle, keyless", policy)
    };
    let by_key = parsed("good-key.json");
    let signature = by_key["messageSignature"]["signature"].as_str().unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    compare(
        what,
        || {
            let artifact = Artifact::Bytes(black_box(&artifact));
            verify_bundle(black_box(&bundle), artifact, policy, &root, NOW_MS).unwrap();
        },
        || assert!(key.verifies(black_box(&artifact), &signature)),
    )
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/keyless/fixtures")
}
