//! Step 11: whether a document's content fits the profile.

use super::fixture::{component, document, manifest, profile};
use gnomon_schemas::document::{Document, FunctionPlan, GoldenVector, InlineBytes, Slot};
use gnomon_schemas::limits::{
    CANDIDATES_MAX, GOLDEN_VECTORS_MAX, INLINE_MODULE_BYTES_MAX, INLINE_MODULES_BYTES_MAX,
};
use gnomon_schemas::profile::{Bounds, Budget, NarrowedBounds};
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Digest, FunctionName, Reason, SignalName, content};

fn setpoint() -> FunctionName {
    "setpoint".parse().unwrap()
}

fn output() -> SignalName {
    "setpoint_c".parse().unwrap()
}

fn plan(document: &mut Document) -> &mut FunctionPlan {
    document.functions.get_mut(&setpoint()).unwrap()
}

/// The example document with one change, checked against the example profile.
fn check(change: impl FnOnce(&mut Document)) -> Result<(), (Reason, String)> {
    let mut document = document();
    change(&mut document);
    content::check(&document, &profile().0).map_err(|refusal| (refusal.reason, refusal.detail))
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Document), reason: Reason, told: &[&str]) {
    let (found, detail) = check(change).unwrap_err();
    assert_eq!(found, reason, "{detail}");
    for part in told {
        assert!(detail.contains(part), "`{part}` is not in: {detail}");
    }
}

#[test]
fn the_example_fits() {
    check(|_| {}).unwrap();
    check(|document| document.functions.clear()).unwrap();
    check(|document| {
        plan(document).golden.clear();
        plan(document).active = None;
    })
    .unwrap();
}

#[test]
fn an_unknown_function_is_named_with_those_that_exist() {
    let change = |document: &mut Document| {
        document.functions.insert("boost".parse().unwrap(), FunctionPlan::default());
    };
    refused(change, Reason::UnknownFunction, &["`boost`", "water-heater", "it has setpoint"]);
}

#[test]
fn bounds_are_narrowed_for_the_functions_own_outputs_only() {
    let narrowed = |min, max, max_step| NarrowedBounds { min, max, max_step };
    let with = |by: NarrowedBounds| {
        move |document: &mut Document| {
            plan(document).bounds.insert(output(), by);
        }
    };
    check(with(narrowed(Some(40.0), Some(60.0), Some(5.0)))).unwrap();
    let place = &["functions.setpoint: bounds.setpoint_c"][..];
    refused(with(narrowed(None, Some(95.0), None)), Reason::BoundsWidened, place);
    refused(with(narrowed(Some(20.0), None, None)), Reason::BoundsWidened, place);
    refused(with(narrowed(None, None, Some(41.0))), Reason::BoundsWidened, place);
    refused(with(narrowed(Some(60.0), Some(50.0), None)), Reason::BoundsWidened, place);
    let other = |document: &mut Document| {
        plan(document).bounds.insert("element_on".parse().unwrap(), NarrowedBounds::default());
    };
    refused(other, Reason::UnknownOutput, &["functions.setpoint: bounds.element_on"]);
}

#[test]
fn bounds_in_force_are_the_firmwares_narrowed() {
    let (profile, _) = profile();
    let mut document = document();
    let plan = plan(&mut document);
    let in_force = content::bounds_of(plan, &profile, &output()).unwrap();
    assert_eq!(in_force, Some(Bounds { min: 35.0, max: 65.0, max_step: Some(40.0) }));
    plan.bounds.clear();
    let in_force = content::bounds_of(plan, &profile, &output()).unwrap();
    assert_eq!(in_force, Some(Bounds { min: 35.0, max: 70.0, max_step: Some(40.0) }));
}

#[test]
fn a_budget_is_at_most_the_profiles() {
    let (profile, _) = profile();
    let most = profile.functions[&setpoint()].budget;
    let with = |fuel, memory_bytes| {
        move |document: &mut Document| plan(document).budget = Some(Budget { fuel, memory_bytes })
    };
    check(with(most.fuel, most.memory_bytes)).unwrap();
    check(|document| plan(document).budget = None).unwrap();
    let place = &["functions.setpoint: budget"][..];
    refused(with(most.fuel + 1, most.memory_bytes), Reason::BudgetExceeded, place);
    refused(with(1, most.memory_bytes + 1), Reason::BudgetExceeded, place);
    let none = FunctionPlan::default();
    assert_eq!(content::budget_of(&none, &profile.functions[&setpoint()]), Ok(most));
}

#[test]
fn a_slot_names_a_listed_module() {
    let slot = || Slot { module: Digest::of(b"another"), params: Values::new() };
    let short = slot().module.to_string();
    let told = &["functions.setpoint", &short, "modules"][..];
    refused(|document| plan(document).active = Some(slot()), Reason::ModuleMissing, told);
    refused(|document| plan(document).candidates.push(slot()), Reason::ModuleMissing, told);
    refused(|document| document.modules.clear(), Reason::ModuleMissing, &["functions.setpoint"]);
}

#[test]
fn candidates_are_counted() {
    let fill = |count| {
        move |document: &mut Document| {
            let one = plan(document).candidates[0].clone();
            plan(document).candidates = vec![one; count];
        }
    };
    check(fill(CANDIDATES_MAX)).unwrap();
    refused(fill(CANDIDATES_MAX + 1), Reason::TooLarge, &["5 candidates, at most 4"]);
}

/// A vector that the example's module could meet.
fn vector() -> GoldenVector {
    GoldenVector {
        inputs: Values::from([("hour".into(), Value::Float(1.0))]),
        state: None,
        outputs: Values::from([("setpoint_c".into(), Value::Float(60.0))]),
        tolerance: 0.0,
    }
}

/// The example document with a good vector and one that is changed.
fn golden(change: impl FnOnce(&mut GoldenVector)) -> impl FnOnce(&mut Document) {
    move |document: &mut Document| {
        let mut changed = vector();
        change(&mut changed);
        plan(document).golden = vec![vector(), changed];
    }
}

#[test]
fn golden_vectors_that_could_be_met_and_missed_are_taken() {
    check(golden(|_| {})).unwrap();
    check(golden(|vector| vector.tolerance = 1e300)).unwrap();
    check(golden(|vector| vector.inputs.clear())).unwrap();
    check(golden(|vector| vector.state = Some(Values::new()))).unwrap();
    let whole = |vector: &mut GoldenVector| {
        vector.inputs.insert("hour".into(), Value::Int(24));
        vector.outputs.insert("setpoint_c".into(), Value::Int(-400));
    };
    // What the guard makes of an output is no part of it: a function may ask for anything.
    check(golden(whole)).unwrap();
    let most = vec![vector(); GOLDEN_VECTORS_MAX];
    check(|document| plan(document).golden = most).unwrap();
}

#[test]
fn golden_vectors_that_could_never_be_met_or_missed_are_refused_with_their_place() {
    let place = |what: &str| format!("functions.setpoint: golden[1].{what}");
    let invalid = |change: &dyn Fn(&mut GoldenVector), what: &str| {
        refused(golden(change), Reason::GoldenInvalid, &[&place(what)]);
    };
    invalid(&|vector| vector.tolerance = -0.5, "tolerance must be");
    invalid(&|vector| vector.tolerance = f64::NAN, "tolerance must be");
    invalid(&|vector| vector.tolerance = f64::INFINITY, "tolerance must be");
    invalid(&|vector| vector.outputs.clear(), "outputs names nothing");
    let output = |vector: &mut GoldenVector, name: &str, value: Value| {
        vector.outputs.insert(name.into(), value);
    };
    invalid(&|v| output(v, "element_on", Value::Bool(true)), "outputs.element_on: no output");
    invalid(&|v| output(v, "Not a name", Value::Float(1.0)), "outputs.Not a name: no output");
    invalid(&|v| output(v, "setpoint_c", Value::Text("warm".into())), "outputs.setpoint_c: ");
    invalid(&|v| output(v, "setpoint_c", Value::Null), "outputs.setpoint_c: ");
    let input = |vector: &mut GoldenVector, name: &str, value: Value| {
        vector.inputs.insert(name.into(), value);
    };
    invalid(&|v| input(v, "wind", Value::Float(1.0)), "inputs.wind: no signal of profile");
    invalid(&|v| input(v, "hour", Value::Bool(true)), "inputs.hour: ");
    invalid(&|v| input(v, "hour", Value::Float(24.5)), "inputs.hour: outside");
    invalid(&|v| input(v, "tank_temp_c", Value::Int(-11)), "inputs.tank_temp_c: outside");
}

#[test]
fn golden_vectors_are_counted_and_need_a_module_in_control() {
    let too_many = vec![vector(); GOLDEN_VECTORS_MAX + 1];
    let told = &["functions.setpoint", "17 golden vectors, at most 16"][..];
    refused(|document| plan(document).golden = too_many, Reason::TooLarge, told);
    let nobody = |document: &mut Document| {
        plan(document).golden = vec![vector()];
        plan(document).active = None;
    };
    refused(nobody, Reason::GoldenInvalid, &["no active module"]);
}

#[test]
fn probation_may_ask_for_anything_that_can_be_counted() {
    let rules = |text: &str| {
        let rules = serde_json::from_str(text).unwrap();
        move |document: &mut Document| plan(document).probation = Some(rules)
    };
    check(rules("{}")).unwrap();
    check(rules(r#"{"ticks": 0}"#)).unwrap();
    check(rules(r#"{"ticks": 4294967295, "faults_max": 4294967295, "clamps_max": 0}"#)).unwrap();
    let partial: gnomon_schemas::document::Probation =
        serde_json::from_str(r#"{"faults_max": 5}"#).unwrap();
    assert_eq!((partial.ticks, partial.faults_max, partial.clamps_max), (20, 5, None));
}

#[test]
fn config_errors_name_their_pointer() {
    let with = |name: &str, value: serde_json::Value| {
        let name = name.to_owned();
        move |document: &mut Document| {
            document.config.insert(name, value);
        }
    };
    check(with("comfort_min_c", 30.into())).unwrap();
    let (hot, unknown) = (with("comfort_min_c", 95.into()), with("colour", "red".into()));
    refused(hot, Reason::ConfigInvalid, &["config/comfort_min_c: ", "60"]);
    refused(unknown, Reason::ConfigInvalid, &["config: ", "colour"]);
}

#[test]
fn inline_modules_are_small_each_and_together() {
    let inline = |sizes: &[usize]| {
        let sizes = sizes.to_vec();
        move |document: &mut Document| {
            for (index, size) in sizes.into_iter().enumerate() {
                let mut listed = document.modules[&Digest::of(&component(&manifest()))].clone();
                listed.inline = Some(InlineBytes(vec![0; size]));
                document.modules.insert(Digest::of(index.to_string().as_bytes()), listed);
            }
            // The example's own module is not to count here.
            document.modules.get_mut(&Digest::of(&component(&manifest()))).unwrap().inline = None;
        }
    };
    let most = INLINE_MODULE_BYTES_MAX;
    let fit = INLINE_MODULES_BYTES_MAX / most;
    check(inline(&[most])).unwrap();
    check(inline(&vec![most; fit])).unwrap();
    refused(inline(&[most + 1]), Reason::TooLarge, &["inline modules"]);
    let too_many = [vec![most; fit], vec![1]].concat();
    refused(inline(&too_many), Reason::TooLarge, &["inline modules"]);
}
