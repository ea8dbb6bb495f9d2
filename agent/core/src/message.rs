//! What the planner and the keeper say to each other: serde messages and nothing
//! shared, so that the two can be threads or processes.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use gnomon_schemas::document::{Document, InlineBytes};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::limits::{DOCUMENT_BYTES_MAX, MODULE_BYTES_MAX};
use gnomon_schemas::results::{Record, SlotRole, Summary};
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Refusal, Version};
use serde::{Deserialize, Serialize};

/// The largest frame between the halves: the largest module in base64, and room.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most bytes of modules that one document may need together, so that their
/// base64, the document itself and the states of its functions fit one frame.
pub const MODULES_BYTES_MAX: usize = FRAME_BYTES_MAX / 4 * 3 - 1024 * 1024;
/// The most bytes that the states of all functions may take as JSON.
pub const STATES_BYTES_MAX: usize = 512 * 1024;

const _: () = assert!(MODULE_BYTES_MAX <= MODULES_BYTES_MAX);
const _: () = assert!(2 * DOCUMENT_BYTES_MAX + STATES_BYTES_MAX <= 1024 * 1024);

/// Planner to keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToKeeper {
    /// Admit every module of a verified document, off the control path.
    Prepare(Box<Prepare>),
    /// Put the prepared document with this payload in force between two ticks, unless it
    /// was given up since the keeper's start.
    Activate {
        /// The digest of its payload.
        document: Digest,
        /// Its version.
        version: Version,
    },
    /// The document in force has expired: the profile's defaults from now on.
    Defaults,
    /// The trust root has recalled these modules: none of them is called any more.
    Stop {
        /// The modules.
        modules: BTreeSet<Digest>,
    },
    /// All that was done up to this message is durable.
    Kept {
        /// The number of the last message.
        number: u64,
    },
}

/// A document that is to be prepared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepare {
    /// The digest of its payload: what is said of it later is said by this name.
    pub digest: Digest,
    /// The document.
    pub document: Document,
    /// The verified bytes of its modules.
    pub modules: BTreeMap<Digest, InlineBytes>,
    /// What its functions remembered when they were kept last: for a keeper that has just
    /// started and knows nothing newer.
    pub states: Vec<FunctionState>,
    /// It has yet to prove itself, whatever was in force before.
    pub on_trial: bool,
}

/// What one module remembers as one function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionState {
    /// The function.
    pub function: FunctionName,
    /// The module.
    pub module: Digest,
    /// In control or beside it.
    pub role: SlotRole,
    /// Its state.
    pub state: Values,
}

impl FunctionState {
    /// Whether both are of the same module in the same place.
    pub fn is_of(&self, other: &FunctionState) -> bool {
        (&self.function, &self.module, self.role) == (&other.function, &other.module, other.role)
    }
}

/// A document that the keeper has given up by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The digest of its payload.
    pub from: Digest,
    /// The same of what is in force again; none for the profile's defaults.
    pub to: Option<Digest>,
    /// Why.
    pub refusal: Refusal,
}

/// What was done since the last of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Counts these messages since the keeper's start. One is said again until it is kept.
    pub number: u64,
    /// Per function, module and interval.
    pub summaries: Vec<Summary>,
    /// Sampled evaluations.
    pub records: Vec<Record>,
    /// What modules remember now; what is not named remembers what it did.
    pub states: Vec<FunctionState>,
}

/// Keeper to planner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromKeeper {
    /// The first word to each planner.
    Started {
        /// The engine config digest.
        engine: Digest,
        /// What the keeper has given up since its start, if it did.
        rolled_back: Option<RolledBack>,
    },
    /// Whether a document's modules were admitted.
    Prepared {
        /// The digest of the document's payload.
        document: Digest,
        /// The first refusal, if any.
        outcome: Result<(), Refusal>,
    },
    /// The document is in force.
    Activated {
        /// The digest of its payload.
        document: Digest,
        /// Its version.
        version: Version,
        /// How long the tick loop was held up by the exchange, in nanoseconds.
        swap_ns: u64,
        /// The tick, by function, from which on the new modules are called.
        from_tick: BTreeMap<FunctionName, u64>,
    },
    /// The document in force has failed its probation: what was before is in force again.
    RolledBack(RolledBack),
    /// The document in force, on trial, has done well for a while.
    Healthy {
        /// The digest of its payload.
        document: Digest,
    },
    /// The document in force has proved itself.
    Proven {
        /// The digest of its payload.
        document: Digest,
    },
    /// What was done.
    Done(Box<Done>),
}
