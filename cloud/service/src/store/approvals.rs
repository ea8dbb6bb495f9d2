//! Approvals that were given, and devices that wait for one.

use gnomon_schemas::approval::{Approval, Grant};
use gnomon_schemas::ids::{DeviceId, Digest};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeSet;

use super::{StoreError, from_json, parsed, signed, to_json, unsigned};

/// An approval as it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApproval {
    /// The digest of its signed bytes.
    pub digest: Digest,
    /// What it grants.
    pub grant: Digest,
    /// Its envelope.
    pub envelope: Vec<u8>,
    /// Who brought it.
    pub added_by: String,
    /// When it came (Unix time, ms).
    pub received_ms: u64,
}

type Columns = (String, String, Vec<u8>, String, i64);

const SELECT: &str = "SELECT digest, grant_digest, envelope, added_by, received_ms FROM approvals";
/// The newest first, whoever was slow to bring one.
const NEWEST_FIRST: &str = "ORDER BY approved_at_ms DESC, digest";

fn read(columns: Columns) -> Result<StoredApproval, StoreError> {
    let (digest, grant, envelope, added_by, received_ms) = columns;
    Ok(StoredApproval {
        digest: parsed("digest", &digest)?,
        grant: parsed("digest", &grant)?,
        envelope,
        added_by,
        received_ms: unsigned(received_ms),
    })
}

fn query(
    db: &Connection,
    condition: &str,
    key: &[&str],
) -> Result<Vec<StoredApproval>, StoreError> {
    let mut statement = db.prepare(&format!("{SELECT} {condition} {NEWEST_FIRST}"))?;
    let rows = statement
        .query_map(rusqlite::params_from_iter(key), |row: &Row<'_>| Columns::try_from(row))?;
    rows.map(|row| read(row?)).collect()
}

/// Every approval, newest first.
pub fn list(db: &Connection) -> Result<Vec<StoredApproval>, StoreError> {
    query(db, "", &[])
}

/// Approvals for devices of a profile, newest first.
pub fn of_profile(db: &Connection, profile: &Digest) -> Result<Vec<StoredApproval>, StoreError> {
    query(db, "WHERE profile = ?1", &[profile.as_str()])
}

/// Stores an approval that was verified; of the same grant it replaces those whose
/// devices are all among its own.
pub fn insert(
    db: &Connection,
    stored: &StoredApproval,
    approval: &Approval,
) -> Result<(), StoreError> {
    let devices = approval.devices.as_ref();
    for known in query(db, "WHERE grant_digest = ?1", &[stored.grant.as_str()])? {
        let sql = "SELECT devices FROM approvals WHERE digest = ?1";
        let before: Option<String> =
            db.query_row(sql, [known.digest.as_str()], |row| row.get(0))?;
        let before: Option<BTreeSet<DeviceId>> =
            before.map(|text| from_json("devices", &text)).transpose()?;
        let is_covered = match (devices, &before) {
            (None, _) => true,
            (Some(now), Some(before)) => before.is_subset(now),
            (Some(_), None) => false,
        };
        if is_covered {
            db.execute("DELETE FROM approvals WHERE digest = ?1", [known.digest.as_str()])?;
        }
    }
    let devices = devices.map(|devices| to_json("devices", devices)).transpose()?;
    let sql = "INSERT INTO approvals (digest, grant_digest, profile, devices, envelope,
               approved_at_ms, added_by, received_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    db.execute(
        sql,
        params![
            stored.digest.as_str(),
            stored.grant.as_str(),
            approval.grant.profile.as_str(),
            devices,
            stored.envelope,
            signed(approval.approved_at_ms),
            stored.added_by,
            signed(stored.received_ms),
        ],
    )?;
    Ok(())
}

/// A device that waits for an approval.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The device.
    pub device: DeviceId,
    /// The digest of what must be granted.
    pub digest: Digest,
    /// What must be granted.
    pub grant: Grant,
    /// Whose edits led to it.
    pub asked_by: BTreeSet<String>,
    /// Since when it waits for this grant (Unix time, ms).
    pub since_ms: u64,
}

type WaitingColumns = (String, String, String, String, i64);

const SELECT_WAITING: &str = "SELECT device, grant_digest, body, asked_by, since_ms FROM waiting";

fn read_waiting(columns: WaitingColumns) -> Result<Waiting, StoreError> {
    let (device, digest, grant, asked_by, since_ms) = columns;
    Ok(Waiting {
        device: parsed("device", &device)?,
        digest: parsed("digest", &digest)?,
        grant: from_json("grant", &grant)?,
        asked_by: from_json("list of authors", &asked_by)?,
        since_ms: unsigned(since_ms),
    })
}

/// Every device that waits, by name.
pub fn waiting(db: &Connection) -> Result<Vec<Waiting>, StoreError> {
    let mut statement = db.prepare(&format!("{SELECT_WAITING} ORDER BY device"))?;
    let rows = statement.query_map([], |row| WaitingColumns::try_from(row))?;
    rows.map(|row| read_waiting(row?)).collect()
}

/// What a device waits for.
pub fn waiting_of(db: &Connection, device: &DeviceId) -> Result<Option<Waiting>, StoreError> {
    let sql = format!("{SELECT_WAITING} WHERE device = ?1");
    let row = db
        .prepare(&sql)?
        .query_row([device.as_str()], |row| WaitingColumns::try_from(row))
        .optional()?;
    row.map(read_waiting).transpose()
}

/// Notes that a device waits. Another grant is another request; whoever edited since the
/// device last had what was approved stays an author.
pub fn wait(
    db: &Connection,
    device: &DeviceId,
    grant: &Grant,
    by: &str,
    now_ms: u64,
) -> Result<(), StoreError> {
    let digest = grant.digest();
    let before = waiting_of(db, device)?;
    if before.as_ref().is_some_and(|before| before.digest == digest) {
        return Ok(());
    }
    let mut asked_by = before.map(|before| before.asked_by).unwrap_or_default();
    asked_by.insert(by.to_owned());
    let sql = "INSERT INTO waiting (device, grant_digest, body, asked_by, since_ms)
               VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (device) DO UPDATE
               SET grant_digest = ?2, body = ?3, asked_by = ?4, since_ms = ?5";
    let (grant, asked_by) = (to_json("grant", grant)?, to_json("list of authors", &asked_by)?);
    let key = params![device.as_str(), digest.as_str(), grant, asked_by, signed(now_ms)];
    db.execute(sql, key)?;
    Ok(())
}

/// Notes that a device waits for nothing.
pub fn done(db: &Connection, device: &DeviceId) -> Result<(), StoreError> {
    db.execute("DELETE FROM waiting WHERE device = ?1", [device.as_str()])?;
    Ok(())
}
