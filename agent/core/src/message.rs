//! What the planner and the runner say to each other: serde messages and nothing
//! shared, so that the two can be threads or processes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use gnomon_schemas::document::{Document, InlineBytes};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::limits::{DOCUMENT_BYTES_MAX, MODULE_BYTES_MAX};
use gnomon_schemas::results::{Record, Summary};
use gnomon_schemas::{Digest, Refusal, Version};
use serde::{Deserialize, Serialize};

/// The largest frame between the halves: the largest module in base64, and room.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most bytes of modules that one document may need together, so that their
/// base64 and the document itself fit one frame.
pub const MODULES_BYTES_MAX: usize = FRAME_BYTES_MAX / 4 * 3 - 512 * 1024;

const _: () = assert!(MODULE_BYTES_MAX <= MODULES_BYTES_MAX);
const _: () = assert!(2 * DOCUMENT_BYTES_MAX <= 512 * 1024);

/// Planner to runner.
#[expect(clippy::large_enum_variant, reason = "frames are few, and bytes at once")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToRunner {
    /// Admit every module of this verified document, off the control path.
    Prepare {
        /// The document.
        document: Document,
        /// The verified bytes of its modules.
        modules: BTreeMap<Digest, InlineBytes>,
    },
    /// Put the prepared document of this version in force between two ticks.
    Activate {
        /// The version.
        version: Version,
    },
    /// The document in force has expired: the profile's defaults from now on.
    Defaults,
    /// The trust root has recalled these modules: none of them is called any more.
    Stop {
        /// The modules.
        modules: BTreeSet<Digest>,
    },
}

/// Runner to planner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromRunner {
    /// The engine is up.
    Started {
        /// The engine config digest.
        engine: Digest,
    },
    /// Whether a document's modules were admitted.
    Prepared {
        /// The document's version.
        version: Version,
        /// The first refusal, if any.
        outcome: Result<(), Refusal>,
    },
    /// The document of this version is in force.
    Activated {
        /// The version.
        version: Version,
        /// How long the tick loop was held up by the exchange, in nanoseconds.
        swap_ns: u64,
        /// The tick, by function, from which on the new modules are called.
        from_tick: BTreeMap<FunctionName, u64>,
    },
    /// What was done since the last message of this kind.
    Done {
        /// Per function, module and interval.
        summaries: Vec<Summary>,
        /// Sampled evaluations.
        records: Vec<Record>,
    },
}
