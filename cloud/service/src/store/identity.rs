//! Device certificates and enrolment tokens. Secrets are not here: of a token there
//! is a digest, of a certificate the public half.

use gnomon_schemas::ids::DeviceId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, parsed, signed, unsigned};
use crate::identity::KeptToken;

/// A certificate that was issued to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// The device.
    pub device: DeviceId,
    /// When it was issued (Unix time, ms).
    pub issued_at_ms: u64,
    /// Until when it is valid (Unix time, ms).
    pub expires_at_ms: u64,
    /// When it was revoked (Unix time, ms).
    pub revoked_at_ms: Option<u64>,
    /// The certificate, in PEM form.
    pub pem: String,
}

type Columns = (String, String, i64, i64, Option<i64>, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Columns::try_from(row)
}

fn read(
    (serial, device, issued, expires, revoked, pem): Columns,
) -> Result<Certificate, StoreError> {
    Ok(Certificate {
        serial,
        device: parsed("device", &device)?,
        issued_at_ms: unsigned(issued),
        expires_at_ms: unsigned(expires),
        revoked_at_ms: revoked.map(unsigned),
        pem,
    })
}

const SELECT: &str =
    "SELECT serial, device, issued_ms, expires_ms, revoked_ms, pem FROM certificates";

/// The certificate with this serial number.
///
/// # Errors
/// [`StoreError`].
pub fn find(db: &Connection, serial: &str) -> Result<Option<Certificate>, StoreError> {
    let sql = format!("{SELECT} WHERE serial = ?1");
    db.prepare(&sql)?.query_row([serial], columns).optional()?.map(read).transpose()
}

/// A device's certificates, newest first.
///
/// # Errors
/// [`StoreError`].
pub fn of_device(db: &Connection, device: &DeviceId) -> Result<Vec<Certificate>, StoreError> {
    let sql = format!("{SELECT} WHERE device = ?1 ORDER BY issued_ms DESC, serial");
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([device.as_str()], columns)?;
    rows.map(|row| read(row?)).collect()
}

/// Stores a certificate that was just issued.
///
/// # Errors
/// [`StoreError`].
pub fn insert(db: &Connection, certificate: &Certificate) -> Result<(), StoreError> {
    let sql = "INSERT INTO certificates (serial, device, issued_ms, expires_ms, pem)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let (issued, expires) = (signed(certificate.issued_at_ms), signed(certificate.expires_at_ms));
    let device = certificate.device.as_str();
    db.execute(sql, params![certificate.serial, device, issued, expires, certificate.pem])?;
    Ok(())
}

/// Revokes every certificate of a device; the serials of those that were not yet.
///
/// # Errors
/// [`StoreError`].
pub fn revoke_device(
    db: &Connection,
    device: &DeviceId,
    now_ms: u64,
) -> Result<Vec<String>, StoreError> {
    let sql = "UPDATE certificates SET revoked_ms = ?2
               WHERE device = ?1 AND revoked_ms IS NULL RETURNING serial";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map(params![device.as_str(), signed(now_ms)], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every revoked certificate: serial and when.
///
/// # Errors
/// [`StoreError`].
pub fn revoked(db: &Connection) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = "SELECT serial, revoked_ms FROM certificates
               WHERE revoked_ms IS NOT NULL ORDER BY serial";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Stores a token, and forgets those that have expired.
///
/// # Errors
/// [`StoreError`].
pub fn insert_token(db: &Connection, token: &KeptToken, now_ms: u64) -> Result<(), StoreError> {
    db.execute("DELETE FROM enrolment_tokens WHERE expires_ms <= ?1", [signed(now_ms)])?;
    let sql = "INSERT INTO enrolment_tokens (name, digest, device, expires_ms)
               VALUES (?1, ?2, ?3, ?4)";
    let expires = signed(token.expires_at_ms);
    db.execute(sql, params![token.name, token.digest, token.device.as_str(), expires])?;
    Ok(())
}

/// What is kept of the token with this name.
///
/// # Errors
/// [`StoreError`].
pub fn find_token(db: &Connection, name: &str) -> Result<Option<KeptToken>, StoreError> {
    let sql = "SELECT digest, device, expires_ms, used_for FROM enrolment_tokens WHERE name = ?1";
    type Kept = (Vec<u8>, String, i64, Option<String>);
    let row = db.prepare(sql)?.query_row([name], |row| Kept::try_from(row)).optional()?;
    row.map(|(digest, device, expires, used_for)| {
        Ok(KeptToken {
            name: name.to_owned(),
            digest,
            device: parsed("device", &device)?,
            expires_at_ms: unsigned(expires),
            used_for,
        })
    })
    .transpose()
}

/// Marks a token as used, for the certificate with this serial number.
///
/// # Errors
/// [`StoreError`].
pub fn use_token(db: &Connection, name: &str, serial: &str) -> Result<(), StoreError> {
    db.execute("UPDATE enrolment_tokens SET used_for = ?2 WHERE name = ?1", [name, serial])?;
    Ok(())
}

/// Takes back a device's tokens.
///
/// # Errors
/// [`StoreError`].
pub fn remove_tokens(db: &Connection, device: &DeviceId) -> Result<(), StoreError> {
    db.execute("DELETE FROM enrolment_tokens WHERE device = ?1", [device.as_str()])?;
    Ok(())
}
