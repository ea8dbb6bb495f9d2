//! Steps 7 to 12 of verification: whether a verified document is for this
//! device, newer than all before it, fits the firmware, and brings nothing that
//! no approver has signed for. It judges what was verified; keys and bytes are
//! other files' business.

use alloc::format;
use core::cmp::Ordering;
use gnomon_schemas::document::Document;
use gnomon_schemas::limits::VERSION_STEP_MAX;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::Verified;
use gnomon_schemas::{DeviceId, Digest, FleetId, Reason, Refusal, Version, approval, content};
use serde::{Deserialize, Serialize};

use crate::canary::{self, Canary};

/// Who this device is: from its firmware and its provisioning, never from the cloud.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The firmware's profile.
    pub profile: Profile,
    /// The digest of the profile's file.
    pub profile_digest: Digest,
}

/// The highest accepted document: nothing at or below it acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The trust root's epoch.
    pub epoch: u64,
    /// The version.
    pub version: Version,
    /// The digest of the payload that was accepted.
    pub digest: Digest,
    /// The version of the trust root under which it was accepted.
    #[serde(default = "first_root")]
    pub trust_version: u64,
}

/// Before roots could follow each other there was one.
fn first_root() -> u64 {
    1
}

impl Floor {
    /// The floor that this document makes once it is accepted under this trust root.
    pub fn of(document: &Verified<Document>, trust_version: u64) -> Floor {
        let (epoch, version) = (document.payload().epoch, document.payload().version);
        Floor { epoch, version, digest: document.digest().clone(), trust_version }
    }

    /// Its place in the order of documents.
    pub fn place(&self) -> (u64, Version) {
        (self.epoch, self.version)
    }

    /// The higher of two; of equal ones the first.
    pub fn higher(one: Option<Floor>, other: Option<Floor>) -> Option<Floor> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if other.place() > one.place() { other } else { one }),
            (one, other) => one.or(other),
        }
    }
}

/// How a document stands to the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Above it.
    Newer,
    /// The very document that was accepted.
    Same,
}

/// Judges a verified document.
///
/// # Errors
/// The first step that fails.
pub fn accept(
    document: &Verified<Document>,
    identity: &Identity,
    root: &TrustRoot,
    floor: Option<&Floor>,
    lowest_ms: u64,
) -> Result<Order, Refusal> {
    check_address(document.payload(), identity)?;
    check_rest(document, Some(&identity.profile), root, floor, lowest_ms)
}

/// Judges a verified document where the firmware's profile is not at hand: every
/// step but those that need it, which are the profile's digest and step 11.
///
/// # Errors
/// The first step that fails.
pub fn accept_without_profile(
    document: &Verified<Document>,
    (fleet, device): (&FleetId, &DeviceId),
    root: &TrustRoot,
    floor: Option<&Floor>,
    lowest_ms: u64,
) -> Result<Order, Refusal> {
    check_addressee(document.payload(), fleet, device)?;
    check_rest(document, None, root, floor, lowest_ms)
}

/// Steps 8 to 12.
fn check_rest(
    document: &Verified<Document>,
    profile: Option<&Profile>,
    root: &TrustRoot,
    floor: Option<&Floor>,
    lowest_ms: u64,
) -> Result<Order, Refusal> {
    let order = check_order(document, floor)?;
    if order == Order::Newer {
        check_life(document.payload(), root, lowest_ms)?;
        // Step 11.
        profile.map_or(Ok(()), |profile| content::check(document.payload(), profile))?;
        // Step 12.
        if !canary::is_out(Canary::ApprovalSkipped) {
            approval::check(document.payload(), root)?;
        }
    }
    Ok(order)
}

/// Steps 9 and 10: the epoch and the expiries.
fn check_life(document: &Document, root: &TrustRoot, lowest_ms: u64) -> Result<(), Refusal> {
    check_epoch(document, root)?;
    // Step 10: expired, or its trust root, before the earliest time that it can be.
    let expiries = [("", document.expires_at_ms), ("trust root ", root.expires_at_ms)];
    for (what, expires) in expiries {
        if expires <= lowest_ms && !canary::is_out(Canary::ExpiredTaken) {
            let detail = format!("{what}expired at {expires} ms, it is at least {lowest_ms} ms");
            return Err(Refusal::new(Reason::Expired, detail));
        }
    }
    Ok(())
}

/// Step 7: the address.
///
/// # Errors
/// [`Reason::WrongFleet`], [`Reason::WrongDevice`] or [`Reason::WrongProfile`].
pub fn check_address(document: &Document, identity: &Identity) -> Result<(), Refusal> {
    check_addressee(document, &identity.fleet, &identity.device)?;
    if document.profile != identity.profile_digest {
        let (made, has) = (document.profile.short(), identity.profile_digest.short());
        let detail = format!("made for profile {made}, the firmware's is {has}");
        return Err(Refusal::new(Reason::WrongProfile, detail));
    }
    Ok(())
}

fn check_addressee(document: &Document, fleet: &FleetId, device: &DeviceId) -> Result<(), Refusal> {
    if document.fleet != *fleet {
        let detail = format!("for fleet `{}`, this is `{fleet}`", document.fleet);
        return Err(Refusal::new(Reason::WrongFleet, detail));
    }
    if document.device != *device && !canary::is_out(Canary::AnyDevice) {
        let detail = format!("for device `{}`, this is `{device}`", document.device);
        return Err(Refusal::new(Reason::WrongDevice, detail));
    }
    Ok(())
}

/// Steps 8 and 9, the epoch: the trust root's is the only one in force. A director's
/// key that could raise it would burn every version at once.
fn check_epoch(document: &Document, root: &TrustRoot) -> Result<(), Refusal> {
    let reason = match document.epoch.cmp(&root.epoch) {
        Ordering::Equal => return Ok(()),
        Ordering::Less => Reason::Rollback,
        Ordering::Greater => Reason::FastForward,
    };
    let detail = format!("of epoch {}, the trust root's is {}", document.epoch, root.epoch);
    Err(Refusal::new(reason, detail))
}

/// Steps 8 and 9: the order.
fn check_order(document: &Verified<Document>, floor: Option<&Floor>) -> Result<Order, Refusal> {
    let Some(floor) = floor else { return Ok(Order::Newer) };
    let (epoch, version) = (document.payload().epoch, document.payload().version);
    if (epoch, version) == floor.place() {
        if *document.digest() == floor.digest {
            return Ok(Order::Same);
        }
        let detail = format!("version {version} was accepted with other content");
        return Err(Refusal::new(Reason::Equivocation, detail));
    }
    if (epoch, version) < floor.place() && !canary::is_out(Canary::LowerVersionTaken) {
        let detail = format!(
            "version {version} of epoch {epoch} is not above {} of epoch {}",
            floor.version, floor.epoch
        );
        return Err(Refusal::new(Reason::Rollback, detail));
    }
    let step = version.get().saturating_sub(floor.version.get());
    if epoch == floor.epoch && step > VERSION_STEP_MAX {
        let detail = format!("version {version} is {step} above {}", floor.version);
        return Err(Refusal::new(Reason::FastForward, detail));
    }
    Ok(Order::Newer)
}
