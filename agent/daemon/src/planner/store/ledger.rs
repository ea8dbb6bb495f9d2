//! The outbox's books: what waits, what was dropped and is yet to be told, and which of
//! the keeper's messages are kept. One row, so that an appended batch dirties one page
//! for all of it. How batches are stored is not known here.

use gnomon_schemas::BootId;
use gnomon_schemas::results::{Class, Results};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// In the order in which they are sent; dropped the other way round. A class is stored as
/// its place here.
pub(super) const CLASSES: [Class; 3] = [Class::Faults, Class::Summaries, Class::Samples];
/// Starts of the keeper whose last kept message is remembered.
const SESSIONS_MAX: usize = 4;

/// How many batches, of how many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Batches.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    pub(super) fn add(&mut self, bytes: u64) {
        self.rows = self.rows.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn remove(&mut self, bytes: u64) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Batches that had to go because there was no room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// All of them; those that an earlier agent dropped have no class.
    pub batches: u64,
    /// By class.
    pub by_class: BTreeMap<Class, u64>,
}

impl Dropped {
    fn count(&mut self, class: Class, batches: u64) {
        self.batches = self.batches.saturating_add(batches);
        let of_class = self.by_class.entry(class).or_default();
        *of_class = of_class.saturating_add(batches);
    }

    /// Moves what is yet to be told into a batch that tells it.
    pub(super) fn tell_in(&mut self, batch: &mut Results) {
        let told = std::mem::take(self);
        batch.dropped_batches = batch.dropped_batches.saturating_add(told.batches);
        for (class, batches) in told.by_class {
            let of_class = batch.dropped_by_class.entry(class).or_default();
            *of_class = of_class.saturating_add(batches);
        }
    }

    /// A batch that told this goes: somebody else must tell it.
    fn take_over(&mut self, batch: &Results) {
        self.batches = self.batches.saturating_add(batch.dropped_batches);
        for (class, batches) in &batch.dropped_by_class {
            let of_class = self.by_class.entry(*class).or_default();
            *of_class = of_class.saturating_add(*batches);
        }
    }
}

/// The books.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Ledger {
    /// Batches that ever came.
    pub(super) appended: u64,
    /// What waits.
    pub(super) waiting: BTreeMap<Class, Amount>,
    /// What the next batch has to tell.
    pub(super) untold: Dropped,
    /// What was ever dropped.
    pub(super) dropped: Dropped,
    /// The number of the last message that was kept of each start of the keeper, the
    /// newest start last.
    kept: Vec<(BootId, u64)>,
}

impl Ledger {
    /// The id of the next row: never one that was there before.
    pub(super) fn next_id(&mut self) -> i64 {
        self.appended = self.appended.saturating_add(1);
        i64::try_from(self.appended).unwrap_or(i64::MAX)
    }

    /// All that waits together.
    pub(super) fn total(&self) -> Amount {
        let mut total = Amount::default();
        for amount in self.waiting.values() {
            total.rows = total.rows.saturating_add(amount.rows);
            total.bytes = total.bytes.saturating_add(amount.bytes);
        }
        total
    }

    pub(super) fn came(&mut self, class: Class, bytes: u64) {
        self.waiting.entry(class).or_default().add(bytes);
    }

    pub(super) fn went(&mut self, class: Class, bytes: u64) {
        let of_class = self.waiting.entry(class).or_default();
        of_class.remove(bytes);
        if of_class.rows == 0 {
            self.waiting.remove(&class);
        }
    }

    /// A batch is dropped, and what it had to tell of others must be told by another.
    pub(super) fn drop_batch(&mut self, class: Class, batch: Option<&Results>) {
        self.untold.count(class, 1);
        self.dropped.count(class, 1);
        if let Some(batch) = batch {
            self.untold.take_over(batch);
        }
    }

    /// Batches that did not even come here.
    pub(super) fn missed(&mut self, class: Class, batches: u64) {
        self.appended = self.appended.saturating_add(batches);
        self.untold.count(class, batches);
        self.dropped.count(class, batches);
    }

    /// The number of the keeper's last message that was kept, in this start of it.
    pub(super) fn kept(&self, session: &BootId) -> Option<u64> {
        self.kept.iter().find(|(known, _)| known == session).map(|(_, number)| *number)
    }

    pub(super) fn keep(&mut self, done: (BootId, u64)) {
        self.kept.retain(|(known, _)| *known != done.0);
        self.kept.push(done);
        let past = self.kept.len().saturating_sub(SESSIONS_MAX);
        self.kept.drain(..past);
    }
}

/// A class as it is stored.
pub(super) fn rank(class: Class) -> i64 {
    let place = CLASSES.iter().position(|known| *known == class);
    place.and_then(|place| i64::try_from(place).ok()).unwrap_or(i64::MAX)
}

/// The class of a row; what cannot be read matters least.
pub(super) fn class_of(rank: i64) -> Class {
    let place = usize::try_from(rank).ok();
    place.and_then(|place| CLASSES.get(place)).copied().unwrap_or(Class::Samples)
}
