//! Values of every type, in and out again.

use gnomon_schemas::value::{Value, Values};
use serde_json::json;

use crate::support::{BUDGET, REALLOC, admit, call, component, profile_of, values};

/// In WIT's order, which is not the alphabet's: JSON name, WIT name, WIT type, type.
fn fields() -> Vec<(&'static str, &'static str, serde_json::Value)> {
    vec![
        ("zero-or-one", "bool", json!("bool")),
        ("u8-max", "u8", json!("u8")),
        ("tank-temp-c", "f64", json!("f64")),
        ("u16-max", "u16", json!("u16")),
        ("big", "u64", json!("u64")),
        ("a-letter", "char", json!("char")),
        ("u32-max", "u32", json!("u32")),
        ("least", "s64", json!("s64")),
        ("s8-min", "s8", json!("s8")),
        ("s16-min", "s16", json!("s16")),
        ("s32-min", "s32", json!("s32")),
        ("single", "f32", json!("f32")),
        ("text", "string", json!("string")),
        ("empty", "string", json!("string")),
        ("mode", "$mode", json!({"enum": ["off", "heat-up", "on"]})),
        ("some", "(option f64)", json!({"option": "f64"})),
        ("none", "(option string)", json!({"option": "string"})),
        ("numbers", "(list f64)", json!({"list": "f64"})),
        ("nothing", "(list u8)", json!({"list": "u8"})),
        ("texts", "(list string)", json!({"list": "string"})),
        (
            "zones",
            "(list $zone)",
            json!({"list": {"record": {"wet_bulb": {"option": "s16"}, "name": "string", "at": "u8"}}}),
        ),
        (
            "zone",
            "$zone",
            json!({"record": {"wet_bulb": {"option": "s16"}, "name": "string", "at": "u8"}}),
        ),
    ]
}

/// A guest that returns what it gets: a record of more than 16 flat values comes as a
/// pointer, and goes as one.
fn echo() -> String {
    let record: String =
        fields().iter().map(|(name, ty, _)| format!("(field \"{name}\" {ty})")).collect();
    let record = format!("(record {record})");
    component(
        &[
            ("mode", r#"(enum "off" "heat-up" "on")"#),
            (
                "zone",
                r#"(record (field "wet-bulb" (option s16)) (field "name" string) (field "at" u8))"#,
            ),
            ("inputs", &record),
            ("outputs", &record),
        ],
        r#"(param "in" $inputs) (result $outputs)"#,
        &format!(
            r#"(memory (export "memory") 2) {REALLOC}
               (func (export "f") (param i32) (result i32) (local.get 0))"#
        ),
    )
}

fn echoed(inputs: serde_json::Value) -> Values {
    let typed = |name: &str, ty: &serde_json::Value| (name.replace('-', "_"), json!({"type": ty}));
    let types: serde_json::Map<_, _> =
        fields().iter().map(|(name, _, ty)| typed(name, ty)).collect();
    let profile = profile_of(json!(types), json!(types));
    let admitted = admit(&echo(), &profile, BUDGET).unwrap();
    call(&admitted, inputs).outcome.unwrap().outputs
}

fn extremes() -> serde_json::Value {
    json!({
        "zero_or_one": true,
        "u8_max": 255,
        "u16_max": 65_535,
        "u32_max": 4_294_967_295_u32,
        "big": "18446744073709551615",
        "least": "-9223372036854775808",
        "s8_min": -128,
        "s16_min": -32_768,
        "s32_min": -2_147_483_648,
        "tank_temp_c": -0.1,
        "single": 0.5,
        "a_letter": "𝄞",
        "text": "naïve 東京 \u{0} 🚿",
        "empty": "",
        "mode": "heat-up",
        "some": 1.5,
        "none": null,
        "numbers": [1.0, -2.5, 1e300],
        "nothing": [],
        "texts": ["", "ä", "b"],
        "zones": [{"wet_bulb": -3, "name": "north", "at": 1}, {"wet_bulb": null, "name": "", "at": 2}],
        "zone": {"wet_bulb": 7, "name": "south", "at": 9},
    })
}

#[test]
fn every_type_in_and_out() {
    let outputs = echoed(extremes());
    assert_eq!(json!(outputs), extremes());
    assert_eq!(outputs["big"], Value::Int(u64::MAX.into()));
    assert_eq!(outputs["least"], Value::Int(i64::MIN.into()));
    assert_eq!(outputs["none"], Value::Null);
}

#[test]
fn what_json_writes_otherwise_is_taken() {
    let mut inputs = extremes();
    inputs["tank_temp_c"] = json!(50);
    inputs["single"] = json!(0.1);
    inputs["big"] = json!(7);
    inputs["numbers"] = json!([1, 2.5, 3]);
    let outputs = echoed(inputs);
    assert_eq!(outputs["tank_temp_c"], Value::Float(50.0));
    assert_eq!(outputs["single"], Value::Float(f64::from(0.1_f32)));
    assert_eq!(outputs["big"], Value::Int(7));
    assert_eq!(outputs["numbers"], vec![1.0, 2.5, 3.0].into());
}

/// Fields are matched by name: what stands first in WIT is not first in the alphabet.
#[test]
fn the_order_of_fields_is_wits() {
    let text = component(
        &[
            ("inputs", r#"(record (field "z-first" f64) (field "a-second" f64))"#),
            ("outputs", r#"(record (field "y" f64))"#),
        ],
        r#"(param "in" $inputs) (result $outputs)"#,
        r#"(func (export "f") (param f64 f64) (result f64) (f64.sub (local.get 0) (local.get 1)))"#,
    );
    let signals = json!({"z_first": {"type": "f64"}, "a_second": {"type": "f64"}});
    let profile = profile_of(signals, json!({"y": {"type": "f64"}}));
    let admitted = admit(&text, &profile, BUDGET).unwrap();
    let evaluation = call(&admitted, json!({"z_first": 10.0, "a_second": 1.0}));
    assert_eq!(crate::support::number(&evaluation, "y"), 9.0);
    // A signal that the module does not read is no concern of its.
    let evaluation = call(&admitted, json!({"z_first": 10.0, "a_second": 1.0, "other": "a text"}));
    assert_eq!(evaluation.outcome.unwrap().outputs, values(json!({"y": 9.0})));
}
