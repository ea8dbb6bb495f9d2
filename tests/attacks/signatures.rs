//! Rows 1, 2, 14, 16: who signed, what kind of thing, and with what kind of signature.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::ack::{Ack, AckSchema};
use gnomon_schemas::approval::Approval;
use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::{Envelope, Payload, pre_authentication_encoding};
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{BootId, Digest};
use serde_json::{Value, json as value};

use super::form::{Against, Folder, Hears};
use super::make::What;
use super::world::*;

/// Every attack of these rows.
pub(super) fn all() -> Vec<Folder> {
    [arbitrary(), counting(), confusion(), algorithms()].concat()
}

fn what(
    row: u8,
    name: &'static str,
    named_by: &'static [&'static str],
    title: &'static str,
    says: &'static str,
) -> What {
    let (against, expected) = (Against::Document, Reason::ThresholdNotMet);
    What { name, row, against, expected, named_by, title, says }
}

/// An envelope of the director, changed.
fn envelope(change: impl FnOnce(&mut Envelope)) -> Vec<u8> {
    let mut envelope = seal(&config(1), &[&director()]);
    change(&mut envelope);
    json(&envelope)
}

fn arbitrary() -> Vec<Folder> {
    let names = &["TUF 5.x.2: arbitrary software", "SUIT THREAT.IMG.NON_AUTH"];
    let cut_payload = |envelope: &mut Envelope| {
        let mut payload = STANDARD.decode(&envelope.payload).unwrap();
        let at = payload.windows(13).position(|part| part == b"\"version\":1,\"").unwrap();
        payload[at + 10] = b'9';
        envelope.payload = STANDARD.encode(payload);
    };
    let flip_signature = |envelope: &mut Envelope| {
        let mut signature = STANDARD.decode(&envelope.signatures[0].sig).unwrap();
        signature[40] ^= 1;
        envelope.signatures[0].sig = STANDARD.encode(signature);
    };
    let row = |name, title, says| what(1, name, names, title, says);
    let mut own = trust_root();
    own.version = 2;
    own.roles.root = role(&[stranger()], 1);
    own.roles.director = role(&[Signer::named("director of the stranger")], 1);
    vec![
        row(
            "unsigned-document",
            "A document without a signature",
            "Publishes a document whose list of signatures is empty.",
        )
        .attack()
        .refuses_document(envelope(|envelope| envelope.signatures.clear())),
        row(
            "document-of-a-stranger",
            "A document signed by a key that nobody trusts",
            "Signs a document of its own with a key of its own.",
        )
        .attack()
        .refuses_document(json(&seal(&approved(with_inline(1, EVIL)), &[&stranger()]))),
        row(
            "changed-payload",
            "A document changed after it was signed",
            "Changes one byte of a document that the director signed: the version.",
        )
        .attack()
        .refuses_document(envelope(cut_payload)),
        row(
            "changed-signature",
            "A signature with one bit flipped",
            "Flips one bit of the director's signature.",
        )
        .attack()
        .refuses_document(envelope(flip_signature)),
        What {
            against: Against::TrustRoot,
            ..what(
                1,
                "self-made-root",
                &["TUF 5.3.4: arbitrary software", "tuf-conformance: test_invalid_initial_root"],
                "A trust root of the attacker's own",
                "Makes a root key and publishes a trust root that names and is signed by it alone.",
            )
        }
        .attack()
        .refuses_root(json(&seal(&own, &[&stranger()]))),
    ]
}

/// A fleet whose director role takes two of three keys.
fn two_directors() -> TrustRoot {
    let mut root = trust_root();
    let keys = [director(), Signer::named("director b"), Signer::named("director c")];
    root.roles.director = role(&keys, 2);
    root
}

fn counting() -> Vec<Folder> {
    let row = |name, named_by, title, says| what(2, name, named_by, title, says);
    let duplicate: &[&str] =
        &["TUF 5.3.4", "tuf-conformance: test_duplicate_sig_keyids", "CVE-2020-6174"];
    let two = two_directors();
    let message =
        |document: &Document| pre_authentication_encoding(Document::PAYLOAD_TYPE, &json(document));
    let document = config(1);
    let of = |name: &str| signature(&Signer::named(name), &message(&document));
    let with = |signatures: Vec<gnomon_schemas::envelope::Signature>| {
        envelope(|envelope| envelope.signatures = signatures)
    };
    let mut named_anew = of("director");
    named_anew.keyid = Some(Signer::named("director b").public().id().to_string());
    let mut foreign = of("stranger");
    foreign.keyid = Some(director().public().id().to_string());
    let mut nameless = of("stranger");
    nameless.keyid = None;
    let mut empty = nameless.clone();
    empty.keyid = Some(String::new());
    vec![
        row(
            "one-of-two-signatures",
            &["TUF 5.3.4", "tuf-conformance: test_snapshot_does_not_meet_threshold"],
            "Fewer signatures than the threshold",
            "Signs with the one director key it has where two of three must sign.",
        )
        .attack()
        .under(&two)
        .refuses_document(with(vec![of("director")])),
        row(
            "one-key-signs-twice",
            duplicate,
            "The threshold met by one key twice",
            "Repeats the signature of the one director key it has.",
        )
        .attack()
        .under(&two)
        .refuses_document(with(vec![of("director"), of("director")])),
        row(
            "one-key-under-two-names",
            duplicate,
            "The threshold met by one key under two key ids",
            "Repeats one key's signature under the key id of another key of the role.",
        )
        .attack()
        .under(&two)
        .refuses_document(with(vec![of("director"), named_anew])),
        row(
            "foreign-key-id",
            &["DSSE 1.0.2: keyid is a hint", "tuf-conformance: test_invalid_sig_in_valid_metadata"],
            "A stranger's signature under the director's key id",
            "Writes the director's key id beside a signature by a key of its own.",
        )
        .attack()
        .refuses_document(with(vec![foreign])),
        row(
            "no-key-id",
            &["GHSA-g2pf-6v5v-qcc8"],
            "A signature that names no key",
            "Leaves the key id out, or empty, in the hope that no key means no check.",
        )
        .attack()
        .refuses(Hears::Document, "absent.json", with(vec![nameless]))
        .refuses(Hears::Document, "empty.json", with(vec![empty])),
        row(
            "right-signature-beyond-the-cap",
            &["TUF 5.x.1: endless data"],
            "A right signature after sixteen wrong ones",
            "Hides one right signature behind more wrong ones than an envelope may carry.",
        )
        .attack()
        .refuses_document(with([vec![of("stranger"); 16], vec![of("director")]].concat())),
        What {
            expected: Reason::SchemaViolation,
            ..row(
                "signatures-left-out",
                &["SUIT THREAT.IMG.NON_AUTH", "tuf-conformance: test_unsigned_metadata"],
                "An envelope without the list of signatures",
                "Strips the field `signatures` in the hope that what is absent is not checked.",
            )
        }
        .attack()
        .refuses_document({
            let mut stripped: Value = serde_json::from_slice(&envelope(|_| {})).unwrap();
            stripped.as_object_mut().unwrap().remove("signatures");
            json(&stripped)
        }),
    ]
}

const DSSE: &[&str] =
    &["DSSE 1.0.2: payloadType", "CVE-2022-35929", "tuf-conformance: test_incorrect_metadata_type"];

fn ack() -> Ack {
    Ack {
        schema: AckSchema::V1,
        fleet: "acme".parse().unwrap(),
        device: DEVICE.parse().unwrap(),
        boot: BootId::from_random([7; 16]),
        sequences: vec![1, 2, 3],
    }
}

fn confusion() -> Vec<Folder> {
    let kind = |name, against, title, says| What {
        against,
        expected: Reason::WrongPayloadType,
        ..what(14, name, DSSE, title, says)
    };
    let role = |name, against, title, says| What { against, ..what(14, name, DSSE, title, says) };
    let approval = approval(&with_inline(1, EVIL));
    let by_director = director();
    let roots = [&root_a(), &root_b()];
    let envelopes = |signers: &[&Signer]| {
        [
            ("desired.json", json(&seal(&config(1), signers))),
            ("trust-root.json", json(&seal(&next_root(|_| {}), signers))),
            ("approval.json", json(&seal(&approval, signers))),
            ("ack.json", json(&seal(&ack(), signers))),
        ]
    };
    let others = |hears: Hears, own: &'static str, signers: &[&Signer], folder: Folder| {
        let wrong = envelopes(signers).into_iter().filter(move |(file, _)| *file != own);
        wrong.fold(folder, move |folder, (file, bytes)| folder.refuses(hears, file, bytes))
    };
    let by_others = |hears: Hears, own: &Signer, seal: &dyn Fn(&Signer) -> Vec<u8>, folder| {
        let keys = [
            ("root.json", root_a()),
            ("director.json", director()),
            ("approver.json", approver()),
            ("publisher.json", publisher()),
        ];
        let wrong = keys.into_iter().filter(|(_, key)| key.public() != own.public());
        wrong.fold(folder, |folder: Folder, (file, key)| folder.refuses(hears, file, seal(&key)))
    };
    let foreign = seal_as("application/vnd.in-toto+json", &json(&config(1)), &by_director);
    let mut relabelled = seal::<Approval>(&approval, &[&by_director]);
    relabelled.payload_type = Document::PAYLOAD_TYPE.into();
    let mut in_other_case = seal(&config(1), &[&by_director]);
    in_other_case.payload_type = in_other_case.payload_type.to_uppercase();
    let mut blended = with_inline(1, EVIL);
    blended.approvals = vec![seal(&with_inline(1, EVIL), &[&approver()])];
    vec![
        others(
            Hears::Document,
            "desired.json",
            &[&by_director],
            kind(
                "other-kinds-as-a-document",
                Against::Document,
                "What the director signed, but not a document",
                "Shows trust roots, approvals and acks by the director's key where a document belongs.",
            )
            .attack(),
        )
        .refuses(Hears::Document, "in-toto.json", json(&foreign))
        .refuses(Hears::Document, "other-case.json", json(&in_other_case)),
        others(
            Hears::TrustRoot,
            "trust-root.json",
            &roots,
            kind(
                "other-kinds-as-a-trust-root",
                Against::TrustRoot,
                "What root keys signed, but not a trust root",
                "Shows documents, approvals and acks by two root keys where a trust root belongs.",
            )
            .attack(),
        ),
        others(
            Hears::Ack,
            "ack.json",
            &[&by_director],
            kind(
                "other-kinds-as-an-ack",
                Against::Agent,
                "What the director signed, but not an ack",
                "Shows documents, trust roots and approvals where an acknowledgement belongs.",
            )
            .attack(),
        ),
        by_others(
            Hears::Document,
            &director(),
            &|key| json(&seal(&config(1), &[key])),
            role(
                "documents-by-other-roles",
                Against::Document,
                "Documents signed by every role but the director",
                "Signs documents with a root key, the approver's and the publisher's.",
            )
            .attack(),
        ),
        by_others(
            Hears::TrustRoot,
            &stranger(),
            &|key| json(&seal(&next_root(|_| {}), &[key])),
            role(
                "trust-roots-by-other-roles",
                Against::TrustRoot,
                "Trust roots signed by every role, one key each",
                "Signs trust roots with one root key, the director's, the approver's, the publisher's.",
            )
            .attack(),
        ),
        by_others(
            Hears::Ack,
            &director(),
            &|key| json(&seal(&ack(), &[key])),
            role(
                "acks-by-other-roles",
                Against::Agent,
                "Acknowledgements signed by every role but the director",
                "Has a device delete results that the cloud never stored.",
            )
            .attack(),
        ),
        role(
            "relabelled-payload",
            Against::Document,
            "An approval relabelled as a document",
            "Rewrites the payload type of an envelope, which the signature covers.",
        )
        .attack()
        .refuses_document(json(&relabelled)),
        kind(
            "document-as-an-approval",
            Against::Document,
            "The approver's signature over something else than an approval",
            "Puts what the approver signed elsewhere in the place of an approval.",
        )
        .attack()
        .refuses_document(directed(&blended)),
    ]
}

/// s + L of an Ed25519 signature (R, s): another signature that satisfies the
/// equation, which RFC 8032 forbids.
pub(crate) fn plus_order(signature: &[u8]) -> Vec<u8> {
    // L = 2^252 + 27742317777372353535851937790883648493, little-endian.
    let mut order = [0; 32];
    order[..16]
        .copy_from_slice(&27_742_317_777_372_353_535_851_937_790_883_648_493_u128.to_le_bytes());
    order[31] = 0x10;
    let mut carry = 0;
    let mut out = signature.to_vec();
    for (byte, add) in out[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    out
}

/// A document whose module carries this signature.
fn with_evidence(signature: &[u8]) -> Vec<u8> {
    let mut document = with_inline(1, MODULE);
    for listed in document.modules.values_mut() {
        listed.evidence = ModuleEvidence::Key {
            publisher: "acme-controls".parse().unwrap(),
            signature: STANDARD.encode(signature),
        };
    }
    directed(&approved(document))
}

fn algorithms() -> Vec<Folder> {
    let document = |name, named_by, title, says| what(16, name, named_by, title, says);
    let module = |name, named_by, title, says| What {
        against: Against::Module,
        expected: Reason::ModuleSignatureInvalid,
        ..what(16, name, named_by, title, says)
    };
    let signature = |bytes: Vec<u8>| {
        envelope(move |envelope| envelope.signatures[0].sig = STANDARD.encode(bytes))
    };
    let message = pre_authentication_encoding(Document::PAYLOAD_TYPE, &json(&config(1)));
    let right = director().sign(&message);
    let secret = director().public().to_pem();
    let hmac_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let hmac = ring::hmac::sign(&hmac_key, &message).as_ref().to_vec();
    let mut none: Value = serde_json::from_slice(&envelope(|_| {})).unwrap();
    none["signatures"] = value!([{ "alg": "none", "sig": "" }]);
    let der = publisher().sign(MODULE);
    let long_form = [&[0x30, 0x81, der[1]], &der[2..]].concat();
    let Signer::P256(key) = publisher() else { unreachable!("the publisher's key is P-256") };
    let fixed: p256::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(&key, MODULE);
    vec![
        What {
            expected: Reason::SchemaViolation,
            ..document(
                "algorithm-none",
                &["Wycheproof AlgIsNone", "CVE-2015-9235", "RFC 8725 3.2"],
                "A signature that says that it needs none",
                "Adds `\"alg\": \"none\"` to an empty signature.",
            )
        }
        .attack()
        .refuses_document(json(&none)),
        document(
            "keyed-hash-with-the-public-key",
            &["Wycheproof", "CVE-2016-10555", "RFC 8725 2.1"],
            "A keyed hash where a signature belongs",
            "Uses the director's public key as the secret of an HMAC.",
        )
        .attack()
        .refuses_document(signature(hmac)),
        document(
            "malleable-ed25519-signature",
            &["Wycheproof SignatureMalleability", "RFC 8032 5.1.7"],
            "The director's signature with the group order added",
            "Makes of a right signature (R, s) the different one (R, s + L).",
        )
        .attack()
        .refuses_document(signature(plus_order(&right))),
        document(
            "zero-signature",
            &["CVE-2022-21449", "Wycheproof"],
            "Signatures of zeros, and none at all",
            "Sends signatures of 64 zeros, of no bytes, and one cut short.",
        )
        .attack()
        .refuses(Hears::Document, "zeros.json", signature(vec![0; 64]))
        .refuses(Hears::Document, "empty.json", signature(vec![]))
        .refuses(Hears::Document, "cut.json", signature(right[..63].to_vec())),
        module(
            "module-with-a-zero-signature",
            &["CVE-2022-21449", "Wycheproof"],
            "A module under the signature (0, 0)",
            "Signs a module with r = 0 and s = 0, which hold for any bytes in broken verifiers.",
        )
        .attack()
        .refuses_document(with_evidence(&[0x30, 6, 2, 1, 0, 2, 1, 0])),
        module(
            "module-with-a-ber-signature",
            &["Wycheproof BerEncodedSignature", "CVE-2014-8275"],
            "A module's signature in BER that is not DER",
            "Writes the length of a right signature in its long form.",
        )
        .attack()
        .refuses_document(with_evidence(&long_form)),
        module(
            "module-with-a-fixed-form-signature",
            &["Wycheproof", "IEEE P1363"],
            "A module's signature as r and s side by side",
            "Sends a right signature in the form of another standard.",
        )
        .attack()
        .refuses_document(with_evidence(&fixed.to_bytes())),
        module(
            "module-signature-of-another-digest",
            &["SUIT THREAT.IMG.REPLACE"],
            "A signature over the module's digest instead of the module",
            "Has the publisher sign a digest, as other formats do, and shows it for the bytes.",
        )
        .attack()
        .refuses_document(with_evidence(&publisher().sign(Digest::of(MODULE).as_str().as_bytes()))),
    ]
}
