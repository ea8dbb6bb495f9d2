//! The guard before the actuator: from a proposal to [`Clamped`].
//!
//! `Clamped` has no other constructor, and an actuator takes nothing else. Order:
//! non-finite (a violation before any clamp), the document's narrower bounds, the
//! step from the last value, the firmware's bounds, interlocks. The firmware's
//! bounds hold for every value; a document's narrower ones are approached at the
//! pace that `max_step` permits.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use gnomon_schemas::document::FunctionPlan;
use gnomon_schemas::ids::{FunctionName, SignalName};
use gnomon_schemas::profile::{Bounds, Interlock, OnViolation, Output, Profile};
use gnomon_schemas::results::{ClampCounts, Source};
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Refusal, content};

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
    interlocks: Vec<Interlock>,
    hold_ticks_max: u32,
    held_ticks: u32,
}

#[derive(Debug, Clone)]
struct Rule {
    name: SignalName,
    output: Output,
    bounds: Option<Bounds>,
    last: Value,
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
            rules.push(Rule {
                name: name.clone(),
                bounds: content::bounds_of(plan, profile, name)?,
                last: output.value_type.accept(&output.default).unwrap_or(Value::Null),
                output: output.clone(),
            });
        }
        let concerns = |interlock: &&Interlock| {
            interlock.then.keys().any(|output| role.outputs.contains(output))
        };
        Ok(Guard {
            rules,
            interlocks: profile.interlocks.iter().filter(concerns).cloned().collect(),
            hold_ticks_max: role.hold_ticks_max,
            held_ticks: 0,
        })
    }

    /// Goes on from where another guard's actuator stands: a swap is no jump.
    pub fn continue_from(&mut self, before: &Guard) {
        for rule in &mut self.rules {
            if let Some(old) = before.rules.iter().find(|old| old.name == rule.name) {
                rule.last = old.last.clone();
            }
        }
        self.held_ticks = before.held_ticks;
    }

    /// What the actuator gets at this tick: the proposal made safe, or without one
    /// the last values, or after too many of those the defaults.
    pub fn actuate(&mut self, proposal: Option<&Values>, inputs: &Values) -> Clamped {
        let source = match proposal {
            Some(_) => Source::Active,
            None if self.held_ticks < self.hold_ticks_max => Source::HoldLast,
            None => Source::Default,
        };
        self.held_ticks = if proposal.is_some() { 0 } else { self.held_ticks.saturating_add(1) };
        self.settle(source, proposal, inputs)
    }

    /// The profile's defaults at this tick, for when no function is in control.
    pub fn default_outputs(&mut self, inputs: &Values) -> Clamped {
        self.settle(Source::Default, None, inputs)
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

    fn settle(&mut self, source: Source, proposal: Option<&Values>, inputs: &Values) -> Clamped {
        let mut values = Values::new();
        let mut changed = BTreeMap::new();
        for rule in &mut self.rules {
            let (mut value, mut counts) = match (source, proposal) {
                (Source::Active, Some(proposal)) => match proposal.get(rule.name.as_str()) {
                    Some(proposed) => rule.safe(proposed),
                    None => (rule.last.clone(), ClampCounts::default()),
                },
                (Source::Default, _) => (rule.towards_default(), ClampCounts::default()),
                _ => (rule.last.clone(), ClampCounts::default()),
            };
            if let Some(forced) = interlocked(&self.interlocks, &rule.name, inputs)
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
        Clamped { values, source, changed }
    }
}

/// The value that the first met interlock puts on this output.
fn interlocked<'a>(
    interlocks: &'a [Interlock],
    output: &SignalName,
    inputs: &Values,
) -> Option<&'a Value> {
    interlocks
        .iter()
        .filter(|interlock| {
            let reading = inputs.get(interlock.when.signal.as_str()).and_then(Value::as_f64);
            interlock.when.is_met(reading)
        })
        .find_map(|interlock| interlock.then.get(output))
}

impl Rule {
    /// A safe value for what was proposed, and what had to be done to it.
    fn safe(&self, proposed: &Value) -> (Value, ClampCounts) {
        let mut counts = ClampCounts::default();
        let Ok(value) = self.output.value_type.accept(proposed) else {
            counts.range += 1;
            return (self.last.clone(), counts);
        };
        let Some(number) = value.as_f64() else { return (value, counts) };
        if !number.is_finite() {
            counts.not_finite += 1;
            return (self.on_violation(None), counts);
        }
        let (Some(bounds), Some(firmware)) = (self.bounds, self.output.bounds) else {
            // A number without bounds cannot come out of a checked profile.
            counts.range += 1;
            return (self.last.clone(), counts);
        };
        let ranged = number.clamp(bounds.min, bounds.max);
        let stepped = self.within_step(ranged, bounds.max_step);
        #[expect(clippy::float_cmp, reason = "a clamp returns the very number when it is inside")]
        {
            counts.range += u64::from(ranged != number);
            counts.step += u64::from(stepped != ranged);
        }
        if counts.total() == 0 {
            return (value, counts);
        }
        (self.on_violation(Some(stepped.clamp(firmware.min, firmware.max))), counts)
    }

    /// What a violation leads to; `nearest` is the nearest permitted number.
    fn on_violation(&self, nearest: Option<f64>) -> Value {
        match (self.output.on_violation, nearest) {
            (OnViolation::Clamp, Some(number)) => self.numeric(number),
            (OnViolation::Default, _) => self.towards_default(),
            _ => self.last.clone(),
        }
    }

    /// The default, approached at the pace that the firmware's step permits.
    fn towards_default(&self) -> Value {
        let default = self.output.value_type.accept(&self.output.default).unwrap_or(Value::Null);
        match (default.as_f64(), self.output.bounds) {
            (Some(number), Some(bounds)) => {
                let stepped = self.within_step(number, bounds.max_step);
                self.numeric(stepped.clamp(bounds.min, bounds.max))
            }
            _ => default,
        }
    }

    fn within_step(&self, number: f64, max_step: Option<f64>) -> f64 {
        match (max_step, self.last.as_f64()) {
            (Some(step), Some(last)) => number.clamp(last - step, last + step),
            _ => number,
        }
    }

    /// A number in the output's type. Integers are cut towards zero, which keeps
    /// them inside bounds that contain them.
    #[expect(clippy::cast_possible_truncation, reason = "the number is inside the bounds")]
    fn numeric(&self, number: f64) -> Value {
        match self.output.value_type.accept(&Value::Float(number)) {
            Ok(value) => value,
            Err(_) => {
                let whole = Value::Int(number as i128);
                self.output.value_type.accept(&whole).unwrap_or_else(|_: String| self.last.clone())
            }
        }
    }
}
