//! The trial of the document in force, and documents that failed. Whether a document
//! has proved itself is not known here.

use gnomon_agent_core::agent::{Failure, Trial};
use rusqlite::{Connection, Row, params};

use super::{Store, StoreError, Weight, facts};

/// Failures that are kept; the oldest goes.
const FAILURES_MAX: i64 = 8;

impl Store {
    /// Makes the trial of the document in force durable; none once it has proved itself.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn keep_trial(&mut self, trial: Option<&Trial>) -> Result<(), StoreError> {
        self.change(Weight::Safety, |transaction| set(transaction, trial))
    }

    /// Remembers that a document is not tried again.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn keep_failure(&mut self, failure: &Failure) -> Result<(), StoreError> {
        self.change(Weight::Safety, |transaction| keep_failure(transaction, failure))
    }
}

pub(super) fn set(connection: &Connection, trial: Option<&Trial>) -> Result<(), StoreError> {
    match trial {
        Some(trial) => facts::set(connection, facts::TRIAL, &serde_json::to_string(trial)?),
        None => facts::clear(connection, facts::TRIAL),
    }
}

pub(super) fn keep_failure(connection: &Connection, failure: &Failure) -> Result<(), StoreError> {
    let (document, refusal) = (failure.document.as_str(), serde_json::to_string(&failure.refusal)?);
    connection.execute("DELETE FROM failure WHERE document = ?1", [document])?;
    connection.execute(
        "INSERT INTO failure (document, refusal) VALUES (?1, ?2)",
        params![document, refusal],
    )?;
    connection.execute(
        "DELETE FROM failure WHERE number NOT IN
            (SELECT number FROM failure ORDER BY number DESC LIMIT ?1)",
        [FAILURES_MAX],
    )?;
    Ok(())
}

/// The failures, the oldest first. One that cannot be read is one that is tried again.
pub(super) fn failures(connection: &Connection) -> Result<Vec<Failure>, StoreError> {
    let mut rows = connection.prepare("SELECT document, refusal FROM failure ORDER BY number")?;
    let mut rows = rows.query([])?;
    let mut failures = vec![];
    while let Some(row) = rows.next()? {
        match read(row) {
            Some(failure) => failures.push(failure),
            None => tracing::error!("a failure in the store cannot be read"),
        }
    }
    Ok(failures)
}

fn read(row: &Row<'_>) -> Option<Failure> {
    let document = facts::text(row, 0)?.parse().ok()?;
    Some(Failure { document, refusal: serde_json::from_str(&facts::text(row, 1)?).ok()? })
}
