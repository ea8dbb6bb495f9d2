//! Rows 18, 20 and 26: modules that no publisher vouches for, or not for this.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::Digest;
use gnomon_schemas::document::{Document, InlineBytes, ModuleRef};
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::trust::{CertificateIdentity, Proof};

use super::form::{Against, Folder, Hears};
use super::make::What;
use super::world::*;

fn what(
    row: u8,
    expected: Reason,
    name: &'static str,
    named_by: &'static [&'static str],
    title: &'static str,
    says: &'static str,
) -> What {
    What { name, row, against: Against::Module, expected, named_by, title, says }
}

/// A document, signed by director and approver, whose module is listed otherwise.
fn listing(bytes: &[u8], change: impl Fn(&mut ModuleRef)) -> Document {
    let mut document = with_inline(1, bytes);
    document.modules.values_mut().for_each(change);
    approved(document)
}

fn evidence(publisher: &str, signature: &[u8]) -> ModuleEvidence {
    ModuleEvidence::Key {
        publisher: publisher.parse().unwrap(),
        signature: STANDARD.encode(signature),
    }
}

/// Every attack of these rows.
pub(super) fn all() -> Vec<Folder> {
    [bytes(), publishers(), releases()].concat()
}

fn bytes() -> Vec<Folder> {
    let document = directed(&approved(with_module(1, MODULE)));
    let digest = Digest::of(MODULE);
    let mut flipped = MODULE.to_vec();
    flipped[5] ^= 0x20;
    let inline = listing(MODULE, |listed| listed.inline = Some(InlineBytes(EVIL.to_vec())));
    let longer = |by: i64| {
        directed(&listing(MODULE, |listed| {
            listed.size_bytes = listed.size_bytes.saturating_add_signed(by);
        }))
    };
    vec![
        what(
            20,
            Reason::ModuleDigestMismatch,
            "tampered-module",
            &[
                "SUIT THREAT.IMG.REPLACE",
                "TUF 5.7: target hash",
                "tuf-conformance: test_targets_hash_mismatch",
            ],
            "Other bytes on the module's topic",
            "Puts a changed, a cut, a longer and another module on the topic of the right one.",
        )
        .attack()
        .takes(Hears::Document, "document.json", document)
        .refuses_module("flipped.b64", &digest, &flipped)
        .refuses_module("cut.b64", &digest, &MODULE[..MODULE.len() - 1])
        .refuses_module("longer.b64", &digest, &[MODULE, b"\0"].concat())
        .refuses_module("evil.b64", &digest, EVIL),
        what(
            20,
            Reason::ModuleDigestMismatch,
            "tampered-inline-module",
            &["SUIT THREAT.IMG.REPLACE", "SUIT THREAT.MFST.TOCTOU"],
            "Other bytes inside the document than it names",
            "Carries, under the digest of an approved module, the bytes of another.",
        )
        .attack()
        .refuses_document(directed(&inline)),
        what(
            20,
            Reason::ModuleDigestMismatch,
            "wrong-size",
            &["TUF 5.7: target hash", "tuf-conformance: test_repository_substitutes_target_file"],
            "A size that is not the module's",
            "Signs a size that makes a reader stop early or read on.",
        )
        .attack()
        .refuses(Hears::Document, "shorter.json", longer(-1))
        .refuses(Hears::Document, "longer.json", longer(1)),
    ]
}

fn publishers() -> Vec<Folder> {
    let stolen: &[&str] = &["Uptane: image repository compromise", "SUIT THREAT.IMG.NON_AUTH"];
    let listed_by = |publisher: &'static str, key: &Signer| {
        let signature = key.sign(EVIL);
        directed(&listing(EVIL, move |listed| {
            listed.evidence = evidence(publisher, &signature);
        }))
    };
    let mut keyless = trust_root();
    keyless.sigstore_roots.insert("acme".parse().unwrap(), "{}".into());
    for known in keyless.publishers.values_mut() {
        known.proof = Proof::Certificate {
            identity: CertificateIdentity::Email { value: "builder@acme.example".into() },
            issuer: "https://ci.acme.example".into(),
            sigstore_root: "acme".parse().unwrap(),
        };
    }
    let bundle = directed(&listing(EVIL, |listed| {
        listed.evidence = ModuleEvidence::Bundle {
            publisher: "acme-controls".parse().unwrap(),
            bundle: InlineBytes(b"{}".to_vec()),
        };
    }));
    let mut other_profile = trust_root();
    for known in other_profile.publishers.values_mut() {
        known.functions.clear();
        known.profiles = [String::from("water-heater-2")].into();
    }
    vec![
        what(
            18,
            Reason::ModuleSignatureInvalid,
            "module-of-another-key",
            stolen,
            "A module signed by everyone but its publisher",
            "Signs its module with its own, the director's, the approver's or another publisher's key.",
        )
        .attack()
        .refuses(Hears::Document, "stranger.json", listed_by("acme-controls", &stranger()))
        .refuses(Hears::Document, "director.json", listed_by("acme-controls", &director()))
        .refuses(Hears::Document, "approver.json", listed_by("acme-controls", &approver()))
        .refuses(Hears::Document, "pumps.json", listed_by("acme-controls", &Signer::p256("pumps"))),
        what(
            18,
            Reason::ModuleSignatureInvalid,
            "signature-of-another-module",
            &["SUIT THREAT.IMG.REPLACE", "CVE-2022-36056"],
            "The publisher's signature over another module",
            "Copies the signature of a module that was published to its own.",
        )
        .attack()
        .refuses_document({
            let signature = publisher().sign(MODULE);
            directed(&listing(EVIL, move |listed| {
                listed.evidence = evidence("acme-controls", &signature);
            }))
        }),
        what(
            18,
            Reason::PublisherUnknown,
            "unknown-publisher",
            stolen,
            "A publisher that no trust root names",
            "Names itself as the publisher of its module.",
        )
        .attack()
        .refuses_document(listed_by("acme-contrls", &publisher())),
        what(
            18,
            Reason::PublisherNotAllowed,
            "publisher-of-another-function",
            &["Uptane: image repository compromise", "TUF 4.5: delegated paths"],
            "A known publisher outside its functions",
            "Signs a set-point module with the stolen key of the publisher of pumps.",
        )
        .attack()
        .refuses_document(listed_by("acme-pumps", &Signer::p256("pumps"))),
        what(
            18,
            Reason::PublisherNotAllowed,
            "publisher-of-another-profile",
            &["Uptane: image repository compromise", "TUF 4.5: delegated paths"],
            "A known publisher outside its profiles",
            "Signs for this hardware with the key of a publisher for other hardware.",
        )
        .attack()
        .under(&other_profile)
        .refuses_document(listed_by("acme-controls", &publisher())),
        what(
            16,
            Reason::EvidenceMismatch,
            "bundle-where-a-signature-belongs",
            &["CWE-757: algorithm downgrade"],
            "A bundle from a publisher that signs with a key",
            "Chooses itself how its module is to be judged.",
        )
        .attack()
        .refuses_document(bundle),
        what(
            16,
            Reason::EvidenceMismatch,
            "signature-where-a-bundle-belongs",
            &["CWE-757: algorithm downgrade"],
            "A bare signature from a publisher that signs with certificates",
            "Leaves certificate, log and signed time out.",
        )
        .attack()
        .under(&keyless)
        .refuses_document(listed_by("acme-controls", &publisher())),
    ]
}

fn releases() -> Vec<Folder> {
    let recalled = b"a module that was recalled";
    vec![
        what(
            26,
            Reason::ReleaseCounterTooLow,
            "old-release-in-a-new-document",
            &["Uptane: release counter", "SUIT REQ.SEC.SEQUENCE"],
            "A vulnerable release in a newer document",
            "Publishes, with every signature, a release below the lowest that is allowed.",
        )
        .attack()
        .refuses_document(directed(&listing(MODULE, |listed| listed.release_counter = 2))),
        what(
            26,
            Reason::ModuleDenied,
            "denied-module",
            &["Uptane: release counter", "SUIT THREAT.IMG.EXPIRED"],
            "A module that was recalled",
            "Publishes, with every signature, a module whose digest is denied.",
        )
        .attack()
        .refuses_document(directed(&approved(with_inline(1, recalled)))),
    ]
}
