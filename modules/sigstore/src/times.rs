//! The signed times of a bundle, judged by the device's own clock.
//!
//! The library compares a log's time with the clock of the system, which a device
//! may not have. So each signed time is verified here (the log's entry timestamp,
//! RFC 3161 tokens), must not lie beyond the lowest time that the device can vouch
//! for, and must lie within the certificate's life; [`hand_over`] then takes out of
//! bundle and root all that the library would compare with the system's clock, and
//! tells it the times through a [`Witness`].

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::ids::to_hex;
use sigstore_verify::crypto::parse_certificate_info;
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::tsa::verify_timestamp_for_authority;
use sigstore_verify::types::bundle::{
    Rfc3161Timestamp, TimestampVerificationData, TransparencyLogEntry,
};
use sigstore_verify::types::{
    Bundle, KindVersion, Sha256Hash, SignatureBytes, SignatureContent, TimestampToken,
};

use crate::error::BundleError;
use crate::witness::Witness;

/// Verifies every signed time of the bundle. There is at least one.
///
/// # Errors
/// `signed_time_invalid`, and `log_entry_invalid` where the log did not sign the entry.
pub(crate) fn judge(
    bundle: &Bundle,
    root: &TrustedRoot,
    now_ms: u64,
) -> Result<Vec<i64>, BundleError> {
    let mut times = stamped(bundle, root)?;
    for entry in &bundle.verification_material.tlog_entries {
        times.extend(logged(entry, root)?);
    }
    if times.is_empty() {
        return Err(BundleError::signed_time(
            "no signed time: neither the log's entry timestamp nor one of a timestamp authority",
        ));
    }
    let now = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    if let Some(time) = times.iter().find(|time| **time > now) {
        return Err(BundleError::signed_time(format!(
            "signed at {time} (Unix time, s), after the lowest time that this device can vouch \
             for, {now}; bring it a newer signed time first"
        )));
    }
    check_life(bundle, &times)?;
    Ok(times)
}

/// Every time must lie within the certificate's life: one alone would let a single
/// wrong clock vouch for a key that is long stolen.
fn check_life(bundle: &Bundle, times: &[i64]) -> Result<(), BundleError> {
    let Some(certificate) = bundle.signing_certificate() else { return Ok(()) };
    let certificate = parse_certificate_info(certificate)
        .map_err(|error| BundleError::malformed(format!("the certificate: {error}")))?;
    let (first, last) = (certificate.not_before.as_second(), certificate.not_after.as_second());
    match times.iter().find(|time| !(first..=last).contains(*time)) {
        None => Ok(()),
        Some(time) => Err(BundleError::signed_time(format!(
            "signed at {time} (Unix time, s), outside the certificate's life from {first} to {last}"
        ))),
    }
}

/// The times by timestamp authorities; a token that is there must be good.
fn stamped(bundle: &Bundle, root: &TrustedRoot) -> Result<Vec<i64>, BundleError> {
    let tokens = &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps;
    if tokens.is_empty() {
        return Ok(vec![]);
    }
    let mut root = root.clone();
    // The library leaves out authorities that begin after the system's now. The
    // window itself is held by each authority's own check of the token's time.
    let windows: Vec<_> =
        root.timestamp_authorities.iter_mut().map(|one| one.valid_for.take()).collect();
    let mut authorities = root.tsa_authorities();
    if authorities.len() != windows.len() {
        return Err(BundleError::root("a timestamp authority has no certificate"));
    }
    for (authority, window) in authorities.iter_mut().zip(windows) {
        authority.valid_for = window;
    }
    let signature = signature(bundle)?;
    let time = |token: &Rfc3161Timestamp| {
        let verdicts = authorities.iter().map(|authority| {
            verify_timestamp_for_authority(&token.signed_timestamp, signature, authority)
        });
        let mut last = "the pinned root names no timestamp authority".to_owned();
        for verdict in verdicts {
            match verdict {
                Ok(time) => return Ok(time.as_second()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(BundleError::signed_time(format!("the signed timestamp does not hold: {last}")))
    };
    tokens.iter().map(time).collect()
}

/// The time at which the log took the entry, where the log signed one.
fn logged(entry: &TransparencyLogEntry, root: &TrustedRoot) -> Result<Option<i64>, BundleError> {
    let Some(promise) = &entry.inclusion_promise else { return Ok(None) };
    if entry.kind_version != KindVersion::HashedRekordV001 {
        return Err(BundleError::malformed(
            "an entry timestamp beside another entry than hashedrekord 0.0.1",
        ));
    }
    let time = entry
        .integrated_time
        .ok_or_else(|| BundleError::malformed("an entry timestamp without a time"))?;
    let log = entry.log_id.key_id.as_bytes();
    let key_id = Sha256Hash::try_from(log)
        .map_err(|error| BundleError::malformed(format!("the log's id: {error}")))?;
    let keys = root.rekor_keys().map_err(BundleError::root)?;
    let key = keys.key_at(&key_id, time).ok_or_else(|| {
        BundleError::log_entry(format!("the pinned root has no key of log {} at {time}", key_id))
    })?;
    // The log signs this JSON: RFC 8785, which for these four fields is their order.
    let signed = format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        STANDARD.encode(entry.canonicalized_body.as_bytes()),
        time.as_second(),
        to_hex(log),
        entry.log_index.as_i64(),
    );
    let promise = SignatureBytes::from_bytes(promise.signed_entry_timestamp.as_bytes());
    key.verify(&signed, &promise)
        .map_err(|_| BundleError::log_entry("the log did not sign this entry at this time"))?;
    Ok(Some(time.as_second()))
}

/// What the library may judge: the bundle with the times as a witness tells them,
/// the root without what has not begun and without beginnings.
///
/// # Errors
/// When there is no randomness for the witness.
pub(crate) fn hand_over(
    mut bundle: Bundle,
    mut root: TrustedRoot,
    times: &[i64],
    now_ms: u64,
) -> Result<(Bundle, TrustedRoot), BundleError> {
    let now = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    root.tlogs.retain(|log| {
        log.public_key.valid_for.is_none_or(|window| window.start.as_second() <= now)
    });
    for log in &mut root.tlogs {
        log.public_key.valid_for = None;
    }
    root.timestamp_authorities.clear();
    let mut tokens = vec![];
    // A managed key has no life that a time could lie outside of: no witness.
    if bundle.signing_certificate().is_some() {
        let witness = Witness::new()?;
        root.timestamp_authorities.push(witness.authority()?);
        let signature = signature(&bundle)?.as_bytes();
        for time in times {
            let token = TimestampToken::new(witness.token(signature, *time)?);
            tokens.push(Rfc3161Timestamp::new(token));
        }
    }
    let material = &mut bundle.verification_material;
    material.timestamp_verification_data = TimestampVerificationData::new(tokens);
    for entry in &mut material.tlog_entries {
        entry.inclusion_promise = None;
        entry.integrated_time = None;
    }
    Ok((bundle, root))
}

fn signature(bundle: &Bundle) -> Result<&SignatureBytes, BundleError> {
    match &bundle.content {
        SignatureContent::MessageSignature(message) => Ok(&message.signature),
        _ => Err(BundleError::malformed("a signature over something else than the bytes")),
    }
}
