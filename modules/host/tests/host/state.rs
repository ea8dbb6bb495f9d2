//! Functions with memory: state goes in, state comes out, and nothing else is kept.

use gnomon_host::Admitted;
use gnomon_schemas::Reason;
use gnomon_schemas::value::{Value, Values};
use serde_json::json;

use crate::support::{
    BUDGET, REALLOC, admit, component, function, host, number, profile_of, values, water_heater,
};

fn smoothed() -> Admitted {
    host().admit(gnomon_examples::SMOOTHED_SETPOINT, &water_heater(), &function(), BUDGET).unwrap()
}

#[test]
fn state_over_several_calls() {
    let guest = smoothed();
    let params = guest.params(&values(json!({"target_c": 55.0, "weight": 0.5}))).unwrap();
    let run = || {
        let mut state: Option<Values> = None;
        let mut seen = vec![];
        for (calls, temp) in [50.0, 60.0, 40.0, 40.0].into_iter().enumerate() {
            let inputs = values(json!({"tank_temp_c": temp}));
            let evaluation = guest.evaluate(&inputs, &params, state.as_ref());
            let setpoint = number(&evaluation, "setpoint_c");
            state = evaluation.outcome.unwrap().state;
            let kept = state.as_ref().unwrap();
            assert_eq!(kept["calls"], Value::Int(calls as i128 + 1));
            seen.push((kept["average_c"].as_f64().unwrap(), setpoint));
        }
        seen
    };
    let averages: Vec<f64> = run().iter().map(|(average, _)| *average).collect();
    assert_eq!(averages, [50.0, 55.0, 47.5, 43.75]);
    assert_eq!(run(), run(), "a run from no state is the same run");
}

#[test]
fn state_that_does_not_fit() {
    let guest = smoothed();
    let params = guest.params(&values(json!({"target_c": 55.0, "weight": 0.5}))).unwrap();
    let inputs = values(json!({"tank_temp_c": 50.0}));
    let with = |state: Values| guest.evaluate(&inputs, &params, Some(&state)).outcome;
    assert!(with(values(json!({"average_c": 50.0, "calls": 3}))).is_ok());
    assert!(with(values(json!({"average_c": 50, "calls": 3}))).is_ok(), "as JSON may write it");
    let mut infinite = values(json!({"average_c": 50.0, "calls": 3}));
    infinite.insert("average_c".into(), f64::INFINITY.into());
    for state in [
        values(json!({})),
        values(json!({"average_c": 50.0})),
        values(json!({"average_c": "50", "calls": 3})),
        values(json!({"average_c": 50.0, "calls": -1})),
        values(json!({"average_c": 50.0, "calls": 4_294_967_296_i64})),
        values(json!({"average_c": 50.0, "calls": 3, "more": 1})),
        infinite,
    ] {
        let refusal = with(state.clone()).unwrap_err();
        assert_eq!(refusal.reason, Reason::StateInvalid, "{state:?}: {refusal}");
    }
}

#[test]
fn what_has_no_memory_gets_no_state() {
    let module = gnomon_examples::WATER_HEATER_HOT;
    let guest = host().admit(module, &water_heater(), &function(), BUDGET).unwrap();
    let params = guest.params(&values(json!({"asked_c": 50.0}))).unwrap();
    let state = values(json!({"average_c": 50.0}));
    let evaluation = guest.evaluate(&values(json!({"hour": 1.0})), &params, Some(&state));
    assert_eq!(evaluation.outcome.unwrap().state, None);
}

/// A guest whose state is one field of a type; `core` makes the new state from the old.
fn keeper(ty: &str, core: &str) -> Admitted {
    let state = format!(r#"(record (field "kept" {ty}))"#);
    let text = component(
        &[
            ("inputs", r#"(record (field "x" f64))"#),
            ("outputs", r#"(record (field "y" f64))"#),
            ("state", &state),
        ],
        r#"(param "in" $inputs) (param "s" (option $state)) (result (tuple $outputs $state))"#,
        &format!(r#"(memory (export "memory") 4) {REALLOC} {core}"#),
    );
    let profile = profile_of(json!({"x": {"type": "f64"}}), json!({"y": {"type": "f64"}}));
    admit(&text, &profile, BUDGET).unwrap()
}

fn keep(guest: &Admitted, state: Option<&Values>) -> Result<Values, Reason> {
    let params = guest.params(&Values::new()).unwrap();
    let evaluation = guest.evaluate(&values(json!({"x": 1.0})), &params, state);
    evaluation.outcome.map(|outputs| outputs.state.unwrap()).map_err(|refusal| refusal.reason)
}

/// State goes through JSON in the device's store, where a long integer is a string.
#[test]
fn state_survives_json() {
    let guest = keeper(
        "u64",
        r#"(func (export "f") (param f64 i32 i64) (result i32)
             (i64.store (i32.const 16) (i64.sub (local.get 2) (i64.const 1)))
             (i32.const 8))"#,
    );
    let first = keep(&guest, None).unwrap();
    assert_eq!(first["kept"], Value::Int(u64::MAX.into()));
    let stored = serde_json::to_string(&first).unwrap();
    assert_eq!(stored, r#"{"kept":"18446744073709551615"}"#);
    let loaded: Values = serde_json::from_str(&stored).unwrap();
    assert_eq!(keep(&guest, Some(&loaded)).unwrap()["kept"], Value::Int((u64::MAX - 1).into()));
}

#[test]
fn state_that_is_not_kept() {
    let infinite = keeper(
        "f64",
        r#"(func (export "f") (param f64 i32 f64) (result i32)
             (f64.store (i32.const 16) (f64.const inf)) (i32.const 8))"#,
    );
    assert_eq!(keep(&infinite, None), Err(Reason::StateInvalid));
    let list = |items: u32| {
        keeper(
            "(list f64)",
            &format!(
                r#"(func (export "f") (param f64 i32 i32 i32) (result i32)
                     (i32.store (i32.const 16) (i32.const 64))
                     (i32.store (i32.const 20) (i32.const {items}))
                     (i32.const 8))"#
            ),
        )
    };
    let kept = keep(&list(4_000), None).unwrap();
    assert_eq!(kept["kept"], vec![0.0; 4_000].into());
    assert_eq!(keep(&list(4_000), Some(&kept)).unwrap(), kept);
    assert_eq!(keep(&list(5_000), None), Err(Reason::StateInvalid));
}
