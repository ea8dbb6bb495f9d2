//! Tells the library times that were judged already, in the one language in which
//! it takes a time without asking the system's clock: RFC 3161 timestamps.
//!
//! A witness is a timestamp authority that lives for one verification. Its key is
//! fresh, never leaves this file and signs only what [`crate::times`] verified. A
//! token of its that were wrong would be refused, not taken.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::reason::Reason;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use sigstore_verify::trust_root::TimestampAuthority;
use std::time::Duration;
use x509_cert::der::{Encode, asn1::GeneralizedTime};

use crate::error::BundleError;

/// SEQUENCE { OID ecdsa-with-SHA256 }.
const ECDSA_SHA256: &[u8] =
    &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// SEQUENCE { OID sha256 }.
const SHA256_ID: &[u8] =
    &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// SEQUENCE { OID ecPublicKey, OID prime256v1 }.
const P256_ID: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// OID id-signedData (RFC 5652).
const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// OID id-ct-TSTInfo (RFC 3161).
const TST_INFO: &[u8] =
    &[0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
/// OID contentType and OID messageDigest (RFC 5652, section 11).
const CONTENT_TYPE: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// RDNSequence of one name, CN=witness.
const NAME: &[u8] = &[
    0x30, 0x12, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x07, b'w', b'i', b't',
    b'n', b'e', b's', b's',
];
/// Extensions: extendedKeyUsage (critical) { timeStamping }.
const EXTENSIONS: &[u8] = &[
    0xa3, 0x1a, 0x30, 0x18, 0x30, 0x16, 0x06, 0x03, 0x55, 0x1d, 0x25, 0x01, 0x01, 0xff, 0x04, 0x0c,
    0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08,
];
/// A serial number and a policy that mean nothing: OID 2.5.29.32.0, anyPolicy.
const SERIAL: &[u8] = &[0x02, 0x01, 0x01];
const POLICY: &[u8] = &[0x06, 0x04, 0x55, 0x1d, 0x20, 0x00];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTETS: u8 = 0x04;
const BITS: u8 = 0x03;
const GENERALIZED_TIME: u8 = 0x18;
const UTC_TIME: u8 = 0x17;
const EXPLICIT_0: u8 = 0xa0;

/// A timestamp authority for the time of one verification.
pub(crate) struct Witness {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Witness {
    pub(crate) fn new() -> Result<Witness, BundleError> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .map_err(|_| no_randomness())
            .and_then(|key| {
                EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random)
                    .map_err(|_| no_randomness())
            })?;
        Ok(Witness { key, random })
    }

    /// Itself, as a trusted root names an authority: its certificate, signed by itself.
    pub(crate) fn authority(&self) -> Result<TimestampAuthority, BundleError> {
        let life =
            [tlv(UTC_TIME, &[b"700101000000Z"]), tlv(GENERALIZED_TIME, &[b"99991231235959Z"])];
        let point = tlv(BITS, &[&[0], self.key.public_key().as_ref()]);
        let certificate = tlv(
            SEQUENCE,
            &[
                // Version 3.
                &tlv(EXPLICIT_0, &[&[0x02, 0x01, 0x02]]),
                SERIAL,
                ECDSA_SHA256,
                NAME,
                &tlv(SEQUENCE, &[&life[0], &life[1]]),
                NAME,
                &tlv(SEQUENCE, &[P256_ID, &point]),
                EXTENSIONS,
            ],
        );
        let signature = tlv(BITS, &[&[0], &self.sign(&certificate)?]);
        let certificate = tlv(SEQUENCE, &[&certificate, ECDSA_SHA256, &signature]);
        let json = serde_json::json!({
            "certChain": { "certificates": [{ "rawBytes": STANDARD.encode(certificate) }] },
        });
        serde_json::from_value(json)
            .map_err(|error| BundleError::new(Reason::Unavailable, error.to_string()))
    }

    /// A token that `signature` was there at `time` (Unix time, s).
    pub(crate) fn token(&self, signature: &[u8], time: i64) -> Result<Vec<u8>, BundleError> {
        let imprint = tlv(OCTETS, &[digest(&SHA256, signature).as_ref()]);
        let info = tlv(
            SEQUENCE,
            &[
                &[0x02, 0x01, 0x01],
                POLICY,
                &tlv(SEQUENCE, &[SHA256_ID, &imprint]),
                SERIAL,
                &generalized(time)?,
            ],
        );
        let content_type = tlv(SEQUENCE, &[CONTENT_TYPE, &tlv(SET, &[TST_INFO])]);
        let info_digest = tlv(OCTETS, &[digest(&SHA256, &info).as_ref()]);
        let message_digest = tlv(SEQUENCE, &[MESSAGE_DIGEST, &tlv(SET, &[&info_digest])]);
        // Signed as a SET, carried under the tag [0] (RFC 5652, section 5.4).
        let attributes = [content_type.as_slice(), &message_digest];
        let signed = self.sign(&tlv(SET, &attributes))?;
        let signer = tlv(
            SEQUENCE,
            &[
                &[0x02, 0x01, 0x01],
                &tlv(SEQUENCE, &[NAME, SERIAL]),
                SHA256_ID,
                &tlv(EXPLICIT_0, &attributes),
                ECDSA_SHA256,
                &tlv(OCTETS, &[&signed]),
            ],
        );
        let content = tlv(EXPLICIT_0, &[&tlv(OCTETS, &[&info])]);
        let signed_data = tlv(
            SEQUENCE,
            &[
                &[0x02, 0x01, 0x03],
                &tlv(SET, &[SHA256_ID]),
                &tlv(SEQUENCE, &[TST_INFO, &content]),
                &tlv(SET, &[&signer]),
            ],
        );
        Ok(tlv(SEQUENCE, &[SIGNED_DATA, &tlv(EXPLICIT_0, &[&signed_data])]))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BundleError> {
        let signature = self.key.sign(&self.random, message).map_err(|_| no_randomness())?;
        Ok(signature.as_ref().to_vec())
    }
}

fn no_randomness() -> BundleError {
    BundleError::new(Reason::Unavailable, "the system gives no random numbers; try again")
}

/// One DER value of these parts: X.690, definite lengths in their shortest form.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = vec![tag];
    match length {
        0..=0x7f => der.push(length as u8),
        0x80..=0xff => der.extend([0x81, length as u8]),
        _ => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

/// GeneralizedTime of a Unix time, in whole seconds.
fn generalized(time: i64) -> Result<Vec<u8>, BundleError> {
    u64::try_from(time)
        .ok()
        .and_then(|time| GeneralizedTime::from_unix_duration(Duration::from_secs(time)).ok())
        .and_then(|time| time.to_der().ok())
        .ok_or_else(|| BundleError::signed_time(format!("signed at {time} (Unix time, s)")))
}
