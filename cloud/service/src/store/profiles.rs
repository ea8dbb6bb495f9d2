//! Profiles: the file's bytes as they were registered, known by their digest.

use gnomon_schemas::ids::Digest;
use gnomon_schemas::profile::Profile;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{StoreError, parsed, signed};

/// A registered profile.
pub struct StoredProfile {
    /// The digest of the file's bytes.
    pub digest: Digest,
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// What they say.
    pub profile: Profile,
}

fn read((digest, bytes): (String, Vec<u8>)) -> Result<StoredProfile, StoreError> {
    let (profile, _) = Profile::parse(&bytes)
        .map_err(|error| StoreError::Corrupt { what: "profile", message: error.to_string() })?;
    Ok(StoredProfile { digest: parsed("digest", &digest)?, bytes, profile })
}

/// Stores a profile; says whether it is new.
pub fn insert(
    db: &Connection,
    digest: &Digest,
    name: &str,
    bytes: &[u8],
    now_ms: u64,
) -> Result<bool, StoreError> {
    let sql = "INSERT OR IGNORE INTO profiles VALUES (?1, ?2, ?3, ?4)";
    Ok(db.execute(sql, params![digest.as_str(), name, bytes, signed(now_ms)])? == 1)
}

/// The profile of this digest, or the newest one of this name.
pub fn find(db: &Connection, key: &str) -> Result<Option<StoredProfile>, StoreError> {
    let sql = "SELECT digest, bytes FROM profiles WHERE digest = ?1 OR name = ?1
               ORDER BY created_ms DESC, rowid DESC LIMIT 1";
    let row = db.query_row(sql, [key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    row.map(read).transpose()
}

/// Every profile, by name, the newest first.
pub fn list(db: &Connection) -> Result<Vec<StoredProfile>, StoreError> {
    let sql = "SELECT digest, bytes FROM profiles ORDER BY name, created_ms DESC, rowid DESC";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.map(|row| read(row?)).collect()
}
