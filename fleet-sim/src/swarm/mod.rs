//! The seeded simulator: production cores in a fake and hostile world, many seeds at a
//! time, each reproducible from its number. Faults first, then calm, in which everything
//! must come right; checkers from outside say what must hold.
//!
//! Refuses to know what a right decision is: the cores decide, the checkers judge.

pub mod canaries;
pub mod checkers;
pub mod cloud;
pub mod device;
pub mod disk;
pub mod facts;
pub mod firmware;
pub mod guests;
pub mod keeper;
pub mod keys;
pub mod least;
pub mod library;
pub mod network;
pub mod operators;
pub mod options;
pub mod preparing;
pub mod report;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
mod tests;
pub mod thief;
pub mod trace;
pub mod trouble;
pub mod world;

use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use canaries::{CanaryOptions, run as run_canaries};
pub use facts::Fact;
pub use library::Library;
pub use options::{Fault, Options};
pub use report::Swarm;
pub use trace::Trace;
pub use world::{Violation, World};

/// How a command ended; each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All held.
    Held,
    /// Something happened that must never.
    Safety,
    /// Faults stopped, and something did not come right.
    Liveness,
    /// The program itself failed.
    Crash,
    /// A bug that was let out was not found.
    Missed,
}

impl Verdict {
    /// 0; 3, 4, 5 for safety, liveness and crash; 6 for a bug that was not found. 2 is the
    /// command line's.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Held => 0,
            Verdict::Safety => 3,
            Verdict::Liveness => 4,
            Verdict::Crash => 5,
            Verdict::Missed => 6,
        }
    }
}

/// `fleet-sim swarm`.
#[derive(Args)]
pub struct SwarmOptions {
    /// The seeds: `A..B`, B left out.
    #[arg(long, value_name = "A..B", value_parser = seeds, default_value = "0..1000")]
    seeds: std::ops::Range<u64>,
    /// Threads; 0 for as many as there are processors.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Runs the seeds of this file, too: one a line, with why it is there behind a `#`.
    #[arg(long, value_name = "FILE")]
    regressions: Option<std::path::PathBuf>,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// Fails unless every kind of fault and every reason that the cores can give is reached.
    #[arg(long)]
    coverage: bool,
}

/// `fleet-sim run`.
#[derive(Args)]
pub struct RunOptions {
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Prints every transition.
    #[arg(long)]
    trace: bool,
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let wrong = || format!("`{text}` is no range of seeds; write it as 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(wrong()) } else { Ok(range) }
}

/// What one seed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What went wrong, if anything did.
    pub violation: Option<Violation>,
    /// The message of a panic.
    pub crash: Option<String>,
    /// Digest and number of the trace's lines.
    pub trace: (u64, u64),
    /// Kinds of fault that happened.
    pub faults: BTreeSet<Fault>,
    /// Reasons that were given, and how often.
    pub reasons: BTreeMap<gnomon_schemas::Reason, u64>,
    /// Ticks of all devices.
    pub ticks: u64,
    /// Virtual time of all devices together.
    pub device_ms: u64,
}

impl Outcome {
    /// How it ended.
    pub fn verdict(&self) -> Verdict {
        match &self.violation {
            _ if self.crash.is_some() => Verdict::Crash,
            None => Verdict::Held,
            Some(violation) if violation.is_liveness => Verdict::Liveness,
            Some(_) => Verdict::Safety,
        }
    }

    /// What went wrong, and how to see it again.
    pub fn tell(&self) -> String {
        let what = match (&self.crash, &self.violation) {
            (Some(crash), _) => format!("crash: {crash}"),
            (None, Some(violation)) => {
                let phase = if violation.is_liveness { "liveness" } else { "safety" };
                let minute = violation.at_ms / 60_000;
                format!("{phase}: {}: minute {minute}: {}", violation.checker, violation.what)
            }
            (None, None) => "all held".into(),
        };
        let seed = self.seed;
        format!("seed {seed}: {what}\n  again: fleet-sim run --seed {seed} --trace")
    }
}

/// Runs one seed.
pub fn run_seed(library: &Library, seed: u64, trace: Trace) -> Outcome {
    let options = Options::of(seed);
    let devices = options.devices as u64;
    let mut outcome = Outcome {
        seed,
        violation: None,
        crash: None,
        trace: (0, 0),
        faults: BTreeSet::new(),
        reasons: BTreeMap::new(),
        ticks: 0,
        device_ms: 0,
    };
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(library, options, trace)?;
        outcome.violation = world.run();
        outcome.trace = world.trace.fingerprint();
        outcome.faults = std::mem::take(&mut world.faults);
        outcome.reasons = std::mem::take(&mut world.reasons);
        outcome.ticks = world.ticks;
        outcome.device_ms = world.now_ms * devices;
        anyhow::Ok(())
    }));
    outcome.crash = match ran {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Some(text.unwrap_or_else(|| "a panic".into()))
        }
    };
    outcome
}

/// Runs seeds on so many threads, until all are done or `stop` says so.
fn run_all(
    seeds: &[u64],
    threads: usize,
    stop: impl Fn(&Outcome) -> bool + Sync,
) -> anyhow::Result<(Vec<Outcome>, Duration)> {
    let start = Instant::now();
    let (next, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let (outcomes, failed) = (Mutex::new(vec![]), Mutex::new(None));
    let work = || {
        let library = match Library::new() {
            Ok(library) => library,
            Err(error) => {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
        };
        while !stopped.load(Ordering::Relaxed) {
            let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
            let Some(seed) = seeds.get(index) else { break };
            let outcome = run_seed(&library, *seed, Trace::silent());
            if stop(&outcome) {
                stopped.store(true, Ordering::Relaxed);
            }
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            if let Err(error) = thread().spawn_scoped(scope, work) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.into());
            }
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome: &Outcome| outcome.seed);
    Ok((outcomes, start.elapsed()))
}

/// Runs these seeds on all processors, and says what they came to.
///
/// # Errors
/// When the engine cannot start.
pub fn measure(seeds: std::ops::Range<u64>) -> anyhow::Result<Swarm> {
    let seeds: Vec<u64> = seeds.collect();
    let (outcomes, took) = run_all(&seeds, threads(0), |_| false)?;
    Ok(Swarm::of(&outcomes, took))
}

/// A thread on which guests are called: one may use all that the host lets it.
pub(crate) fn thread() -> std::thread::Builder {
    std::thread::Builder::new().stack_size(gnomon_host::THREAD_STACK_BYTES + 2 * 1024 * 1024)
}

pub(crate) fn threads(asked: usize) -> usize {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if asked == 0 { all } else { asked }
}

/// `fleet-sim swarm`: many seeds, and what they reached.
///
/// # Errors
/// When a file cannot be read or written, or the engine cannot start.
pub fn swarm(options: &SwarmOptions) -> anyhow::Result<Verdict> {
    let mut seeds: Vec<u64> = match &options.regressions {
        Some(path) => report::regressions(path)?,
        None => vec![],
    };
    seeds.extend(options.seeds.clone());
    let (outcomes, took) = run_all(&seeds, threads(options.threads), |_| false)?;
    let swarm = Swarm::of(&outcomes, took);
    print!("{swarm}");
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&swarm)?)?;
    }
    let worst = outcomes.iter().map(Outcome::verdict).max_by_key(|verdict| verdict.exit_code());
    let verdict = worst.unwrap_or(Verdict::Held);
    if verdict == Verdict::Held && options.coverage && !swarm.is_covered() {
        return Ok(Verdict::Missed);
    }
    Ok(verdict)
}

/// `fleet-sim run`: one seed.
///
/// # Errors
/// When the engine cannot start.
pub fn run(options: &RunOptions) -> anyhow::Result<Verdict> {
    let trace = if options.trace {
        Trace::to(Box::new(std::io::BufWriter::new(std::io::stdout())))
    } else {
        Trace::silent()
    };
    let seed = options.seed;
    let work = move || Ok::<_, anyhow::Error>(run_seed(&Library::new()?, seed, trace));
    let outcome = thread()
        .spawn(work)?
        .join()
        .map_err(|_| anyhow::anyhow!("the simulation's thread died"))??;
    println!("{}", Options::of(seed));
    println!("{}", outcome.tell());
    println!("trace {:016x} of {} lines", outcome.trace.0, outcome.trace.1);
    Ok(outcome.verdict())
}
