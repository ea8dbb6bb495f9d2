//! Modules: bytes, evidence, and what the host found in them.

use gnomon_cloud_core::compose::StoredModule;
use gnomon_schemas::document::ModuleRef;
use gnomon_schemas::ids::{Digest, FunctionName};
use gnomon_schemas::module::ModuleEvidence;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;

use super::{StoreError, from_json, parsed, signed, to_json, unsigned};

/// What is known of a module besides its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleInfo {
    /// Its digest.
    pub digest: Digest,
    /// What documents say of it; never inline here.
    pub listed: ModuleRef,
    /// The function that it was written for.
    pub function: FunctionName,
    /// What it reads, is tuned by, proposes and remembers, as JSON.
    pub interface: Value,
    /// Profiles that it fits, and for the others why not, as of its upload.
    pub fits: Value,
    /// When it came (Unix time, ms).
    pub created_ms: u64,
}

type Columns = (String, String, String, i64, String, String, String, String, i64, i64);

const SELECT: &str = "SELECT digest, name, version, release_counter, function, evidence, \
                      interface, fits, created_ms, length(bytes) FROM modules";

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Columns::try_from(row)
}

fn read(columns: Columns) -> Result<ModuleInfo, StoreError> {
    let (digest, name, version, counter, function, evidence, interface, fits, created, size) =
        columns;
    Ok(ModuleInfo {
        digest: parsed("digest", &digest)?,
        listed: ModuleRef {
            name: parsed("module name", &name)?,
            version,
            release_counter: unsigned(counter),
            size_bytes: unsigned(size),
            evidence: from_json("evidence", &evidence)?,
            inline: None,
        },
        function: parsed("function", &function)?,
        interface: from_json("interface", &interface)?,
        fits: from_json("list of profiles", &fits)?,
        created_ms: unsigned(created),
    })
}

/// Every module, by name and release.
pub fn list(db: &Connection) -> Result<Vec<ModuleInfo>, StoreError> {
    let sql = format!("{SELECT} ORDER BY name, release_counter, version");
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([], columns)?;
    rows.map(|row| read(row?)).collect()
}

/// The module of this digest.
pub fn find(db: &Connection, digest: &Digest) -> Result<Option<ModuleInfo>, StoreError> {
    let sql = format!("{SELECT} WHERE digest = ?1");
    let row = db.prepare(&sql)?.query_row([digest.as_str()], columns).optional()?;
    row.map(read).transpose()
}

/// The module of this name and version.
pub fn find_release(
    db: &Connection,
    name: &str,
    version: &str,
) -> Result<Option<ModuleInfo>, StoreError> {
    let sql = format!("{SELECT} WHERE name = ?1 AND version = ?2");
    let row = db.prepare(&sql)?.query_row([name, version], columns).optional()?;
    row.map(read).transpose()
}

/// The bytes of a module.
pub fn bytes(db: &Connection, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT bytes FROM modules WHERE digest = ?1";
    Ok(db.prepare(sql)?.query_row([digest.as_str()], |row| row.get(0)).optional()?)
}

/// A module as documents are composed from it.
pub fn stored(db: &Connection, digest: &Digest) -> Result<Option<StoredModule>, StoreError> {
    let Some(info) = find(db, digest)? else { return Ok(None) };
    let bytes = bytes(db, digest)?.unwrap_or_default();
    Ok(Some(StoredModule { listed: info.listed, bytes }))
}

/// Stores a module.
pub fn insert(db: &Connection, info: &ModuleInfo, bytes: &[u8]) -> Result<(), StoreError> {
    let sql = "INSERT INTO modules VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    db.execute(
        sql,
        params![
            info.digest.as_str(),
            info.listed.name.as_str(),
            info.listed.version,
            signed(info.listed.release_counter),
            info.function.as_str(),
            bytes,
            to_json("evidence", &info.listed.evidence)?,
            info.interface.to_string(),
            info.fits.to_string(),
            signed(info.created_ms),
        ],
    )?;
    Ok(())
}

/// Stores other evidence for a module.
pub fn set_evidence(
    db: &Connection,
    digest: &Digest,
    evidence: &ModuleEvidence,
) -> Result<(), StoreError> {
    let sql = "UPDATE modules SET evidence = ?2 WHERE digest = ?1";
    db.execute(sql, params![digest.as_str(), to_json("evidence", evidence)?])?;
    Ok(())
}
