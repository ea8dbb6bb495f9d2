//! What was done: numbered batches, acknowledgements, and the digests that really ran.

use gnomon_agent_core::Event;
use gnomon_agent_core::agent::{Append, Effect};
use gnomon_agent_core::message::{Done, FromKeeper, FunctionState};
use gnomon_agent_core::tally::{Cost, Tally};
use gnomon_schemas::ack::{Ack, AckSchema};
use gnomon_schemas::document::Reporting;
use gnomon_schemas::results::{Class, Record, SlotRole};
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{BootId, Digest, Reason};
use std::collections::BTreeSet;

use super::bench::{Bench, names, reasons};
use super::fixture::{Fleet, Signer, seal_by, session, setpoint};

fn ack(fleet: &Fleet) -> Ack {
    Ack {
        schema: AckSchema::V1,
        fleet: fleet.identity.fleet.clone(),
        device: fleet.identity.device.clone(),
        boot: BootId::from_random([3; 16]),
        sequences: vec![1, 2, 9],
    }
}

#[test]
fn an_ack_of_the_director_for_this_device_deletes() {
    let fleet = Fleet::new();
    let effects = fleet.bench().hear(Event::Ack(fleet.seal(&ack(&fleet))));
    let expected = Effect::Delete(BootId::from_random([3; 16]), vec![1, 2, 9]);
    assert_eq!(effects, [expected, Effect::Send]);
}

#[test]
fn no_other_ack_deletes() {
    let fleet = Fleet::new();
    let mut other_device = ack(&fleet);
    other_device.device = "heater-002".parse().unwrap();
    let mut other_fleet = ack(&fleet);
    other_fleet.fleet = "other".parse().unwrap();
    for (bytes, reason) in [
        (fleet.seal(&other_device), Reason::WrongDevice),
        (fleet.seal(&other_fleet), Reason::WrongDevice),
        (seal_by(&Signer::ed25519(), &ack(&fleet)), Reason::ThresholdNotMet),
        (fleet.seal(&fleet.document(1)), Reason::WrongPayloadType),
        (serde_json::to_vec(&ack(&fleet)).unwrap(), Reason::SchemaViolation),
    ] {
        let effects = fleet.bench().hear(Event::Ack(bytes));
        assert_eq!(reasons(&effects), [reason]);
        assert!(!names(&effects).contains(&"delete".into()));
    }
}

#[test]
fn an_ack_is_no_document() {
    let fleet = Fleet::new();
    let effects = fleet.bench().hear(Event::Document(fleet.seal(&ack(&fleet))));
    assert_eq!(reasons(&effects), [Reason::WrongPayloadType]);
}

/// What one evaluation leads to: a summary and a record.
fn done(module: &[u8], role: SlotRole) -> Event {
    said(1, module, role, vec![])
}

fn said(number: u64, module: &[u8], role: SlotRole, states: Vec<FunctionState>) -> Event {
    let digest = Digest::of(module);
    let reporting = Reporting { record_every: 1, ..Reporting::default() };
    let mut tally = Tally::new(setpoint(), Some(digest.clone()), role, None, reporting);
    tally.tick(1);
    let record = Record {
        at_ms: 1,
        tick: 1,
        function: setpoint(),
        module: digest,
        role,
        inputs: Values::new(),
        params: Values::new(),
        state: None,
        outputs: None,
        actuated: None,
        fault: None,
        fuel: Some(1),
        time_us: 1,
    };
    tally.evaluated(record, Cost::default(), 0.0);
    let (summary, records) = tally.take();
    let done = Done { number, summaries: vec![summary], records, states };
    Event::Keeper(FromKeeper::Done(Box::new(done)))
}

fn appended(effects: &[Effect]) -> &Append {
    let [Effect::Append(append), Effect::Send] = effects else { panic!("{effects:?}") };
    append
}

fn executed(bench: &mut Bench) -> BTreeSet<Digest> {
    let reported = bench.reported();
    reported.functions.get(&setpoint()).map(|f| f.executed.clone()).unwrap_or_default()
}

#[test]
fn batches_are_numbered_without_a_gap() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let mut sequences = vec![];
    for _ in 0..5 {
        let effects = bench.hear(done(b"module", SlotRole::Active));
        assert_eq!(names(&effects), ["append", "send"]);
        sequences.extend(appended(&effects).batches.iter().map(|batch| batch.sequence));
    }
    assert_eq!(sequences, (1..=10).collect::<Vec<u64>>());
}

#[test]
fn summaries_and_records_travel_in_batches_of_their_own() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let effects = bench.hear(done(b"module", SlotRole::Active));
    let [summaries, records] = &appended(&effects).batches[..] else { panic!("{effects:?}") };
    assert_eq!((summaries.summaries.len(), summaries.records.len()), (1, 0));
    assert_eq!((records.summaries.len(), records.records.len()), (0, 1));
    assert_eq!((summaries.class(), records.class()), (Class::Summaries, Class::Samples));
}

#[test]
fn what_the_keeper_said_is_kept_under_its_start_and_the_number_that_it_gave() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let state = FunctionState {
        function: setpoint(),
        module: Digest::of(b"module"),
        role: SlotRole::Active,
        state: Values::from([("calls".into(), Value::Int(3))]),
    };
    let said = said(7, b"module", SlotRole::Active, vec![state.clone()]);
    let effects = bench.hear(said);
    let append = appended(&effects);
    assert_eq!(append.done, Some((session(1), 7)));
    assert_eq!(append.states, std::slice::from_ref(&state));
    assert!(append.batches.iter().all(|batch| batch.boot != session(1)));
    // Nothing but a state: that is kept, and the number with it.
    let only = Done { number: 8, summaries: vec![], records: vec![], states: vec![state.clone()] };
    let effects = bench.hear(Event::Keeper(FromKeeper::Done(Box::new(only))));
    let append = appended(&effects);
    assert_eq!((append.batches.len(), &append.states), (0, &vec![state]));
    assert_eq!(append.done, Some((session(1), 8)));
}

#[test]
fn what_was_executed_is_reported_once_whatever_its_slot() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document_inline(1, b"module"));
    bench.hear(done(b"module", SlotRole::Active));
    bench.hear(done(b"beside", SlotRole::Candidate));
    let both = BTreeSet::from([Digest::of(b"module"), Digest::of(b"beside")]);
    assert_eq!(executed(&mut bench), both);
    assert_eq!(executed(&mut bench), BTreeSet::new(), "since the last report");
}

#[test]
fn what_was_executed_is_reported_even_when_its_function_leaves_the_document() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document_inline(1, b"module"));
    bench.run_document(&fleet, &fleet.document(2));
    // The keeper closes the old module's account while the new document is on its way.
    let mut bench = fleet.bench_from(bench.stored);
    bench.run_document(&fleet, &fleet.document_inline(3, b"module"));
    let fourth = fleet.document(4);
    bench.hear(Event::Document(fleet.seal(&fourth)));
    bench.hear(done(b"module", SlotRole::Active));
    let effects = bench.run(fleet.prepared(&fourth));
    let reports = super::bench::reports(&effects);
    let functions = &reports.last().unwrap().functions;
    assert_eq!(functions[&setpoint()].executed, BTreeSet::from([Digest::of(b"module")]));
    assert_eq!(functions[&setpoint()].active, None);
    assert_eq!(functions[&setpoint()].previous, Some(Digest::of(b"module")));
}

#[test]
fn the_report_names_active_previous_and_candidates() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.prove(&fleet, &fleet.document_inline(1, b"one"));
    bench.run_document(&fleet, &fleet.document_inline(2, b"two"));
    let report = bench.reported().functions[&setpoint()].clone();
    assert_eq!(report.active, Some(Digest::of(b"two")));
    assert_eq!(report.previous, Some(Digest::of(b"one")));
    // New params for the same module: what a rollback returns to stays.
    bench.run_document(&fleet, &fleet.document_inline(3, b"two"));
    let report = bench.reported().functions[&setpoint()].clone();
    assert_eq!(report.previous, Some(Digest::of(b"one")));
}

#[test]
fn records_over_the_days_budget_stay_behind_and_are_counted() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let mut document = fleet.document_inline(1, b"module");
    document.reporting.record_every = 1;
    document.reporting.record_bytes_per_day_max = 1_000;
    bench.run_document(&fleet, &document);
    let (mut kept, mut dropped, mut summaries) = (0, 0, 0);
    for _ in 0..10 {
        let effects = bench.hear(done(b"module", SlotRole::Active));
        for batch in &appended(&effects).batches {
            kept += batch.records.len();
            dropped += batch.dropped_records;
            summaries += batch.summaries.len();
        }
    }
    assert_eq!((kept as u64 + dropped, summaries), (10, 10), "summaries always go");
    assert!(kept >= 2 && dropped >= 2, "{kept} kept, {dropped} dropped");
}
