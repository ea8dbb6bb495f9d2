//! The tables and their migrations: one SQL text per `user_version`.

use rusqlite::Connection;

use super::StoreError;

/// Texts are applied in order; one that was released is never edited again.
const MIGRATIONS: &[&str] = &[
    r"
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
",
    r"
-- Tokens of the HTTP API. Never deleted: once there was one, the service stays closed.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, scope TEXT NOT NULL,
    token_sha256 TEXT NOT NULL, created_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL, revoked_at_ms INTEGER
) STRICT;

-- What happened, chained by hashes. The triggers stop a mistake, not an attacker: what
-- shows tampering is the chain and the checkpoints that were signed over it.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, actor TEXT NOT NULL,
    action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL,
    previous TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is only added to'); END;
CREATE TABLE audit_checkpoints (
    size INTEGER PRIMARY KEY, envelope BLOB NOT NULL
) STRICT;
",
    r"
-- Certificates of devices, those that were revoked too, and one-time tokens to get the
-- first one by: a name to look up and the digest of a secret.
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY, device TEXT NOT NULL, issued_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL, revoked_ms INTEGER, pem TEXT NOT NULL
) STRICT;
CREATE INDEX certificates_by_device ON certificates (device);
CREATE TABLE enrolment_tokens (
    name TEXT PRIMARY KEY, digest BLOB NOT NULL, device TEXT NOT NULL,
    expires_ms INTEGER NOT NULL, used_for TEXT
) STRICT;
",
    r"
-- The chain of trust roots, for ever.
CREATE TABLE trust_roots (
    version INTEGER PRIMARY KEY, envelope BLOB NOT NULL, received_ms INTEGER NOT NULL
) STRICT;

-- Approvals that verified when they came. devices: null for all of the fleet.
CREATE TABLE approvals (
    digest TEXT PRIMARY KEY, grant_digest TEXT NOT NULL, profile TEXT NOT NULL,
    devices TEXT, envelope BLOB NOT NULL, approved_at_ms INTEGER NOT NULL,
    added_by TEXT NOT NULL, received_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX approvals_by_profile ON approvals (profile, approved_at_ms);
CREATE INDEX approvals_by_grant ON approvals (grant_digest);

-- Devices whose next document nobody has approved yet; they keep their last one.
CREATE TABLE waiting (
    device TEXT PRIMARY KEY, grant_digest TEXT NOT NULL, body TEXT NOT NULL,
    asked_by TEXT NOT NULL, since_ms INTEGER NOT NULL
) STRICT;

ALTER TABLE versions ADD COLUMN director TEXT NOT NULL DEFAULT '';
ALTER TABLE versions ADD COLUMN approvals TEXT NOT NULL DEFAULT '[]';
",
];

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
