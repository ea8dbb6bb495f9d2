//! What survives: floor, documents, modules, outbox; and what is not our store.

use gnomon_agent::planner::store::{Store, StoreError};
use gnomon_agent_core::Floor;
use gnomon_agent_core::agent::Transaction;
use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::results::Results;
use gnomon_schemas::{BootId, Digest};
use rusqlite::Connection;
use serde_json::json;
use std::path::PathBuf;
use tempfile::TempDir;

struct Disk {
    folder: TempDir,
}

impl Disk {
    fn new() -> Disk {
        Disk { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("agent.db")
    }

    /// Opens the store, as a start of the agent does.
    fn open(&self) -> Store {
        Store::open(&self.path()).unwrap()
    }
}

fn change(number: u64, modules: &[&[u8]]) -> Transaction {
    let envelope = format!("envelope {number}").into_bytes();
    Transaction {
        floor: Floor {
            epoch: 1,
            version: number.try_into().unwrap(),
            digest: Digest::of(&envelope),
            trust_version: 1,
        },
        time_floor_ms: 1_000 + number,
        envelope,
        modules: modules.iter().map(|m| (Digest::of(m), InlineBytes(m.to_vec()))).collect(),
    }
}

fn boot() -> BootId {
    BootId::from_random([1; 16])
}

fn batch(sequence: u64) -> Results {
    let batch = json!({
        "schema": "gnomon.results.v1", "fleet": "acme", "device": "heater-001",
        "boot": boot(), "sequence": sequence, "engine": Digest::of(b"engine"),
    });
    serde_json::from_value(batch).unwrap()
}

/// The batches that wait, as (sequence, dropped batches).
fn waiting(store: &Store) -> Vec<(u64, u64)> {
    let batches = store.waiting(0, 1_000).unwrap();
    let batches = batches.iter().map(|b| serde_json::from_slice::<Results>(&b.bytes).unwrap());
    batches.map(|results| (results.sequence, results.dropped_batches)).collect()
}

fn sequences(store: &Store) -> Vec<u64> {
    waiting(store).into_iter().map(|(sequence, _)| sequence).collect()
}

#[test]
fn a_new_store_holds_nothing() {
    let store = Disk::new().open();
    let stored = store.stored().unwrap();
    assert_eq!((stored.floor, stored.envelope), (None, None));
    assert!(stored.modules.is_empty());
    assert_eq!((store.time_floor_ms().unwrap(), store.waiting_count().unwrap()), (0, 0));
}

#[test]
fn what_was_persisted_is_there_after_a_restart() {
    let disk = Disk::new();
    disk.open().persist(&change(7, &[b"one", b"two"])).unwrap();
    let store = disk.open();
    let stored = store.stored().unwrap();
    assert_eq!(stored.floor, Some(change(7, &[]).floor));
    assert_eq!(stored.envelope.as_deref(), Some(&b"envelope 7"[..]));
    assert_eq!(stored.modules[&Digest::of(b"two")], b"two");
    assert_eq!(store.time_floor_ms().unwrap(), 1_007);
}

#[test]
fn the_time_floor_never_falls() {
    let disk = Disk::new();
    let mut store = disk.open();
    for (kept, floor) in [(5_000, 5_000), (4_000, 5_000), (6_000, 6_000)] {
        store.keep_time(kept).unwrap();
        assert_eq!(disk.open().time_floor_ms().unwrap(), floor);
    }
}

#[test]
fn the_previous_document_and_its_modules_are_kept_and_older_ones_go() {
    let disk = Disk::new();
    let mut store = disk.open();
    let there = |store: &Store, module: &[u8]| {
        store.stored().unwrap().modules.contains_key(&Digest::of(module))
    };
    store.persist(&change(1, &[b"first", b"shared"])).unwrap();
    store.persist(&change(2, &[b"second", b"shared"])).unwrap();
    assert!(there(&store, b"first") && there(&store, b"second") && there(&store, b"shared"));
    store.persist(&change(3, &[b"third"])).unwrap();
    assert!(!there(&store, b"first"), "two documents ago");
    assert!(there(&store, b"second") && there(&store, b"shared") && there(&store, b"third"));
    store.persist(&change(4, &[b"third"])).unwrap();
    assert!(!there(&store, b"second") && !there(&store, b"shared") && there(&store, b"third"));
    let envelopes: Vec<(String, Vec<u8>)> = Connection::open(disk.path())
        .unwrap()
        .prepare("SELECT slot, envelope FROM document ORDER BY slot")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected = [("current", "envelope 4"), ("previous", "envelope 3")];
    let expected = expected.map(|(slot, text)| (slot.to_owned(), text.as_bytes().to_vec()));
    assert_eq!(envelopes, expected);
}

#[test]
fn a_failed_transaction_changes_nothing() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[b"first"])).unwrap();
    let locked = Connection::open(disk.path()).unwrap();
    locked
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON module
        BEGIN SELECT raise(ABORT, 'disk full'); END;",
        )
        .unwrap();
    let error = store.persist(&change(2, &[b"second"])).unwrap_err();
    assert!(error.to_string().contains("disk full"), "{error}");
    let stored = disk.open().stored().unwrap();
    assert_eq!(stored.floor, Some(change(1, &[]).floor));
    assert_eq!(stored.envelope.as_deref(), Some(&b"envelope 1"[..]));
    assert_eq!(stored.modules.keys().collect::<Vec<_>>(), [&Digest::of(b"first")]);
}

#[test]
fn the_outbox_keeps_its_order_over_restarts_and_pages() {
    let disk = Disk::new();
    (1..=3).for_each(|sequence| disk.open().append(&batch(sequence)).unwrap());
    let mut store = disk.open();
    (4..=6).for_each(|sequence| store.append(&batch(sequence)).unwrap());
    assert_eq!(sequences(&store), [1, 2, 3, 4, 5, 6]);
    let first = store.waiting(0, 2).unwrap();
    let rest = store.waiting(first[1].id, 100).unwrap();
    assert_eq!((first.len(), rest.len()), (2, 4));
    assert_eq!(store.waiting_count().unwrap(), 6);
}

#[test]
fn a_batch_is_kept_once() {
    let mut store = Disk::new().open();
    (0..3).for_each(|_| store.append(&batch(1)).unwrap());
    assert_eq!(sequences(&store), [1]);
}

#[test]
fn an_ack_deletes_what_it_names_and_nothing_else() {
    let disk = Disk::new();
    let mut store = disk.open();
    (1..=5).for_each(|sequence| store.append(&batch(sequence)).unwrap());
    store.delete(&BootId::from_random([2; 16]), &[1, 2, 3]).unwrap();
    assert_eq!(sequences(&store), [1, 2, 3, 4, 5], "another boot numbers from 1, too");
    store.delete(&boot(), &[2, 4, 99, u64::MAX]).unwrap();
    assert_eq!(sequences(&disk.open()), [1, 3, 5]);
}

#[test]
fn over_its_cap_the_outbox_drops_the_oldest_and_the_next_batch_says_how_many() {
    let disk = Disk::new();
    let size = serde_json::to_vec(&batch(1)).unwrap().len();
    let open = || disk.open().with_outbox_bytes_max(size * 3 + size / 2);
    let mut store = open();
    (1..=5).for_each(|sequence| store.append(&batch(sequence)).unwrap());
    assert_eq!(waiting(&store), [(3, 0), (4, 0), (5, 1)]);
    // The count outlives a restart.
    let mut store = open();
    store.append(&batch(6)).unwrap();
    assert_eq!(waiting(&store), [(4, 0), (5, 1), (6, 1)]);
}

#[test]
fn a_dropped_batch_takes_no_count_with_it() {
    let disk = Disk::new();
    let size = serde_json::to_vec(&batch(1)).unwrap().len();
    let mut store = disk.open().with_outbox_bytes_max(size + size / 2);
    (1..=9).for_each(|sequence| store.append(&batch(sequence)).unwrap());
    assert_eq!(sequences(&store), [9]);
    // Eight were dropped: what the ninth does not tell, the tenth does.
    let mut store = disk.open();
    store.append(&batch(10)).unwrap();
    assert_eq!(waiting(&store).into_iter().map(|(_, dropped)| dropped).sum::<u64>(), 8);
}

#[test]
fn a_store_of_a_later_form_is_refused_and_left_as_it_is() {
    let disk = Disk::new();
    disk.open().persist(&change(1, &[])).unwrap();
    Connection::open(disk.path()).unwrap().pragma_update(None, "user_version", 3).unwrap();
    let error = Store::open(&disk.path()).err().unwrap();
    assert!(matches!(error, StoreError::Newer(3)), "{error}");
    assert!(error.to_string().contains("newer agent"), "{error}");
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_as_it_is() {
    let disk = Disk::new();
    let foreign = Connection::open(disk.path()).unwrap();
    foreign.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    drop(foreign);
    let before = std::fs::read(disk.path()).unwrap();
    let error = Store::open(&disk.path()).err().unwrap();
    assert!(matches!(error, StoreError::Foreign(_)), "{error}");
    assert_eq!(std::fs::read(disk.path()).unwrap(), before);

    let disk = Disk::new();
    let foreign = Connection::open(disk.path()).unwrap();
    foreign.pragma_update(None, "application_id", 42).unwrap();
    foreign.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    assert!(matches!(Store::open(&disk.path()).err().unwrap(), StoreError::Foreign(_)));

    let disk = Disk::new();
    std::fs::write(disk.path(), b"a letter to my aunt, not a database. ".repeat(100)).unwrap();
    let error = Store::open(&disk.path()).err().unwrap();
    assert!(error.to_string().contains("not a database"), "{error}");
}

#[test]
fn a_store_of_the_form_before_is_taken_over() {
    let disk = Disk::new();
    disk.open().persist(&change(7, &[b"one"])).unwrap();
    let old = Connection::open(disk.path()).unwrap();
    old.execute_batch(
        r#"DROP TABLE trust_root; PRAGMA user_version = 1;
           UPDATE fact SET value = replace(value, ',"trust_version":1', '') WHERE name = 'floor';"#,
    )
    .unwrap();
    drop(old);
    let stored = disk.open().stored().unwrap();
    assert_eq!(stored.floor, Some(change(7, &[]).floor));
    assert!(stored.roots.is_empty() && stored.modules.len() == 1);
}
