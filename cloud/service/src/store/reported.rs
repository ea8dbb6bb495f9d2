//! What devices say of themselves: the latest reported document and status of each.

use gnomon_schemas::ids::DeviceId;
use gnomon_schemas::reported::{Reported, Status};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{StoreError, from_json, signed, to_json, unsigned};

/// Stores a device's latest report and when it came.
pub fn put(db: &Connection, reported: &Reported, at_ms: u64) -> Result<(), StoreError> {
    let sql = "INSERT INTO reported VALUES (?1, ?2, ?3)
               ON CONFLICT (device) DO UPDATE SET body = ?2, at_ms = ?3";
    let body = to_json("report", reported)?;
    db.prepare(sql)?.execute(params![reported.device.as_str(), body, signed(at_ms)])?;
    Ok(())
}

/// A device's latest report and when it came (Unix time, ms).
pub fn find(db: &Connection, device: &DeviceId) -> Result<Option<(Reported, u64)>, StoreError> {
    let sql = "SELECT body, at_ms FROM reported WHERE device = ?1";
    let row = db
        .prepare(sql)?
        .query_row([device.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
        .optional()?;
    let Some((body, at_ms)) = row else { return Ok(None) };
    Ok(Some((from_json("report", &body)?, unsigned(at_ms))))
}

/// Stores whether a device is connected.
pub fn put_status(db: &Connection, status: &Status, at_ms: u64) -> Result<(), StoreError> {
    let sql = "INSERT INTO statuses VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (device) DO UPDATE SET online = ?2, boot = ?3, at_ms = ?4";
    let (device, boot) = (status.device.as_str(), status.boot.as_str());
    db.prepare(sql)?.execute(params![device, status.online, boot, signed(at_ms)])?;
    Ok(())
}

/// Whether a device is connected; none when it never said.
pub fn online(db: &Connection, device: &DeviceId) -> Result<Option<bool>, StoreError> {
    let sql = "SELECT online FROM statuses WHERE device = ?1";
    Ok(db.prepare(sql)?.query_row([device.as_str()], |row| row.get(0)).optional()?)
}
