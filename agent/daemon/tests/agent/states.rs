//! What functions remember: over swaps and starts, on its way to the planner, and back.

use gnomon_agent_core::message::FunctionState;
use gnomon_schemas::Digest;
use gnomon_schemas::results::SlotRole;
use gnomon_schemas::value::{Value, Values};
use serde_json::json;

use super::bench::Bench;
use super::fixture::{Plan, counter, counting_from, setpoint, tou};

const ONE_MORE: &str = "(i32.add (local.get $calls) (i32.const 1))";

fn counting(asked_c: u32) -> (Vec<u8>, Plan) {
    let bytes = counting_from("counting", asked_c);
    let plan = Plan::active(&bytes, json!({}));
    (bytes, plan)
}

fn remembered(module: &[u8], role: SlotRole, calls: i128) -> FunctionState {
    let state = Values::from([("calls".into(), Value::Int(calls))]);
    FunctionState { function: setpoint(), module: Digest::of(module), role, state }
}

#[test]
fn a_state_goes_on_in_another_module_that_it_fits() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &counting(40).1);
    bench.hands.ticks(3);
    bench.put_in_force(2, &counting(50).1);
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 53.0, "the fourth call");
}

#[test]
fn a_state_that_does_not_fit_is_left_behind() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &counting(40).1);
    bench.hands.ticks(3);
    let params = json!({"target_c": 50.0, "weight": 0.5});
    bench.put_in_force(2, &Plan::active(gnomon_examples::SMOOTHED_SETPOINT, params));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 50.0, "its first average");
}

#[test]
fn what_a_function_remembers_is_told_with_its_counts_and_only_when_it_changes() {
    let mut bench = Bench::new();
    let (bytes, plan) = counting(40);
    bench.put_in_force(1, &plan.summary_ticks(2));
    bench.hands.ticks(4);
    bench.wait_until(|bench| bench.states.len() == 2);
    let told = [2, 4].map(|calls| remembered(&bytes, SlotRole::Active, calls));
    assert_eq!(bench.states, told);
    // One whose memory stands still has nothing new to tell.
    let still = counter("still", "(f64.const 50)", "(local.get $calls)");
    bench.put_in_force(2, &Plan::active(&still, json!({})).summary_ticks(2));
    bench.hands.ticks(8);
    let states = bench.close_with_states();
    let of_still = states.iter().filter(|known| known.module == Digest::of(&still));
    assert_eq!(of_still.count(), 1, "{states:?}");
}

#[test]
fn the_last_state_is_told_at_the_swap_and_at_the_end_though_nothing_is_due() {
    let mut bench = Bench::new();
    let (first, plan) = counting(40);
    bench.put_in_force(1, &plan);
    bench.hands.ticks(3);
    let (second, plan) = counting(50);
    bench.put_in_force(2, &plan);
    let states = bench.close_with_states();
    let told = [&first, &second].map(|bytes| remembered(bytes, SlotRole::Active, 3));
    assert_eq!(states, told);
}

#[test]
fn a_keeper_that_starts_goes_on_from_what_was_kept() {
    let (bytes, plan) = counting(40);
    let (other, _) = counting(60);
    for (kept, asked_c) in [
        (vec![remembered(&bytes, SlotRole::Active, 7)], 47.0),
        // Of another module in control before: it fits.
        (vec![remembered(&other, SlotRole::Active, 5)], 45.0),
        // Its own comes first, whatever else there is.
        (
            vec![
                remembered(&other, SlotRole::Active, 5),
                remembered(&bytes, SlotRole::Active, 7),
                remembered(&other, SlotRole::Candidate, 9),
            ],
            47.0,
        ),
        // From when it was beside another.
        (vec![remembered(&bytes, SlotRole::Candidate, 9)], 49.0),
        (vec![remembered(&other, SlotRole::Candidate, 9)], 40.0),
    ] {
        let mut bench = Bench::new();
        bench.kept_states = kept;
        bench.put_in_force(1, &plan);
        assert_eq!(bench.hands.tick(1.0).setpoint_c, asked_c, "{:?}", bench.kept_states);
    }
}

#[test]
fn what_is_in_force_knows_better_than_what_was_kept() {
    let mut bench = Bench::new();
    let (bytes, plan) = counting(40);
    bench.put_in_force(1, &plan);
    bench.hands.ticks(3);
    bench.kept_states = vec![remembered(&bytes, SlotRole::Active, 20)];
    bench.put_in_force(2, &plan);
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 43.0);
}

#[test]
fn a_candidate_tells_what_it_remembers_and_takes_it_along_when_it_is_promoted() {
    let mut bench = Bench::new();
    let bytes = counting_from("counting", 40);
    bench.put_in_force(1, &tou().candidate(&bytes, json!({})).summary_ticks(3));
    bench.hands.ticks(3);
    bench.wait_until(|bench| !bench.states.is_empty());
    assert_eq!(bench.states, [remembered(&bytes, SlotRole::Candidate, 3)]);
    bench.kept_states = bench.states.clone();
    bench.put_in_force(2, &Plan::active(&bytes, json!({})));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 43.0);
}

#[test]
fn a_call_that_fails_forgets_nothing() {
    let mut bench = Bench::new();
    let when_three = "(if (result f64) (i32.eq (local.get $calls) (i32.const 3))
        (then (f64.const nan)) (else (f64.const 55)))";
    let bytes = counter("flaky", when_three, ONE_MORE);
    bench.put_in_force(1, &Plan::active(&bytes, json!({})));
    bench.hands.ticks(3);
    let late =
        bench.hands.ask_since(std::time::Duration::from_secs(2), super::fixture::inputs(1.0, 50.0));
    bench.hands.answer(late);
    bench.hands.tick(25.0);
    bench.hands.tick(1.0);
    let states = bench.close_with_states();
    assert_eq!(states, [remembered(&bytes, SlotRole::Active, 4)]);
}
