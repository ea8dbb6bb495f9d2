//! Keys and single signatures: what is not exactly one is none.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair,
};

use super::fixture::Signer;
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::{Coded, Reason};

const RSA: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1bAewxpOhVcOEuWCadQ1
M491KxaR+lABuvWytL9ibedajD1OltLITvmzPln2gH10VmItoSLSwfvHb3yQ9qfB
46FVJ62PSchpLrrRaNrTMC6HoTSf/JSetEdgcxrtpkVHmc7PpilL58mxTFIS+QJG
T6I+5ReMg3CC9pBb+IjUtcang7UZEVbi1ZMWug7FS1HyZA7xcLgSd6DNYtBEo9m2
XmpA+bOgbNV3oAfgbFVftzc0YKxXGFnuTFqyYvf0iiqi1i8JEVvzeXHkR26N+nH5
x1Bw1xlWXKoAL5muDOqNZD89G2PaVj6ywI713pPEWzA9Y/2aktO1c70zSe2RbYd6
/wIDAQAB
-----END PUBLIC KEY-----
";

const P384: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEWBnFEkNtjtz+YzuX+ph3QQ0bwa1VijOM
uHUUzUwL41Zy3ZFyW2L2eFLAGjO6MYDCfLXj9Xgcz8YOIsTb8R/RCBY4LRw73sxg
7HRPKvQRIq67tofRiSmjLBafLMa4Ey9U
-----END PUBLIC KEY-----
";

const P256_COMPRESSED: &str = "\
-----BEGIN PUBLIC KEY-----
MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACKbNnWwZ22tiOJU/bc3UvjWqV6dT1
AKdAj4GPLoR+zRE=
-----END PUBLIC KEY-----
";

const MESSAGE: &[u8] = b"what was signed";

struct P256 {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

fn p256() -> P256 {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let secret = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, secret.as_ref(), &random).unwrap();
    let public = PublicKey::from_p256(pair.public_key().as_ref()).unwrap();
    P256 { pair, public }
}

impl P256 {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

#[test]
fn both_kinds_verify_and_survive_their_pem_form() {
    let ed25519 = Signer::named("a");
    let p256 = p256();
    for (key, signature) in
        [(ed25519.public(), ed25519.sign(MESSAGE)), (p256.public.clone(), p256.sign(MESSAGE))]
    {
        assert!(key.verifies(MESSAGE, &signature));
        assert!(!key.verifies(b"what was not signed", &signature));
        assert!(!key.verifies(b"", &signature));
        let again = PublicKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!((&again, again.id()), (&key, key.id()));
        assert!(again.verifies(MESSAGE, &signature));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        assert!(!format!("{key:?}").contains("BEGIN"));
    }
}

#[test]
fn the_signature_of_rfc_8032_verifies() {
    // RFC 8032, section 7.1, test 2: the message is the one byte 0x72.
    let key = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let signature = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    let key = PublicKey::from_ed25519(&key).unwrap();
    assert!(key.verifies(&[0x72], &signature));
    assert!(!key.verifies(&[0x73], &signature));
    // The same signature with S + L instead of S: malleable, so refused (RFC 8032, 5.1.7).
    let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    let mut malleable = signature;
    for (byte, add) in malleable[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    assert!(!key.verifies(&[0x72], &malleable));
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

#[test]
fn a_signature_is_whole_or_nothing() {
    let ed25519 = Signer::named("a");
    let p256 = p256();
    for (key, signature) in
        [(ed25519.public(), ed25519.sign(MESSAGE)), (p256.public.clone(), p256.sign(MESSAGE))]
    {
        for length in 0..signature.len() {
            assert!(!key.verifies(MESSAGE, &signature[..length]), "{key:?} cut to {length}");
        }
        for bit in 0..signature.len() * 8 {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verifies(MESSAGE, &flipped), "{key:?} bit {bit}");
        }
        assert!(!key.verifies(MESSAGE, &[&signature[..], &[0]].concat()));
        for length in [0, 32, 63, 64, 65, 70, 72, 96] {
            assert!(!key.verifies(MESSAGE, &vec![0; length]));
            assert!(!key.verifies(MESSAGE, &vec![0xff; length]));
        }
    }
}

#[test]
fn a_key_takes_no_signature_of_another_key_or_kind() {
    let (a, b) = (Signer::named("a"), Signer::named("b"));
    let (p, q) = (p256(), p256());
    assert!(!a.public().verifies(MESSAGE, &b.sign(MESSAGE)));
    assert!(!p.public.verifies(MESSAGE, &q.sign(MESSAGE)));
    assert!(!a.public().verifies(MESSAGE, &p.sign(MESSAGE)));
    assert!(!p.public.verifies(MESSAGE, &a.sign(MESSAGE)));
}

/// The two integers of a DER signature, as they stand in it.
fn integers(der: &[u8]) -> [Vec<u8>; 2] {
    assert_eq!((der[0], usize::from(der[1])), (0x30, der.len() - 2));
    let r = usize::from(der[3]);
    [der[4..4 + r].to_vec(), der[6 + r..].to_vec()]
}

fn encode(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(body.len()).unwrap()], body].concat()
}

fn sequence(r: &[u8], s: &[u8]) -> Vec<u8> {
    encode(0x30, &[encode(2, r), encode(2, s)].concat())
}

#[test]
fn ecdsa_signatures_are_der_and_no_other_ber() {
    let key = p256();
    let der = key.sign(MESSAGE);
    let [r, s] = integers(&der);
    assert_eq!(sequence(&r, &s), der);
    let longer = |number: &[u8]| [&[0], number].concat();
    let body = &der[2..];
    let long_length =
        |tag: u8, body: &[u8]| [&[tag, 0x81, u8::try_from(body.len()).unwrap()], body].concat();
    for (what, ber) in [
        ("r with a zero in front", sequence(&longer(&r), &s)),
        ("s with a zero in front", sequence(&r, &longer(&s))),
        ("a length in long form", long_length(0x30, body)),
        (
            "an inner length in long form",
            encode(0x30, &[long_length(2, &r), encode(2, &s)].concat()),
        ),
        ("an indefinite length", [&[0x30, 0x80], body, &[0, 0]].concat()),
        ("a third integer", encode(0x30, &[body, &[2, 1, 1]].concat())),
        ("a set", encode(0x31, body)),
        ("r = 0", sequence(&[0], &s)),
        ("s = 0", sequence(&r, &[0])),
        ("both 0", sequence(&[0], &[0])),
        ("empty integers", sequence(&[], &[])),
        ("an empty sequence", vec![0x30, 0]),
        ("trailing bytes", [&der[..], &[0, 0]].concat()),
    ] {
        assert!(!key.public.verifies(MESSAGE, &ber), "{what}");
    }
}

#[test]
fn ecdsa_signatures_in_fixed_form_are_refused() {
    let random = SystemRandom::new();
    let fixed = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let secret = EcdsaKeyPair::generate_pkcs8(fixed, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(fixed, secret.as_ref(), &random).unwrap();
    let key = PublicKey::from_p256(pair.public_key().as_ref()).unwrap();
    assert!(!key.verifies(MESSAGE, pair.sign(&random, MESSAGE).unwrap().as_ref()));
}

#[test]
fn a_point_off_the_curve_verifies_nothing() {
    let key = PublicKey::from_p256(&[&[4][..], &[7; 64]].concat()).unwrap();
    assert!(!key.verifies(MESSAGE, &p256().sign(MESSAGE)));
    let key = PublicKey::from_ed25519(&[2; 32]).unwrap();
    assert!(!key.verifies(MESSAGE, &Signer::named("a").sign(MESSAGE)));
}

#[test]
fn a_key_under_which_anyone_can_sign_is_no_key() {
    // The neutral point: R = key, s = 0 would hold for any message. Then -1, 0, a point
    // of order 8, and y = p, which some read as 0; each with both signs of x.
    for point in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let mut point = hex(point);
        for sign in [0, 0x80] {
            point[31] = point[31] & 0x7f | sign;
            let error = PublicKey::from_ed25519(&point).unwrap_err();
            assert_eq!(error.reason(), Reason::UnsupportedKey, "{point:02x?}");
        }
    }
}

#[test]
fn what_is_not_one_public_key_of_a_known_kind_is_unsupported() {
    let random = SystemRandom::new();
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let secret = |tag: &str, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
    let good = Signer::named("a").public().to_pem();
    let truncated = pem::parse(&good).unwrap().into_contents()[..43].to_vec();
    for (what, text) in [
        ("an Ed25519 private key", secret("PRIVATE KEY", ed25519.as_ref())),
        ("a P-256 private key", secret("PRIVATE KEY", p256.as_ref())),
        ("a private key in a public frame", secret("PUBLIC KEY", p256.as_ref())),
        ("RSA", RSA.to_owned()),
        ("P-384", P384.to_owned()),
        ("a compressed point", P256_COMPRESSED.to_owned()),
        ("a certificate", good.replace("PUBLIC KEY", "CERTIFICATE")),
        ("a cut key", secret("PUBLIC KEY", &truncated)),
        ("an empty key", secret("PUBLIC KEY", &[])),
        ("two keys", good.repeat(2)),
        ("nothing", String::new()),
        ("words", "not a key".to_owned()),
        ("hexadecimal", "3d4017c3e843895a92b70aa74d1b7ebc".to_owned()),
        ("an open frame", good.replace("-----END PUBLIC KEY-----", "")),
        ("bad base64", good.replace("MCow", "M*ow")),
    ] {
        let error = PublicKey::from_pem(&text).expect_err(what);
        assert_eq!(error.reason(), Reason::UnsupportedKey, "{what}: {error}");
        assert!(!error.to_string().contains("MC"), "{what}: the message shows key material");
    }
    for length in [0, 31, 33, 64] {
        assert_eq!(
            PublicKey::from_ed25519(&vec![1; length]).unwrap_err().reason(),
            Reason::UnsupportedKey
        );
        assert!(PublicKey::from_p256(&vec![4; length]).is_err());
    }
}
