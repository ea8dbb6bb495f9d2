//! Candidates: evaluated beside the active function, on inputs that it has
//! already acted on. Their outputs reach results; there is no actuator here.

use gnomon_agent_core::Guard;
use gnomon_agent_core::message::FromRunner;
use gnomon_agent_core::tally::Tally;
use gnomon_schemas::Version;
use gnomon_schemas::document::Reporting;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::results::SlotRole;
use gnomon_schemas::value::Values;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::done;
use super::prepare::Callable;
use super::ticks::{cost_of, record_of};
use crate::device::Tick;
use crate::frames::FrameSender;

/// Jobs that may wait; with more, candidates skip ticks, which is counted.
pub(super) const QUEUE_MAX: usize = 8;
/// How much nicer than the tick loop this thread is (see nice(2)).
const NICENESS: i32 = 10;

/// The candidates of one function in one document.
pub(super) struct Beside {
    pub(super) function: FunctionName,
    pub(super) version: Option<Version>,
    pub(super) candidates: Vec<Callable>,
    pub(super) guard: Guard,
    pub(super) reporting: Reporting,
}

/// One tick for the candidates of one function.
pub(super) struct Job {
    pub(super) beside: Arc<Beside>,
    pub(super) tick: Tick,
    /// What the active function proposed, if it did.
    pub(super) active: Option<Values>,
    /// Where the actuator stood when the active function was asked.
    pub(super) stood: Values,
    /// Ticks before this one for which there was no room.
    pub(super) skipped: u64,
    /// The same of the candidates before these, in the first job after a swap.
    pub(super) skipped_before: u64,
}

/// The thread's memory: counts and states of the candidates in force.
pub(super) struct Candidates {
    planner: FrameSender<FromRunner>,
    current: BTreeMap<FunctionName, Current>,
}

struct Current {
    beside: Arc<Beside>,
    slots: Vec<(Tally, Option<Values>)>,
}

impl Current {
    fn new(beside: Arc<Beside>) -> Current {
        let slot = |callable: &Callable| {
            let module = Some(callable.module.digest().clone());
            let tally = Tally::new(
                beside.function.clone(),
                module,
                SlotRole::Candidate,
                beside.version,
                beside.reporting,
            );
            (tally, None)
        };
        let slots = beside.candidates.iter().map(slot).collect();
        Current { beside, slots }
    }

    /// A candidate that stays over a swap keeps its state.
    fn continue_from(&mut self, before: Current) {
        let mut before: Vec<_> = before.beside.candidates.iter().zip(before.slots).collect();
        for (callable, (_, state)) in self.beside.candidates.iter().zip(&mut self.slots) {
            let same = |(old, _): &(&Callable, _)| old.module.digest() == callable.module.digest();
            if let Some(at) = before.iter().position(same) {
                *state = before.swap_remove(at).1.1;
            }
        }
    }
}

impl Candidates {
    pub(super) fn new(planner: FrameSender<FromRunner>) -> Candidates {
        Candidates { planner, current: BTreeMap::new() }
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let thread = Some(rustix::thread::gettid());
        if let Err(error) = rustix::process::setpriority_process(thread, NICENESS) {
            tracing::warn!(%error, "candidates run at the tick loop's priority");
        }
        while let Ok(job) = jobs.recv() {
            self.take(&job);
        }
        let names: Vec<FunctionName> = self.current.keys().cloned().collect();
        names.iter().for_each(|name| self.report(name));
    }

    fn take(&mut self, job: &Job) {
        let name = &job.beside.function;
        let known = self.current.get(name).map(|current| &current.beside);
        if !known.is_some_and(|beside| Arc::ptr_eq(beside, &job.beside)) {
            self.skip(name, job.skipped_before, job.tick.at_ms);
            self.report(name);
            let mut fresh = Current::new(Arc::clone(&job.beside));
            if let Some(before) = self.current.remove(name) {
                fresh.continue_from(before);
            }
            self.current.insert(name.clone(), fresh);
        }
        self.skip(name, job.skipped, job.tick.at_ms);
        let Some(current) = self.current.get_mut(name) else { return };
        for (callable, (tally, state)) in job.beside.candidates.iter().zip(&mut current.slots) {
            evaluate(job, callable, tally, state);
        }
        if current.slots.iter().any(|(tally, _)| tally.is_due()) {
            let name = name.clone();
            self.report(&name);
        }
    }

    /// This thread may wait for the planner: ticks are then skipped and counted.
    fn report(&mut self, name: &FunctionName) {
        let Some(current) = self.current.get_mut(name) else { return };
        let tallies = current.slots.iter_mut().map(|(tally, _)| tally);
        for batch in done::take(tallies) {
            // Without a planner there is nobody to tell.
            let _ = self.planner.send(batch);
        }
    }

    /// Counts ticks at which there was no room for the candidates in force.
    fn skip(&mut self, name: &FunctionName, ticks: u64, at_ms: u64) {
        let Some(current) = self.current.get_mut(name) else { return };
        for (tally, _) in &mut current.slots {
            for _ in 0..ticks {
                tally.skip(at_ms);
            }
        }
    }
}

fn evaluate(job: &Job, callable: &Callable, tally: &mut Tally, state: &mut Option<Values>) {
    tally.tick(job.tick.at_ms);
    let evaluation = callable.module.evaluate(&job.tick.inputs, &callable.params, state.as_ref());
    let mut divergence = 0.0;
    if let Ok(outputs) = &evaluation.outcome {
        let guard = job.beside.guard.standing_at(&job.stood);
        tally.clamped(&guard.preview(&outputs.outputs));
        if let Some(active) = &job.active {
            let tolerances = job.beside.guard.tolerances();
            divergence = tally.compare(active, &outputs.outputs, tolerances);
        }
    }
    let record = record_of(&job.tick, callable, SlotRole::Candidate, state.as_ref(), &evaluation);
    tally.evaluated(record, cost_of(&evaluation), divergence);
    if let Ok(outputs) = evaluation.outcome
        && outputs.state.is_some()
    {
        *state = outputs.state;
    }
}
