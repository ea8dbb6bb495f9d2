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

use crate::time::Monotonic;

/// How far a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Modules are missing.
    Fetching,
    /// The runner is admitting its modules.
    Preparing,
    /// Floor, document and modules are being made durable.
    Persisting,
    /// The runner is exchanging the slots.
    Activating,
}

/// A document on its way to force.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) document: Verified<Document>,
    pub(crate) envelope: Vec<u8>,
    pub(crate) stage: Stage,
    pub(crate) since: Monotonic,
    /// Came from the store at boot, modules and all: it is durable already.
    pub(crate) restored: bool,
    /// The version of the trust root under which it was accepted.
    pub(crate) trust_version: u64,
    /// A trust root came while the runner was admitting its modules.
    pub(crate) judge_again: bool,
    modules: BTreeMap<Digest, Vec<u8>>,
}

impl Pending {
    pub(crate) fn new(
        document: Verified<Document>,
        envelope: Vec<u8>,
        since: Monotonic,
        trust_version: u64,
    ) -> Pending {
        Pending {
            document,
            envelope,
            stage: Stage::Fetching,
            since,
            restored: false,
            judge_again: false,
            trust_version,
            modules: BTreeMap::new(),
        }
    }

    /// Every module that a slot names, with the functions that it is to fill.
    pub(crate) fn needed(&self) -> BTreeMap<Digest, BTreeSet<FunctionName>> {
        let mut needed: BTreeMap<Digest, BTreeSet<FunctionName>> = BTreeMap::new();
        for (function, plan) in &self.document.payload().functions {
            for slot in plan.slots() {
                needed.entry(slot.module.clone()).or_default().insert(function.clone());
            }
        }
        needed
    }

    /// What all needed modules weigh together, in bytes.
    pub(crate) fn needed_bytes(&self) -> u64 {
        let listed = &self.document.payload().modules;
        let sizes = self.needed().into_keys().filter_map(|digest| listed.get(&digest));
        sizes.fold(0, |sum, module| sum.saturating_add(module.size_bytes))
    }

    /// The needed modules whose bytes are not here yet.
    pub(crate) fn missing(&self) -> Vec<Digest> {
        self.needed().into_keys().filter(|digest| !self.modules.contains_key(digest)).collect()
    }

    /// The verified bytes by digest, for the runner and the store.
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
        let Some(listed) = self.document.payload().modules.get(digest) else {
            return Err(Refusal::new(Reason::ModuleMissing, digest.as_str()));
        };
        for function in functions {
            let role = (profile, function);
            verify_module(bytes.to_vec(), digest, listed, role, trust)?;
        }
        self.modules.insert(digest.clone(), bytes.to_vec());
        Ok(())
    }
}
