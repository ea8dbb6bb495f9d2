//! The audit log: rows that are only ever added, each chained to the one before it,
//! and the checkpoints that were signed over them.
//!
//! It knows no key: checkpoints come and go as the envelopes they are.

use gnomon_cloud_core::access::Actor;
use gnomon_cloud_core::audit_chain::{self, ChainFault, Event, Link, Walk};
use gnomon_schemas::ids::Digest;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{StoreError, from_json, parsed, signed, unsigned};

const COLUMNS: &str = "sequence, at_ms, actor, action, subject, detail, previous, hash";

/// Whether something was recorded of a request.
#[derive(Debug, Clone, Default)]
pub struct Trail(Arc<AtomicBool>);

impl Trail {
    /// Whether an entry was appended.
    pub fn is_recorded(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Something to record: who did what to what.
#[derive(Debug, Clone)]
pub struct Entry {
    actor: Actor,
    action: String,
    subject: String,
    detail: Map<String, Value>,
    trail: Trail,
}

impl Entry {
    /// An entry. The action is `noun.verb`, the subject its name.
    pub fn new(actor: Actor, action: &str, subject: impl fmt::Display) -> Entry {
        Entry {
            actor,
            action: action.to_owned(),
            subject: subject.to_string(),
            detail: Map::new(),
            trail: Trail::default(),
        }
    }

    /// Who did it.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// With one more thing to know of it. No secret belongs here.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Entry {
        self.detail.insert(key.to_owned(), value.into());
        self
    }

    /// With the subject that was only known later.
    #[must_use]
    pub fn of(mut self, subject: impl fmt::Display) -> Entry {
        self.subject = subject.to_string();
        self
    }

    /// Told to this trail once it is appended.
    #[must_use]
    pub(crate) fn told(mut self, trail: &Trail) -> Entry {
        self.trail = trail.clone();
        self
    }
}

/// Appends an entry, within the transaction of what it records.
///
/// # Errors
/// [`StoreError`].
pub fn append(db: &Connection, now_ms: u64, entry: &Entry) -> Result<(), StoreError> {
    let (last, previous) = head(db)?;
    let sequence = last.saturating_add(1);
    let (actor, detail) = (entry.actor.to_string(), Value::from(entry.detail.clone()).to_string());
    let event = Event {
        at_ms: now_ms,
        actor: &actor,
        action: &entry.action,
        subject: &entry.subject,
        detail: &detail,
    };
    let hash = audit_chain::hash(sequence, &previous, event);
    db.execute(
        &format!("INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"),
        params![
            signed(sequence),
            signed(now_ms),
            actor,
            entry.action,
            entry.subject,
            detail,
            previous.as_str(),
            hash.as_str()
        ],
    )?;
    entry.trail.0.store(true, Ordering::Release);
    Ok(())
}

/// How many entries there are, and what the last one hashes to.
///
/// # Errors
/// [`StoreError`].
pub fn head(db: &Connection) -> Result<(u64, Digest), StoreError> {
    let last = db
        .query_row("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    last.map_or(Ok((0, audit_chain::genesis())), |(sequence, hash)| {
        Ok((unsigned(sequence), parsed("audit entry", &hash)?))
    })
}

/// An entry as it stands in the log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Recorded {
    /// Its number, from 1.
    pub sequence: u64,
    /// When (Unix time, ms).
    pub at_ms: u64,
    /// Who: `token:NAME:ID`, `local`, `device:NAME`, `service` or `anonymous`.
    pub actor: String,
    /// What was done, as `noun.verb`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// More.
    pub detail: Value,
    /// What it hashes to, everything before it included.
    pub hash: Digest,
}

/// Entries with a sequence below `before`, newest first.
///
/// # Errors
/// [`StoreError`].
pub fn page(db: &Connection, before: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
    let mut query = db.prepare(&format!(
        "SELECT {COLUMNS} FROM audit WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2"
    ))?;
    let rows = query.query_map(params![signed(before), limit as i64], |row| {
        let texts = (row.get::<_, String>(5)?, row.get::<_, String>(7)?);
        let recorded = |detail, hash| Recorded {
            sequence: unsigned(row.get(0).unwrap_or(0)),
            at_ms: unsigned(row.get(1).unwrap_or(0)),
            actor: row.get(2).unwrap_or_default(),
            action: row.get(3).unwrap_or_default(),
            subject: row.get(4).unwrap_or_default(),
            detail,
            hash,
        };
        Ok(from_json("audit entry", &texts.0)
            .and_then(|detail| Ok(recorded(detail, parsed("audit entry", &texts.1)?))))
    })?;
    rows.map(|row| row?).collect()
}

/// Walks the whole log against checkpoints (pairs of size and head); says how many
/// entries there are and what the last hashes to.
///
/// # Errors
/// [`StoreError`] when the log cannot be read at all; within, what is wrong with it.
pub fn walk(
    db: &Connection,
    signed_over: Vec<(u64, Digest)>,
) -> Result<Result<(u64, Digest), ChainFault>, StoreError> {
    let mut walk = match Walk::new(signed_over) {
        Ok(walk) => walk,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut query = db.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY sequence"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let sequence = unsigned(row.get(0)?);
        // A row that cannot even be read is one that this program did not write.
        let done = found(row, sequence).map_or(Err(ChainFault::Changed { sequence }), |found| {
            let [actor, action, subject, detail] = &found.texts;
            let event = Event { at_ms: found.at_ms, actor, action, subject, detail };
            walk.step(&found.link, event)
        });
        if let Err(fault) = done {
            return Ok(Err(fault));
        }
    }
    Ok(walk.end())
}

struct Found {
    link: Link,
    at_ms: u64,
    texts: [String; 4],
}

fn found(row: &Row<'_>, sequence: u64) -> Option<Found> {
    let text = |index: usize| row.get::<_, String>(index).ok();
    Some(Found {
        link: Link { sequence, previous: text(6)?.parse().ok()?, hash: text(7)?.parse().ok()? },
        at_ms: u64::try_from(row.get::<_, i64>(1).ok()?).ok()?,
        texts: [text(2)?, text(3)?, text(4)?, text(5)?],
    })
}

/// Keeps a checkpoint.
///
/// # Errors
/// [`StoreError`].
pub fn keep_checkpoint(db: &Connection, size: u64, envelope: &[u8]) -> Result<(), StoreError> {
    let sql = "INSERT INTO audit_checkpoints (size, envelope) VALUES (?1, ?2)";
    db.execute(sql, params![signed(size), envelope])?;
    Ok(())
}

/// The newest checkpoint: the size that it is over, and its envelope.
///
/// # Errors
/// [`StoreError`].
pub fn newest_checkpoint(db: &Connection) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    let sql = "SELECT size, envelope FROM audit_checkpoints ORDER BY size DESC LIMIT 1";
    let found = db.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).optional()?;
    Ok(found.map(|(size, envelope)| (unsigned(size), envelope)))
}

/// All checkpoints' envelopes, oldest first.
///
/// # Errors
/// [`StoreError`].
pub fn checkpoints(db: &Connection) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut query = db.prepare("SELECT envelope FROM audit_checkpoints ORDER BY size")?;
    let rows = query.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
