//! Trust roots on the device: the firmware's first, those that the store kept, then
//! each next one as it comes; durable before it is in force.
//!
//! How one root may follow another is `schemas`' rule. What the planner does with
//! documents under a root is the rest of the agent's.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::document::{Document, ModuleRef};
use gnomon_schemas::succession::verify_next_root;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{Digest, Reason, Refusal};

use super::{AGAIN_AFTER_MS, Agent, Effect};
use crate::message::ToRunner;
use crate::pending::{Pending, Stage};
use crate::time::{Monotonic, TimeFloor};

/// What the agent remembers of trust roots beside the one in force.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// On its way into the store.
    coming: Option<TrustRoot>,
    /// The one under which the stored document was accepted, if an older one.
    of_stored: Option<TrustRoot>,
    /// The version that was in force once, says the mirror: nothing is taken under less.
    floor: u64,
    /// When the store failed to keep a root.
    failed_at: Option<Monotonic>,
    /// Roots that were brought without a network and have not been tried yet.
    offline: VecDeque<Vec<u8>>,
}

impl Agent {
    /// Takes the stored roots in force, offline, one after the other. `under` is the
    /// version under which the stored document was accepted.
    pub(super) fn restore_roots(
        &mut self,
        now: Monotonic,
        stored: &BTreeMap<u64, Vec<u8>>,
        under: Option<u64>,
        floor: u64,
    ) -> Vec<Effect> {
        self.roots.floor = floor;
        let mut effects = vec![];
        for (version, envelope) in stored {
            // A newer firmware brings a newer first root: what came before it is past.
            if *version <= self.root.version {
                continue;
            }
            if under == Some(self.root.version) {
                self.roots.of_stored = Some(self.root.clone());
            }
            match verify_next_root(envelope, &self.root) {
                Ok(root) => self.root = root.into_payload(),
                Err(error) => {
                    let refusal = Refusal::from(error).at(format!("stored trust root {version}"));
                    effects.extend(self.refuse(now, None, refusal));
                    break;
                }
            }
        }
        effects
    }

    /// The root that judges what the store held. Keys that a later root replaced do
    /// not stop what was accepted under them; what a later root denies, stops.
    pub(super) fn root_of_stored(&self) -> TrustRoot {
        let Some(old) = &self.roots.of_stored else { return self.root.clone() };
        TrustRoot {
            denied: self.root.denied.clone(),
            release_counter_min: self.root.release_counter_min.clone(),
            ..old.clone()
        }
    }

    /// Whether the device has come back to the trust root that it once had.
    pub(super) fn check_trust_floor(&self) -> Result<(), Refusal> {
        let (has, floor) = (self.root.version, self.roots.floor);
        if has < floor {
            let detail = format!("trust root {has}, but {floor} was in force: waiting for it");
            return Err(Refusal::new(Reason::Rollback, detail));
        }
        Ok(())
    }

    pub(super) fn fetch_next_root(&self) -> Effect {
        Effect::FetchRoot(self.root.version.saturating_add(1))
    }

    /// The store could not keep a root: its topic is asked once more after a while.
    pub(super) fn fetch_root_again(&mut self, now: Monotonic) -> Option<Effect> {
        self.roots.failed_at.take_if(|at| now.0.saturating_sub(at.0) >= AGAIN_AFTER_MS)?;
        Some(self.fetch_next_root())
    }

    pub(super) fn trust_root(&mut self, now: Monotonic, bytes: &[u8]) -> Vec<Effect> {
        if self.roots.coming.is_some() {
            // It is asked for again once the one on its way is in force.
            return vec![];
        }
        match verify_next_root(bytes, &self.root) {
            Ok(root) => {
                let root = root.into_payload();
                let (version, envelope) = (root.version, bytes.to_vec());
                let time_floor_ms = self.ends_times(&root).then_some(self.released_at_ms);
                self.roots.coming = Some(root);
                vec![Effect::PersistRoot { version, envelope, time_floor_ms }]
            }
            Err(error) => self.refuse(now, None, Refusal::from(error).at("trust root")),
        }
    }

    /// Takes the roots that lie beside the firmware's, one after the other: the one
    /// after it first. Those that are past by now are passed over.
    pub(super) fn bring_roots(
        &mut self,
        now: Monotonic,
        roots: Vec<Vec<u8>>,
        first: u64,
    ) -> Vec<Effect> {
        let past = usize::try_from(self.root.version.saturating_sub(first)).unwrap_or(usize::MAX);
        self.roots.offline = roots.into_iter().skip(past).collect();
        self.take_offline_root(now)
    }

    fn take_offline_root(&mut self, now: Monotonic) -> Vec<Effect> {
        let next = self.roots.offline.pop_front();
        next.map(|envelope| self.trust_root(now, &envelope)).unwrap_or_default()
    }

    pub(super) fn root_persisted(
        &mut self,
        now: Monotonic,
        version: u64,
        outcome: Result<(), String>,
    ) -> Vec<Effect> {
        let Some(root) = self.roots.coming.take_if(|root| root.version == version) else {
            return vec![];
        };
        if let Err(error) = outcome {
            self.roots.failed_at = Some(now);
            let refusal = Refusal::new(Reason::StoreFailed, error).at("trust root");
            return self.refuse(now, None, refusal);
        }
        // A stolen key may have signed times that never were, and with them have expired
        // all that the rightful one signs. Its documents are past with their epoch, so
        // nothing is lost with its times.
        if self.ends_times(&root) {
            self.time = TimeFloor::new(self.released_at_ms, now);
        }
        if self.roots.of_stored.is_none() {
            self.roots.of_stored = Some(core::mem::replace(&mut self.root, root));
        } else {
            self.root = root;
        }
        // What was refused under the old root may be right under this one.
        self.refused_digest = None;
        let mut effects = self.stop_recalled(now);
        effects.extend(self.judge_pending_anew(now));
        effects.extend([self.fetch_next_root(), Effect::FetchDocument, self.report(now)]);
        effects.push(Effect::Send);
        effects.extend(self.take_offline_root(now));
        effects
    }

    /// Whether this root ends the word of those who signed times: it raises the epoch,
    /// and is not one that was in force before and comes back.
    fn ends_times(&self, next: &TrustRoot) -> bool {
        next.epoch > self.root.epoch && next.version > self.roots.floor
    }

    /// A document that has not begun to act is judged once more, by the new root.
    fn judge_pending_anew(&mut self, now: Monotonic) -> Vec<Effect> {
        self.waiting = None;
        if let Some(pending) = self.pending.as_mut()
            && pending.stage == Stage::Preparing
        {
            // The runner answers by version alone: what it says of this one must not be
            // taken for another's, so it is heard first.
            pending.judge_again = !pending.restored;
            return vec![];
        }
        let is_fetching = |pending: &mut Pending| pending.stage == Stage::Fetching;
        let Some(pending) = self.pending.take_if(is_fetching) else { return vec![] };
        let mut effects: Vec<Effect> =
            pending.missing().into_iter().map(Effect::ForgetModule).collect();
        if pending.restored {
            effects.extend(self.begin(now, pending));
        } else {
            effects.extend(self.document(now, pending.envelope));
        }
        effects
    }

    /// The runner has answered for a document that a new root must judge first.
    pub(super) fn prepared_under_old_root(&mut self, now: Monotonic) -> Option<Vec<Effect>> {
        let pending = self.pending.take_if(|pending| pending.judge_again)?;
        let mut effects = self.document(now, pending.envelope);
        if self.pending.is_none() {
            effects.extend(self.take_waiting(now));
        }
        Some(effects)
    }

    /// Has the runner stop every module in force that the trust root recalls.
    pub(super) fn stop_recalled(&mut self, now: Monotonic) -> Vec<Effect> {
        let Some(applied) = self.applied.as_ref() else { return vec![] };
        let recalled = recalled(applied.payload(), &self.root);
        if recalled.is_empty() {
            return vec![];
        }
        let names: Vec<&str> = recalled.iter().map(Digest::short).collect();
        let detail = format!("in force and recalled: {}", names.join(", "));
        let refusal = Refusal::new(Reason::ModuleDenied, detail);
        self.state = gnomon_schemas::reported::State::Rejected;
        let version = applied.payload().version;
        let stop = ToRunner::Stop { modules: recalled };
        let mut effects = vec![Effect::Runner(alloc::boxed::Box::new(stop))];
        effects.extend(self.refuse(now, Some(version), refusal));
        effects
    }
}

/// The modules of a document's slots that this root denies or finds too old.
fn recalled(document: &Document, root: &TrustRoot) -> BTreeSet<Digest> {
    let is_recalled = |digest: &Digest| {
        let too_old = |listed: &ModuleRef| {
            let min = root.release_counter_min.get(&listed.name);
            min.is_some_and(|&min| listed.release_counter < min)
        };
        root.denied.contains(digest) || document.modules.get(digest).is_some_and(too_old)
    };
    let slots = document.functions.values().flat_map(|plan| plan.slots());
    slots.map(|slot| slot.module.clone()).filter(is_recalled).collect()
}
