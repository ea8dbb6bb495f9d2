//! Trust roots on a whole agent without a network, modules that are stopped between
//! two ticks, and the floor's second copy.

use gnomon_agent::planner::mirror::MIRROR_FILE;
use gnomon_agent::planner::store::Store;
use gnomon_agent_core::message::ToKeeper;
use gnomon_schemas::results::Source;
use gnomon_schemas::{Digest, Reason};
use std::fs;

use super::bench::Bench;
use super::fixture::{PATIENCE, hot, setpoint, tou};
use super::offline::Site;

#[test]
fn a_recalled_module_is_stopped_between_two_ticks_and_the_defaults_hold() {
    let mut bench = Bench::new();
    let plan =
        tou().candidate(gnomon_examples::WATER_HEATER_HOT, serde_json::json!({"asked_c": 9.0}));
    bench.put_in_force(1, &plan);
    assert_eq!(bench.hands.tick(1.0).source, Source::Active);
    let candidate = Digest::of(gnomon_examples::WATER_HEATER_HOT);
    bench.tell(&ToKeeper::Stop { modules: [candidate.clone()].into() });
    // Only the candidate was recalled: control goes on.
    assert_eq!(bench.hands.tick(1.0).source, Source::Active);
    bench.tell(&ToKeeper::Stop { modules: [Digest::of(gnomon_examples::WATER_HEATER_TOU)].into() });
    // The keeper takes one after the other: once control has ended, both are stopped.
    let mut ticks = 3;
    while bench.hands.tick(1.0).source == Source::Active {
        ticks += 1;
    }
    for _ in 0..20 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.source, got.setpoint_c), (Source::Default, 50.0));
    }
    bench.put_in_force(2, &hot(55.0));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 55.0, "another document puts it right");
    let (summaries, _) = bench.close();
    let evaluated: u64 = summaries
        .iter()
        .filter(|summary| {
            summary.function == setpoint() && summary.version.map(|v| v.get()) == Some(1)
        })
        .filter(|summary| summary.module.as_ref() == Some(&candidate))
        .map(|summary| summary.evaluations)
        .sum();
    assert!(evaluated <= ticks, "stopped, the candidate was called no more: {evaluated}");
}

#[test]
fn a_root_that_lies_in_the_folder_is_taken_kept_and_recalls_what_runs() {
    let site = Site::new();
    site.keep(3, &tou(), |_| {});
    let denied = Digest::of(gnomon_examples::WATER_HEATER_TOU);
    let next = site.fleet.next_root(|root| {
        root.denied.insert(denied.clone());
    });
    let mut config = site.fleet.config();
    config.later_roots = vec![next];
    let mut boot = site.start_with(config);
    // Never again: at the latest once the root is durable.
    let deadline = std::time::Instant::now() + PATIENCE;
    while boot.hands.tick(1.0).source != Source::Default {
        assert!(std::time::Instant::now() < deadline, "the recalled module runs on");
    }
    site.stop(boot);
    assert_eq!(site.store().stored().unwrap().roots.len(), 1);
    assert_eq!(site.store().stored().unwrap().mirror.trust_version, 2);
    // The stick is gone, the root stays.
    let mut boot = site.start();
    for _ in 0..5 {
        assert_eq!(boot.hands.tick(1.0).source, Source::Default);
    }
    site.stop(boot);
    assert!(site.reasons().contains(&Reason::ModuleDenied));
}

#[test]
fn the_mirror_outlives_the_store_and_a_damaged_one_counts_as_none() {
    let site = Site::new();
    site.keep(7, &tou(), |_| {});
    let floor = site.store().stored().unwrap().floor;
    assert!(floor.is_some());
    let mut store = site.store();
    store.keep_time(9_000).unwrap();
    store.persist_root(2, b"an envelope", None).unwrap();
    drop(store);
    for file in ["agent.db", "agent.db-wal", "agent.db-shm"] {
        let _ = fs::remove_file(site.folder.path().join(file));
    }
    let store: Store = site.store();
    let stored = store.stored().unwrap();
    assert_eq!((stored.floor, &stored.mirror.floor), (None, &floor));
    assert_eq!((stored.mirror.trust_version, store.time_floor_ms().unwrap()), (2, 9_000));
    drop(store);

    let path = site.folder.path().join(MIRROR_FILE);
    let whole = fs::read(&path).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"\xff\xfe", &[whole.as_slice(), b"x"].concat()]
    {
        fs::write(&path, damaged).unwrap();
        let mirror = site.store().stored().unwrap().mirror;
        assert!(mirror.floor.is_none() && mirror.trust_version == 0);
    }
    for at in 0..whole.len() - 1 {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(site.store().stored().unwrap().mirror.floor.is_none(), "byte {at}");
    }
}

#[test]
fn the_mirror_never_falls_behind_what_it_said() {
    let site = Site::new();
    site.keep(7, &tou(), |_| {});
    let before = site.store().stored().unwrap().mirror;
    for file in ["agent.db", "agent.db-wal", "agent.db-shm"] {
        let _ = fs::remove_file(site.folder.path().join(file));
    }
    site.store().keep_time(1).unwrap();
    assert_eq!(site.store().stored().unwrap().mirror.floor, before.floor);
}

#[test]
fn a_root_that_raises_the_epoch_takes_the_time_back_in_store_and_mirror_together() {
    let site = Site::new();
    let mut store = site.store();
    store.keep_time(9_000).unwrap();
    store.persist_root(2, b"root", None).unwrap();
    assert_eq!(store.time_floor_ms().unwrap(), 9_000, "only an epoch does that");
    // The power goes between the transaction and the mirror: it still says 9,000.
    let path = site.folder.path().join(MIRROR_FILE);
    let burnt = fs::read(&path).unwrap();
    store.persist_root(3, b"root", Some(1_000)).unwrap();
    assert_eq!(store.time_floor_ms().unwrap(), 1_000);
    fs::write(&path, &burnt).unwrap();
    assert_eq!(site.store().time_floor_ms().unwrap(), 1_000);
    site.store().keep_time(2_000).unwrap();
    assert_eq!(site.store().stored().unwrap().mirror.time_floor_ms, 2_000);
}
