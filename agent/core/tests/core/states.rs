//! What functions remember: on its way to the store, and back to a keeper that starts.

use gnomon_agent_core::Event;
use gnomon_agent_core::message::{Done, FromKeeper, FunctionState, STATES_BYTES_MAX};
use gnomon_schemas::document::Document;
use gnomon_schemas::reported::State;
use gnomon_schemas::results::SlotRole;
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Digest, FunctionName};
use std::slice::from_ref;

use super::bench::{Bench, prepares};
use super::fixture::{Fleet, session, setpoint, version};

fn state_of(function: &FunctionName, module: &[u8], role: SlotRole, value: Value) -> FunctionState {
    let (function, module) = (function.clone(), Digest::of(module));
    FunctionState { function, module, role, state: Values::from([("calls".into(), value)]) }
}

fn calls(module: &[u8], role: SlotRole, calls: i128) -> FunctionState {
    state_of(&setpoint(), module, role, Value::Int(calls))
}

fn tell(bench: &mut Bench, states: Vec<FunctionState>) {
    let done = Done { number: 1, summaries: vec![], records: vec![], states };
    bench.hear(Event::Keeper(FromKeeper::Done(Box::new(done))));
}

/// The states that come with the next document.
fn told(bench: &mut Bench, fleet: &Fleet, document: &Document) -> Vec<FunctionState> {
    prepares(&bench.hear_document(fleet, document)).pop().unwrap().states
}

#[test]
fn states_travel_into_the_preparation_of_the_next_document_and_of_the_next_start() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document_inline(1, b"module");
    bench.prove(&fleet, &document);
    let [old, new] = [3, 4].map(|number| calls(b"module", SlotRole::Active, number));
    tell(&mut bench, vec![old]);
    tell(&mut bench, vec![new.clone()]);
    assert_eq!(bench.stored.states, from_ref(&new), "in the place of what it was");
    let restarted = fleet.bench_in(&session(2), bench.stored.clone());
    assert_eq!(prepares(&restarted.started)[0].states, from_ref(&new));
    assert_eq!(told(&mut bench, &fleet, &fleet.document(2)), [new]);
}

#[test]
fn one_module_is_in_control_at_a_time_and_so_is_one_state() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.prove(&fleet, &fleet.document_inline(1, b"one"));
    tell(&mut bench, vec![calls(b"one", SlotRole::Active, 3)]);
    let two = fleet.document_inline(2, b"two");
    bench.run_document(&fleet, &two);
    let of_two = calls(b"two", SlotRole::Active, 1);
    tell(&mut bench, vec![of_two.clone()]);
    assert_eq!(told(&mut bench, &fleet, &fleet.document_inline(3, b"three")), [of_two]);
}

#[test]
fn a_rollback_restores_what_was_remembered_before() {
    let fleet = Fleet::new();
    let (good, new) = (fleet.document_inline(1, b"good"), fleet.document_inline(2, b"new"));
    let before = calls(b"good", SlotRole::Active, 7);
    for is_restarted in [false, true] {
        let mut bench = fleet.bench();
        bench.prove(&fleet, &good);
        tell(&mut bench, vec![before.clone()]);
        bench.run_document(&fleet, &new);
        tell(&mut bench, vec![calls(b"new", SlotRole::Active, 1)]);
        if is_restarted {
            bench = fleet.bench_in(&session(2), bench.stored);
            assert_eq!(prepares(&bench.started)[0].states[0].module, Digest::of(b"new"));
            let effects = bench.run(fleet.rolled_back(&new, None));
            assert_eq!(prepares(&effects)[0].states, from_ref(&before));
        } else {
            bench.run(fleet.rolled_back(&new, Some(&good)));
        }
        assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
        assert_eq!(told(&mut bench, &fleet, &fleet.document(3)), from_ref(&before));
    }
}

#[test]
fn too_many_starts_restore_what_was_remembered_before() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.prove(&fleet, &fleet.document_inline(1, b"good"));
    let before = calls(b"good", SlotRole::Active, 7);
    tell(&mut bench, vec![before.clone()]);
    bench.run_document(&fleet, &fleet.document_inline(2, b"new"));
    tell(&mut bench, vec![calls(b"new", SlotRole::Active, 1)]);
    for start in 2..=4 {
        bench = fleet.bench_in(&session(start), bench.stored);
    }
    let [prepare] = &prepares(&bench.started)[..] else { panic!("{:?}", bench.started) };
    assert_eq!((prepare.document.version, &prepare.states), (version(1), &vec![before]));
}

#[test]
fn candidates_that_have_no_place_any_more_are_forgotten() {
    let fleet = Fleet::new();
    let mut document = fleet.document_inline(1, b"module");
    let beside = fleet.document_inline(1, b"beside");
    document.modules.extend(beside.modules);
    let slot = beside.functions[&setpoint()].active.clone().unwrap();
    document.functions.get_mut(&setpoint()).unwrap().candidates.push(slot);
    let mut bench = fleet.bench();
    bench.prove(&fleet, &document);
    let active = calls(b"module", SlotRole::Active, 3);
    let candidate = calls(b"beside", SlotRole::Candidate, 2);
    tell(&mut bench, vec![active.clone(), candidate.clone()]);
    document.version = version(2);
    assert_eq!(told(&mut bench, &fleet, &document), [active.clone(), candidate]);
    bench.run(fleet.prepared(&document));
    bench.run_document(&fleet, &fleet.document_inline(3, b"module"));
    assert_eq!(told(&mut bench, &fleet, &fleet.document(4)), [active]);
}

#[test]
fn states_never_outgrow_the_frame_and_those_in_control_stay_longest() {
    let fleet = Fleet::new();
    let mut document = fleet.document_inline(1, b"module");
    let beside: Vec<Vec<u8>> = (0..4_u8).map(|number| vec![number; 9]).collect();
    for bytes in &beside {
        let other = fleet.document_inline(1, bytes);
        document.modules.extend(other.modules);
        let slot = other.functions[&setpoint()].active.clone().unwrap();
        document.functions.get_mut(&setpoint()).unwrap().candidates.push(slot);
    }
    let mut bench = fleet.bench();
    bench.prove(&fleet, &document);
    let heavy = || Value::Text("x".repeat(STATES_BYTES_MAX / 3));
    let active = state_of(&setpoint(), b"module", SlotRole::Active, heavy());
    tell(&mut bench, vec![active.clone()]);
    for bytes in &beside {
        tell(&mut bench, vec![state_of(&setpoint(), bytes, SlotRole::Candidate, heavy())]);
    }
    let states = told(&mut bench, &fleet, &Document { version: version(2), ..document });
    let bytes: usize =
        states.iter().map(|known| serde_json::to_vec(&known.state).unwrap().len()).sum();
    assert!(bytes <= STATES_BYTES_MAX && states.len() == 2, "{bytes} bytes");
    assert!(states.contains(&active));
    assert_eq!(states[1].module, Digest::of(&beside[3]), "and the newest beside it");
}
