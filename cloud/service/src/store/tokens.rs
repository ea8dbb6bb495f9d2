//! Tokens of the HTTP API: whose they are, what they may, the hash of the secret.
//!
//! The secret itself is never here.

use gnomon_cloud_core::access::{Grant, TokenName};
use gnomon_schemas::ids::Digest;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, from_json, parsed, signed, to_json, unsigned};

const COLUMNS: &str =
    "id, name, role, scope, token_sha256, created_ms, expires_at_ms, revoked_at_ms";

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Its id.
    pub id: String,
    /// Whom it was made for.
    pub name: TokenName,
    /// What it may.
    pub grant: Grant,
    /// The hash of the token's text.
    pub hash: Digest,
    /// When it was made (Unix time, ms).
    pub created_ms: u64,
    /// When it was taken back.
    pub revoked_at_ms: Option<u64>,
}

/// Whether any token was ever made. A token that is over still counts: a service
/// that was closed does not open by itself.
///
/// # Errors
/// [`StoreError`].
pub fn any(db: &Connection) -> Result<bool, StoreError> {
    Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM tokens)", [], |row| row.get(0))?)
}

/// The token of this id.
///
/// # Errors
/// [`StoreError`].
pub fn find(db: &Connection, id: &str) -> Result<Option<StoredToken>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE id = ?1");
    db.query_row(&sql, [id], |row| Ok(read(row))).optional()?.transpose()
}

/// All tokens, oldest first.
///
/// # Errors
/// [`StoreError`].
pub fn list(db: &Connection) -> Result<Vec<StoredToken>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM tokens ORDER BY created_ms, id");
    let mut query = db.prepare(&sql)?;
    let rows = query.query_map([], |row| Ok(read(row)))?;
    rows.map(|row| row?).collect()
}

/// Adds a token.
///
/// # Errors
/// [`StoreError`].
pub fn insert(db: &Connection, token: &StoredToken) -> Result<(), StoreError> {
    db.execute(
        &format!("INSERT INTO tokens ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"),
        params![
            token.id,
            token.name.as_str(),
            token.grant.role.as_str(),
            to_json("token's scope", &token.grant.scope)?,
            token.hash.as_str(),
            signed(token.created_ms),
            signed(token.grant.expires_at_ms),
            token.revoked_at_ms.map(signed)
        ],
    )?;
    Ok(())
}

/// Takes a token back; the first time is the one that is kept.
///
/// # Errors
/// [`StoreError`].
pub fn revoke(db: &Connection, id: &str, now_ms: u64) -> Result<(), StoreError> {
    let sql = "UPDATE tokens SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL";
    db.execute(sql, params![id, signed(now_ms)])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<StoredToken, StoreError> {
    let text = |index: usize| row.get::<_, String>(index);
    let number = |index: usize| row.get::<_, i64>(index).map(unsigned);
    let revoked_at_ms = row.get::<_, Option<i64>>(7)?.map(unsigned);
    Ok(StoredToken {
        id: text(0)?,
        name: parsed("token's name", &text(1)?)?,
        grant: Grant {
            role: parsed("token's role", &text(2)?)?,
            scope: from_json("token's scope", &text(3)?)?,
            expires_at_ms: number(6)?,
            revoked: revoked_at_ms.is_some(),
        },
        hash: parsed("token's hash", &text(4)?)?,
        created_ms: number(5)?,
        revoked_at_ms,
    })
}
