//! Results: each batch once, by (device, boot, sequence), with its rows.

use gnomon_schemas::ids::{DeviceId, Digest, FunctionName};
use gnomon_schemas::results::{Results, SlotRole, Summary};
use rusqlite::{Connection, params};
use serde_json::Value;

use super::{StoreError, from_json, parsed, signed, to_json};

/// Stores a batch; says whether it is new.
pub fn insert(db: &Connection, results: &Results, now_ms: u64) -> Result<bool, StoreError> {
    let sql = "INSERT OR IGNORE INTO batches
               (device, boot, sequence, engine, dropped_batches, received_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let device = results.device.as_str();
    let inserted = db.prepare(sql)?.execute(params![
        device,
        results.boot.as_str(),
        signed(results.sequence),
        results.engine.as_str(),
        signed(results.dropped_batches),
        signed(now_ms),
    ])?;
    if inserted == 0 {
        return Ok(false);
    }
    insert_rows(db, db.last_insert_rowid(), results)?;
    Ok(true)
}

fn insert_rows(db: &Connection, batch: i64, results: &Results) -> Result<(), StoreError> {
    let device = results.device.as_str();
    let sql = "INSERT INTO summaries (batch, device, function, module, role, from_ms, to_ms, body)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let mut statement = db.prepare(sql)?;
    for summary in &results.summaries {
        let (function, role) = (summary.function.as_str(), role_text(summary.role));
        let module = summary.module.as_ref().map(Digest::as_str);
        let (from, to) = (signed(summary.from_ms), signed(summary.to_ms));
        let body = to_json("summary", summary)?;
        statement.execute(params![batch, device, function, module, role, from, to, body])?;
    }
    let sql = "INSERT INTO records (batch, device, function, module, role, at_ms, body)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let mut statement = db.prepare(sql)?;
    for record in &results.records {
        let (function, role) = (record.function.as_str(), role_text(record.role));
        let (module, at) = (record.module.as_str(), signed(record.at_ms));
        let body = to_json("record", record)?;
        statement.execute(params![batch, device, function, module, role, at, body])?;
    }
    let sql = "INSERT INTO refusals (batch, device, reason, at_ms, body)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut statement = db.prepare(sql)?;
    for event in &results.refusals {
        let (reason, at) = (event.refusal.reason.code(), signed(event.at_ms));
        statement.execute(params![batch, device, reason, at, to_json("refusal", event)?])?;
    }
    Ok(())
}

fn role_text(role: SlotRole) -> &'static str {
    match role {
        SlotRole::Active => "active",
        SlotRole::Candidate => "candidate",
    }
}

/// The kinds of rows that batches have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Counts per interval.
    Summaries,
    /// Single evaluations.
    Records,
    /// What the device refused.
    Refusals,
}

impl Rows {
    fn table(self) -> &'static str {
        match self {
            Rows::Summaries => "summaries",
            Rows::Records => "records",
            Rows::Refusals => "refusals",
        }
    }
}

/// Rows of a device after the row `after`, oldest first: number and body.
pub fn page(
    db: &Connection,
    rows: Rows,
    device: &DeviceId,
    after: u64,
    limit: usize,
) -> Result<Vec<(i64, Value)>, StoreError> {
    let table = rows.table();
    let sql =
        format!("SELECT id, body FROM {table} WHERE device = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    let mut statement = db.prepare(&sql)?;
    let key = params![device.as_str(), signed(after), signed(limit as u64)];
    let found = statement.query_map(key, |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    found
        .map(|row| {
            let (id, body) = row?;
            Ok((id, from_json("row of results", &body)?))
        })
        .collect()
}

/// The summaries of a candidate, and those of the active function of the same devices.
pub fn compared(
    db: &Connection,
    function: &FunctionName,
    candidate: &Digest,
) -> Result<Vec<(DeviceId, Summary)>, StoreError> {
    let sql = "SELECT device, body FROM summaries
               WHERE function = ?1 AND role = 'candidate' AND module = ?2
               UNION ALL
               SELECT device, body FROM summaries WHERE function = ?1 AND role = 'active'
               AND device IN (SELECT device FROM summaries
                              WHERE function = ?1 AND role = 'candidate' AND module = ?2)";
    let mut statement = db.prepare(sql)?;
    let found = statement.query_map([function.as_str(), candidate.as_str()], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    found
        .map(|row| {
            let (device, body) = row?;
            Ok((parsed("device", &device)?, from_json("summary", &body)?))
        })
        .collect()
}

/// How many batches, and how many refusals of devices by reason.
pub fn counts(db: &Connection) -> Result<(u64, Vec<(String, u64)>), StoreError> {
    let batches: i64 = db.query_row("SELECT count(*) FROM batches", [], |row| row.get(0))?;
    let sql = "SELECT reason, count(*) FROM refusals GROUP BY reason ORDER BY reason";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    let refusals = rows
        .map(|row| row.map(|(reason, count)| (reason, super::unsigned(count))))
        .collect::<Result<_, _>>()?;
    Ok((super::unsigned(batches), refusals))
}
