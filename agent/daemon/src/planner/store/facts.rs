//! Single values by name: floor, time, trial, what was given up, and what the new store
//! of a damaged one has to tell. What they mean is not known here.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use super::error::StoreError;

/// The highest accepted document, as JSON.
pub(super) const FLOOR: &str = "floor";
/// The lowest possible time (Unix time, ms).
pub(super) const TIME_FLOOR: &str = "time_floor_ms";
/// The trial of the document in force, as JSON.
pub(super) const TRIAL: &str = "trial";
/// The digest of the floor's document, when the device went back from it.
pub(super) const ROLLED_BACK_FROM: &str = "rolled_back_from";
/// The outbox's books, as JSON.
pub(super) const LEDGER: &str = "outbox";
/// Why the store was made anew, until the cloud's outbox says so.
pub(super) const REBUILT: &str = "rebuilt";

/// A value that is no text counts as none, too.
pub(super) fn get(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let query = "SELECT value FROM fact WHERE name = ?1";
    let value = connection.query_row(query, [name], |row| Ok(text(row, 0)));
    Ok(value.optional()?.flatten())
}

/// The text of a column, if it is one: what the disk gives may be anything.
pub(super) fn text(row: &Row<'_>, column: usize) -> Option<String> {
    row.get_ref(column).ok()?.as_str().ok().map(str::to_owned)
}

/// A value that is not what it should be counts as none: it costs itself, not the start.
pub(super) fn get_json<T: DeserializeOwned>(
    connection: &Connection,
    name: &str,
) -> Result<Option<T>, StoreError> {
    let Some(text) = get(connection, name)? else { return Ok(None) };
    match serde_json::from_str(&text) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            tracing::error!(%error, name, "a fact of the store cannot be read");
            Ok(None)
        }
    }
}

pub(super) fn get_number(connection: &Connection, name: &str) -> Result<u64, StoreError> {
    Ok(get(connection, name)?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

pub(super) fn set(connection: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    let set = "INSERT INTO fact VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    connection.execute(set, params![name, value])?;
    Ok(())
}

pub(super) fn clear(connection: &Connection, name: &str) -> Result<(), StoreError> {
    connection.execute("DELETE FROM fact WHERE name = ?1", [name])?;
    Ok(())
}
