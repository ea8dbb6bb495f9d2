//! What the store under test is asked to do, and the bytes that go into it: the same in
//! the driver (`bin/store.rs`), which says each step before and after it, and in the
//! oracle, which is not told anything else.

use gnomon_agent_core::Floor;
use gnomon_agent_core::agent::{Append, Transaction};
use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::limits::MODULE_BYTES_MAX;
use gnomon_schemas::results::Results;
use gnomon_schemas::{BootId, Digest};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The store's file.
pub(crate) const STORE_FILE: &str = "agent.db";
/// From this version on documents bring a module that is as large as it may be.
pub(crate) const LARGE: u64 = 100;
/// The time when the first document was accepted, and between two (ms).
const TIME_STEP_MS: u64 = 10_000;

/// One transition of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Opens the store, for the first time or again.
    Open,
    /// Makes the document of this version durable.
    Persist(u64),
    /// Makes a trust root durable, and with it perhaps a lower time.
    PersistRoot(u64, Option<u64>),
    /// Raises the lowest possible time (ms).
    KeepTime(u64),
    /// Appends batches.
    Append(Vec<u64>),
    /// Deletes acknowledged batches.
    Delete(Vec<u64>),
    /// Remembers that batches are acknowledged: the next append deletes them with it.
    Acknowledge(Vec<u64>),
}

/// What the driver says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mark {
    /// It is about to ask for this.
    Asked(Step),
    /// The store returned: it is durable.
    Done(Step),
    /// The store returned an error: it may be durable or not.
    Refused(Step),
}

/// The document of this version, made once: an oracle asks for it again and again.
pub(crate) fn change(version: u64) -> Arc<Transaction> {
    static MADE: Mutex<BTreeMap<u64, Arc<Transaction>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap();
    made.entry(version).or_insert_with(|| Arc::new(make_change(version))).clone()
}

fn make_change(version: u64) -> Transaction {
    let envelope = format!("envelope {version}; ").repeat(400).into_bytes();
    // Each brings its own module; all but the third share one.
    let own = format!("module {version}; ");
    let own = own.repeat(if version < LARGE { 5_000 } else { MODULE_BYTES_MAX } / own.len());
    let shared = "a module of several documents; ".repeat(400);
    let modules = if version == 3 { vec![own] } else { vec![own, shared] };
    let modules = modules.into_iter().map(|module| {
        let bytes = module.into_bytes();
        (Digest::of(&bytes), InlineBytes(bytes))
    });
    Transaction {
        floor: Floor {
            epoch: 1,
            version: version.try_into().unwrap(),
            digest: Digest::of(&envelope),
            trust_version: 1,
        },
        time_floor_ms: version * TIME_STEP_MS,
        envelope,
        modules: modules.collect(),
        trial: None,
        keeps_previous: false,
    }
}

/// The trust root of this version.
pub(crate) fn root(version: u64) -> Vec<u8> {
    format!("trust root {version}; ").repeat(200).into_bytes()
}

/// The start of the agent that numbers the batches.
pub(crate) fn boot() -> BootId {
    BootId::from_random([7; 16])
}

/// What the store is asked to append for this batch.
pub(crate) fn append(sequence: u64) -> Append {
    Append { batches: vec![batch(sequence)], states: vec![], done: None }
}

/// The batch of this number; of every three one tells a refusal, at length.
pub(crate) fn batch(sequence: u64) -> Results {
    let refusal = json!({
        "at_ms": sequence,
        "refusal": { "reason": "rollback", "detail": "an old document ".repeat(100) },
    });
    let refusals = if sequence.is_multiple_of(3) { vec![refusal] } else { vec![] };
    let batch = json!({
        "schema": "gnomon.results.v1", "fleet": "acme", "device": "heater-1", "boot": boot(),
        "sequence": sequence, "engine": Digest::of(b"engine"), "refusals": refusals,
    });
    serde_json::from_value(batch).unwrap()
}
