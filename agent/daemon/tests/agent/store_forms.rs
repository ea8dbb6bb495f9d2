//! Stores of every form that a release left, kept as SQL in `forms/`: an older one is
//! taken over with all that is in it, a newer one is refused and stays as it is.

use gnomon_agent::planner::store::{Store, StoreError};
use gnomon_agent_core::agent::Failure;
use gnomon_schemas::results::Class;
use gnomon_schemas::{Digest, Reason, Refusal};
use rusqlite::Connection;

use super::store::{Disk, append, batch, change, outbox, sequences};

const FORM_1: &str = include_str!("forms/1.sql");
const FORM_2: &str = include_str!("forms/2.sql");
const FORM_3: &str = include_str!("forms/3.sql");

/// A disk with this store, as a power cut leaves it: its log beside it.
fn disk_of(sql: &str) -> Disk {
    let disk = Disk::new();
    disk.tamper(&format!("PRAGMA journal_mode = WAL; {sql}"));
    disk
}

/// Tables and columns, without the way in which they came to be.
fn tables(disk: &Disk) -> Vec<(String, String, String, i64)> {
    let connection = Connection::open(disk.path()).unwrap();
    let columns = "SELECT t.name, c.name, c.type, c.pk
        FROM pragma_table_list AS t, pragma_table_xinfo(t.name) AS c
        WHERE t.name NOT LIKE 'sqlite%' ORDER BY t.name, c.cid";
    let mut rows = connection.prepare(columns).unwrap();
    let rows = rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn stores_of_older_forms_are_taken_over_with_all_that_is_in_them() {
    for (form, sql) in [(1, FORM_1), (2, FORM_2)] {
        let disk = disk_of(sql);
        let read_only = Store::open_read_only(&disk.path()).err().unwrap();
        assert!(matches!(read_only, StoreError::Older(older) if older == form), "{read_only}");
        let mut store = disk.open();
        let mut floor = change(7, &[]).floor;
        floor.trust_version = form.unsigned_abs().into();
        let stored = store.stored().unwrap();
        assert_eq!(stored.floor.as_ref(), Some(&floor));
        assert_eq!(stored.envelope.as_deref(), Some(&b"envelope 7"[..]));
        assert_eq!(stored.envelope_trust_version, Some(floor.trust_version));
        assert_eq!(stored.previous.as_deref(), Some(&b"envelope 6"[..]));
        assert_eq!(stored.roots.len(), usize::from(form == 2));
        assert_eq!((stored.modules.len(), store.time_floor_ms().unwrap()), (3, 1_007));
        // A refusal, a summary, a record: told again is what was dropped before.
        assert_eq!(sequences(&store), [3, 2, 1]);
        append(&mut store, batch(4));
        let told: Vec<u64> = outbox(&store).iter().map(|batch| batch.dropped_batches).collect();
        assert_eq!(told, [0, 2, 0, 5]);
        assert_eq!(store.status().unwrap().outbox[&Class::Samples].rows, 2);

        let refusal = Refusal::new(Reason::ProbationFailed, "");
        store.persist_rollback(&Failure { document: floor.digest, refusal }).unwrap();
        let stored = disk.open().stored().unwrap();
        assert_eq!(stored.envelope.as_deref(), Some(&b"envelope 6"[..]));
        let shared = stored.modules.contains_key(&Digest::of(b"shared"));
        assert!(shared && stored.modules.contains_key(&Digest::of(b"two")));
    }
}

#[test]
fn every_way_leads_to_the_same_tables() {
    let new = Disk::new();
    drop(new.open());
    for sql in [FORM_1, FORM_2, FORM_3] {
        let disk = disk_of(sql);
        drop(disk.open());
        assert_eq!(tables(&disk), tables(&new));
    }
}

#[test]
fn a_store_of_this_form_holds_what_it_says() {
    let disk = disk_of(FORM_3);
    let mut store = disk.open();
    let stored = store.stored().unwrap();
    assert_eq!(stored.envelope.as_deref(), Some(&b"envelope 7"[..]));
    assert_eq!(stored.previous.as_deref(), Some(&b"envelope 6"[..]));
    assert_eq!(stored.floor, Some(change(8, &[]).floor), "of the document that failed");
    assert_eq!(stored.rolled_back_from, Some(change(8, &[]).floor.digest));
    assert_eq!(stored.failures[0].refusal.reason, Reason::ProbationFailed);
    assert_eq!(stored.trial.map(|trial| trial.starts), Some(2));
    assert_eq!((stored.modules.len(), stored.states.len(), stored.roots.len()), (3, 1, 1));
    assert_eq!(sequences(&store), [3, 2, 1]);
    append(&mut store, batch(4));
    assert_eq!(outbox(&store).pop().unwrap().dropped_batches, 5);
    assert_eq!(store.status().unwrap().appended, 9);
}

#[test]
fn a_store_that_cannot_be_taken_over_now_is_left_for_later() {
    let disk = disk_of(FORM_2);
    let other = Connection::open(disk.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = Store::open(&disk.path()).err().unwrap();
    assert!(error.to_string().contains("locked"), "{error}");
    drop(other);
    assert_eq!(sequences(&disk.open()), [3, 2, 1]);
}

#[test]
fn a_store_that_can_never_be_taken_over_is_put_aside() {
    let disk = disk_of(FORM_2);
    // What the next form needs is taken.
    disk.tamper("CREATE TABLE failure (x)");
    let store = disk.open();
    assert!(store.was_rebuilt().unwrap().contains("already exists"));
    assert!(store.stored().unwrap().envelope.is_none());
    assert!(disk.folder.path().join("agent.db.damaged-1").is_file());
}

/// A database in the middle of a transaction, as a power cut leaves it: a part of it is
/// written, and its journal lies beside it. `before` is what there was until then.
fn cut_in_a_transaction(before: &Disk) -> (Disk, [Vec<u8>; 2]) {
    let connection = Connection::open(before.path()).unwrap();
    connection
        .execute_batch(
            "PRAGMA cache_size = 1; BEGIN; CREATE TABLE half (bytes BLOB);
             WITH RECURSIVE number (n) AS (VALUES (1) UNION SELECT n + 1 FROM number LIMIT 50)
             INSERT INTO half SELECT randomblob(3000) FROM number;",
        )
        .unwrap();
    let cut = Disk::new();
    let files = ["agent.db", "agent.db-journal"].map(|name| {
        let bytes = std::fs::read(before.folder.path().join(name)).unwrap();
        std::fs::write(cut.folder.path().join(name), &bytes).unwrap();
        bytes
    });
    assert!(files[0].len() > 3_000 && files[1].len() > 100);
    (cut, files)
}

#[test]
fn a_file_that_is_not_ours_keeps_its_journal_too() {
    let (foreign, named) = (Disk::new(), Disk::new());
    foreign.tamper("CREATE TABLE notes (text TEXT)");
    named.tamper("PRAGMA application_id = 42; CREATE TABLE notes (text TEXT)");
    let newer = Disk::new();
    newer.open().close().unwrap();
    newer.tamper("PRAGMA journal_mode = DELETE; PRAGMA user_version = 4");
    for before in [foreign, named, newer] {
        let (cut, files) = cut_in_a_transaction(&before);
        let error = Store::open(&cut.path()).err().unwrap();
        let is_refused = matches!(error, StoreError::Foreign(_) | StoreError::Newer(4));
        assert!(is_refused && !error.is_damage(), "{error}");
        let left = ["agent.db", "agent.db-journal"]
            .map(|name| std::fs::read(cut.folder.path().join(name)).unwrap());
        assert!(left == files, "{error}: the file has changed");
    }
}

#[test]
fn a_journal_of_our_own_file_or_of_one_that_was_nobodys_is_played_back() {
    let ours = Disk::new();
    let mut store = ours.open();
    append(&mut store, batch(1));
    store.close().unwrap();
    ours.tamper("PRAGMA journal_mode = DELETE");
    let (cut, _) = cut_in_a_transaction(&ours);
    assert_eq!(sequences(&cut.open()), [1]);

    let (cut, _) = cut_in_a_transaction(&Disk::new());
    let store = cut.open();
    assert_eq!((store.was_rebuilt(), store.waiting_count().unwrap()), (None, 0));
    assert!(tables(&cut).iter().all(|(table, ..)| table != "half"));
}

#[test]
fn a_store_of_a_later_form_is_refused_and_left_as_it_is() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[])).unwrap();
    let kept = disk.open();
    disk.tamper("PRAGMA user_version = 4; CREATE TABLE later (x)");
    // Its log too: it is not written back by the mere looking.
    let files = |disk: &Disk| {
        ["agent.db", "agent.db-wal"].map(|name| std::fs::read(disk.folder.path().join(name)).ok())
    };
    let copy = Disk::new();
    for (name, bytes) in ["agent.db", "agent.db-wal"].into_iter().zip(files(&disk)) {
        std::fs::write(copy.folder.path().join(name), bytes.unwrap()).unwrap();
    }
    drop((store, kept));
    let before = files(&copy);
    let error = Store::open(&copy.path()).err().unwrap();
    assert!(matches!(error, StoreError::Newer(4)) && !error.is_damage(), "{error}");
    assert!(error.to_string().contains("newer agent"), "{error}");
    assert!(matches!(Store::open_read_only(&copy.path()).err().unwrap(), StoreError::Newer(4)));
    assert_eq!(files(&copy), before);
}
