//! Signed documents, one row per version: what was published, and when it was applied.

use gnomon_schemas::ids::{DeviceId, Digest, Version};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, from_json, parsed, signed, to_json, unsigned};

/// One version of a device's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// The trust root's epoch.
    pub epoch: u64,
    /// The version.
    pub version: Version,
    /// The digest of all but version and times.
    pub content_digest: Digest,
    /// The digest of the signed payload, as devices report it.
    pub payload_digest: Digest,
    /// Modules that are not inline, which must come on their topics.
    pub external_modules: Vec<Digest>,
    /// When it was signed (Unix time, ms).
    pub issued_at_ms: u64,
    /// When it may no longer be accepted (Unix time, ms).
    pub expires_at_ms: u64,
    /// When it was first handed to the broker.
    pub published_at_ms: Option<u64>,
    /// When the device first said that it is in force.
    pub applied_at_ms: Option<u64>,
    /// The id of the director's key that signed it.
    pub director: String,
    /// The digests of the approvals that it carries.
    pub approvals: Vec<Digest>,
}

type Columns =
    (i64, i64, String, String, String, i64, i64, Option<i64>, Option<i64>, String, String);

const SELECT: &str = "SELECT epoch, version, content_digest, payload_digest, external_modules, \
                      issued_at_ms, expires_at_ms, published_at_ms, applied_at_ms, director, \
                      approvals FROM versions";

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Columns::try_from(row)
}

fn read(columns: Columns) -> Result<StoredVersion, StoreError> {
    let (epoch, version, content, payload, external, issued, expires, published, applied, ..) =
        &columns;
    let (director, approvals) = (columns.9.clone(), &columns.10);
    let number = Version::try_from(unsigned(*version));
    Ok(StoredVersion {
        epoch: unsigned(*epoch),
        version: number
            .map_err(|e| StoreError::Corrupt { what: "version", message: e.to_string() })?,
        content_digest: parsed("digest", content)?,
        payload_digest: parsed("digest", payload)?,
        external_modules: from_json("list of modules", external)?,
        issued_at_ms: unsigned(*issued),
        expires_at_ms: unsigned(*expires),
        published_at_ms: published.map(unsigned),
        applied_at_ms: applied.map(unsigned),
        director,
        approvals: from_json("list of approvals", approvals)?,
    })
}

/// The newest version of a device.
pub fn latest(db: &Connection, device: &DeviceId) -> Result<Option<StoredVersion>, StoreError> {
    let sql = format!("{SELECT} WHERE device = ?1 ORDER BY epoch DESC, version DESC LIMIT 1");
    let row = db.prepare(&sql)?.query_row([device.as_str()], columns).optional()?;
    row.map(read).transpose()
}

/// One version in the newest epoch that has it.
pub fn find(
    db: &Connection,
    device: &DeviceId,
    version: Version,
) -> Result<Option<StoredVersion>, StoreError> {
    let sql = format!("{SELECT} WHERE device = ?1 AND version = ?2 ORDER BY epoch DESC LIMIT 1");
    let key = params![device.as_str(), signed(version.get())];
    let row = db.prepare(&sql)?.query_row(key, columns).optional()?;
    row.map(read).transpose()
}

/// The newest versions of a device, newest first.
pub fn list(
    db: &Connection,
    device: &DeviceId,
    limit: usize,
) -> Result<Vec<StoredVersion>, StoreError> {
    let sql = format!("{SELECT} WHERE device = ?1 ORDER BY epoch DESC, version DESC LIMIT ?2");
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map(params![device.as_str(), signed(limit as u64)], columns)?;
    rows.map(|row| read(row?)).collect()
}

/// The signed envelope of a version.
pub fn envelope(
    db: &Connection,
    device: &DeviceId,
    of: &StoredVersion,
) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT envelope FROM versions WHERE device = ?1 AND epoch = ?2 AND version = ?3";
    let key = params![device.as_str(), signed(of.epoch), signed(of.version.get())];
    Ok(db.prepare(sql)?.query_row(key, |row| row.get(0))?)
}

/// Whether an epoch follows another one of the device, which has nothing of it in force
/// yet.
pub fn is_new_epoch(db: &Connection, device: &DeviceId, epoch: u64) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FILTER (WHERE epoch < ?2), \
               count(*) FILTER (WHERE epoch = ?2 AND applied_at_ms IS NOT NULL) \
               FROM versions WHERE device = ?1";
    let key = params![device.as_str(), signed(epoch)];
    let (older, applied): (i64, i64) =
        db.prepare(sql)?.query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(older > 0 && applied == 0)
}

/// Stores a new version.
pub fn insert(
    db: &Connection,
    device: &DeviceId,
    of: &StoredVersion,
    envelope: &[u8],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO versions (device, epoch, version, content_digest, payload_digest,
               envelope, external_modules, issued_at_ms, expires_at_ms, director, approvals)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    db.prepare(sql)?.execute(params![
        device.as_str(),
        signed(of.epoch),
        signed(of.version.get()),
        of.content_digest.as_str(),
        of.payload_digest.as_str(),
        envelope,
        to_json("list of modules", &of.external_modules)?,
        signed(of.issued_at_ms),
        signed(of.expires_at_ms),
        of.director,
        to_json("list of approvals", &of.approvals)?,
    ])?;
    Ok(())
}

/// Notes the first time that a version was handed to the broker.
pub fn mark_published(
    db: &Connection,
    device: &DeviceId,
    of: &StoredVersion,
    at_ms: u64,
) -> Result<(), StoreError> {
    let sql = "UPDATE versions SET published_at_ms = ?4
               WHERE device = ?1 AND epoch = ?2 AND version = ?3 AND published_at_ms IS NULL";
    let (epoch, version) = (signed(of.epoch), signed(of.version.get()));
    db.prepare(sql)?.execute(params![device.as_str(), epoch, version, signed(at_ms)])?;
    Ok(())
}

/// Notes the first time that a device said that a version is in force.
pub fn mark_applied(
    db: &Connection,
    device: &DeviceId,
    of: &StoredVersion,
    at_ms: u64,
) -> Result<(), StoreError> {
    let sql = "UPDATE versions SET applied_at_ms = ?4
               WHERE device = ?1 AND epoch = ?2 AND version = ?3 AND applied_at_ms IS NULL";
    let (epoch, version) = (signed(of.epoch), signed(of.version.get()));
    db.prepare(sql)?.execute(params![device.as_str(), epoch, version, signed(at_ms)])?;
    Ok(())
}
