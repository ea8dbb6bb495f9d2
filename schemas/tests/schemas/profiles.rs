//! Profiles: bounds narrow and never widen, interlocks fail safe, config is checked.

use proptest::prelude::*;

use super::fixture::{cases, profile, read};
use gnomon_schemas::profile::{
    Bounds, Comparison, Condition, NarrowedBounds, OnViolation, Profile,
};
use gnomon_schemas::{Digest, FunctionName, Reason, SignalName, Value};

fn signal(name: &str) -> SignalName {
    name.parse().unwrap()
}

#[test]
fn the_water_heater_is_as_it_was_agreed() {
    let (profile, digest) = profile();
    assert_eq!(digest, Digest::of(&read("examples/profile.json")));
    let signals: Vec<&str> = profile.signals.keys().map(SignalName::as_str).collect();
    assert_eq!(signals, ["hour", "price_forecast", "tank_low_temp_c", "tank_temp_c"]);
    let output = &profile.outputs[&signal("setpoint_c")];
    let bounds = Bounds { min: 35.0, max: 70.0, max_step: Some(40.0) };
    assert_eq!(output.bounds, Some(bounds));
    assert_eq!((output.default.as_f64(), output.tolerance), (Some(50.0), 0.5));
    assert_eq!(output.on_violation, OnViolation::Clamp);
    let interlock = &profile.interlocks[0];
    assert!(interlock.when.is_met(Some(80.0)) && !interlock.when.is_met(Some(79.9)));
    assert_eq!(interlock.then[&signal("setpoint_c")], Value::Int(35));
    let function = &profile.functions[&"setpoint".parse::<FunctionName>().unwrap()];
    assert_eq!((function.budget.fuel, function.hold_ticks_max), (200_000, 5));
    assert_eq!((function.period_ms, function.deadline_ms), (60_000, 1000));
}

#[test]
fn a_profile_is_known_by_its_bytes() {
    let bytes = read("examples/profile.json");
    let spaced = [&bytes[..], b" "].concat();
    let (one, digest) = Profile::parse(&bytes).unwrap();
    let (same, other) = Profile::parse(&spaced).unwrap();
    assert_eq!(one, same);
    assert_ne!(digest, other);
}

#[test]
fn an_unreadable_signal_meets_every_interlock() {
    for (op, below, at, above) in [
        (Comparison::Below, true, false, false),
        (Comparison::AtMost, true, true, false),
        (Comparison::Above, false, false, true),
        (Comparison::AtLeast, false, true, true),
    ] {
        let condition = Condition { signal: signal("tank_temp_c"), op, value: 80.0 };
        let met = [79.0, 80.0, 81.0].map(|reading| condition.is_met(Some(reading)));
        assert_eq!(met, [below, at, above], "{op:?}");
        for unreadable in [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY)] {
            assert!(condition.is_met(unreadable), "{op:?} {unreadable:?}");
        }
    }
}

#[test]
fn config_errors_name_the_pointer() {
    let (profile, _) = profile();
    let check = |json: &str| profile.check_config(&serde_json::from_str(json).unwrap());
    check("{}").unwrap();
    check(r#"{"comfort_min_c": 30, "vacation": true, "site": "here"}"#).unwrap();
    for (json, start) in [
        (r#"{"comfort_min_c": 61}"#, "config/comfort_min_c: "),
        (r#"{"comfort_min_c": 29.9}"#, "config/comfort_min_c: "),
        (r#"{"vacation": "yes"}"#, "config/vacation: "),
        (r#"{"site": 5}"#, "config/site: "),
        (r#"{"comfort": 1}"#, "config: "),
    ] {
        let refusal = check(json).unwrap_err();
        assert_eq!(refusal.reason, Reason::ConfigInvalid, "{json}");
        assert!(refusal.detail.starts_with(start), "{json}: {}", refusal.detail);
    }
    let long = format!(r#"{{"site": "{}"}}"#, "x".repeat(65));
    assert!(check(&long).unwrap_err().detail.starts_with("config/site: "));
}

#[test]
fn narrowing_takes_the_edges_and_refuses_what_is_not_a_number() {
    let firmware = Bounds { min: 35.0, max: 70.0, max_step: Some(40.0) };
    let by = |min, max, max_step| firmware.narrow(&NarrowedBounds { min, max, max_step });
    assert_eq!(by(None, None, None), Some(firmware));
    assert_eq!(by(Some(35.0), Some(70.0), Some(40.0)), Some(firmware));
    assert_eq!(by(Some(50.0), Some(50.0), None).map(|b| (b.min, b.max)), Some((50.0, 50.0)));
    for (min, max, step) in [
        (Some(34.9), None, None),
        (None, Some(70.1), None),
        (None, None, Some(40.1)),
        (None, None, Some(0.0)),
        (None, None, Some(-1.0)),
        (Some(60.0), Some(50.0), None),
        (Some(71.0), None, None),
        (None, Some(34.0), None),
        (Some(f64::NAN), None, None),
        (None, Some(f64::NAN), None),
        (None, None, Some(f64::NAN)),
        (Some(f64::NEG_INFINITY), None, None),
        (None, Some(f64::INFINITY), None),
    ] {
        assert_eq!(by(min, max, step), None, "{min:?} {max:?} {step:?}");
    }
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -100.0..100.0,
        any::<f64>().prop_filter("a number", |number| !number.is_nan()),
        (-3_i8..3).prop_map(f64::from),
    ]
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn narrowing_never_widens(
        (one, other) in (number(), number()),
        max_step in prop::option::of(0.001..100.0),
        by_min in prop::option::of(number()),
        by_max in prop::option::of(number()),
        by_step in prop::option::of(number()),
        value in number(),
    ) {
        let (min, max) = (one.min(other), one.max(other));
        let firmware = Bounds { min, max, max_step };
        let by = NarrowedBounds { min: by_min, max: by_max, max_step: by_step };
        let Some(narrowed) = firmware.narrow(&by) else { return Ok(()) };
        prop_assert!(narrowed.min <= narrowed.max);
        if value >= narrowed.min && value <= narrowed.max {
            prop_assert!(value >= firmware.min && value <= firmware.max);
            prop_assert!(by_min.is_none_or(|min| value >= min));
            prop_assert!(by_max.is_none_or(|max| value <= max));
        }
        match (narrowed.max_step, firmware.max_step) {
            (None, firmware) => prop_assert_eq!(firmware, None),
            (Some(step), firmware) => {
                prop_assert!(step > 0.0 && firmware.is_none_or(|firmware| step <= firmware));
            }
        }
        // Narrowing again by the same changes nothing.
        prop_assert_eq!(narrowed.narrow(&by), Some(narrowed));
    }
}
