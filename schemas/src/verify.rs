//! Steps 1 to 6 of verification (see `schemas/README.md`): from foreign bytes to
//! [`Verified`]. The only constructor of `Verified` is in this file.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

use crate::envelope::{Envelope, Payload, pre_authentication_encoding};
use crate::ids::Digest;
use crate::limits::SIGNATURES_MAX;
use crate::reason::{Coded, Reason};
use crate::strict::{self, ParseError};
use crate::trust::Role;

/// A payload whose signatures were verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified<T> {
    payload: T,
    digest: Digest,
}

impl<T> Verified<T> {
    /// The payload.
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// The digest of the payload's bytes as they were signed.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The payload, no longer marked.
    pub fn into_payload(self) -> T {
        self.payload
    }
}

/// Why an envelope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Steps 1 and 2: the envelope itself.
    #[error("envelope: {0}")]
    Envelope(ParseError),
    /// Step 3.
    #[error("the envelope carries `{found}` where `{expected}` belongs")]
    PayloadType {
        /// What it says, cut to 80 characters.
        found: String,
        /// What it must say.
        expected: &'static str,
    },
    /// Step 4.
    #[error("{what} is not strict base64")]
    Base64 {
        /// Which part.
        what: &'static str,
    },
    /// Step 5.
    #[error("{valid} of the {threshold} signatures needed are valid ({present} present)")]
    Threshold {
        /// Distinct keys with a valid signature.
        valid: usize,
        /// How many are needed.
        threshold: usize,
        /// Signatures in the envelope.
        present: usize,
    },
    /// Step 6: the payload.
    #[error("payload: {0}")]
    Payload(ParseError),
}

impl Coded for VerifyError {
    fn reason(&self) -> Reason {
        match self {
            VerifyError::Envelope(error) | VerifyError::Payload(error) => error.reason(),
            VerifyError::PayloadType { .. } => Reason::WrongPayloadType,
            VerifyError::Base64 { .. } => Reason::BadBase64,
            VerifyError::Threshold { .. } => Reason::ThresholdNotMet,
        }
    }
}

/// Opens an envelope: verify first, then parse the payload from the same buffer.
///
/// # Errors
/// The first step that fails.
pub fn verify<T: Payload + DeserializeOwned>(
    bytes: &[u8],
    role: &Role,
) -> Result<Verified<T>, VerifyError> {
    // Steps 1 and 2: size and form of the envelope.
    let envelope: Envelope =
        strict::parse(bytes, T::ENVELOPE_BYTES_MAX).map_err(VerifyError::Envelope)?;
    verify_envelope(&envelope, role)
}

/// As [`verify`], for an envelope that came inside another payload: steps 3 to 6.
///
/// # Errors
/// The first step that fails.
pub fn verify_envelope<T: Payload + DeserializeOwned>(
    envelope: &Envelope,
    role: &Role,
) -> Result<Verified<T>, VerifyError> {
    let payload = payload_of::<T>(envelope)?;
    // Step 5: enough distinct keys.
    check_threshold(envelope, &payload, role)?;
    // Step 6: only now is the payload parsed, from the buffer that was verified.
    Ok(Verified {
        digest: Digest::of(&payload),
        payload: strict::parse(&payload, T::ENVELOPE_BYTES_MAX).map_err(VerifyError::Payload)?,
    })
}

/// Steps 3 and 4: the payload's bytes, which nobody has vouched for yet.
fn payload_of<T: Payload>(envelope: &Envelope) -> Result<Vec<u8>, VerifyError> {
    // Step 3: the kind of payload, exactly.
    if envelope.payload_type != T::PAYLOAD_TYPE {
        return Err(VerifyError::PayloadType {
            found: envelope.payload_type.chars().take(80).collect(),
            expected: T::PAYLOAD_TYPE,
        });
    }
    // Step 4: strict base64.
    STANDARD.decode(&envelope.payload).map_err(|_| VerifyError::Base64 { what: "the payload" })
}

/// A payload that vouches for itself: verified against the role that it names. Only
/// for a trust root, whose place or predecessor is why it is trusted.
pub(crate) fn verify_by_itself<T: Payload + DeserializeOwned>(
    bytes: &[u8],
    role: impl FnOnce(&T) -> Role,
) -> Result<Verified<T>, VerifyError> {
    let envelope: Envelope =
        strict::parse(bytes, T::ENVELOPE_BYTES_MAX).map_err(VerifyError::Envelope)?;
    let claimed = payload_of::<T>(&envelope)?;
    let claimed: T =
        strict::parse(&claimed, T::ENVELOPE_BYTES_MAX).map_err(VerifyError::Payload)?;
    verify_envelope(&envelope, &role(&claimed))
}

/// The one threshold function: counts distinct keys, not signatures and not key ids.
fn check_threshold(envelope: &Envelope, payload: &[u8], role: &Role) -> Result<(), VerifyError> {
    let message = pre_authentication_encoding(&envelope.payload_type, payload);
    let signatures: Vec<Vec<u8>> = envelope
        .signatures
        .iter()
        .take(SIGNATURES_MAX)
        .map(|signature| STANDARD.decode(&signature.sig))
        .collect::<Result<_, _>>()
        .map_err(|_| VerifyError::Base64 { what: "a signature" })?;
    let valid: BTreeSet<Digest> = role
        .keys
        .iter()
        .filter(|key| signatures.iter().any(|signature| key.verifies(&message, signature)))
        .map(crate::keys::PublicKey::id)
        .collect();
    // A threshold of zero would accept anything: it counts as one.
    let threshold = role.threshold.max(1);
    if valid.len() < threshold {
        return Err(VerifyError::Threshold {
            valid: valid.len(),
            threshold,
            present: envelope.signatures.len(),
        });
    }
    Ok(())
}
