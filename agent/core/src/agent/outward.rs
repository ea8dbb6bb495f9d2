//! What the agent says: reported documents, results, refusals. It judges nothing;
//! it counts and tells what the rest of the agent has judged.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::document::{Document, FunctionPlan};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::reported::{Accepted, FunctionReport, Reported, ReportedSchema, State};
use gnomon_schemas::results::{Record, RefusalEvent, Results, ResultsSchema, Summary};
use gnomon_schemas::verify::Verified;
use gnomon_schemas::{Digest, Refusal, Version};

use super::{Agent, Effect};
use crate::canary::{self, Canary};
use crate::event::Append;
use crate::message::Done;
use crate::time::Monotonic;

/// The longest sentence that goes with a refusal: it may quote foreign bytes, and
/// a report must never outgrow its cap because of them.
const DETAIL_BYTES_MAX: usize = 1024;

impl Agent {
    /// What fills each function now. With `keeps_previous`, what was before this has not
    /// proved itself, and nothing returns to it.
    pub(super) fn note_slots(
        &mut self,
        plans: &BTreeMap<FunctionName, FunctionPlan>,
        keeps_previous: bool,
    ) {
        let mut functions = BTreeMap::new();
        for (name, plan) in plans {
            let before = self.functions.remove(name).unwrap_or_default();
            let active = plan.active.as_ref().map(|slot| slot.module.clone());
            let is_kept = keeps_previous || before.active == active;
            let previous = if is_kept { before.previous } else { before.active };
            let previous = previous.filter(|module| active.as_ref() != Some(module));
            let candidates = plan.candidates.iter().map(|slot| slot.module.clone()).collect();
            let report = FunctionReport { active, previous, candidates, executed: before.executed };
            functions.insert(name.clone(), report);
        }
        // What a function executed before it left the document is reported once more.
        for (name, before) in core::mem::take(&mut self.functions) {
            if !before.executed.is_empty() {
                let (previous, executed) = (before.active.or(before.previous), before.executed);
                let report = FunctionReport { previous, executed, ..FunctionReport::default() };
                functions.insert(name, report);
            }
        }
        self.functions = functions;
    }

    /// What fills each function after the device went back by itself.
    pub(super) fn note_rollback(&mut self) {
        let plans = self.applied.as_ref().map(|applied| applied.payload().functions.clone());
        self.note_slots(&plans.unwrap_or_default(), false);
        // There is nothing before it any more.
        self.functions.values_mut().for_each(|report| report.previous = None);
    }

    /// Summaries and records travel apart: in a full outbox, records give way first.
    pub(super) fn done(&mut self, done: Done) -> Vec<Effect> {
        let Done { number, summaries, records, states } = done;
        for summary in &summaries {
            let called = summary.evaluations > 0 || !summary.faults.is_empty();
            if let (true, Some(module)) = (called, &summary.module) {
                let report = self.functions.entry(summary.function.clone()).or_default();
                report.executed.insert(module.clone());
            }
        }
        let reporting = self.applied.as_ref().map(|applied| applied.payload().reporting);
        let bytes_max = reporting.unwrap_or_default().record_bytes_per_day_max;
        let (records, dropped) = self.record_budget.admit(records, bytes_max);
        let mut batches = vec![];
        let has_records = !records.is_empty();
        if !summaries.is_empty() || (dropped > 0 && !has_records) {
            let dropped = if has_records { 0 } else { dropped };
            batches.push(self.results(summaries, (vec![], dropped), vec![]));
        }
        if has_records {
            batches.push(self.results(vec![], (records, dropped), vec![]));
        }
        self.states.note(&states);
        let early = canary::is_out(Canary::DeletedBeforeAck);
        let early: Vec<u64> = batches.iter().filter(|_| early).map(|b| b.sequence).collect();
        let done = Some((self.trial.session().clone(), number));
        let mut effects = vec![Effect::Append(Box::new(Append { batches, states, done }))];
        if !early.is_empty() {
            effects.push(Effect::Delete(self.boot.clone(), early));
        }
        effects.push(Effect::Send);
        effects
    }

    /// Refuses a document whose signature was valid: the device is not in sync
    /// with what its cloud wants, unless that is older than what it has.
    pub(super) fn refuse_document(
        &mut self,
        now: Monotonic,
        document: &Verified<Document>,
        refusal: Refusal,
    ) -> Vec<Effect> {
        let payload = document.payload();
        let is_ours =
            payload.fleet == self.identity.fleet && payload.device == self.identity.device;
        let is_newer = self.newest().is_none_or(|newest| {
            (payload.epoch, payload.version) > (newest.epoch, newest.version)
                || (newest.digest == *document.digest() && !self.is_applied(document))
        });
        if is_ours && is_newer {
            self.note_seen(payload);
            self.state = State::Rejected;
        }
        self.refused_digest = Some(document.digest().clone());
        self.refuse(now, Some(payload.version), refusal)
    }

    /// An epoch that the trust root does not know moves nothing.
    pub(super) fn note_seen(&mut self, document: &Document) {
        if document.epoch == self.root.epoch {
            self.seen = self.seen.max(Some((document.epoch, document.version)));
        }
    }

    /// Every refusal comes through here: counted, reported, kept for the cloud.
    pub(super) fn refuse(
        &mut self,
        now: Monotonic,
        version: Option<Version>,
        mut refusal: Refusal,
    ) -> Vec<Effect> {
        let end = refusal.detail.floor_char_boundary(DETAIL_BYTES_MAX);
        refusal.detail.truncate(end);
        let keep = self.refusals.note(&refusal, now.0);
        let mut effects = vec![];
        if keep {
            let event = RefusalEvent { at_ms: self.time.lowest_ms(now), version, refusal };
            let batches = vec![self.results(vec![], (vec![], 0), vec![event])];
            let append = Append { batches, states: vec![], done: None };
            effects.push(Effect::Append(Box::new(append)));
            effects.push(self.report(now));
            effects.push(Effect::Send);
        }
        effects
    }

    fn results(
        &mut self,
        summaries: Vec<Summary>,
        (records, dropped_records): (Vec<Record>, u64),
        refusals: Vec<RefusalEvent>,
    ) -> Results {
        self.results_sequence += 1;
        Results {
            schema: ResultsSchema::V1,
            fleet: self.identity.fleet.clone(),
            device: self.identity.device.clone(),
            boot: self.boot.clone(),
            sequence: self.results_sequence,
            engine: self.engine_digest(),
            summaries,
            records,
            refusals,
            dropped_batches: 0,
            dropped_by_class: BTreeMap::new(),
            dropped_records,
        }
    }

    /// Until the keeper has said what its engine is, the digest of nothing.
    fn engine_digest(&self) -> Digest {
        self.engine.clone().unwrap_or_else(|| Digest::of(b""))
    }

    pub(super) fn report(&mut self, now: Monotonic) -> Effect {
        self.report_sequence += 1;
        let reported = Reported {
            schema: ReportedSchema::V1,
            fleet: self.identity.fleet.clone(),
            device: self.identity.device.clone(),
            boot: self.boot.clone(),
            sequence: self.report_sequence,
            at_ms: self.time.lowest_ms(now),
            profile: self.identity.profile_digest.clone(),
            engine: self.engine_digest(),
            agent_version: self.agent_version.clone(),
            trust_version: self.root.version,
            state: self.state,
            seen: self.seen.map(|(_, version)| version),
            applied: self.applied_version(),
            applied_digest: self.applied.as_ref().map(|applied| applied.digest().clone()),
            accepted: self.floor.as_ref().map(|floor| Accepted {
                epoch: floor.epoch,
                version: floor.version,
                digest: floor.digest.clone(),
            }),
            on_probation: self.trial.is_any(),
            refusal: self.refusals.last().cloned(),
            refused: self.refusals.counts().clone(),
            functions: self.functions.clone(),
        };
        self.functions.values_mut().for_each(|report| report.executed = BTreeSet::new());
        Effect::Report(Box::new(reported))
    }
}
