//! Envelopes: thresholds over distinct keys, changed bytes, first trust roots.

use std::ops::Range;

use super::fixture::{self, Signer, pretty, read, role, seal};
use gnomon_schemas::ack::Ack;
use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::{Envelope, Payload, Signature, pre_authentication_encoding};
use gnomon_schemas::limits::SIGNATURES_MAX;
use gnomon_schemas::succession::{RootError, verify_first_root};
use gnomon_schemas::trust::{CertificateIdentity, Proof, Role, TrustRoot};
use gnomon_schemas::verify::{VerifyError, verify};
use gnomon_schemas::{Coded, Digest, Reason};

#[test]
fn the_encoding_is_dsse_v1() {
    // The example of the DSSE specification (protocol.md, v1.0.2).
    let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
    assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    assert_eq!(pre_authentication_encoding("", b""), b"DSSEv1 0  0 ");
    assert_eq!(pre_authentication_encoding("\u{e9}", b"x"), "DSSEv1 2 \u{e9} 1 x".as_bytes());
}

#[test]
fn no_two_payloads_share_an_encoding() {
    let one = pre_authentication_encoding("a", b"1 b");
    let other = pre_authentication_encoding("a 3 1", b"b");
    assert_ne!(one, other);
}

/// Where the value of `keyid` stands in the text of an envelope.
fn keyid(text: &[u8]) -> Range<usize> {
    let text = std::str::from_utf8(text).unwrap();
    let start = text.find("\"keyid\": \"").unwrap() + "\"keyid\": \"".len();
    start..start + text[start..].find('"').unwrap()
}

#[test]
fn any_changed_byte_is_refused_or_leaves_the_payload_as_it_was() {
    let bytes = read("examples/envelope.json");
    let director = fixture::trust_root().roles.director;
    let original = verify::<Document>(&bytes, &director).unwrap();
    let hint = keyid(&bytes);
    let (mut refused, mut verified) = (0, 0);
    for at in 0..bytes.len() {
        for mask in [1, 2, 4, 8, 16, 32, 64, 128, 0x7f, 0xff_u8] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            match verify::<Document>(&changed, &director) {
                Err(_) => refused += 1,
                Ok(document) => {
                    assert_eq!(document, original, "byte {at} xor {mask:#x}");
                    assert!(hint.contains(&at), "byte {at} is outside the key id");
                    verified += 1;
                }
            }
        }
    }
    // The hint is not authenticated: its changes verify, nearly all others do not.
    assert!(refused > 10 * verified && verified > hint.len(), "{refused} {verified}");
}

#[test]
fn any_cut_is_refused() {
    let bytes = read("examples/envelope.json");
    let director = fixture::trust_root().roles.director;
    // The last byte is a newline.
    for length in 0..bytes.len() - 1 {
        assert!(verify::<Document>(&bytes[..length], &director).is_err(), "{length} bytes");
    }
}

/// All orders of all subsets of `0..n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    let mut from = 0;
    while from < all.len() {
        for next in 0..n {
            if !all[from].contains(&next) {
                all.push([&all[from][..], &[next]].concat());
            }
        }
        from += 1;
    }
    all
}

#[test]
fn thresholds_count_distinct_keys_in_any_order() {
    let payload = pretty(&fixture::ack());
    let signers: Vec<Signer> = (0..4).map(|n| Signer::named(&format!("key {n}"))).collect();
    let stranger = Signer::named("stranger");
    let sealed = seal::<Ack>(&payload, &signers.iter().chain([&stranger]).collect::<Vec<_>>());
    let mut checked = 0;
    for n in 1..=4 {
        for threshold in 0..=n + 1 {
            let keys: Vec<&Signer> = signers[..n].iter().collect();
            let role = role(&keys, threshold);
            for order in orders(n) {
                let enough = order.len() >= threshold.max(1);
                let doubled: Vec<usize> = order.iter().flat_map(|&key| [key, key]).collect();
                let repeated = [&order[..], &order].concat();
                let among_strangers = [&[4], &order[..], &[4]].concat();
                for present in [order.clone(), doubled, repeated, among_strangers] {
                    let signatures =
                        present.iter().map(|&key| sealed.signatures[key].clone()).collect();
                    let envelope = Envelope { signatures, ..sealed.clone() };
                    let taken = verify::<Ack>(&pretty(&envelope), &role);
                    let expected = VerifyError::Threshold {
                        valid: order.len(),
                        threshold: threshold.max(1),
                        present: present.len(),
                    };
                    assert_eq!(taken.err(), (!enough).then_some(expected), "{n} {present:?}");
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 4 * (3 * 2 + 4 * 5 + 5 * 16 + 6 * 65));
}

#[test]
fn a_key_that_a_role_lists_twice_counts_once() {
    let (a, b) = (Signer::named("a"), Signer::named("b"));
    let role = role(&[&a, &a, &b], 2);
    let payload = pretty(&fixture::ack());
    let one = verify::<Ack>(&pretty(&seal::<Ack>(&payload, &[&a, &a])), &role).unwrap_err();
    assert_eq!(one, VerifyError::Threshold { valid: 1, threshold: 2, present: 2 });
    verify::<Ack>(&pretty(&seal::<Ack>(&payload, &[&a, &b])), &role).unwrap();
}

#[test]
fn a_role_without_keys_or_threshold_accepts_nothing() {
    let envelope = pretty(&seal::<Ack>(&pretty(&fixture::ack()), &[&Signer::named("a")]));
    for threshold in [0, 1] {
        let role = Role { keys: vec![], threshold };
        let error = verify::<Ack>(&envelope, &role).unwrap_err();
        assert_eq!(error, VerifyError::Threshold { valid: 0, threshold: 1, present: 1 });
    }
}

#[test]
fn only_the_first_signatures_are_tried() {
    let director = Signer::named("director");
    let mut envelope = seal::<Ack>(&pretty(&fixture::ack()), &[&director]);
    let noise = Signature { keyid: None, sig: "AAAA".into() };
    envelope.signatures.splice(0..0, vec![noise.clone(); SIGNATURES_MAX - 1]);
    verify::<Ack>(&pretty(&envelope), &role(&[&director], 1)).unwrap();
    envelope.signatures.insert(0, noise);
    let error = verify::<Ack>(&pretty(&envelope), &role(&[&director], 1)).unwrap_err();
    assert_eq!(error.reason(), Reason::ThresholdNotMet);
}

#[test]
fn a_bad_signature_is_told_before_a_bad_payload() {
    let (right, wrong) = (Signer::named("director"), Signer::named("stranger"));
    let not_json = b"{\"version\": ";
    let told = |signer| {
        let envelope = pretty(&seal::<Document>(not_json, &[signer]));
        verify::<Document>(&envelope, &role(&[&right], 1)).unwrap_err().reason()
    };
    assert_eq!(told(&wrong), Reason::ThresholdNotMet);
    assert_eq!(told(&right), Reason::MalformedJson);
}

#[test]
fn payload_types_tell_the_kinds_apart() {
    let types = [Ack::PAYLOAD_TYPE, Document::PAYLOAD_TYPE, TrustRoot::PAYLOAD_TYPE];
    for (index, name) in types.iter().enumerate() {
        assert!(!types[index + 1..].contains(name));
        assert!(name.starts_with("application/vnd.gnomon.") && name.ends_with("+json"));
    }
}

#[test]
fn the_digest_is_of_the_bytes_that_were_signed() {
    let director = Signer::named("director");
    let root = role(&[&director], 1);
    let compact = serde_json::to_vec(&fixture::document()).unwrap();
    let spaced = pretty(&fixture::document());
    for payload in [&compact, &spaced] {
        let sealed = pretty(&seal::<Document>(payload, &[&director]));
        let verified = verify::<Document>(&sealed, &root).unwrap();
        assert_eq!(verified.digest(), &Digest::of(payload));
        assert_eq!(verified.payload(), &fixture::document());
    }
}

fn first_root(root: &TrustRoot, signers: &[&Signer]) -> Result<(), RootError> {
    verify_first_root(&pretty(&seal::<TrustRoot>(&pretty(root), signers))).map(drop)
}

#[test]
fn a_first_root_is_signed_by_its_own_root_role() {
    let root = fixture::trust_root();
    let [a, b, c] = ["root-a", "root-b", "root-c"].map(Signer::named);
    first_root(&root, &[&a, &b]).unwrap();
    first_root(&root, &[&c, &a]).unwrap();
    let director = Signer::named("director");
    for signers in [&[&a][..], &[&a, &a], &[&director, &a], &[]] {
        let error = first_root(&root, signers).unwrap_err();
        assert_eq!(error.reason(), Reason::ThresholdNotMet);
    }
}

#[test]
fn a_root_that_contradicts_itself_is_no_root() {
    let signers = ["root-a", "root-b", "director"].map(Signer::named);
    let signers: Vec<&Signer> = signers.iter().collect();
    let mut contradictions: Vec<TrustRoot> = vec![];
    let mut with = |change: &dyn Fn(&mut TrustRoot)| {
        let mut root = fixture::trust_root();
        change(&mut root);
        contradictions.push(root);
    };
    // One person in two roles, twice in one, a threshold beyond the keys, no keys.
    with(&|root| root.roles.approver = root.roles.director.clone());
    with(&|root| root.roles.director.keys.push(Signer::named("root-a").public()));
    with(&|root| root.roles.root.keys.push(Signer::named("root-a").public()));
    with(&|root| root.roles.director.threshold = 2);
    with(&|root| root.roles.approver.keys.clear());
    // A publisher with a role's key, and one whose sigstore root is not pinned.
    let proof = |root: &mut TrustRoot, proof| {
        root.publishers.values_mut().next().unwrap().proof = proof;
    };
    let key = || Signer::named("director").public();
    with(&|root| proof(root, Proof::Key { key: key(), sigstore_root: None }));
    with(&|root| {
        proof(
            root,
            Proof::Certificate {
                identity: CertificateIdentity::Uri { value: "https://ci".into() },
                issuer: "https://issuer".into(),
                sigstore_root: "ours".parse().unwrap(),
            },
        );
    });
    for root in contradictions {
        let error = first_root(&root, &signers).unwrap_err();
        assert_eq!(error.reason(), Reason::TrustRootInvalid, "{error}");
    }
}

#[test]
fn a_first_root_of_another_kind_is_told_as_such() {
    let director = Signer::named("director");
    let document = pretty(&seal::<Document>(&pretty(&fixture::document()), &[&director]));
    assert_eq!(verify_first_root(&document).unwrap_err().reason(), Reason::WrongPayloadType);
    let bare = verify_first_root(&read("examples/trust-root.json")).unwrap_err();
    assert_eq!(bare.reason(), Reason::SchemaViolation);
}
