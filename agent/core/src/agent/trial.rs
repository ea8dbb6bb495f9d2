//! Documents that have yet to prove themselves, and those that did not: what is tried
//! again, what is not, and when the device goes back by itself.
//!
//! The floor stays where it is: going back by itself lets no old document in. How a
//! module proves itself tick by tick is the keeper's, in [`crate::probation`].

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::document::{Document, FunctionPlan};
use gnomon_schemas::reported::State;
use gnomon_schemas::{BootId, Digest, Reason, Refusal};

use super::{Again, Agent, Effect, tell};
use crate::canary::{self, Canary};
use crate::event::{Failure, Trial};
use crate::message::{RolledBack, ToKeeper};
use crate::pending::{Accepted, Pending, Stage};
use crate::time::Monotonic;

/// The most starts of the agent that a document on trial may see without doing well for
/// a while: what takes the device down with it must not do so for ever.
pub const TRIAL_STARTS_MAX: u32 = 3;
/// Failures that are remembered.
const FAILURES_MAX: usize = 8;

/// What is remembered of trials and failures.
#[derive(Debug)]
pub(super) struct Trials {
    session: BootId,
    current: Option<Trial>,
    failures: Vec<Failure>,
    /// The floor's document was given up, and an older one is in force.
    given_up: Option<Digest>,
    /// A rollback that came while the store was making a document durable: what the store
    /// holds is not known until it has answered.
    early: Option<RolledBack>,
}

impl Trials {
    pub(super) fn of(session: BootId) -> Trials {
        Trials { session, current: None, failures: vec![], given_up: None, early: None }
    }

    pub(super) fn restore(&mut self, failures: Vec<Failure>, given_up: Option<Digest>) {
        self.failures = failures;
        self.given_up = given_up;
    }

    pub(super) fn session(&self) -> &BootId {
        &self.session
    }

    pub(super) fn take_early(&mut self) -> Option<RolledBack> {
        self.early.take()
    }

    /// Whether this document has yet to prove itself.
    pub(super) fn is_on(&self, document: &Digest) -> bool {
        self.current.as_ref().is_some_and(|trial| trial.document == *document)
    }

    /// Whether any document in force has.
    pub(super) fn is_any(&self) -> bool {
        self.current.is_some()
    }

    /// The trial of a document that is to come into force; one that is on trial goes on.
    pub(super) fn next(&self, document: &Digest, on_trial: bool) -> Option<Trial> {
        let first =
            || Trial { document: document.clone(), session: self.session.clone(), starts: 1 };
        let current = self.current.clone().filter(|trial| trial.document == *document);
        on_trial.then(|| current.unwrap_or_else(first))
    }

    pub(super) fn begin(&mut self, document: &Digest, on_trial: bool) {
        self.current = self.next(document, on_trial);
        self.given_up = None;
    }

    /// Why this document is not tried again, if it is not.
    pub(super) fn failure(&self, document: &Digest) -> Option<Refusal> {
        if canary::is_out(Canary::FailureForgotten) {
            return None;
        }
        let failure = self.failures.iter().find(|failure| failure.document == *document);
        let known = failure.map(|failure| failure.refusal.clone());
        known.or_else(|| {
            let detail = "the device went back from it before";
            self.was_given_up(document).then(|| Refusal::new(Reason::ProbationFailed, detail))
        })
    }

    pub(super) fn was_given_up(&self, document: &Digest) -> bool {
        self.given_up.as_ref() == Some(document)
    }

    /// Remembers that a document is not tried again.
    pub(super) fn fail(&mut self, document: &Digest, refusal: &Refusal) -> Effect {
        Effect::KeepFailure(Box::new(self.note(document, refusal)))
    }

    fn give_up(&mut self, document: &Digest, refusal: &Refusal) -> Effect {
        self.current = None;
        self.given_up = Some(document.clone());
        Effect::PersistRollback(Box::new(self.note(document, refusal)))
    }

    fn note(&mut self, document: &Digest, refusal: &Refusal) -> Failure {
        let failure = Failure { document: document.clone(), refusal: refusal.clone() };
        self.failures.retain(|known| known.document != *document);
        if self.failures.len() == FAILURES_MAX {
            self.failures.remove(0);
        }
        self.failures.push(failure.clone());
        failure
    }
}

/// Whether a document puts something in control that has to prove itself there: what the
/// last proven one has not.
pub(super) fn is_needed(document: &Document, proven: Option<&Document>) -> bool {
    let is_new = |(name, plan): (&_, &FunctionPlan)| {
        let before = proven.and_then(|proven| proven.functions.get(name)?.active.as_ref());
        let has_probation = plan.probation.unwrap_or_default().ticks > 0;
        plan.active.is_some() && plan.active.as_ref() != before && has_probation
    };
    document.functions.iter().any(is_new)
}

impl Agent {
    /// Counts a start of the agent against the stored document's trial. Gives whether it
    /// was given up, because it has seen too many.
    pub(super) fn count_start(
        &mut self,
        now: Monotonic,
        trial: Option<Trial>,
    ) -> (bool, Vec<Effect>) {
        let Some(mut trial) = trial else { return (false, vec![]) };
        let is_new = trial.session != self.trial.session;
        if is_new {
            trial.session = self.trial.session.clone();
            trial.starts = trial.starts.saturating_add(1);
        }
        if trial.starts > TRIAL_STARTS_MAX {
            let detail = format!(
                "the agent started {TRIAL_STARTS_MAX} times without this document doing well"
            );
            let refusal = Refusal::new(Reason::ProbationFailed, detail);
            let mut effects = vec![self.trial.give_up(&trial.document, &refusal)];
            self.refused_digest = Some(trial.document);
            self.states.go_back();
            self.state = State::Rejected;
            effects.extend(self.refuse(now, self.floor_version(), refusal));
            return (true, effects);
        }
        self.trial.current = Some(trial);
        (false, if is_new { vec![self.keep_trial()] } else { vec![] })
    }

    fn floor_version(&self) -> Option<gnomon_schemas::Version> {
        self.floor.as_ref().map(|floor| floor.version)
    }

    fn keep_trial(&self) -> Effect {
        Effect::KeepTrial(self.trial.current.clone())
    }

    /// The keeper has gone back by itself. What it did is made durable; the floor stays.
    pub(super) fn rolled_back(&mut self, now: Monotonic, what: RolledBack) -> Vec<Effect> {
        if self.trial.failure(&what.from).is_some() {
            return vec![];
        }
        if self.pending.as_ref().is_some_and(|pending| pending.stage == Stage::Persisting) {
            self.trial.early = Some(what);
            return vec![];
        }
        let is_it = |pending: &Pending| pending.is_durable() && *pending.digest() == what.from;
        let is_pending = self.pending.as_ref().is_some_and(is_it);
        let is_applied = self.applied.as_ref().is_some_and(|a| *a.digest() == what.from);
        if is_pending || is_applied {
            return self.go_back(now, what);
        }
        // It was replaced before this planner started.
        let mut effects = vec![self.trial.fail(&what.from, &what.refusal)];
        effects.extend(self.refuse(now, None, what.refusal));
        effects
    }

    /// Gives up what is in force or about to be.
    fn go_back(&mut self, now: Monotonic, what: RolledBack) -> Vec<Effect> {
        let RolledBack { from, to, refusal } = what;
        // It may have failed before the planner has heard that it was in force.
        let failed = self.pending.take_if(|pending| *pending.digest() == from);
        let version = failed.as_ref().map(|failed| failed.payload().version);
        let version = version.or_else(|| self.applied_version());
        let is_replaced = self.pending.as_ref().is_some_and(Pending::is_durable);
        let mut effects = vec![];
        if is_replaced {
            // The store holds the next one already, and what both would return to.
            effects.push(self.trial.fail(&from, &refusal));
            self.applied = self.previous.clone();
        } else {
            effects.push(self.trial.give_up(&from, &refusal));
            self.applied = self.previous.take();
            self.states.go_back();
        }
        effects.extend(failed.iter().flat_map(Pending::missing).map(Effect::ForgetModule));
        self.refused_digest = Some(from);
        self.defaulted = false;
        let has_it = self.applied.as_ref().map(|applied| applied.digest()) == to.as_ref();
        let lost = self.applied.take_if(|_| !has_it).filter(|_| !is_replaced);
        if !has_it && lost.is_none() && !is_replaced {
            // What the keeper went back to has proved itself while the store was about to
            // forget it. The next start could not go on with it, so this one does not.
            effects.push(tell(ToKeeper::Defaults));
        }
        self.note_rollback();
        if self.pending.is_none() {
            self.state = State::Rejected;
        }
        effects.extend(self.check_expiry(now));
        effects.extend(self.stop_recalled(now));
        let refused = self.refuse(now, version, refusal);
        if refused.is_empty() {
            effects.push(self.report(now));
        }
        effects.extend(refused);
        match lost {
            Some(lost) => effects.extend(self.begin_again(now, lost)),
            None if self.pending.is_none() => effects.extend(self.take_waiting(now)),
            None => {}
        }
        effects
    }

    /// The keeper has started since this was in force, and begins with it again. What was
    /// on its way waits.
    fn begin_again(&mut self, now: Monotonic, held: Accepted) -> Vec<Effect> {
        let pending = self.pending.take();
        let missing = pending.iter().flat_map(Pending::missing);
        let mut effects: Vec<Effect> = missing.map(Effect::ForgetModule).collect();
        self.waiting = self.waiting.take().or(pending.map(|pending| pending.accepted));
        effects.extend(self.begin(now, Pending::restored(held, now)));
        if self.pending.is_none() {
            effects.extend(self.take_waiting(now));
        }
        effects
    }

    /// What the store held cannot be put in force: the one before it is tried, as at a
    /// start.
    pub(super) fn give_up_restored(&mut self, now: Monotonic, refusal: Refusal) -> Vec<Effect> {
        let Some(pending) = &self.pending else { return vec![] };
        if self.applied.is_none() && self.previous.is_none() {
            // Nor does the keeper go on with what only an earlier planner knew.
            let mut effects = vec![tell(ToKeeper::Defaults)];
            effects.extend(self.abandon(now, refusal, Again::No));
            return effects;
        }
        let from = pending.digest().clone();
        let to = self.applied.as_ref().map(|applied| applied.digest().clone());
        self.go_back(now, RolledBack { from, to, refusal })
    }

    pub(super) fn healthy(&mut self, document: &Digest) -> Vec<Effect> {
        let Some(trial) = self.trial.current.as_mut().filter(|t| t.document == *document) else {
            return vec![];
        };
        trial.starts = 0;
        vec![self.keep_trial()]
    }

    pub(super) fn proven(&mut self, now: Monotonic, document: &Digest) -> Vec<Effect> {
        if !self.trial.is_on(document) {
            return vec![];
        }
        self.trial.current = None;
        self.forget_unneeded();
        vec![self.keep_trial(), self.report(now), Effect::Send]
    }
}
