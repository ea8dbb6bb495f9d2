//! The tick loop: read, evaluate, clamp, actuate, and only then everything else.
//!
//! Nothing on this thread waits for anything but the device: frames and jobs are
//! handed over where there is room and counted where there is none. It knows no
//! key, no signature and no network.

use gnomon_agent_core::message::FromRunner;
use gnomon_agent_core::tally::{Cost, Tally};
use gnomon_agent_core::{Clamped, Guard};
use gnomon_host::Evaluation;
use gnomon_schemas::document::{FunctionPlan, Reporting};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::results::{Record, SlotRole};
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Version};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use super::Command;
use super::candidates::{Beside, Job};
use super::done;
use super::prepare::{Callable, Prepared};
use crate::device::{Device, Next, Tick};
use crate::frames::FrameSender;

/// How long the loop waits for a tick before it looks for commands again.
const PATIENCE: Duration = Duration::from_millis(50);

/// One function in force.
struct InForce {
    active: Option<Callable>,
    guard: Guard,
    tally: Tally,
    state: Option<(Digest, Values)>,
    /// The state that the last evaluation started from, for its record.
    state_before: Option<Values>,
    beside: Arc<Beside>,
    last_tick: Option<u64>,
    /// Where the actuator stood before this tick.
    stood: Values,
    skipped: u64,
    /// Ticks that the candidates before these have skipped, until they are told;
    /// none once they were.
    skipped_before: Option<u64>,
}

pub(super) struct TickLoop {
    profile: Profile,
    device: Box<dyn Device>,
    planner: FrameSender<FromRunner>,
    jobs: SyncSender<Job>,
    functions: BTreeMap<FunctionName, InForce>,
    /// Frames that found no room; nothing more is taken from the tallies meanwhile.
    unsent: VecDeque<FromRunner>,
    defaulted: bool,
}

impl TickLoop {
    pub(super) fn new(
        profile: Profile,
        device: Box<dyn Device>,
        planner: FrameSender<FromRunner>,
        jobs: SyncSender<Job>,
    ) -> TickLoop {
        let mut ticks = TickLoop {
            functions: BTreeMap::new(),
            profile,
            device,
            planner,
            jobs,
            unsent: VecDeque::new(),
            defaulted: false,
        };
        for name in ticks.profile.functions.keys().cloned().collect::<Vec<_>>() {
            let empty = FunctionPlan::default();
            // A checked profile's own function with nothing narrowed cannot be refused.
            if let Ok(guard) = Guard::new(&ticks.profile, &name, &empty) {
                let idle = InForce::new(&name, None, vec![], guard, None, Reporting::default());
                ticks.functions.insert(name, idle);
            }
        }
        ticks
    }

    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let next = self.device.next_tick(PATIENCE);
            // Between two ticks: after the device has spoken, before it is answered.
            let planner_is_there = self.obey_all(commands);
            match next {
                Next::Tick(tick) => self.tick(&tick),
                Next::Idle => self.send_unsent(),
                Next::Closed => break,
            }
            if !planner_is_there {
                break;
            }
        }
        self.flush();
    }

    /// Whether there may be more commands to come.
    fn obey_all(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            match commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn tick(&mut self, tick: &Tick) {
        let defaulted = self.defaulted;
        let Some(function) = self.functions.get_mut(&tick.function) else { return };
        let (evaluation, clamped) = function.control(tick, defaulted);
        self.device.actuate(tick, &clamped);
        // The actuator has its value; all that follows may be late.
        function.count(tick, evaluation.as_ref(), &clamped);
        let stood = std::mem::replace(&mut function.stood, clamped.values().clone());
        let has_candidates = !function.beside.candidates.is_empty() && !defaulted;
        let to_tell = function.skipped_before.is_some() && function.beside.candidates.is_empty();
        if has_candidates || to_tell {
            let job = Job {
                beside: Arc::clone(&function.beside),
                tick: tick.clone(),
                active: evaluation.and_then(|e| e.outcome.ok()).map(|outputs| outputs.outputs),
                stood,
                skipped: function.skipped,
                skipped_before: function.skipped_before.unwrap_or(0),
            };
            match self.jobs.try_send(job) {
                Ok(()) => (function.skipped, function.skipped_before) = (0, None),
                Err(_) => function.skipped += u64::from(has_candidates),
            }
        }
        if function.tally.is_due() {
            self.report(&tick.function.clone());
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Activate(prepared) => self.activate(prepared),
            Command::Defaults => self.defaulted = true,
            Command::Stop(modules) => self.stop(&modules),
        }
    }

    /// Takes recalled modules out of their slots: without an active one a function
    /// has the profile's defaults.
    fn stop(&mut self, modules: &BTreeSet<Digest>) {
        let is_recalled = |callable: &Callable| modules.contains(callable.module.digest());
        for (name, current) in &mut self.functions {
            let beside = Arc::clone(&current.beside);
            if !current.active.iter().chain(&beside.candidates).any(is_recalled) {
                continue;
            }
            let active = current.active.take().filter(|callable| !is_recalled(callable));
            let kept = beside.candidates.iter().filter(|callable| !is_recalled(callable));
            let next = (active, kept.cloned().collect(), beside.guard.clone());
            let mut old = current.exchange(name, next, beside.version, beside.reporting);
            self.unsent.extend(done::take(std::iter::once(&mut old.tally)));
        }
        self.send_unsent();
    }

    /// The swap: what the tick loop spends here is the whole of its gap.
    fn activate(&mut self, prepared: Prepared) {
        let start = Instant::now();
        let (version, reporting) = (prepared.version, prepared.reporting);
        let mut replaced = Vec::new();
        let mut from_tick = BTreeMap::new();
        let mut fresh = prepared.functions;
        for (name, current) in &mut self.functions {
            let next = match fresh.remove(name) {
                Some(function) => (function.active, function.candidates, function.guard),
                None => (None, vec![], current.guard.clone()),
            };
            from_tick.insert(name.clone(), current.last_tick.map_or(0, |tick| tick + 1));
            replaced.push(current.exchange(name, next, Some(version), reporting));
        }
        self.defaulted = false;
        let swap_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for mut old in replaced {
            self.take_tally(&mut old.tally);
        }
        self.unsent.push_back(FromRunner::Activated { version, swap_ns, from_tick });
        self.send_unsent();
    }

    fn report(&mut self, name: &FunctionName) {
        self.send_unsent();
        if !self.unsent.is_empty() {
            return;
        }
        if let Some(mut function) = self.functions.remove(name) {
            self.take_tally(&mut function.tally);
            self.functions.insert(name.clone(), function);
        }
        self.send_unsent();
    }

    fn take_tally(&mut self, tally: &mut Tally) {
        self.unsent.extend(done::take(std::iter::once(tally)));
    }

    fn send_unsent(&mut self) {
        while let Some(message) = self.unsent.pop_front() {
            if let Err(error) = self.planner.try_send(message) {
                if let std::sync::mpsc::TrySendError::Full(message) = error {
                    self.unsent.push_front(message);
                }
                return;
            }
        }
    }

    /// The device is gone: nothing is in a hurry any more.
    fn flush(&mut self) {
        let mut functions = std::mem::take(&mut self.functions);
        for function in functions.values_mut() {
            self.take_tally(&mut function.tally);
        }
        for message in self.unsent.drain(..) {
            if self.planner.send(message).is_err() {
                return;
            }
        }
    }
}

impl InForce {
    fn new(
        name: &FunctionName,
        active: Option<Callable>,
        candidates: Vec<Callable>,
        guard: Guard,
        version: Option<Version>,
        reporting: Reporting,
    ) -> InForce {
        let function = name.clone();
        let stood = guard.standing();
        let beside =
            Arc::new(Beside { function, version, candidates, guard: guard.clone(), reporting });
        let module = active.as_ref().map(|callable| callable.module.digest().clone());
        let tally = Tally::new(name.clone(), module, SlotRole::Active, version, reporting);
        InForce {
            active,
            guard,
            tally,
            state: None,
            state_before: None,
            beside,
            last_tick: None,
            stood,
            skipped: 0,
            skipped_before: None,
        }
    }

    /// Puts other modules in force; what the function has done and where its actuator
    /// stands goes on. Gives back what was in force before.
    fn exchange(
        &mut self,
        name: &FunctionName,
        (active, candidates, mut guard): (Option<Callable>, Vec<Callable>, Guard),
        version: Option<Version>,
        reporting: Reporting,
    ) -> InForce {
        guard.continue_from(&self.guard);
        let mut next = InForce::new(name, active, candidates, guard, version, reporting);
        next.last_tick = self.last_tick;
        // The candidates' thread closes the accounts of those before.
        next.skipped_before = match self.skipped_before {
            None if self.beside.candidates.is_empty() => None,
            None => Some(self.skipped),
            Some(before) => Some(before + self.skipped),
        };
        next.state = self.state.take();
        std::mem::replace(self, next)
    }

    /// Evaluates the active module and makes what the actuator gets.
    fn control(&mut self, tick: &Tick, defaulted: bool) -> (Option<Evaluation>, Clamped) {
        let Some(callable) = self.active.as_ref().filter(|_| !defaulted) else {
            return (None, self.guard.default_outputs(&tick.inputs));
        };
        let digest = callable.module.digest();
        let state = self.state.take().filter(|(of, _)| of == digest).map(|(_, state)| state);
        let evaluation = callable.module.evaluate(&tick.inputs, &callable.params, state.as_ref());
        let clamped = match &evaluation.outcome {
            Ok(outputs) => {
                self.state = outputs.state.clone().map(|state| (digest.clone(), state));
                self.guard.actuate(Some(&outputs.outputs), &tick.inputs)
            }
            Err(_) => {
                // A call that failed has forgotten nothing.
                self.state = state.clone().map(|state| (digest.clone(), state));
                self.guard.actuate(None, &tick.inputs)
            }
        };
        self.state_before = state;
        (Some(evaluation), clamped)
    }

    fn count(&mut self, tick: &Tick, evaluation: Option<&Evaluation>, clamped: &Clamped) {
        if let Some(last) = self.last_tick.replace(tick.number) {
            self.tally.missed(tick.number.saturating_sub(last).saturating_sub(1));
        }
        self.tally.tick(tick.at_ms);
        self.tally.actuated(clamped.source(), clamped.changed());
        let (Some(evaluation), Some(callable)) = (evaluation, &self.active) else { return };
        let before = self.state_before.take();
        let mut record = record_of(tick, callable, SlotRole::Active, before.as_ref(), evaluation);
        record.actuated = Some(clamped.values().clone());
        self.tally.evaluated(record, cost_of(evaluation), 0.0);
    }
}

/// The record of one evaluation.
pub(super) fn record_of(
    tick: &Tick,
    callable: &Callable,
    role: SlotRole,
    state: Option<&Values>,
    evaluation: &Evaluation,
) -> Record {
    let inputs = &callable.module.interface().inputs;
    Record {
        at_ms: tick.at_ms,
        tick: tick.number,
        function: tick.function.clone(),
        module: callable.module.digest().clone(),
        role,
        // Only what the module reads: the rest cannot matter to a replay.
        inputs: tick
            .inputs
            .iter()
            .filter(|(name, _)| inputs.keys().any(|input| input.as_str() == name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        params: callable.params.values().clone(),
        state: state.cloned(),
        outputs: evaluation.outcome.as_ref().ok().map(|outputs| outputs.outputs.clone()),
        actuated: None,
        fault: evaluation.outcome.as_ref().err().map(|refusal| refusal.reason),
        fuel: evaluation.fuel,
        time_us: time_us(evaluation),
    }
}

pub(super) fn cost_of(evaluation: &Evaluation) -> Cost {
    Cost { time_us: time_us(evaluation), memory_bytes: evaluation.memory_bytes }
}

fn time_us(evaluation: &Evaluation) -> u64 {
    u64::try_from(evaluation.time.as_micros()).unwrap_or(u64::MAX)
}
