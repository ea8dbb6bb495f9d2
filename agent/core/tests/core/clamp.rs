//! The guard by example: each mode, each interlock, each way to have no proposal.

use gnomon_agent_core::Guard;
use gnomon_schemas::document::FunctionPlan;
use gnomon_schemas::profile::{NarrowedBounds, Profile, Range};
use gnomon_schemas::results::{ClampCounts, Source};
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Reason, SignalName};
use serde_json::json;

use super::fixture::setpoint;

/// A profile of one function with one output, given as JSON, and an interlock.
pub fn profile(output: &serde_json::Value, interlocks: &serde_json::Value) -> Profile {
    let profile = json!({
        "schema": "gnomon.profile.v1", "name": "some-device", "version": "1",
        "signals": {"t": {"type": "f64"}},
        "outputs": {"out": output},
        "interlocks": interlocks,
        "functions": {"setpoint": {
            "outputs": ["out"], "period_ms": 1000, "deadline_ms": 100,
            "budget": {"fuel": 1000, "memory_bytes": 65536}, "hold_ticks_max": 2,
        }},
    });
    Profile::parse(&serde_json::to_vec(&profile).unwrap()).unwrap().0
}

fn number(on_violation: &str) -> serde_json::Value {
    json!({"type": "f64", "default": 50, "on_violation": on_violation,
           "bounds": {"min": 35, "max": 70, "max_step": 10}})
}

pub fn guard(profile: &Profile, narrowed: Option<NarrowedBounds>) -> Guard {
    try_guard(profile, narrowed).unwrap()
}

pub fn try_guard(profile: &Profile, narrowed: Option<NarrowedBounds>) -> Result<Guard, Reason> {
    let mut plan = FunctionPlan::default();
    if let Some(narrowed) = narrowed {
        plan.bounds.insert(out(), narrowed);
    }
    Guard::new(profile, &setpoint(), &plan).map_err(|refusal| refusal.reason)
}

pub fn out() -> SignalName {
    "out".parse().unwrap()
}

pub fn values(name: &str, value: impl Into<Value>) -> Values {
    Values::from([(name.to_owned(), value.into())])
}

/// What the actuator gets for each of these proposals in turn, each of them fresh.
fn actuated(guard: &mut Guard, proposals: &[f64]) -> Vec<f64> {
    let ticks = ticks(guard, proposals);
    assert!(ticks.iter().all(|(source, _)| *source == Source::Active), "{ticks:?}");
    ticks.into_iter().map(|(_, value)| value).collect()
}

fn ticks(guard: &mut Guard, proposals: &[f64]) -> Vec<(Source, f64)> {
    let tick = |proposal: &f64| {
        let clamped = guard.actuate(Some(&values("out", *proposal)), &values("t", 0.0));
        (clamped.source(), clamped.values()["out"].as_f64().unwrap())
    };
    proposals.iter().map(tick).collect()
}

#[test]
fn a_violation_is_clamped_to_the_nearest_permitted_value() {
    let mut guard = guard(&profile(&number("clamp"), &json!([])), None);
    let proposals = [55.0, 95.0, 95.0, 95.0, -1e300];
    assert_eq!(actuated(&mut guard, &proposals), [55.0, 65.0, 70.0, 70.0, 60.0]);
}

#[test]
fn what_has_no_nearest_value_is_held_then_the_default_is_approached() {
    for wild in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut guard = guard(&profile(&number("clamp"), &json!([])), None);
        actuated(&mut guard, &[60.0, 70.0]);
        let expected = [
            (Source::HoldLast, 70.0),
            (Source::HoldLast, 70.0),
            (Source::Default, 60.0),
            (Source::Default, 50.0),
        ];
        assert_eq!(ticks(&mut guard, &[wild; 4]), expected);
        assert_eq!(actuated(&mut guard, &[51.0]), [51.0]);
    }
}

#[test]
fn a_violation_holds_the_last_value_where_the_profile_says_so() {
    let mut guard = guard(&profile(&number("hold_last"), &json!([])), None);
    let expected = [
        (Source::Active, 55.0),
        (Source::HoldLast, 55.0),
        (Source::HoldLast, 55.0),
        (Source::Active, 56.0),
        (Source::HoldLast, 56.0),
        (Source::HoldLast, 56.0),
        (Source::Default, 50.0),
    ];
    let proposals = [55.0, 95.0, f64::NAN, 56.0, 36.0, 36.0, 36.0];
    assert_eq!(ticks(&mut guard, &proposals), expected);
}

#[test]
fn a_violation_leads_to_the_default_where_the_profile_says_so() {
    let mut guard = guard(&profile(&number("default"), &json!([])), None);
    let proposals = [60.0, 70.0, 95.0, f64::NEG_INFINITY, 51.0];
    assert_eq!(actuated(&mut guard, &proposals), [60.0, 70.0, 60.0, 50.0, 51.0]);
}

#[test]
fn what_was_changed_is_counted_by_why() {
    let mut guard = guard(&profile(&number("clamp"), &json!([])), None);
    let mut counts = |proposal: f64| {
        let clamped = guard.actuate(Some(&values("out", proposal)), &values("t", 0.0));
        clamped.changed().get(&out()).copied().unwrap_or_default()
    };
    assert_eq!(counts(50.0), ClampCounts::default());
    assert_eq!(counts(95.0), ClampCounts { range: 1, step: 1, ..ClampCounts::default() });
    assert_eq!(counts(75.0), ClampCounts { range: 1, ..ClampCounts::default() });
    assert_eq!(counts(40.0), ClampCounts { step: 1, ..ClampCounts::default() });
    assert_eq!(counts(f64::NAN), ClampCounts { not_finite: 1, ..ClampCounts::default() });
}

#[test]
fn a_proposal_of_another_type_or_without_the_output_holds_the_last_value() {
    let mut guard = guard(&profile(&number("clamp"), &json!([])), None);
    assert_eq!(actuated(&mut guard, &[55.0]), [55.0]);
    for wrong in [Value::Text("60".into()), Value::Bool(true), Value::Null, vec![1.0].into()] {
        let clamped = guard.actuate(Some(&values("out", wrong)), &values("t", 0.0));
        assert_eq!((clamped.source(), clamped.values()), (Source::HoldLast, &values("out", 55.0)));
        assert_eq!(clamped.changed()[&out()].range, 1);
        assert_eq!(actuated(&mut guard, &[55.0]), [55.0]);
    }
    let missing = guard.actuate(Some(&Values::new()), &values("t", 0.0));
    assert_eq!(missing.values(), &values("out", 55.0));
    let more = Values::from([("out".into(), 56.0.into()), ("other".into(), 1.0.into())]);
    let clamped = guard.actuate(Some(&more), &values("t", 0.0));
    assert_eq!(clamped.values(), &values("out", 56.0), "and nothing that the profile lacks");
}

#[test]
fn without_a_proposal_the_last_values_hold_then_the_defaults_are_approached() {
    let mut guard = guard(&profile(&number("clamp"), &json!([])), None);
    actuated(&mut guard, &[60.0, 70.0]);
    let mut none = || {
        let clamped = guard.actuate(None, &values("t", 0.0));
        (clamped.source(), clamped.values()["out"].as_f64().unwrap())
    };
    assert_eq!(none(), (Source::HoldLast, 70.0));
    assert_eq!(none(), (Source::HoldLast, 70.0));
    assert_eq!(none(), (Source::Default, 60.0));
    assert_eq!(none(), (Source::Default, 50.0));
    assert_eq!(none(), (Source::Default, 50.0));
    assert_eq!(actuated(&mut guard, &[51.0]), [51.0]);
    assert_eq!(
        guard.actuate(None, &values("t", 0.0)).source(),
        Source::HoldLast,
        "from zero again"
    );
}

#[test]
fn default_outputs_hold_when_no_function_is_in_control() {
    let mut guard = guard(&profile(&number("clamp"), &json!([])), None);
    actuated(&mut guard, &[60.0, 70.0]);
    let clamped = guard.default_outputs(&values("t", 0.0));
    assert_eq!((clamped.source(), clamped.values()), (Source::Default, &values("out", 60.0)));
}

#[test]
fn an_interlock_wins_over_step_and_proposal_and_an_unreadable_signal_meets_it() {
    let interlock = json!([{"name": "hot", "when": {"signal": "t", "op": ">=", "value": 80},
                            "then": {"out": 35}}]);
    let profile = profile(&number("clamp"), &interlock);
    let met = [
        values("t", 80.0),
        values("t", 1e300),
        values("t", f64::NAN),
        values("t", f64::NEG_INFINITY),
        values("t", Value::Text("cold".into())),
        values("t", Value::Null),
        Values::new(),
    ];
    for inputs in met {
        let mut guard = guard(&profile, None);
        actuated(&mut guard, &[60.0, 70.0]);
        let clamped = guard.actuate(Some(&values("out", 70.0)), &inputs);
        assert_eq!(clamped.values(), &values("out", 35.0), "{inputs:?}");
        assert_eq!(clamped.changed()[&out()].interlock, 1);
        assert_eq!(guard.default_outputs(&inputs).values(), &values("out", 35.0));
        assert_eq!(guard.actuate(None, &inputs).values(), &values("out", 35.0));
        assert_eq!(actuated(&mut guard, &[70.0]), [45.0], "and from there on by steps again");
    }
    let mut guard = guard(&profile, None);
    let below = guard.actuate(Some(&values("out", 60.0)), &values("t", 79.9));
    assert_eq!(below.values(), &values("out", 60.0));
}

#[test]
fn a_reading_outside_its_signals_range_meets_an_interlock_a_broken_sensor_does_not_unlock() {
    let interlock = json!([{"name": "hot", "when": {"signal": "t", "op": ">=", "value": 80},
                            "then": {"out": 35}}]);
    let mut profile = profile(&number("clamp"), &interlock);
    let signal = profile.signals.values_mut().next().unwrap();
    signal.range = Some(Range { min: -10.0, max: 110.0 });
    for (reading, value) in [(-127.0, 35.0), (-10.0, 55.0), (20.0, 55.0), (200.0, 35.0)] {
        let mut guard = guard(&profile, None);
        let clamped = guard.actuate(Some(&values("out", 55.0)), &values("t", reading));
        assert_eq!(clamped.values(), &values("out", value), "{reading}");
    }
}

#[test]
fn narrowed_bounds_are_approached_at_the_pace_of_the_step() {
    let profile = profile(&number("clamp"), &json!([]));
    let mut wide = guard(&profile, None);
    actuated(&mut wide, &[60.0, 70.0]);
    let narrowed = NarrowedBounds { max: Some(45.0), ..NarrowedBounds::default() };
    let mut narrow = guard(&profile, Some(narrowed));
    narrow.continue_from(&wide);
    assert_eq!(actuated(&mut narrow, &[70.0, 70.0, 70.0, 70.0]), [60.0, 50.0, 45.0, 45.0]);
}

#[test]
fn a_swap_is_no_jump() {
    let profile = profile(&number("clamp"), &json!([]));
    let mut before = guard(&profile, None);
    actuated(&mut before, &[60.0, 70.0]);
    before.actuate(None, &values("t", 0.0));
    let mut after = guard(&profile, None);
    after.continue_from(&before);
    assert_eq!(after.actuate(None, &values("t", 0.0)).source(), Source::HoldLast);
    assert_eq!(after.actuate(None, &values("t", 0.0)).source(), Source::Default, "2 held already");
}

#[test]
fn a_preview_changes_nothing_and_starts_where_the_actuator_stood() {
    let mut guard = guard(&profile(&number("clamp"), &json!([])), None);
    let preview = |guard: &Guard, number: f64| guard.preview(&values("out", number)).remove(&out());
    assert_eq!(preview(&guard, 65.0).unwrap().step, 1);
    assert_eq!(preview(&guard, 55.0), None);
    assert_eq!(preview(&guard, 65.0).unwrap().step, 1, "as before");
    assert_eq!(guard.preview(&Values::new()).len(), 0);
    let there = guard.standing_at(&values("out", 60.0));
    assert_eq!(preview(&there, 65.0), None);
    assert_eq!(guard.standing(), values("out", 50.0));
    assert_eq!(actuated(&mut guard, &[70.0]), [60.0]);
}

#[test]
fn an_integer_output_stays_inside_fractional_bounds_and_steps() {
    let output = json!({"type": "u8", "default": 3,
                        "bounds": {"min": 1.5, "max": 6.5, "max_step": 1.5}});
    let mut guard = guard(&profile(&output, &json!([])), None);
    let mut next = |proposal: i128| {
        let clamped = guard.actuate(Some(&values("out", Value::Int(proposal))), &Values::new());
        clamped.values()["out"].clone()
    };
    let ticks: Vec<Value> = [0, 0, 0, 255, 255, 255, 255, 255].map(&mut next).to_vec();
    assert_eq!(ticks, [2, 2, 2, 3, 4, 5, 6, 6].map(Value::Int));
    assert_eq!(next(300), Value::Int(6), "not a u8");
}

#[test]
fn a_narrowed_range_that_holds_no_value_of_the_type_is_refused() {
    let output = json!({"type": "u8", "default": 3, "bounds": {"min": 0, "max": 10}});
    let between = NarrowedBounds { min: Some(1.2), max: Some(1.8), max_step: None };
    let refused = try_guard(&profile(&output, &json!([])), Some(between));
    assert_eq!(refused.unwrap_err(), Reason::BoundsWidened);
}

#[test]
fn bounds_beyond_what_the_type_can_hold_end_where_the_type_ends() {
    let output = json!({"type": "u8", "default": 40, "bounds": {"min": -5, "max": 1e12}});
    let profile = profile(&output, &json!([]));
    let mut wide = guard(&profile, None);
    let clamped = wide.actuate(Some(&values("out", Value::Int(255))), &Values::new());
    assert_eq!(clamped.values(), &values("out", Value::Int(255)));
    let beyond = NarrowedBounds { min: Some(1e9), ..NarrowedBounds::default() };
    assert_eq!(try_guard(&profile, Some(beyond)).unwrap_err(), Reason::BoundsWidened);
}

#[test]
fn an_integer_that_is_no_double_is_not_rounded_into_its_bounds() {
    let two_to_53 = 9_007_199_254_740_992_i64;
    let output = json!({"type": "s64", "default": 0,
                        "bounds": {"min": -9_007_199_254_740_992.0, "max": 9_007_199_254_740_992.0}});
    let mut guard = guard(&profile(&output, &json!([])), None);
    for (proposal, range) in [(0, 0), (1, 1), (2, 1)] {
        let proposal = Value::Int((two_to_53 + proposal).into());
        let clamped = guard.actuate(Some(&values("out", proposal)), &Values::new());
        assert_eq!(clamped.values(), &values("out", Value::Int(two_to_53.into())));
        assert_eq!(clamped.changed().get(&out()).map_or(0, |counts| counts.range), range);
    }
}

#[test]
fn a_single_precision_output_is_never_rounded_out_of_its_bounds() {
    let output = json!({"type": "f32", "default": 0, "bounds": {"min": -0.1, "max": 0.1}});
    let mut guard = guard(&profile(&output, &json!([])), None);
    for proposal in [1.0, 0.1, -1.0, -0.1] {
        let [value] = actuated(&mut guard, &[proposal])[..] else { panic!("one tick") };
        assert!((-0.1..=0.1).contains(&value), "{proposal} became {value:?}");
        assert_eq!(f64::from(value as f32), value, "a single precision number");
    }
}

#[test]
fn a_bool_and_an_enum_pass_or_hold() {
    let output = json!({"type": "bool", "default": false});
    let interlock = json!([{"name": "hot", "when": {"signal": "t", "op": ">", "value": 80},
                            "then": {"out": false}}]);
    let mut on = guard(&profile(&output, &interlock), None);
    let mut tick = |value: Value, t: f64| {
        on.actuate(Some(&values("out", value)), &values("t", t)).values()["out"].clone()
    };
    assert_eq!(tick(true.into(), 20.0), Value::Bool(true));
    assert_eq!(tick(Value::Int(0), 20.0), Value::Bool(true), "held");
    assert_eq!(tick(true.into(), 81.0), Value::Bool(false));

    let output = json!({"type": {"enum": ["off", "eco"]}, "default": "off"});
    let mut mode = guard(&profile(&output, &json!([])), None);
    let mut tick = |case: &str| {
        let proposal = values("out", Value::Text(case.into()));
        mode.actuate(Some(&proposal), &values("t", 0.0)).values()["out"].clone()
    };
    assert_eq!(tick("eco"), Value::Text("eco".into()));
    assert_eq!(tick("boost"), Value::Text("eco".into()), "held");
    assert_eq!(mode.actuate(None, &Values::new()).source(), Source::HoldLast);
    mode.actuate(None, &Values::new());
    let default = mode.actuate(None, &Values::new());
    assert_eq!(default.values(), &values("out", Value::Text("off".into())));
}
