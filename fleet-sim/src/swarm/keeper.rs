//! A keeper in virtual time: the device's end of the agent with the production guard,
//! tally, probation and host, and no threads. One message is one step, as is one tick.

use gnomon_agent_core::canary::{self, Canary};
use gnomon_agent_core::message::{Done, FromKeeper, FunctionState, RolledBack, ToKeeper};
use gnomon_agent_core::probation::{Probation, TickOutcome, Verdict};
use gnomon_agent_core::tally::{Cost, Tally};
use gnomon_agent_core::{Clamped, Guard};
use gnomon_host::{Admitted, Evaluation, Params};
use gnomon_schemas::document::{Document, FunctionPlan, Reporting};
use gnomon_schemas::ids::{BootId, Digest, FunctionName, Version};
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::results::{Record, SlotRole};
use gnomon_schemas::value::Values;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::library::{Library, missing};

/// Messages that may wait until they are kept; with more, counts go on growing.
const UNKEPT_MAX: usize = 16;
/// A document on trial that has been in force for so long does well.
const HEALTHY_AFTER_MS: u64 = 60_000;

/// A module in a place, with what it remembers.
#[derive(Clone)]
pub(super) struct Placed {
    pub(super) module: Admitted,
    pub(super) params: Params,
    pub(super) state: Option<Values>,
}

impl Placed {
    pub(super) fn digest(&self) -> &Digest {
        self.module.digest()
    }
}

/// A module beside the active one, and its counts.
#[derive(Clone)]
pub(super) struct Beside {
    pub(super) placed: Placed,
    pub(super) tally: Tally,
}

/// What fills the function.
#[derive(Clone)]
pub(super) struct Filling {
    pub(super) active: Option<Placed>,
    pub(super) guard: Guard,
    pub(super) candidates: Vec<Beside>,
    pub(super) tally: Tally,
}

/// A document that can be put in force.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) digest: Digest,
    pub(super) document: Document,
    pub(super) on_trial: bool,
    pub(super) filling: Filling,
    pub(super) probation: Option<Probation>,
}

struct Force {
    digest: Digest,
    on_trial: bool,
    is_healthy: bool,
    since_ms: u64,
}

struct Before {
    force: Option<Force>,
    filling: Filling,
    defaulted: bool,
}

/// What came of a step, for the world to see.
#[derive(Debug)]
pub enum Seen {
    /// A document was put in force.
    InForce(Digest, Box<Document>),
    /// It went back by itself.
    WentBack,
    /// A module was called.
    Called(Box<Record>),
    /// Something is told for the first time.
    Told(Box<Done>),
}

/// One tick.
pub struct Tick {
    /// Counts since the keeper's start.
    pub number: u64,
    /// The device's time (Unix time, ms).
    pub at_ms: u64,
    /// What is read.
    pub inputs: Values,
    /// The runner ends in the middle of the call.
    pub runner_dies: bool,
}

/// The keeper of one function.
pub struct Keeper {
    session: BootId,
    pub(super) function: FunctionName,
    pub(super) filling: Filling,
    probation: Option<Probation>,
    force: Option<Force>,
    before: Option<Before>,
    ready: Option<Ready>,
    given_up: BTreeSet<Digest>,
    rolled_back: Option<RolledBack>,
    defaulted: bool,
    number: u64,
    unkept: VecDeque<Done>,
    last_tick: Option<u64>,
    /// What is to be said.
    outbox: Vec<FromKeeper>,
    /// What the world is to see.
    seen: Vec<Seen>,
    /// The next tick is not answered: a bug that is let out on purpose.
    swallows: bool,
}

impl Keeper {
    /// One that has just started.
    ///
    /// # Errors
    /// When the profile is not what it was.
    pub fn new(library: &Library, session: BootId) -> Result<Keeper, Refusal> {
        let function =
            library.profile.functions.keys().next().ok_or_else(|| missing("function"))?;
        let guard = Guard::new(&library.profile, function, &FunctionPlan::default())?;
        let tally =
            Tally::new(function.clone(), None, SlotRole::Active, None, Reporting::default());
        Ok(Keeper {
            session,
            function: function.clone(),
            filling: Filling { active: None, guard, candidates: vec![], tally },
            probation: None,
            force: None,
            before: None,
            ready: None,
            given_up: BTreeSet::new(),
            rolled_back: None,
            defaulted: false,
            number: 0,
            unkept: VecDeque::new(),
            last_tick: None,
            outbox: vec![],
            seen: vec![],
            swallows: false,
        })
    }

    /// This start.
    pub fn session(&self) -> &BootId {
        &self.session
    }

    /// What is in force.
    pub fn in_force(&self) -> Option<&Digest> {
        self.force.as_ref().map(|force| &force.digest)
    }

    /// Its first words to a planner, and all that is not kept.
    pub fn greet(&mut self, engine: &Digest) {
        self.outbox.clear();
        let (engine, rolled_back) = (engine.clone(), self.rolled_back.clone());
        self.outbox.push(FromKeeper::Started { engine, rolled_back });
        self.remind();
    }

    /// Says again what was not kept for a while.
    pub fn remind(&mut self) {
        let again = self.unkept.iter().cloned().map(|done| FromKeeper::Done(Box::new(done)));
        self.outbox.extend(again);
    }

    /// What it has to say, and what the world has to see.
    pub fn take(&mut self) -> (Vec<FromKeeper>, Vec<Seen>) {
        (std::mem::take(&mut self.outbox), std::mem::take(&mut self.seen))
    }

    /// Whether anything waits to be told or kept.
    pub fn owes(&self) -> bool {
        !self.unkept.is_empty()
    }

    /// Takes one message. `busy` makes a preparation fail through no fault of its own.
    pub fn hear(&mut self, library: &Library, message: ToKeeper, at_ms: u64, busy: bool) {
        match message {
            ToKeeper::Prepare(prepare) => {
                let outcome = self.prepare(library, &prepare, busy);
                let outcome = outcome.map(|ready| self.ready = Some(ready));
                let document = prepare.digest;
                self.outbox.push(FromKeeper::Prepared { document, outcome });
            }
            ToKeeper::Activate { document, version } => self.activate(document, version, at_ms),
            ToKeeper::Defaults => self.defaulted = true,
            ToKeeper::Stop { modules } => self.stop(&modules),
            ToKeeper::Kept { number } => self.unkept.retain(|done| done.number > number),
        }
    }

    fn activate(&mut self, document: Digest, version: Version, at_ms: u64) {
        if let Some(force) = self.force.as_ref().filter(|force| force.digest == document) {
            let (on_trial, is_healthy) = (force.on_trial, force.is_healthy);
            self.tell_activated(document.clone(), version);
            match (on_trial, is_healthy) {
                (false, _) => self.outbox.push(FromKeeper::Proven { document }),
                (true, true) => self.outbox.push(FromKeeper::Healthy { document }),
                (true, false) => {}
            }
            return;
        }
        let Some(ready) = self.ready.take_if(|ready| ready.digest == document) else { return };
        if self.given_up.contains(&document) {
            return;
        }
        self.swap(ready, at_ms);
        self.tell_activated(document, version);
        self.note_trial(at_ms);
    }

    fn swap(&mut self, ready: Ready, at_ms: u64) {
        let Ready { digest, document, on_trial, filling: mut next, probation } = ready;
        let before = self.filling.active.as_ref();
        let differs = |old: Option<&Placed>| {
            let of = |placed: &Placed| (placed.digest().clone(), placed.params.values().clone());
            next.active.as_ref().map(of) != old.map(of)
        };
        let is_unproven = self.force.as_ref().is_some_and(|force| force.on_trial);
        let proven = self.before.as_ref().filter(|_| is_unproven);
        let proven = proven.map_or(before, |before| before.filling.active.as_ref());
        let open = self.probation.take();
        self.probation = match (differs(proven), differs(before)) {
            (false, _) => None,
            (true, false) => open,
            (true, true) => probation,
        };
        // The same module goes on with what it has now, not with what was rehearsed.
        if let (Some(old), Some(new)) = (before, &mut next.active)
            && old.digest() == new.digest()
        {
            new.state = old.state.clone();
        }
        next.guard.continue_from(&self.filling.guard);
        self.flush();
        let filling = std::mem::replace(&mut self.filling, next);
        let force = Force { digest: digest.clone(), on_trial, is_healthy: false, since_ms: at_ms };
        let defaulted = std::mem::replace(&mut self.defaulted, false);
        let replaced = Before { force: self.force.replace(force), filling, defaulted };
        let before = self.before.take().filter(|_| is_unproven).unwrap_or(replaced);
        self.before = Some(before).filter(|_| on_trial);
        self.rolled_back = None;
        self.swallows = canary::is_out(Canary::SwapCostsATick);
        self.seen.push(Seen::InForce(digest, Box::new(document)));
    }

    fn tell_activated(&mut self, document: Digest, version: Version) {
        let from_tick = BTreeMap::new();
        self.outbox.push(FromKeeper::Activated { document, version, swap_ns: 1_000, from_tick });
    }

    fn note_trial(&mut self, at_ms: u64) {
        let Some(force) = self.force.as_mut().filter(|force| force.on_trial) else { return };
        let document = force.digest.clone();
        let Some(probation) = &self.probation else {
            force.on_trial = false;
            self.before = None;
            self.outbox.push(FromKeeper::Proven { document });
            return;
        };
        let is_old = at_ms.saturating_sub(force.since_ms) >= HEALTHY_AFTER_MS;
        if !force.is_healthy && (probation.is_healthy() || is_old) {
            force.is_healthy = true;
            self.outbox.push(FromKeeper::Healthy { document });
        }
    }

    fn roll_back(&mut self, refusal: Refusal) {
        let (Some(before), Some(failed)) = (self.before.take(), self.force.take()) else { return };
        self.flush();
        let mut filling = before.filling;
        filling.guard.continue_from(&self.filling.guard);
        self.filling = filling;
        self.probation = None;
        self.defaulted = before.defaulted;
        self.force = before.force;
        self.given_up.insert(failed.digest.clone());
        let to = self.force.as_ref().map(|force| force.digest.clone());
        let what = RolledBack { from: failed.digest, to, refusal };
        self.rolled_back = Some(what.clone());
        self.outbox.push(FromKeeper::RolledBack(what));
        self.seen.push(Seen::WentBack);
    }

    fn stop(&mut self, modules: &BTreeSet<Digest>) {
        let beside = self.filling.candidates.iter().map(|beside| beside.placed.digest());
        let mut called = self.filling.active.iter().map(Placed::digest).chain(beside);
        if called.any(|module| modules.contains(module)) {
            self.flush();
        }
        let before = self.before.iter_mut().map(|before| &mut before.filling);
        for filling in before.chain([&mut self.filling]) {
            filling.active = filling.active.take().filter(|p| !modules.contains(p.digest()));
            filling.candidates.retain(|beside| !modules.contains(beside.placed.digest()));
        }
        self.probation = self.probation.take().filter(|_| self.filling.active.is_some());
    }

    /// Answers a tick; none only if a bug is let out.
    pub fn tick(&mut self, tick: &Tick) -> Option<(Clamped, Option<Values>)> {
        if std::mem::take(&mut self.swallows) {
            return None;
        }
        let filling = &mut self.filling;
        let called = filling.active.as_mut().filter(|_| !self.defaulted);
        let (mut proposed, mut fault, mut evaluation) = (None, None, None);
        let clamped = match called {
            None => filling.guard.default_outputs(&tick.inputs),
            Some(placed) => {
                let before = placed.state.clone();
                let mut made = evaluate(placed, tick);
                fault = made.outcome.as_ref().err().map(|refusal| refusal.reason);
                if let Ok(outputs) = &made.outcome {
                    proposed = Some(outputs.outputs.clone());
                    if let Some(state) = &outputs.state {
                        placed.state = Some(state.clone());
                    }
                }
                if canary::is_out(Canary::CandidateSteers)
                    && let Some(beside) = filling.candidates.first_mut()
                {
                    made = evaluate(&mut beside.placed.clone(), tick);
                }
                let steers = made.outcome.as_ref().ok().map(|outputs| outputs.outputs.clone());
                let clamped = filling.guard.actuate(steers.as_ref(), &tick.inputs);
                evaluation = Some((placed.clone(), before, made));
                clamped
            }
        };
        if let Some(last) = self.last_tick.replace(tick.number) {
            filling.tally.missed(tick.number.saturating_sub(last).saturating_sub(1));
        }
        filling.tally.tick(tick.at_ms);
        filling.tally.actuated(clamped.source(), clamped.changed());
        if let Some((placed, before, made)) = evaluation {
            let mut record =
                record(&self.function, &placed, before, &made, (tick, SlotRole::Active));
            record.actuated = Some(clamped.values().clone());
            self.seen.push(Seen::Called(Box::new(record.clone())));
            filling.tally.evaluated(record, cost(&made), 0.0);
            self.judge(fault, &clamped);
        }
        self.evaluate_candidates(tick, proposed.as_ref());
        if self.filling.tally.is_due() && self.unkept.len() < UNKEPT_MAX {
            self.flush();
        }
        self.note_trial(tick.at_ms);
        Some((clamped, proposed))
    }

    fn judge(&mut self, fault: Option<Reason>, clamped: &Clamped) {
        // A runner that is being replaced was not called.
        if fault == Some(Reason::RunnerDied) {
            return;
        }
        let Some(probation) = &mut self.probation else { return };
        let mut counts = clamped.changed().values();
        let not_finite = counts.any(|counts| counts.not_finite > 0);
        let fault = fault.or(not_finite.then_some(Reason::OutputInvalid));
        let out_of_bounds = clamped.changed().values().any(|counts| counts.range > 0);
        match probation.note(TickOutcome { fault, clamped: out_of_bounds }) {
            Verdict::Open => {}
            Verdict::Passed => self.probation = None,
            Verdict::Failed(refusal) => self.roll_back(refusal),
        }
    }

    fn evaluate_candidates(&mut self, tick: &Tick, active: Option<&Values>) {
        if self.defaulted {
            return;
        }
        let Filling { candidates, guard, .. } = &mut self.filling;
        for beside in candidates {
            let before = beside.placed.state.clone();
            let made = evaluate(&mut beside.placed, tick);
            beside.tally.tick(tick.at_ms);
            let mut divergence = 0.0;
            if let Ok(outputs) = &made.outcome {
                beside.tally.clamped(&guard.preview(&outputs.outputs));
                if let Some(active) = active {
                    let tolerances = guard.tolerances();
                    divergence = beside.tally.compare(active, &outputs.outputs, tolerances);
                }
                if let Some(state) = &outputs.state {
                    beside.placed.state = Some(state.clone());
                }
            }
            let of = (tick, SlotRole::Candidate);
            let record = record(&self.function, &beside.placed, before, &made, of);
            self.seen.push(Seen::Called(Box::new(record.clone())));
            beside.tally.evaluated(record, cost(&made), divergence);
        }
    }

    /// Tells all that was counted, and what is remembered.
    pub fn flush(&mut self) {
        let filling = &mut self.filling;
        let (mut summaries, mut records, mut states) = (vec![], vec![], vec![]);
        let beside = filling.candidates.iter_mut().map(|beside| &mut beside.tally);
        for tally in std::iter::once(&mut filling.tally).chain(beside) {
            if !tally.is_empty() {
                let (summary, sampled) = tally.take();
                summaries.push(summary);
                records.extend(sampled);
            }
        }
        let active = filling.active.iter().map(|placed| (placed, SlotRole::Active));
        let beside = filling.candidates.iter().map(|b| (&b.placed, SlotRole::Candidate));
        for (placed, role) in active.chain(beside) {
            if let Some(state) = placed.state.clone() {
                let (function, module) = (self.function.clone(), placed.digest().clone());
                states.push(FunctionState { function, module, role, state });
            }
        }
        if summaries.is_empty() {
            return;
        }
        self.number += 1;
        let done = Done { number: self.number, summaries, records, states };
        self.seen.push(Seen::Told(Box::new(done.clone())));
        self.unkept.push_back(done.clone());
        self.outbox.push(FromKeeper::Done(Box::new(done)));
    }
}

fn evaluate(placed: &mut Placed, tick: &Tick) -> Evaluation {
    let mut made = if tick.runner_dies {
        Evaluation {
            outcome: Err(Refusal::new(Reason::RunnerDied, "it has ended")),
            fuel: None,
            memory_bytes: 0,
            time: std::time::Duration::ZERO,
        }
    } else {
        placed.module.evaluate(&tick.inputs, &placed.params, placed.state.as_ref())
    };
    // Real time has no place here.
    made.time = std::time::Duration::ZERO;
    made
}

fn cost(made: &Evaluation) -> Cost {
    Cost { time_us: 0, memory_bytes: made.memory_bytes }
}

fn record(
    function: &FunctionName,
    placed: &Placed,
    state: Option<Values>,
    made: &Evaluation,
    (tick, role): (&Tick, SlotRole),
) -> Record {
    let reads = &placed.module.interface().inputs;
    let inputs = tick
        .inputs
        .iter()
        .filter(|(name, _)| reads.keys().any(|input| input.as_str() == name.as_str()));
    Record {
        at_ms: tick.at_ms,
        tick: tick.number,
        function: function.clone(),
        module: placed.digest().clone(),
        role,
        inputs: inputs.map(|(name, value)| (name.clone(), value.clone())).collect(),
        params: placed.params.values().clone(),
        state,
        outputs: made.outcome.as_ref().ok().map(|outputs| outputs.outputs.clone()),
        actuated: None,
        fault: made.outcome.as_ref().err().map(|refusal| refusal.reason),
        fuel: made.fuel,
        time_us: 0,
    }
}
