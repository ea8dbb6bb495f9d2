//! Step 11 of verification: whether a document's content fits the profile. The
//! cloud asks before it signs, the device asks again before it acts.

use crate::document::{Document, FunctionPlan, GoldenVector};
use crate::ids::{FunctionName, SignalName};
use crate::limits::{
    CANDIDATES_MAX, GOLDEN_VECTORS_MAX, INLINE_MODULE_BYTES_MAX, INLINE_MODULES_BYTES_MAX,
};
use crate::profile::{Bounds, Budget, Function, Profile, Range};
use crate::reason::{Reason, Refusal};

/// Checks functions, slots, bounds, budgets and config against the profile.
///
/// # Errors
/// The first thing that does not fit, naming the place.
pub fn check(document: &Document, profile: &Profile) -> Result<(), Refusal> {
    for (name, plan) in &document.functions {
        check_plan(document, plan, function(profile, name)?, profile)
            .map_err(|refusal| refusal.at(format!("functions.{name}")))?;
    }
    check_inline(document)?;
    profile.check_config(&document.config)
}

/// The profile's function of this name.
///
/// # Errors
/// [`Reason::UnknownFunction`], listing those that exist.
pub fn function<'a>(profile: &'a Profile, name: &FunctionName) -> Result<&'a Function, Refusal> {
    profile.functions.get(name).ok_or_else(|| {
        let known: Vec<&str> = profile.functions.keys().map(FunctionName::as_str).collect();
        let detail = format!(
            "profile `{}` has no function `{name}`; it has {}",
            profile.name,
            known.join(", ")
        );
        Refusal::new(Reason::UnknownFunction, detail)
    })
}

fn check_plan(
    document: &Document,
    plan: &FunctionPlan,
    function: &Function,
    profile: &Profile,
) -> Result<(), Refusal> {
    if plan.candidates.len() > CANDIDATES_MAX {
        let detail = format!("{} candidates, at most {CANDIDATES_MAX}", plan.candidates.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    for slot in plan.slots() {
        if !document.modules.contains_key(&slot.module) {
            let detail = format!("module {} is not listed in `modules`", slot.module);
            return Err(Refusal::new(Reason::ModuleMissing, detail));
        }
    }
    for name in plan.bounds.keys() {
        if !function.outputs.contains(name) {
            let detail = format!("bounds.{name}: not an output of this function");
            return Err(Refusal::new(Reason::UnknownOutput, detail));
        }
        bounds_of(plan, profile, name)?;
    }
    check_golden(plan, profile, function)?;
    budget_of(plan, function).map(|_| ())
}

/// Golden vectors that could never be met, or never be missed, are refused with their place.
fn check_golden(
    plan: &FunctionPlan,
    profile: &Profile,
    function: &Function,
) -> Result<(), Refusal> {
    if plan.golden.len() > GOLDEN_VECTORS_MAX {
        let detail = format!("{} golden vectors, at most {GOLDEN_VECTORS_MAX}", plan.golden.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    if plan.active.is_none() && !plan.golden.is_empty() {
        let detail = "golden vectors, but no active module to run them on";
        return Err(Refusal::new(Reason::GoldenInvalid, detail));
    }
    for (index, vector) in plan.golden.iter().enumerate() {
        if let Err(detail) = check_vector(vector, profile, function) {
            let detail = format!("golden[{index}].{detail}");
            return Err(Refusal::new(Reason::GoldenInvalid, detail));
        }
    }
    Ok(())
}

/// Which inputs the module reads is not known here: those that are given must be readings
/// that a device can have.
fn check_vector(
    vector: &GoldenVector,
    profile: &Profile,
    function: &Function,
) -> Result<(), String> {
    if !(vector.tolerance.is_finite() && vector.tolerance >= 0.0) {
        return Err("tolerance must be a number from 0 on".into());
    }
    if vector.outputs.is_empty() {
        return Err("outputs names nothing to look at".into());
    }
    for (name, value) in &vector.inputs {
        let signal = name.parse().ok().and_then(|name: SignalName| profile.signals.get(&name));
        let Some(signal) = signal else {
            return Err(format!("inputs.{name}: no signal of profile `{}`", profile.name));
        };
        let value = signal.value_type.accept(value).map_err(|e| format!("inputs.{name}: {e}"))?;
        let is_outside = |range: Range| value.as_f64().is_some_and(|n| !range.contains(n));
        if signal.range.is_some_and(is_outside) {
            return Err(format!("inputs.{name}: outside the signal's range"));
        }
    }
    for (name, value) in &vector.outputs {
        let own = function.outputs.iter().find(|output| output.as_str() == name);
        let Some(output) = own.and_then(|name| profile.outputs.get(name)) else {
            return Err(format!("outputs.{name}: no output of this function"));
        };
        output.value_type.accept(value).map_err(|e| format!("outputs.{name}: {e}"))?;
    }
    Ok(())
}

/// The bounds in force for one output: the firmware's, narrowed by the document.
///
/// # Errors
/// [`Reason::BoundsWidened`] when the document would widen them.
pub fn bounds_of(
    plan: &FunctionPlan,
    profile: &Profile,
    output: &crate::ids::SignalName,
) -> Result<Option<Bounds>, Refusal> {
    let firmware = profile.outputs.get(output).and_then(|output| output.bounds);
    let Some(by) = plan.bounds.get(output) else { return Ok(firmware) };
    let widened =
        |what: &str| Refusal::new(Reason::BoundsWidened, format!("bounds.{output}: {what}"));
    let firmware = firmware.ok_or_else(|| widened("the profile has no bounds to narrow"))?;
    let narrowed = firmware.narrow(by).ok_or_else(|| {
        widened(&format!(
            "{} is not inside the firmware's {}",
            range_text(by.min, by.max, by.max_step),
            range_text(Some(firmware.min), Some(firmware.max), firmware.max_step)
        ))
    })?;
    Ok(Some(narrowed))
}

fn range_text(min: Option<f64>, max: Option<f64>, max_step: Option<f64>) -> String {
    let part = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {value}"));
    let parts = [part("min", min), part("max", max), part("max_step", max_step)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The budget in force: the profile's, or a smaller one of the document.
///
/// # Errors
/// [`Reason::BudgetExceeded`] when the document asks for more.
pub fn budget_of(plan: &FunctionPlan, function: &Function) -> Result<Budget, Refusal> {
    let Some(asked) = plan.budget else { return Ok(function.budget) };
    if asked.fuel > function.budget.fuel || asked.memory_bytes > function.budget.memory_bytes {
        let has = function.budget;
        let detail = format!(
            "budget: {} fuel and {} bytes are above the profile's {} and {}",
            asked.fuel, asked.memory_bytes, has.fuel, has.memory_bytes
        );
        return Err(Refusal::new(Reason::BudgetExceeded, detail));
    }
    Ok(asked)
}

fn check_inline(document: &Document) -> Result<(), Refusal> {
    let sizes = || document.modules.values().filter_map(|m| m.inline.as_ref()).map(|b| b.0.len());
    let all: usize = sizes().sum();
    if sizes().any(|size| size > INLINE_MODULE_BYTES_MAX) || all > INLINE_MODULES_BYTES_MAX {
        let detail = format!(
            "inline modules: at most {INLINE_MODULE_BYTES_MAX} bytes each and {INLINE_MODULES_BYTES_MAX} together"
        );
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    Ok(())
}
