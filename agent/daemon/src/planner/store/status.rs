//! What the store tells a person: how full it is, what it dropped, and where its floors
//! are. It changes nothing.

use gnomon_agent_core::Floor;
use gnomon_agent_core::agent::{Failure, Trial};
use gnomon_schemas::Digest;
use gnomon_schemas::results::Class;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::ledger::{Amount, Dropped};
use super::{Store, StoreError, documents, facts, outbox_rows, trials};

/// The store at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// What waits for its acknowledgement, by class; bytes are as stored.
    pub outbox: BTreeMap<Class, Amount>,
    /// How many bytes may wait.
    pub outbox_bytes_max: u64,
    /// How many batches may wait.
    pub outbox_rows_max: u64,
    /// Batches that ever came.
    pub appended: u64,
    /// Those of them that had to go, since the store was made.
    pub dropped: Dropped,
    /// Those of these that no batch has told yet.
    pub dropped_untold: u64,
    /// What the database takes on the disk.
    pub database_bytes: u64,
    /// Whether there is something to give up when the disk is full.
    pub has_ballast: bool,
    /// The highest accepted document, of store and mirror.
    pub floor: Option<Floor>,
    /// The lowest possible time (Unix time, ms).
    pub time_floor_ms: u64,
    /// The newest trust root that was kept; 0 where only the firmware's is known.
    pub trust_version: u64,
    /// The floor's document, if the device went back from it.
    pub rolled_back_from: Option<Digest>,
    /// The trial of the document in force.
    pub trial: Option<Trial>,
    /// Documents that are not tried again.
    pub failures: Vec<Failure>,
    /// Why the store was made anew, until the outbox tells it.
    pub rebuilt: Option<String>,
}

impl Store {
    /// The store at a glance: one state, also while an agent writes.
    ///
    /// # Errors
    /// [`StoreError`] when rows cannot be read.
    pub fn status(&self) -> Result<StoreStatus, StoreError> {
        let snapshot = self.connection.unchecked_transaction()?;
        let mut ledger = outbox_rows::read_ledger(&snapshot)?;
        self.leaving.borrow().leave(&snapshot, &mut ledger)?;
        let mirror = self.mirror.held();
        Ok(StoreStatus {
            outbox: ledger.waiting,
            outbox_bytes_max: self.caps.bytes_max,
            outbox_rows_max: self.caps.rows_max,
            appended: ledger.appended,
            dropped: ledger.dropped,
            dropped_untold: ledger.untold.batches,
            database_bytes: self.disk.database_bytes(),
            has_ballast: self.disk.has_ballast(),
            floor: Floor::higher(self.floor()?, mirror.floor.clone()),
            time_floor_ms: self.time_floor_ms()?,
            trust_version: documents::root_version(&snapshot)?.max(mirror.trust_version),
            rolled_back_from: facts::get(&snapshot, facts::ROLLED_BACK_FROM)?
                .and_then(|digest| digest.parse().ok()),
            trial: facts::get_json(&snapshot, facts::TRIAL)?,
            failures: trials::failures(&snapshot)?,
            rebuilt: self.was_rebuilt(),
        })
    }
}
