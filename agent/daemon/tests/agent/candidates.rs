//! Candidates: beside the active function, never in its way and never in control.

use gnomon_schemas::profile::Profile;
use gnomon_schemas::results::{SlotRole, Source, Summary};
use gnomon_schemas::{Digest, Reason};
use serde_json::json;

use super::bench::Bench;
use super::fixture::{hot, inputs, profile, spin, tou};

const HOT: &[u8] = gnomon_examples::WATER_HEATER_HOT;

fn ticks(summaries: &[Summary]) -> u64 {
    let of_candidates = summaries.iter().filter(|s| s.role == SlotRole::Candidate);
    of_candidates.map(|summary| summary.ticks).sum()
}

#[test]
fn a_candidates_outputs_reach_results_and_never_the_actuator() {
    let mut bench = Bench::new();
    let mut plan = tou().candidate(HOT, json!({"asked_c": 95.0}));
    plan.reporting.divergent_records_max = 2;
    plan.reporting.record_every = 0;
    bench.put_in_force(1, &plan);
    for _ in 0..6 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.setpoint_c, got.source), (60.0, Source::Active));
    }
    let (summaries, records) = bench.close();
    let beside = summaries.iter().find(|s| s.role == SlotRole::Candidate).unwrap();
    assert_eq!((beside.evaluations, beside.skipped), (6, 0));
    assert_eq!(beside.module, Some(Digest::of(HOT)));
    let name = "setpoint_c".parse().unwrap();
    let differences = &beside.differences[&name];
    assert_eq!((differences.compared, differences.mismatches), (6, 6));
    assert!((differences.max_abs - 35.0).abs() < 1e-9);
    assert_eq!(beside.clamped[&name].range, 6, "what the guard would have had to do");
    assert!(beside.sources.is_empty());
    assert_eq!(records.len(), 2, "the most divergent");
    assert!(records.iter().all(|r| r.role == SlotRole::Candidate && r.actuated.is_none()));
}

#[test]
fn a_candidates_steps_are_measured_from_where_the_actuator_stands() {
    let plan = hot(70.0).candidate(
        gnomon_examples::SMOOTHED_SETPOINT,
        json!({
        "target_c": 60.0, "weight": 1.0}),
    );
    let mut profile = profile();
    let output = profile.outputs.values_mut().next().unwrap();
    output.bounds.as_mut().unwrap().max_step = Some(12.0);
    let mut bench = Bench::with(profile);
    bench.put_in_force(1, &plan);
    // 50, 62, 70, 70: a candidate that asks for 70 is more than a step away only at first.
    for _ in 0..4 {
        bench.hands.tick_with(inputs(1.0, 50.0));
    }
    let (summaries, _) = bench.close();
    let beside = summaries.iter().find(|s| s.role == SlotRole::Candidate).unwrap();
    assert_eq!(beside.evaluations, 4);
    assert_eq!(beside.clamped[&"setpoint_c".parse().unwrap()].step, 1);
}

/// A profile whose candidates may spin until a deadline of 100 ms.
fn slow() -> Profile {
    let mut profile = profile();
    for function in profile.functions.values_mut() {
        function.budget.fuel = 1 << 50;
        function.deadline_ms = 100;
    }
    profile
}

#[test]
fn a_hostile_candidate_stops_no_tick_and_each_of_its_ticks_is_counted() {
    let mut bench = Bench::with(slow());
    let plan = tou().candidate(&spin(), json!({})).summary_ticks(1);
    bench.put_in_force(1, &plan);
    for _ in 0..60 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.setpoint_c, got.source), (60.0, Source::Active));
    }
    // After two more calls there is room for one more job, which says for how many
    // ticks there was none.
    bench.take_what_came();
    let so_far = bench.of(SlotRole::Candidate).count();
    bench.wait_until(|bench| bench.of(SlotRole::Candidate).count() >= so_far + 2);
    let (sent, got) = (61, bench.hands.tick(1.0));
    assert_eq!(got.setpoint_c, 60.0);
    bench.wait_until(|bench| ticks(&bench.summaries) >= sent);
    let count = |of: fn(&Summary) -> u64| bench.of(SlotRole::Candidate).map(of).sum::<u64>();
    let missed = count(|s| s.faults.get(&Reason::DeadlineMissed).copied().unwrap_or(0));
    let skipped = count(|s| s.skipped);
    assert_eq!(missed + skipped, sent, "every tick is accounted for");
    assert!(missed > 0 && skipped > 0, "{missed} missed, {skipped} skipped");
    assert_eq!(count(|s| s.evaluations), 0);
}

#[test]
fn a_candidate_that_runs_out_of_fuel_is_counted_by_that() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou().candidate(&spin(), json!({})));
    (0..5).for_each(|_| assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0));
    let (summaries, _) = bench.close();
    let beside = summaries.iter().find(|s| s.role == SlotRole::Candidate).unwrap();
    assert_eq!(beside.faults[&Reason::OutOfFuel], 5);
}

#[test]
fn a_candidates_account_is_closed_by_the_first_tick_after_the_swap() {
    let mut bench = Bench::new();
    let plan = tou().candidate(HOT, json!({"asked_c": 65.0}));
    bench.put_in_force(1, &plan);
    bench.hands.ticks(3);
    // Promoted: nothing beside it any more.
    bench.put_in_force(2, &hot(65.0));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 65.0);
    bench.wait_until(|bench| ticks(&bench.summaries) == 3);
    let beside = bench.of(SlotRole::Candidate).next().unwrap();
    assert_eq!((beside.version, beside.evaluations), (Some(1.try_into().unwrap()), 3));
}

#[test]
fn a_candidate_with_memory_keeps_it_over_a_swap() {
    let smoothed = gnomon_examples::SMOOTHED_SETPOINT;
    let mut plan = tou().candidate(smoothed, json!({"target_c": 50.0, "weight": 0.5}));
    plan.reporting.record_every = 1;
    let mut bench = Bench::new();
    bench.put_in_force(1, &plan);
    bench.hands.ticks(3);
    bench.put_in_force(2, &plan);
    bench.hands.tick(1.0);
    let (_, records) = bench.close();
    let states = records.iter().filter(|r| r.role == SlotRole::Candidate).map(|record| {
        let calls = record.state.as_ref().and_then(|state| state["calls"].as_f64());
        (record.tick, calls)
    });
    let expected = [(1, None), (2, Some(1.0)), (3, Some(2.0)), (4, Some(3.0))];
    assert_eq!(states.collect::<Vec<_>>(), expected);
}
