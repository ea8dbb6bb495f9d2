//! The form of the tables: what each release made of them, how an older store is taken
//! over, and whether what lies there is a store at all. What is in the rows is other
//! files' business, but for what has to be counted anew.

use gnomon_agent_core::accept::Floor;
use gnomon_agent_core::agent::Mirror;
use gnomon_schemas::results::{Class, Results};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::error::StoreError;
use super::ledger::{Ledger, rank};
use super::{facts, outbox_rows};

/// Marks the file as ours ("GNOM").
pub(super) const APPLICATION_ID: i32 = 0x474e_4f4d;
/// The form of the tables; a store of a later form is refused.
pub(super) const STORE_FORM: i32 = 3;

const FORM_1: &str = "
    CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE document (slot TEXT PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
    CREATE TABLE module (
        digest TEXT PRIMARY KEY, slot TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, sequence INTEGER NOT NULL,
        bytes BLOB NOT NULL, UNIQUE (boot, sequence)) STRICT;
";

const FORM_2: &str =
    "CREATE TABLE trust_root (version INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;";

/// Which modules the two documents shared was not kept before: the previous one keeps all.
const FORM_3: &str = "
    ALTER TABLE document ADD COLUMN digest TEXT;
    ALTER TABLE document ADD COLUMN trust_version INTEGER;
    CREATE TABLE document_module (
        slot TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (slot, digest)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO document_module SELECT slot, digest FROM module;
    INSERT OR IGNORE INTO document_module
        SELECT 'previous', digest FROM module WHERE EXISTS
            (SELECT 1 FROM document WHERE slot = 'previous');
    ALTER TABLE module DROP COLUMN slot;
    CREATE TABLE state (
        slot TEXT NOT NULL, function TEXT NOT NULL, module TEXT NOT NULL, role TEXT NOT NULL,
        state TEXT NOT NULL, PRIMARY KEY (slot, function, module, role)) STRICT;
    CREATE TABLE failure (
        number INTEGER PRIMARY KEY, document TEXT NOT NULL UNIQUE, refusal TEXT NOT NULL) STRICT;
    ALTER TABLE outbox RENAME TO outbox_2;
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY, boot TEXT NOT NULL, sequence INTEGER NOT NULL,
        class INTEGER NOT NULL, bytes BLOB NOT NULL, UNIQUE (boot, sequence)) STRICT;
    CREATE INDEX outbox_class ON outbox (class);
";

/// What a store of each form has, at least.
const TABLES: [(i32, &[&str]); 3] = [
    (1, &["fact", "document", "module", "outbox"]),
    (2, &["trust_root"]),
    (3, &["document_module", "state", "failure"]),
];

/// What dropped batches were counted in before form 3.
const DROPPED_BEFORE_3: &str = "dropped_batches";

/// The form of what lies there, 0 for nothing yet. It is only read.
///
/// # Errors
/// [`StoreError::Newer`] and [`StoreError::Foreign`] for what must stay as it is; one
/// that is damage for a store that cannot be used any more.
pub(super) fn judge(path: &Path, is_clean: bool) -> Result<i32, StoreError> {
    match fs::metadata(path) {
        Ok(file) if file.len() == 0 => return Ok(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(StoreError::File(path.to_owned(), error)),
        Ok(_) => {}
    }
    let connection = open_to_read(path)?;
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |r| r.get(0));
    let (application, form): (i32, i32) = (pragma("application_id")?, pragma("user_version")?);
    let tables = tables(&connection)?;
    if application != APPLICATION_ID {
        // Only a file that holds nothing is made ours.
        if (application, form) == (0, 0) && tables.is_empty() {
            return Ok(0);
        }
        return Err(if has_tables_of(1, &tables) {
            StoreError::Damaged("its application id is another's".into())
        } else {
            StoreError::Foreign(path.display().to_string())
        });
    }
    if form > STORE_FORM {
        return Err(StoreError::Newer(form));
    }
    if form < 1 || !has_tables_of(form, &tables) {
        return Err(StoreError::Damaged(format!("tables of its form {form} are missing")));
    }
    if !is_clean {
        check(&connection)?;
    }
    Ok(form)
}

/// A connection that changes nothing, not even when it is the last one to be closed.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(path, flags)?)
}

fn tables(connection: &Connection) -> Result<BTreeSet<String>, StoreError> {
    let mut rows = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = rows.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn has_tables_of(form: i32, tables: &BTreeSet<String>) -> bool {
    let needed = TABLES.iter().filter(|(since, _)| *since <= form);
    needed.flat_map(|(_, names)| names.iter()).all(|name| tables.contains(*name))
}

/// Everything once, indexes too: a database that was cut off is looked at whole.
fn check(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Damaged(found)) }
}

/// Brings a store to this agent's form, or makes it, in one transaction.
pub(super) fn take_over(
    connection: &mut Connection,
    form: i32,
    rebuilt: Option<&str>,
) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if form < 1 {
        transaction.execute_batch(FORM_1)?;
    }
    if form < 2 {
        transaction.execute_batch(FORM_2)?;
    }
    if form < 3 {
        transaction.execute_batch(FORM_3)?;
        name_document(&transaction)?;
        sort_outbox(&transaction)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", STORE_FORM)?;
    }
    if let Some(why) = rebuilt {
        facts::set(&transaction, facts::REBUILT, why)?;
    }
    Ok(transaction.commit()?)
}

/// The document in force was the floor's.
fn name_document(connection: &Connection) -> Result<(), StoreError> {
    let Some(floor) = facts::get_json::<Floor>(connection, facts::FLOOR)? else { return Ok(()) };
    let trust_version = i64::try_from(floor.trust_version).unwrap_or(i64::MAX);
    connection.execute(
        "UPDATE document SET digest = ?1, trust_version = ?2 WHERE slot = 'current'",
        params![floor.digest.as_str(), trust_version],
    )?;
    Ok(())
}

/// Moves the outbox row by row, so that the file does not grow to twice its size.
fn sort_outbox(connection: &Connection) -> Result<(), StoreError> {
    let mut ledger = Ledger::default();
    let take = "DELETE FROM outbox_2 WHERE id = (SELECT min(id) FROM outbox_2)
                RETURNING boot, sequence, bytes";
    let put = "INSERT INTO outbox VALUES (?1, ?2, ?3, ?4, ?5)";
    let (mut take, mut put) = (connection.prepare(take)?, connection.prepare(put)?);
    let mut next = || {
        let row = take.query_row([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
        });
        row.optional()
    };
    while let Some((boot, sequence, bytes)) = next()? {
        let batch = serde_json::from_slice::<Results>(&bytes);
        let class = batch.map_or(Class::Samples, |batch| batch.class());
        put.execute(params![ledger.next_id(), boot, sequence, rank(class), bytes])?;
        ledger.came(class, bytes.len() as u64);
    }
    ledger.untold.batches = facts::get_number(connection, DROPPED_BEFORE_3)?;
    ledger.dropped.batches = ledger.untold.batches;
    facts::clear(connection, DROPPED_BEFORE_3)?;
    outbox_rows::write_ledger(connection, &ledger)?;
    connection.execute_batch("DROP TABLE outbox_2")?;
    Ok(())
}

/// What a new store has to tell where none should have been needed.
pub(super) fn loss(mirror: &Mirror) -> Option<String> {
    let was_there = mirror.floor.is_some() || mirror.trust_version > 0;
    was_there.then(|| "it was gone; what its mirror says holds".to_owned())
}
