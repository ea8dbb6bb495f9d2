//! The profile: the firmware's own declaration of a device type, read-only to the cloud.
//!
//! It knows names, types, ranges and bounds; not what any of them mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Digest, FunctionName, PublisherName, SignalName};
use crate::limits::{FUNCTIONS_MAX, LIST_ITEMS_MAX, PROFILE_BYTES_MAX};
use crate::reason::{Coded, Reason, Refusal};
use crate::strict;
use crate::value::{Value, ValueType};

/// A device type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Always `gnomon.profile.v1`.
    pub schema: ProfileSchema,
    /// The device type's name, such as `water-heater`.
    pub name: crate::ids::GroupId,
    /// The release of the profile, for people.
    pub version: String,
    /// What the device measures.
    pub signals: BTreeMap<SignalName, Signal>,
    /// What the device's actuators take.
    pub outputs: BTreeMap<SignalName, Output>,
    /// Rules that win over every function.
    #[serde(default)]
    pub interlocks: Vec<Interlock>,
    /// The roles that modules can fill.
    pub functions: BTreeMap<FunctionName, Function>,
    /// JSON Schema (2020-12) of a document's `config`.
    #[serde(default)]
    pub config_schema: Map<String, serde_json::Value>,
}

/// The schema name of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProfileSchema {
    /// Version 1.
    #[serde(rename = "gnomon.profile.v1")]
    V1,
}

/// An input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Its type.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// Its unit, a UCUM code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The range of the number, or of each number of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// The most items of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_max: Option<usize>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A closed range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Range {
    /// Whether it holds this number; never NaN.
    pub fn contains(self, number: f64) -> bool {
        number >= self.min && number <= self.max
    }
}

/// What an actuator takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its type: a number, a bool or an enum.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// Its unit, a UCUM code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The firmware's bounds; a number must have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// What the actuator gets when there is nothing else.
    pub default: Value,
    /// What a violation of the bounds leads to.
    #[serde(default)]
    pub on_violation: OnViolation,
    /// Differences up to this count as a match when a candidate is compared.
    #[serde(default)]
    pub tolerance: f64,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Limits on one numeric output.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The greatest change from one tick to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_step: Option<f64>,
}

/// Bounds that a document narrows; absent parts stay the firmware's.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NarrowedBounds {
    /// A higher least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// A lower greatest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// A smaller step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_step: Option<f64>,
}

impl Bounds {
    /// These bounds narrowed; `None` if that would widen any of them or leave nothing.
    #[must_use]
    pub fn narrow(self, by: &NarrowedBounds) -> Option<Bounds> {
        let narrowed = Bounds {
            min: by.min.unwrap_or(self.min),
            max: by.max.unwrap_or(self.max),
            max_step: by.max_step.or(self.max_step),
        };
        let step_fits = match (narrowed.max_step, self.max_step) {
            (Some(step), Some(firmware)) => step > 0.0 && step <= firmware,
            (Some(step), None) => step > 0.0,
            (None, _) => true,
        };
        let fits = narrowed.min >= self.min
            && narrowed.max <= self.max
            && narrowed.min <= narrowed.max
            && step_fits;
        fits.then_some(narrowed)
    }
}

/// What happens to an output outside its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnViolation {
    /// The nearest permitted value.
    #[default]
    Clamp,
    /// The last value that the actuator got.
    HoldLast,
    /// The output's default.
    Default,
}

/// "When this signal is there, these outputs are so", whatever a function says.
/// A signal that cannot be read counts as met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interlock {
    /// Its name, for people.
    pub name: SignalName,
    /// The condition.
    pub when: Condition,
    /// The outputs that it sets.
    pub then: BTreeMap<SignalName, Value>,
}

/// A comparison of a numeric signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The signal.
    pub signal: SignalName,
    /// How it is compared.
    pub op: Comparison,
    /// With what.
    pub value: f64,
}

/// How an interlock compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Comparison {
    /// Below.
    #[serde(rename = "<")]
    Below,
    /// At or below.
    #[serde(rename = "<=")]
    AtMost,
    /// Above.
    #[serde(rename = ">")]
    Above,
    /// At or above.
    #[serde(rename = ">=")]
    AtLeast,
}

impl Condition {
    /// Whether the condition is met by this reading; an unreadable one meets it.
    pub fn is_met(&self, reading: Option<f64>) -> bool {
        match (reading, self.op) {
            (Some(number), Comparison::Below) if number.is_finite() => number < self.value,
            (Some(number), Comparison::AtMost) if number.is_finite() => number <= self.value,
            (Some(number), Comparison::Above) if number.is_finite() => number > self.value,
            (Some(number), Comparison::AtLeast) if number.is_finite() => number >= self.value,
            _ => true,
        }
    }
}

/// A role that a module can fill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// The outputs that it sets.
    pub outputs: BTreeSet<SignalName>,
    /// One tick, in milliseconds.
    #[schemars(range(min = 1))]
    pub period_ms: u64,
    /// How long one evaluation may take, in milliseconds.
    #[schemars(range(min = 1))]
    pub deadline_ms: u64,
    /// What one evaluation may use.
    pub budget: Budget,
    /// Ticks in a row without a fresh output before the defaults hold.
    #[serde(default = "default_hold_ticks_max")]
    pub hold_ticks_max: u32,
    /// Publishers that may publish for it; empty for whom the trust root allows.
    #[serde(default)]
    pub publishers: BTreeSet<PublisherName>,
}

fn default_hold_ticks_max() -> u32 {
    5
}

/// What one evaluation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Fuel of the call, instantiation apart.
    #[schemars(range(min = 1))]
    #[serde(deserialize_with = "crate::strict::at_least_one")]
    pub fuel: u64,
    /// Linear memory and tables, in bytes.
    pub memory_bytes: u64,
}

/// Why a profile was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// Not JSON of the right form.
    #[error("profile: {0}")]
    Parse(#[from] strict::ParseError),
    /// It contradicts itself.
    #[error("profile: at `{path}`: {message}")]
    Contradiction {
        /// Where.
        path: String,
        /// What.
        message: String,
    },
}

impl Coded for ProfileError {
    fn reason(&self) -> Reason {
        match self {
            ProfileError::Parse(error) => error.reason(),
            ProfileError::Contradiction { .. } => Reason::ProfileInvalid,
        }
    }
}

fn contradiction(path: impl Into<String>, message: impl Into<String>) -> ProfileError {
    ProfileError::Contradiction { path: path.into(), message: message.into() }
}

impl Profile {
    /// Parses and checks a profile file.
    ///
    /// # Errors
    /// [`ProfileError`], naming the field.
    pub fn parse(bytes: &[u8]) -> Result<(Profile, Digest), ProfileError> {
        let profile: Profile = strict::parse(bytes, PROFILE_BYTES_MAX)?;
        for (name, signal) in &profile.signals {
            check_signal(signal).map_err(|m| contradiction(format!("signals.{name}"), m))?;
        }
        for (name, output) in &profile.outputs {
            check_output(output).map_err(|m| contradiction(format!("outputs.{name}"), m))?;
        }
        profile.check_interlocks()?;
        profile.check_functions()?;
        profile.config_validator().map_err(|m| contradiction("config_schema", m.detail))?;
        Ok((profile, Digest::of(bytes)))
    }

    fn check_interlocks(&self) -> Result<(), ProfileError> {
        for (index, interlock) in self.interlocks.iter().enumerate() {
            let path = format!("interlocks[{index}]");
            let signal = self.signals.get(&interlock.when.signal);
            if !signal.is_some_and(|signal| signal.value_type.is_numeric()) {
                let message = format!("`{}` is not a numeric signal", interlock.when.signal);
                return Err(contradiction(format!("{path}.when"), message));
            }
            for (name, value) in &interlock.then {
                let output = self.outputs.get(name).ok_or_else(|| {
                    contradiction(format!("{path}.then"), format!("no output `{name}`"))
                })?;
                check_permitted(output, value)
                    .map_err(|m| contradiction(format!("{path}.then.{name}"), m))?;
            }
        }
        Ok(())
    }

    fn check_functions(&self) -> Result<(), ProfileError> {
        if self.functions.len() > FUNCTIONS_MAX {
            return Err(contradiction("functions", format!("more than {FUNCTIONS_MAX}")));
        }
        let mut owners: BTreeMap<&SignalName, &FunctionName> = BTreeMap::new();
        for (name, function) in &self.functions {
            let path = format!("functions.{name}");
            if function.period_ms == 0 || function.deadline_ms == 0 || function.budget.fuel == 0 {
                return Err(contradiction(path, "period_ms, deadline_ms and fuel are at least 1"));
            }
            if function.deadline_ms > function.period_ms {
                return Err(contradiction(path, "deadline_ms is longer than period_ms"));
            }
            if function.outputs.is_empty() {
                return Err(contradiction(path, "sets no output"));
            }
            for output in &function.outputs {
                if !self.outputs.contains_key(output) {
                    return Err(contradiction(path, format!("no output `{output}`")));
                }
                if let Some(other) = owners.insert(output, name) {
                    let message = format!("`{other}` sets `{output}` already");
                    return Err(contradiction(path, message));
                }
            }
        }
        Ok(())
    }

    fn config_validator(&self) -> Result<jsonschema::Validator, Refusal> {
        jsonschema::validator_for(&serde_json::Value::Object(self.config_schema.clone()))
            .map_err(|error| Refusal::new(Reason::ProfileInvalid, error.to_string()))
    }

    /// Checks a document's config against the profile's JSON Schema.
    ///
    /// # Errors
    /// [`Reason::ConfigInvalid`] with the JSON pointer and what is wrong there.
    pub fn check_config(&self, config: &Map<String, serde_json::Value>) -> Result<(), Refusal> {
        let config = serde_json::Value::Object(config.clone());
        self.config_validator()?.validate(&config).map_err(|error| {
            let pointer = error.instance_path().to_string();
            Refusal::new(Reason::ConfigInvalid, format!("config{pointer}: {error}"))
        })
    }
}

#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "the negation is true of NaN, too")]
fn check_signal(signal: &Signal) -> Result<(), String> {
    if signal.items_max.is_some_and(|items| items > LIST_ITEMS_MAX) {
        return Err(format!("items_max is over {LIST_ITEMS_MAX}"));
    }
    match signal.range {
        Some(range) if !(range.min <= range.max) => Err("range.min is above range.max".into()),
        _ => Ok(()),
    }
}

#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "the negation is true of NaN, too")]
fn check_output(output: &Output) -> Result<(), String> {
    let simple = output.value_type.is_numeric()
        || matches!(output.value_type, ValueType::Bool | ValueType::Enum(_));
    if !simple {
        return Err(format!(
            "an actuator takes a number, a bool or an enum, not {}",
            output.value_type
        ));
    }
    if output.tolerance.is_nan() || output.tolerance < 0.0 {
        return Err("tolerance is negative".into());
    }
    match output.bounds {
        None if output.value_type.is_numeric() => return Err("a number needs bounds".into()),
        Some(_) if !output.value_type.is_numeric() => {
            return Err("only a number has bounds".into());
        }
        Some(Bounds { min, max, .. }) if !(min <= max) => {
            return Err("bounds.min is above bounds.max".into());
        }
        Some(Bounds { max_step: Some(step), .. }) if !(step > 0.0) => {
            return Err("bounds.max_step is not above 0".into());
        }
        _ => {}
    }
    check_permitted(output, &output.default)
}

/// Whether the firmware itself may put this value on this output.
fn check_permitted(output: &Output, value: &Value) -> Result<(), String> {
    let value = output.value_type.accept(value)?;
    match (output.bounds, value.as_f64()) {
        (Some(bounds), Some(number)) if !(number >= bounds.min && number <= bounds.max) => {
            Err(format!("{number} is outside the bounds {} to {}", bounds.min, bounds.max))
        }
        _ => Ok(()),
    }
}
