//! The exact shape of the one bundle format that we take: sigstore bundle v0.3
//! with a signature over the bytes themselves.
//!
//! The library reads older formats, other spellings and fields that it does not
//! know; here each of those is refused, so that a bundle has one meaning. Not
//! taken either: DSSE statements, which say something *about* a module, and an
//! identity may say much about a module without publishing it.

use gnomon_schemas::limits::BUNDLE_BYTES_MAX;
use gnomon_schemas::reason::Coded;
use gnomon_schemas::strict;
use serde::Deserialize;
use sigstore_verify::types::Bundle;

use crate::error::BundleError;

/// The one media type, to the letter.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Timestamps in one bundle: a client asks one authority, a careful one two.
const TIMESTAMPS_MAX: usize = 4;

/// Reads a bundle of at most [`BUNDLE_BYTES_MAX`] bytes.
///
/// # Errors
/// `bundle_malformed`, and `log_entry_invalid` where there is no log entry or no proof.
pub(crate) fn parse(bytes: &[u8]) -> Result<Bundle, BundleError> {
    let shape: Shape = strict::parse(bytes, BUNDLE_BYTES_MAX).map_err(|error| {
        BundleError::malformed(format!("not a sigstore bundle v0.3 ({}): {error}", error.reason()))
    })?;
    if shape.media_type != MEDIA_TYPE {
        return Err(BundleError::malformed(format!(
            "media type `{}` where only `{MEDIA_TYPE}` is taken",
            shape.media_type.chars().take(80).collect::<String>()
        )));
    }
    let material = &shape.verification_material;
    if material.certificate.is_some() == material.public_key.is_some() {
        return Err(BundleError::malformed("it needs either a certificate or a public key"));
    }
    let [entry] = material.tlog_entries.as_slice() else {
        let entries = material.tlog_entries.len();
        return Err(BundleError::log_entry(format!("{entries} log entries where one belongs")));
    };
    if entry.inclusion_proof.is_none() {
        return Err(BundleError::log_entry("the log entry has no inclusion proof"));
    }
    let stamps = material
        .timestamp_verification_data
        .as_ref()
        .map_or(0, |data| data.rfc3161_timestamps.len());
    if stamps > TIMESTAMPS_MAX {
        let detail = format!("{stamps} timestamps where at most {TIMESTAMPS_MAX} are taken");
        return Err(BundleError::malformed(detail));
    }
    // The same bytes again, this time into the library's type.
    serde_json::from_slice(bytes)
        .map_err(|error| BundleError::malformed(format!("not a sigstore bundle v0.3: {error}")))
}

/// Reads a pinned `trusted_root.json`, strictly but with fields that the library
/// does not know: such a file comes from others and lives for years.
///
/// # Errors
/// `sigstore_root_invalid`.
pub(crate) fn parse_root(
    text: &str,
) -> Result<sigstore_verify::trust_root::TrustedRoot, BundleError> {
    use gnomon_schemas::limits::SIGSTORE_ROOT_BYTES_MAX;
    let _: serde_json::Value = strict::parse(text.as_bytes(), SIGSTORE_ROOT_BYTES_MAX)
        .map_err(|error| BundleError::root(format!("{error} ({})", error.reason())))?;
    sigstore_verify::trust_root::TrustedRoot::from_json(text).map_err(BundleError::root)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shape {
    media_type: String,
    verification_material: Material,
    #[serde(rename = "messageSignature")]
    _message_signature: MessageSignature,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    certificate: Option<Certificate>,
    public_key: Option<PublicKey>,
    #[serde(default)]
    tlog_entries: Vec<LogEntry>,
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Certificate {
    #[serde(rename = "rawBytes")]
    _raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublicKey {
    #[serde(rename = "hint")]
    _hint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogEntry {
    #[serde(rename = "logIndex")]
    _log_index: Option<String>,
    #[serde(rename = "logId")]
    _log_id: LogId,
    #[serde(rename = "kindVersion")]
    _kind_version: KindVersion,
    #[serde(rename = "integratedTime")]
    _integrated_time: Option<String>,
    #[serde(rename = "inclusionPromise")]
    _inclusion_promise: Option<InclusionPromise>,
    #[serde(rename = "inclusionProof")]
    inclusion_proof: Option<InclusionProof>,
    #[serde(rename = "canonicalizedBody")]
    _canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogId {
    #[serde(rename = "keyId")]
    _key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindVersion {
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "version")]
    _version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InclusionPromise {
    #[serde(rename = "signedEntryTimestamp")]
    _signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InclusionProof {
    #[serde(rename = "logIndex")]
    _log_index: Option<String>,
    #[serde(rename = "rootHash")]
    _root_hash: String,
    #[serde(rename = "treeSize")]
    _tree_size: String,
    #[serde(rename = "hashes", default)]
    _hashes: Vec<String>,
    #[serde(rename = "checkpoint")]
    _checkpoint: Checkpoint,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    #[serde(rename = "envelope")]
    _envelope: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Timestamps {
    #[serde(default)]
    rfc3161_timestamps: Vec<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timestamp {
    #[serde(rename = "signedTimestamp")]
    _signed_timestamp: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageSignature {
    #[serde(rename = "messageDigest")]
    _message_digest: Option<MessageDigest>,
    #[serde(rename = "signature")]
    _signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageDigest {
    #[serde(rename = "algorithm")]
    _algorithm: Algorithm,
    #[serde(rename = "digest")]
    _digest: String,
}

/// The one spelling of each: the library takes any letter case.
#[derive(Deserialize)]
enum Algorithm {
    #[serde(rename = "SHA2_256")]
    Sha256,
    #[serde(rename = "SHA2_384")]
    Sha384,
    #[serde(rename = "SHA2_512")]
    Sha512,
}
