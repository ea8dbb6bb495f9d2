//! Probation: which module passes, which fails, and at which tick.

use gnomon_agent_core::probation::{Probation, TickOutcome, Verdict};
use gnomon_schemas::document::Probation as Rules;
use gnomon_schemas::{Digest, Reason};
use proptest::prelude::*;

use super::fixture::{cases, setpoint};

const GOOD: TickOutcome = TickOutcome { fault: None, clamped: false };
const CLAMPED: TickOutcome = TickOutcome { fault: None, clamped: true };
const SENSOR: TickOutcome = TickOutcome { fault: Some(Reason::InputOutOfRange), clamped: false };
const FAULT: TickOutcome = TickOutcome { fault: Some(Reason::OutOfFuel), clamped: false };

fn probation(rules: Rules) -> Probation {
    Probation::new(rules, &setpoint(), &Digest::of(b"module")).unwrap()
}

/// The tick at which the module passes or fails, from 1 on, and which of the two.
fn end(rules: Rules, outcomes: &[TickOutcome]) -> Option<(usize, Result<(), String>)> {
    let mut probation = probation(rules);
    for (index, outcome) in outcomes.iter().enumerate() {
        match probation.note(*outcome) {
            Verdict::Open => {}
            Verdict::Passed => return Some((index + 1, Ok(()))),
            Verdict::Failed(refusal) => {
                assert_eq!(refusal.reason, Reason::ProbationFailed);
                return Some((index + 1, Err(refusal.detail)));
            }
        }
    }
    None
}

fn outcome() -> impl Strategy<Value = TickOutcome> {
    prop_oneof![3 => Just(GOOD), 1 => Just(CLAMPED), 1 => Just(SENSOR), 1 => Just(FAULT)]
}

fn rules() -> impl Strategy<Value = Rules> {
    let clamps_max = prop::option::of(0..6_u32);
    (1..30_u32, 0..6_u32, clamps_max).prop_map(|(ticks, faults_max, clamps_max)| Rules {
        ticks,
        faults_max,
        clamps_max,
    })
}

/// The tick at which so many of a kind are more than permitted.
fn too_many(outcomes: &[TickOutcome], kind: TickOutcome, most: u32) -> Option<usize> {
    let ticks = outcomes.iter().enumerate().filter(|(_, outcome)| **outcome == kind);
    ticks.map(|(index, _)| index + 1).nth(most as usize)
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_module_passes_at_its_last_tick_or_fails_at_the_first_that_is_too_much(
        rules in rules(),
        outcomes in prop::collection::vec(outcome(), 0..40),
    ) {
        let faults = too_many(&outcomes, FAULT, rules.faults_max);
        let clamps = rules.clamps_max.and_then(|most| too_many(&outcomes, CLAMPED, most));
        let failed = faults.into_iter().chain(clamps).min();
        let last = rules.ticks as usize;
        let found = end(rules, &outcomes).map(|(tick, outcome)| (tick, outcome.is_ok()));
        let expected = match failed {
            Some(tick) if tick <= last => Some((tick, false)),
            _ if outcomes.len() >= last => Some((last, true)),
            _ => None,
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_module_that_faults_no_more_than_it_may_always_passes(
        rules in rules(),
        order in any::<prop::sample::Index>(),
    ) {
        let rules = Rules { clamps_max: None, ..rules };
        let (ticks, faults) = (rules.ticks as usize, rules.faults_max.min(rules.ticks) as usize);
        let mut outcomes = vec![CLAMPED; ticks];
        let first = order.index(ticks);
        (0..faults).for_each(|index| outcomes[(first + index) % ticks] = FAULT);
        prop_assert_eq!(end(rules, &outcomes), Some((ticks, Ok(()))));
        // One more, at whatever tick is left.
        if let Some(left) = outcomes.iter().position(|outcome| *outcome != FAULT) {
            outcomes[left] = FAULT;
            prop_assert!(end(rules, &outcomes).unwrap().1.is_err());
        }
    }

    #[test]
    fn a_broken_sensor_is_no_fault_of_the_module(rules in rules()) {
        let ticks = rules.ticks as usize;
        prop_assert_eq!(end(rules, &vec![SENSOR; ticks]), Some((ticks, Ok(()))));
    }
}

#[test]
fn a_failure_names_the_function_the_module_and_what_was_too_much() {
    let rules = Rules { ticks: 9, faults_max: 1, clamps_max: Some(0) };
    let (tick, text) = end(rules, &[GOOD, FAULT, FAULT]).unwrap();
    let place = format!("functions.setpoint: module {}", Digest::of(b"module").short());
    let expected = format!("{place}: 2 faults, the last is out_of_fuel, in 3 ticks");
    assert_eq!((tick, text), (3, Err(expected)));
    let expected = format!("{place}: 1 ticks out of bounds, in 1 ticks");
    assert_eq!(end(rules, &[CLAMPED]), Some((1, Err(expected))));
}

#[test]
fn rules_without_ticks_ask_for_no_probation() {
    let none = Rules { ticks: 0, ..Rules::default() };
    assert!(Probation::new(none, &setpoint(), &Digest::of(b"module")).is_none());
}

#[test]
fn it_does_well_after_a_few_ticks_without_a_fault_or_after_all_of_them() {
    let ticks = |rules: Rules, outcomes: &[TickOutcome]| {
        let mut probation = probation(rules);
        let healthy = outcomes.iter().position(|outcome| {
            probation.note(*outcome);
            probation.is_healthy()
        });
        healthy.map(|index| index + 1)
    };
    let rules = Rules { ticks: 20, faults_max: 5, clamps_max: None };
    assert_eq!(ticks(rules, &[CLAMPED; 20]), Some(10));
    assert_eq!(ticks(Rules { ticks: 4, ..rules }, &[GOOD; 4]), Some(4));
    assert_eq!(ticks(rules, &[&[FAULT][..], &[GOOD; 30]].concat()), None);
    assert_eq!(ticks(rules, &[SENSOR; 20]), Some(10), "the sensor's fault");
}
