//! Rows of the outbox that wait for nothing any more but a transaction that takes them
//! out: the cloud has acknowledged them, or the disk does not give them as they were.
//!
//! To the rest of the agent they are gone. The word of it is in memory alone, since each
//! transaction wears the flash: a power cut loses it, the batches are sent again, and the
//! cloud stores a batch once.

use gnomon_schemas::BootId;
use gnomon_schemas::results::Class;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ledger::{Amount, Ledger, class_of};
use super::outbox_rows::{read_ledger, signed, write_ledger};
use super::{Store, StoreError, Weight};

/// So many are remembered; with more, they are taken out at once.
pub const ACKNOWLEDGED_MAX: usize = 512;
/// So long they may stay in the tables. The next append takes them out with it: this is
/// longer than the minute between two summaries.
pub const ACKNOWLEDGED_PATIENCE: Duration = Duration::from_secs(90);

/// The rows, by their places.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaving {
    acknowledged: BTreeSet<i64>,
    /// Since when there are any.
    since: Option<Instant>,
    unreadable: BTreeSet<i64>,
}

impl Leaving {
    pub(super) fn is_empty(&self) -> bool {
        self.acknowledged.is_empty() && self.unreadable.is_empty()
    }

    pub(super) fn contains(&self, id: i64) -> bool {
        self.acknowledged.contains(&id) || self.unreadable.contains(&id)
    }

    /// The disk does not give this row as it was.
    pub(super) fn cannot_read(&mut self, id: i64) {
        tracing::error!(id, "a batch of results on the disk is damaged: it is dropped");
        self.unreadable.insert(id);
    }

    fn is_due(&self, now: Instant) -> bool {
        let waited = |since| now.saturating_duration_since(since) >= ACKNOWLEDGED_PATIENCE;
        !self.unreadable.is_empty() || self.since.is_some_and(waited)
    }

    /// Those that are still in the table.
    fn rows(&self, connection: &Connection) -> Result<Vec<(Class, u64)>, StoreError> {
        let query = "SELECT class, length(bytes) FROM outbox WHERE id = ?1";
        let mut query = connection.prepare(query)?;
        let mut rows = vec![];
        for id in self.acknowledged.union(&self.unreadable) {
            rows.extend(query.query_row([id], class_and_bytes).optional()?);
        }
        Ok(rows)
    }

    /// How many are still in the table.
    pub(super) fn count(&self, connection: &Connection) -> Result<u64, StoreError> {
        Ok(self.rows(connection)?.len() as u64)
    }

    /// The books as if they were taken out.
    pub(super) fn leave(
        &self,
        connection: &Connection,
        ledger: &mut Ledger,
    ) -> Result<(), StoreError> {
        for (class, bytes) in self.rows(connection)? {
            ledger.went(class, bytes);
        }
        Ok(())
    }

    /// Takes them out; gives what there was of them. What cannot be read was dropped, and
    /// has nothing to tell.
    pub(super) fn take_out(
        &self,
        connection: &Connection,
        ledger: &mut Ledger,
    ) -> Result<Amount, StoreError> {
        let delete = "DELETE FROM outbox WHERE id = ?1 RETURNING class, length(bytes)";
        let mut delete = connection.prepare(delete)?;
        let mut gone = Amount::default();
        for id in self.acknowledged.union(&self.unreadable) {
            let row = delete.query_row([id], class_and_bytes);
            let Some((class, bytes)) = row.optional()? else { continue };
            ledger.went(class, bytes);
            gone.add(bytes);
            if !self.acknowledged.contains(id) {
                ledger.drop_batch(class, None);
            }
        }
        Ok(gone)
    }
}

fn class_and_bytes(row: &Row<'_>) -> rusqlite::Result<(Class, u64)> {
    Ok((class_of(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs()))
}

impl Store {
    /// The cloud has stored these batches: they wait no more, and are taken out by the
    /// next append, when it is time, or at once where there are many. Gives the places of
    /// those that waited.
    ///
    /// # Errors
    /// [`StoreError`]; they are sent again then.
    pub fn acknowledge(
        &mut self,
        boot: &BootId,
        sequences: &[u64],
        now: Instant,
    ) -> Result<Vec<i64>, StoreError> {
        let mut places = self.places(boot, sequences)?;
        places.retain(|id| !self.leaving.get_mut().acknowledged.contains(id));
        let remembered = self.leaving.get_mut().acknowledged.len();
        if remembered.saturating_add(places.len()) > ACKNOWLEDGED_MAX {
            self.take_out()?;
        }
        // One acknowledgement names no more than that.
        places.truncate(ACKNOWLEDGED_MAX);
        let leaving = self.leaving.get_mut();
        if !places.is_empty() {
            leaving.acknowledged.extend(&places);
            leaving.since.get_or_insert(now);
        }
        Ok(places)
    }

    /// Takes out what has left the outbox, if it is time.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn take_out_due(&mut self, now: Instant) -> Result<(), StoreError> {
        if self.leaving.get_mut().is_due(now) { self.take_out().map(drop) } else { Ok(()) }
    }

    /// Deletes acknowledged batches at once, with all that has left the outbox; gives what
    /// there was of them.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn delete(&mut self, boot: &BootId, sequences: &[u64]) -> Result<Amount, StoreError> {
        let places = self.places(boot, sequences)?;
        let mut leaving = self.leaving.get_mut().clone();
        leaving.acknowledged.extend(places);
        self.take_out_these(&leaving)
    }

    pub(super) fn take_out(&mut self) -> Result<Amount, StoreError> {
        let leaving = self.leaving.get_mut().clone();
        self.take_out_these(&leaving)
    }

    fn take_out_these(&mut self, leaving: &Leaving) -> Result<Amount, StoreError> {
        if leaving.is_empty() {
            return Ok(Amount::default());
        }
        let gone = self.change(Weight::Safety, |transaction| {
            let mut ledger = read_ledger(transaction)?;
            let gone = leaving.take_out(transaction, &mut ledger)?;
            if gone.rows > 0 {
                write_ledger(transaction, &ledger)?;
            }
            Ok(gone)
        })?;
        *self.leaving.get_mut() = Leaving::default();
        self.give_pages_back();
        Ok(gone)
    }

    /// Where these batches are in the outbox, if they are.
    fn places(&self, boot: &BootId, sequences: &[u64]) -> Result<Vec<i64>, StoreError> {
        let query = "SELECT id FROM outbox WHERE boot = ?1 AND sequence = ?2";
        let mut query = self.connection.prepare(query)?;
        let mut places = vec![];
        for sequence in sequences {
            let place = params![boot.as_str(), signed(*sequence)];
            places.extend(query.query_row(place, |row| row.get::<_, i64>(0)).optional()?);
        }
        Ok(places)
    }
}
