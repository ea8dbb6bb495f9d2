//! The guard before the actuator: from a proposal to [`Clamped`].
//!
//! `Clamped` has no other constructor, and an actuator takes nothing else. Order:
//! non-finite (a violation before any clamp), the document's narrower bounds, the
//! step from the last value, interlocks. The firmware's bounds hold for every
//! value; a document's narrower ones are approached at the pace that `max_step`
//! permits. The arithmetic is in [`permitted`](crate::permitted).
//!
//! It knows no function, no module and no actuator.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use gnomon_schemas::document::FunctionPlan;
use gnomon_schemas::ids::{FunctionName, SignalName};
use gnomon_schemas::profile::{Interlock, OnViolation, Output, Profile, Range};
use gnomon_schemas::results::{ClampCounts, Source};
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Reason, Refusal, content};

use crate::canary::{self, Canary};
use crate::permitted::Permitted;

/// Values that may reach an actuator: finite, inside the firmware's bounds, past
/// every interlock.
///
/// A guard makes them, and nothing else does. Each attempt below is refused by the
/// compiler, and stands beside what compiles, so that it fails for no other reason.
/// ```
/// # use gnomon_agent_core::{Clamped, Guard};
/// # use gnomon_schemas::value::Values;
/// fn by_a_guard(guard: &mut Guard, inputs: &Values) -> Clamped {
///     guard.default_outputs(inputs)
/// }
/// ```
/// Not by its fields, which are private:
/// ```
/// # use gnomon_agent_core::Clamped;
/// # use gnomon_schemas::{SignalName, results::{ClampCounts, Source}, value::Values};
/// # use std::collections::BTreeMap;
/// struct Open { values: Values, source: Source, changed: BTreeMap<SignalName, ClampCounts> }
/// fn by_its_fields(values: Values) -> Open {
///     Open { values, source: Source::Active, changed: BTreeMap::new() }
/// }
/// ```
/// ```compile_fail,E0451
/// # use gnomon_agent_core::Clamped;
/// # use gnomon_schemas::{SignalName, results::{ClampCounts, Source}, value::Values};
/// # use std::collections::BTreeMap;
/// fn by_its_fields(values: Values) -> Clamped {
///     Clamped { values, source: Source::Active, changed: BTreeMap::new() }
/// }
/// ```
/// Not out of nothing, bare values or bytes:
/// ```
/// # use gnomon_schemas::value::Values;
/// fn out_of_nothing() -> Values {
///     Default::default()
/// }
/// fn out_of_values(values: Values) -> Values {
///     values.into()
/// }
/// fn out_of_bytes(bytes: &[u8]) -> Values {
///     serde_json::from_slice(bytes).unwrap()
/// }
/// ```
/// ```compile_fail,E0277
/// # use gnomon_agent_core::Clamped;
/// fn out_of_nothing() -> Clamped {
///     Default::default()
/// }
/// ```
/// ```compile_fail,E0277
/// # use gnomon_agent_core::Clamped;
/// # use gnomon_schemas::value::Values;
/// fn out_of_values(values: Values) -> Clamped {
///     values.into()
/// }
/// ```
/// ```compile_fail,E0277
/// # use gnomon_agent_core::Clamped;
/// fn out_of_bytes(bytes: &[u8]) -> Clamped {
///     serde_json::from_slice(bytes).unwrap()
/// }
/// ```
/// And it stays as it was made:
/// ```
/// # use gnomon_agent_core::Clamped;
/// fn hotter(clamped: &mut Clamped) {
///     let mut values = clamped.values().clone();
///     values.insert("setpoint_c".into(), 1000.0.into());
/// }
/// ```
/// ```compile_fail,E0596
/// # use gnomon_agent_core::Clamped;
/// fn hotter(clamped: &mut Clamped) {
///     let values = clamped.values();
///     values.insert("setpoint_c".into(), 1000.0.into());
/// }
/// ```
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
    /// What it may be, if it is a number.
    permitted: Option<Permitted>,
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
            let permitted = bounds.map(|(narrowed, firmware)| {
                Permitted::new(&output.value_type, narrowed, firmware).ok_or_else(|| {
                    let detail = format!("bounds.{name}: no {} lies inside", output.value_type);
                    Refusal::new(Reason::BoundsWidened, detail)
                })
            });
            rules.push(Rule {
                name: name.clone(),
                permitted: permitted.transpose()?,
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

    /// What this output may be, if it is a number: the very rule that [`Guard::actuate`]
    /// goes by.
    pub fn permitted(&self, output: &SignalName) -> Option<&Permitted> {
        self.rules.iter().find(|rule| rule.name == *output)?.permitted.as_ref()
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
        if !canary::is_out(Canary::InterlockIgnored)
            && let Some(forced) = interlocked(interlocks, &rule.name, inputs)
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
        let Some(permitted) = &self.permitted else {
            // A number without bounds cannot come out of a checked profile.
            counts.range += 1;
            return (None, counts);
        };
        let (nearest, mut counts) = permitted.nearest(number, self.last.as_f64());
        // Bounds are doubles: an integer between two of them may lie outside although the
        // nearest double does not, so it is brought to that.
        counts.range += u64::from(counts.total() == 0 && !is_double(&value, number));
        if counts.total() == 0 {
            return (Some(value), counts);
        }
        (self.on_violation(nearest), counts)
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
        match (default.as_f64(), &self.permitted) {
            (Some(number), Some(permitted)) => {
                self.numeric(permitted.towards(number, self.last.as_f64()))
            }
            _ => default,
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

/// Whether the value is this very double: an integer beyond 2^53 may lie between two.
#[expect(clippy::cast_possible_truncation, reason = "it came from an integer of 64 bits")]
fn is_double(value: &Value, number: f64) -> bool {
    !matches!(value, Value::Int(integer) if number as i128 != *integer)
}
