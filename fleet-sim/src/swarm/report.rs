//! What a swarm reached: seeds and device-days per second, kinds of fault, reasons, and
//! each seed that failed with the command that shows it again.

use gnomon_schemas::Reason;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::Outcome;
use super::options::Fault;

/// Failed seeds that are told in full.
const TOLD_MAX: usize = 10;

/// Reasons that the simulated parts can give. The others belong to parts that are not
/// simulated: HTTP, enrolment, sigstore bundles, the compiler's own limits.
const WITHIN_REACH: [Reason; 60] = [
    Reason::TooLarge,
    Reason::MalformedJson,
    Reason::DuplicateKey,
    Reason::TooDeep,
    Reason::SchemaViolation,
    Reason::WrongPayloadType,
    Reason::BadBase64,
    Reason::ThresholdNotMet,
    Reason::WrongDevice,
    Reason::Rollback,
    Reason::Equivocation,
    Reason::FastForward,
    Reason::Expired,
    Reason::TrustRootSkipped,
    Reason::ConfigInvalid,
    Reason::BoundsWidened,
    Reason::BudgetExceeded,
    Reason::ApprovalMissing,
    Reason::ParamsInvalid,
    Reason::ModuleMissing,
    Reason::ModuleDigestMismatch,
    Reason::ModuleDenied,
    Reason::InputMissing,
    Reason::InputOutOfRange,
    Reason::OutOfFuel,
    Reason::TrapUnreachable,
    Reason::TrapMemory,
    Reason::TrapInteger,
    Reason::TrapConversion,
    Reason::TrapStack,
    Reason::GoldenInvalid,
    Reason::GoldenMismatch,
    Reason::ProbationFailed,
    Reason::RunnerDied,
    Reason::StoreDamaged,
    Reason::Unavailable,
    Reason::StoreFailed,
    Reason::NumberOutOfRange,
    Reason::WrongFleet,
    Reason::WrongProfile,
    Reason::UnknownFunction,
    Reason::UnknownOutput,
    Reason::ModuleSignatureInvalid,
    Reason::EvidenceMismatch,
    Reason::PublisherUnknown,
    Reason::PublisherNotAllowed,
    Reason::ReleaseCounterTooLow,
    Reason::ModuleManifestMismatch,
    Reason::NotAComponent,
    Reason::FeatureRefused,
    Reason::HasImports,
    Reason::ShapeLimit,
    Reason::MissingExport,
    Reason::InterfaceMismatch,
    Reason::TypeRefused,
    Reason::MemoryOverBudget,
    Reason::TrapTable,
    Reason::TrapOther,
    Reason::StateInvalid,
    Reason::StateNotMigrated,
];

/// The report.
#[derive(Debug, Clone, Serialize)]
pub struct Swarm {
    /// Seeds that ran.
    pub seeds: u64,
    /// Seeds that failed, each with what it says.
    pub failed: BTreeMap<u64, String>,
    /// Wall clock, seconds.
    pub seconds: f64,
    /// Seeds per second.
    pub seeds_per_second: f64,
    /// Device-days per second.
    pub device_days_per_second: f64,
    /// Ticks of all devices.
    pub ticks: u64,
    /// In how many seeds each kind of fault happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// Kinds of fault that never did.
    pub faults_missed: Vec<&'static str>,
    /// How often each reason was given.
    pub reasons: BTreeMap<Reason, u64>,
    /// Reasons within reach that never were.
    pub reasons_missed: Vec<Reason>,
}

impl Swarm {
    /// Adds outcomes up.
    pub fn of(outcomes: &[Outcome], took: Duration) -> Swarm {
        let (mut faults, mut reasons) = (BTreeMap::new(), BTreeMap::new());
        for outcome in outcomes {
            for fault in &outcome.faults {
                *faults.entry(fault.name()).or_default() += 1;
            }
            for (reason, count) in &outcome.reasons {
                *reasons.entry(*reason).or_default() += count;
            }
        }
        let seconds = took.as_secs_f64();
        let device_days = outcomes.iter().map(|outcome| outcome.device_ms as f64).sum::<f64>();
        let failed = outcomes.iter().filter(|outcome| outcome.verdict().exit_code() != 0);
        Swarm {
            seeds: outcomes.len() as u64,
            failed: failed.map(|outcome| (outcome.seed, outcome.tell())).collect(),
            seconds,
            seeds_per_second: outcomes.len() as f64 / seconds,
            device_days_per_second: device_days / 86_400_000.0 / seconds,
            ticks: outcomes.iter().map(|outcome| outcome.ticks).sum(),
            faults_missed: Fault::ALL
                .into_iter()
                .map(Fault::name)
                .filter(|name| !faults.contains_key(name))
                .collect(),
            reasons_missed: WITHIN_REACH
                .into_iter()
                .filter(|reason| !reasons.contains_key(reason))
                .collect(),
            faults,
            reasons,
        }
    }

    /// Whether every kind of fault and every reason within reach was reached.
    pub fn is_covered(&self) -> bool {
        self.faults_missed.is_empty() && self.reasons_missed.is_empty()
    }
}

impl fmt::Display for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds in {:.1} s: {:.1} seeds and {:.1} device-days a second, {} ticks",
            self.seeds,
            self.seconds,
            self.seeds_per_second,
            self.device_days_per_second,
            self.ticks
        )?;
        writeln!(f, "faults, by seeds:")?;
        for (name, count) in &self.faults {
            writeln!(f, "  {count:>7} {name}")?;
        }
        writeln!(f, "reasons, by times:")?;
        for (reason, count) in &self.reasons {
            writeln!(f, "  {count:>7} {reason}")?;
        }
        if !self.is_covered() {
            let reasons = self.reasons_missed.iter().map(|reason| reason.code());
            let missed: Vec<&str> = self.faults_missed.iter().copied().chain(reasons).collect();
            writeln!(f, "never reached: {}", missed.join(", "))?;
        }
        for text in self.failed.values().take(TOLD_MAX) {
            writeln!(f, "FAILED {text}")?;
        }
        writeln!(f, "{} of {} seeds failed", self.failed.len(), self.seeds)
    }
}

/// The seeds of a file: one a line, with why it is there behind a `#`.
///
/// # Errors
/// When the file cannot be read, or a line has no seed or no reason.
pub fn regressions(path: &Path) -> anyhow::Result<Vec<u64>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let mut seeds = BTreeSet::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let seed = line.split_once('#').filter(|(_, why)| !why.trim().is_empty());
        let seed = seed.and_then(|(seed, _)| seed.trim().parse::<u64>().ok());
        let Some(seed) = seed else {
            let (path, number) = (path.display(), number + 1);
            anyhow::bail!("{path}:{number}: write `SEED # why it is here`");
        };
        seeds.insert(seed);
    }
    Ok(seeds.into_iter().collect())
}
