//! A full disk and a damaged database: what matters still goes through, nothing is
//! taken for whole that is not, and the floor holds.

use gnomon_agent::planner::store::{BALLAST_BYTES, BALLAST_FILE, Store, StoreError};
use gnomon_agent_core::agent::{Failure, Trial};
use gnomon_schemas::results::Class;
use gnomon_schemas::{BootId, Reason, Refusal};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use super::small_disk::{self, bytes_in, fill};
use super::store::{Disk, append, batch, batch_of, boot, change, only, sequences, waiting};

/// What R16 of the security brief allows on disk.
const DISK_BYTES_MAX: u64 = 64 * 1024 * 1024;

type Transition = &'static dyn Fn(&mut Store) -> Result<(), StoreError>;
type Tamper<'a> = &'a dyn Fn(&Path);

fn failure(number: u64) -> Failure {
    let refusal = Refusal::new(Reason::ProbationFailed, "");
    Failure { document: change(number, &[]).floor.digest, refusal }
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Databases that were put aside, without what lies beside them.
fn damaged(disk: &Disk) -> Vec<String> {
    let is_it = |name: &String| name.contains("damaged") && !name.ends_with("-shm");
    let names = names(disk.folder.path()).into_iter().filter(is_it);
    names.filter(|name| !name.ends_with("-wal")).collect()
}

/// Appends until the store has no more room; gives the last sequence that it took.
fn append_until_full(store: &mut Store, from: u64) -> u64 {
    for sequence in from..100_000 {
        if let Err(error) = store.append(&only(vec![batch_of(Class::Samples, sequence, 3_000)])) {
            assert!(error.to_string().contains("full"), "{error}");
            return sequence - 1;
        }
    }
    panic!("the disk is not full");
}

#[test]
fn on_a_full_disk_what_matters_goes_through_and_the_rest_follows_when_there_is_room() {
    let name = "agent::store_faults::\
                on_a_full_disk_what_matters_goes_through_and_the_rest_follows_when_there_is_room";
    small_disk::run(name, |disk| {
        let ballast = disk.join(BALLAST_FILE);
        let has_ballast = || fs::metadata(&ballast).is_ok_and(|f| f.len() == BALLAST_BYTES as u64);
        let mut store = Store::open(&disk.join("agent.db")).unwrap();
        assert!(has_ballast());
        store.persist(&change(1, &[b"first"])).unwrap();
        store.persist(&change(2, &[b"second"])).unwrap();
        append(&mut store, batch(1));
        // Each of these meets a disk that is full to the last byte, and its ballast.
        let steps: [(&str, Transition); 7] = [
            ("go back", &|store| store.persist_rollback(&failure(2))),
            ("delete", &|store| {
                let all = sequences(store);
                store.delete(&boot(), &all).map(|_| ())
            }),
            ("trial", &|store| {
                let session = BootId::from_random([7; 16]);
                let document = change(1, &[]).floor.digest;
                store.keep_trial(Some(&Trial { document, session, starts: 2 }))
            }),
            ("failure", &|store| store.keep_failure(&failure(9))),
            ("root", &|store| store.persist_root(2, &[7; 16_000], None)),
            ("persist", &|store| store.persist(&change(3, &[b"third"]))),
            ("go back again", &|store| store.persist_rollback(&failure(3))),
        ];
        let mut sequence = 1;
        for (step, perform) in steps {
            let filling = fill(disk);
            // What is free in the database's own files is used up first.
            sequence = append_until_full(&mut store, sequence + 1);
            fill(disk);
            assert!(has_ballast(), "{step}: what can wait does not take it");
            perform(&mut store).unwrap_or_else(|error| panic!("{step}: {error}"));
            let kept: Vec<u64> = sequences(&store);
            let is_last = kept.is_empty() || kept.last() == Some(&sequence);
            assert!(is_last && kept.is_empty() == (step == "delete"), "{step}: a result is lost");
            fs::remove_file(filling).unwrap();
            store.delete(&boot(), &kept).unwrap();
            append(&mut store, batch(sequence + 1));
            sequence += 1;
            assert!(has_ballast(), "{step}: made again where there is room");
        }
        let stored = store.stored().unwrap();
        assert_eq!(stored.envelope.as_deref(), Some(&b"envelope 1"[..]));
        assert_eq!(stored.mirror.floor, Some(change(3, &[]).floor), "the mirror, too");
        assert_eq!((stored.failures.len(), stored.roots.len()), (3, 1));
    });
}

#[test]
fn the_time_does_not_spend_the_ballast_that_a_document_may() {
    let name = "agent::store_faults::the_time_does_not_spend_the_ballast_that_a_document_may";
    small_disk::run(name, |disk| {
        let has_ballast = || disk.join(BALLAST_FILE).exists();
        let mut store = Store::open(&disk.join("agent.db")).unwrap();
        store.persist(&change(1, &[b"first"])).unwrap();
        fill(disk);
        append_until_full(&mut store, 1);
        fill(disk);
        let error = store.keep_time(9_000_000).unwrap_err();
        assert!(has_ballast(), "{error}");
        store.persist(&change(2, &[b"second"])).unwrap();
        assert!(!has_ballast());
        assert_eq!(store.stored().unwrap().envelope.as_deref(), Some(&b"envelope 2"[..]));
    });
}

#[test]
fn on_a_full_disk_what_is_acknowledged_is_taken_out_and_nothing_is_dropped() {
    let name = "agent::store_faults::\
                on_a_full_disk_what_is_acknowledged_is_taken_out_and_nothing_is_dropped";
    small_disk::run(name, |disk| {
        let mut store = Store::open(&disk.join("agent.db")).unwrap();
        (1..=40).for_each(|number| append(&mut store, batch_of(Class::Samples, number, 3_000)));
        let filling = fill(disk);
        let last = append_until_full(&mut store, 41);
        fill(disk);
        let acknowledged: Vec<u64> = (1..=20).collect();
        store.acknowledge(&boot(), &acknowledged, Instant::now()).unwrap();
        // Whether there is room for this now, or only for the deletion before it.
        let _ = store.append(&only(vec![batch_of(Class::Samples, last + 1, 3_000)]));
        let reader = Store::open_read_only(&disk.join("agent.db")).unwrap();
        assert_eq!(sequences(&reader).first(), Some(&21));
        drop(reader);
        fs::remove_file(filling).unwrap();
        append(&mut store, batch_of(Class::Samples, last + 1, 3_000));
        assert_eq!(sequences(&store), (21..=last + 1).collect::<Vec<_>>());
        assert_eq!(store.status().unwrap().dropped.batches, 0);
    });
}

#[test]
fn an_agent_starts_on_a_full_disk() {
    small_disk::run("agent::store_faults::an_agent_starts_on_a_full_disk", |disk| {
        let path = disk.join("agent.db");
        let mut store = Store::open(&path).unwrap();
        store.persist(&change(1, &[b"first"])).unwrap();
        append(&mut store, batch(1));
        store.close().unwrap();
        let filling = fill(disk);
        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.stored().unwrap().envelope.as_deref(), Some(&b"envelope 1"[..]));
        assert_eq!(sequences(&store), [1]);
        assert!(store.was_rebuilt().is_none());
        fs::remove_file(filling).unwrap();
        append(&mut store, batch(2));
        assert!(store.status().unwrap().has_ballast);
    });
}

#[test]
fn a_store_that_closed_in_order_and_one_that_was_cut_off_are_both_opened_whole() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[b"first"])).unwrap();
    store.close().unwrap();
    assert!(names(disk.folder.path()).contains(&"agent.db.clean".to_owned()));
    let store = disk.open();
    assert!(!names(disk.folder.path()).contains(&"agent.db.clean".to_owned()));
    drop(store);
    assert_eq!(disk.open().stored().unwrap().modules.len(), 1);
}

/// A store with a floor in its mirror, cut off.
fn cut_off() -> Disk {
    let disk = Disk::new();
    let mut store = disk.open();
    store.keep_time(9_000).unwrap();
    store.persist_root(2, b"root", None).unwrap();
    store.persist(&change(7, &[&[3; 9_000]])).unwrap();
    store.keep_time(9_000).unwrap();
    (1..=40).for_each(|sequence| append(&mut store, batch_of(Class::Samples, sequence, 2_000)));
    disk
}

/// Opens a damaged store: it is made anew above the floor, and says so.
fn open_rebuilt(disk: &Disk) -> Store {
    let mut store = disk.open();
    let why = store.was_rebuilt().expect("it was taken for whole");
    let stored = store.stored().unwrap();
    assert_eq!(stored.damaged.as_ref(), Some(&why));
    assert!(stored.envelope.is_none() && stored.modules.is_empty(), "{why}");
    assert_eq!(stored.mirror.floor, Some(change(7, &[]).floor));
    assert_eq!((stored.mirror.trust_version, store.time_floor_ms().unwrap()), (2, 9_000));
    store.persist(&change(8, &[b"next"])).unwrap();
    store
}

#[test]
fn a_database_that_cannot_be_read_is_put_aside_and_made_anew_above_the_floor() {
    let garbage = b"a letter to my aunt, not a database. ".repeat(400);
    let tampers: [(&str, Tamper<'_>); 5] = [
        ("garbage", &|path| fs::write(path, &garbage).unwrap()),
        ("cut", &|path| {
            fs::File::options().write(true).open(path).unwrap().set_len(20_000).unwrap();
        }),
        ("its first page", &|path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.write_all_at(&[0xff; 100], 0).unwrap();
        }),
        ("a page", &|path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            let pages = file.metadata().unwrap().len() / 1024;
            (4..pages).for_each(|page| file.write_all_at(&[0xff; 64], page * 1024).unwrap());
        }),
        ("its application id", &|path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.write_all_at(&[1, 2, 3, 4], 68).unwrap();
        }),
    ];
    for (what, tamper) in tampers {
        let disk = cut_off();
        tamper(&disk.path());
        drop(open_rebuilt(&disk));
        assert_eq!(damaged(&disk), ["agent.db.damaged-1"], "{what}");
        let store = disk.open();
        assert_eq!(store.stored().unwrap().envelope.as_deref(), Some(&b"envelope 8"[..]));
    }
}

#[test]
fn a_bit_that_rotted_in_a_row_costs_that_row_and_never_the_start() {
    let disk = cut_off();
    let tampered = |sql: &str| {
        disk.tamper(sql);
        let store = disk.open();
        assert_eq!(store.was_rebuilt(), None, "{sql}");
        store.stored().unwrap();
        store
    };
    // No text in any encoding.
    let rotten = "CAST(x'ff00fe' AS TEXT)";
    for name in ["floor", "time_floor_ms", "outbox"] {
        tampered(&format!("INSERT OR REPLACE INTO fact VALUES ('{name}', {rotten})"));
    }
    tampered(&format!("INSERT INTO failure (document, refusal) VALUES ({rotten}, {rotten})"));
    tampered(&format!("INSERT INTO state VALUES ('current', {rotten}, 'x', 'active', {rotten})"));
    tampered(&format!("INSERT INTO module VALUES ({rotten}, x'00')"));
    tampered(&format!("INSERT INTO document VALUES ({rotten}, x'00', {rotten}, 1)"));
    let mut store =
        tampered(&format!("UPDATE document SET digest = {rotten} WHERE slot = 'current'"));
    store.persist(&change(8, &[b"eight"])).unwrap();
    store.persist_rollback(&failure(8)).unwrap();
    assert_eq!(store.stored().unwrap().envelope.as_deref(), Some(&b"envelope 7"[..]));
}

#[test]
fn missing_tables_are_damage() {
    for table in ["fact", "trust_root", "failure"] {
        let disk = cut_off();
        disk.tamper(&format!("DROP TABLE {table}"));
        drop(open_rebuilt(&disk));
    }
}

#[test]
fn a_database_that_is_gone_is_told_of_because_its_mirror_remembers() {
    let disk = cut_off();
    fs::remove_file(disk.path()).unwrap();
    drop(open_rebuilt(&disk));
    assert!(damaged(&disk).is_empty());
    let disk = Disk::new();
    let fresh = disk.open();
    assert_eq!(fresh.was_rebuilt(), None);
}

#[test]
fn at_most_two_damaged_databases_are_kept_and_never_more_than_a_little_of_each() {
    let disk = Disk::new();
    for _ in 0..4 {
        drop(disk.open());
        fs::write(disk.path(), vec![b'x'; 20 * 1024 * 1024]).unwrap();
        fs::write(disk.folder.path().join("agent.db-wal"), b"x").unwrap();
    }
    drop(disk.open());
    assert_eq!(damaged(&disk), ["agent.db.damaged-3", "agent.db.damaged-4"]);
    assert!(bytes_in(disk.folder.path()) < 8 * 1024 * 1024);
}

#[test]
fn damage_that_shows_while_the_agent_runs_is_known_as_such_and_healed_by_the_next_start() {
    let disk = cut_off();
    disk.open().close().unwrap();
    // Closed in order, it is not looked at whole.
    disk.rot("outbox");
    let mut store = disk.open();
    assert_eq!(store.was_rebuilt(), None);
    assert!(store.stored().unwrap().envelope.is_some(), "the rest can be read");
    let errors = [store.append(&only(vec![batch(99)])).err(), store.delete(&boot(), &[1]).err()];
    let is_damage = |error: &Option<StoreError>| error.as_ref().is_some_and(StoreError::is_damage);
    assert!(errors.iter().all(is_damage), "{errors:?}");
    drop(store);
    drop(open_rebuilt(&disk));
}

#[test]
fn a_missing_log_is_no_damage_but_what_the_mirror_says_stands() {
    let disk = cut_off();
    let mut store = disk.open();
    store.persist(&change(8, &[])).unwrap();
    let database = fs::read(disk.path()).unwrap();
    drop(store);
    for part in ["-wal", "-shm"] {
        let _ = fs::remove_file(disk.folder.path().join(format!("agent.db{part}")));
    }
    fs::write(disk.path(), database).unwrap();
    let stored = disk.open().stored().unwrap();
    assert_eq!(stored.floor, Some(change(7, &[]).floor));
    assert_eq!(stored.mirror.floor, Some(change(8, &[]).floor), "the core takes the higher");
}

#[test]
fn the_files_stay_small_under_years_of_appends_and_deletions() {
    let disk = Disk::new();
    let mut store = disk.open();
    let module = |number: u8| vec![number; 4 * 1024 * 1024];
    let (mut sequence, mut largest) = (0, 0);
    let mut random = 7_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let classes = [Class::Faults, Class::Summaries, Class::Samples];
    for round in 0..6_u8 {
        // Long offline: far more than fits, of every size, then a part is acknowledged.
        let mut bytes = 0;
        while bytes < 28 * 1024 * 1024 {
            let batches = (0..40).map(|_| {
                sequence += 1;
                let filling = if next(10) == 0 { next(60_000) } else { next(2_500) };
                batch_of(classes[usize::try_from(next(3)).unwrap()], sequence, filling as usize)
            });
            let batches: Vec<_> = batches.collect();
            bytes += batches.iter().map(|b| serde_json::to_vec(b).unwrap().len()).sum::<usize>();
            store.append(&only(batches)).unwrap();
            largest = largest.max(bytes_in(disk.folder.path()));
        }
        store.persist(&change(u64::from(round) + 1, &[&module(round)])).unwrap();
        largest = largest.max(bytes_in(disk.folder.path()));
        let acknowledged: Vec<u64> =
            sequences(&store).into_iter().filter(|sequence| sequence % 3 != 0).collect();
        store.delete(&boot(), &acknowledged).unwrap();
    }
    println!("largest: {largest} bytes");
    assert!(largest < DISK_BYTES_MAX, "{largest}");
    let all = sequences(&store);
    store.delete(&boot(), &all).unwrap();
    // A little of it with each transition.
    for number in 0..60 {
        store.persist(&change(90 + number % 2, &[])).unwrap();
    }
    store.close().unwrap();
    let left = bytes_in(disk.folder.path());
    assert!(left < 4 * 1024 * 1024, "what is free is given back: {left}");
}

#[test]
fn a_database_at_its_own_cap_gives_way_instead_of_failing() {
    let disk = Disk::new();
    let mut store = disk.open();
    // Roots are never deleted: they take what the outbox would have.
    for version in 2..470 {
        store.persist_root(version, &[1; 60_000], None).unwrap();
    }
    let mut last = 0;
    for sequence in 1..=2_000 {
        append(&mut store, batch_of(Class::Samples, sequence, 9_000));
        last = sequence;
    }
    assert_eq!(waiting(&store).last().map(|(sequence, _)| *sequence), Some(last));
    let status = store.status().unwrap();
    assert!(status.dropped.batches > 0);
    assert!(status.database_bytes < 52 * 1024 * 1024, "{}", status.database_bytes);
    let told: u64 = waiting(&store).iter().map(|(_, dropped)| dropped).sum();
    assert_eq!(told + status.dropped_untold, status.dropped.batches);
}

#[test]
fn a_log_that_cannot_be_emptied_does_not_fill_the_disk() {
    let disk = Disk::new();
    let mut store = disk.open();
    append(&mut store, batch(1));
    // Somebody looks, and never stops looking.
    let reader = rusqlite::Connection::open(disk.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM outbox").unwrap();
    let mut refused = None;
    for sequence in 2..3_000 {
        let batches = vec![batch_of(Class::Samples, sequence, 50_000)];
        if let Err(error) = store.append(&only(batches)) {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(StoreError::LogFull)), "{refused:?}");
    assert!(bytes_in(disk.folder.path()) < DISK_BYTES_MAX);
    drop(reader);
    append(&mut store, batch(9_999));
}
