//! What survives a power cut: floor, documents, modules, states, outbox. One transaction
//! per transition, durable when it returns (WAL, synchronous=FULL).
//!
//! It keeps bytes and gives them back; whether they may act is judged anew each time.

mod disk;
mod documents;
mod error;
mod facts;
mod forms;
mod journal;
mod leaving;
mod ledger;
mod opening;
mod outbox_rows;
mod packed;
mod states;
mod status;
mod trials;

pub use disk::{BALLAST_BYTES, BALLAST_FILE};
pub use error::StoreError;
pub use leaving::{ACKNOWLEDGED_MAX, ACKNOWLEDGED_PATIENCE};
pub use ledger::{Amount, Dropped};
pub use outbox_rows::Waiting;
pub use status::StoreStatus;

use gnomon_agent_core::accept::Floor;
use gnomon_agent_core::agent::{Mirror, Stored};
use rusqlite::{Connection, TransactionBehavior};
use std::cell::RefCell;
use std::path::Path;

use super::mirror::MirrorFile;
use disk::Disk;
use leaving::Leaving;
use outbox_rows::Caps;

/// Free pages of the database are given back to the disk beyond this.
const FREE_BYTES_MAX: i64 = 2 * 1024 * 1024;
/// So many at a time.
const FREED_PAGES: i64 = 1024;

/// The agent's store.
pub struct Store {
    connection: Connection,
    mirror: MirrorFile,
    disk: Disk,
    caps: Caps,
    /// Reading finds what cannot be read.
    leaving: RefCell<Leaving>,
}

/// Whether a transition is worth the ballast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It frees room, or it makes the device safe.
    Safety,
    /// It can wait until there is room.
    Ordinary,
}

impl Store {
    /// Opens or makes the store. One that is damaged is put aside and made anew: the
    /// floors then are the mirror's.
    ///
    /// # Errors
    /// [`StoreError`] when the file is not ours, newer, or cannot be written; it is as it
    /// was then.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let mut disk = Disk::around(path);
        let mirror = MirrorFile::beside(path);
        let connection = opening::open(path, &mut disk, mirror.held())?;
        disk.make_ballast();
        Ok(Store::of(connection, mirror, disk))
    }

    /// Opens a store to look at it. One in which an agent of another process is at work
    /// cannot be looked at: that agent is to be asked.
    ///
    /// # Errors
    /// [`StoreError`] when there is none, or it is not of this agent's form.
    pub fn open_read_only(path: &Path) -> Result<Store, StoreError> {
        let connection = forms::open_to_read(path)?;
        match forms::judge(path, true)? {
            forms::STORE_FORM => {}
            older => return Err(StoreError::Older(older)),
        }
        let (mirror, disk) = (MirrorFile::beside(path), Disk::around(path));
        Ok(Store::of(connection, mirror, disk))
    }

    fn of(connection: Connection, mirror: MirrorFile, disk: Disk) -> Store {
        Store { connection, mirror, disk, caps: Caps::default(), leaving: RefCell::default() }
    }

    /// Closes the store in order: the next start need not look at all of it.
    ///
    /// # Errors
    /// [`StoreError`]; the next start looks at all of it then.
    pub fn close(mut self) -> Result<(), StoreError> {
        let is_written = !self.connection.is_readonly(rusqlite::MAIN_DB)?;
        if is_written && let Err(error) = self.take_out() {
            tracing::warn!(%error, "what is acknowledged will be sent again");
        }
        self.connection.close().map_err(|(_, error)| error)?;
        if is_written { self.disk.mark_clean() } else { Ok(()) }
    }

    /// The same store with another cap on its outbox.
    #[must_use]
    pub fn with_outbox_bytes_max(mut self, bytes_max: usize) -> Store {
        self.caps.bytes_max = bytes_max as u64;
        self
    }

    /// The same store with another cap on its outbox's batches.
    #[must_use]
    pub fn with_outbox_rows_max(mut self, rows_max: u64) -> Store {
        self.caps.rows_max = rows_max;
        self
    }

    /// Why the store was made anew, until a refusal in the outbox tells it.
    pub fn was_rebuilt(&self) -> Option<String> {
        facts::get(&self.connection, facts::REBUILT).ok().flatten()
    }

    /// What the agent starts from.
    ///
    /// # Errors
    /// [`StoreError`] when tables cannot be read; a row that cannot be read costs itself.
    pub fn stored(&self) -> Result<Stored, StoreError> {
        let connection = &self.connection;
        let current = documents::read(connection, "current")?;
        let previous = documents::read(connection, "previous")?;
        let [envelope_trust_version, previous_trust_version] =
            [&current, &previous].map(|held| held.as_ref()?.trust_version);
        Ok(Stored {
            floor: self.floor()?,
            mirror: self.mirror.held().clone(),
            roots: documents::roots(connection)?,
            offline_roots: vec![],
            envelope: current.map(|current| current.envelope),
            envelope_trust_version,
            previous: previous.map(|previous| previous.envelope),
            previous_trust_version,
            rolled_back_from: facts::get(connection, facts::ROLLED_BACK_FROM)?
                .and_then(|digest| digest.parse().ok()),
            trial: facts::get_json(connection, facts::TRIAL)?,
            failures: trials::failures(connection)?,
            states: states::of_slot(connection, "current")?,
            previous_states: states::of_slot(connection, "previous")?,
            modules: documents::modules(connection)?,
            damaged: self.was_rebuilt(),
        })
    }

    /// The lowest possible time that was stored (Unix time, ms).
    ///
    /// # Errors
    /// [`StoreError`] when the row cannot be read.
    pub fn time_floor_ms(&self) -> Result<u64, StoreError> {
        let stored = facts::get_number(&self.connection, facts::TIME_FLOOR)?;
        let mirror = self.mirror.held();
        // A mirror that has not heard of the newest root may tell a time that it ended.
        let is_behind = mirror.trust_version < documents::root_version(&self.connection)?;
        Ok(if is_behind { stored } else { mirror.time_floor_ms.max(stored) })
    }

    /// Makes the lowest possible time durable (Unix time, ms); it never falls.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then, unless it is the mirror's.
    pub fn keep_time(&mut self, at_ms: u64) -> Result<(), StoreError> {
        let at_ms = at_ms.max(self.time_floor_ms()?).to_string();
        self.change(Weight::Ordinary, |transaction| {
            facts::set(transaction, facts::TIME_FLOOR, &at_ms)
        })?;
        self.write_mirror(Weight::Ordinary)
    }

    fn floor(&self) -> Result<Option<Floor>, StoreError> {
        facts::get_json(&self.connection, facts::FLOOR)
    }

    /// Says the floors once more outside the database, where they do not fall with it.
    fn write_mirror(&mut self, weight: Weight) -> Result<(), StoreError> {
        let before = self.mirror.held();
        let root_version = documents::root_version(&self.connection)?;
        let mirror = Mirror {
            floor: Floor::higher(self.floor()?, before.floor.clone()),
            trust_version: root_version.max(before.trust_version),
            time_floor_ms: self.time_floor_ms()?,
        };
        let mut written = self.mirror.write(mirror.clone()).map_err(StoreError::Mirror);
        let is_full = written.as_ref().is_err_and(StoreError::is_for_want_of_room);
        if is_full && weight == Weight::Safety && self.disk.make_room() {
            written = self.mirror.write(mirror).map_err(StoreError::Mirror);
        }
        written
    }

    /// One transition, whole or not at all. One that matters has the ballast.
    fn change<T>(
        &mut self,
        weight: Weight,
        work: impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut done = self.attempt(&work);
        let is_full = done.as_ref().is_err_and(StoreError::is_for_want_of_room);
        if is_full && weight == Weight::Safety && self.disk.make_room() {
            done = self.attempt(&work);
        }
        if done.is_ok() {
            self.disk.make_ballast();
        }
        done
    }

    fn attempt<T>(
        &mut self,
        work: impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.bound_log()?;
        // Dropped on an error, it is rolled back, unless SQLite has done so already.
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// SQLite writes the log back as it grows. Where it cannot, the log must not fill
    /// the disk.
    fn bound_log(&self) -> Result<(), StoreError> {
        if self.disk.log_bytes() <= opening::LOG_BYTES_MAX {
            return Ok(());
        }
        let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy: bool = self.connection.query_row(truncate, [], |row| row.get(0))?;
        if is_busy { Err(StoreError::LogFull) } else { Ok(()) }
    }

    /// Gives free pages back to the disk, a few at a time. What fails is tried again.
    fn give_pages_back(&self) {
        let given = || -> Result<(), StoreError> {
            let free = "SELECT freelist_count * page_size
                        FROM pragma_freelist_count, pragma_page_size";
            let free: i64 = self.connection.query_row(free, [], |row| row.get(0))?;
            if free > FREE_BYTES_MAX {
                let vacuum = format!("PRAGMA incremental_vacuum({FREED_PAGES})");
                let mut vacuum = self.connection.prepare(&vacuum)?;
                let mut freed = vacuum.query([])?;
                while freed.next()?.is_some() {}
            }
            Ok(())
        };
        if let Err(error) = given() {
            tracing::debug!(%error, "free pages could not be given back");
        }
    }
}
