//! Counts what a module did over an interval of ticks, and picks the records
//! that are worth sending. How they travel is not known here.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use gnomon_schemas::document::Reporting;
use gnomon_schemas::ids::{FunctionName, SignalName};
use gnomon_schemas::results::{ClampCounts, Differences, Record, SlotRole, Source, Summary};
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Version};

use crate::canary::{self, Canary};

/// Records of one interval that weigh this much end it early: they fill a batch.
const RECORDS_BYTES_DUE: usize = 64 * 1024;
/// Sampled records kept while the interval cannot be taken; with more, none are added.
const RECORDS_BYTES_MAX: usize = 1024 * 1024;
/// Divergent records kept of one interval, whatever a document asks for.
const DIVERGENT_RECORDS_MAX: usize = 16;

/// What one evaluation cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Time of the call, in microseconds.
    pub time_us: u64,
    /// The memory that it held, in bytes.
    pub memory_bytes: u64,
}

/// The running count of one slot.
#[derive(Debug, Clone)]
pub struct Tally {
    summary: Summary,
    reporting: Reporting,
    /// The most divergent evaluations of the interval, the greatest difference first.
    divergent: Vec<(f64, Record)>,
    sampled: Vec<Record>,
    /// What the sampled records weigh, roughly.
    sampled_bytes: usize,
}

impl Tally {
    /// An empty count for a slot.
    pub fn new(
        function: FunctionName,
        module: Option<Digest>,
        role: SlotRole,
        version: Option<Version>,
        reporting: Reporting,
    ) -> Tally {
        let summary = Summary {
            function,
            module,
            role,
            version,
            from_ms: 0,
            to_ms: 0,
            ticks: 0,
            missed: 0,
            evaluations: 0,
            faults: BTreeMap::new(),
            skipped: 0,
            sources: BTreeMap::new(),
            clamped: BTreeMap::new(),
            fuel: gnomon_schemas::histogram::Histogram::default(),
            time_us: gnomon_schemas::histogram::Histogram::default(),
            memory_bytes_max: 0,
            differences: BTreeMap::new(),
        };
        Tally { summary, reporting, divergent: Vec::new(), sampled: Vec::new(), sampled_bytes: 0 }
    }

    /// Counts a tick.
    pub fn tick(&mut self, at_ms: u64) {
        if self.summary.ticks == 0 {
            self.summary.from_ms = at_ms;
        }
        self.summary.to_ms = at_ms;
        self.summary.ticks += 1;
    }

    /// Counts ticks that the device skipped.
    pub fn missed(&mut self, ticks: u64) {
        self.summary.missed += ticks;
    }

    /// Counts a tick at which the candidate was not called.
    pub fn skip(&mut self, at_ms: u64) {
        self.tick(at_ms);
        self.summary.skipped += 1;
    }

    /// Counts where the actuator's values came from, and what was clamped.
    pub fn actuated(&mut self, source: Source, changed: &BTreeMap<SignalName, ClampCounts>) {
        *self.summary.sources.entry(source).or_default() += 1;
        self.clamped(changed);
    }

    /// Counts what was, or for a candidate would have been, clamped.
    pub fn clamped(&mut self, changed: &BTreeMap<SignalName, ClampCounts>) {
        for (output, counts) in changed {
            self.summary.clamped.entry(output.clone()).or_default().merge(counts);
        }
    }

    /// Counts an evaluation. `divergence` is how far a candidate was from the
    /// active function, in tolerances.
    pub fn evaluated(&mut self, record: Record, cost: Cost, divergence: f64) {
        match record.fault {
            None => self.summary.evaluations += 1,
            Some(reason) => *self.summary.faults.entry(reason).or_default() += 1,
        }
        if let Some(fuel) = record.fuel {
            self.summary.fuel.record(fuel);
            if canary::is_out(Canary::FuelCountedTwice) {
                self.summary.fuel.record(fuel);
            }
        }
        self.summary.time_us.record(cost.time_us);
        self.summary.memory_bytes_max = self.summary.memory_bytes_max.max(cost.memory_bytes);
        let every = u64::from(self.reporting.record_every);
        if every > 0 && record.tick.is_multiple_of(every) {
            if self.sampled_bytes < RECORDS_BYTES_MAX {
                self.sampled_bytes += weight_bytes(&record);
                self.sampled.push(record);
            }
        } else if divergence > 0.0 {
            self.keep_divergent(divergence, record);
        }
    }

    fn keep_divergent(&mut self, divergence: f64, record: Record) {
        let most = (self.reporting.divergent_records_max as usize).min(DIVERGENT_RECORDS_MAX);
        let place = self.divergent.partition_point(|(other, _)| *other >= divergence);
        if place < most {
            self.divergent.insert(place, (divergence, record));
            self.divergent.truncate(most);
        }
    }

    /// Counts how a candidate's outputs differ from the active function's; gives
    /// the greatest difference in tolerances (infinite where the tolerance is 0).
    pub fn compare<'a>(
        &mut self,
        active: &Values,
        candidate: &Values,
        tolerances: impl Iterator<Item = (&'a SignalName, f64)>,
    ) -> f64 {
        let mut divergence = 0.0_f64;
        for (output, tolerance) in tolerances {
            let (Some(a), Some(c)) = (active.get(output.as_str()), candidate.get(output.as_str()))
            else {
                continue;
            };
            // Values without a number, such as enums, differ by one or not at all.
            let (a, c) = match (a.as_f64(), c.as_f64()) {
                (Some(a), Some(c)) => (a, c),
                _ => (0.0, if a == c { 0.0 } else { 1.0 }),
            };
            if !a.is_finite() || !c.is_finite() {
                continue;
            }
            let differences: &mut Differences =
                self.summary.differences.entry(output.clone()).or_default();
            differences.record(a, c, tolerance);
            let beyond = (c - a).abs();
            if beyond > tolerance {
                divergence = divergence.max(beyond / tolerance.max(f64::MIN_POSITIVE));
            }
        }
        divergence
    }

    /// Whether the interval is over.
    pub fn is_due(&self) -> bool {
        self.summary.ticks >= u64::from(self.reporting.summary_ticks.max(1))
            || self.sampled_bytes >= RECORDS_BYTES_DUE
    }

    /// Whether anything was counted.
    pub fn is_empty(&self) -> bool {
        self.summary.ticks == 0
    }

    /// The interval's summary and records, the divergent ones first; the count
    /// starts again from zero.
    pub fn take(&mut self) -> (Summary, Vec<Record>) {
        let fresh = Tally::new(
            self.summary.function.clone(),
            self.summary.module.clone(),
            self.summary.role,
            self.summary.version,
            self.reporting,
        );
        let done = core::mem::replace(self, fresh);
        let divergent = done.divergent.into_iter().map(|(_, record)| record);
        (done.summary, divergent.chain(done.sampled).collect())
    }
}

fn weight_bytes(record: &Record) -> usize {
    let values = [Some(&record.inputs), Some(&record.params), record.state.as_ref()];
    let made = [record.outputs.as_ref(), record.actuated.as_ref()];
    let of = |values: &Values| {
        values.iter().map(|(name, value)| name.len() + value.weight_bytes()).sum::<usize>()
    };
    256 + values.into_iter().chain(made).flatten().map(of).sum::<usize>()
}
