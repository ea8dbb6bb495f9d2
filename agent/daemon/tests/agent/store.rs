//! What survives: floor, documents, modules, time; and what is not our store. The other
//! tests of the store take their disk and their batches from here.

use gnomon_agent::planner::outbox::{Room, Sent};
use gnomon_agent::planner::store::{Store, StoreError};
use gnomon_agent_core::Floor;
use gnomon_agent_core::agent::{Append, Transaction};
use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::results::{Class, Results};
use gnomon_schemas::{BootId, Digest};
use rusqlite::Connection;
use serde_json::json;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder of its own, in memory where there is such a place: what a store promises of
/// its disk is not proved here.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

pub struct Disk {
    pub folder: TempDir,
}

impl Disk {
    pub fn new() -> Disk {
        Disk { folder: folder() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("agent.db")
    }

    /// Opens the store, as a start of the agent does.
    pub fn open(&self) -> Store {
        Store::open(&self.path()).unwrap()
    }

    /// Overwrites the first page of a table. The store is closed.
    pub fn rot(&self, table: &str) {
        let connection = Connection::open(self.path()).unwrap();
        let query = "SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size
                     WHERE name = ?1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (page, page_bytes): (u32, u32) = connection.query_row(query, [table], row).unwrap();
        drop(connection);
        let file = std::fs::File::options().write(true).open(self.path()).unwrap();
        file.write_all_at(&[0xff; 64], u64::from((page - 1) * page_bytes)).unwrap();
    }

    /// Changes the file behind the store's back.
    pub fn tamper(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}

/// The document of this version, with these modules.
pub fn change(number: u64, modules: &[&[u8]]) -> Transaction {
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
        trial: None,
        keeps_previous: false,
    }
}

pub fn boot() -> BootId {
    BootId::from_random([1; 16])
}

/// A batch of a class, filled up to about this many bytes more.
pub fn batch_of(class: Class, sequence: u64, filling: usize) -> Results {
    let module = Digest::of(b"module");
    let filled = texts(filling);
    let mut batch = json!({
        "schema": "gnomon.results.v1", "fleet": "acme", "device": "heater-001",
        "boot": boot(), "sequence": sequence, "engine": Digest::of(b"engine"),
    });
    match class {
        Class::Faults => {
            let detail = noise(filling);
            let refusal = json!({"reason": "rollback", "detail": detail});
            batch["refusals"] = json!([{"at_ms": 1, "refusal": refusal}]);
        }
        Class::Summaries => {
            let summary = json!({"function": "setpoint", "module": module, "role": "active",
                "from_ms": 1, "to_ms": 2, "ticks": 60, "evaluations": 60});
            batch["summaries"] = json!([summary]);
            if filling > 0 {
                batch["records"] = json!([record(&module, &filled)]);
            }
        }
        Class::Samples => batch["records"] = json!([record(&module, &filled)]),
    }
    let batch: Results = serde_json::from_value(batch).unwrap();
    assert_eq!(batch.class(), class);
    batch
}

/// A text that cannot be compressed to much less.
fn noise(bytes: usize) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = bytes as u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(alphabet[usize::try_from(random >> 58).unwrap()])
    };
    (0..bytes).map(|_| next()).collect()
}

/// A record of values of about this many bytes; one text has a cap of its own.
pub fn texts(bytes: usize) -> serde_json::Value {
    let filled = noise(bytes);
    let chunk = |at: usize| filled[at..bytes.min(at + 4_000)].to_owned();
    let texts = (0..bytes).step_by(4_000).map(|at| (format!("text_{at}"), chunk(at).into()));
    serde_json::Value::Object(texts.collect())
}

fn record(module: &Digest, inputs: &serde_json::Value) -> serde_json::Value {
    json!({"at_ms": 1, "tick": 1, "function": "setpoint", "module": module, "role": "active",
        "inputs": inputs, "params": {}, "time_us": 9})
}

pub fn batch(sequence: u64) -> Results {
    batch_of(Class::Samples, sequence, 0)
}

/// Batches that are no message of a keeper.
pub fn only(batches: Vec<Results>) -> Append {
    Append { batches, states: vec![], done: None }
}

pub fn append(store: &mut Store, batch: Results) {
    store.append(&only(vec![batch])).unwrap();
}

/// The batches that wait, in the order in which they are sent.
pub fn outbox(store: &Store) -> Vec<Results> {
    let waiting = store.waiting(&Sent::default(), Room::UNLIMITED).unwrap();
    waiting.iter().map(|batch| serde_json::from_slice(&batch.bytes).unwrap()).collect()
}

/// The batches that wait, as (sequence, dropped batches).
pub fn waiting(store: &Store) -> Vec<(u64, u64)> {
    let told = |batch: Results| (batch.sequence, batch.dropped_batches);
    outbox(store).into_iter().map(told).collect()
}

pub fn sequences(store: &Store) -> Vec<u64> {
    waiting(store).into_iter().map(|(sequence, _)| sequence).collect()
}

#[test]
fn a_new_store_holds_nothing() {
    let disk = Disk::new();
    let store = disk.open();
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
    let stored = store.stored().unwrap();
    assert_eq!(stored.envelope.as_deref(), Some(&b"envelope 4"[..]));
    assert_eq!(stored.previous.as_deref(), Some(&b"envelope 3"[..]));
    assert_eq!(stored.envelope_trust_version, Some(1));
}

#[test]
fn a_failed_transaction_changes_nothing() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[b"first"])).unwrap();
    disk.tamper(
        "CREATE TRIGGER full BEFORE INSERT ON module
         BEGIN SELECT raise(ABORT, 'disk full'); END;",
    );
    let error = store.persist(&change(2, &[b"second"])).unwrap_err();
    assert!(error.to_string().contains("disk full"), "{error}");
    for stored in [store.stored().unwrap(), disk.open().stored().unwrap()] {
        assert_eq!(stored.floor, Some(change(1, &[]).floor));
        assert_eq!(stored.envelope.as_deref(), Some(&b"envelope 1"[..]));
        assert_eq!(stored.modules.keys().collect::<Vec<_>>(), [&Digest::of(b"first")]);
    }
    disk.tamper("DROP TRIGGER full");
    store.persist(&change(2, &[b"second"])).unwrap();
    assert_eq!(store.stored().unwrap().floor, Some(change(2, &[]).floor), "it goes on");
}

#[test]
fn the_very_document_again_takes_its_own_place_and_heals_a_damaged_module() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[b"first"])).unwrap();
    store.persist(&change(2, &[b"second"])).unwrap();
    disk.tamper("UPDATE module SET bytes = CAST('evil' AS BLOB)");
    store.persist(&change(2, &[b"second"])).unwrap();
    let stored = store.stored().unwrap();
    assert_eq!(stored.previous.as_deref(), Some(&b"envelope 1"[..]), "not pushed out by itself");
    assert_eq!(stored.modules[&Digest::of(b"second")], b"second");
}

#[test]
fn a_row_that_cannot_be_read_costs_only_itself() {
    let disk = Disk::new();
    disk.open().persist(&change(1, &[b"first"])).unwrap();
    append(&mut disk.open(), batch(1));
    for facts in ["floor", "trial", "outbox", "time_floor_ms", "rolled_back_from"] {
        disk.tamper(&format!("INSERT OR REPLACE INTO fact VALUES ('{facts}', '{{no json')"));
    }
    disk.tamper(
        "INSERT INTO failure (document, refusal) VALUES ('no digest', '{}');
         INSERT INTO state VALUES ('current', 'Not A Name', 'x', 'active', '{}');
         INSERT INTO module VALUES ('no digest', x'00');",
    );
    let mut store = disk.open();
    let stored = store.stored().unwrap();
    assert_eq!(stored.envelope.as_deref(), Some(&b"envelope 1"[..]));
    assert_eq!(stored.mirror.floor, Some(change(1, &[]).floor), "the floor has its mirror");
    assert_eq!((stored.trial, stored.rolled_back_from), (None, None));
    assert_eq!((stored.failures.len(), stored.states.len(), stored.modules.len()), (0, 0, 1));
    append(&mut store, batch(2));
    assert_eq!(sequences(&store), [1, 2], "the books were made anew");
}

#[test]
fn the_status_can_be_read_while_an_agent_is_at_work() {
    let disk = Disk::new();
    assert!(Store::open_read_only(&disk.path()).is_err(), "it makes none");
    let mut store = disk.open();
    store.persist(&change(3, &[b"module"])).unwrap();
    store.persist_root(2, b"root", None).unwrap();
    append(&mut store, batch_of(Class::Faults, 1, 10));
    append(&mut store, batch(2));
    let mut reader = Store::open_read_only(&disk.path()).unwrap();
    assert_eq!(reader.status().unwrap(), store.status().unwrap());
    append(&mut store, batch(3));
    let status = reader.status().unwrap();
    assert_eq!(status.outbox[&Class::Samples].rows, 2, "what an agent writes meanwhile shows");
    assert_eq!((status.appended, status.trust_version, status.has_ballast), (3, 2, true));
    assert_eq!(status.floor, Some(change(3, &[]).floor));
    let error = reader.append(&only(vec![batch(4)])).unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["outbox"]["faults"]["rows"], 1);
    assert!(status.database_bytes > 0);

    // And after it, without its log.
    store.close().unwrap();
    drop(reader);
    let status = Store::open_read_only(&disk.path()).unwrap().status().unwrap();
    assert_eq!(status.appended, 3);
}

#[test]
fn a_store_that_was_never_an_agents_is_refused_and_left_as_it_is() {
    let disk = Disk::new();
    disk.tamper("CREATE TABLE notes (text TEXT)");
    let before = std::fs::read(disk.path()).unwrap();
    let error = Store::open(&disk.path()).err().unwrap();
    assert!(matches!(error, StoreError::Foreign(_)) && !error.is_damage(), "{error}");
    assert_eq!(std::fs::read(disk.path()).unwrap(), before);
    assert_eq!(std::fs::read_dir(disk.folder.path()).unwrap().count(), 1, "and nothing beside it");

    let disk = Disk::new();
    disk.tamper("PRAGMA application_id = 42; CREATE TABLE notes (text TEXT)");
    assert!(matches!(Store::open(&disk.path()).err().unwrap(), StoreError::Foreign(_)));
}
