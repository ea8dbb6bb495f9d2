//! What a simulated world tells its checkers: what happened, as the world saw it, and not
//! what anybody claims. What must never happen is in the checkers.

use gnomon_agent_core::Clamped;
use gnomon_agent_core::accept::Floor;
use gnomon_agent_core::message::Done;
use gnomon_schemas::approval::Approval;
use gnomon_schemas::document::Document;
use gnomon_schemas::ids::{BootId, Digest};
use gnomon_schemas::reason::Reason;
use gnomon_schemas::reported::State;
use gnomon_schemas::results::{Record, Results};
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::value::Values;
use std::collections::BTreeSet;

/// Something that happened.
#[derive(Debug)]
pub enum Fact<'a> {
    /// The publisher has signed a module.
    Published(&'a Digest),
    /// An approver has signed.
    Approved(&'a Approval),
    /// A director's key has sealed a document, in whatever hands.
    Directed {
        /// What was sealed.
        document: &'a Document,
        /// The digest of its payload.
        digest: &'a Digest,
    },
    /// What a device's disk holds, after it has changed or its device has started.
    Held {
        /// The device.
        device: usize,
        /// What it holds.
        held: &'a Held,
    },
    /// A planner asks its keeper for a swap.
    Asked {
        /// The device.
        device: usize,
        /// The digest of the document.
        document: &'a Digest,
    },
    /// A keeper has put a document in force that it was asked for.
    InForce {
        /// The device.
        device: usize,
        /// The document.
        document: &'a Document,
        /// The digest of its payload.
        digest: &'a Digest,
    },
    /// A keeper has gone back by itself.
    WentBack {
        /// The device.
        device: usize,
        /// The digest of what is in force again; none for the profile's defaults.
        to: Option<&'a Digest>,
    },
    /// A planner has started, from what its disk holds.
    PlannerStarted {
        /// The device.
        device: usize,
    },
    /// A trust root is in force: it is durable, and the planner of its device has started
    /// with it or hears of it next.
    RootInForce {
        /// The device.
        device: usize,
        /// The root.
        root: &'a TrustRoot,
    },
    /// The keeper has taken every message up to the last one that its planner had to say
    /// when the trust root came into force.
    RootHeard {
        /// The device.
        device: usize,
    },
    /// The lowest time that it can be for a device (see [`super::least`]).
    Time {
        /// The device.
        device: usize,
        /// The world's own time.
        now_ms: u64,
        /// Unix time, ms; none while no planner runs.
        lowest_ms: Option<u64>,
    },
    /// A document comes to a planner, whoever sent it and whatever is to become of it.
    Came {
        /// The device.
        device: usize,
        /// What it says.
        document: &'a Document,
        /// The digest of its payload.
        digest: &'a Digest,
    },
    /// A keeper has started, and knows nothing of what was before.
    KeeperStarted {
        /// The device.
        device: usize,
    },
    /// The firmware asks for values.
    Due {
        /// The device.
        device: usize,
        /// The tick.
        number: u64,
    },
    /// The actuator has got them.
    Actuated {
        /// The device.
        device: usize,
        /// The tick.
        number: u64,
        /// What was read.
        inputs: &'a Values,
        /// What it got.
        clamped: &'a Clamped,
        /// What the active function proposed, if it did.
        proposed: Option<&'a Values>,
    },
    /// A module was called.
    Called {
        /// The device.
        device: usize,
        /// The record of it.
        record: &'a Record,
    },
    /// A keeper tells what was done; each only once here.
    Told {
        /// The device.
        device: usize,
        /// What was done.
        done: &'a Done,
    },
    /// A batch is durable in a device's outbox.
    Kept {
        /// The device.
        device: usize,
        /// The batch.
        results: &'a Results,
    },
    /// A device's outbox is what it was at some time before, or nothing.
    OutboxLost {
        /// The device.
        device: usize,
        /// What is in it now: boot and number.
        left: BTreeSet<(BootId, u64)>,
    },
    /// A batch was deleted from a device's outbox.
    Deleted {
        /// The device.
        device: usize,
        /// The boot that numbered it.
        boot: &'a BootId,
        /// Its number.
        sequence: u64,
    },
    /// The cloud has stored a batch.
    Stored {
        /// The device.
        device: usize,
        /// The batch.
        results: &'a Results,
    },
    /// The cloud's store is what it was at some time before.
    CloudRestored {
        /// The batches that it has: device, boot, number.
        left: BTreeSet<(usize, BootId, u64)>,
    },
    /// A device has refused something.
    Refused {
        /// Why.
        reason: Reason,
    },
    /// Faults have stopped, and some time has passed: how each device stands.
    Settled {
        /// Each device.
        devices: &'a [Standing],
    },
}

/// What a disk holds that floors and failures are judged by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Held {
    /// The store's floor.
    pub floor: Option<Floor>,
    /// Its second copy.
    pub mirror: Option<Floor>,
    /// The payload's digest of the document in force.
    pub current: Option<Digest>,
    /// The same of the one before it, which a rollback leads back to.
    pub previous: Option<Digest>,
    /// The documents that are not tried again.
    pub failures: Vec<Digest>,
    /// The floor's document was given up, and an older one is in its place.
    pub went_back: bool,
}

impl Held {
    /// The higher of both floors.
    pub fn highest(&self) -> Option<&Floor> {
        let floors = [self.floor.as_ref(), self.mirror.as_ref()];
        floors.into_iter().flatten().max_by_key(|floor| floor.place())
    }
}

/// How a device stands in the end.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What it reported last.
    pub state: Option<State>,
    /// The version that it says is in force, and its digest.
    pub applied: (Option<u64>, Option<Digest>),
    /// The newest that the cloud has signed for it.
    pub wanted: (Option<u64>, Option<Digest>),
    /// What its keeper has in force.
    pub in_force: Option<Digest>,
    /// Batches that wait in its outbox.
    pub waiting: usize,
    /// Why it does not follow, if it said so.
    pub refusal: Option<String>,
}
