//! What disturbs control: tick latency at 1 kHz through keeper and runner processes, by
//! itself, while the costliest modules that are allowed are compiled, while documents are
//! swapped, and beside poisonous candidates. Prints each against quiet phases of the same
//! run: `missed` are ticks that the active function did not answer, `late` those that
//! were answered after the next was due, `ratio` is of the 99th percentiles.
//!
//! `cargo bench --workspace --bench keeper`, with `-- --json` for a program to read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a program that measures"
)]

#[path = "../../agent/daemon/tests/agent/fixture.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the agent's tests use the rest")]
mod fixture;
#[path = "../poison/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
mod poison;

use fixture::{Plan, inputs, setpoint, tou};
use gnomon_agent::cell::processes;
use gnomon_agent::device::{Device, Next, Tick};
use gnomon_agent::frames::{self, FrameSender};
use gnomon_agent::keeper::{Keeper, KeeperOptions, WithoutPlanner};
use gnomon_agent_core::Clamped;
use gnomon_agent_core::message::{FromKeeper, Prepare, ToKeeper};
use gnomon_schemas::Digest;
use gnomon_schemas::results::Source;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// From tick to tick.
const PERIOD: Duration = Duration::from_millis(1);
/// One quiet phase.
const QUIET: Duration = Duration::from_secs(3);
/// Swaps from one document to the next and back.
const SWAPS: u32 = 40;
/// From one document in force to the preparation of the next.
const BETWEEN_SWAPS: Duration = Duration::from_millis(25);
/// What costs a compiler the most of all that may reach it.
const COSTLY: [&str; 3] = ["largest-allowed", "bomb-functions-allowed", "bomb-br-table-allowed"];
/// Candidates that take what they can get: time, memory, stack.
const POISON: [&str; 4] =
    ["loop-br", "loop-memory-fill", "memory-all-touched", "recursion-with-big-frames"];
/// Turns with each of them and without it, and how long each lasts.
const TURNS: u32 = 3;
const TURN: Duration = Duration::from_secs(1);

/// One tick, as the firmware saw it.
#[derive(Clone, Copy)]
struct Answer {
    latency: Duration,
    source: Source,
}

/// A device that is due every millisecond, whatever happened to the tick before.
struct Metronome {
    due: Instant,
    number: u64,
    answers: Sender<Answer>,
}

impl Device for Metronome {
    fn next_tick(&mut self, _patience: Duration) -> Next {
        self.due += PERIOD;
        let now = Instant::now();
        if let Some(left) = self.due.checked_duration_since(now) {
            std::thread::sleep(left);
        } else if now - self.due > 50 * PERIOD {
            // The machine stood still: what was due meanwhile was nobody's fault here.
            self.due = now;
        }
        self.number += 1;
        let (number, came) = (self.number, Instant::now());
        Next::Tick(Tick {
            function: setpoint(),
            number,
            at_ms: number,
            came,
            inputs: inputs(1.0, 50.0),
        })
    }

    fn actuate(&mut self, tick: &Tick, values: &Clamped) {
        let latency = tick.came.elapsed();
        // A bench that has ended no longer listens.
        let _ = self.answers.send(Answer { latency, source: values.source() });
    }
}

struct Rig {
    planner: FrameSender<ToKeeper>,
    messages: Receiver<FromKeeper>,
    answers: Receiver<Answer>,
    version: u64,
    _keeper: Keeper,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let exe = PathBuf::from(env!("CARGO_BIN_EXE_gnomon-agent-under-test"));
        let workshop = processes(exe, folder.path().to_owned(), None).unwrap();
        let (sender, answers) = channel();
        let device = Metronome { due: Instant::now(), number: 0, answers: sender };
        let options = KeeperOptions { without_planner: WithoutPlanner::GoOn, realtime: None };
        let keeper = Keeper::start(fixture::profile(), Box::new(device), workshop, options);
        let keeper = keeper.unwrap();
        let (own, other) = UnixStream::pair().unwrap();
        let (sender, messages) = channel();
        frames::receiver("bench", own.try_clone().unwrap(), move |m| sender.send(m).is_ok())
            .unwrap();
        let planner = frames::sender("bench", own).unwrap();
        keeper.attach(other).unwrap();
        Rig { planner, messages, answers, version: 0, _keeper: keeper, _folder: folder }
    }

    /// Prepares a document; whether it was admitted.
    fn prepare(&mut self, plan: &Plan) -> Option<Digest> {
        self.version += 1;
        let mut document = plan.document(self.version);
        document.functions.values_mut().for_each(|function| {
            function.probation =
                Some(gnomon_schemas::document::Probation { ticks: 0, ..Default::default() });
        });
        let digest = Digest::of(&serde_json::to_vec(&document).unwrap());
        let prepare = Prepare {
            digest: digest.clone(),
            document,
            modules: plan.modules.clone(),
            states: vec![],
            on_trial: false,
        };
        self.planner.send(ToKeeper::Prepare(Box::new(prepare))).unwrap();
        loop {
            if let FromKeeper::Prepared { document, outcome } = self.messages.recv().unwrap()
                && document == digest
            {
                return outcome.is_ok().then_some(digest);
            }
        }
    }

    fn activate(&mut self, document: Digest) {
        let version = self.version.try_into().unwrap();
        self.planner.send(ToKeeper::Activate { document, version }).unwrap();
        while !matches!(self.messages.recv().unwrap(), FromKeeper::Activated { .. }) {}
    }

    fn put_in_force(&mut self, plan: &Plan) {
        let document = self.prepare(plan).expect("a good document is admitted");
        self.activate(document);
    }

    /// What was answered since the last call.
    fn answers(&self) -> Vec<Answer> {
        self.answers.try_iter().collect()
    }

    /// What is answered from now on, for so long.
    fn listen(&self, time: Duration) -> Vec<Answer> {
        self.answers();
        std::thread::sleep(time);
        self.answers()
    }
}

/// Where rows go: to people as they come, and as figures for a program in the end.
struct Paper {
    is_json: bool,
    figures: Vec<serde_json::Value>,
}

impl Paper {
    fn say(&self, line: &str) {
        if !self.is_json {
            println!("{line}");
        }
    }

    fn figure(&mut self, what: String, us: f64, reference: (&str, f64)) {
        self.figures.push(serde_json::json!({"what": what, "value": us, "unit": "us",
            "reference": reference.0, "reference_value": reference.1}));
    }
}

/// One row of the table; its 99th percentile.
fn row(paper: &mut Paper, name: &str, answers: &[Answer], quiet_p99_us: f64) -> f64 {
    let mut us: Vec<f64> = answers.iter().map(|a| a.latency.as_secs_f64() * 1e6).collect();
    us.sort_by(f64::total_cmp);
    let at = |share: f64| us[((us.len() - 1) as f64 * share) as usize];
    let missed = answers.iter().filter(|answer| answer.source != Source::Active).count();
    let late = answers.iter().filter(|answer| answer.latency > PERIOD).count();
    let ratio = if quiet_p99_us > 0.0 { at(0.99) / quiet_p99_us } else { 1.0 };
    paper.say(&format!(
        "{name:<36} {:>7} {missed:>7} {late:>6} {:>8.0} {:>8.0} {:>8.0} {:>9.0} {ratio:>7.2}",
        us.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        us[us.len() - 1],
    ));
    if quiet_p99_us > 0.0 {
        let what = format!("{name}: 99th percentile, {missed} of {} ticks missed", us.len());
        paper.figure(what, at(0.99), ("the same, quiet", quiet_p99_us));
    }
    at(0.99)
}

fn animal(name: &str) -> &'static [u8] {
    &poison::zoo().iter().find(|animal| animal.name == name).unwrap().bytes
}

/// Latency while modules are compiled that are as costly to compile as any that is allowed.
fn compiling(rig: &mut Rig, paper: &mut Paper, quiet_p99_us: f64) {
    for name in COSTLY {
        let start = Instant::now();
        rig.answers();
        let admitted = rig.prepare(&tou().candidate(animal(name), serde_json::json!({})));
        let (took, during) = (start.elapsed(), rig.answers());
        row(paper, &format!("compiling {name}"), &during, quiet_p99_us);
        let fate = if admitted.is_some() { "admitted" } else { "refused" };
        paper.say(&format!("    {} bytes, {fate} after {took:.1?}", animal(name).len()));
    }
}

/// Latency beside each of these candidates, in turns with latency without it.
fn beside(rig: &mut Rig, paper: &mut Paper) {
    let (mut all_quiet, mut all_beside) = (vec![], vec![]);
    for name in POISON {
        let (mut quiet, mut beside) = (vec![], vec![]);
        for _ in 0..TURNS {
            rig.put_in_force(&tou());
            quiet.extend(rig.listen(TURN));
            rig.put_in_force(&tou().candidate(animal(name), serde_json::json!({})));
            beside.extend(rig.listen(TURN));
        }
        let quiet_p99_us = row(paper, &format!("without {name}"), &quiet, 0.0);
        row(paper, &format!("beside {name}"), &beside, quiet_p99_us);
        all_quiet.extend(quiet);
        all_beside.extend(beside);
    }
    let quiet_p99_us = row(paper, "without any of them", &all_quiet, 0.0);
    row(paper, "beside one of them", &all_beside, quiet_p99_us);
}

/// A call without processes: the same module on the same inputs, evaluated in this one.
fn bare_evaluation_us() -> f64 {
    let host = gnomon_host::Host::new(&gnomon_host::HostOptions::default()).unwrap();
    let (profile, plan) = (fixture::profile(), tou());
    let budget = profile.functions[&setpoint()].budget;
    let module = plan.modules.values().next().unwrap();
    let module = host.admit(&module.0, &profile, &setpoint(), budget).unwrap();
    let document = plan.document(1);
    let slot = document.functions[&setpoint()].active.clone().unwrap();
    let (params, inputs) = (module.params(&slot.params).unwrap(), inputs(1.0, 50.0));
    let call = || drop(std::hint::black_box(module.evaluate(&inputs, &params, None)));
    (0..1000).for_each(|_| call());
    let start = Instant::now();
    (0..10_000).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e6 / 10_000.0
}

fn main() {
    let is_json = std::env::args().any(|argument| argument == "--json");
    let mut paper = Paper { is_json, figures: vec![] };
    let bare_us = bare_evaluation_us();
    let mut rig = Rig::new();
    rig.put_in_force(&tou());
    paper.say(&format!(
        "keeper and runner as processes, a tick every {PERIOD:?}; latency in us; the evaluation \
         alone takes {bare_us:.1} us"
    ));
    paper.say(&format!(
        "{:<36} {:>7} {:>7} {:>6} {:>8} {:>8} {:>8} {:>9} {:>7}",
        "phase", "ticks", "missed", "late", "p50", "p99", "p99.9", "max", "ratio"
    ));
    let quiet = rig.listen(QUIET);
    let quiet_p99_us = row(&mut paper, "quiet", &quiet, 0.0);
    let mut us: Vec<f64> = quiet.iter().map(|a| a.latency.as_secs_f64() * 1e6).collect();
    us.sort_by(f64::total_cmp);
    let bare = ("the evaluation in it", bare_us);
    paper.figure("quiet: median".into(), us[us.len() / 2], bare);
    paper.figure("quiet: 99th percentile".into(), quiet_p99_us, bare);
    compiling(&mut rig, &mut paper, quiet_p99_us);
    let quiet_p99_us = row(&mut paper, "quiet", &rig.listen(QUIET), 0.0);
    let start = Instant::now();
    for swap in 0..SWAPS {
        rig.put_in_force(&if swap % 2 == 0 { fixture::hot(60.0) } else { tou() });
        std::thread::sleep(BETWEEN_SWAPS);
    }
    let swapping = start.elapsed();
    row(&mut paper, "swapping documents", &rig.answers(), quiet_p99_us);
    paper.say(&format!("    {SWAPS} documents prepared and swapped in {swapping:.1?}"));
    beside(&mut rig, &mut paper);
    if is_json {
        println!("{}", serde_json::json!({ "figures": paper.figures }));
    }
}
