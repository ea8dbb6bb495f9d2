//! What survives a power cut: floor, documents, modules, outbox. One transaction
//! per transition, durable when it returns (WAL, synchronous=FULL).
//!
//! It keeps bytes and gives them back; whether they may act is judged anew each time.

use gnomon_agent_core::accept::Floor;
use gnomon_agent_core::agent::{Mirror, Stored, Transaction};
use gnomon_schemas::limits::OUTBOX_BYTES_MAX;
use gnomon_schemas::results::Results;
use gnomon_schemas::{BootId, Digest};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use std::path::Path;

use super::mirror::MirrorFile;

/// Marks the file as ours ("GNOM").
const APPLICATION_ID: i32 = 0x474e_4f4d;
/// The form of the tables; a store of a later form is refused.
const STORE_VERSION: i32 = 2;

const TABLES: &str = "
    CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE document (slot TEXT PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
    CREATE TABLE module (
        digest TEXT PRIMARY KEY, slot TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, sequence INTEGER NOT NULL,
        bytes BLOB NOT NULL, UNIQUE (boot, sequence)) STRICT;
";

/// What form 2 added.
const TABLES_2: &str =
    "CREATE TABLE trust_root (version INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;";

const SET_FACT: &str =
    "INSERT INTO fact VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
/// The fact that says how many batches were dropped since the last one was written.
const DROPPED: &str = "dropped_batches";

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite's own.
    #[error("the agent's store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Written by a later agent.
    #[error(
        "the agent's store is of form {0}, this agent knows {STORE_VERSION}: run a newer agent"
    )]
    Newer(i32),
    /// Something else lies there.
    #[error("{0} is not an agent's store")]
    Foreign(String),
    /// A row that should be JSON is not.
    #[error("the agent's store holds a row that cannot be read: {0}")]
    Row(#[from] serde_json::Error),
    /// The floor's second copy.
    #[error("the mirror of the floor: {0}")]
    Mirror(#[from] std::io::Error),
}

/// One batch that waits for its acknowledgement.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its place in the outbox.
    pub id: i64,
    /// The batch, as it goes over the wire.
    pub bytes: Vec<u8>,
}

/// The agent's store.
pub struct Store {
    connection: Connection,
    mirror: MirrorFile,
    outbox_bytes_max: usize,
}

impl Store {
    /// Opens or makes the store.
    ///
    /// # Errors
    /// [`StoreError`] when the file is not ours, newer, or cannot be written.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let mut connection = Connection::open(path)?;
        let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |r| r.get(0));
        let (application, version): (i32, i32) =
            (pragma("application_id")?, pragma("user_version")?);
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        // Only a file that holds nothing is made ours.
        if application != APPLICATION_ID && (application, version, tables) != (0, 0, 0) {
            return Err(StoreError::Foreign(path.display().to_string()));
        }
        if version > STORE_VERSION {
            return Err(StoreError::Newer(version));
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        if version < STORE_VERSION {
            let transaction = connection.transaction()?;
            if version < 1 {
                transaction.execute_batch(TABLES)?;
            }
            transaction.execute_batch(TABLES_2)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", STORE_VERSION)?;
            transaction.commit()?;
        }
        let mirror = MirrorFile::beside(path);
        Ok(Store { connection, mirror, outbox_bytes_max: OUTBOX_BYTES_MAX })
    }

    /// The same store with another cap on its outbox.
    #[must_use]
    pub fn with_outbox_bytes_max(self, outbox_bytes_max: usize) -> Store {
        Store { outbox_bytes_max, ..self }
    }

    /// What the agent starts from.
    ///
    /// # Errors
    /// [`StoreError`] when rows cannot be read.
    pub fn stored(&self) -> Result<Stored, StoreError> {
        let floor: Option<String> = self.fact("floor")?;
        let floor = floor.map(|json| serde_json::from_str::<Floor>(&json)).transpose()?;
        let envelope = self
            .connection
            .query_row("SELECT envelope FROM document WHERE slot = 'current'", [], |r| r.get(0))
            .optional()?;
        let mut modules = BTreeMap::new();
        let mut rows = self.connection.prepare("SELECT digest, bytes FROM module")?;
        for row in rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))? {
            let (digest, bytes) = row?;
            // A digest that cannot be read names nothing that could be asked for.
            if let Ok(digest) = digest.parse::<Digest>() {
                modules.insert(digest, bytes);
            }
        }
        let mut rows = self.connection.prepare("SELECT version, envelope FROM trust_root")?;
        let roots =
            rows.query_map([], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)))?;
        let roots = roots.collect::<Result<_, _>>()?;
        let mirror = self.mirror.read();
        Ok(Stored { floor, mirror, roots, offline_roots: vec![], envelope, modules })
    }

    /// The lowest possible time that was stored (Unix time, ms).
    ///
    /// # Errors
    /// [`StoreError`] when the row cannot be read.
    pub fn time_floor_ms(&self) -> Result<u64, StoreError> {
        let stored = self.fact("time_floor_ms")?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mirror = self.mirror.read();
        // A mirror that has not heard of the newest root may tell a time that it ended.
        let is_behind = mirror.trust_version < self.root_version()?;
        Ok(if is_behind { stored } else { mirror.time_floor_ms.max(stored) })
    }

    /// Makes the lowest possible time durable (Unix time, ms); it never falls.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn keep_time(&mut self, at_ms: u64) -> Result<(), StoreError> {
        let at_ms = at_ms.max(self.time_floor_ms()?).to_string();
        self.connection.execute(SET_FACT, ["time_floor_ms", &at_ms])?;
        self.write_mirror()
    }

    /// Makes a trust root durable, so that the device never goes back behind it. With
    /// `time_floor_ms` the lowest possible time falls back to that with it.
    ///
    /// # Errors
    /// [`StoreError`]; it is not durable then.
    pub fn persist_root(
        &mut self,
        version: u64,
        envelope: &[u8],
        time_floor_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let number = i64::try_from(version).unwrap_or(i64::MAX);
        let transaction = self.connection.transaction()?;
        let insert = "INSERT OR REPLACE INTO trust_root VALUES (?1, ?2)";
        transaction.execute(insert, params![number, envelope])?;
        if let Some(at_ms) = time_floor_ms {
            transaction.execute(SET_FACT, ["time_floor_ms", &at_ms.to_string()])?;
        }
        transaction.commit()?;
        self.write_mirror()
    }

    /// The newest trust root that was kept; 0 for none.
    fn root_version(&self) -> Result<u64, StoreError> {
        let root = "SELECT coalesce(max(version), 0) FROM trust_root";
        let root: i64 = self.connection.query_row(root, [], |row| row.get(0))?;
        Ok(root.unsigned_abs())
    }

    /// Says the floors once more outside the database, where they do not fall with it.
    fn write_mirror(&self) -> Result<(), StoreError> {
        let before = self.mirror.read();
        let floor: Option<String> = self.fact("floor")?;
        let floor = floor.map(|json| serde_json::from_str::<Floor>(&json)).transpose()?;
        let mirror = Mirror {
            floor: Floor::higher(floor, before.floor),
            trust_version: self.root_version()?.max(before.trust_version),
            time_floor_ms: self.time_floor_ms()?,
        };
        Ok(self.mirror.write(&mirror)?)
    }

    fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        let query = "SELECT value FROM fact WHERE name = ?1";
        Ok(self.connection.query_row(query, [name], |row| row.get(0)).optional()?)
    }

    /// Makes an accepted document durable: floor, time, envelope and modules
    /// together. What was current becomes previous.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn persist(&mut self, change: &Transaction) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        {
            let mut set = transaction.prepare(SET_FACT)?;
            set.execute(["floor", &serde_json::to_string(&change.floor)?])?;
            set.execute(["time_floor_ms", &change.time_floor_ms.to_string()])?;
        }
        transaction.execute_batch(
            "DELETE FROM document WHERE slot = 'previous';
             UPDATE document SET slot = 'previous';
             DELETE FROM module WHERE slot = 'previous';
             UPDATE module SET slot = 'previous';",
        )?;
        transaction
            .execute("INSERT INTO document VALUES ('current', ?1)", params![change.envelope])?;
        for (digest, bytes) in &change.modules {
            transaction.execute(
                "INSERT INTO module VALUES (?1, 'current', ?2)
                 ON CONFLICT (digest) DO UPDATE SET slot = 'current', bytes = ?2",
                params![digest.as_str(), bytes.0],
            )?;
        }
        transaction.commit()?;
        self.write_mirror()
    }

    /// Appends a batch to the outbox. Over the cap the oldest batches go, and the
    /// next batch says how many.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn append(&mut self, results: &Results) -> Result<(), StoreError> {
        let mut results = results.clone();
        results.dropped_batches =
            self.fact(DROPPED)?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let bytes = serde_json::to_vec(&results)?;
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT OR IGNORE INTO outbox (boot, sequence, bytes) VALUES (?1, ?2, ?3)",
            params![
                results.boot.as_str(),
                i64::try_from(results.sequence).unwrap_or(i64::MAX),
                bytes
            ],
        )?;
        let total: i64 = transaction.query_row(
            "SELECT coalesce(sum(length(bytes)), 0) FROM outbox",
            [],
            |r| r.get(0),
        )?;
        let mut excess = total - i64::try_from(self.outbox_bytes_max).unwrap_or(i64::MAX);
        let mut dropped = 0_u64;
        while excess > 0 {
            let oldest: Option<Vec<u8>> = transaction
                .query_row(
                    "DELETE FROM outbox WHERE id = (SELECT min(id) FROM outbox) RETURNING bytes",
                    [],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(oldest) = oldest else { break };
            excess -= i64::try_from(oldest.len()).unwrap_or(i64::MAX);
            // What it had to tell of batches before it goes with it.
            let told = serde_json::from_slice::<Results>(&oldest).map_or(0, |r| r.dropped_batches);
            dropped = dropped.saturating_add(1).saturating_add(told);
        }
        transaction.execute(SET_FACT, [DROPPED, &dropped.to_string()])?;
        transaction.commit()?;
        Ok(())
    }

    /// The oldest waiting batches after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when rows cannot be read.
    pub fn waiting(&self, after: i64, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let mut rows = self
            .connection
            .prepare("SELECT id, bytes FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let waiting = rows
            .query_map(params![after, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok(Waiting { id: row.get(0)?, bytes: row.get(1)? })
            })?;
        Ok(waiting.collect::<Result<_, _>>()?)
    }

    /// How many batches wait.
    ///
    /// # Errors
    /// [`StoreError`] when rows cannot be read.
    pub fn waiting_count(&self) -> Result<u64, StoreError> {
        let count: i64 =
            self.connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Deletes acknowledged batches.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn delete(&mut self, boot: &BootId, sequences: &[u64]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        for sequence in sequences {
            transaction.execute(
                "DELETE FROM outbox WHERE boot = ?1 AND sequence = ?2",
                params![boot.as_str(), i64::try_from(*sequence).unwrap_or(i64::MAX)],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }
}
