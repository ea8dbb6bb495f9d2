//! Results: summaries, sampled records and refusals, in numbered batches.
//!
//! A batch is stored once in the cloud, by (device, boot, sequence), and deleted
//! on the device only after an [`Ack`](crate::ack::Ack). Unknown fields are
//! tolerated, since devices of another version send it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::histogram::Histogram;
use crate::ids::{BootId, DeviceId, Digest, FleetId, FunctionName, SignalName, Version};
use crate::limits::DIFFERENCE_MAX;
use crate::reason::{Reason, Refusal};
use crate::value::Values;

/// One batch of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// Always `gnomon.results.v1`.
    pub schema: ResultsSchema,
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The agent's start that numbered the batch.
    pub boot: BootId,
    /// The batch's number in that boot.
    pub sequence: u64,
    /// The engine that made the results.
    pub engine: Digest,
    /// One per function, module and interval.
    #[serde(default)]
    pub summaries: Vec<Summary>,
    /// Single evaluations.
    #[serde(default)]
    pub records: Vec<Record>,
    /// What the device refused.
    #[serde(default)]
    pub refusals: Vec<RefusalEvent>,
    /// Batches that the device had to drop before this one because its outbox was full.
    #[serde(default)]
    pub dropped_batches: u64,
    /// The same by what was in them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped_by_class: BTreeMap<Class, u64>,
    /// Records that the device left out of this batch because the day's byte budget was spent.
    #[serde(default)]
    pub dropped_records: u64,
}

impl Results {
    /// How much it matters that the batch arrives: by the first thing in it that matters most.
    pub fn class(&self) -> Class {
        let has_faults = |summary: &Summary| !summary.faults.is_empty();
        if !self.refusals.is_empty() || self.summaries.iter().any(has_faults) {
            Class::Faults
        } else if self.summaries.is_empty() {
            Class::Samples
        } else {
            Class::Summaries
        }
    }
}

/// How much it matters that a batch arrives. The first goes first, and is dropped last
/// when a device has been offline for so long that its outbox is full.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Refusals, and summaries with faults in them.
    Faults,
    /// Other summaries.
    Summaries,
    /// Sampled records.
    Samples,
}

/// The schema name of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResultsSchema {
    /// Version 1.
    #[serde(rename = "gnomon.results.v1")]
    V1,
}

/// Whether a module was in control or beside it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SlotRole {
    /// In control.
    Active,
    /// Beside it.
    Candidate,
}

/// Where the values came from that an actuator got.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The active function.
    Active,
    /// The last values, again.
    HoldLast,
    /// The profile's defaults.
    Default,
}

/// Counts of one function's module over an interval of ticks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The function.
    pub function: FunctionName,
    /// The module; none while the defaults held.
    #[serde(default)]
    pub module: Option<Digest>,
    /// In control or beside it.
    pub role: SlotRole,
    /// The version of the document in force.
    #[serde(default)]
    pub version: Option<Version>,
    /// The device time of the first tick (ms).
    pub from_ms: u64,
    /// The device time of the last tick (ms).
    pub to_ms: u64,
    /// Ticks in the interval.
    pub ticks: u64,
    /// Ticks that the device skipped in the interval: it came too late for them.
    #[serde(default)]
    pub missed: u64,
    /// Calls that returned outputs.
    pub evaluations: u64,
    /// Calls that did not, by reason.
    #[serde(default)]
    pub faults: BTreeMap<Reason, u64>,
    /// Ticks at which a candidate was not called because the device was busy.
    #[serde(default)]
    pub skipped: u64,
    /// Ticks by where the actuator's values came from (active role).
    #[serde(default)]
    pub sources: BTreeMap<Source, u64>,
    /// Outputs brought back inside their bounds (for a candidate: that would have been).
    #[serde(default)]
    pub clamped: BTreeMap<SignalName, ClampCounts>,
    /// Fuel per completed call.
    #[serde(default)]
    pub fuel: Histogram,
    /// Time per call, in microseconds.
    #[serde(default)]
    pub time_us: Histogram,
    /// The most memory that a call used, in bytes.
    #[serde(default)]
    pub memory_bytes_max: u64,
    /// How a candidate's outputs differed from the active function's.
    #[serde(default)]
    pub differences: BTreeMap<SignalName, Differences>,
}

/// Why outputs had to be brought back inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClampCounts {
    /// Outside min and max.
    #[serde(default)]
    pub range: u64,
    /// Too far from the last value.
    #[serde(default)]
    pub step: u64,
    /// NaN or infinite.
    #[serde(default)]
    pub not_finite: u64,
    /// An interlock set the output.
    #[serde(default)]
    pub interlock: u64,
}

impl ClampCounts {
    /// All of them together.
    pub fn total(&self) -> u64 {
        [self.step, self.not_finite, self.interlock]
            .into_iter()
            .fold(self.range, u64::saturating_add)
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &ClampCounts) {
        self.range = self.range.saturating_add(other.range);
        self.step = self.step.saturating_add(other.step);
        self.not_finite = self.not_finite.saturating_add(other.not_finite);
        self.interlock = self.interlock.saturating_add(other.interlock);
    }
}

/// How one output of a candidate differed from the active function's, on the
/// inputs that the active function shaped: decisions, not outcomes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Differences {
    /// Ticks at which both gave a value.
    pub compared: u64,
    /// Of these, how many differed by more than the output's tolerance.
    pub mismatches: u64,
    /// The sum of candidate minus active.
    pub sum: f64,
    /// The sum of the absolute differences.
    pub sum_abs: f64,
    /// The greatest absolute difference.
    pub max_abs: f64,
    /// Absolute differences in thousandths of the output's unit.
    #[serde(default)]
    pub abs_milli: Histogram,
}

impl Differences {
    /// Counts one comparison of finite numbers; beyond [`DIFFERENCE_MAX`] a difference
    /// counts as that much.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and the number is not negative"
    )]
    pub fn record(&mut self, active: f64, candidate: f64, tolerance: f64) {
        let difference = (candidate - active).clamp(-DIFFERENCE_MAX, DIFFERENCE_MAX);
        self.compared += 1;
        self.mismatches += u64::from(difference.abs() > tolerance);
        self.sum += difference;
        self.sum_abs += difference.abs();
        self.max_abs = self.max_abs.max(difference.abs());
        self.abs_milli.record((difference.abs() * 1000.0) as u64);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Differences) {
        self.compared = self.compared.saturating_add(other.compared);
        self.mismatches = self.mismatches.saturating_add(other.mismatches);
        self.sum += other.sum;
        self.sum_abs += other.sum_abs;
        self.max_abs = self.max_abs.max(other.max_abs);
        self.abs_milli.merge(&other.abs_milli);
    }
}

/// One evaluation, whole: enough to run it again and get the same bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The device time of the tick (ms).
    pub at_ms: u64,
    /// The number of the tick.
    pub tick: u64,
    /// The function.
    pub function: FunctionName,
    /// The module.
    pub module: Digest,
    /// In control or beside it.
    pub role: SlotRole,
    /// What it read.
    pub inputs: Values,
    /// What it was tuned to.
    pub params: Values,
    /// Its memory before the call, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Values>,
    /// What it proposed; none after a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Values>,
    /// What the actuator got (active role).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actuated: Option<Values>,
    /// Why there are no outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Reason>,
    /// Fuel of the call, when it completed or ran out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Time of the call, in microseconds.
    pub time_us: u64,
}

/// Something that the device refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalEvent {
    /// The device's lowest possible time (ms).
    pub at_ms: u64,
    /// The version that the refused document claims, if it could be read at all.
    #[serde(default)]
    pub version: Option<Version>,
    /// Why.
    pub refusal: Refusal,
}
