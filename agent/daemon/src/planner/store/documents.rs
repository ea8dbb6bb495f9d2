//! The document in force and the one before it, with their modules: what comes into
//! force, what a rollback returns to, and what neither needs any more. Whether anything
//! may act is judged elsewhere, and anew each time.

use gnomon_agent_core::agent::{Failure, Transaction};
use gnomon_schemas::Digest;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

use super::{Store, StoreError, Weight, facts, states, trials};

/// A document of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) envelope: Vec<u8>,
    /// The digest of its payload; none where an earlier agent did not keep it.
    pub(super) digest: Option<String>,
    pub(super) trust_version: Option<u64>,
}

impl Store {
    /// Makes an accepted document durable: floor, time, envelope, modules and trial
    /// together. What was current becomes previous, with a copy of what its functions
    /// remember, unless what was previous is to stay; the very document that is current
    /// takes its own place.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then, unless it is the mirror's.
    pub fn persist(&mut self, change: &Transaction) -> Result<(), StoreError> {
        self.change(Weight::Safety, |transaction| {
            facts::set(transaction, facts::FLOOR, &serde_json::to_string(&change.floor)?)?;
            facts::set(transaction, facts::TIME_FLOOR, &change.time_floor_ms.to_string())?;
            facts::clear(transaction, facts::ROLLED_BACK_FROM)?;
            trials::set(transaction, change.trial.as_ref())?;
            let digest = change.floor.digest.as_str();
            let current = read(transaction, "current")?;
            let is_same = current.is_some_and(|now| now.digest.as_deref() == Some(digest));
            if !is_same && !change.keeps_previous {
                make_room_for_another(transaction)?;
                states::keep_for_rollback(transaction)?;
            }
            write_current(transaction, change)?;
            states::forget_unnamed(transaction)
        })?;
        self.give_pages_back();
        self.write_mirror(Weight::Safety)
    }

    /// Makes it durable that the document in force was given up: the previous one is in
    /// force again, if there is one, with its modules and states. The floor stays. The
    /// same once more changes nothing, and one that is not in force takes nothing with it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then, unless it is the mirror's.
    pub fn persist_rollback(&mut self, failure: &Failure) -> Result<(), StoreError> {
        self.change(Weight::Safety, |transaction| {
            let before = facts::get(transaction, facts::ROLLED_BACK_FROM)?;
            if before.as_deref() == Some(failure.document.as_str()) {
                return Ok(());
            }
            trials::keep_failure(transaction, failure)?;
            let current = read(transaction, "current")?.and_then(|current| current.digest);
            if current.is_some_and(|digest| digest != failure.document.as_str()) {
                tracing::error!(document = failure.document.short(), "not in force: not given up");
                return Ok(());
            }
            transaction.execute_batch(
                "DELETE FROM document WHERE slot <> 'previous';
                 UPDATE document SET slot = 'current';
                 DELETE FROM document_module WHERE slot <> 'previous';
                 UPDATE document_module SET slot = 'current';",
            )?;
            forget_unneeded(transaction)?;
            states::roll_back(transaction)?;
            trials::set(transaction, None)?;
            facts::set(transaction, facts::ROLLED_BACK_FROM, failure.document.as_str())
        })?;
        self.give_pages_back();
        self.write_mirror(Weight::Safety)
    }

    /// Makes a trust root durable, so that the device never goes back behind it. With
    /// `time_floor_ms` the lowest possible time falls back to that with it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then, unless it is the mirror's.
    pub fn persist_root(
        &mut self,
        version: u64,
        envelope: &[u8],
        time_floor_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let number = i64::try_from(version).unwrap_or(i64::MAX);
        self.change(Weight::Safety, |transaction| {
            let insert = "INSERT OR REPLACE INTO trust_root VALUES (?1, ?2)";
            transaction.execute(insert, params![number, envelope])?;
            if let Some(at_ms) = time_floor_ms {
                facts::set(transaction, facts::TIME_FLOOR, &at_ms.to_string())?;
            }
            Ok(())
        })?;
        self.write_mirror(Weight::Safety)
    }
}

fn make_room_for_another(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(
        "DELETE FROM document WHERE slot <> 'current';
         UPDATE document SET slot = 'previous';
         DELETE FROM document_module WHERE slot <> 'current';
         UPDATE document_module SET slot = 'previous';",
    )?;
    Ok(())
}

/// What goes makes room for what comes; bytes that are there already are not written.
fn write_current(connection: &Connection, change: &Transaction) -> Result<(), StoreError> {
    let trust_version = i64::try_from(change.floor.trust_version).unwrap_or(i64::MAX);
    connection.execute(
        "INSERT OR REPLACE INTO document (slot, envelope, digest, trust_version)
         VALUES ('current', ?1, ?2, ?3)",
        params![change.envelope, change.floor.digest.as_str(), trust_version],
    )?;
    connection.execute("DELETE FROM document_module WHERE slot = 'current'", [])?;
    for digest in change.modules.keys() {
        let insert = "INSERT INTO document_module VALUES ('current', ?1)";
        connection.execute(insert, [digest.as_str()])?;
    }
    forget_unneeded(connection)?;
    for (digest, bytes) in &change.modules {
        connection.execute(
            "INSERT INTO module VALUES (?1, ?2)
             ON CONFLICT (digest) DO UPDATE SET bytes = ?2 WHERE bytes <> ?2",
            params![digest.as_str(), bytes.0],
        )?;
    }
    Ok(())
}

fn forget_unneeded(connection: &Connection) -> Result<(), StoreError> {
    let delete = "DELETE FROM module WHERE digest NOT IN (SELECT digest FROM document_module)";
    connection.execute(delete, [])?;
    Ok(())
}

pub(super) fn read(connection: &Connection, slot: &str) -> Result<Option<Document>, StoreError> {
    let query = "SELECT envelope, digest, trust_version FROM document WHERE slot = ?1";
    let document = connection.query_row(query, [slot], |row| {
        Ok(Document {
            envelope: row.get(0)?,
            digest: facts::text(row, 1),
            trust_version: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
        })
    });
    Ok(document.optional()?)
}

/// The modules of both documents.
pub(super) fn modules(connection: &Connection) -> Result<BTreeMap<Digest, Vec<u8>>, StoreError> {
    let mut rows = connection.prepare("SELECT digest, bytes FROM module")?;
    let mut modules = BTreeMap::new();
    for row in rows.query_map([], |row| Ok((facts::text(row, 0), row.get(1)?)))? {
        let (digest, bytes) = row?;
        // A digest that cannot be read names nothing that could be asked for.
        if let Some(digest) = digest.and_then(|digest| digest.parse::<Digest>().ok()) {
            modules.insert(digest, bytes);
        }
    }
    Ok(modules)
}

pub(super) fn roots(connection: &Connection) -> Result<BTreeMap<u64, Vec<u8>>, StoreError> {
    let mut rows = connection.prepare("SELECT version, envelope FROM trust_root")?;
    let roots =
        rows.query_map([], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)))?;
    Ok(roots.collect::<Result<_, _>>()?)
}

/// The newest trust root that was kept; 0 for none.
pub(super) fn root_version(connection: &Connection) -> Result<u64, StoreError> {
    let newest = "SELECT coalesce(max(version), 0) FROM trust_root";
    let newest: i64 = connection.query_row(newest, [], |row| row.get(0))?;
    Ok(newest.unsigned_abs())
}
