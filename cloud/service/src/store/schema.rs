//! The tables and their migrations: one SQL text per `user_version`.

use rusqlite::Connection;

use super::StoreError;

/// Texts are applied in order; one that was released is never edited again.
const MIGRATIONS: &[&str] = &[r"
CREATE TABLE profiles (
    digest TEXT PRIMARY KEY, name TEXT NOT NULL, bytes BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX profiles_by_name ON profiles (name, created_ms);

-- conflict_version: what a device that is ahead of the cloud has seen.
-- version_floor: the next version is above it.
CREATE TABLE devices (
    device TEXT PRIMARY KEY, profile TEXT NOT NULL REFERENCES profiles (digest),
    labels TEXT NOT NULL, created_ms INTEGER NOT NULL,
    conflict_version INTEGER, version_floor INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE groups (
    name TEXT PRIMARY KEY, selector TEXT NOT NULL, priority INTEGER NOT NULL
) STRICT;

CREATE TABLE layers (
    scope TEXT PRIMARY KEY, body TEXT NOT NULL, revision INTEGER NOT NULL
) STRICT;

CREATE TABLE modules (
    digest TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL,
    release_counter INTEGER NOT NULL, function TEXT NOT NULL, bytes BLOB NOT NULL,
    evidence TEXT NOT NULL, interface TEXT NOT NULL, fits TEXT NOT NULL,
    created_ms INTEGER NOT NULL, UNIQUE (name, version)
) STRICT;

-- Versions and results outlive their device: a device that is registered again
-- goes on counting where it stopped.
CREATE TABLE versions (
    device TEXT NOT NULL, epoch INTEGER NOT NULL, version INTEGER NOT NULL,
    content_digest TEXT NOT NULL, payload_digest TEXT NOT NULL, envelope BLOB NOT NULL,
    external_modules TEXT NOT NULL, issued_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL, published_at_ms INTEGER, applied_at_ms INTEGER,
    UNIQUE (device, epoch, version)
) STRICT;

CREATE TABLE reported (
    device TEXT PRIMARY KEY, body TEXT NOT NULL, at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE statuses (
    device TEXT PRIMARY KEY, online INTEGER NOT NULL, boot TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE batches (
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, boot TEXT NOT NULL,
    sequence INTEGER NOT NULL, engine TEXT NOT NULL, dropped_batches INTEGER NOT NULL,
    received_ms INTEGER NOT NULL, UNIQUE (device, boot, sequence)
) STRICT;
CREATE TABLE summaries (
    id INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batches (id),
    device TEXT NOT NULL, function TEXT NOT NULL, module TEXT, role TEXT NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX summaries_by_device ON summaries (device, id);
CREATE INDEX summaries_by_module ON summaries (function, role, module);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batches (id),
    device TEXT NOT NULL, function TEXT NOT NULL, module TEXT NOT NULL, role TEXT NOT NULL,
    at_ms INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX records_by_device ON records (device, id);
CREATE TABLE refusals (
    id INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batches (id),
    device TEXT NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX refusals_by_device ON refusals (device, id);
"];

/// Brings the schema up to this release.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (sql, version) in MIGRATIONS.iter().zip(1_i64..).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}
