//! Candidates: evaluated beside the active function, on inputs that it has
//! already acted on. Their outputs reach results; there is no actuator here.

use gnomon_agent_core::Guard;
use gnomon_agent_core::message::FunctionState;
use gnomon_agent_core::tally::Tally;
use gnomon_schemas::document::Reporting;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::results::SlotRole;
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Reason, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::in_force::{cost_of, record_of};
use super::outbound::Outbound;
use super::prepare::{Housed, Placed};
use crate::cell::{Purpose, Workshop, failed};
use crate::device::Tick;

/// Jobs that may wait; with more, candidates skip ticks, which is counted.
pub(super) const QUEUE_MAX: usize = 8;
/// How much nicer than the tick loop this thread is (see nice(2)).
const NICENESS: i32 = 10;
/// How long a candidate may keep its thread: it runs when nobody else wants to.
const PATIENCE: Duration = Duration::from_secs(10);
/// The shortest and the longest pause before a dead cell is replaced.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// The cell of all candidates of one document.
pub(super) type Shared = Arc<Mutex<SharedCell>>;

pub(super) struct SharedCell {
    housed: Housed,
    /// When the dead cell may be replaced, and the pause after that.
    again: Option<(Instant, Duration)>,
}

pub(super) fn shared(housed: Housed) -> Shared {
    Arc::new(Mutex::new(SharedCell { housed, again: None }))
}

/// The candidates of one function in one document.
pub(super) struct Beside {
    function: FunctionName,
    version: Option<Version>,
    guard: Guard,
    reporting: Reporting,
    /// Each with the state that it begins with.
    candidates: Vec<(Placed, Option<Values>)>,
    cell: Option<Shared>,
}

impl Beside {
    pub(super) fn new(
        function: &FunctionName,
        guard: Guard,
        version: Option<Version>,
        reporting: Reporting,
        candidates: Vec<(Placed, Option<Values>)>,
        cell: Option<&Shared>,
    ) -> Beside {
        let (function, cell) = (function.clone(), cell.cloned());
        Beside { function, version, guard, reporting, candidates, cell }
    }

    /// A function without candidates.
    pub(super) fn none(
        function: &FunctionName,
        guard: Guard,
        version: Option<Version>,
        reporting: Reporting,
    ) -> Beside {
        Beside::new(function, guard, version, reporting, vec![], None)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    pub(super) fn modules(&self) -> impl Iterator<Item = &Digest> {
        self.candidates.iter().map(|(placed, _)| &placed.facts.module)
    }

    /// The same without these modules.
    pub(super) fn without(&self, modules: &BTreeSet<Digest>) -> Beside {
        let kept = |(placed, _): &&(Placed, _)| !modules.contains(&placed.facts.module);
        let kept = self.candidates.iter().filter(kept).cloned().collect();
        let guard = self.guard.clone();
        let cell = self.cell.as_ref();
        Beside::new(&self.function, guard, self.version, self.reporting, kept, cell)
    }
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
    workshop: Arc<dyn Workshop>,
    outbound: Arc<Outbound>,
    current: BTreeMap<FunctionName, Current>,
}

struct Current {
    beside: Arc<Beside>,
    slots: Vec<Slot>,
}

struct Slot {
    tally: Tally,
    state: Option<Values>,
    /// The state has changed since it was told.
    is_news: bool,
}

impl Current {
    fn new(beside: Arc<Beside>) -> Current {
        let slot = |(placed, state): &(Placed, Option<Values>)| {
            let tally = Tally::new(
                beside.function.clone(),
                Some(placed.facts.module.clone()),
                SlotRole::Candidate,
                beside.version,
                beside.reporting,
            );
            Slot { tally, state: state.clone(), is_news: false }
        };
        let slots = beside.candidates.iter().map(slot).collect();
        Current { beside, slots }
    }

    /// A candidate that stays over a swap keeps its state.
    fn continue_from(&mut self, before: Current) {
        let mut before: Vec<_> = before.beside.candidates.iter().zip(before.slots).collect();
        for ((placed, _), slot) in self.beside.candidates.iter().zip(&mut self.slots) {
            let same =
                |((old, _), _): &(&(Placed, _), Slot)| old.facts.module == placed.facts.module;
            if let Some(at) = before.iter().position(same) {
                let old = before.swap_remove(at).1;
                (slot.state, slot.is_news) = (old.state, old.is_news);
            }
        }
    }
}

impl Candidates {
    pub(super) fn new(workshop: Arc<dyn Workshop>, outbound: Arc<Outbound>) -> Candidates {
        Candidates { workshop, outbound, current: BTreeMap::new() }
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
        if let Some(cell) = &job.beside.cell {
            let mut cell = cell.lock().unwrap_or_else(PoisonError::into_inner);
            for ((placed, _), slot) in job.beside.candidates.iter().zip(&mut current.slots) {
                cell.replace_if_dead(self.workshop.as_ref());
                evaluate(job, placed, slot, &mut cell);
            }
        }
        if current.slots.iter().any(|slot| slot.tally.is_due()) && self.outbound.has_room() {
            let name = name.clone();
            self.report(&name);
        }
    }

    fn report(&mut self, name: &FunctionName) {
        let Some(current) = self.current.get_mut(name) else { return };
        let mut states = vec![];
        for ((placed, _), slot) in current.beside.candidates.iter().zip(&mut current.slots) {
            if let (true, Some(state)) = (std::mem::take(&mut slot.is_news), slot.state.clone()) {
                let (function, module) = (name.clone(), placed.facts.module.clone());
                states.push(FunctionState { function, module, role: SlotRole::Candidate, state });
            }
        }
        self.outbound.done(current.slots.iter_mut().map(|slot| &mut slot.tally), states);
    }

    /// Counts ticks at which there was no room for the candidates in force.
    fn skip(&mut self, name: &FunctionName, ticks: u64, at_ms: u64) {
        let Some(current) = self.current.get_mut(name) else { return };
        for slot in &mut current.slots {
            for _ in 0..ticks {
                slot.tally.skip(at_ms);
            }
        }
    }
}

impl SharedCell {
    /// A cell that keeps dying is replaced less and less often.
    fn replace_if_dead(&mut self, workshop: &dyn Workshop) {
        if self.housed.cell.is_alive() {
            return;
        }
        let now = Instant::now();
        let (due, pause) = *self.again.get_or_insert((now + PAUSE.0, PAUSE.0));
        if now < due {
            return;
        }
        let pause = (pause * 2).min(PAUSE.1);
        self.again = Some((now + pause, pause));
        match workshop.build(&self.housed.spec, Purpose::Candidates) {
            Ok((cell, _)) => self.housed.cell = cell,
            Err(refusal) => tracing::warn!(%refusal, "candidates have no runner"),
        }
    }
}

fn evaluate(job: &Job, placed: &Placed, slot: &mut Slot, cell: &mut SharedCell) {
    let Slot { tally, state, is_news } = slot;
    tally.tick(job.tick.at_ms);
    let evaluation = if cell.housed.cell.is_alive() {
        let until = Instant::now() + PATIENCE;
        cell.housed.cell.evaluate(placed.slot, &job.tick.inputs, state.as_ref(), until)
    } else {
        failed(Reason::RunnerDied, "its runner is being replaced", Duration::ZERO)
    };
    let mut divergence = 0.0;
    if let Ok(outputs) = &evaluation.outcome {
        let guard = job.beside.guard.standing_at(&job.stood);
        tally.clamped(&guard.preview(&outputs.outputs));
        if let Some(active) = &job.active {
            let tolerances = job.beside.guard.tolerances();
            divergence = tally.compare(active, &outputs.outputs, tolerances);
        }
    }
    let record = record_of(&job.tick, placed, SlotRole::Candidate, state.as_ref(), &evaluation);
    tally.evaluated(record, cost_of(&evaluation), divergence);
    if let Ok(outputs) = evaluation.outcome
        && outputs.state.is_some()
    {
        *is_news |= *state != outputs.state;
        *state = outputs.state;
    }
}
