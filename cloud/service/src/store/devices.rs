//! Devices: profile, labels, and how they stand to what the cloud signed.

use gnomon_cloud_core::{Labels, Selector};
use gnomon_schemas::ids::{DeviceId, Digest, Version};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, from_json, parsed, signed, to_json, unsigned};

/// A registered device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub device: DeviceId,
    /// The digest of its profile.
    pub profile: Digest,
    /// Its labels.
    pub labels: Labels,
    /// When it was registered (Unix time, ms).
    pub created_ms: u64,
    /// What it has seen, if it is ahead of the cloud.
    pub conflict: Option<Version>,
    /// Its next version is above this one.
    pub version_floor: u64,
}

type Columns = (String, String, String, i64, Option<i64>, i64);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Columns::try_from(row)
}

fn read(
    (device, profile, labels, created, conflict, floor): Columns,
) -> Result<Device, StoreError> {
    Ok(Device {
        device: parsed("device", &device)?,
        profile: parsed("digest", &profile)?,
        labels: from_json("labels", &labels)?,
        created_ms: unsigned(created),
        conflict: conflict.and_then(|version| Version::try_from(unsigned(version)).ok()),
        version_floor: unsigned(floor),
    })
}

const SELECT: &str =
    "SELECT device, profile, labels, created_ms, conflict_version, version_floor FROM devices";

/// The device of this name.
pub fn find(db: &Connection, device: &DeviceId) -> Result<Option<Device>, StoreError> {
    let sql = format!("{SELECT} WHERE device = ?1");
    let row = db.prepare(&sql)?.query_row([device.as_str()], columns).optional()?;
    row.map(read).transpose()
}

/// Every device that the selector takes, by name.
pub fn list(db: &Connection, selector: &Selector) -> Result<Vec<Device>, StoreError> {
    let mut statement = db.prepare(&format!("{SELECT} ORDER BY device"))?;
    let rows = statement.query_map([], columns)?;
    let devices: Vec<Device> = rows.map(|row| read(row?)).collect::<Result<_, StoreError>>()?;
    Ok(devices.into_iter().filter(|device| selector.matches(&device.labels)).collect())
}

/// Registers a device that is not there yet.
pub fn insert(db: &Connection, device: &Device) -> Result<(), StoreError> {
    let sql = "INSERT INTO devices (device, profile, labels, created_ms) VALUES (?1, ?2, ?3, ?4)";
    let labels = to_json("labels", &device.labels)?;
    let created = signed(device.created_ms);
    db.execute(sql, params![device.device.as_str(), device.profile.as_str(), labels, created])?;
    Ok(())
}

/// Stores profile, labels, conflict and floor of a device that is there.
pub fn update(db: &Connection, device: &Device) -> Result<(), StoreError> {
    let sql = "UPDATE devices SET profile = ?2, labels = ?3, conflict_version = ?4,
               version_floor = ?5 WHERE device = ?1";
    let labels = to_json("labels", &device.labels)?;
    let conflict = device.conflict.map(|version| signed(version.get()));
    let floor = signed(device.version_floor);
    let (name, profile) = (device.device.as_str(), device.profile.as_str());
    db.execute(sql, params![name, profile, labels, conflict, floor])?;
    Ok(())
}

/// Ends all conflicts: a new epoch orders above whatever any device has seen.
pub fn end_conflicts(db: &Connection) -> Result<(), StoreError> {
    db.execute("UPDATE devices SET conflict_version = NULL", [])?;
    Ok(())
}

/// Takes a device out, with its layer and what it said; versions and results stay.
pub fn remove(db: &Connection, device: &DeviceId) -> Result<(), StoreError> {
    db.execute("DELETE FROM layers WHERE scope = ?1", [format!("device:{device}")])?;
    for table in ["reported", "statuses", "waiting", "devices"] {
        db.execute(&format!("DELETE FROM {table} WHERE device = ?1"), [device.as_str()])?;
    }
    Ok(())
}
