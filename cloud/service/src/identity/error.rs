//! Why something about certificates could not be done, each with its reason.
//!
//! No error holds a token or a private key.

use gnomon_schemas::reason::{Coded, Reason};
use std::io;
use std::path::PathBuf;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file or folder.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A private key that others can read.
    #[error("{path} can be read by others (mode {mode:03o}); run `chmod 600 {path}`")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that is not what its name says.
    #[error("{path} {message}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A certificate that is not one of ours, or not its bearer's.
    #[error("the certificate {0}")]
    Certificate(String),
    /// A request for a certificate that cannot be used.
    #[error("the certificate request {0}")]
    Request(String),
    /// The token opens nothing. Which of the causes it was stays in our own log.
    #[error("the enrolment token is not valid (any more) for this device; ask for a new one")]
    Token,
    /// Too many wrong tokens lately.
    #[error("too many failed enrolments; try again in a minute")]
    TooMany,
    /// A token's life that is out of bounds.
    #[error("a token lives for 1 minute to 24 hours, not {0} s")]
    Life(u64),
    /// The system gave no randomness, or something could not be encoded or signed.
    #[error("could not make or use a key: {0}")]
    Crypto(String),
}

impl Coded for IdentityError {
    fn reason(&self) -> Reason {
        match self {
            IdentityError::Token => Reason::TokenInvalid,
            IdentityError::TooMany => Reason::TooManyAttempts,
            IdentityError::Certificate(_) => Reason::DeviceCertificateInvalid,
            IdentityError::Request(_) => Reason::CertificateRequestInvalid,
            IdentityError::Life(_) => Reason::NumberOutOfRange,
            IdentityError::Io { .. }
            | IdentityError::Exposed { .. }
            | IdentityError::Unusable { .. }
            | IdentityError::Crypto(_) => Reason::Unavailable,
        }
    }
}

impl From<rcgen::Error> for IdentityError {
    fn from(error: rcgen::Error) -> IdentityError {
        IdentityError::Crypto(error.to_string())
    }
}
