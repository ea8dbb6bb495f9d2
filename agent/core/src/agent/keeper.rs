//! The way of a document past the keeper: prepared, made durable, activated. Each
//! answer names the document by its digest, so that a late one is never another's.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::document::Document;
use gnomon_schemas::reported::State;
use gnomon_schemas::{Digest, Reason, Refusal};

use super::{Again, Agent, Effect, tell};
use crate::canary::{self, Canary};
use crate::event::Transaction;
use crate::message::{FromKeeper, Prepare, ToKeeper};
use crate::pending::{Accepted, Pending, Stage};
use crate::time::Monotonic;

impl Agent {
    /// Hands the document to the keeper when nothing is missing.
    pub(super) fn prepare(&mut self, now: Monotonic) -> Option<Effect> {
        let needs_trial = |pending: &Pending| {
            if pending.restored {
                return self.trial.is_on(pending.digest());
            }
            super::trial::is_needed(pending.payload(), self.proven_before())
        };
        let is_ready =
            |pending: &&Pending| pending.stage == Stage::Fetching && pending.missing().is_empty();
        let on_trial = needs_trial(self.pending.as_ref().filter(is_ready)?);
        let pending = self.pending.as_mut()?;
        pending.stage = Stage::Preparing;
        pending.since = now;
        pending.on_trial = on_trial;
        Some(tell(ToKeeper::Prepare(Box::new(Prepare {
            digest: pending.digest().clone(),
            document: pending.payload().clone(),
            modules: pending.modules(),
            states: self.states.current().to_vec(),
            on_trial,
        }))))
    }

    /// The last document in force that had nothing left to prove.
    fn proven_before(&self) -> Option<&Document> {
        let accepted = if self.trial.is_any() { &self.previous } else { &self.applied };
        accepted.as_ref().map(Accepted::payload)
    }

    pub(super) fn keeper(&mut self, now: Monotonic, message: FromKeeper) -> Vec<Effect> {
        match message {
            FromKeeper::Started { engine, rolled_back } => {
                self.engine = Some(engine);
                let rolled_back = rolled_back.map(|what| self.rolled_back(now, what));
                rolled_back.unwrap_or_default()
            }
            FromKeeper::Prepared { document, outcome } => self.prepared(now, &document, outcome),
            FromKeeper::Activated { document, .. } => self.activated(now, &document),
            FromKeeper::RolledBack(what) => self.rolled_back(now, what),
            FromKeeper::Healthy { document } => self.healthy(&document),
            FromKeeper::Proven { document } => self.proven(now, &document),
            FromKeeper::Done(done) => self.done(*done),
        }
    }

    fn pending_at(&mut self, stage: Stage, document: &Digest) -> Option<&mut Pending> {
        let is_it = |p: &&mut Pending| p.stage == stage && p.digest() == document;
        self.pending.as_mut().filter(is_it)
    }

    fn prepared(
        &mut self,
        now: Monotonic,
        document: &Digest,
        outcome: Result<(), Refusal>,
    ) -> Vec<Effect> {
        let time_floor_ms = self.time.lowest_ms(now);
        let Some(pending) = self.pending_at(Stage::Preparing, document) else { return vec![] };
        pending.since = now;
        if let Err(refusal) = outcome {
            return self.not_prepared(now, refusal);
        }
        if pending.restored {
            pending.stage = Stage::Activating;
            return vec![activate(pending)];
        }
        pending.stage = Stage::Persisting;
        let (on_trial, floor) = (pending.on_trial, pending.accepted.floor());
        let (envelope, modules) = (pending.accepted.envelope.clone(), pending.modules());
        // Nothing goes back to what was refused at the start, nor to what has proved nothing.
        let is_unproven = self.trial.is_any() && !self.trial.is_on(document);
        let keeps_previous = is_unproven || self.stored_is_refused;
        if let Some(pending) = &mut self.pending {
            pending.keeps_previous = keeps_previous;
        }
        let trial = self.trial.next(document, on_trial);
        let change = Transaction { floor, time_floor_ms, envelope, modules, trial, keeps_previous };
        let mut effects = vec![Effect::Persist(Box::new(change))];
        if canary::is_out(Canary::SwapBeforeFloor) {
            effects.extend(self.pending.as_ref().map(activate));
        }
        effects
    }

    fn not_prepared(&mut self, now: Monotonic, refusal: Refusal) -> Vec<Effect> {
        let Some(pending) = &mut self.pending else { return vec![] };
        let is_at_fault = refusal.reason != Reason::Unavailable;
        match (is_at_fault, pending.restored) {
            (true, true) => self.give_up_restored(now, refusal),
            (true, false) => {
                let mut effects = vec![self.trial.fail(pending.digest(), &refusal)];
                effects.extend(self.abandon(now, refusal, Again::No));
                effects
            }
            (false, true) => {
                pending.stage = Stage::Fetching;
                let version = pending.payload().version;
                let mut effects = self.refuse(now, Some(version), refusal);
                effects.extend(self.take_waiting(now));
                effects
            }
            (false, false) => self.abandon(now, refusal, Again::Yes),
        }
    }

    pub(super) fn persisted(
        &mut self,
        now: Monotonic,
        document: &Digest,
        outcome: Result<(), String>,
    ) -> Vec<Effect> {
        let Some(pending) = self.pending_at(Stage::Persisting, document) else { return vec![] };
        pending.stage = Stage::Activating;
        pending.since = now;
        let (floor, activate) = (pending.accepted.floor(), activate(pending));
        let (on_trial, keeps_previous) = (pending.on_trial, pending.keeps_previous);
        let early = self.trial.take_early();
        let mut effects = match outcome {
            // It was not the document's fault: the next delivery may try again.
            Err(error) => self.abandon(now, Refusal::new(Reason::StoreFailed, error), Again::Yes),
            Ok(()) => {
                let is_same = self.floor.as_ref().is_some_and(|known| known.digest == *document);
                if !keeps_previous && !is_same {
                    self.previous = self.applied.clone().or(self.shelved.take());
                    self.states.keep_for_rollback();
                }
                self.stored_is_refused = false;
                self.shelved = None;
                self.floor = Some(floor);
                self.trial.begin(document, on_trial);
                let is_given_up = early.as_ref().is_some_and(|early| early.from == *document);
                if is_given_up { vec![] } else { vec![activate] }
            }
        };
        effects.extend(early.map(|early| self.rolled_back(now, early)).unwrap_or_default());
        effects
    }

    fn activated(&mut self, now: Monotonic, document: &Digest) -> Vec<Effect> {
        if self.pending_at(Stage::Activating, document).is_none() {
            return vec![];
        }
        let Some(pending) = self.pending.take() else { return vec![] };
        for (digest, bytes) in pending.modules() {
            self.stored_modules.insert(digest, bytes.0);
        }
        self.note_slots(&pending.payload().functions, pending.keeps_previous);
        self.applied = Some(pending.accepted);
        self.shelved = None;
        self.forget_unneeded();
        // A newer one was refused, or given up.
        let place = self.applied.as_ref().map(|applied| applied.floor().place());
        let is_behind = self.seen > place;
        self.state = if is_behind { State::Rejected } else { State::InSync };
        self.defaulted = false;
        let mut effects = self.check_expiry(now);
        effects.extend(self.stop_recalled(now));
        effects.push(self.report(now));
        effects.extend(self.take_waiting(now));
        effects
    }

    /// What nothing is gone back to any more goes.
    pub(super) fn forget_unneeded(&mut self) {
        if !self.trial.is_any() {
            self.previous = None;
        }
        let held = [self.applied.as_ref(), self.previous.as_ref()];
        let held: Vec<&Document> = held.into_iter().flatten().map(Accepted::payload).collect();
        let is_needed = |module: &Digest| held.iter().any(|d| d.modules.contains_key(module));
        self.stored_modules.retain(|module, _| is_needed(module));
        self.states.keep_for(&held);
    }

    /// The keeper may be stuck, or has not heard. What is durable is asked for again at
    /// once, another document is tried later.
    pub(super) fn keeper_is_late(&mut self, now: Monotonic) -> Vec<Effect> {
        let Some(pending) = self.pending.as_mut() else { return vec![] };
        pending.restored |= pending.stage == Stage::Activating;
        let detail = "the keeper has not answered: trying again later";
        let refusal = Refusal::new(Reason::Unavailable, detail);
        if !pending.restored {
            return self.abandon(now, refusal, Again::Yes);
        }
        pending.stage = Stage::Fetching;
        let version = pending.payload().version;
        let mut effects = self.refuse(now, Some(version), refusal);
        effects.extend(self.prepare(now));
        effects
    }
}

fn activate(pending: &Pending) -> Effect {
    let document = pending.digest().clone();
    tell(ToKeeper::Activate { document, version: pending.payload().version })
}
