//! The outbox's rows: taken in once, sent by class and then by age, dropped the other
//! way round when there is no room. Which rows are on their way is not known here.

use gnomon_agent_core::agent::Append;
use gnomon_schemas::Reason;
use gnomon_schemas::limits::{OUTBOX_BYTES_MAX, OUTBOX_ROWS_MAX, RESULTS_BYTES_MAX};
use gnomon_schemas::results::{Class, Results};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::leaving::Leaving;
use super::ledger::{CLASSES, Ledger, class_of, rank};
use super::opening::DATABASE_BYTES_MAX;
use super::{Store, StoreError, Weight, facts, packed, states};
use crate::planner::outbox::{Room, Sent};

/// What the outbox gives way by when the database is at its own cap.
const SHED_BYTES: u64 = 1024 * 1024;
/// Within this of its cap, that cap is why the database is full.
const CAP_IS_NEAR_BYTES: i64 = 64 * 1024;

/// One batch that waits for its acknowledgement.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its place in the outbox.
    pub id: i64,
    /// How much it matters.
    pub class: Class,
    /// The batch, as it goes over the wire.
    pub bytes: Vec<u8>,
}

/// What the outbox may hold, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caps {
    pub(super) bytes_max: u64,
    pub(super) rows_max: u64,
}

impl Default for Caps {
    fn default() -> Caps {
        Caps { bytes_max: OUTBOX_BYTES_MAX as u64, rows_max: OUTBOX_ROWS_MAX }
    }
}

impl Store {
    /// Appends batches, keeps what the functions remember, and notes the keeper's message
    /// that this is the whole of; one that was kept before changes nothing. Over the caps
    /// the lowest class goes first, the oldest of it first, and the next batch says how
    /// many there were.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn append(&mut self, append: &Append) -> Result<bool, StoreError> {
        let kept = self.append_all(std::slice::from_ref(append))?;
        Ok(kept == [true])
    }

    /// The same for several, in one transaction. Gives of each whether it is kept: one
    /// that comes before its time is not.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn append_all(&mut self, appends: &[Append]) -> Result<Vec<bool>, StoreError> {
        let mut done = self.append_within(appends, self.caps);
        let is_full = done.as_ref().is_err_and(StoreError::is_for_want_of_room);
        if is_full && !self.leaving.get_mut().is_empty() {
            // That makes room, and has the ballast to do so.
            self.take_out()?;
            done = self.append_within(appends, self.caps);
        }
        if !done.as_ref().is_err_and(StoreError::is_full) || !self.is_at_its_cap()? {
            return done;
        }
        // The database itself is full, not the disk: something must go first.
        let bytes = read_ledger(&self.connection)?.total().bytes;
        let bytes_max = bytes.saturating_sub(SHED_BYTES);
        self.append_within(appends, Caps { bytes_max, ..self.caps })
    }

    fn append_within(&mut self, appends: &[Append], caps: Caps) -> Result<Vec<bool>, StoreError> {
        let leaving = self.leaving.get_mut().clone();
        let kept = self.change(Weight::Ordinary, |transaction| {
            let before = read_ledger(transaction)?;
            let mut ledger = before.clone();
            // Nothing is dropped for the sake of what waits no more.
            leaving.take_out(transaction, &mut ledger)?;
            let mut kept = vec![];
            for append in appends {
                kept.push(append_one(transaction, &mut ledger, append, caps)?);
            }
            if ledger != before {
                write_ledger(transaction, &ledger)?;
            }
            Ok(kept)
        })?;
        if !leaving.is_empty() {
            *self.leaving.get_mut() = Leaving::default();
            self.give_pages_back();
        }
        Ok(kept)
    }

    /// Counts batches that were dropped before they came here.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn count_dropped(&mut self, class: Class, batches: u64) -> Result<(), StoreError> {
        self.change(Weight::Ordinary, |transaction| {
            let mut ledger = read_ledger(transaction)?;
            ledger.missed(class, batches);
            write_ledger(transaction, &ledger)
        })
    }

    fn is_at_its_cap(&self) -> Result<bool, StoreError> {
        let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let size: i64 = self.connection.query_row(size, [], |row| row.get(0))?;
        Ok(size > DATABASE_BYTES_MAX - CAP_IS_NEAR_BYTES)
    }

    /// The batches to send after those that were sent, by class and then by age, in so
    /// much room; one at least, however large it is. What has left the outbox is none of
    /// them, and what cannot be read leaves it.
    ///
    /// # Errors
    /// [`StoreError`] when rows cannot be read.
    pub fn waiting(&self, sent: &Sent, room: Room) -> Result<Vec<Waiting>, StoreError> {
        let mut waiting: Vec<Waiting> = vec![];
        let mut bytes_left = room.bytes;
        for class in CLASSES {
            let mut rows = self
                .connection
                .prepare("SELECT id, bytes FROM outbox WHERE class = ?1 AND id > ?2 ORDER BY id")?;
            let mut rows = rows.query([rank(class), sent.last_of(class).unwrap_or(0)])?;
            while waiting.len() < room.rows && bytes_left > 0 {
                let Some(row) = rows.next()? else { break };
                let id = row.get(0)?;
                if self.leaving.borrow().contains(id) {
                    continue;
                }
                let Some(bytes) = packed::unpack(row.get(1)?) else {
                    self.leaving.borrow_mut().cannot_read(id);
                    continue;
                };
                bytes_left = bytes_left.saturating_sub(bytes.len());
                waiting.push(Waiting { id, class, bytes });
            }
        }
        Ok(waiting)
    }

    /// How many batches wait.
    ///
    /// # Errors
    /// [`StoreError`] when rows cannot be read.
    pub fn waiting_count(&self) -> Result<u64, StoreError> {
        let count: i64 =
            self.connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
        let left = self.leaving.borrow().count(&self.connection)?;
        Ok(count.unsigned_abs().saturating_sub(left))
    }
}

/// Says whether it is kept, now or before.
fn append_one(
    connection: &Connection,
    ledger: &mut Ledger,
    append: &Append,
    caps: Caps,
) -> Result<bool, StoreError> {
    match append.done.as_ref().and_then(|done| Some((ledger.kept(&done.0)?, done.1))) {
        Some((kept, number)) if number <= kept => return Ok(true),
        Some((kept, number)) if number > kept + 1 => return Ok(false),
        _ => {}
    }
    drop_over(connection, ledger, caps)?;
    for batch in &append.batches {
        take_in(connection, ledger, batch)?;
    }
    drop_over(connection, ledger, caps)?;
    states::replace(connection, &append.states)?;
    if let Some(done) = &append.done {
        ledger.keep(done.clone());
    }
    if tells_of_rebuilding(&append.batches) {
        facts::clear(connection, facts::REBUILT)?;
    }
    Ok(true)
}

/// A batch that is there already, or that was never to be taken by a cloud, is not taken
/// in; the latter counts as dropped.
fn take_in(
    connection: &Connection,
    ledger: &mut Ledger,
    batch: &Results,
) -> Result<(), StoreError> {
    let query = "SELECT 1 FROM outbox WHERE boot = ?1 AND sequence = ?2";
    let place = params![batch.boot.as_str(), signed(batch.sequence)];
    if connection.query_row(query, place, |_| Ok(())).optional()?.is_some() {
        return Ok(());
    }
    let class = batch.class();
    let id = ledger.next_id();
    let mut telling = batch.clone();
    ledger.untold.tell_in(&mut telling);
    let bytes = serde_json::to_vec(&telling)?;
    if bytes.len() > RESULTS_BYTES_MAX {
        tracing::error!(
            bytes = bytes.len(),
            sequence = batch.sequence,
            "a batch of results is larger than any cloud takes: it is dropped"
        );
        ledger.drop_batch(class, Some(&telling));
        return Ok(());
    }
    let bytes = packed::pack(bytes);
    connection.execute(
        "INSERT INTO outbox VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, batch.boot.as_str(), signed(batch.sequence), rank(class), bytes],
    )?;
    ledger.came(class, bytes.len() as u64);
    Ok(())
}

fn drop_over(connection: &Connection, ledger: &mut Ledger, caps: Caps) -> Result<(), StoreError> {
    loop {
        let total = ledger.total();
        if total.bytes <= caps.bytes_max && total.rows <= caps.rows_max {
            return Ok(());
        }
        let Some((class, bytes)) = take_least(connection)? else {
            // The books say more than there is: they are made anew.
            count_anew(connection, ledger)?;
            return Ok(());
        };
        ledger.went(class, bytes.len() as u64);
        // One that cannot be read has nothing to tell either.
        let batch = packed::unpack(bytes).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        ledger.drop_batch(class, batch.as_ref());
    }
}

/// The oldest batch of the class that matters least.
fn take_least(connection: &Connection) -> Result<Option<(Class, Vec<u8>)>, StoreError> {
    let take = "DELETE FROM outbox WHERE id = (
            SELECT id FROM outbox WHERE class = (SELECT max(class) FROM outbox)
            ORDER BY id LIMIT 1)
        RETURNING class, bytes";
    let row = connection.query_row(take, [], |row| Ok((class_of(row.get(0)?), row.get(1)?)));
    Ok(row.optional()?)
}

/// Whether a refusal among these tells that the store was made anew: then that is told.
fn tells_of_rebuilding(batches: &[Results]) -> bool {
    let mut refusals = batches.iter().flat_map(|batch| &batch.refusals);
    refusals.any(|event| event.refusal.reason == Reason::StoreDamaged)
}

pub(super) fn read_ledger(connection: &Connection) -> Result<Ledger, StoreError> {
    if let Some(ledger) = facts::get_json(connection, facts::LEDGER)? {
        return Ok(ledger);
    }
    let mut ledger = Ledger::default();
    count_anew(connection, &mut ledger)?;
    Ok(ledger)
}

pub(super) fn write_ledger(connection: &Connection, ledger: &Ledger) -> Result<(), StoreError> {
    facts::set(connection, facts::LEDGER, &serde_json::to_string(ledger)?)
}

/// After an end that was not in order.
pub(super) fn settle_books(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = read_ledger(&transaction)?;
    let mut ledger = before.clone();
    count_anew(&transaction, &mut ledger)?;
    if ledger != before {
        tracing::error!("the outbox's books did not say what is in it: they are made anew");
        write_ledger(&transaction, &ledger)?;
    }
    Ok(transaction.commit()?)
}

/// Sets the books by what there is. What was dropped and who has kept what stays.
pub(super) fn count_anew(connection: &Connection, ledger: &mut Ledger) -> Result<(), StoreError> {
    ledger.waiting.clear();
    let mut rows = connection.prepare("SELECT id, class, length(bytes) FROM outbox")?;
    let rows = rows.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, class_of(row.get(1)?), row.get::<_, i64>(2)?))
    })?;
    for row in rows {
        let (id, class, bytes) = row?;
        ledger.came(class, bytes.unsigned_abs());
        ledger.appended = ledger.appended.max(id.unsigned_abs());
    }
    Ok(())
}

pub(super) fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
