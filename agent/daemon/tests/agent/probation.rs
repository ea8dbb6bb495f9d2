//! A document that does not do well in control gives way by itself to what was before it:
//! module, bounds, state and counts.

use gnomon_agent_core::message::{FromKeeper, ToKeeper};
use gnomon_schemas::document::Probation;
use gnomon_schemas::profile::NarrowedBounds;
use gnomon_schemas::results::Source;
use gnomon_schemas::{Digest, Reason};
use serde_json::json;

use super::bench::{Bench, digest_of};
use super::fixture::{Plan, counter, counting_from, guest, hot, inputs, spin, tou};

/// In force, and proven after three ticks.
fn prove(bench: &mut Bench, number: u64, plan: &Plan) {
    let plan = plan.clone().probation(3, 0);
    bench.put_in_force(number, &plan);
    bench.hands.ticks(3);
    let document = digest_of(&plan.document(number));
    assert_eq!(bench.next_word(), FromKeeper::Proven { document });
}

fn spinning() -> Plan {
    Plan::active(&spin(), json!({}))
}

#[test]
fn too_many_faults_put_back_the_module_its_bounds_and_its_counts() {
    let mut bench = Bench::new();
    let mut good = tou();
    let bounds = NarrowedBounds { max: Some(58.0), ..NarrowedBounds::default() };
    good.bounds.insert("setpoint_c".parse().unwrap(), bounds);
    prove(&mut bench, 1, &good);
    let bad = spinning().probation(20, 2);
    bench.put_in_force(2, &bad);
    let slots = bench.view().functions.into_values().next().unwrap();
    assert_eq!(slots.active, Some(Digest::of(&spin())));
    assert_eq!(slots.previous, Some(Digest::of(gnomon_examples::WATER_HEATER_TOU)));
    assert!(slots.on_probation);
    for _ in 0..3 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.source, got.setpoint_c), (Source::HoldLast, 58.0), "the last value");
    }
    let what = bench.wait_rolled_back();
    assert_eq!(what.from, digest_of(&bad.document(2)));
    assert_eq!(what.to, Some(digest_of(&good.clone().probation(3, 0).document(1))));
    let place = format!("functions.setpoint: module {}", Digest::of(&spin()).short());
    let detail = format!("{place}: 3 faults, the last is out_of_fuel, in 3 ticks");
    assert_eq!((what.refusal.reason, what.refusal.detail), (Reason::ProbationFailed, detail));
    for _ in 0..4 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.source, got.setpoint_c, got.clamped), (Source::Active, 58.0, true));
    }
    let view = bench.view();
    assert_eq!((view.version.unwrap().get(), view.on_trial), (1, false));
    let (summaries, _) = bench.close();
    let of = |number: u64| {
        let number = Some(number.try_into().unwrap());
        summaries.iter().filter(move |summary| summary.version == number)
    };
    assert_eq!(of(2).map(|s| s.faults[&Reason::OutOfFuel]).sum::<u64>(), 3);
    assert_eq!(of(2).map(|s| s.ticks).sum::<u64>(), 3);
    assert_eq!(of(1).map(|s| s.evaluations).sum::<u64>(), 3 + 4);
    assert_eq!(summaries.iter().map(|s| s.missed).sum::<u64>(), 0, "not one tick");
}

#[test]
fn the_first_document_that_fails_ends_on_the_profiles_defaults() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &spinning().probation(20, 0));
    assert_eq!(bench.hands.tick(1.0).source, Source::HoldLast);
    assert_eq!(bench.wait_rolled_back().to, None);
    for _ in 0..3 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.source, got.setpoint_c), (Source::Default, 50.0));
    }
    assert_eq!(bench.view().version, None);
}

#[test]
fn outputs_that_are_not_finite_are_faults_and_a_broken_sensor_is_none() {
    let mut bench = Bench::new();
    prove(&mut bench, 1, &tou());
    let nan = Plan::active(&guest("nan", "(f64.const nan)"), json!({}));
    bench.put_in_force(2, &nan.probation(20, 1));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
    let refusal = bench.wait_rolled_back().refusal;
    assert!(refusal.detail.contains("2 faults, the last is output_invalid"), "{refusal}");
    let plan = hot(66.0).probation(5, 0);
    bench.put_in_force(3, &plan);
    for _ in 0..5 {
        assert_eq!(bench.hands.tick_with(inputs(1.0, 50.0)).setpoint_c, 66.0);
        bench.hands.tick_with(inputs(1.0, 200.0));
    }
    let document = digest_of(&plan.document(3));
    assert_eq!(bench.next_word(), FromKeeper::Proven { document });
}

#[test]
fn outputs_out_of_bounds_count_where_the_document_says_how_many() {
    let mut bench = Bench::new();
    prove(&mut bench, 1, &tou());
    let rules = Probation { ticks: 20, faults_max: 0, clamps_max: Some(2) };
    bench.put_in_force(2, &hot(95.0).rules(rules));
    for _ in 0..3 {
        assert_eq!(bench.hands.tick(1.0).setpoint_c, 70.0);
    }
    let refusal = bench.wait_rolled_back().refusal;
    assert!(refusal.detail.contains("3 ticks out of bounds"), "{refusal}");
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
}

#[test]
fn a_document_that_does_well_says_so_and_then_that_it_has_proved_itself() {
    let mut bench = Bench::new();
    let plan = tou();
    let document = digest_of(&plan.document(1));
    bench.put_in_force(1, &plan);
    bench.hands.ticks(10);
    assert_eq!(bench.next_word(), FromKeeper::Healthy { document: document.clone() });
    assert!(bench.view().on_trial);
    bench.hands.ticks(10);
    assert_eq!(bench.next_word(), FromKeeper::Proven { document });
    let view = bench.view();
    assert!(!view.on_trial && view.functions.values().all(|slots| !slots.on_probation));
    assert!(view.functions.values().all(|slots| slots.previous.is_none()), "nothing to go back to");
}

#[test]
fn a_rollback_restores_the_state_of_the_moment_of_the_swap() {
    let mut bench = Bench::new();
    prove(&mut bench, 1, &Plan::active(&counting_from("good", 40), json!({})));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 43.0);
    // The same kind of memory, which it leaves quite different.
    let ten = "(i32.add (local.get $calls) (i32.const 10))";
    let bad = Plan::active(&counter("bad", "(f64.const nan)", ten), json!({}));
    bench.put_in_force(2, &bad.probation(20, 2));
    (0..3).for_each(|_| assert_eq!(bench.hands.tick(1.0).source, Source::HoldLast));
    bench.wait_rolled_back();
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 44.0, "as if nothing had been");
}

#[test]
fn a_document_in_the_place_of_an_unproven_one_goes_back_past_it() {
    let mut bench = Bench::new();
    prove(&mut bench, 1, &tou());
    bench.put_in_force(2, &spinning().probation(20, 3));
    bench.hands.ticks(2);
    // The same module: it has two faults to its name already.
    bench.put_in_force(3, &spinning().probation(20, 3).summary_ticks(7));
    bench.hands.ticks(2);
    let what = bench.wait_rolled_back();
    assert!(what.refusal.detail.contains("4 faults"), "{}", what.refusal);
    assert_eq!(what.to, Some(digest_of(&tou().probation(3, 0).document(1))));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
    // Another module has a probation of its own, and what was proven needs none.
    bench.put_in_force(4, &spinning().probation(20, 3).summary_ticks(8));
    bench.hands.ticks(2);
    let again = tou().probation(3, 0).summary_ticks(9);
    bench.put_in_force(5, &again);
    let document = digest_of(&again.document(5));
    assert_eq!(bench.next_word(), FromKeeper::Proven { document });
}

#[test]
fn a_document_that_was_given_up_is_not_put_in_force_again() {
    let mut bench = Bench::new();
    prove(&mut bench, 1, &tou());
    let bad = spinning().probation(20, 0);
    bench.put_in_force(2, &bad);
    bench.hands.tick(1.0);
    bench.wait_rolled_back();
    assert_eq!(bench.reason_of(&bad.document(2), &bad.modules), None);
    bench.send_activate(2);
    // Frames are taken in order: once the next is in force, the last was obeyed.
    bench.put_in_force(3, &hot(66.0));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 66.0);
    let (summaries, _) = bench.close();
    let of_bad = summaries.iter().filter(|s| s.module == Some(Digest::of(&spin())));
    assert_eq!(of_bad.map(|summary| summary.ticks).sum::<u64>(), 1);
}

#[test]
fn a_candidate_that_is_recalled_ends_nobodys_probation() {
    let mut bench = Bench::new();
    prove(&mut bench, 1, &tou());
    let hot_bytes = gnomon_examples::WATER_HEATER_HOT;
    let bad = spinning().candidate(hot_bytes, json!({"asked_c": 60.0})).probation(20, 1);
    bench.put_in_force(2, &bad);
    bench.hands.tick(1.0);
    bench.tell(&ToKeeper::Stop { modules: [Digest::of(hot_bytes)].into() });
    // Frames are taken in order: once this is answered, the last was obeyed.
    let other = tou();
    assert_eq!(bench.reason_of(&other.document(9), &other.modules), None);
    assert!(bench.view().functions.values().all(|slots| slots.candidates.is_empty()));
    bench.hands.tick(1.0);
    bench.wait_rolled_back();
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
}

#[test]
fn what_is_recalled_while_another_is_on_trial_is_not_gone_back_to() {
    let mut bench = Bench::new();
    prove(&mut bench, 1, &tou());
    bench.put_in_force(2, &spinning().probation(20, 0));
    bench.tell(&ToKeeper::Stop { modules: [Digest::of(gnomon_examples::WATER_HEATER_TOU)].into() });
    let other = tou();
    assert_eq!(bench.reason_of(&other.document(9), &other.modules), None);
    bench.hands.tick(1.0);
    bench.wait_rolled_back();
    let got = bench.hands.tick(1.0);
    assert_eq!((got.source, got.setpoint_c), (Source::Default, 50.0));
}
