//! One function in force: its module, its guard, its memory, its counts. Where the
//! module is called is the cell's business.

use gnomon_agent_core::message::FunctionState;
use gnomon_agent_core::probation::{Probation, TickOutcome, Verdict};
use gnomon_agent_core::tally::{Cost, Tally};
use gnomon_agent_core::{Clamped, Guard};
use gnomon_host::Evaluation;
use gnomon_schemas::document::Reporting;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::results::{Record, SlotRole};
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Reason, Refusal, Version};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::candidates::Beside;
use super::prepare::Placed;
use crate::cell::{Cell, failed};
use crate::device::Tick;

/// What fills a function: what a swap puts in its place, and a rollback puts back.
#[derive(Clone)]
pub(super) struct Filling {
    pub(super) active: Option<Placed>,
    pub(super) guard: Guard,
    pub(super) beside: Arc<Beside>,
    pub(super) version: Option<Version>,
    pub(super) reporting: Reporting,
    pub(super) state: Option<(Digest, Values)>,
}

impl Filling {
    /// A function that no module fills.
    pub(super) fn empty(
        (name, version, reporting): (&FunctionName, Version, Reporting),
        guard: &Guard,
    ) -> Filling {
        let version = Some(version);
        let beside = Arc::new(Beside::none(name, guard.clone(), version, reporting));
        let guard = guard.clone();
        Filling { active: None, guard, beside, version, reporting, state: None }
    }

    /// Whether another module, or other params, would come into control after this.
    pub(super) fn differs(&self, next: &Filling) -> bool {
        let of = |filling: &Filling| {
            let placed = filling.active.as_ref()?;
            Some((placed.facts.module.clone(), placed.facts.params.clone()))
        };
        of(next).is_some() && of(next) != of(self)
    }

    /// The same without these modules; none if it has none of them.
    pub(super) fn without(&self, modules: &BTreeSet<Digest>) -> Option<Filling> {
        let is_recalled = |placed: &Placed| modules.contains(&placed.facts.module);
        if !self.active.as_ref().is_some_and(is_recalled)
            && !self.beside.modules().any(|module| modules.contains(module))
        {
            return None;
        }
        let mut filling = self.clone();
        filling.active = filling.active.filter(|placed| !is_recalled(placed));
        filling.beside = Arc::new(self.beside.without(modules));
        Some(filling)
    }
}

/// One function in force.
pub(super) struct InForce {
    pub(super) name: FunctionName,
    pub(super) deadline: Duration,
    pub(super) filling: Filling,
    pub(super) tally: Tally,
    pub(super) probation: Option<Probation>,
    /// At the last tick the module was called: what came of it is the module's doing.
    was_called: bool,
    /// The state that the last evaluation started from, for its record.
    state_before: Option<Values>,
    /// The state has changed since it was told.
    state_is_news: bool,
    pub(super) last_tick: Option<u64>,
    /// What was read at the last tick.
    pub(super) inputs: Values,
    /// Where the actuator stood before this tick.
    pub(super) stood: Values,
    pub(super) skipped: u64,
    /// Ticks that the candidates before these have skipped, until they are told;
    /// none once they were.
    pub(super) skipped_before: Option<u64>,
}

impl InForce {
    pub(super) fn new(name: FunctionName, deadline: Duration, filling: Filling) -> InForce {
        InForce {
            tally: tally_of(&name, &filling),
            stood: filling.guard.standing(),
            name,
            deadline,
            filling,
            probation: None,
            was_called: false,
            state_before: None,
            state_is_news: false,
            last_tick: None,
            inputs: Values::new(),
            skipped: 0,
            skipped_before: None,
        }
    }

    /// Puts another filling in force; what the function has done and where its actuator
    /// stands goes on. Gives back what was in force before, and its counts.
    pub(super) fn exchange(&mut self, mut next: Filling) -> (Filling, Tally) {
        next.guard.continue_from(&self.filling.guard);
        // The candidates' thread closes the accounts of those before.
        self.skipped_before = match self.skipped_before {
            None if self.filling.beside.is_empty() => None,
            None => Some(self.skipped),
            Some(before) => Some(before + self.skipped),
        };
        self.skipped = 0;
        self.stood = next.guard.standing();
        self.probation = None;
        self.state_before = None;
        self.state_is_news = true;
        let tally = std::mem::replace(&mut self.tally, tally_of(&self.name, &next));
        (std::mem::replace(&mut self.filling, next), tally)
    }

    /// Evaluates the active module and makes what the actuator gets.
    pub(super) fn control(
        &mut self,
        tick: &Tick,
        cell: Option<&mut (dyn Cell + 'static)>,
        defaulted: bool,
    ) -> (Option<Evaluation>, Clamped) {
        let filling = &mut self.filling;
        let Some(placed) = filling.active.as_ref().filter(|_| !defaulted) else {
            return (None, filling.guard.default_outputs(&tick.inputs));
        };
        let until = tick.came + self.deadline;
        let is_late = Instant::now() >= until;
        self.was_called = cell.is_some() && !is_late;
        let digest = &placed.facts.module;
        let state = filling.state.as_ref().filter(|(of, _)| of == digest).map(|(_, state)| state);
        let evaluation = match cell {
            _ if is_late => {
                failed(Reason::DeadlineMissed, "the tick was late already", Duration::ZERO)
            }
            Some(cell) => cell.evaluate(placed.slot, &tick.inputs, state, until),
            None => failed(Reason::RunnerDied, "its runner is being replaced", Duration::ZERO),
        };
        self.state_before = state.cloned();
        let clamped = match &evaluation.outcome {
            Ok(outputs) => {
                if let Some(state) = &outputs.state {
                    self.state_is_news |= self.state_before.as_ref() != Some(state);
                    filling.state = Some((digest.clone(), state.clone()));
                }
                filling.guard.actuate(Some(&outputs.outputs), &tick.inputs)
            }
            // A call that failed has forgotten nothing.
            Err(_) => filling.guard.actuate(None, &tick.inputs),
        };
        (Some(evaluation), clamped)
    }

    pub(super) fn count(
        &mut self,
        tick: &Tick,
        evaluation: Option<&Evaluation>,
        clamped: &Clamped,
    ) {
        if let Some(last) = self.last_tick.replace(tick.number) {
            self.tally.missed(tick.number.saturating_sub(last).saturating_sub(1));
        }
        self.tally.tick(tick.at_ms);
        self.tally.actuated(clamped.source(), clamped.changed());
        let (Some(evaluation), Some(placed)) = (evaluation, &self.filling.active) else { return };
        let before = self.state_before.take();
        let mut record = record_of(tick, placed, SlotRole::Active, before.as_ref(), evaluation);
        record.actuated = Some(clamped.values().clone());
        self.tally.evaluated(record, cost_of(evaluation), 0.0);
    }

    /// What the tick means for a module that has yet to prove itself; a failure is told.
    pub(super) fn judge(
        &mut self,
        evaluation: Option<&Evaluation>,
        clamped: &Clamped,
    ) -> Option<Refusal> {
        let probation = self.probation.as_mut()?;
        let evaluation = evaluation.filter(|_| self.was_called)?;
        let fault = evaluation.outcome.as_ref().err().map(|refusal| refusal.reason);
        let mut counts = clamped.changed().values();
        let not_finite = counts.any(|counts| counts.not_finite > 0);
        let fault = fault.or(not_finite.then_some(Reason::OutputInvalid));
        let out_of_bounds = clamped.changed().values().any(|counts| counts.range > 0);
        match probation.note(TickOutcome { fault, clamped: out_of_bounds }) {
            Verdict::Open => None,
            Verdict::Passed => {
                self.probation = None;
                None
            }
            Verdict::Failed(refusal) => Some(refusal),
        }
    }

    /// What the function remembers, if that has changed since it was told.
    pub(super) fn news_of_state(&mut self) -> Option<FunctionState> {
        if !std::mem::take(&mut self.state_is_news) {
            return None;
        }
        let (module, state) = self.filling.state.clone()?;
        Some(FunctionState { function: self.name.clone(), module, role: SlotRole::Active, state })
    }
}

fn tally_of(name: &FunctionName, filling: &Filling) -> Tally {
    let module = filling.active.as_ref().map(|placed| placed.facts.module.clone());
    Tally::new(name.clone(), module, SlotRole::Active, filling.version, filling.reporting)
}

/// The record of one evaluation.
pub(super) fn record_of(
    tick: &Tick,
    placed: &Placed,
    role: SlotRole,
    state: Option<&Values>,
    evaluation: &Evaluation,
) -> Record {
    let facts = &placed.facts;
    Record {
        at_ms: tick.at_ms,
        tick: tick.number,
        function: tick.function.clone(),
        module: facts.module.clone(),
        role,
        // Only what the module reads: the rest cannot matter to a replay.
        inputs: tick
            .inputs
            .iter()
            .filter(|(name, _)| facts.inputs.iter().any(|input| input.as_str() == name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        params: facts.params.clone(),
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
