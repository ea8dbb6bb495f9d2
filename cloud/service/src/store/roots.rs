//! The chain of trust roots, kept for ever: a device that was away takes one after the
//! other.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{StoreError, signed, unsigned};

/// Every root with its version, oldest first.
pub fn chain(db: &Connection) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let mut statement = db.prepare("SELECT version, envelope FROM trust_roots ORDER BY version")?;
    let rows = statement.query_map([], |row| Ok((unsigned(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The envelope of a version.
pub fn find(db: &Connection, version: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT envelope FROM trust_roots WHERE version = ?1";
    Ok(db.prepare(sql)?.query_row([signed(version)], |row| row.get(0)).optional()?)
}

/// Stores a root.
pub fn insert(
    db: &Connection,
    version: u64,
    envelope: &[u8],
    now_ms: u64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO trust_roots (version, envelope, received_ms) VALUES (?1, ?2, ?3)";
    db.execute(sql, params![signed(version), envelope, signed(now_ms)])?;
    Ok(())
}
