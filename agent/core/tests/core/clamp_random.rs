//! The guard under any profile, any document and any proposal: what reaches the
//! actuator is finite, inside the firmware's bounds, and within a step.

use gnomon_schemas::profile::{Bounds, NarrowedBounds, Profile};
use gnomon_schemas::results::Source;
use gnomon_schemas::value::{Value, ValueType, Values};
use proptest::prelude::*;
use serde_json::json;

use super::clamp::{guard, profile, try_guard, values};
use super::fixture::cases;

#[derive(Debug, Clone)]
struct Case {
    profile: Profile,
    narrowed: Option<NarrowedBounds>,
    forced: Value,
}

fn margin() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(0.1),
        Just(0.5),
        Just(1e-12),
        Just(1e12),
        0.0..5.0_f64,
        0.0..1e6_f64,
    ]
}

/// A numeric output whose default lies inside its bounds, and what it is narrowed to.
fn case() -> impl Strategy<Value = Case> {
    let ty = prop::sample::select(vec!["f64", "f32", "u8", "s8", "s32", "u32", "s64"]);
    let mode = prop::sample::select(vec!["clamp", "hold_last", "default"]);
    let step = prop::option::of(prop_oneof![Just(0.1), Just(1.0), Just(2.5), 1e-6..1e6_f64]);
    let narrowed = prop::option::of((0.0..1.0_f64, 0.0..1.0_f64, prop::option::of(0.01..1.0_f64)));
    (ty, mode, -100_i32..100, margin(), margin(), step, narrowed).prop_map(
        |(ty, mode, default, down, up, step, narrowed)| {
            let default = if ty.starts_with('u') { default.abs() } else { default };
            let (min, max) = (f64::from(default) - down, f64::from(default) + up);
            let output = json!({"type": ty, "default": default, "on_violation": mode,
                                "bounds": {"min": min, "max": max, "max_step": step}});
            let interlock = json!([{"name": "hot", "then": {"out": default},
                                    "when": {"signal": "t", "op": ">=", "value": 80}}]);
            let narrowed = narrowed.map(|(a, b, share)| NarrowedBounds {
                min: Some((min + (max - min) * a.min(b)).clamp(min, max)),
                max: Some((min + (max - min) * a.max(b)).clamp(min, max)),
                max_step: step.zip(share).map(|(step, share)| step * share),
            });
            Case {
                profile: profile(&output, &interlock),
                narrowed,
                forced: Value::Int(default.into()),
            }
        },
    )
}

fn proposal() -> impl Strategy<Value = Option<Values>> {
    let number = prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE / 2.0,
            f64::MAX,
            f64::MIN,
            f64::from(f32::MAX) * 2.0,
        ]),
        -200.0..200.0_f64,
    ];
    let value = prop_oneof![
        6 => number.prop_map(Value::Float),
        4 => (-300..300_i128).prop_map(Value::Int),
        1 => any::<i128>().prop_map(Value::Int),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Null),
        1 => Just(Value::Text("99999999999999999999".into())),
        1 => Just(Value::from(vec![f64::NAN])),
    ];
    prop_oneof![
        8 => value.prop_map(|value| Some(values("out", value))),
        1 => Just(Some(Values::new())),
        1 => Just(None),
    ]
}

fn reading() -> impl Strategy<Value = Values> {
    prop_oneof![
        8 => (0.0..90.0_f64).prop_map(|t| values("t", t)),
        1 => Just(values("t", f64::NAN)),
        1 => Just(Values::new()),
    ]
}

fn is_met(inputs: &Values) -> bool {
    inputs.get("t").and_then(Value::as_f64).is_none_or(|t| t.is_nan() || t >= 80.0)
}

fn within_step(bounds: &Bounds, last: f64, number: f64) -> bool {
    bounds.max_step.is_none_or(|step| number <= last + step && number >= last - step)
}

proptest! {
    #![proptest_config(cases(1024))]

    #[test]
    fn whatever_is_proposed_the_actuator_gets_what_the_firmware_permits(
        case in case(),
        ticks in prop::collection::vec((proposal(), reading()), 1..24),
    ) {
        let output = case.profile.outputs.values().next().unwrap().clone();
        let firmware = output.bounds.unwrap();
        let Ok(mut guard) = try_guard(&case.profile, case.narrowed) else {
            prop_assert!(output.value_type != ValueType::F64, "only a coarse type has gaps");
            return Ok(());
        };
        let forced = output.value_type.accept(&case.forced).unwrap();
        let mut last = forced.as_f64().unwrap();
        for (proposal, inputs) in ticks {
            let clamped = match &proposal {
                Some(_) => guard.actuate(proposal.as_ref(), &inputs),
                None => guard.default_outputs(&inputs),
            };
            prop_assert_eq!(clamped.values().len(), 1);
            let value = &clamped.values()["out"];
            prop_assert_eq!(&output.value_type.accept(value), &Ok(value.clone()), "of its type");
            let number = value.as_f64().unwrap();
            prop_assert!(number.is_finite());
            prop_assert!(number >= firmware.min && number <= firmware.max, "{number} left the bounds");
            if is_met(&inputs) {
                prop_assert_eq!(value, &forced, "the interlock wins");
            } else {
                prop_assert!(within_step(&firmware, last, number), "{last} to {number}");
                let proposed = proposal.as_ref().and_then(|proposal| proposal.get("out"));
                if let (Some(proposed), true) = (proposed, clamped.changed().is_empty()) {
                    let accepted = output.value_type.accept(proposed);
                    prop_assert_eq!(accepted.as_ref(), Ok(value), "changed, yet not counted");
                }
            }
            last = number;
        }
    }

    #[test]
    fn once_inside_narrowed_bounds_a_clamping_output_never_leaves_them(
        (min, width, step) in (36.0..60.0_f64, 0.0..10.0_f64, 0.1..10.0_f64),
        proposals in prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 1..40),
    ) {
        let output = json!({"type": "f64", "default": 50,
                            "bounds": {"min": 35, "max": 70, "max_step": step}});
        let max = min + width;
        let narrowed =
            NarrowedBounds { min: Some(min), max: Some(max), max_step: Some(step / 2.0) };
        let mut guard = guard(&profile(&output, &json!([])), Some(narrowed));
        let mut last = 50.0_f64;
        for proposal in proposals {
            let clamped = guard.actuate(Some(&values("out", proposal)), &values("t", 0.0));
            let number = clamped.values()["out"].as_f64().unwrap();
            let inside = |number: f64| number >= min && number <= max;
            prop_assert!(!inside(last) || inside(number), "{last} to {number}");
            let away = |number: f64| (min - number).max(number - max).max(0.0);
            prop_assert!(away(number) <= away(last), "further away: {last} to {number}");
            prop_assert!(number <= last + step / 2.0 && number >= last - step / 2.0);
            last = number;
        }
    }

    #[test]
    fn a_preview_never_changes_what_follows(
        case in case(),
        previews in prop::collection::vec(proposal(), 0..8),
        next in proposal(),
    ) {
        let Ok(mut shown) = try_guard(&case.profile, case.narrowed) else { return Ok(()) };
        let mut untouched = shown.clone();
        for proposal in previews.iter().flatten() {
            prop_assert_eq!(shown.preview(proposal), shown.preview(proposal));
        }
        let inputs = values("t", 0.0);
        prop_assert_eq!(
            shown.actuate(next.as_ref(), &inputs),
            untouched.actuate(next.as_ref(), &inputs)
        );
    }
}

#[test]
fn a_sweep_over_all_kinds_of_single_precision_bits_stays_inside() {
    let output = json!({"type": "f32", "default": 50,
                        "bounds": {"min": 35.1, "max": 69.9, "max_step": 7.3}});
    let mut guard = guard(&profile(&output, &json!([])), None);
    let inputs = values("t", 0.0);
    let mut last = 50.0_f64;
    let mut passed = 0_u32;
    for bits in (0..=u32::MAX).step_by(4099) {
        let proposal = f64::from(f32::from_bits(bits));
        let clamped = guard.actuate(Some(&values("out", proposal)), &inputs);
        assert_eq!(clamped.source() == Source::Active, proposal.is_finite(), "{bits:08x}");
        let number = clamped.values()["out"].as_f64().unwrap();
        assert!((35.1..=69.9).contains(&number), "{bits:08x}: {number}");
        assert!(number <= last + 7.3 && number >= last - 7.3, "{bits:08x}: {last} to {number}");
        passed += u32::from(number == proposal);
        last = number;
    }
    assert!(passed > 500, "{passed} proposals were permitted: the sweep met the inside, too");
}
