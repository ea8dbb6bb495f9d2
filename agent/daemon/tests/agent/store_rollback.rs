//! What the device goes back to, and what it remembers of documents that failed: the
//! previous document with its modules and states, under a floor that stays.

use gnomon_agent::planner::store::Store;
use gnomon_agent_core::agent::{Append, Failure, Stored, Trial};
use gnomon_agent_core::message::{FunctionState, STATES_BYTES_MAX};
use gnomon_schemas::results::SlotRole;
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{BootId, Digest, Reason, Refusal};

use super::store::{Disk, change, texts};

/// The digest of the document of this version.
fn document(number: u64) -> Digest {
    change(number, &[]).floor.digest
}

fn failure(number: u64) -> Failure {
    let refusal = Refusal::new(Reason::ProbationFailed, format!("version {number}"));
    Failure { document: document(number), refusal }
}

fn trial(number: u64, starts: u32) -> Trial {
    Trial { document: document(number), session: BootId::from_random([4; 16]), starts }
}

fn state(function: &str, module: &[u8], count: i64) -> FunctionState {
    FunctionState {
        function: function.parse().unwrap(),
        module: Digest::of(module),
        role: SlotRole::Active,
        state: Values::from([("count".to_owned(), Value::Int(count.into()))]),
    }
}

fn remember(store: &mut Store, states: Vec<FunctionState>) {
    store.append(&Append { batches: vec![], states, done: None }).unwrap();
}

fn envelopes(stored: &Stored) -> (Option<&str>, Option<&str>) {
    fn text(bytes: &Option<Vec<u8>>) -> Option<&str> {
        bytes.as_ref().map(|bytes| std::str::from_utf8(bytes).unwrap())
    }
    (text(&stored.envelope), text(&stored.previous))
}

#[test]
fn a_rollback_returns_to_the_previous_document_and_the_floor_stays() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[b"first", b"shared"])).unwrap();
    let mut second = change(2, &[b"second", b"shared"]);
    second.trial = Some(trial(2, 1));
    second.floor.trust_version = 9;
    store.persist(&second).unwrap();
    let stored = store.stored().unwrap();
    assert_eq!((stored.trial, stored.envelope_trust_version), (second.trial.clone(), Some(9)));
    let mirror = stored.mirror;

    for time in 1..=2 {
        store.persist_rollback(&failure(2)).unwrap();
        let stored = disk.open().stored().unwrap();
        assert_eq!(envelopes(&stored), (Some("envelope 1"), None), "time {time}");
        assert_eq!(stored.envelope_trust_version, Some(1));
        assert_eq!(stored.rolled_back_from, Some(document(2)));
        assert_eq!((stored.floor.as_ref(), &stored.mirror), (Some(&second.floor), &mirror));
        assert_eq!((stored.trial, stored.failures), (None, vec![failure(2)]));
        let expected = [b"first".as_slice(), b"shared"].map(Digest::of);
        assert!(
            stored.modules.len() == 2 && expected.iter().all(|d| stored.modules.contains_key(d))
        );
    }
    // A newer one comes, and what was gone back to is what it would go back to.
    store.persist(&change(3, &[b"third"])).unwrap();
    let stored = store.stored().unwrap();
    assert_eq!(envelopes(&stored), (Some("envelope 3"), Some("envelope 1")));
    assert_eq!((stored.rolled_back_from, stored.failures), (None, vec![failure(2)]));
    assert!(stored.modules.contains_key(&Digest::of(b"shared")), "of the previous one");
}

#[test]
fn without_a_previous_document_a_rollback_leaves_none() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[b"first"])).unwrap();
    store.persist_rollback(&failure(1)).unwrap();
    let stored = store.stored().unwrap();
    assert_eq!(envelopes(&stored), (None, None));
    assert_eq!((stored.floor, stored.modules.len()), (Some(change(1, &[]).floor), 0));
    assert_eq!(stored.rolled_back_from, Some(document(1)));
}

#[test]
fn a_rollback_of_what_is_not_in_force_takes_nothing_with_it() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[b"first"])).unwrap();
    store.persist_rollback(&failure(7)).unwrap();
    let stored = store.stored().unwrap();
    assert_eq!(envelopes(&stored), (Some("envelope 1"), None));
    assert_eq!((stored.rolled_back_from, stored.failures), (None, vec![failure(7)]));
}

#[test]
fn a_rollback_restores_what_the_functions_remembered_before() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[b"old"])).unwrap();
    let old = [state("mode", b"kept", 7), state("setpoint", b"old", 41)];
    remember(&mut store, old.to_vec());
    store.persist(&change(2, &[b"new", b"kept"])).unwrap();
    assert_eq!(store.stored().unwrap().states, old, "until there is something newer");
    // The new module takes one state over; the other goes on.
    remember(&mut store, vec![state("setpoint", b"new", 42)]);
    let now = [old[0].clone(), state("setpoint", b"new", 42)];
    let stored = disk.open().stored().unwrap();
    assert_eq!((stored.states, stored.previous_states), (now.to_vec(), old.to_vec()));
    store.persist_rollback(&failure(2)).unwrap();
    assert_eq!(disk.open().stored().unwrap().states, old);
}

#[test]
fn the_very_document_again_keeps_what_a_rollback_would_restore() {
    let disk = Disk::new();
    let mut store = disk.open();
    store.persist(&change(1, &[])).unwrap();
    remember(&mut store, vec![state("setpoint", b"one", 1)]);
    store.persist(&change(2, &[])).unwrap();
    remember(&mut store, vec![state("setpoint", b"one", 2)]);
    store.persist(&change(2, &[])).unwrap();
    store.persist_rollback(&failure(2)).unwrap();
    let stored = store.stored().unwrap();
    assert_eq!(envelopes(&stored).0, Some("envelope 1"));
    assert_eq!(stored.states, [state("setpoint", b"one", 1)]);
}

#[test]
fn a_module_is_replaced_in_its_place_and_the_states_together_have_a_cap() {
    let disk = Disk::new();
    let mut store = disk.open();
    let candidate =
        FunctionState { role: SlotRole::Candidate, ..state("setpoint", b"candidate", 2) };
    remember(&mut store, vec![state("setpoint", b"one", 1), candidate.clone()]);
    remember(&mut store, vec![state("setpoint", b"another", 3)]);
    let states = store.stored().unwrap().states;
    assert_eq!(states, [state("setpoint", b"another", 3), candidate], "one is in control");

    let large = |function: &str, bytes: usize| FunctionState {
        state: serde_json::from_value(texts(bytes)).unwrap(),
        ..state(function, b"m", 0)
    };
    remember(&mut store, vec![large("mode", STATES_BYTES_MAX)]);
    assert_eq!(store.stored().unwrap().states.len(), 2, "over the cap by itself");
    remember(&mut store, vec![large("mode", STATES_BYTES_MAX / 2 + 1)]);
    remember(&mut store, vec![large("other", STATES_BYTES_MAX / 2 + 1)]);
    let states = store.stored().unwrap().states;
    assert_eq!(states.len(), 1, "what is no longer told makes room");
    assert_eq!(states[0].function.as_str(), "other");
}

#[test]
fn a_trial_is_kept_until_it_is_over() {
    let disk = Disk::new();
    let mut store = disk.open();
    let mut first = change(1, &[]);
    first.trial = Some(trial(1, 1));
    store.persist(&first).unwrap();
    store.keep_trial(Some(&trial(1, 3))).unwrap();
    assert_eq!(disk.open().stored().unwrap().trial, Some(trial(1, 3)));
    store.keep_trial(None).unwrap();
    assert_eq!(disk.open().stored().unwrap().trial, None);
}

#[test]
fn the_last_eight_failures_are_kept_and_each_document_once() {
    let disk = Disk::new();
    let mut store = disk.open();
    (1..=10).for_each(|number| store.keep_failure(&failure(number)).unwrap());
    store.keep_failure(&failure(4)).unwrap();
    let expected: Vec<Failure> = [3, 5, 6, 7, 8, 9, 10, 4].map(failure).into();
    assert_eq!(disk.open().stored().unwrap().failures, expected);
}
