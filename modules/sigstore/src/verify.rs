//! Whether a bundle proves that an identity or a key signed some bytes.
//!
//! Order: shape, pinned root, signed times by the device's clock, then everything
//! else by the library: certificate chain and its own log, identity and issuer, log
//! inclusion and checkpoint, signature, and that the entry speaks of this bundle.

use gnomon_schemas::ids::Digest;
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::trust::CertificateIdentity;
use sigstore_verify::types::{Bundle, DerPublicKey, Sha256Hash};
use sigstore_verify::{
    IdentityMatcher, Policy, PublicKeyVerificationPolicy, VerificationPolicy, Verifier,
};

use crate::error::BundleError;
use crate::{provider, shape, times};

/// What was signed.
#[derive(Debug, Clone, Copy)]
pub enum Artifact<'a> {
    /// The bytes.
    Bytes(&'a [u8]),
    /// Their digest. A key that signs whole messages only, Ed25519, cannot be judged by it.
    Digest(&'a Digest),
}

/// Who must have signed.
#[derive(Debug, Clone, Copy)]
pub enum BundlePolicy<'a> {
    /// The holder of a certificate for exactly this identity, vouched for by this issuer.
    Certificate {
        /// Whom the certificate names; its type counts.
        identity: &'a CertificateIdentity,
        /// The OIDC issuer, to the letter.
        issuer: &'a str,
    },
    /// The holder of this key; the bundle only hints at it.
    Key(&'a PublicKey),
}

/// Verifies a sigstore bundle v0.3 over `artifact`, offline. `trusted_root` is the
/// text of a pinned `trusted_root.json`. `now_ms` is the lowest time that it can be
/// (Unix time, ms); the system's clock plays no part.
///
/// Demanded always: inclusion in a log that the root names, and a signed time.
///
/// # Errors
/// The first thing that does not hold, with its reason.
pub fn verify_bundle(
    bundle: &[u8],
    artifact: Artifact<'_>,
    policy: BundlePolicy<'_>,
    trusted_root: &str,
    now_ms: u64,
) -> Result<(), BundleError> {
    provider::install()?;
    let bundle = shape::parse(bundle)?;
    let root = shape::parse_root(trusted_root)?;
    check_kind(&bundle, policy)?;
    let policy = library_policy(policy)?;
    let times = times::judge(&bundle, &root, now_ms)?;
    let (bundle, root) = times::hand_over(bundle, root, &times, now_ms)?;
    let verifier = Verifier::new(&root)?;
    let verdict = match artifact {
        Artifact::Bytes(bytes) => verifier.verify(bytes, &bundle, policy.as_ref())?,
        Artifact::Digest(digest) => {
            let digest = Sha256Hash::from_hex(digest.hex())
                .map_err(|error| BundleError::malformed(error.to_string()))?;
            verifier.verify(digest, &bundle, policy.as_ref())?
        }
    };
    // What the policies demand already, said once more where the verdict is given.
    let certificate = bundle.signing_certificate().is_none()
        || (verdict.certificate_verified()
            && verdict.sct_verified()
            && verdict.identity_policy_checked());
    if !(verdict.tlog_verified() && certificate) {
        return Err(BundleError::malformed("the library left out a check"));
    }
    Ok(())
}

/// A certificate proves an identity and a key proves itself: neither for the other.
fn check_kind(bundle: &Bundle, policy: BundlePolicy<'_>) -> Result<(), BundleError> {
    let detail = match (policy, bundle.signing_certificate()) {
        (BundlePolicy::Certificate { .. }, None) => "a key where a certificate is asked for",
        (BundlePolicy::Key(_), Some(_)) => "a certificate where a managed key is asked for",
        _ => return Ok(()),
    };
    Err(BundleError::new(Reason::EvidenceMismatch, format!("the bundle carries {detail}")))
}

fn library_policy(policy: BundlePolicy<'_>) -> Result<Box<dyn Policy>, BundleError> {
    match policy {
        BundlePolicy::Certificate { identity, issuer } => {
            let identity = match identity {
                CertificateIdentity::Email { value } => IdentityMatcher::Email(value.clone()),
                CertificateIdentity::Uri { value } => IdentityMatcher::Uri(value.clone()),
            };
            Ok(Box::new(VerificationPolicy::new(identity, issuer)))
        }
        BundlePolicy::Key(key) => {
            let key = DerPublicKey::from_pem(&key.to_pem())
                .map_err(|error| BundleError::malformed(error.to_string()))?;
            Ok(Box::new(PublicKeyVerificationPolicy::new(key)))
        }
    }
}
