//! Why a bundle proves nothing: one stable reason and one sentence, whichever
//! part of the verification found it.

use gnomon_schemas::reason::{Coded, Reason};
use sigstore_verify::bundle::Error as FormError;
use sigstore_verify::{CertificateError, Error, TransparencyLogError};

/// A bundle that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BundleError {
    reason: Reason,
    detail: String,
}

impl Coded for BundleError {
    fn reason(&self) -> Reason {
        self.reason
    }
}

impl BundleError {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> BundleError {
        BundleError { reason, detail: detail.into() }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> BundleError {
        BundleError::new(Reason::BundleMalformed, detail)
    }

    pub(crate) fn log_entry(detail: impl Into<String>) -> BundleError {
        BundleError::new(Reason::LogEntryInvalid, detail)
    }

    pub(crate) fn signed_time(detail: impl Into<String>) -> BundleError {
        BundleError::new(Reason::SignedTimeInvalid, detail)
    }

    pub(crate) fn root(detail: impl std::fmt::Display) -> BundleError {
        BundleError::new(Reason::SigstoreRootInvalid, format!("the pinned sigstore root: {detail}"))
    }
}

/// The longest text of the library that goes into a sentence of ours: it may
/// quote the bundle.
const QUOTED_CHARS_MAX: usize = 300;

impl From<Error> for BundleError {
    fn from(error: Error) -> BundleError {
        let detail = error.to_string().chars().take(QUOTED_CHARS_MAX).collect::<String>();
        BundleError::new(reason(&error), detail)
    }
}

/// Which of our reasons a verdict of the library is.
fn reason(error: &Error) -> Reason {
    match error {
        Error::IdentityMismatch { .. } | Error::IssuerMismatch { .. } => Reason::IdentityMismatch,
        Error::SignatureInvalid(_) | Error::ArtifactMismatch(_) => Reason::ModuleSignatureInvalid,
        Error::Certificate(
            CertificateError::NotYetValid { .. } | CertificateError::Expired { .. },
        )
        | Error::TransparencyLog(TransparencyLogError::IntegratedTime(_))
        | Error::Timestamp(_) => Reason::SignedTimeInvalid,
        Error::Certificate(_) => Reason::CertificateInvalid,
        Error::TransparencyLog(_)
        | Error::Bundle(
            FormError::MissingInclusionProof(_)
            | FormError::MissingCheckpoint
            | FormError::LogIndexOutOfRange { .. }
            | FormError::CheckpointRootMismatch,
        ) => Reason::LogEntryInvalid,
        Error::InvalidTrustRoot(_) | Error::TrustRoot(_) | Error::TrustedCertificate(_) => {
            Reason::SigstoreRootInvalid
        }
        // Form and kind, and whatever a later version adds: never a pass.
        _ => Reason::BundleMalformed,
    }
}
