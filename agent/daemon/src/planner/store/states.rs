//! What modules remember, by the document's slot: the current one's is replaced as the
//! keeper tells it, the previous one's is what a rollback restores. What a state means is
//! not known here.

use gnomon_agent_core::message::{FunctionState, STATES_BYTES_MAX};
use gnomon_schemas::results::SlotRole;
use rusqlite::{Connection, Row, params};

use super::StoreError;
use super::facts::text;

/// Puts these in the place of what the same modules remembered. All states together fit
/// the cap: those that are not told now go first, and what is over the cap by itself is
/// not taken.
pub(super) fn replace(connection: &Connection, states: &[FunctionState]) -> Result<(), StoreError> {
    if states.is_empty() {
        return Ok(());
    }
    let mut rows = vec![];
    for known in states {
        let state = serde_json::to_string(&known.state)?;
        rows.push((known.function.as_str(), known.module.as_str(), role(known.role), state));
    }
    let bytes: usize = rows.iter().map(|(.., state)| state.len()).sum();
    if bytes > STATES_BYTES_MAX {
        tracing::error!(bytes, "the functions' states are over their cap: they are not kept");
        return Ok(());
    }
    // One module is in control of a function at a time: its state takes the place of the
    // one's before it.
    let delete = "DELETE FROM state WHERE slot = 'current' AND function = ?1 AND role = ?3
        AND (module = ?2 OR role = 'active')";
    for (function, module, role, _) in &rows {
        connection.execute(delete, [function, module, role])?;
    }
    let kept = "SELECT coalesce(sum(length(state)), 0) FROM state WHERE slot = 'current'";
    let kept: i64 = connection.query_row(kept, [], |row| row.get(0))?;
    if bytes.saturating_add(usize::try_from(kept).unwrap_or(usize::MAX)) > STATES_BYTES_MAX {
        connection.execute("DELETE FROM state WHERE slot = 'current'", [])?;
    }
    let insert = "INSERT INTO state VALUES ('current', ?1, ?2, ?3, ?4)";
    for (function, module, role, state) in &rows {
        connection.execute(insert, params![function, module, role, state])?;
    }
    Ok(())
}

fn role(role: SlotRole) -> &'static str {
    match role {
        SlotRole::Active => "active",
        SlotRole::Candidate => "candidate",
    }
}

/// What comes into force goes on from what is there; a rollback restores it.
pub(super) fn keep_for_rollback(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(
        "DELETE FROM state WHERE slot <> 'current';
         INSERT INTO state SELECT 'previous', function, module, role, state FROM state;",
    )?;
    Ok(())
}

/// Candidates that the current document does not name are past; what was in control is
/// there for the module that takes its state over.
pub(super) fn forget_unnamed(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(
        "DELETE FROM state WHERE slot = 'current' AND role = 'candidate' AND module NOT IN
            (SELECT digest FROM document_module WHERE slot = 'current');",
    )?;
    Ok(())
}

pub(super) fn roll_back(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(
        "DELETE FROM state WHERE slot <> 'previous';
         UPDATE state SET slot = 'current';",
    )?;
    Ok(())
}

/// What modules remembered while the document of this slot was in force. One that cannot
/// be read starts anew.
pub(super) fn of_slot(
    connection: &Connection,
    slot: &str,
) -> Result<Vec<FunctionState>, StoreError> {
    let mut rows = connection.prepare(
        "SELECT function, module, role, state FROM state WHERE slot = ?1
         ORDER BY function, module, role",
    )?;
    let mut rows = rows.query([slot])?;
    let mut states = vec![];
    while let Some(row) = rows.next()? {
        match read(row) {
            Some(state) => states.push(state),
            None => tracing::error!("a function's state in the store cannot be read"),
        }
    }
    Ok(states)
}

fn read(row: &Row<'_>) -> Option<FunctionState> {
    let role = match text(row, 2)?.as_str() {
        "active" => SlotRole::Active,
        "candidate" => SlotRole::Candidate,
        _ => return None,
    };
    Some(FunctionState {
        function: text(row, 0)?.parse().ok()?,
        module: text(row, 1)?.parse().ok()?,
        role,
        state: serde_json::from_str(&text(row, 3)?).ok()?,
    })
}
