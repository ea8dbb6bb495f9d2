//! The keeper in control: clamping, faults, state, late ticks, refused modules, its end.

use gnomon_agent_core::message::ToKeeper;
use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::results::{SlotRole, Source};
use gnomon_schemas::value::Value;
use gnomon_schemas::{Digest, Reason};
use serde_json::json;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::bench::{Bench, digest_of};
use super::fixture::{PATIENCE, Plan, component, hot, inputs, spin, tou};

#[test]
fn without_a_document_every_tick_gets_the_defaults() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.source, got.setpoint_c), (Source::Default, 50.0));
    }
}

#[test]
fn an_activated_function_is_in_control() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou());
    let (night, day) = (bench.hands.tick(1.0), bench.hands.tick(12.0));
    assert_eq!((night.source, night.setpoint_c), (Source::Active, 60.0));
    assert_eq!((day.source, day.setpoint_c), (Source::Active, 45.0));
}

#[test]
fn a_prepared_function_is_not_in_control() {
    let mut bench = Bench::new();
    let plan = tou();
    assert_eq!(bench.reason_of(&plan.document(1), &plan.modules), None);
    assert_eq!(bench.hands.tick(1.0).source, Source::Default);
    // Asked for another document than the prepared one: nothing may act.
    let document = digest_of(&plan.document(2));
    bench.tell(&ToKeeper::Activate { document, version: 1.try_into().unwrap() });
    let again = hot(66.0);
    assert_eq!(bench.reason_of(&again.document(3), &again.modules), None);
    assert_eq!(bench.hands.tick(1.0).source, Source::Default);
}

#[test]
fn a_function_that_asks_for_too_much_is_clamped_and_counted() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &hot(95.0));
    for _ in 0..5 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.setpoint_c, got.source, got.clamped), (70.0, Source::Active, true));
    }
    let hottest = bench.hands.tick_with(inputs(1.0, 80.0));
    assert_eq!(hottest.setpoint_c, 35.0, "the interlock");
    let (summaries, _) = bench.close();
    let clamped = summaries[0].clamped[&"setpoint_c".parse().unwrap()];
    assert_eq!((clamped.range, clamped.interlock), (6, 1));
}

#[test]
fn a_hostile_active_function_holds_the_last_value_then_the_default() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou());
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
    bench.put_in_force(2, &Plan::active(&spin(), json!({})).trusted());
    for _ in 0..5 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.source, got.setpoint_c), (Source::HoldLast, 60.0));
    }
    for _ in 0..2 {
        let got = bench.hands.tick(1.0);
        assert_eq!((got.source, got.setpoint_c), (Source::Default, 50.0));
    }
    let (summaries, _) = bench.close();
    let spinning = summaries.iter().find(|s| s.module == Some(Digest::of(&spin()))).unwrap();
    assert_eq!(spinning.faults[&Reason::OutOfFuel], 7);
    assert_eq!((spinning.evaluations, spinning.ticks), (0, 7));
    assert_eq!(spinning.sources[&Source::HoldLast], 5);
    assert_eq!(spinning.sources[&Source::Default], 2);
}

#[test]
fn an_input_that_cannot_be_read_is_a_fault_of_one_tick() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou());
    bench.hands.tick(1.0);
    assert_eq!(bench.hands.tick(25.0).source, Source::HoldLast, "no hour of a day");
    assert_eq!(bench.hands.tick(12.0).setpoint_c, 45.0);
    let (summaries, _) = bench.close();
    assert_eq!(summaries[0].faults[&Reason::InputOutOfRange], 1);
}

fn smoothed(target_c: f64) -> Plan {
    let params = json!({"target_c": target_c, "weight": 0.5});
    let mut plan = Plan::active(gnomon_examples::SMOOTHED_SETPOINT, params);
    plan.reporting.record_every = 1;
    plan
}

#[test]
fn a_function_with_memory_keeps_it_over_ticks_and_over_a_swap() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &smoothed(50.0));
    let mut tick = |temp_c: f64| bench.hands.tick_with(inputs(1.0, temp_c)).setpoint_c;
    assert_eq!(tick(50.0), 50.0);
    assert_eq!(tick(60.0), 45.0, "the average is 55");
    bench.put_in_force(2, &smoothed(52.0));
    let mut tick = |temp_c: f64| bench.hands.tick_with(inputs(1.0, temp_c)).setpoint_c;
    assert_eq!(tick(60.0), 46.5, "the average is 57.5, not 60");
    // A fault forgets nothing: 200 degrees are no reading of the sensor.
    assert_eq!(tick(200.0), 35.0, "the interlock");
    assert_eq!(tick(57.5), 46.5);
    let (_, records) = bench.close();
    let calls = |index: usize| records[index].state.as_ref().map(|state| state["calls"].clone());
    assert_eq!(calls(0), None);
    assert_eq!(calls(2), Some(Value::Int(2)), "a record holds the state before the call");
    assert_eq!(records[3].fault, Some(Reason::InputOutOfRange));
}

#[test]
fn the_state_of_one_module_never_reaches_another() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &smoothed(50.0));
    bench.hands.tick_with(inputs(1.0, 60.0));
    bench.put_in_force(2, &tou());
    bench.hands.tick_with(inputs(1.0, 60.0));
    bench.put_in_force(3, &smoothed(50.0));
    let fresh = bench.hands.tick_with(inputs(1.0, 40.0));
    assert_eq!(fresh.setpoint_c, 60.0, "the average starts again");
}

#[test]
fn a_document_that_cannot_be_admitted_says_why_and_the_active_function_goes_on() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou());
    let ok = tou();
    let mut version = 1;
    let mut check = |name: &str, plan: &Plan, reason: Reason| {
        version += 1;
        let refused = bench.reason_of(&plan.document(version), &plan.modules);
        assert_eq!(refused, Some(reason), "{name}");
        assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0, "{name}");
    };
    check("no manifest", &Plan::active(b"garbage", json!({})), Reason::ModuleManifestMismatch);
    let params = json!({"asked_c": "much"});
    let hot = gnomon_examples::WATER_HEATER_HOT;
    check("params", &Plan::active(hot, params), Reason::ParamsInvalid);
    let manifest = r#"(@custom "gnomon.manifest" "{\"name\":\"a\",\"version\":\"1\",\"release_counter\":1,\"function\":\"setpoint\"}")"#;
    let importing = component("(local.get 0)", r#"(import "now" (func))"#, manifest);
    check("an import", &Plan::active(&importing, json!({})), Reason::HasImports);
    let candidate = tou().candidate(&importing, json!({}));
    check("an import of a candidate", &candidate, Reason::HasImports);
    let mut lost = ok.clone();
    lost.modules.values_mut().for_each(|bytes| *bytes = InlineBytes(vec![]));
    version += 1;
    let refused = bench.reason_of(&ok.document(version), &lost.modules);
    assert_eq!(refused, Some(Reason::ModuleManifestMismatch));
    let refused = bench.reason_of(&ok.document(version), &std::collections::BTreeMap::new());
    assert_eq!(refused, Some(Reason::ModuleMissing));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
}

#[test]
fn an_old_release_cannot_be_passed_off_as_a_newer_one() {
    let mut bench = Bench::new();
    let plan = tou();
    type Change = fn(&mut gnomon_schemas::document::ModuleRef);
    let changes: [Change; 3] = [
        |listed| listed.release_counter += 1,
        |listed| listed.version = "9.9.9".into(),
        |listed| listed.name = "another".parse().unwrap(),
    ];
    for change in changes {
        let mut document = plan.document(1);
        document.modules.values_mut().for_each(change);
        let refused = bench.reason_of(&document, &plan.modules);
        assert_eq!(refused, Some(Reason::ModuleManifestMismatch));
    }
}

#[test]
fn a_failed_preparation_leaves_nothing_that_could_be_activated() {
    let mut bench = Bench::new();
    let (good, bad) = (tou(), Plan::active(b"garbage", json!({})));
    let (prepared, refused) = (good.document(2), bad.document(2));
    assert_eq!(bench.reason_of(&prepared, &good.modules), None);
    assert!(bench.reason_of(&refused, &bad.modules).is_some());
    for document in [digest_of(&prepared), digest_of(&refused)] {
        bench.tell(&ToKeeper::Activate { document, version: 2.try_into().unwrap() });
    }
    bench.put_in_force(3, &Plan::default());
    assert_eq!(bench.hands.tick(1.0).source, Source::Default);
}

#[test]
fn defaults_hold_after_expiry_until_the_next_document() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou());
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
    bench.tell(&ToKeeper::Defaults);
    // Frames are taken in order: once the next is answered, the last was obeyed
    // at the latest between the next two ticks.
    let next = hot(66.0);
    assert_eq!(bench.reason_of(&next.document(2), &next.modules), None);
    let got = bench.hands.tick(1.0);
    assert_eq!((got.source, got.setpoint_c), (Source::Default, 50.0));
    bench.activate(2);
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 66.0);
}

#[test]
fn summaries_count_ticks_missed_ticks_and_evaluations() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou().summary_ticks(3));
    bench.hands.tick(1.0);
    bench.hands.miss(4);
    bench.hands.tick(1.0);
    bench.hands.tick(1.0);
    bench.wait_until(|bench| bench.of(SlotRole::Active).any(|summary| summary.ticks == 3));
    let summary = bench.of(SlotRole::Active).find(|summary| summary.ticks == 3).unwrap();
    assert_eq!((summary.missed, summary.evaluations), (4, 3));
    assert_eq!(summary.version, Some(1.try_into().unwrap()));
    assert_eq!(summary.fuel.count(), 3);
}

#[test]
fn many_records_travel_in_batches_that_the_cloud_takes() {
    let mut plan = tou().summary_ticks(u32::MAX);
    plan.reporting.record_every = 1;
    let mut bench = Bench::new();
    bench.put_in_force(1, &plan);
    bench.hands.ticks(1_500);
    let (summaries, records) = bench.close();
    assert_eq!(records.len(), 1_500);
    assert_eq!(summaries.iter().map(|summary| summary.evaluations).sum::<u64>(), 1_500);
    assert!(summaries.len() > 1, "an interval ends early when its records fill a batch");
}

#[test]
fn a_keeper_that_shares_its_planners_process_ends_with_it_and_lets_the_device_go() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou());
    bench.hands.tick(1.0);
    let (keeper, hands) = bench.leave();
    let end = hands.actuated.recv_timeout(PATIENCE);
    assert_eq!(end, Err(RecvTimeoutError::Disconnected));
    drop(keeper);
}

#[test]
fn a_tick_that_came_long_ago_is_answered_with_what_holds_and_counted() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou().probation(20, 0));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
    for _ in 0..3 {
        let late = bench.hands.ask_since(Duration::from_secs(2), inputs(12.0, 50.0));
        let got = bench.hands.answer(late);
        assert_eq!((got.source, got.setpoint_c), (Source::HoldLast, 60.0));
    }
    let got = bench.hands.tick(12.0);
    assert_eq!(
        (got.source, got.setpoint_c),
        (Source::Active, 45.0),
        "it is not the module's fault"
    );
    let (summaries, _) = bench.close();
    assert_eq!(summaries[0].faults[&Reason::DeadlineMissed], 3);
    assert_eq!((summaries[0].evaluations, summaries[0].ticks), (2, 5));
    assert_eq!(summaries[0].sources[&Source::HoldLast], 3);
}

#[test]
fn the_keeper_ends_when_the_device_goes_and_says_all_that_it_has_counted() {
    let mut bench = Bench::new();
    bench.put_in_force(
        1,
        &tou().candidate(
            gnomon_examples::WATER_HEATER_TOU,
            json!({
        "off_peak_start_hour": 23.0, "off_peak_end_hour": 7.0, "high_c": 61.0, "low_c": 45.0}),
        ),
    );
    bench.hands.ticks(5);
    let (summaries, _) = bench.close();
    for role in [SlotRole::Active, SlotRole::Candidate] {
        let of_role = summaries.iter().filter(|summary| summary.role == role);
        assert_eq!(of_role.map(|summary| summary.ticks).sum::<u64>(), 5, "{role:?}");
    }
}
