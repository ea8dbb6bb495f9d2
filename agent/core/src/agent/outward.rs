//! What the agent says: reported documents, results, refusals. It judges nothing;
//! it counts and tells what the rest of the agent has judged.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::document::Document;
use gnomon_schemas::reported::{FunctionReport, Reported, ReportedSchema, State};
use gnomon_schemas::results::{Record, RefusalEvent, Results, ResultsSchema, Summary};
use gnomon_schemas::verify::Verified;
use gnomon_schemas::{Digest, Refusal, Version};

use super::{Agent, Effect};
use crate::time::Monotonic;

/// The longest sentence that goes with a refusal: it may quote foreign bytes, and
/// a report must never outgrow its cap because of them.
const DETAIL_BYTES_MAX: usize = 1024;

impl Agent {
    pub(super) fn note_slots(&mut self, document: &Document) {
        let mut functions = BTreeMap::new();
        for (name, plan) in &document.functions {
            let before = self.functions.remove(name).unwrap_or_default();
            let active = plan.active.as_ref().map(|slot| slot.module.clone());
            let previous = if before.active == active { before.previous } else { before.active };
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

    pub(super) fn done(&mut self, summaries: Vec<Summary>, records: Vec<Record>) -> Vec<Effect> {
        for summary in &summaries {
            let called = summary.evaluations > 0 || !summary.faults.is_empty();
            if let (true, Some(module)) = (called, &summary.module) {
                let report = self.functions.entry(summary.function.clone()).or_default();
                report.executed.insert(module.clone());
            }
        }
        let reporting = self.applied.as_ref().map(|document| document.payload().reporting);
        let bytes_max = reporting.unwrap_or_default().record_bytes_per_day_max;
        let (records, dropped) = self.record_budget.admit(records, bytes_max);
        vec![self.results(summaries, (records, dropped), vec![]), Effect::Send]
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
            self.refused_newer = true;
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
            effects.push(self.results(vec![], (vec![], 0), vec![event]));
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
    ) -> Effect {
        self.results_sequence += 1;
        Effect::Append(Box::new(Results {
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
            dropped_records,
        }))
    }

    /// Until the runner has said what it is, the digest of nothing.
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
            applied_digest: self.applied.as_ref().map(|document| document.digest().clone()),
            refusal: self.refusals.last().cloned(),
            refused: self.refusals.counts().clone(),
            functions: self.functions.clone(),
        };
        self.functions.values_mut().for_each(|report| report.executed = BTreeSet::new());
        Effect::Report(Box::new(reported))
    }
}
