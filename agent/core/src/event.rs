//! What the agent hears, what it wants done, and what it is made with: closed
//! lists. What follows from them is not known here.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::module::JudgeEvidence;
use gnomon_schemas::reported::Reported;
use gnomon_schemas::results::Results;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{BootId, Digest, Refusal};
use serde::{Deserialize, Serialize};

use crate::accept::{Floor, Identity};
use crate::message::{FromKeeper, FunctionState, ToKeeper};

/// What the agent hears.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the largest comes once")]
pub enum Event {
    /// The agent starts, with what its store held.
    Started(Stored),
    /// The broker accepted the connection and the subscriptions.
    Connected,
    /// The connection is gone.
    Disconnected,
    /// Bytes came on the desired topic.
    Document(Vec<u8>),
    /// Bytes came on a trust root's topic.
    TrustRoot(Vec<u8>),
    /// The store has tried to make a trust root of this version durable.
    RootPersisted(u64, Result<(), String>),
    /// Bytes came on a module's topic, or out of the store.
    Module(Digest, Vec<u8>),
    /// Bytes came on the ack topic.
    Ack(Vec<u8>),
    /// The store has tried to make the document with this payload durable.
    Persisted(Digest, Result<(), String>),
    /// The keeper spoke.
    Keeper(FromKeeper),
    /// Some time has passed.
    Clock,
}

/// What the store held at the start.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The floor.
    pub floor: Option<Floor>,
    /// What the mirror of the floor held, in a place of its own.
    pub mirror: Mirror,
    /// Envelopes of the trust roots after the first, by version.
    pub roots: BTreeMap<u64, Vec<u8>>,
    /// Envelopes of trust roots that were brought to the device without a network: the
    /// one after the firmware's, and so on.
    pub offline_roots: Vec<Vec<u8>>,
    /// The envelope of the document in force.
    pub envelope: Option<Vec<u8>>,
    /// The version of the trust root under which it was accepted; none says the floor's.
    pub envelope_trust_version: Option<u64>,
    /// The envelope of the one before it, which a rollback returns to.
    pub previous: Option<Vec<u8>>,
    /// The version of the trust root under which that was accepted; none says the floor's.
    pub previous_trust_version: Option<u64>,
    /// The document in force is not the floor's, because that one (by the digest of its
    /// payload) was given up.
    pub rolled_back_from: Option<Digest>,
    /// The trial of the document in force, until it has proved itself.
    pub trial: Option<Trial>,
    /// Documents that are not tried again.
    pub failures: Vec<Failure>,
    /// What the functions in force remembered.
    pub states: Vec<FunctionState>,
    /// What they remembered when the previous document was in force.
    pub previous_states: Vec<FunctionState>,
    /// The modules that are there, those of the previous document too.
    pub modules: BTreeMap<Digest, Vec<u8>>,
    /// Why the store was put aside and made anew, if it was and nobody has told it yet.
    pub damaged: Option<String>,
}

/// A document that has yet to prove itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The digest of its payload.
    pub document: Digest,
    /// The keeper's start in which it was tried last.
    pub session: BootId,
    /// How many starts it has seen without doing well for a while.
    pub starts: u32,
}

/// A document that failed by its own fault. It is not tried again; a newer one, with the
/// same modules even, is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The digest of its payload.
    pub document: Digest,
    /// Why.
    pub refusal: Refusal,
}

/// The floors once more, outside the store: a store that is lost or set back does
/// not take the device back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The highest accepted document.
    pub floor: Option<Floor>,
    /// The version of the newest trust root in force.
    pub trust_version: u64,
    /// The lowest possible time (Unix time, ms).
    pub time_floor_ms: u64,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Subscribe to the topic of the trust root of this version, and leave those before.
    FetchRoot(u64),
    /// Make a trust root durable, then say so.
    PersistRoot {
        /// Its version.
        version: u64,
        /// Its envelope.
        envelope: Vec<u8>,
        /// What the lowest possible time falls back to, in the same transaction: a root
        /// that raises the epoch ends the word of those who signed times before it.
        time_floor_ms: Option<u64>,
    },
    /// Subscribe to the desired topic again: the broker then repeats what it retains.
    FetchDocument,
    /// Subscribe to a module's topic and deliver what comes.
    FetchModule(Digest),
    /// Leave a module's topic.
    ForgetModule(Digest),
    /// Send to the keeper.
    Keeper(Box<ToKeeper>),
    /// Make all of this durable in one transaction, then say so.
    Persist(Box<Transaction>),
    /// Make the lowest possible time (Unix time, ms) durable.
    KeepTime(u64),
    /// Publish the reported document, retained.
    Report(Box<Reported>),
    /// Make the trial of the document in force durable; none once it has proved itself.
    KeepTrial(Option<Trial>),
    /// Remember, durably, that a document is not tried again.
    KeepFailure(Box<Failure>),
    /// Make it durable, in one transaction, that the document in force was given up: the
    /// previous one is in force again, if there is one, with its modules and states, and
    /// the floor stays.
    PersistRollback(Box<Failure>),
    /// Append to the outbox, durably.
    Append(Box<Append>),
    /// Delete acknowledged batches from the outbox.
    Delete(BootId, Vec<u64>),
    /// Publish what the outbox holds, the oldest first.
    Send,
}

/// What is appended to the outbox in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// Batches, each with its own number.
    pub batches: Vec<Results>,
    /// What the functions remember now, in the place of what they did.
    pub states: Vec<FunctionState>,
    /// The keeper's start and the number of its message that this is the whole of. One
    /// that was kept before changes nothing. When it is durable, the keeper is told so.
    pub done: Option<(BootId, u64)>,
}

/// One transition of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// The new floor.
    pub floor: Floor,
    /// The lowest possible time.
    pub time_floor_ms: u64,
    /// The envelope that comes into force; what was in force becomes the previous one.
    /// The very same once more takes its own place.
    pub envelope: Vec<u8>,
    /// Its modules; all others can go, but for those of the previous document.
    pub modules: BTreeMap<Digest, InlineBytes>,
    /// Its trial; none if it has nothing to prove.
    pub trial: Option<Trial>,
    /// The document in the store has not proved itself, or was refused at the start: it
    /// goes, and what a rollback would have returned to from it stays the previous one, with
    /// its modules and states.
    pub keeps_previous: bool,
}

/// What an agent is made with.
pub struct Setup {
    /// Who the device is.
    pub identity: Identity,
    /// The first trust root: the firmware's.
    pub root: TrustRoot,
    /// The judge of module evidence.
    pub judge: Box<dyn JudgeEvidence + Send>,
    /// This start of the planner.
    pub boot: BootId,
    /// The start of the keeper that it plans for.
    pub session: BootId,
    /// The agent's release.
    pub agent_version: String,
    /// The lowest possible time at the start (Unix time, ms).
    pub time_floor_ms: u64,
    /// When this release of the agent was made (Unix time, ms).
    pub released_at_ms: u64,
}
