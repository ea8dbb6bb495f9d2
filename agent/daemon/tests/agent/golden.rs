//! Golden vectors: calls whose results are known, run before the swap on what is to be
//! in control. What runs goes on meanwhile, and after a vector that is missed.

use gnomon_schemas::{Reason, Refusal};
use serde_json::{Value, json};

use super::bench::Bench;
use super::fixture::{Plan, counting_from, spin, tou};

/// At night it asks for 60.
fn night(outputs: Value) -> Value {
    json!({"inputs": {"hour": 1.0}, "outputs": outputs})
}

fn refusal_of(bench: &mut Bench, number: u64, plan: &Plan) -> Option<Refusal> {
    bench.refusal_of(&plan.document(number), &plan.modules)
}

#[test]
fn a_document_whose_golden_vectors_are_met_comes_into_force() {
    let mut bench = Bench::new();
    let plan = tou()
        .golden(night(json!({"setpoint_c": 60.0})))
        .golden(night(json!({"setpoint_c": 60})))
        .golden(json!({"inputs": {"hour": 12.0}, "outputs": {"setpoint_c": 45.4},
                       "tolerance": 0.5}));
    bench.put_in_force(1, &plan);
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
}

#[test]
fn a_golden_vector_that_is_missed_refuses_the_document_and_names_the_output() {
    let mut bench = Bench::new();
    bench.put_in_force(1, &tou());
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
    let off = tou()
        .golden(night(json!({"setpoint_c": 60.0})))
        .golden(night(json!({"setpoint_c": 60.25})));
    let refusal = refusal_of(&mut bench, 2, &off).unwrap();
    let detail =
        "functions.setpoint: golden[1]: outputs.setpoint_c is 60.0, expected 60.25".to_owned();
    assert_eq!((refusal.reason, refusal.detail), (Reason::GoldenMismatch, detail));
    assert_eq!(bench.hands.tick(12.0).setpoint_c, 45.0, "what runs goes on");
    bench.send_activate(2);
    bench.put_in_force(3, &Plan::default());
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 50.0, "and it was never in force");
}

#[test]
fn a_vector_of_the_wrong_shape_is_missed() {
    let mut bench = Bench::new();
    let mut number = 0;
    let mut missed = |vector: Value, expected: &str| {
        number += 1;
        let refusal = refusal_of(&mut bench, number, &tou().golden(vector)).unwrap();
        assert_eq!(refusal.reason, Reason::GoldenMismatch, "{refusal}");
        assert!(refusal.detail.contains(expected), "{refusal}");
    };
    missed(night(json!({"setpoint_c": "warm"})), "outputs.setpoint_c is 60.0, expected \"warm\"");
    missed(night(json!({"setpoint_c": [60.0]})), "is 60.0, expected [60.0]");
    missed(night(json!({"element_on": true})), "outputs.element_on is nothing, expected true");
    let with = |inputs: Value| json!({"inputs": inputs, "outputs": {"setpoint_c": 60.0}});
    missed(with(json!({})), "golden[0]");
    missed(with(json!({"hour": 25.0})), "input_out_of_range");
    missed(with(json!({"hour": "one"})), "golden[0]");
    let memory = json!({"inputs": {"hour": 1.0}, "state": {"calls": 1},
                        "outputs": {"setpoint_c": 60.0}});
    missed(memory, "golden[0]: state is given, but the module has no memory");
    let counting = Plan::active(&counting_from("counting", 40), json!({}));
    for state in [json!({"calls": -1}), json!({"calls": "many"}), json!({"other": 1})] {
        let vector =
            json!({"inputs": {"hour": 1.0}, "state": state, "outputs": {"setpoint_c": 41.0}});
        let refusal = refusal_of(&mut bench, 90, &counting.clone().golden(vector)).unwrap();
        assert_eq!(refusal.reason, Reason::GoldenMismatch);
        assert!(refusal.detail.contains("state_invalid"), "{refusal}");
    }
}

#[test]
fn a_vector_that_the_module_does_not_survive_is_missed() {
    let mut bench = Bench::new();
    let vector = night(json!({"setpoint_c": 60.0}));
    let plan = Plan::active(&spin(), json!({})).golden(vector);
    let refusal = refusal_of(&mut bench, 1, &plan).unwrap();
    assert_eq!(refusal.reason, Reason::GoldenMismatch);
    assert!(refusal.detail.contains("out_of_fuel"), "{refusal}");
}

#[test]
fn a_vector_may_say_what_the_module_remembers_and_what_runs_does_not_learn_of_it() {
    let mut bench = Bench::new();
    let counting = counting_from("counting", 40);
    bench.put_in_force(1, &Plan::active(&counting, json!({})));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 40.0);
    let after = json!({"inputs": {"hour": 1.0}, "state": {"calls": 20},
                       "outputs": {"setpoint_c": 60.0}});
    let fresh = json!({"inputs": {"hour": 1.0}, "outputs": {"setpoint_c": 40.0}});
    let plan = Plan::active(&counting, json!({})).golden(after).golden(fresh);
    bench.put_in_force(2, &plan);
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 41.0);
}

#[test]
fn the_vectors_are_for_what_is_to_be_in_control_alone() {
    let mut bench = Bench::new();
    let hot = gnomon_examples::WATER_HEATER_HOT;
    let plan =
        tou().golden(night(json!({"setpoint_c": 60.0}))).candidate(hot, json!({"asked_c": 95.0}));
    assert_eq!(refusal_of(&mut bench, 1, &plan), None);
}
