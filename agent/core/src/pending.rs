//! A document on its way to force: which modules it still lacks, and how far it is.
//! Whether it may go on is decided elsewhere.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use gnomon_schemas::document::{Document, InlineBytes};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::module::{JudgeEvidence, verify_module};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::Verified;
use gnomon_schemas::{Digest, Reason, Refusal};

use crate::accept::Floor;
use crate::canary::{self, Canary};
use crate::time::Monotonic;

/// How far a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Modules are missing.
    Fetching,
    /// The keeper has its modules admitted.
    Preparing,
    /// Floor, document and modules are being made durable.
    Persisting,
    /// The keeper is exchanging the slots.
    Activating,
}

/// A document that was accepted, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) document: Verified<Document>,
    pub(crate) envelope: Vec<u8>,
    /// The version of the trust root under which it was accepted.
    pub(crate) trust_version: u64,
}

impl Accepted {
    pub(crate) fn payload(&self) -> &Document {
        self.document.payload()
    }

    pub(crate) fn digest(&self) -> &Digest {
        self.document.digest()
    }

    pub(crate) fn floor(&self) -> Floor {
        Floor::of(&self.document, self.trust_version)
    }
}

/// A document on its way to force.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) accepted: Accepted,
    pub(crate) stage: Stage,
    pub(crate) since: Monotonic,
    /// It is in the store, modules and all, and was in force or about to be.
    pub(crate) restored: bool,
    /// It has yet to prove itself once it is in force.
    pub(crate) on_trial: bool,
    /// It takes the place of one that has not proved itself.
    pub(crate) keeps_previous: bool,
    modules: BTreeMap<Digest, Vec<u8>>,
}

impl Pending {
    pub(crate) fn new(accepted: Accepted, since: Monotonic) -> Pending {
        Pending {
            accepted,
            stage: Stage::Fetching,
            since,
            restored: false,
            on_trial: false,
            keeps_previous: false,
            modules: BTreeMap::new(),
        }
    }

    /// One that was accepted and made durable before.
    pub(crate) fn restored(accepted: Accepted, since: Monotonic) -> Pending {
        Pending { restored: true, ..Pending::new(accepted, since) }
    }

    pub(crate) fn payload(&self) -> &Document {
        self.accepted.payload()
    }

    pub(crate) fn digest(&self) -> &Digest {
        self.accepted.digest()
    }

    /// Whether the store holds it as what is in force.
    pub(crate) fn is_durable(&self) -> bool {
        self.stage == Stage::Activating || self.restored
    }

    /// Whether it must run to its end before another one is taken up. What was in force
    /// before comes first: if the other one fails, there is something that runs.
    pub(crate) fn is_past_recall(&self) -> bool {
        self.stage > Stage::Preparing || (self.restored && self.stage == Stage::Preparing)
    }

    /// Every module that a slot names, with the functions that it is to fill.
    pub(crate) fn needed(&self) -> BTreeMap<Digest, BTreeSet<FunctionName>> {
        let mut needed: BTreeMap<Digest, BTreeSet<FunctionName>> = BTreeMap::new();
        for (function, plan) in &self.payload().functions {
            for slot in plan.slots() {
                needed.entry(slot.module.clone()).or_default().insert(function.clone());
            }
        }
        needed
    }

    /// What all needed modules weigh together, in bytes.
    pub(crate) fn needed_bytes(&self) -> u64 {
        let listed = &self.payload().modules;
        let sizes = self.needed().into_keys().filter_map(|digest| listed.get(&digest));
        sizes.fold(0, |sum, module| sum.saturating_add(module.size_bytes))
    }

    /// The needed modules whose bytes are not here yet.
    pub(crate) fn missing(&self) -> Vec<Digest> {
        self.needed().into_keys().filter(|digest| !self.modules.contains_key(digest)).collect()
    }

    /// The verified bytes by digest, for the keeper and the store.
    pub(crate) fn modules(&self) -> BTreeMap<Digest, InlineBytes> {
        self.modules.iter().map(|(d, bytes)| (d.clone(), InlineBytes(bytes.clone()))).collect()
    }

    /// Step 13: takes bytes for a needed module once they are verified for every
    /// function that it is to fill.
    pub(crate) fn take_module(
        &mut self,
        digest: &Digest,
        bytes: &[u8],
        profile: &Profile,
        trust: (&TrustRoot, &dyn JudgeEvidence, u64),
    ) -> Result<(), Refusal> {
        let needed = self.needed();
        let Some(functions) = needed.get(digest) else { return Ok(()) };
        let Some(listed) = self.payload().modules.get(digest) else {
            return Err(Refusal::new(Reason::ModuleMissing, digest.as_str()));
        };
        for function in functions {
            let role = (profile, function);
            if !canary::is_out(Canary::ModuleUnverified) {
                verify_module(bytes.to_vec(), digest, listed, role, trust)?;
            }
        }
        self.modules.insert(digest.clone(), bytes.to_vec());
        Ok(())
    }
}
