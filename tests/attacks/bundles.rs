//! Rows 21 to 25: sigstore bundles that prove something else. Spoilt from bundles
//! that sigstore's own client made (`keyless/fixtures`), carried in documents that
//! director and approver signed: nothing but the bundle is wrong.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::trust::{CertificateIdentity, Proof, TrustRoot};
use serde_json::{Value, json as value};
use std::path::Path;

use super::form::{Against, Folder, Hears};
use super::make::What;
use super::world::*;

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("keyless/fixtures");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text(name: &str) -> String {
    String::from_utf8(fixture(name)).unwrap()
}

fn fact(name: &str) -> String {
    let facts: Value = serde_json::from_slice(&fixture("made.json")).unwrap();
    facts[name].as_str().unwrap().to_owned()
}

/// A trust root that takes bundles of this identity and issuer, judged by this root.
fn keyless(identity: CertificateIdentity, issuer: &str, sigstore_root: &str) -> TrustRoot {
    let mut root = trust_root();
    let name = || "acme".parse().unwrap();
    root.sigstore_roots.insert(name(), sigstore_root.to_owned());
    let known = root.publishers.get_mut(&"acme-controls".parse().unwrap()).unwrap();
    known.proof = Proof::Certificate { identity, issuer: issuer.to_owned(), sigstore_root: name() };
    root
}

fn uri(value: &str) -> CertificateIdentity {
    CertificateIdentity::Uri { value: value.to_owned() }
}

fn usual() -> TrustRoot {
    keyless(uri(&fact("identity")), &fact("issuer"), &text("trusted_root.json"))
}

/// A document whose module is this artifact under this bundle.
fn document(artifact: &[u8], bundle: &[u8]) -> Vec<u8> {
    let mut document = with_inline(1, artifact);
    for listed in document.modules.values_mut() {
        listed.evidence = ModuleEvidence::Bundle {
            publisher: "acme-controls".parse().unwrap(),
            bundle: InlineBytes(bundle.to_vec()),
        };
    }
    directed(&approved(document))
}

fn carrying(bundle: &[u8]) -> Vec<u8> {
    document(&fixture("artifact.txt"), bundle)
}

/// A good bundle, changed.
fn spoilt(from: &str, path: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(&fixture(from)).unwrap();
    change(bundle.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")));
    carrying(&json(&bundle))
}

/// Flips one bit in the middle of base64 that stays base64.
fn flip(value: &mut Value) {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *value = STANDARD.encode(bytes).into();
}

fn remove(key: &str) -> impl FnOnce(&mut Value) {
    move |value| drop(value.as_object_mut().unwrap().remove(key).unwrap())
}

fn what(
    row: u8,
    expected: Reason,
    name: &'static str,
    named_by: &'static [&'static str],
    title: &'static str,
    says: &'static str,
) -> What {
    What { name, row, against: Against::Bundle, expected, named_by, title, says }
}

/// Every attack of these rows.
pub(super) fn all() -> Vec<Folder> {
    [identities(), shapes(), entries(), times()].concat()
}

fn identities() -> Vec<Folder> {
    let (identity, issuer) = (fact("identity"), fact("issuer"));
    let bundle = || carrying(&fixture("good.json"));
    let email = CertificateIdentity::Email { value: identity.clone() };
    let near = [
        ("other-case", uri(&identity.replace("acme/heaters", "Acme/heaters"))),
        ("longer", uri(&format!("{identity}-2"))),
        ("shorter", uri(&identity[..identity.len() - 1])),
        ("prefix", uri(&identity[..identity.find('@').unwrap()])),
        ("suffix", uri(identity.strip_prefix("https://").unwrap())),
        ("other-scheme", uri(&identity.replace("https://", "http://"))),
        ("trailing-slash", uri(&format!("{identity}/"))),
        ("trailing-space", uri(&format!("{identity} "))),
        ("other-branch", uri(&identity.replace("heads/main", "heads/maint"))),
        ("tag", uri(&identity.replace("refs/heads/main", "refs/tags/main"))),
        ("other-workflow", uri(&identity.replace("release.yml", "release.yaml"))),
        ("other-repository", uri(&identity.replace("acme/heaters", "acme/heater"))),
        ("fork", uri(&identity.replace("acme/heaters", "evil/heaters"))),
        ("pattern", uri(".*")),
        ("wildcard", uri(&identity.replace("main", "*"))),
        ("nothing", uri("")),
        ("zero-byte", uri(&format!("{identity}\0"))),
        ("as-an-address", email),
    ];
    let issuers = [
        ("trailing-slash", format!("{issuer}/")),
        ("other-case", issuer.to_uppercase()),
        ("longer", format!("{issuer}.evil.example")),
        ("other-scheme", issuer.replace("https://", "http://")),
        ("prefix", issuer[..issuer.len() - 1].to_owned()),
        ("nothing", String::new()),
    ];
    let pinned = text("trusted_root.json");
    let cve: &[&str] = &["CVE-2022-36056", "SUIT THREAT.IMG.NON_AUTH"];
    let mismatch = |name, title, says| what(21, Reason::IdentityMismatch, name, cve, title, says);
    let identities = near.into_iter().fold(
        mismatch(
            "near-miss-identities",
            "Certificates that almost name the publisher",
            "Shows a right bundle of an identity that differs in a letter, a ref, a type.",
        )
        .attack(),
        |folder, (name, identity)| {
            folder
                .refuses(Hears::Document, "document.json", bundle())
                .while_under(&format!("{name}.json"), &keyless(identity, &issuer, &pinned))
        },
    );
    let issuers = issuers.into_iter().fold(
        mismatch(
            "near-miss-issuers",
            "Certificates that almost name the issuer",
            "Shows a right bundle vouched for by another identity provider.",
        )
        .attack(),
        |folder, (name, issuer)| {
            folder
                .refuses(Hears::Document, "document.json", bundle())
                .while_under(&format!("{name}.json"), &keyless(uri(&identity), &issuer, &pinned))
        },
    );
    vec![
        identities,
        issuers,
        mismatch(
            "bundle-of-another-identity",
            "A right bundle of somebody else",
            "Signs with a certificate for another workflow, or by another provider.",
        )
        .attack()
        .under(&usual())
        .refuses(Hears::Document, "identity.json", carrying(&fixture("other-identity.json")))
        .refuses(Hears::Document, "issuer.json", carrying(&fixture("other-issuer.json"))),
        what(
            21,
            Reason::CertificateInvalid,
            "certificate-of-another-authority",
            &["sigstore-conformance: bundle-from-wrong-instance"],
            "A certificate of an authority that is not pinned",
            "Runs an authority of its own that issues any identity.",
        )
        .attack()
        .under(&usual())
        .refuses_document(carrying(&fixture("other-authority.json"))),
        what(
            25,
            Reason::LogEntryInvalid,
            "another-trusted-root",
            &["sigstore-conformance: bundle-from-wrong-instance"],
            "A bundle judged by a replaced sigstore root",
            "Shows a bundle of an instance whose keys the trust root no longer pins.",
        )
        .attack()
        .under(&keyless(uri(&identity), &issuer, &text("trusted_root.other.json")))
        .refuses_document(bundle()),
    ]
}

fn shapes() -> Vec<Folder> {
    let media =
        |text: &'static str| spoilt("good.json", "/mediaType", move |value| *value = value!(text));
    let without_proof = {
        let mut bundle: Value = serde_json::from_slice(&fixture("good.json")).unwrap();
        bundle["mediaType"] = value!("application/vnd.dev.sigstore.bundle+json;version=0.1");
        remove("inclusionProof")(&mut bundle["verificationMaterial"]["tlogEntries"][0]);
        carrying(&json(&bundle))
    };
    let twice = text("good.json").replacen('{', r#"{"mediaType":"","#, 1);
    let malformed = |name, named_by, title, says| {
        what(22, Reason::BundleMalformed, name, named_by, title, says)
    };
    vec![
        malformed(
            "downgraded-bundle",
            &["JanssenProject/jans#14636", "sigstore-conformance: bundle-unknown-version"],
            "A bundle relabelled as an older version",
            "Rewrites the unsigned media type to a version that needs no proof.",
        )
        .attack()
        .under(&usual())
        .refuses(
            Hears::Document,
            "version-1.json",
            media("application/vnd.dev.sigstore.bundle+json;version=0.1"),
        )
        .refuses(
            Hears::Document,
            "version-2.json",
            media("application/vnd.dev.sigstore.bundle+json;version=0.2"),
        )
        .refuses(
            Hears::Document,
            "version-4.json",
            media("application/vnd.dev.sigstore.bundle.v0.4+json"),
        )
        .refuses(Hears::Document, "no-version.json", media(""))
        .refuses(Hears::Document, "no-proof.json", without_proof),
        malformed(
            "bundle-with-two-meanings",
            &["RFC 7493 2.3", "CVE-2026-22703"],
            "A bundle that says two things",
            "Names a field twice, or carries both a key and a certificate.",
        )
        .attack()
        .under(&usual())
        .refuses(Hears::Document, "twice.json", carrying(twice.as_bytes()))
        .refuses(
            Hears::Document,
            "key-too.json",
            spoilt("good.json", "/verificationMaterial", |material| {
                material["publicKey"] = value!({ "hint": "" });
            }),
        ),
        What {
            row: 9,
            ..malformed(
                "oversize-bundle",
                &["TUF 5.x.1: endless data"],
                "A bundle over its cap",
                "Adds spaces to a right bundle until it is over the cap.",
            )
        }
        .attack()
        .under(&usual())
        .refuses_document({
            let mut bundle = fixture("good.json");
            bundle.resize(64 * 1024 + 1, b' ');
            carrying(&bundle)
        }),
    ]
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

fn entries() -> Vec<Folder> {
    let entry = |path: &str, change: &dyn Fn(&mut Value)| {
        spoilt("good.json", &format!("{ENTRY}{path}"), change)
    };
    let other: Value = serde_json::from_slice(&fixture("good-email.json")).unwrap();
    let others = other["verificationMaterial"]["tlogEntries"][0].clone();
    let body = others["canonicalizedBody"].clone();
    let log = |name, named_by, title, says| {
        what(23, Reason::LogEntryInvalid, name, named_by, title, says)
    };
    let signature = |name, title, says| {
        let names = &[
            "SUIT THREAT.IMG.REPLACE",
            "sigstore-conformance: signature-mismatch, message-digest-mismatch",
        ];
        what(23, Reason::ModuleSignatureInvalid, name, names, title, says)
    };
    vec![
        signature(
            "bundle-of-another-artifact",
            "A right bundle beside another module",
            "Copies the bundle of a module that was published to its own.",
        )
        .attack()
        .under(&usual())
        .refuses(Hears::Document, "evil.json", document(EVIL, &fixture("good.json")))
        .refuses(
            Hears::Document,
            "swapped.json",
            carrying(&fixture("other-artifact.json")),
        ),
        signature(
            "tampered-bundle-signature",
            "A bundle whose signature or digest was changed",
            "Changes what the bundle says it is a signature over.",
        )
        .attack()
        .under(&usual())
        .refuses(
            Hears::Document,
            "signature.json",
            spoilt("good.json", "/messageSignature/signature", flip),
        )
        .refuses(
            Hears::Document,
            "digest.json",
            spoilt("good.json", "/messageSignature/messageDigest/digest", flip),
        ),
        log(
            "log-entry-of-another-signature",
            &["CVE-2022-36056", "CVE-2026-22703", "sigstore-conformance: wrong-hashedrekord-entry"],
            "A log entry that proves something else",
            "Puts the entry of another signature, rightly logged, into the bundle.",
        )
        .attack()
        .under(&usual())
        .refuses(Hears::Document, "entry.json", entry("", &|value| *value = others.clone()))
        .refuses(
            Hears::Document,
            "body.json",
            entry("/canonicalizedBody", &|value| *value = body.clone()),
        ),
        log(
            "tampered-log-entry",
            &["sigstore-conformance: wrong-hashedrekord-cert-and-sig", "RFC 6962"],
            "A log entry changed after it was logged",
            "Changes the body of the entry, its place, or the log that it names.",
        )
        .attack()
        .under(&usual())
        .refuses(Hears::Document, "body.json", entry("/canonicalizedBody", &flip))
        .refuses(Hears::Document, "log.json", entry("/logId/keyId", &flip))
        .refuses(
            Hears::Document,
            "place.json",
            entry("/inclusionProof/logIndex", &|value| *value = value!("6")),
        ),
        log(
            "tampered-inclusion-proof",
            &[
                "RFC 6962 2.1.1",
                "sigstore-conformance: invalid-inclusion-proof, checkpoint-wrong-roothash",
            ],
            "A proof that does not lead to the log's head",
            "Changes a hash, the root, the size or the log's signature, or leaves the proof out.",
        )
        .attack()
        .under(&usual())
        .refuses(Hears::Document, "hash.json", entry("/inclusionProof/hashes/1", &flip))
        .refuses(Hears::Document, "root.json", entry("/inclusionProof/rootHash", &flip))
        .refuses(
            Hears::Document,
            "size.json",
            entry("/inclusionProof/treeSize", &|value| *value = value!("16")),
        )
        .refuses(
            Hears::Document,
            "checkpoint.json",
            entry("/inclusionProof/checkpoint/envelope", &|value| {
                *value = value.as_str().unwrap().replacen("\n8\n", "\n9\n", 1).into();
            }),
        )
        .refuses(
            Hears::Document,
            "no-proof.json",
            entry("", &|v| remove("inclusionProof")(v)),
        ),
        log(
            "entry-of-another-log",
            &["sigstore-conformance: invalid-checkpoint-signature", "CVE-2022-36056"],
            "A bundle of a log that is not pinned",
            "Runs a log of its own that logs anything.",
        )
        .attack()
        .under(&usual())
        .refuses_document(carrying(&fixture("other-log.json"))),
    ]
}

fn times() -> Vec<Folder> {
    let time = |name, named_by, title, says| {
        what(24, Reason::SignedTimeInvalid, name, named_by, title, says)
    };
    let token =
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    vec![
        What {
            expected: Reason::LogEntryInvalid,
            ..time(
                "tampered-entry-time",
                &["sigstore-conformance: set-invalid-signature", "TOB-SIGSTORE-11"],
                "A log entry with another time, or another promise",
                "Moves the logged time into the life of a leaked certificate.",
            )
        }
        .attack()
        .under(&usual())
        .refuses(
            Hears::Document,
            "time.json",
            spoilt("good.json", &format!("{ENTRY}/integratedTime"), |value| {
                let time: u64 = value.as_str().unwrap().parse().unwrap();
                *value = value!((time + 60).to_string());
            }),
        )
        .refuses(
            Hears::Document,
            "promise.json",
            spoilt("good.json", &format!("{ENTRY}/inclusionPromise/signedEntryTimestamp"), flip),
        ),
        time(
            "leaked-certificate-used-late",
            &["sigstore-conformance: intoto-tsa-timestamp-outside-cert-validity", "TOB-SIGSTORE-9"],
            "A leaked key used after its certificate was over",
            "Signs, and has logged or stamped, a module after the ten minutes of the certificate.",
        )
        .attack()
        .under(&usual())
        .refuses(Hears::Document, "logged.json", carrying(&fixture("late-key.json")))
        .refuses(
            Hears::Document,
            "stamped.json",
            carrying(&fixture("late-key-timestamp.json")),
        ),
        time(
            "tampered-timestamp",
            &[
                "sigstore-conformance: rekor2-timestamp-untrusted-tsa-with-embedded-cert",
                "RFC 3161",
            ],
            "A timestamp changed, or of an authority that is not pinned",
            "Backdates a signature by a timestamp that no pinned authority made.",
        )
        .attack()
        .under(&usual())
        .refuses(Hears::Document, "changed.json", spoilt("good-timestamp.json", token, flip))
        .refuses(Hears::Document, "other.json", carrying(&fixture("other-stamp.json"))),
        time(
            "no-signed-time",
            &["sigstore-conformance: rekor2-no-timestamp", "TOB-SIGSTORE-11"],
            "A bundle whose time nobody signed",
            "Strips the log's promise, so that the time is the attacker's word.",
        )
        .attack()
        .under(&usual())
        .refuses_document(spoilt("good.json", ENTRY, |v| remove("inclusionPromise")(v))),
        time(
            "signed-in-the-future",
            &["sigstore-conformance: integrated-time-in-future"],
            "A bundle signed later than the device's lowest time allows",
            "Shows a device that has not heard a signed time a bundle from its future.",
        )
        .attack()
        .under(&usual())
        .not_before(1_700_000_000_000)
        .refuses_document(carrying(&fixture("good.json"))),
    ]
}
