//! The store: SQLite, one writer and one reader connection, each behind a lock
//! and used on blocking threads only. A table of contents: each part of the
//! schema has its file, its functions take the connection of a transaction.
//!
//! It knows no HTTP, no MQTT and no policy.

pub mod approvals;
pub mod audit;
pub mod devices;
pub mod identity;
pub mod layers;
pub mod modules;
pub mod profiles;
pub mod reported;
pub mod results;
pub mod roots;
mod schema;
pub mod tokens;
pub mod versions;

use gnomon_schemas::reason::{Coded, Reason};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Why the store failed. Its reason is always [`Reason::StoreFailed`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that this program did not write.
    #[error("the store holds a {what} that cannot be read: {message}")]
    Corrupt {
        /// What.
        what: &'static str,
        /// Why.
        message: String,
    },
    /// The database is of a later release.
    #[error("the store has schema {found}, this release knows {known}; use a newer `gnomon`")]
    Newer {
        /// In the file.
        found: i64,
        /// In this program.
        known: i64,
    },
    /// The thread that worked on it is gone.
    #[error("the store stopped: {0}")]
    Stopped(String),
}

impl Coded for StoreError {
    fn reason(&self) -> Reason {
        Reason::StoreFailed
    }
}

/// A store that is open.
#[derive(Clone)]
pub struct Store {
    writer: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the database, making or migrating it.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read or is of a later release.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let mut writer = connect(path)?;
        schema::migrate(&mut writer)?;
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(Store { writer: Arc::new(Mutex::new(writer)), reader: Arc::new(Mutex::new(reader)) })
    }

    /// Runs `work` in one transaction: all of it is stored if it succeeds, nothing if not.
    ///
    /// # Errors
    /// Those of `work` and of the store.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        self.write_then(work, |_| {}).await
    }

    /// As [`Store::write`], then runs `after` once it is stored and before any other
    /// transaction begins.
    ///
    /// # Errors
    /// Those of `work` and of the store; then `after` does not run.
    pub async fn write_then<T, E, F, A>(&self, work: F, after: A) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        A: FnOnce(&T) + Send + 'static,
    {
        let writer = Arc::clone(&self.writer);
        blocking(move || {
            let mut connection = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(StoreError::from)?;
            let done = work(&transaction)?;
            transaction.commit().map_err(StoreError::from)?;
            after(&done);
            Ok(done)
        })
        .await
    }

    /// Runs `work` on one consistent view.
    ///
    /// # Errors
    /// Those of `work` and of the store.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let reader = Arc::clone(&self.reader);
        blocking(move || {
            let mut connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let view = connection.transaction().map_err(StoreError::from)?;
            work(&view)
        })
        .await
    }
}

async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(StoreError::Stopped(error.to_string()).into()),
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// What was stored as text, parsed again.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Corrupt { what, message: error.to_string() })
}

/// What was stored as JSON, parsed again.
fn from_json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt { what, message: error.to_string() })
}

fn to_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Corrupt { what, message: error.to_string() })
}

/// SQLite's integers are signed; ours stay below 2^53, so none is lost.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
