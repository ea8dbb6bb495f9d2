//! Seeded bugs: what the simulator must find, to show that it would. Which places they
//! spoil is in those places; this file only says which bug is let out.
//!
//! Without the feature `canary`, which no product is built with, none can be.

/// One bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Canary {
    /// The swap is asked for before the floor is durable.
    SwapBeforeFloor = 1,
    /// A document below the floor counts as newer.
    LowerVersionTaken,
    /// A batch is deleted from the outbox when it is appended, not when it is acknowledged.
    DeletedBeforeAck,
    /// An acknowledgement counts for all batches before it, too.
    AckCountsBelow,
    /// A value that is not finite reaches the actuator.
    NotFiniteActuated,
    /// The firmware's upper bound is forgotten.
    BoundForgotten,
    /// Nobody looks for approvals.
    ApprovalSkipped,
    /// A document for another device is taken.
    AnyDevice,
    /// The floor's second copy is not looked at after a start.
    MirrorIgnored,
    /// A module's bytes are not verified.
    ModuleUnverified,
    /// What has failed is tried again.
    FailureForgotten,
    /// Fuel is counted twice.
    FuelCountedTwice,
    /// What failed through no fault of its own is never tried again.
    NeverAgain,
    /// Nobody looks at interlocks.
    InterlockIgnored,
    /// Nobody looks whether what is in force has expired.
    ExpiryForgotten,
    /// What expires stops, whatever it says.
    HoldStops,
    /// What has expired is taken.
    ExpiredTaken,
    /// A module that a trust root recalls is not stopped.
    RecalledGoesOn,
    /// In the simulator's keeper: the candidate's outputs are actuated.
    CandidateSteers,
    /// In the simulator's keeper: the tick after a swap is not answered.
    SwapCostsATick,
    /// In the simulator's store: what the keeper says again is kept again.
    KeptTwice,
    /// In the simulator's cloud: it acknowledges before it has stored.
    AckBeforeStored,
}

impl Canary {
    /// All of them.
    pub const ALL: [Canary; 22] = [
        Canary::SwapBeforeFloor,
        Canary::LowerVersionTaken,
        Canary::DeletedBeforeAck,
        Canary::AckCountsBelow,
        Canary::NotFiniteActuated,
        Canary::BoundForgotten,
        Canary::ApprovalSkipped,
        Canary::AnyDevice,
        Canary::MirrorIgnored,
        Canary::ModuleUnverified,
        Canary::FailureForgotten,
        Canary::FuelCountedTwice,
        Canary::NeverAgain,
        Canary::InterlockIgnored,
        Canary::ExpiryForgotten,
        Canary::HoldStops,
        Canary::ExpiredTaken,
        Canary::RecalledGoesOn,
        Canary::CandidateSteers,
        Canary::SwapCostsATick,
        Canary::KeptTwice,
        Canary::AckBeforeStored,
    ];
}

#[cfg(feature = "canary")]
mod cage {
    use super::Canary;
    use core::sync::atomic::{AtomicU8, Ordering};

    /// The one that is out; 0 for none.
    static OUT: AtomicU8 = AtomicU8::new(0);

    /// Lets one out, or none.
    pub fn release(canary: Option<Canary>) {
        OUT.store(canary.map_or(0, |canary| canary as u8), Ordering::SeqCst);
    }

    /// Whether this one is out.
    pub fn is_out(canary: Canary) -> bool {
        OUT.load(Ordering::Relaxed) == canary as u8
    }
}

#[cfg(feature = "canary")]
pub use cage::{is_out, release};

/// Whether this one is out: never, without the feature.
#[cfg(not(feature = "canary"))]
#[inline]
pub const fn is_out(_: Canary) -> bool {
    false
}
