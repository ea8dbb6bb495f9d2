//! The DSSE envelope (dsse v1.0.2): payload bytes, their type, signatures over both.
//!
//! Signing happens elsewhere; this file only makes the bytes that are signed.

use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A DSSE envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// The media type of the payload.
    pub payload_type: String,
    /// The payload in base64 (RFC 4648, padded).
    pub payload: String,
    /// Signatures over the pre-authentication encoding of type and payload.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// A hint which key made it; never trusted, never counted by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
    /// The signature in base64.
    pub sig: String,
}

/// A kind of payload: its media type and its cap.
pub trait Payload {
    /// The exact `payloadType`.
    const PAYLOAD_TYPE: &'static str;
    /// The largest envelope of this kind, in bytes.
    const ENVELOPE_BYTES_MAX: usize;
}

/// DSSE's pre-authentication encoding: what a signature is over.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// From a message to the signature over it.
pub type Sign<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

impl Envelope {
    /// An envelope around `payload`, signed by each of `signers`: pairs of key id
    /// and a function from message to signature.
    pub fn seal<P: Payload>(payload: &[u8], signers: &[(String, Sign<'_>)]) -> Envelope {
        let message = pre_authentication_encoding(P::PAYLOAD_TYPE, payload);
        Envelope {
            payload_type: P::PAYLOAD_TYPE.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: signers
                .iter()
                .map(|(id, sign)| Signature {
                    keyid: Some(id.clone()),
                    sig: STANDARD.encode(sign(&message)),
                })
                .collect(),
        }
    }
}
