//! Why the store could not do what it was asked, and which of these mean that it is
//! damaged or that the disk is full. What follows from that is not known here.

use rusqlite::{ErrorCode, ffi};
use std::io;
use std::path::PathBuf;

use super::forms::STORE_FORM;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite's own.
    #[error("the agent's store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Written by a later agent.
    #[error("the agent's store is of form {0}, this agent knows {STORE_FORM}: run a newer agent")]
    Newer(i32),
    /// Written by an earlier agent, and only to be read.
    #[error("the agent's store is of form {0}: start this agent once, so that it takes it over")]
    Older(i32),
    /// Something else lies there.
    #[error("{0} is not an agent's store: move it away, or choose another data folder")]
    Foreign(String),
    /// What lies there was a store.
    #[error("the agent's store is damaged: {0}")]
    Damaged(String),
    /// What is to be stored has no JSON form.
    #[error("the agent's store was given what has no JSON form: {0}")]
    Row(#[from] serde_json::Error),
    /// The floor's second copy.
    #[error("the mirror of the floor: {0}")]
    Mirror(io::Error),
    /// A file beside the database.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// Whoever worked in it died.
    #[error("the agent's store was left in the middle of its work: {0}")]
    Left(String),
    /// The log before the database is at its cap and cannot be emptied.
    #[error(
        "the agent's store cannot empty its log: its disk fails, or something reads it for long"
    )]
    LogFull,
}

impl StoreError {
    /// Whether the database can only be read.
    pub fn is_read_only(&self) -> bool {
        let code = match self {
            StoreError::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        };
        code == Some(rusqlite::ErrorCode::ReadOnly)
    }

    /// Whether the store's bytes cannot be trusted any more: whoever meets this ends, and
    /// the next start puts the store aside and makes a new one.
    pub fn is_damage(&self) -> bool {
        let damaged = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
        matches!(self, StoreError::Damaged(_))
            || self.sqlite_code().is_some_and(|code| damaged.contains(&code))
    }

    /// Whether the same may succeed once there is room: SQLite tells some failures of a
    /// full disk as those of its files.
    pub(super) fn is_for_want_of_room(&self) -> bool {
        let full = [ErrorCode::DiskFull, ErrorCode::SystemIoFailure, ErrorCode::CannotOpen];
        match self {
            StoreError::Mirror(error) | StoreError::File(_, error) => is_want_of_room(error),
            _ => self.sqlite_code().is_some_and(|code| full.contains(&code)),
        }
    }

    /// Whether the disk did not give what it has.
    pub(super) fn is_failed_read(&self) -> bool {
        let failed = [
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_IOERR_SHORT_READ,
            ffi::SQLITE_IOERR_DATA,
            ffi::SQLITE_IOERR_CORRUPTFS,
        ];
        self.sqlite().is_some_and(|error| failed.contains(&error.extended_code))
    }

    /// Whether it is what SQLite says of what it was asked, and not of its disk.
    pub(super) fn is_of_content(&self) -> bool {
        let of_content =
            [ErrorCode::Unknown, ErrorCode::ConstraintViolation, ErrorCode::TypeMismatch];
        self.sqlite_code().is_some_and(|code| of_content.contains(&code))
    }

    /// Whether another process has the store to itself.
    pub(crate) fn is_busy(&self) -> bool {
        self.kind() == "busy"
    }

    /// Whether SQLite said that there is no more room.
    pub(super) fn is_full(&self) -> bool {
        self.sqlite_code() == Some(ErrorCode::DiskFull)
    }

    /// Of which kind it is: what is said once of each.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            StoreError::Sqlite(_) => match self.sqlite_code() {
                Some(ErrorCode::DiskFull) => "full",
                Some(ErrorCode::SystemIoFailure) => "io",
                Some(ErrorCode::ReadOnly) => "read-only",
                Some(ErrorCode::CannotOpen) => "cannot open",
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "busy",
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "damaged",
                _ => "sqlite",
            },
            StoreError::Newer(_) | StoreError::Older(_) => "form",
            StoreError::Foreign(_) => "foreign",
            StoreError::Damaged(_) => "damaged",
            StoreError::Row(_) => "row",
            StoreError::Mirror(_) => "mirror",
            StoreError::File(..) => "file",
            StoreError::Left(_) => "left",
            StoreError::LogFull => "log",
        }
    }

    fn sqlite_code(&self) -> Option<ErrorCode> {
        self.sqlite().map(|error| error.code)
    }

    fn sqlite(&self) -> Option<&ffi::Error> {
        match self {
            StoreError::Sqlite(rusqlite::Error::SqliteFailure(error, _))
            | StoreError::Sqlite(rusqlite::Error::SqlInputError { error, .. }) => Some(error),
            _ => None,
        }
    }
}

fn is_want_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
