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
use gnomon_schemas::{BootId, Digest, Version};
use serde::{Deserialize, Serialize};

use crate::accept::{Floor, Identity};
use crate::message::{FromRunner, ToRunner};

/// What the agent hears.
#[derive(Debug)]
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
    /// The store has tried to make a document durable.
    Persisted(Version, Result<(), String>),
    /// The runner spoke.
    Runner(FromRunner),
    /// Some time has passed.
    Clock,
}

/// What the store held at the start.
#[derive(Debug, Default)]
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
    /// The modules that are there.
    pub modules: BTreeMap<Digest, Vec<u8>>,
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
    /// Send to the runner.
    Runner(Box<ToRunner>),
    /// Make all of this durable in one transaction, then say so.
    Persist(Box<Transaction>),
    /// Make the lowest possible time (Unix time, ms) durable.
    KeepTime(u64),
    /// Publish the reported document, retained.
    Report(Box<Reported>),
    /// Append a batch to the outbox, durably.
    Append(Box<Results>),
    /// Delete acknowledged batches from the outbox.
    Delete(BootId, Vec<u64>),
    /// Publish what the outbox holds, the oldest first.
    Send,
}

/// One transition of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// The new floor.
    pub floor: Floor,
    /// The lowest possible time.
    pub time_floor_ms: u64,
    /// The envelope that comes into force.
    pub envelope: Vec<u8>,
    /// Its modules; all others can go, but for those of the previous document.
    pub modules: BTreeMap<Digest, InlineBytes>,
}

/// What an agent is made with.
pub struct Setup {
    /// Who the device is.
    pub identity: Identity,
    /// The first trust root: the firmware's.
    pub root: TrustRoot,
    /// The judge of module evidence.
    pub judge: Box<dyn JudgeEvidence + Send>,
    /// This start of the agent.
    pub boot: BootId,
    /// The agent's release.
    pub agent_version: String,
    /// The lowest possible time at the start (Unix time, ms).
    pub time_floor_ms: u64,
    /// When this release of the agent was made (Unix time, ms).
    pub released_at_ms: u64,
}
