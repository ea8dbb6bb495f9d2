//! Signatures and keys that a sloppy verifier takes, in the manner of Wycheproof, made
//! here from the arithmetic of RFC 8032 and X9.62 and run through our own verifier.
//!
//! What a signature is over, and who must have made it, is `attacks`' business.

use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::{Payload, Signature, pre_authentication_encoding};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::reason::{Coded, Reason};
use gnomon_schemas::trust::Role;
use gnomon_schemas::verify::{Verified, VerifyError, verify};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use ring::digest::{SHA384, SHA512, digest};

use crate::attacks::world::{Signer, config, json, seal};

const MESSAGE: &[u8] = b"what was signed";

fn hex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// a + b, big-endian; one byte longer than they are.
fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut sum = vec![0; a.len() + 1];
    let mut carry = 0;
    for at in (0..a.len()).rev() {
        let digit = u16::from(a[at]) + u16::from(b[at]) + carry;
        sum[at + 1] = digit.to_le_bytes()[0];
        carry = digit >> 8;
    }
    sum[0] = carry.to_le_bytes()[0];
    sum
}

/// a - b where a is the larger, big-endian.
fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut difference = vec![0; a.len()];
    let mut borrow = 0;
    for at in (0..a.len()).rev() {
        let digit = i16::from(a[at]) - i16::from(b[at]) - borrow;
        difference[at] = digit.rem_euclid(256).to_le_bytes()[0];
        borrow = i16::from(digit < 0);
    }
    assert_eq!(borrow, 0);
    difference
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

/// The order of Ed25519's base point: 2^252 + 27742317777372353535851937790883648493.
fn ed25519_order() -> Vec<u8> {
    hex("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed")
}

/// The order n of P-256's base point.
fn p256_order() -> Vec<u8> {
    hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
}

/// The prime p of P-256's field.
fn p256_prime() -> Vec<u8> {
    hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff")
}

/// The eight points of Ed25519 whose order divides 8, and four more encodings of them
/// whose y or whose sign is not reduced.
fn small_order() -> Vec<Vec<u8>> {
    let points = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    points.map(hex).to_vec()
}

#[track_caller]
fn refused(key: &PublicKey, what: &str, signature: &[u8]) {
    assert!(!key.verifies(MESSAGE, signature), "{what} is taken: {signature:02x?}");
}

#[test]
fn every_ed25519_vector_is_judged_as_rfc_8032_says() {
    let signer = Signer::named("vectors");
    let key = signer.public();
    let good = signer.sign(MESSAGE);
    assert!(key.verifies(MESSAGE, &good));
    let (r, s) = good.split_at(32);
    let with_s = |s: &[u8]| [r, &reversed(s)[..]].concat();
    let mut grown = reversed(s);
    // s + L, s + 2L, ... as long as they fit: all satisfy the equation.
    for times in 1..=15 {
        grown = add(&grown, &ed25519_order())[1..].to_vec();
        refused(&key, &format!("s + {times} L"), &with_s(&grown));
    }
    let negative = subtract(&ed25519_order(), &reversed(s));
    let zero = [0; 32];
    for (what, signature) in [
        ("s = L", with_s(&ed25519_order())),
        ("L - s", with_s(&negative)),
        ("s = 0", with_s(&zero)),
        ("s = 2^256 - 1", with_s(&[0xff; 32])),
        ("R = 0", [&zero, s].concat()),
        ("all zeros", vec![0; 64]),
        ("nothing", vec![]),
        ("R alone", r.to_vec()),
        ("s alone", s.to_vec()),
        ("s before R", [s, r].concat()),
        ("s big-endian", with_s(s)),
        ("a byte in front", [&[0], &good[..]].concat()),
        ("a byte behind", [&good[..], &[0]].concat()),
        ("twice", [&good[..], &good[..]].concat()),
        ("in a DER string", [&[4, 64], &good[..]].concat()),
        ("in text", format!("{good:02x?}").into_bytes()),
    ] {
        refused(&key, what, &signature);
    }
    for length in 0..good.len() {
        refused(&key, "cut", &good[..length]);
        refused(&key, "cut in front", &good[good.len() - length..]);
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&key, &format!("bit {bit}"), &flipped);
    }
    // Whatever R of small order and s are: nobody forges without the secret.
    for point in small_order() {
        for s in [&zero[..], s, &reversed(&ed25519_order())] {
            refused(&key, "R of small order", &[&point, s].concat());
        }
    }
}

#[test]
fn an_ed25519_signature_that_only_cofactored_verifiers_take_is_refused() {
    // The secret scalar a of the seed 07 07 ... 07, its key A, R = rB with r = 123456789,
    // k = SHA-512(R, A, message), s = r + ka: the first signature. The second has
    // R = rB + T, T of order 8, and k and s computed anew: it holds times eight only.
    let key = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
    let good = "17ffad8068dc0de9935d36636f3ad1b5de6de3413b12388e453b05f2a4c1d3db\
        88cc5b804fb111987ebe2af990c4520b9bfc8ebf6c98abb23e314c82312f330f";
    let mixed = "d63c01223147541df4e170763e9e2788a8bf5971f52a93c5829dbe6f5ff6bba9\
        bd588c6a1e834fa17ead11e0e58cc3537270af72fb20078484724662d59fa50b";
    let key = PublicKey::from_ed25519(&hex(key)).unwrap();
    assert!(key.verifies(MESSAGE, &hex(good)));
    refused(&key, "R with a part of order 8", &hex(mixed));
}

#[test]
fn a_key_of_small_order_is_no_key() {
    // Under the neutral point as a key, (R, s) = (neutral point, 0) holds for any message.
    for point in small_order() {
        let error = PublicKey::from_ed25519(&point).expect_err("a key of small order");
        assert_eq!(error.reason(), Reason::UnsupportedKey);
        let key = pem::encode(&pem::Pem::new("PUBLIC KEY", [&ED25519_SPKI[..], &point].concat()));
        assert_eq!(PublicKey::from_pem(&key).unwrap_err().reason(), Reason::UnsupportedKey);
    }
    // y that is not below the prime 2^255 - 19, which other programs read as y - p.
    for last in 0xed..=0xff {
        for top in [0x7f, 0xff] {
            let mut y = [0xff; 32];
            (y[0], y[31]) = (last, top);
            assert!(PublicKey::from_ed25519(&y).is_err(), "{y:02x?}");
        }
    }
}

/// RFC 8410: what stands before the 32 bytes of an Ed25519 key.
const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(body.len()).unwrap()], body].concat()
}

/// The DER INTEGER of a number that is not negative: no zeros in front but the one
/// that keeps it from being negative.
fn integer(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|&byte| byte != 0).unwrap_or(number.len() - 1);
    let digits = &number[start..];
    let sign: &[u8] = if digits[0] & 0x80 == 0 { &[] } else { &[0] };
    der(2, &[sign, digits].concat())
}

fn sequence(r: &[u8], s: &[u8]) -> Vec<u8> {
    der(0x30, &[integer(r), integer(s)].concat())
}

struct P256 {
    secret: p256::ecdsa::SigningKey,
    key: PublicKey,
    r: Vec<u8>,
    s: Vec<u8>,
}

fn p256_signed(name: &str) -> P256 {
    let signer = Signer::p256(name);
    let key = signer.public();
    let Signer::P256(secret) = signer else { unreachable!("made as P-256") };
    let signature: p256::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(&secret, MESSAGE);
    let (r, s) = signature.split_bytes();
    P256 { secret, key, r: r.to_vec(), s: s.to_vec() }
}

#[test]
fn every_p256_vector_is_judged_as_x9_62_says() {
    let P256 { secret, key, r, s } = p256_signed("vectors");
    let good = sequence(&r, &s);
    assert!(key.verifies(MESSAGE, &good));
    let (n, p) = (p256_order(), p256_prime());
    let zero = [0; 32];
    let one = [&[0; 31][..], &[1]].concat();
    for (what, r, s) in [
        ("r = 0", &zero[..], &s[..]),
        ("s = 0", &r, &zero),
        ("both 0", &zero, &zero),
        ("r = 0, s = 1", &zero, &one),
        ("r = 1, s = 0", &one, &zero),
        ("r = 1, s = 1", &one, &one),
        ("r = n", &n, &s),
        ("s = n", &r, &n),
        ("both n", &n, &n),
        ("r = n, s = 1", &n, &one),
        ("r = p", &p, &s),
        ("s = p", &r, &p),
        ("r = n - 1", &subtract(&n, &one), &s),
        ("s = n - 1", &r, &subtract(&n, &one)),
        ("r + n", &add(&r, &n), &s),
        ("s + n", &r, &add(&s, &n)),
        ("n - r", &subtract(&n, &r), &s),
        ("r = 2^256 - 1", &[0xff; 32], &s),
        ("r and s exchanged", &s, &r),
    ] {
        refused(&key, what, &sequence(r, s));
    }
    let (of_r, of_s) = (integer(&r), integer(&s));
    let body = [&of_r[..], &of_s].concat();
    let length = u8::try_from(body.len()).unwrap();
    let negative =
        |number: &[u8]| der(2, &subtract(&[&[1][..], &[0; 32]].concat(), &[&[0], number].concat()));
    let zeros = |number: &[u8]| der(2, &[&[0, 0], number].concat());
    let long =
        |tag: u8, body: &[u8]| [&[tag, 0x81, u8::try_from(body.len()).unwrap()], body].concat();
    let sha = |algorithm| digest(algorithm, MESSAGE).as_ref()[..32].to_vec();
    let hashed = |hash: &[u8]| -> Vec<u8> {
        let signature: p256::ecdsa::Signature = secret.sign_prehash(hash).unwrap();
        signature.to_der().as_bytes().to_vec()
    };
    let twice = digest(&ring::digest::SHA256, digest(&ring::digest::SHA256, MESSAGE).as_ref());
    for (what, signature) in [
        ("zeros in front of r", der(0x30, &[&zeros(&r)[..], &of_s].concat())),
        ("zeros in front of s", der(0x30, &[&of_r[..], &zeros(&s)].concat())),
        ("r negative", der(0x30, &[&negative(&r)[..], &of_s].concat())),
        ("s negative", der(0x30, &[&of_r[..], &negative(&s)].concat())),
        ("a long length", long(0x30, &body)),
        ("a longer length", [&[0x30, 0x82, 0, length], &body[..]].concat()),
        ("a long length of r", der(0x30, &[&long(2, &of_r[2..])[..], &of_s].concat())),
        ("a long length of s", der(0x30, &[&of_r[..], &long(2, &of_s[2..])].concat())),
        ("an indefinite length", [&[0x30, 0x80], &body[..], &[0, 0]].concat()),
        ("a length too short", [&[0x30, length - 1], &body[..]].concat()),
        ("a length too long", [&[0x30, length + 1], &body[..]].concat()),
        ("a length of 2^64 - 1", [&[0x30, 0x88], &[0xff; 8][..], &body].concat()),
        ("a byte inside, behind", der(0x30, &[&body[..], &[0]].concat())),
        ("NULL inside", der(0x30, &[&body[..], &[5, 0]].concat())),
        ("a third number", der(0x30, &[&body[..], &of_s].concat())),
        ("r alone", der(0x30, &of_r)),
        ("empty numbers", der(0x30, &[2, 0, 2, 0])),
        ("an empty sequence", vec![0x30, 0]),
        ("a set", der(0x31, &body)),
        ("octet strings", der(0x30, &[der(4, &r), der(4, &s)].concat())),
        ("a sequence of the sequence", der(0x30, &good)),
        ("a bit string of the sequence", der(3, &[&[0], &good[..]].concat())),
        ("a byte behind", [&good[..], &[0]].concat()),
        ("a byte in front", [&[0], &good[..]].concat()),
        ("r and s side by side", [&r[..], &s].concat()),
        ("64 zeros", vec![0; 64]),
        ("nothing", vec![]),
        ("of SHA-512", hashed(&sha(&SHA512))),
        ("of SHA-384", hashed(&sha(&SHA384))),
        ("of the hash's hash", hashed(twice.as_ref())),
        ("of zeros", hashed(&[0; 32])),
    ] {
        refused(&key, what, &signature);
    }
    for length in 0..good.len() {
        refused(&key, "cut", &good[..length]);
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&key, &format!("bit {bit}"), &flipped);
    }
}

#[test]
fn a_number_that_needs_its_zero_in_front_is_refused_without_it() {
    // Some r has its highest bit set: without the zero it is another, negative number.
    let signed = (0..64).map(|number| p256_signed(&format!("zero {number}")));
    let high: Vec<P256> = signed.filter(|signed| signed.r[0] & 0x80 != 0).collect();
    assert!(high.len() > 10);
    for P256 { key, r, s, .. } in high {
        assert!(key.verifies(MESSAGE, &sequence(&r, &s)));
        refused(&key, "r without its zero", &der(0x30, &[der(2, &r), integer(&s)].concat()));
    }
}

#[test]
fn points_that_are_none_are_no_keys_or_verify_nothing() {
    let P256 { key, r, s, .. } = p256_signed("vectors");
    let good = sequence(&r, &s);
    let pem = pem::parse(key.to_pem()).unwrap();
    let point = pem.contents()[26..].to_vec();
    assert_eq!((point.len(), point[0]), (65, 4));
    let (x, y) = (&point[1..33], &point[33..]);
    let off = |x: &[u8], y: &[u8]| [&[4], x, y].concat();
    let zero = [0; 32];
    let mut beside = y.to_vec();
    beside[31] ^= 1;
    for (what, point) in [
        ("beside the curve", off(x, &beside)),
        ("(0, 0)", off(&zero, &zero)),
        ("x and y exchanged", off(y, x)),
        ("x = p", off(&p256_prime(), y)),
        ("y = p", off(x, &p256_prime())),
        ("x = 2^256 - 1", off(&[0xff; 32], y)),
        ("-y, another key", off(x, &subtract(&p256_prime(), y))),
        ("hybrid, even", [&[6], x, y].concat()),
        ("hybrid, odd", [&[7], x, y].concat()),
        ("no form", [&[0], x, y].concat()),
    ] {
        let Ok(key) = PublicKey::from_p256(&point) else { continue };
        refused(&key, what, &good);
        refused(&key, what, &sequence(x, &s));
    }
    for (what, point) in [
        ("the point at infinity", vec![0]),
        ("compressed", [&[2 + (y[31] & 1)], x].concat()),
        ("x alone", [&[4], x].concat()),
        ("without its form", [x, y].concat()),
        ("longer", [&point[..], &[0]].concat()),
        ("nothing", vec![]),
    ] {
        let error = PublicKey::from_p256(&point).expect_err(what);
        assert_eq!(error.reason(), Reason::UnsupportedKey);
    }
}

/// ECDSA takes (r, n - s) where it takes (r, s): anyone can make the one of the other.
/// So a signature is no name for anything, and two of them are one person still.
#[test]
fn two_signatures_of_one_key_are_one_signer() {
    let (one, other) = (Signer::p256("malleable"), Signer::p256("absent"));
    let role = Role { keys: vec![one.public(), other.public()], threshold: 2 };
    let document = config(1);
    let mut envelope = seal(&document, &[&one]);
    let message = pre_authentication_encoding(Document::PAYLOAD_TYPE, &json(&document));
    let Signer::P256(secret) = &one else { unreachable!("made as P-256") };
    let signature: p256::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(secret, &message);
    let (r, s) = signature.split_bytes();
    let twin = sequence(&r, &subtract(&p256_order(), &s));
    assert!(one.public().verifies(&message, &twin), "the equation holds for n - s, too");
    assert_ne!(twin, signature.to_der().as_bytes());
    let sig = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &twin);
    envelope.signatures.push(Signature { keyid: Some(other.public().id().to_string()), sig });
    let error = verify::<Document>(&json(&envelope), &role).unwrap_err();
    assert_eq!(error, VerifyError::Threshold { valid: 1, threshold: 2, present: 2 });
    // And what is accepted is known by its payload: the twin makes no second document.
    let alone = Role { threshold: 1, ..role };
    let first = verify::<Document>(&json(&envelope), &alone).unwrap();
    envelope.signatures.remove(0);
    let second: Verified<Document> = verify(&json(&envelope), &alone).unwrap();
    assert_eq!(first.digest(), second.digest());
}

/// Whether these signers, some of them twice, meet a threshold.
fn verdict(n: usize, threshold: usize, signers: &[usize]) -> Result<(), VerifyError> {
    let key = |index: usize| match index % 2 {
        0 => Signer::named(&format!("signer {index}")),
        _ => Signer::p256(&format!("signer {index}")),
    };
    let role = Role { keys: (0..n).map(|index| key(index).public()).collect(), threshold };
    let signers: Vec<Signer> = signers.iter().map(|&index| key(index)).collect();
    let envelope = seal(&config(1), &signers.iter().collect::<Vec<_>>());
    verify::<Document>(&json(&envelope), &role).map(drop)
}

#[test]
fn every_subset_of_every_role_is_counted_by_distinct_keys() {
    for n in 1..=5_usize {
        for threshold in 1..=n {
            for subset in 0..1_u32 << n {
                let signers: Vec<usize> = (0..n).filter(|index| subset >> index & 1 == 1).collect();
                // Each once, each twice, and with a stranger in front.
                let doubled = [signers.clone(), signers.clone()].concat();
                let strange = [vec![9], signers.clone()].concat();
                let enough = signers.len() >= threshold;
                for signers in [signers, doubled, strange] {
                    let found = verdict(n, threshold, &signers).is_ok();
                    assert_eq!(found, enough, "{signers:?} of {n} for {threshold}");
                }
            }
        }
    }
}

fn cases(cases: u32) -> Config {
    let kept = FileFailurePersistence::WithSource("regressions");
    Config { failure_persistence: Some(Box::new(kept)), ..Config::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases(128))]
    #[test]
    fn a_threshold_counts_keys_in_any_order_and_number(
        n in 1..=5_usize,
        threshold in 1..=5_usize,
        signers in prop::collection::vec(0..8_usize, 0..=12),
    ) {
        let known: std::collections::BTreeSet<usize> =
            signers.iter().copied().filter(|&index| index < n).collect();
        let threshold = threshold.min(n);
        let found = verdict(n, threshold, &signers);
        prop_assert_eq!(found.is_ok(), known.len() >= threshold);
        if let Err(error) = found {
            let present = signers.len();
            let expected = VerifyError::Threshold { valid: known.len(), threshold, present };
            prop_assert_eq!(error, expected);
        }
    }
}
