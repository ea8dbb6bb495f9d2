//! What the trust root says of a publisher decides which evidence counts.

use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::ids::{PublisherName, SigstoreRootName};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::module::{JudgeEvidence, ModuleEvidence};
use gnomon_schemas::reason::{Coded, Reason};
use gnomon_schemas::trust::{CertificateIdentity, Proof, Publisher, TrustRoot};
use gnomon_sigstore::Judge;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use crate::cases::{Made, Signer};
use crate::verify::fixtures;

const ROOT: &str = "test-root";

fn key_of(made: &Made) -> PublicKey {
    PublicKey::from_pem(&made.text("publisher.pem")).unwrap()
}

fn root_name() -> SigstoreRootName {
    ROOT.parse().unwrap()
}

fn certificate(made: &Made) -> Proof {
    let Signer::Certificate(identity, issuer) = made.uri() else { panic!() };
    Proof::Certificate { identity, issuer, sigstore_root: root_name() }
}

/// A trust root with one publisher of this proof.
fn trust(made: &Made, proof: Proof) -> TrustRoot {
    let role = json!({ "keys": [made.text("other-publisher.pem")], "threshold": 1 });
    let mut root: TrustRoot = serde_json::from_value(json!({
        "schema": "gnomon.trust-root.v1", "fleet": "acme", "version": 1, "epoch": 0,
        "expires_at_ms": 1, "publishers": {},
        "roles": { "root": role, "director": role, "approver": role },
        "sigstore_roots": { ROOT: made.text("trusted_root.json") },
    }))
    .unwrap();
    let publisher =
        Publisher { proof, profiles: Default::default(), functions: Default::default() };
    root.publishers.insert(name(), publisher);
    root
}

fn name() -> PublisherName {
    "acme".parse().unwrap()
}

fn bundle(made: &Made, file: &str) -> ModuleEvidence {
    let bundle = InlineBytes(made.text(&format!("{file}.json")).into_bytes());
    ModuleEvidence::Bundle { publisher: name(), bundle }
}

fn verdict(made: &Made, evidence: &ModuleEvidence, root: &TrustRoot) -> Result<(), Reason> {
    let bytes = made.text("artifact.txt").into_bytes();
    Judge.judge(&bytes, evidence, root, made.time_ms()).map_err(|error| error.reason())
}

#[test]
fn evidence_counts_only_as_the_trust_root_takes_it_from_that_publisher() {
    let made = fixtures();
    let key = |sigstore_root| Proof::Key { key: key_of(&made), sigstore_root };
    let pinned = || key(Some(root_name()));
    let unpinned = || key(Some("nowhere".parse().unwrap()));
    let detached = ModuleEvidence::Key { publisher: name(), signature: "AAAA".to_owned() };
    for (what, evidence, proof, expected) in [
        ("keyless", bundle(&made, "good"), certificate(&made), Ok(())),
        ("managed key", bundle(&made, "good-key"), pinned(), Ok(())),
        ("no root", bundle(&made, "good-key"), key(None), Err(Reason::EvidenceMismatch)),
        ("root gone", bundle(&made, "good-key"), unpinned(), Err(Reason::SigstoreRootInvalid)),
        ("not a key's", bundle(&made, "good"), pinned(), Err(Reason::EvidenceMismatch)),
        (
            "not a name's",
            bundle(&made, "good-key"),
            certificate(&made),
            Err(Reason::EvidenceMismatch),
        ),
        ("no bundle", detached.clone(), certificate(&made), Err(Reason::EvidenceMismatch)),
        ("a bad key's", detached, pinned(), Err(Reason::ModuleSignatureInvalid)),
        (
            "another",
            bundle(&made, "other-issuer"),
            certificate(&made),
            Err(Reason::IdentityMismatch),
        ),
    ] {
        assert_eq!(verdict(&made, &evidence, &trust(&made, proof)), expected, "{what}");
    }
}

#[test]
fn an_unknown_publisher_is_refused_before_its_bundle_is_read() {
    let made = fixtures();
    let mut root = trust(&made, certificate(&made));
    root.publishers.clear();
    let verdict = verdict(&made, &bundle(&made, "good"), &root);
    assert_eq!(verdict, Err(Reason::PublisherUnknown));
}

#[test]
fn detached_signatures_are_judged_as_before() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let made = fixtures();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let key = PublicKey::from_ed25519(pair.public_key().as_ref()).unwrap();
    let root = trust(&made, Proof::Key { key, sigstore_root: None });
    let signature = STANDARD.encode(pair.sign(made.text("artifact.txt").as_bytes()));
    let evidence = ModuleEvidence::Key { publisher: name(), signature };
    assert_eq!(verdict(&made, &evidence, &root), Ok(()));
}

#[test]
fn an_identity_is_typed_in_the_trust_root_too() {
    let made = fixtures();
    let identity = CertificateIdentity::Email { value: "releases@acme.test".to_owned() };
    let Proof::Certificate { issuer, sigstore_root, .. } = certificate(&made) else { panic!() };
    let root = trust(&made, Proof::Certificate { identity, issuer, sigstore_root });
    assert_eq!(verdict(&made, &bundle(&made, "good-email"), &root), Ok(()));
    assert_eq!(verdict(&made, &bundle(&made, "good"), &root), Err(Reason::IdentityMismatch));
}
