//! The tick loop: read, evaluate, clamp, actuate, and only then everything else.
//!
//! Nothing on this thread waits for anything but the device and, up to the deadline, the
//! cell: frames and jobs are handed over where there is room and counted where there is
//! none. It knows no key, no signature and no network.

use gnomon_agent_core::Guard;
use gnomon_agent_core::message::{FromKeeper, RolledBack};
use gnomon_agent_core::probation::Probation;
use gnomon_schemas::document::{FunctionPlan, Probation as Rules, Reporting};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::{Digest, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use super::candidates::{Beside, Job};
use super::in_force::{Filling, InForce};
use super::outbound::Outbound;
use super::prepare::{Housed, InControl, Prepared, PreparedFunction, Standing, take_over};
use super::revive::Revive;
use super::view::{KeeperView, Pulse};
use crate::cell::Cell;
use crate::device::{Device, Next, Tick};

/// How long the loop waits for a tick before it looks for commands again.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long the migration of one function's state may hold up the swap.
const MIGRATION: Duration = Duration::from_millis(20);
/// A document on trial that has been in force for so long does well.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// What the tick loop is told between two ticks.
pub(super) enum Command {
    /// Put the document with this payload in force; prepared, unless it is in force.
    Activate(Digest, Version, Option<Box<Prepared>>),
    /// A cell in the place of one that died, for the document with this payload.
    Revived(Digest, Housed),
    Defaults,
    Stop(BTreeSet<Digest>),
    /// Asks for the states in force.
    States(SyncSender<Standing>),
    /// Asks for what an operator would see.
    View(SyncSender<KeeperView>),
    End,
}

/// The document in force, and the cell of its active functions.
struct Force {
    digest: Digest,
    version: Version,
    housed: Option<Housed>,
    since: Instant,
    on_trial: bool,
    is_healthy: bool,
}

/// What was in force before a document on trial and had nothing left to prove: a rollback
/// puts it back.
struct Before {
    force: Option<Force>,
    fillings: BTreeMap<FunctionName, Filling>,
    defaulted: bool,
}

pub(super) struct TickLoop {
    device: Box<dyn Device>,
    outbound: Arc<Outbound>,
    jobs: SyncSender<Job>,
    pulse: Arc<Pulse>,
    revive: Revive,
    functions: BTreeMap<FunctionName, InForce>,
    force: Option<Force>,
    before: Option<Before>,
    /// Documents that have failed since the start.
    given_up: BTreeSet<Digest>,
    defaulted: bool,
}

impl TickLoop {
    pub(super) fn new(
        profile: &Profile,
        device: Box<dyn Device>,
        outbound: Arc<Outbound>,
        jobs: SyncSender<Job>,
        pulse: Arc<Pulse>,
        revive: Revive,
    ) -> TickLoop {
        let mut functions = BTreeMap::new();
        for (name, role) in &profile.functions {
            // A checked profile's own function with nothing narrowed cannot be refused.
            let Ok(guard) = Guard::new(profile, name, &FunctionPlan::default()) else { continue };
            let reporting = Reporting::default();
            let filling = Filling {
                active: None,
                beside: Arc::new(Beside::none(name, guard.clone(), None, reporting)),
                guard,
                version: None,
                reporting,
                state: None,
            };
            let deadline = Duration::from_millis(role.deadline_ms);
            functions.insert(name.clone(), InForce::new(name.clone(), deadline, filling));
        }
        TickLoop {
            device,
            outbound,
            jobs,
            pulse,
            revive,
            functions,
            force: None,
            before: None,
            given_up: BTreeSet::new(),
            defaulted: false,
        }
    }

    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let next = self.device.next_tick(PATIENCE);
            // Between two ticks: after the device has spoken, before it is answered.
            let goes_on = self.obey_all(commands);
            match next {
                Next::Tick(tick) => {
                    self.tick(&tick);
                    self.keep_inputs(tick);
                }
                Next::Idle => self.outbound.remind(),
                Next::Closed => break,
            }
            self.pulse.beat();
            if !goes_on {
                break;
            }
        }
        self.flush();
    }

    /// Whether there may be more commands to come.
    fn obey_all(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            match commands.try_recv() {
                Ok(Command::End) | Err(TryRecvError::Disconnected) => return false,
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Activate(document, version, ready) => {
                self.activate(document, version, ready);
            }
            Command::Revived(digest, housed) => self.revived(&digest, housed),
            Command::Defaults => self.defaulted = true,
            Command::Stop(modules) => self.stop(&modules),
            // Whoever asked may have given up.
            Command::States(answer) => drop(answer.try_send(self.standing())),
            Command::View(answer) => drop(answer.try_send(self.view())),
            Command::End => {}
        }
    }

    fn tick(&mut self, tick: &Tick) {
        let defaulted = self.defaulted;
        let Some(function) = self.functions.get_mut(&tick.function) else { return };
        let housed = self.force.as_mut().and_then(|force| force.housed.as_mut());
        let cell = housed.map(|housed| housed.cell.as_mut());
        let (evaluation, clamped) = function.control(tick, cell, defaulted);
        self.device.actuate(tick, &clamped);
        // The actuator has its value; all that follows may be late.
        self.pulse.count(clamped.source());
        function.count(tick, evaluation.as_ref(), &clamped);
        let failure = function.judge(evaluation.as_ref(), &clamped);
        let stood = std::mem::replace(&mut function.stood, clamped.values().clone());
        let has_candidates = !function.filling.beside.is_empty() && !defaulted;
        let to_tell = function.skipped_before.is_some() && function.filling.beside.is_empty();
        if has_candidates || to_tell {
            let job = Job {
                beside: Arc::clone(&function.filling.beside),
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
            self.report(&tick.function);
        }
        if let Some(refusal) = failure {
            self.roll_back(refusal);
        } else {
            self.note_trial();
            self.replace_dead_cell();
        }
    }

    /// What was read last: the next module is rehearsed on it.
    fn keep_inputs(&mut self, tick: Tick) {
        if let Some(function) = self.functions.get_mut(&tick.function) {
            function.inputs = tick.inputs;
        }
    }

    /// A module that is recalled is not called any more: its function goes to the
    /// profile's defaults. What may be gone back to loses it, too.
    fn stop(&mut self, modules: &BTreeSet<Digest>) {
        for function in self.functions.values_mut() {
            if let Some(filling) = function.filling.without(modules) {
                // A candidate that goes ends nobody's probation.
                let probation = function.probation.take().filter(|_| filling.active.is_some());
                let (_, mut tally) = function.exchange(filling);
                function.probation = probation;
                self.outbound.done(std::iter::once(&mut tally), vec![]);
            }
        }
        let before = self.before.iter_mut().flat_map(|before| before.fillings.values_mut());
        for filling in before {
            if let Some(fewer) = filling.without(modules) {
                *filling = fewer;
            }
        }
    }

    fn activate(&mut self, document: Digest, version: Version, ready: Option<Box<Prepared>>) {
        if self.force.as_ref().is_some_and(|force| force.digest == document) {
            self.confirm(document, version);
        } else if self.given_up.contains(&document) {
            tracing::warn!(%version, "asked for once more after it was given up");
        } else if let Some(prepared) = ready {
            self.swap(*prepared);
        }
    }

    /// Another planner asks for what is in force: it is told how that does.
    fn confirm(&self, document: Digest, version: Version) {
        self.tell_activated(document.clone(), version, Duration::ZERO, BTreeMap::new());
        match &self.force {
            Some(force) if !force.on_trial => self.outbound.say(FromKeeper::Proven { document }),
            Some(force) if force.is_healthy => {
                self.outbound.say(FromKeeper::Healthy { document });
            }
            _ => {}
        }
    }

    /// The swap: what the tick loop spends here is the whole of its gap.
    fn swap(&mut self, prepared: Prepared) {
        let since = Instant::now();
        let Prepared { digest, version, on_trial, functions, reporting, active, candidates } =
            prepared;
        let document = digest.clone();
        let mut next =
            Force { digest, version, housed: active, since, on_trial, is_healthy: false };
        // One that has not proved itself is nothing to go back to.
        let is_unproven = self.force.as_ref().is_some_and(|force| force.on_trial);
        let proven = self.before.as_ref().filter(|_| is_unproven).map(|before| &before.fillings);
        let candidates = candidates.map(super::candidates::shared);
        let (mut fillings, mut tallies, mut from_tick) = (BTreeMap::new(), vec![], BTreeMap::new());
        let mut states = vec![];
        let mut fresh = functions;
        for (name, current) in &mut self.functions {
            let of = (name, version, reporting);
            let prepared = fresh.remove(name);
            let rules = prepared.as_ref().map(|prepared| prepared.probation).filter(|_| on_trial);
            let cell = next.housed.as_mut().map(|housed| housed.cell.as_mut());
            let filling = match prepared {
                Some(function) => fill(of, function, cell, current, candidates.as_ref()),
                None => Filling::empty(of, &current.filling.guard),
            };
            let proven = proven.and_then(|fillings| fillings.get(name));
            let probation = probation(current, &filling, proven, rules);
            from_tick.insert(name.clone(), current.last_tick.map_or(0, |tick| tick + 1));
            states.extend(current.news_of_state());
            let (old, tally) = current.exchange(filling);
            current.probation = probation;
            fillings.insert(name.clone(), old);
            tallies.push(tally);
        }
        let defaulted = std::mem::replace(&mut self.defaulted, false);
        let replaced = Before { force: self.force.replace(next), fillings, defaulted };
        let swap = since.elapsed();
        let (before, dropped) = match self.before.take().filter(|_| is_unproven) {
            Some(before) => (before, Some(replaced)),
            None => (replaced, None),
        };
        self.outbound.done(tallies.iter_mut(), states);
        self.tell_activated(document, version, swap, from_tick);
        self.before = Some(before).filter(|_| on_trial);
        drop(dropped);
        self.note_trial();
    }

    fn tell_activated(
        &self,
        document: Digest,
        version: Version,
        swap: Duration,
        from_tick: BTreeMap<FunctionName, u64>,
    ) {
        let swap_ns = u64::try_from(swap.as_nanos()).unwrap_or(u64::MAX);
        self.outbound.say(FromKeeper::Activated { document, version, swap_ns, from_tick });
    }

    /// The document on trial has failed: what was before it is in force again, with the
    /// states that it had then.
    fn roll_back(&mut self, refusal: gnomon_schemas::Refusal) {
        let Some(before) = self.before.take() else { return };
        let Some(failed) = self.force.take() else { return };
        let mut fillings = before.fillings;
        let mut tallies = vec![];
        for (name, current) in &mut self.functions {
            if let Some(filling) = fillings.remove(name) {
                tallies.push(current.exchange(filling).1);
            }
        }
        self.defaulted = before.defaulted;
        self.force = before.force;
        self.outbound.done(tallies.iter_mut(), vec![]);
        tracing::error!(%refusal, version = failed.version.get(), "the document is given up");
        self.given_up.insert(failed.digest.clone());
        let to = self.force.as_ref().map(|force| force.digest.clone());
        let what = RolledBack { from: failed.digest, to, refusal };
        self.outbound.say(FromKeeper::RolledBack(what));
    }

    /// Says how the document on trial does, when there is news of it.
    fn note_trial(&mut self) {
        let Some(force) = self.force.as_mut().filter(|force| force.on_trial) else { return };
        let mut on_probation = self.functions.values().filter_map(|f| f.probation.as_ref());
        let document = force.digest.clone();
        if on_probation.clone().next().is_none() {
            force.on_trial = false;
            self.before = None;
            self.outbound.say(FromKeeper::Proven { document });
        } else if !force.is_healthy
            && (on_probation.all(|probation| probation.is_healthy())
                || force.since.elapsed() >= HEALTHY_AFTER)
        {
            force.is_healthy = true;
            self.outbound.say(FromKeeper::Healthy { document });
        }
    }

    fn replace_dead_cell(&mut self) {
        let Some(force) = &mut self.force else { return };
        if force.housed.as_ref().is_some_and(|housed| !housed.cell.is_alive())
            && let Some(dead) = force.housed.take()
        {
            self.pulse.runner_died();
            self.revive.start(force.digest.clone(), dead);
        }
    }

    fn revived(&mut self, digest: &Digest, housed: Housed) {
        let forces = [self.force.as_mut(), self.before.as_mut().and_then(|b| b.force.as_mut())];
        for force in forces.into_iter().flatten() {
            if force.digest == *digest && force.housed.is_none() {
                force.housed = Some(housed);
                return;
            }
        }
    }

    fn report(&mut self, name: &FunctionName) {
        if !self.outbound.has_room() {
            return;
        }
        let Some(function) = self.functions.get_mut(name) else { return };
        let states = function.news_of_state().into_iter().collect();
        self.outbound.done(std::iter::once(&mut function.tally), states);
    }

    /// The device or the agent is gone: nothing is in a hurry any more.
    fn flush(&mut self) {
        for function in self.functions.values_mut() {
            let states = function.news_of_state().into_iter().collect();
            self.outbound.done(std::iter::once(&mut function.tally), states);
        }
    }

    fn standing(&self) -> Standing {
        let of = |(name, function): (&FunctionName, &InForce)| {
            let module = function.filling.active.as_ref()?.facts.module.clone();
            let state = function.filling.state.clone().map(|(_, state)| state);
            Some((name.clone(), InControl { module, state, inputs: function.inputs.clone() }))
        };
        Standing {
            document: self.force.as_ref().map(|force| force.digest.clone()),
            functions: self.functions.iter().filter_map(of).collect(),
        }
    }

    fn view(&self) -> KeeperView {
        let before = self.before.as_ref();
        let of = |(name, function): (&FunctionName, &InForce)| {
            let before = before.and_then(|before| before.fillings.get(name));
            (name.clone(), function.view(before))
        };
        let cell = self.force.as_ref().and_then(|force| force.housed.as_ref());
        KeeperView {
            version: self.force.as_ref().map(|force| force.version),
            on_trial: self.force.as_ref().is_some_and(|force| force.on_trial),
            defaulted: self.defaulted,
            functions: self.functions.iter().map(of).collect(),
            runner: cell.and_then(|housed| housed.cell.process()),
            ..self.pulse.view()
        }
    }
}

/// How a function has to prove itself under its next filling. `proven` filled it last
/// without anything left to prove, if what fills it now has.
fn probation(
    current: &mut InForce,
    next: &Filling,
    proven: Option<&Filling>,
    rules: Option<Rules>,
) -> Option<Probation> {
    let open = current.probation.take();
    let rules = rules.filter(|rules| rules.ticks > 0)?;
    if !proven.unwrap_or(&current.filling).differs(next) {
        return None;
    }
    // The same module goes on where it is.
    if !current.filling.differs(next) {
        return open;
    }
    Probation::new(rules, &current.name, &next.active.as_ref()?.facts.module)
}

/// What fills a function from a prepared document, with the state that it begins with.
fn fill(
    (name, version, reporting): (&FunctionName, Version, Reporting),
    prepared: PreparedFunction,
    cell: Option<&mut (dyn Cell + 'static)>,
    current: &InForce,
    candidates: Option<&super::candidates::Shared>,
) -> Filling {
    let PreparedFunction { active, candidates: slots, guard, state, .. } = prepared;
    let rehearsed = active.as_ref().zip(state).map(|(p, state)| (p.facts.module.clone(), state));
    let state = match (&active, &current.filling.state, cell) {
        (Some(placed), Some((module, state)), Some(cell)) => {
            let until = Instant::now() + MIGRATION;
            let taken = take_over(cell, placed, module, state, until);
            let taken = taken.ok().flatten();
            taken.map(|state| (placed.facts.module.clone(), state)).or(rehearsed)
        }
        _ => rehearsed,
    };
    let beside = Beside::new(name, guard.clone(), Some(version), reporting, slots, candidates);
    Filling { active, guard, beside: Arc::new(beside), version: Some(version), reporting, state }
}
