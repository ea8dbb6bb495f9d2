//! Public keys and single signatures. The key decides the algorithm, never the message.

use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::ids::Digest;
use crate::reason::{Coded, Reason};

/// RFC 8410 SubjectPublicKeyInfo header of an Ed25519 key; 32 key bytes follow.
const ED25519_SPKI: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// RFC 5480 header of an uncompressed P-256 point; 65 point bytes follow.
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The y of the four Ed25519 points of order 8, little-endian (the others are 0, 1, -1).
const ORDER_8_Y: [[u8; 32]; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// Whether a point's order divides 8, or its y is not below the prime 2^255 - 19: under
/// such a key one signature holds for any message, or for one in eight.
fn is_degenerate(point: &[u8]) -> bool {
    let mut y = point.to_vec();
    let Some(top) = y.last_mut() else { return true };
    // The highest bit is the sign of x.
    *top &= 0x7f;
    let is_small = y.first().is_some_and(|&low| low <= 1) && y[1..].iter().all(|&byte| byte == 0);
    let is_near_prime = y[1..31].iter().all(|&byte| byte == 0xff) && y[31] == 0x7f;
    is_small || (is_near_prime && y[0] >= 0xec) || ORDER_8_Y.iter().any(|known| *known == y[..])
}

/// A key that is not one we verify with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a public key in PEM form (`BEGIN PUBLIC KEY`, Ed25519 or ECDSA P-256): {0}")]
pub struct KeyError(pub String);

impl Coded for KeyError {
    fn reason(&self) -> Reason {
        Reason::UnsupportedKey
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Ed25519,
    P256,
}

/// A public key: Ed25519 (RFC 8032) or ECDSA P-256 with SHA-256 (FIPS 186-5).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PublicKey {
    algorithm: Algorithm,
    spki: Vec<u8>,
}

impl PublicKey {
    /// Reads a key in PEM form, as openssl and cosign write it.
    ///
    /// # Errors
    /// [`KeyError`] for anything but one Ed25519 or P-256 public key.
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        let found = pem::parse_many(text).map_err(|error| KeyError(error.to_string()))?;
        let [pem] = <[pem::Pem; 1]>::try_from(found)
            .map_err(|found| KeyError(format!("{} PEM blocks", found.len())))?;
        if pem.tag() != "PUBLIC KEY" {
            return Err(KeyError(format!("found `BEGIN {}`", pem.tag())));
        }
        PublicKey::from_spki(pem.into_contents())
    }

    /// Reads a DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError`] for any other kind of key.
    pub fn from_spki(spki: Vec<u8>) -> Result<PublicKey, KeyError> {
        let is = |header: &[u8], key: usize| {
            spki.len() == header.len() + key && spki.starts_with(header)
        };
        let algorithm = if is(ED25519_SPKI, 32) {
            if is_degenerate(&spki[ED25519_SPKI.len()..]) {
                return Err(KeyError("an Ed25519 point under which anyone can sign".into()));
            }
            Algorithm::Ed25519
        } else if is(P256_SPKI, 65) {
            Algorithm::P256
        } else {
            return Err(KeyError(format!("{} bytes of another kind of key", spki.len())));
        };
        Ok(PublicKey { algorithm, spki })
    }

    /// The Ed25519 key with these 32 bytes.
    ///
    /// # Errors
    /// [`KeyError`] when there are not 32.
    pub fn from_ed25519(raw: &[u8]) -> Result<PublicKey, KeyError> {
        PublicKey::from_spki([ED25519_SPKI, raw].concat())
    }

    /// The P-256 key with this uncompressed point (65 bytes).
    ///
    /// # Errors
    /// [`KeyError`] when there are not 65.
    pub fn from_p256(point: &[u8]) -> Result<PublicKey, KeyError> {
        PublicKey::from_spki([P256_SPKI, point].concat())
    }

    /// The key's id: the digest of its SubjectPublicKeyInfo.
    pub fn id(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// The PEM form.
    pub fn to_pem(&self) -> String {
        pem::encode(&pem::Pem::new("PUBLIC KEY", self.spki.clone()))
    }

    /// Whether `signature` is this key's over `message`. ECDSA signatures are
    /// ASN.1 DER, as cosign and openssl write them.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, raw): (&dyn VerificationAlgorithm, &[u8]) = match self.algorithm {
            Algorithm::Ed25519 => (&ED25519, &self.spki[ED25519_SPKI.len()..]),
            Algorithm::P256 => (&ECDSA_P256_SHA256_ASN1, &self.spki[P256_SPKI.len()..]),
        };
        UnparsedPublicKey::new(algorithm, raw).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?} {})", self.algorithm, self.id().short())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<PublicKey, KeyError> {
        PublicKey::from_pem(&text)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_pem()
    }
}
