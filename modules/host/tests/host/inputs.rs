//! What a guest never sees: values that are missing, outside their range or of
//! another type.

use gnomon_schemas::Reason;
use gnomon_schemas::limits::LIST_ITEMS_MAX;
use gnomon_schemas::value::Value;
use serde_json::json;

use crate::support::{BUDGET, REALLOC, admit, call, component, number, profile_of, values};

/// Sums what it gets and counts the list.
fn guest() -> gnomon_host::Admitted {
    let text = component(
        &[
            ("place", r#"(record (field "lat" f64))"#),
            (
                "inputs",
                r#"(record (field "temp" f64) (field "level" u8) (field "prices" (list f64))
                    (field "free" (list f64)) (field "place" $place) (field "wind" (option f64)))"#,
            ),
            ("outputs", r#"(record (field "y" f64))"#),
        ],
        r#"(param "in" $inputs) (result $outputs)"#,
        &format!(
            r#"(memory (export "memory") 2) {REALLOC}
               (func (export "f") (param f64 i32 i32 i32 i32 i32 f64 i32 f64) (result f64)
                 (f64.add (local.get 0) (f64.convert_i32_u (local.get 3))))"#
        ),
    );
    let profile = profile_of(
        json!({
            "temp": {"type": "f64", "range": {"min": -10, "max": 110}},
            "level": {"type": "u8", "range": {"min": 0, "max": 100}},
            "prices": {"type": {"list": "f64"}, "range": {"min": -1, "max": 1}, "items_max": 4},
            "free": {"type": {"list": "f64"}},
            "place": {"type": {"record": {"lat": "f64"}}},
            "wind": {"type": {"option": "f64"}, "range": {"min": 0, "max": 50}},
        }),
        json!({"y": {"type": "f64"}}),
    );
    admit(&text, &profile, BUDGET).unwrap()
}

fn good() -> serde_json::Value {
    json!({
        "temp": 50.0, "level": 7, "prices": [0.1, -0.5], "free": [], "place": {"lat": 43.6},
        "wind": null,
    })
}

#[test]
fn good_inputs_pass() {
    let guest = guest();
    assert_eq!(number(&call(&guest, good()), "y"), 52.0);
    for (name, value, expected) in [
        ("temp", json!(-10), 2.0 - 12.0 + 2.0),
        ("temp", json!(110), 112.0),
        ("prices", json!([1, -1, 0, 0]), 54.0),
        ("prices", json!([]), 50.0),
        ("level", json!(100), 52.0),
        ("free", json!(vec![1e300; LIST_ITEMS_MAX]), 52.0),
        ("wind", json!(50), 52.0),
    ] {
        let mut inputs = good();
        inputs[name] = value;
        assert_eq!(number(&call(&guest, inputs), "y"), expected, "{name}");
    }
}

#[test]
fn missing_inputs_are_named() {
    let guest = guest();
    for name in ["temp", "level", "prices", "free", "place"] {
        let mut inputs = good();
        inputs.as_object_mut().unwrap().remove(name);
        let evaluation = call(&guest, inputs);
        let refusal = evaluation.outcome.unwrap_err();
        assert_eq!(refusal.reason, Reason::InputMissing);
        assert_eq!(refusal.detail, format!("no value for signal `{name}`"));
        assert_eq!((evaluation.fuel, evaluation.memory_bytes), (None, 0), "nothing ran");
    }
}

#[test]
fn inputs_out_of_range_are_named() {
    let guest = guest();
    let refused = |name: &str, value: Value, part: &str| {
        let mut inputs = values(good());
        inputs.insert(name.into(), value);
        let params = guest.params(&values(json!({}))).unwrap();
        let evaluation = guest.evaluate(&inputs, &params, None);
        let refusal = evaluation.outcome.unwrap_err();
        assert_eq!(refusal.reason, Reason::InputOutOfRange, "{refusal}");
        assert!(refusal.detail.starts_with(&format!("signal `{name}`: ")), "{refusal}");
        assert!(refusal.detail.contains(part), "{refusal}");
        assert_eq!(evaluation.fuel, None, "nothing ran");
    };
    let text = |text: &str| Value::Text(text.into());
    refused("temp", Value::Float(110.000_001), "110.000001 is outside -10 to 110");
    refused("temp", Value::Float(-11.0), "-11 is outside");
    refused("temp", Value::Int(111), "111 is outside");
    refused("temp", Value::Float(f64::NAN), "NaN is not finite");
    refused("temp", Value::Float(f64::INFINITY), "inf is not finite");
    refused("temp", text("50"), "a string, not f64");
    refused("temp", Value::Null, "null, not f64");
    refused("temp", Value::Bool(true), "a bool, not f64");
    refused("temp", vec![50.0].into(), "a list, not f64");
    refused("level", Value::Int(101), "101 is outside 0 to 100");
    refused("level", Value::Int(256), "256, not u8");
    refused("level", Value::Int(-1), "-1, not u8");
    refused("level", Value::Float(7.0), "a float, not u8");
    refused("prices", vec![0.0; 5].into(), "5 items, at most 4");
    refused("prices", vec![0.0, 1.5].into(), "1.5 is outside -1 to 1");
    refused("prices", vec![0.0, f64::NAN].into(), "NaN is not finite");
    refused("prices", Value::List(vec![Value::Int(2)]), "2 is outside -1 to 1");
    refused("prices", Value::List(vec![text("0")]), "[0] is a string, not f64");
    refused("free", vec![0.0; LIST_ITEMS_MAX + 1].into(), "4097 items, at most 4096");
    refused("free", vec![f64::NEG_INFINITY].into(), "-inf is not finite");
    refused("wind", Value::Float(51.0), "51 is outside 0 to 50");
    refused("wind", Value::Float(f64::NAN), "NaN is not finite");
    let place = |lat: f64| {
        Value::Record(values(json!({})).into_iter().chain([("lat".into(), lat.into())]).collect())
    };
    refused("place", place(f64::NAN), "not finite");
    refused("place", Value::Record(values(json!({"lon": 1.0}))), "`lon` is not a field");
}
