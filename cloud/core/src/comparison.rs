//! What a shadow run shows: summaries of a candidate and of the active function
//! over the same intervals, merged over devices.
//!
//! It compares decisions. Outcomes (energy, comfort) are not known here, and the
//! report says so.

use gnomon_schemas::histogram::Histogram;
use gnomon_schemas::ids::{DeviceId, Digest, FunctionName, SignalName};
use gnomon_schemas::reason::Reason;
use gnomon_schemas::results::{ClampCounts, Differences, SlotRole, Summary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What every report says of itself.
pub const NOTE: &str = "These are decisions on inputs that the active function shaped, not \
     outcomes: what the candidate would have done to the device is for a closed-loop simulation \
     or a canary to say.";

/// A candidate beside the active function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The function.
    pub function: FunctionName,
    /// The candidate.
    pub candidate: Digest,
    /// The modules that were in control meanwhile.
    pub active: BTreeSet<Digest>,
    /// How many devices sent summaries of the candidate.
    pub devices: u64,
    /// How many summaries of the candidate were merged.
    pub intervals: u64,
    /// Ticks in these intervals.
    pub ticks: u64,
    /// Ticks that devices came too late for in these intervals.
    pub missed: u64,
    /// Calls of the candidate that returned outputs.
    pub evaluations: u64,
    /// Ticks at which the candidate was not called because the device was busy.
    pub skipped: u64,
    /// Ticks at which both gave a value, of the output that has most of them.
    pub compared: u64,
    /// Candidate evaluations by ticks.
    pub coverage: f64,
    /// Differences beyond the tolerance by comparisons, over all outputs.
    pub mismatch_rate: f64,
    /// Differences by output.
    pub outputs: BTreeMap<SignalName, OutputDifference>,
    /// The candidate's calls that returned nothing, by reason.
    pub faults: BTreeMap<Reason, u64>,
    /// The candidate's outputs that would have been brought back inside their bounds.
    pub clamped: BTreeMap<SignalName, ClampCounts>,
    /// The cost of the candidate.
    pub candidate_cost: Cost,
    /// The cost of the active function over the same intervals.
    pub active_cost: Cost,
    /// What this is, and what it is not.
    pub note: String,
}

/// How one output of the candidate differed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OutputDifference {
    /// Ticks at which both gave a value.
    pub compared: u64,
    /// Of these, how many differed by more than the output's tolerance.
    pub mismatches: u64,
    /// Mismatches by comparisons.
    pub mismatch_rate: f64,
    /// The mean of candidate minus active, in the output's unit.
    pub mean_difference: f64,
    /// The mean absolute difference.
    pub mean_abs_difference: f64,
    /// The median absolute difference, to two significant figures.
    pub abs_difference_p50: f64,
    /// The 95th percentile of the absolute difference.
    pub abs_difference_p95: f64,
    /// The greatest absolute difference.
    pub abs_difference_max: f64,
}

/// What calls cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Completed calls.
    pub calls: u64,
    /// Median fuel of a completed call.
    pub fuel_p50: u64,
    /// 95th percentile of the fuel.
    pub fuel_p95: u64,
    /// The most fuel.
    pub fuel_max: u64,
    /// Median time of a call, in microseconds.
    pub time_us_p50: u64,
    /// 95th percentile of the time.
    pub time_us_p95: u64,
    /// The most memory that a call used, in bytes.
    pub memory_bytes_max: u64,
}

/// Intervals of the candidate on one device: last tick by first tick.
type Intervals = BTreeMap<u64, u64>;

#[derive(Default)]
struct Side {
    fuel: Histogram,
    time_us: Histogram,
    memory_bytes_max: u64,
}

impl Side {
    fn add(&mut self, summary: &Summary) {
        self.fuel.merge(&summary.fuel);
        self.time_us.merge(&summary.time_us);
        self.memory_bytes_max = self.memory_bytes_max.max(summary.memory_bytes_max);
    }

    fn cost(&self) -> Cost {
        Cost {
            calls: self.fuel.count(),
            fuel_p50: self.fuel.quantile(0.5),
            fuel_p95: self.fuel.quantile(0.95),
            fuel_max: self.fuel.max(),
            time_us_p50: self.time_us.quantile(0.5),
            time_us_p95: self.time_us.quantile(0.95),
            memory_bytes_max: self.memory_bytes_max,
        }
    }
}

impl Comparison {
    /// Merges the summaries of one candidate and those of the active function
    /// that overlap them on the same device. Other rows are passed over.
    pub fn of(
        function: &FunctionName,
        candidate: &Digest,
        rows: &[(DeviceId, Summary)],
    ) -> Comparison {
        let rows = || rows.iter().filter(|(_, summary)| summary.function == *function);
        let candidate_rows = || {
            rows().filter(|(_, s)| {
                s.role == SlotRole::Candidate && s.module.as_ref() == Some(candidate)
            })
        };
        let mut intervals: BTreeMap<&DeviceId, Intervals> = BTreeMap::new();
        let mut of = Comparison::empty(function, candidate);
        let (mut side, mut active_side) = (Side::default(), Side::default());
        let mut differences: BTreeMap<SignalName, Differences> = BTreeMap::new();
        for (device, summary) in candidate_rows() {
            intervals.entry(device).or_default().insert(summary.from_ms, summary.to_ms);
            side.add(summary);
            of.add(summary);
            for (output, difference) in &summary.differences {
                differences.entry(output.clone()).or_default().merge(difference);
            }
        }
        let active_rows = rows().filter(|(_, summary)| summary.role == SlotRole::Active);
        for (device, summary) in active_rows {
            if intervals.get(device).is_some_and(|known| overlaps(known, summary)) {
                active_side.add(summary);
                of.active.extend(summary.module.clone());
            }
        }
        of.devices = intervals.len() as u64;
        of.coverage = ratio(of.evaluations, of.ticks);
        of.compared = differences.values().map(|d| d.compared).max().unwrap_or(0);
        of.mismatch_rate = ratio(
            differences.values().map(|d| d.mismatches).sum(),
            differences.values().map(|d| d.compared).sum(),
        );
        of.outputs = differences.iter().map(|(name, d)| (name.clone(), d.into())).collect();
        of.candidate_cost = side.cost();
        of.active_cost = active_side.cost();
        of
    }

    fn empty(function: &FunctionName, candidate: &Digest) -> Comparison {
        Comparison {
            function: function.clone(),
            candidate: candidate.clone(),
            active: BTreeSet::new(),
            devices: 0,
            intervals: 0,
            ticks: 0,
            missed: 0,
            evaluations: 0,
            skipped: 0,
            compared: 0,
            coverage: 0.0,
            mismatch_rate: 0.0,
            outputs: BTreeMap::new(),
            faults: BTreeMap::new(),
            clamped: BTreeMap::new(),
            candidate_cost: Cost::default(),
            active_cost: Cost::default(),
            note: NOTE.to_owned(),
        }
    }

    /// Figures come from devices: sums saturate rather than stop the service.
    fn add(&mut self, summary: &Summary) {
        self.intervals += 1;
        self.ticks = self.ticks.saturating_add(summary.ticks);
        self.missed = self.missed.saturating_add(summary.missed);
        self.evaluations = self.evaluations.saturating_add(summary.evaluations);
        self.skipped = self.skipped.saturating_add(summary.skipped);
        for (reason, count) in &summary.faults {
            let faults = self.faults.entry(*reason).or_default();
            *faults = faults.saturating_add(*count);
        }
        for (output, counts) in &summary.clamped {
            self.clamped.entry(output.clone()).or_default().merge(counts);
        }
    }
}

/// Whether an active summary shares a tick with one of the candidate's intervals.
fn overlaps(intervals: &Intervals, summary: &Summary) -> bool {
    let before = intervals.range(..=summary.to_ms).next_back();
    before.is_some_and(|(_, &last)| last >= summary.from_ms)
}

#[expect(clippy::cast_precision_loss, reason = "a rate of counts far below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl From<&Differences> for OutputDifference {
    #[expect(clippy::cast_precision_loss, reason = "counts and thousandths far below 2^53")]
    fn from(of: &Differences) -> OutputDifference {
        let mean = |sum: f64| if of.compared == 0 { 0.0 } else { sum / of.compared as f64 };
        let quantile = |q: f64| of.abs_milli.quantile(q) as f64 / 1000.0;
        OutputDifference {
            compared: of.compared,
            mismatches: of.mismatches,
            mismatch_rate: ratio(of.mismatches, of.compared),
            mean_difference: mean(of.sum),
            mean_abs_difference: mean(of.sum_abs),
            abs_difference_p50: quantile(0.5),
            abs_difference_p95: quantile(0.95),
            abs_difference_max: of.max_abs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(role: SlotRole, module: &[u8], from_ms: u64) -> Summary {
        let mut summary = Summary {
            function: "dim".parse().unwrap(),
            module: Some(Digest::of(module)),
            role,
            version: None,
            from_ms,
            to_ms: from_ms + 9,
            ticks: 10,
            evaluations: 8,
            faults: BTreeMap::new(),
            skipped: 0,
            missed: 0,
            sources: BTreeMap::new(),
            clamped: BTreeMap::new(),
            fuel: Histogram::default(),
            time_us: Histogram::default(),
            memory_bytes_max: 64,
            differences: BTreeMap::new(),
        };
        (0..8).for_each(|_| summary.fuel.record(100));
        summary
    }

    fn candidate(from_ms: u64, values: &[f64]) -> Summary {
        let mut summary = summary(SlotRole::Candidate, b"new", from_ms);
        summary.faults.insert(Reason::OutOfFuel, 2);
        let differences = summary.differences.entry("level".parse().unwrap()).or_default();
        values.iter().for_each(|value| differences.record(0.0, *value, 0.5));
        summary
    }

    fn compare(rows: &[(&str, Summary)]) -> Comparison {
        let rows: Vec<(DeviceId, Summary)> =
            rows.iter().map(|(device, s)| (device.parse().unwrap(), s.clone())).collect();
        Comparison::of(&"dim".parse().unwrap(), &Digest::of(b"new"), &rows)
    }

    #[test]
    fn devices_and_intervals_are_merged() {
        let report = compare(&[
            ("a", candidate(0, &[1.0, -1.0])),
            ("a", candidate(10, &[0.0, 0.0])),
            ("b", candidate(0, &[2.0, 0.0])),
            ("a", summary(SlotRole::Active, b"old", 5)),
            ("c", summary(SlotRole::Active, b"old", 5)),
            ("a", summary(SlotRole::Active, b"older", 500)),
        ]);
        assert_eq!((report.devices, report.intervals, report.ticks), (2, 3, 30));
        assert!((report.coverage - 0.8).abs() < 1e-9);
        assert_eq!(report.faults, BTreeMap::from([(Reason::OutOfFuel, 6)]));
        let level = report.outputs[&"level".parse().unwrap()];
        assert_eq!((level.compared, level.mismatches, report.compared), (6, 3, 6));
        assert!((level.mismatch_rate - 0.5).abs() < 1e-9);
        assert!((level.mean_abs_difference - 4.0 / 6.0).abs() < 1e-9);
        assert!((level.mean_difference - 2.0 / 6.0).abs() < 1e-9);
        assert!((level.abs_difference_max - 2.0).abs() < 1e-9);
        // Only what ran beside the candidate on its own device counts as active.
        assert_eq!(report.active, BTreeSet::from([Digest::of(b"old")]));
        assert_eq!((report.active_cost.calls, report.candidate_cost.calls), (8, 24));
        assert_eq!(report.note, NOTE);
    }

    #[test]
    fn nothing_seen_is_a_report_of_zeros() {
        let report = compare(&[("a", summary(SlotRole::Active, b"old", 0))]);
        assert_eq!((report.devices, report.ticks, report.compared), (0, 0, 0));
        assert!(report.coverage.abs() < f64::EPSILON && report.active.is_empty());
    }
}
