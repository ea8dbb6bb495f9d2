//! The swap: between two ticks, with none left unanswered.

use gnomon_agent_core::message::FromKeeper;
use gnomon_schemas::results::Source;
use serde_json::json;
use std::collections::BTreeMap;

use super::bench::Bench;
use super::fixture::{Plan, hot, inputs, setpoint};

/// What version `number` asks for: its number can be read from the actuator.
fn asked_c(number: u64) -> f64 {
    40.0 + f64::from(u32::try_from(number).unwrap())
}

#[test]
fn swaps_under_a_stream_of_ticks_leave_none_unanswered_and_start_where_they_say() {
    let mut bench = Bench::new();
    let mut from_ticks = BTreeMap::from([(0, 0_u64)]);
    let mut asked = 0;
    for number in 1..=20 {
        let plan = hot(asked_c(number));
        bench.send_prepare(&plan.document(number), &plan.modules);
        (0..5).for_each(|_| asked = bench.hands.ask(inputs(1.0, 50.0)));
        bench.wait_prepared(number).unwrap();
        bench.send_activate(number);
        (0..5).for_each(|_| asked = bench.hands.ask(inputs(1.0, 50.0)));
        let from_tick = bench.wait(|message| match message {
            FromKeeper::Activated { version, from_tick, .. } => {
                assert_eq!(version.get(), number);
                Some(from_tick[&setpoint()])
            }
            _ => None,
        });
        from_ticks.insert(number, from_tick);
    }
    asked = bench.hands.ask(inputs(1.0, 50.0)).max(asked);
    for tick in 1..=asked {
        let got = bench.hands.actuated.recv_timeout(super::fixture::PATIENCE).unwrap();
        assert_eq!(got.tick, tick, "none is left out");
        let in_force =
            from_ticks.iter().filter(|(_, from)| **from <= tick).map(|(number, _)| *number).max();
        match in_force {
            Some(0) | None => assert_eq!(got.source, Source::Default, "tick {tick}"),
            Some(number) => {
                let expected = (Source::Active, asked_c(number));
                assert_eq!((got.source, got.setpoint_c), expected, "tick {tick}: {from_ticks:?}");
            }
        }
    }
    let (summaries, _) = bench.close();
    assert_eq!(summaries.iter().map(|summary| summary.ticks).sum::<u64>(), asked);
    assert_eq!(summaries.iter().map(|summary| summary.missed).sum::<u64>(), 0);
}

#[test]
fn a_swap_is_no_jump_of_the_actuator() {
    let mut profile = super::fixture::profile();
    profile.outputs.values_mut().next().unwrap().bounds.as_mut().unwrap().max_step = Some(5.0);
    let mut bench = Bench::with(profile);
    bench.put_in_force(1, &hot(70.0));
    let first: Vec<f64> = (0..3).map(|_| bench.hands.tick(1.0).setpoint_c).collect();
    assert_eq!(first, [55.0, 60.0, 65.0]);
    bench.put_in_force(2, &hot(40.0));
    let then: Vec<f64> = (0..3).map(|_| bench.hands.tick(1.0).setpoint_c).collect();
    assert_eq!(then, [60.0, 55.0, 50.0]);
}

#[test]
fn a_function_that_leaves_the_document_goes_to_its_defaults() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &hot(66.0));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 66.0);
    let mut nothing = Plan::default().document(2);
    nothing.functions.clear();
    bench.send_prepare(&nothing, &BTreeMap::new());
    bench.wait_prepared(2).unwrap();
    bench.activate(2);
    let got = bench.hands.tick(1.0);
    assert_eq!((got.source, got.setpoint_c), (Source::Default, 50.0));
    bench.put_in_force(3, &Plan::active(gnomon_examples::WATER_HEATER_HOT, json!({"asked_c": 44})));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 44.0, "an integer is a number, too");
}
