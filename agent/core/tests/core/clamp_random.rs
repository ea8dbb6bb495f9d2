//! The guard under any profile, any document and any proposal: what reaches the
//! actuator is finite, inside the firmware's bounds, and within a step.

use gnomon_schemas::profile::{Bounds, NarrowedBounds, OnViolation, Profile, Range};
use gnomon_schemas::results::Source;
use gnomon_schemas::value::{Value, ValueType, Values};
use proptest::prelude::*;
use serde_json::json;

use super::clamp::{guard, profile, try_guard, values};
use super::fixture::cases;

/// A firmware with one numeric output and two interlocks.
#[derive(Debug, Clone)]
struct Case {
    profile: Profile,
    /// What the output is when it is hot, and when it is cold.
    forced: [Value; 2],
    /// Of the signal that the interlocks look at.
    range: Option<Range>,
}

/// A document's narrower bounds as shares of the firmware's.
type Narrowing = Option<(f64, f64, Option<f64>)>;

/// What one tick may bring.
#[derive(Debug, Clone)]
enum Tick {
    Proposal(Values),
    /// A proposal so many numbers beside the lower or the upper bound.
    Edge(bool, i8),
    NoProposal,
    Defaults,
    /// Another document comes into force, and its function has no proposal yet.
    Swap(Narrowing),
}

fn margin() -> impl Strategy<Value = f64> {
    let edges = [0.0, 0.1, 0.5, 1e-12, 1e12, 9.1e15, 1e19, 1e300];
    prop_oneof![prop::sample::select(edges.to_vec()), 0.0..5.0_f64, 0.0..1e6_f64, 0.0..1e19_f64]
}

fn narrowing() -> impl Strategy<Value = Narrowing> {
    prop::option::of((0.0..1.0_f64, 0.0..1.0_f64, prop::option::of(0.01..1.0_f64)))
}

fn narrowed(bounds: Bounds, by: Narrowing) -> Option<NarrowedBounds> {
    let Bounds { min, max, max_step } = bounds;
    by.map(|(a, b, share)| NarrowedBounds {
        min: Some((min + (max - min) * a.min(b)).clamp(min, max)),
        max: Some((min + (max - min) * a.max(b)).clamp(min, max)),
        max_step: max_step.zip(share).map(|(step, share)| step * share),
    })
}

/// Its default and what its interlocks force lie inside its bounds.
fn case() -> impl Strategy<Value = Case> {
    let types = ["f64", "f32", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64"];
    let ty = prop::sample::select(types.to_vec());
    let mode = prop::sample::select(vec!["clamp", "hold_last", "default"]);
    let steps = prop::sample::select(vec![0.1, 1.0, 2.5, 1e17, 1e300]);
    let step = prop::option::of(prop_oneof![steps, 1e-6..1e6_f64]);
    let range = prop::option::of(Just(Range { min: -10.0, max: 110.0 }));
    (ty, mode, -100_i32..100, margin(), margin(), step, range).prop_map(
        |(ty, mode, default, down, up, step, range)| {
            let default = if ty.starts_with('u') { default.abs() } else { default };
            let (min, max) = (f64::from(default) - down, f64::from(default) + up);
            let warm = default + i32::from(up >= 3.0) * 3;
            let output = json!({"type": ty, "default": default, "on_violation": mode,
                                "bounds": {"min": min, "max": max, "max_step": step}});
            let interlocks = json!([
                {"name": "hot", "when": {"signal": "t", "op": ">=", "value": 80},
                 "then": {"out": default}},
                {"name": "cold", "when": {"signal": "t", "op": "<", "value": 5},
                 "then": {"out": warm}},
            ]);
            let mut profile = profile(&output, &interlocks);
            profile.signals.values_mut().for_each(|signal| signal.range = range);
            let output = profile.outputs.values().next().unwrap();
            let typed = |forced: i32| output.value_type.accept(&Value::Int(forced.into())).unwrap();
            Case { forced: [typed(default), typed(warm)], profile, range }
        },
    )
}

fn proposal() -> impl Strategy<Value = Values> {
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
        2 => any::<i64>().prop_map(|number| Value::Int(number.into())),
        1 => any::<i128>().prop_map(Value::Int),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Null),
        1 => Just(Value::Text("99999999999999999999".into())),
        1 => Just(Value::from(vec![f64::NAN])),
    ];
    prop_oneof![
        8 => value.prop_map(|value| values("out", value)),
        1 => Just(Values::new()),
    ]
}

fn tick() -> impl Strategy<Value = Tick> {
    prop_oneof![
        8 => proposal().prop_map(Tick::Proposal),
        4 => (any::<bool>(), -3..4_i8).prop_map(|(upper, beside)| Tick::Edge(upper, beside)),
        2 => Just(Tick::NoProposal),
        1 => Just(Tick::Defaults),
        1 => narrowing().prop_map(Tick::Swap),
    ]
}

fn reading() -> impl Strategy<Value = Values> {
    let broken = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -127.0, 1e300];
    let other = vec![Value::Null, Value::Text("20".into()), true.into(), Value::Int(20)];
    prop_oneof![
        8 => (0.0..90.0_f64).prop_map(|t| values("t", t)),
        1 => prop::sample::select(broken).prop_map(|t| values("t", t)),
        1 => prop::sample::select(other).prop_map(|t| values("t", t)),
        1 => Just(Values::new()),
    ]
}

impl Case {
    fn firmware(&self) -> Bounds {
        self.profile.outputs.values().next().unwrap().bounds.unwrap()
    }

    /// The number so many places beside a bound of the document.
    fn beside(&self, bounds: &Bounds, upper: bool, places: i8) -> Value {
        let bound = if upper { bounds.max } else { bounds.min };
        if self.profile.outputs.values().all(|o| o.value_type == ValueType::F64) {
            let next = if places < 0 { f64::next_down } else { f64::next_up };
            return Value::Float((0..places.abs()).fold(bound, |number, _| next(number)));
        }
        match self.forced[0] {
            Value::Int(_) => Value::Int((bound as i128).saturating_add(places.into())),
            _ => {
                let next = if places < 0 { f32::next_down } else { f32::next_up };
                let single = (0..places.abs()).fold(bound as f32, |number, _| next(number));
                Value::Float(single.into())
            }
        }
    }

    /// What the first interlock that is met asks for. What is no reading meets them all.
    fn forced(&self, inputs: &Values) -> Option<&Value> {
        let reading = match inputs.get("t") {
            Some(Value::Float(t)) if t.is_finite() => Some(*t),
            Some(Value::Int(t)) => Some(*t as f64),
            _ => None,
        };
        let readable = |t: &f64| self.range.is_none_or(|range| *t >= range.min && *t <= range.max);
        match reading.filter(readable) {
            Some(t) if t >= 80.0 => Some(&self.forced[0]),
            Some(t) if t < 5.0 => Some(&self.forced[1]),
            Some(_) => None,
            None => Some(&self.forced[0]),
        }
    }
}

fn within_step(max_step: Option<f64>, last: f64, number: f64) -> bool {
    max_step.is_none_or(|step| number <= last + step && number >= last - step)
}

/// An integer is compared as one: as a double it might round into the bounds.
fn is_inside(bounds: &Bounds, value: &Value) -> bool {
    match value {
        Value::Int(number) => {
            *number >= bounds.min.ceil() as i128 && *number <= bounds.max.floor() as i128
        }
        Value::Float(number) => *number >= bounds.min && *number <= bounds.max,
        _ => false,
    }
}

proptest! {
    #![proptest_config(cases(2048))]

    #[test]
    fn whatever_is_proposed_the_actuator_gets_what_the_firmware_permits(
        case in case(),
        first in narrowing(),
        ticks in prop::collection::vec((tick(), reading()), 1..24),
    ) {
        let output = case.profile.outputs.values().next().unwrap();
        let firmware = case.firmware();
        let by = narrowed(firmware, first);
        let Ok(mut guard) = try_guard(&case.profile, by) else {
            prop_assert!(output.value_type != ValueType::F64, "only a coarse type has gaps");
            return Ok(());
        };
        let mut bounds = by.map_or(firmware, |by| firmware.narrow(&by).unwrap());
        let mut last = case.forced[0].clone();
        for (tick, inputs) in ticks {
            let proposal = match &tick {
                Tick::Proposal(proposal) => Some(proposal.clone()),
                Tick::Edge(upper, places) => {
                    Some(values("out", case.beside(&bounds, *upper, *places)))
                }
                _ => None,
            };
            let clamped = match &tick {
                Tick::Proposal(_) | Tick::Edge(..) | Tick::NoProposal => {
                    guard.actuate(proposal.as_ref(), &inputs)
                }
                Tick::Defaults => guard.default_outputs(&inputs),
                Tick::Swap(by) => {
                    let by = narrowed(firmware, *by);
                    if let Ok(mut next) = try_guard(&case.profile, by) {
                        next.continue_from(&guard);
                        guard = next;
                        bounds = by.map_or(firmware, |by| firmware.narrow(&by).unwrap());
                    }
                    guard.actuate(None, &inputs)
                }
            };
            prop_assert_eq!(clamped.values().len(), 1);
            let value = &clamped.values()["out"];
            prop_assert_eq!(&output.value_type.accept(value), &Ok(value.clone()), "of its type");
            prop_assert!(value.is_finite());
            prop_assert!(is_inside(&firmware, value), "{value:?} left the bounds");
            if let Some(forced) = case.forced(&inputs) {
                prop_assert_eq!(value, forced, "the interlock wins");
                last = value.clone();
                continue;
            }
            let (from, to) = (last.as_f64().unwrap(), value.as_f64().unwrap());
            prop_assert!(within_step(firmware.max_step, from, to), "{last:?} to {value:?}");
            match clamped.source() {
                Source::HoldLast => prop_assert_eq!(value, &last, "held"),
                Source::Active if output.on_violation != OnViolation::Default => {
                    prop_assert!(within_step(bounds.max_step, from, to), "{last:?} to {value:?}");
                    let stays = !is_inside(&bounds, &last) || is_inside(&bounds, value);
                    prop_assert!(stays, "{last:?} to {value:?} left the document's bounds");
                }
                _ => {}
            }
            let proposed = proposal.as_ref().and_then(|proposal| proposal.get("out"));
            if let (Some(proposed), true) = (proposed, clamped.changed().is_empty()) {
                let accepted = output.value_type.accept(proposed);
                prop_assert_eq!(accepted.as_ref(), Ok(value), "changed, yet not counted");
            }
            last = value.clone();
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
        by in narrowing(),
        previews in prop::collection::vec(proposal(), 0..8),
        next in prop::option::of(proposal()),
    ) {
        let by = narrowed(case.firmware(), by);
        let Ok(mut shown) = try_guard(&case.profile, by) else { return Ok(()) };
        let mut untouched = shown.clone();
        for proposal in &previews {
            prop_assert_eq!(shown.preview(proposal), shown.preview(proposal));
        }
        let inputs = values("t", 20.0);
        prop_assert_eq!(
            shown.actuate(next.as_ref(), &inputs),
            untouched.actuate(next.as_ref(), &inputs)
        );
    }
}
