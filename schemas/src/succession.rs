//! How one trust root follows another (TUF 1.0.33, section 5.3): strictly one
//! version at a time, signed by the threshold of the old root keys and of the new.
//!
//! It knows no clock: an expired root may be followed, it only lets nothing new in.

use crate::ids::FleetId;
use crate::reason::{Coded, Reason};
use crate::trust::{TrustRoot, TrustRootError};
use crate::verify::{Verified, VerifyError, verify, verify_by_itself};

/// Why a trust root was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// The envelope, or too few signatures of one of the two sets of keys.
    #[error("{}{error}", told(keys, error))]
    Verify {
        /// Whose threshold was not met: `its own`, `the previous`.
        keys: &'static str,
        /// What failed.
        error: VerifyError,
    },
    /// It contradicts itself.
    #[error(transparent)]
    Inconsistent(#[from] TrustRootError),
    /// Another fleet's.
    #[error("trust root for fleet `{0}`, this is `{1}`")]
    Fleet(FleetId, FleetId),
    /// Not newer, or with an older epoch or a lower floor under a module's releases.
    #[error("{0}")]
    Back(String),
    /// One between is missing.
    #[error("trust root {found} cannot follow {current}: bring {} first", current + 1)]
    Skipped {
        /// Its version.
        found: u64,
        /// The version in force.
        current: u64,
    },
    /// The epoch jumps.
    #[error("epoch {found} cannot follow {current}: it rises by one at a time")]
    Epoch {
        /// Its epoch.
        found: u64,
        /// The epoch in force.
        current: u64,
    },
}

/// Whose keys they are matters only where some are missing.
fn told(keys: &str, error: &VerifyError) -> String {
    match error {
        VerifyError::Threshold { .. } => format!("{keys} root keys: "),
        _ => String::new(),
    }
}

impl Coded for RootError {
    fn reason(&self) -> Reason {
        match self {
            RootError::Verify { error, .. } => error.reason(),
            RootError::Inconsistent(error) => error.reason(),
            RootError::Fleet(..) => Reason::WrongFleet,
            RootError::Back(_) => Reason::Rollback,
            RootError::Skipped { .. } => Reason::TrustRootSkipped,
            RootError::Epoch { .. } => Reason::FastForward,
        }
    }
}

/// Opens the first trust root, the one that comes with the firmware: it must be
/// signed by its own root role. Where it lies is why it is trusted.
///
/// # Errors
/// The first step that fails.
pub fn verify_first_root(bytes: &[u8]) -> Result<Verified<TrustRoot>, RootError> {
    let root = by_itself(bytes)?;
    root.payload().check()?;
    Ok(root)
}

fn by_itself(bytes: &[u8]) -> Result<Verified<TrustRoot>, RootError> {
    verify_by_itself::<TrustRoot>(bytes, |claimed| claimed.roles.root.clone())
        .map_err(|error| RootError::Verify { keys: "its own", error })
}

/// Opens the trust root that is to follow `current`.
///
/// # Errors
/// The first step that fails; `current` then stays in force.
pub fn verify_next_root(
    bytes: &[u8],
    current: &TrustRoot,
) -> Result<Verified<TrustRoot>, RootError> {
    // The old keys first: nothing that they have not signed is even read.
    let root = verify::<TrustRoot>(bytes, &current.roles.root)
        .map_err(|error| RootError::Verify { keys: "the previous", error })?;
    by_itself(bytes)?;
    follows(root.payload(), current)?;
    root.payload().check()?;
    Ok(root)
}

fn follows(next: &TrustRoot, current: &TrustRoot) -> Result<(), RootError> {
    if next.fleet != current.fleet {
        return Err(RootError::Fleet(next.fleet.clone(), current.fleet.clone()));
    }
    let (found, now) = (next.version, current.version);
    if found <= now {
        return Err(RootError::Back(format!("trust root {found} is not above {now}")));
    }
    if found != now + 1 {
        return Err(RootError::Skipped { found, current: now });
    }
    let (found, now) = (next.epoch, current.epoch);
    if found < now {
        return Err(RootError::Back(format!("epoch {found} is below {now}")));
    }
    if found - now > 1 {
        return Err(RootError::Epoch { found, current: now });
    }
    for (name, &min) in &current.release_counter_min {
        let next = next.release_counter_min.get(name).copied().unwrap_or(0);
        if next < min {
            let text = format!("the lowest release of `{name}` falls from {min} to {next}");
            return Err(RootError::Back(text));
        }
    }
    if next.approved_after_ms < current.approved_after_ms {
        return Err(RootError::Back("`approved_after_ms` goes back".into()));
    }
    Ok(())
}
