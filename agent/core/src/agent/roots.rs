//! Trust roots on the device: the firmware's first, those that the store kept, then
//! each next one as it comes; durable before it is in force.
//!
//! How one root may follow another is `schemas`' rule. What the planner does with
//! documents under a root is the rest of the agent's.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::document::{Document, ModuleRef};
use gnomon_schemas::module::{check_denied, check_release};
use gnomon_schemas::reported::State;
use gnomon_schemas::succession::verify_next_root;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{Digest, Reason, Refusal};

use super::{AGAIN_AFTER_MS, Agent, Effect, tell};
use crate::canary::{self, Canary};
use crate::message::ToKeeper;
use crate::pending::{Accepted, Pending, Stage};
use crate::time::{Monotonic, TimeFloor};

/// What the agent remembers of trust roots beside the one in force.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// On its way into the store.
    coming: Option<TrustRoot>,
    /// Older ones under which documents were accepted that are still held.
    old: BTreeMap<u64, TrustRoot>,
    /// The version that was in force once, says the mirror: nothing is taken under less.
    floor: u64,
    /// When the store failed to keep a root.
    failed_at: Option<Monotonic>,
    /// Roots that were brought without a network and have not been tried yet.
    offline: VecDeque<Vec<u8>>,
}

impl Agent {
    /// Takes the stored roots in force, offline, one after the other. `judges` are the
    /// versions under which the stored documents were accepted.
    pub(super) fn restore_roots(
        &mut self,
        now: Monotonic,
        stored: &BTreeMap<u64, Vec<u8>>,
        judges: &[Option<u64>],
        floor: u64,
    ) -> Vec<Effect> {
        self.roots.floor = floor;
        let mut effects = vec![];
        for (version, envelope) in stored {
            // A newer firmware brings a newer first root: what came before it is past.
            if *version <= self.root.version {
                continue;
            }
            if judges.contains(&Some(self.root.version)) {
                self.roots.old.insert(self.root.version, self.root.clone());
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

    /// The root that judges what was accepted under this version of it. Keys that a later
    /// root replaced do not stop what was accepted under them; what a later root denies,
    /// stops.
    pub(super) fn root_at(&self, version: u64) -> Cow<'_, TrustRoot> {
        let Some(old) = self.roots.old.get(&version) else { return Cow::Borrowed(&self.root) };
        Cow::Owned(TrustRoot {
            denied: self.root.denied.clone(),
            release_counter_min: self.root.release_counter_min.clone(),
            ..old.clone()
        })
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
        let replaced = core::mem::replace(&mut self.root, root);
        self.roots.old.insert(replaced.version, replaced);
        self.forget_old_roots();
        // What was refused under the old root may be right under this one.
        self.refused_digest = None;
        let mut effects = self.stop_denied(now);
        effects.extend(self.judge_pending_anew(now));
        effects.extend([self.fetch_next_root(), Effect::FetchDocument, self.report(now)]);
        effects.push(Effect::Send);
        effects.extend(self.take_offline_root(now));
        effects
    }

    /// Only those are kept under which something was accepted that may yet be judged.
    fn forget_old_roots(&mut self) {
        let pending = self.pending.as_ref().map(|pending| &pending.accepted);
        let held = [self.applied.as_ref(), self.previous.as_ref(), pending];
        let versions: Vec<u64> = held.into_iter().flatten().map(|a| a.trust_version).collect();
        self.roots.old.retain(|version, _| versions.contains(version));
    }

    /// Whether this root ends the word of those who signed times: it raises the epoch,
    /// and is not one that was in force before and comes back.
    fn ends_times(&self, next: &TrustRoot) -> bool {
        next.epoch > self.root.epoch && next.version > self.roots.floor
    }

    /// A document that has not begun to act is judged once more, by the new root.
    fn judge_pending_anew(&mut self, now: Monotonic) -> Vec<Effect> {
        self.waiting = None;
        // What was in force before goes on as it was accepted, unless it is recalled.
        let has_begun = |pending: &Pending| match pending.stage {
            Stage::Fetching => false,
            Stage::Preparing => {
                pending.restored && recalled(pending.payload(), &self.root).is_empty()
            }
            Stage::Persisting | Stage::Activating => true,
        };
        let Some(pending) = self.pending.take_if(|pending| !has_begun(pending)) else {
            return vec![];
        };
        let mut effects: Vec<Effect> =
            pending.missing().into_iter().map(Effect::ForgetModule).collect();
        if pending.restored {
            // Anew, so that the modules which it has already are judged again, too.
            effects.extend(self.begin(now, Pending::restored(pending.accepted, now)));
        } else {
            effects.extend(self.document(now, pending.accepted.envelope));
            effects.extend(self.take_waiting(now));
        }
        effects
    }

    /// Has the keeper stop every module that the trust root recalls: in force or about to
    /// be, or what a rollback would put in force.
    pub(super) fn stop_recalled(&mut self, now: Monotonic) -> Vec<Effect> {
        self.stop(now, BTreeSet::new())
    }

    /// The same, and all that the root denies: a keeper that outlived the planner before
    /// this one may have in force what this one has never seen.
    pub(super) fn stop_denied(&mut self, now: Monotonic) -> Vec<Effect> {
        self.stop(now, self.root.denied.clone())
    }

    fn stop(&mut self, now: Monotonic, mut modules: BTreeSet<Digest>) -> Vec<Effect> {
        let recalled_of = |accepted: Option<&Accepted>| {
            accepted.map(|a| recalled(a.payload(), &self.root)).unwrap_or_default()
        };
        let in_force = recalled_of(self.applied.as_ref());
        let coming = self.pending.as_ref().filter(|pending| pending.is_durable());
        modules.extend(recalled_of(coming.map(|pending| &pending.accepted)));
        modules.extend(recalled_of(self.previous.as_ref()));
        modules.extend(in_force.iter().cloned());
        if modules.is_empty() || canary::is_out(Canary::RecalledGoesOn) {
            return vec![];
        }
        let mut effects = vec![tell(ToKeeper::Stop { modules })];
        if !in_force.is_empty() {
            let names: Vec<&str> = in_force.iter().map(Digest::short).collect();
            let detail = format!("in force and recalled: {}", names.join(", "));
            let refusal = Refusal::new(Reason::ModuleDenied, detail);
            self.state = State::Rejected;
            effects.extend(self.refuse(now, self.applied_version(), refusal));
        }
        effects
    }
}

/// The modules of a document's slots that this root denies or finds too old.
fn recalled(document: &Document, root: &TrustRoot) -> BTreeSet<Digest> {
    let is_recalled = |digest: &Digest| {
        let is_old =
            |listed: &ModuleRef| check_release(&listed.name, listed.release_counter, root).is_err();
        check_denied(digest, root).is_err() || document.modules.get(digest).is_some_and(is_old)
    };
    let slots = document.functions.values().flat_map(|plan| plan.slots());
    slots.map(|slot| slot.module.clone()).filter(is_recalled).collect()
}
