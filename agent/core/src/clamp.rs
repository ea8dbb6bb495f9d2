//! The guard before the actuator: from a proposal to [`Clamped`].
//!
//! `Clamped` has no other constructor, and an actuator takes nothing else. Order:
//! non-finite (a violation before any clamp), the document's narrower bounds, the
//! step from the last value, interlocks. The firmware's bounds hold for every
//! value; a document's narrower ones are approached at the pace that `max_step`
//! permits. Bounds and steps are cut to numbers that the output's type has, so that
//! no rounding leads out of them.
//!
//! It knows no function, no module and no actuator.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use gnomon_schemas::document::FunctionPlan;
use gnomon_schemas::ids::{FunctionName, SignalName};
use gnomon_schemas::profile::{Bounds, Interlock, OnViolation, Output, Profile, Range};
use gnomon_schemas::results::{ClampCounts, Source};
use gnomon_schemas::value::{Value, ValueType, Values};
use gnomon_schemas::{Reason, Refusal, content};

/// Values that may reach an actuator: finite, inside the firmware's bounds, past
/// every interlock.
#[derive(Debug, Clone, PartialEq)]
pub struct Clamped {
    values: Values,
    source: Source,
    changed: BTreeMap<SignalName, ClampCounts>,
}

impl Clamped {
    /// The values by output.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Where they came from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Which outputs differ from what was proposed, and why.
    pub fn changed(&self) -> &BTreeMap<SignalName, ClampCounts> {
        &self.changed
    }
}

/// The rules of one function's outputs, and what they remember.
#[derive(Debug, Clone)]
pub struct Guard {
    rules: Vec<Rule>,
    interlocks: Vec<(Interlock, Option<Range>)>,
    hold_ticks_max: u32,
}

#[derive(Debug, Clone)]
struct Rule {
    name: SignalName,
    output: Output,
    /// The document's bounds and the firmware's, both in numbers of the output's type.
    bounds: Option<(Bounds, Bounds)>,
    last: Value,
    /// Ticks in a row at which the output got no fresh value.
    held_ticks: u32,
}

impl Guard {
    /// The guard of a function under a plan; the actuator is taken to stand at
    /// the profile's defaults.
    ///
    /// # Errors
    /// What [`content::bounds_of`] and [`content::function`] refuse.
    pub fn new(
        profile: &Profile,
        function: &FunctionName,
        plan: &FunctionPlan,
    ) -> Result<Guard, Refusal> {
        let role = content::function(profile, function)?;
        let mut rules = Vec::new();
        for name in &role.outputs {
            let Some(output) = profile.outputs.get(name) else { continue };
            let bounds = content::bounds_of(plan, profile, name)?.zip(output.bounds);
            let bounds = bounds.map(|(narrowed, firmware)| {
                let of = |bounds| {
                    in_type(bounds, &output.value_type).ok_or_else(|| {
                        let detail = format!("bounds.{name}: no {} lies inside", output.value_type);
                        Refusal::new(Reason::BoundsWidened, detail)
                    })
                };
                Ok::<_, Refusal>((of(narrowed)?, of(firmware)?))
            });
            rules.push(Rule {
                name: name.clone(),
                bounds: bounds.transpose()?,
                last: output.value_type.accept(&output.default).unwrap_or(Value::Null),
                held_ticks: 0,
                output: output.clone(),
            });
        }
        let concerns = |interlock: &&Interlock| {
            interlock.then.keys().any(|output| role.outputs.contains(output))
        };
        let with_range = |interlock: &Interlock| {
            let signal = profile.signals.get(&interlock.when.signal);
            (interlock.clone(), signal.and_then(|signal| signal.range))
        };
        Ok(Guard {
            rules,
            interlocks: profile.interlocks.iter().filter(concerns).map(with_range).collect(),
            hold_ticks_max: role.hold_ticks_max,
        })
    }

    /// Goes on from where another guard's actuator stands: a swap is no jump.
    pub fn continue_from(&mut self, before: &Guard) {
        for rule in &mut self.rules {
            if let Some(old) = before.rules.iter().find(|old| old.name == rule.name) {
                rule.last = old.last.clone();
                rule.held_ticks = old.held_ticks;
            }
        }
    }

    /// What the actuator gets at this tick: the proposal made safe, or without one
    /// the last values, or after too many of those the defaults.
    /// An output that gets no fresh value, because the proposal has none that could
    /// be made safe, is held in the same way by itself.
    pub fn actuate(&mut self, proposal: Option<&Values>, inputs: &Values) -> Clamped {
        let hold_ticks_max = self.hold_ticks_max;
        let mut source = Source::Active;
        let settle = |rule: &mut Rule| {
            let proposed = proposal.and_then(|proposal| proposal.get(rule.name.as_str()));
            let (fresh, counts) = match proposed {
                Some(proposed) => rule.safe(proposed),
                None => (None, ClampCounts::default()),
            };
            if let Some(fresh) = fresh {
                rule.held_ticks = 0;
                return (fresh, counts);
            }
            rule.held_ticks = rule.held_ticks.saturating_add(1);
            if rule.held_ticks > hold_ticks_max {
                source = Source::Default;
                return (rule.towards_default(), counts);
            }
            source = source.max(Source::HoldLast);
            (rule.last.clone(), counts)
        };
        let (values, changed) = settle_all(&mut self.rules, &self.interlocks, inputs, settle);
        Clamped { values, source, changed }
    }

    /// The profile's defaults at this tick, for when no function is in control.
    pub fn default_outputs(&mut self, inputs: &Values) -> Clamped {
        let settle = |rule: &mut Rule| (rule.towards_default(), ClampCounts::default());
        let (values, changed) = settle_all(&mut self.rules, &self.interlocks, inputs, settle);
        Clamped { values, source: Source::Default, changed }
    }

    /// Where the actuator stands: the values of the last tick, by output.
    pub fn standing(&self) -> Values {
        self.rules.iter().map(|rule| (rule.name.to_string(), rule.last.clone())).collect()
    }

    /// This guard as it was when the actuator stood at these values, to preview with.
    #[must_use]
    pub fn standing_at(&self, values: &Values) -> Guard {
        let mut guard = self.clone();
        for rule in &mut guard.rules {
            if let Some(value) = values.get(rule.name.as_str()) {
                rule.last = value.clone();
            }
        }
        guard
    }

    /// What a candidate's proposal would have met, and nothing more.
    pub fn preview(&self, proposal: &Values) -> BTreeMap<SignalName, ClampCounts> {
        self.rules
            .iter()
            .filter_map(|rule| {
                let (_, counts) = rule.safe(proposal.get(rule.name.as_str())?);
                (counts.total() > 0).then(|| (rule.name.clone(), counts))
            })
            .collect()
    }

    /// The tolerance and type of each output, for comparison.
    pub fn tolerances(&self) -> impl Iterator<Item = (&SignalName, f64)> {
        self.rules.iter().map(|rule| (&rule.name, rule.output.tolerance))
    }
}

/// Settles each output, then lets the interlocks have their way, and remembers
/// where the actuator stands.
fn settle_all(
    rules: &mut [Rule],
    interlocks: &[(Interlock, Option<Range>)],
    inputs: &Values,
    mut settle: impl FnMut(&mut Rule) -> (Value, ClampCounts),
) -> (Values, BTreeMap<SignalName, ClampCounts>) {
    let mut values = Values::new();
    let mut changed = BTreeMap::new();
    for rule in rules {
        let (mut value, mut counts) = settle(rule);
        if let Some(forced) = interlocked(interlocks, &rule.name, inputs)
            && let Ok(forced) = rule.output.value_type.accept(forced)
            && forced != value
        {
            value = forced;
            counts.interlock += 1;
        }
        rule.last = value.clone();
        if counts.total() > 0 {
            changed.insert(rule.name.clone(), counts);
        }
        values.insert(rule.name.to_string(), value);
    }
    (values, changed)
}

/// The value that the first met interlock puts on this output.
fn interlocked<'a>(
    interlocks: &'a [(Interlock, Option<Range>)],
    output: &SignalName,
    inputs: &Values,
) -> Option<&'a Value> {
    interlocks
        .iter()
        .filter(|(interlock, range)| {
            // Outside the signal's range it is no reading: a broken sensor.
            let reading = inputs
                .get(interlock.when.signal.as_str())
                .and_then(Value::as_f64)
                .filter(|reading| range.is_none_or(|range| range.contains(*reading)));
            interlock.when.is_met(reading)
        })
        .find_map(|(interlock, _)| interlock.then.get(output))
}

impl Rule {
    /// A safe value for what was proposed, if one can be made of it, and what had to
    /// be done to it.
    fn safe(&self, proposed: &Value) -> (Option<Value>, ClampCounts) {
        let mut counts = ClampCounts::default();
        let Ok(value) = self.output.value_type.accept(proposed) else {
            counts.range += 1;
            return (None, counts);
        };
        let Some(number) = value.as_f64() else { return (Some(value), counts) };
        if !number.is_finite() {
            counts.not_finite += 1;
            return (self.on_violation(None), counts);
        }
        let Some((bounds, _)) = self.bounds else {
            // A number without bounds cannot come out of a checked profile.
            counts.range += 1;
            return (None, counts);
        };
        let ranged = number.clamp(bounds.min, bounds.max);
        let stepped = self.within_step(ranged, bounds);
        #[expect(clippy::float_cmp, reason = "a clamp returns the very number when it is inside")]
        {
            counts.range += u64::from(ranged != number);
            counts.step += u64::from(stepped != ranged);
        }
        if counts.total() == 0 {
            return (Some(value), counts);
        }
        (self.on_violation(Some(stepped)), counts)
    }

    /// What a violation leads to, none to hold; `nearest` is the nearest permitted number.
    fn on_violation(&self, nearest: Option<f64>) -> Option<Value> {
        match (self.output.on_violation, nearest) {
            (OnViolation::Clamp, Some(number)) => Some(self.numeric(number)),
            (OnViolation::Default, _) => Some(self.towards_default()),
            _ => None,
        }
    }

    /// The default, approached at the pace that the firmware's step permits.
    fn towards_default(&self) -> Value {
        let default = self.output.value_type.accept(&self.output.default).unwrap_or(Value::Null);
        match (default.as_f64(), self.bounds) {
            (Some(number), Some((_, firmware))) => self.numeric(self.within_step(number, firmware)),
            _ => default,
        }
    }

    /// The number, or the nearest to it that one step from the last value reaches.
    /// The last value lies inside the firmware's bounds, and so does all between.
    fn within_step(&self, number: f64, bounds: Bounds) -> f64 {
        let (Some(step), Some(last)) = (bounds.max_step, self.last.as_f64()) else {
            return number;
        };
        let ty = &self.output.value_type;
        if number > last + step {
            below(last + step, ty).max(last)
        } else if number < last - step {
            above(last - step, ty).min(last)
        } else {
            number
        }
    }

    /// A number in the output's type, which has it.
    #[expect(clippy::cast_possible_truncation, reason = "the number is inside the bounds")]
    fn numeric(&self, number: f64) -> Value {
        let ty = &self.output.value_type;
        ty.accept(&Value::Float(number))
            .or_else(|_| ty.accept(&Value::Int(number as i128)))
            .unwrap_or_else(|_| self.last.clone())
    }
}

/// The bounds cut to numbers that the type has; none if it has none inside them.
fn in_type(bounds: Bounds, ty: &ValueType) -> Option<Bounds> {
    let (least, greatest) = extremes(ty);
    let (min, max) = (above(bounds.min.max(least), ty), below(bounds.max.min(greatest), ty));
    (min <= max).then_some(Bounds { min, max, ..bounds })
}

/// The least and the greatest number of the type that a double can be.
fn extremes(ty: &ValueType) -> (f64, f64) {
    match ty {
        ValueType::U8 => (0.0, u8::MAX.into()),
        ValueType::U16 => (0.0, u16::MAX.into()),
        ValueType::U32 => (0.0, u32::MAX.into()),
        ValueType::U64 => (0.0, 18_446_744_073_709_549_568.0),
        ValueType::S8 => (i8::MIN.into(), i8::MAX.into()),
        ValueType::S16 => (i16::MIN.into(), i16::MAX.into()),
        ValueType::S32 => (i32::MIN.into(), i32::MAX.into()),
        ValueType::S64 => (-9_223_372_036_854_775_808.0, 9_223_372_036_854_774_784.0),
        ValueType::F32 => (f32::MIN.into(), f32::MAX.into()),
        _ => (f64::MIN, f64::MAX),
    }
}

/// The greatest number of the type at or below this one.
fn below(number: f64, ty: &ValueType) -> f64 {
    match ty {
        ValueType::F64 => number,
        ValueType::F32 => single(number, |nearest| nearest > number, f32::next_down),
        _ => whole(number, |nearest| nearest > number, -1.0),
    }
}

/// The least number of the type at or above this one.
fn above(number: f64, ty: &ValueType) -> f64 {
    match ty {
        ValueType::F64 => number,
        ValueType::F32 => single(number, |nearest| nearest < number, f32::next_up),
        _ => whole(number, |nearest| nearest < number, 1.0),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is what is looked for")]
fn single(number: f64, is_beyond: impl Fn(f64) -> bool, back: fn(f32) -> f32) -> f64 {
    let nearest = number as f32;
    let kept = if is_beyond(f64::from(nearest)) { back(nearest) } else { nearest };
    f64::from(kept)
}

/// `f64::floor` and `f64::ceil` are not in `core`. From 2^53 on all numbers are whole.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "below 2^53 the cut number is exact"
)]
fn whole(number: f64, is_beyond: impl Fn(f64) -> bool, back: f64) -> f64 {
    if number.abs() >= 9_007_199_254_740_992.0 {
        return number;
    }
    let cut = number as i64 as f64;
    if is_beyond(cut) { cut + back } else { cut }
}
