//! Whether a module may fill a function of a profile: the same checks that the
//! device makes, with the same host. Remembers what passed.

use gnomon_cloud_core::compose::StoredModule;
use gnomon_host::{Admitted, Host};
use gnomon_schemas::ids::{Digest, FunctionName};
use gnomon_schemas::module::verify_module;
use gnomon_schemas::profile::{Budget, Profile};
use gnomon_schemas::reason::Refusal;
use gnomon_schemas::trust::TrustRoot;
use gnomon_sigstore::Judge;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::clock;

/// Admissions kept in memory; beyond, the lowest key goes.
const ADMISSIONS_MAX: usize = 256;

/// Judges who published a module, as a device does.
pub(crate) const JUDGE: Judge = Judge;

/// The trust root's version, module, evidence, profile, function and budget.
type Key = (u64, Digest, Digest, Digest, FunctionName, u64, u64);

/// Modules that were checked for a profile's function and budget.
#[derive(Default)]
pub struct Admissions(Mutex<BTreeMap<Key, Admitted>>);

/// The place that a module is to fill.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The digest of the profile.
    pub profile_digest: &'a Digest,
    /// The profile.
    pub profile: &'a Profile,
    /// The function.
    pub function: &'a FunctionName,
    /// The budget in force.
    pub budget: Budget,
}

impl Admissions {
    /// Verifies and admits a module for a place. Compiles, so only on a blocking thread.
    ///
    /// # Errors
    /// The refusal that a device would give.
    pub fn admit(
        &self,
        host: &Host,
        root: &TrustRoot,
        (digest, module): (&Digest, &StoredModule),
        place: Place<'_>,
    ) -> Result<Admitted, Refusal> {
        let key = (
            // What passed under one root need not pass under the next.
            root.version,
            digest.clone(),
            Digest::of(&serde_json::to_vec(&module.listed.evidence).unwrap_or_default()),
            place.profile_digest.clone(),
            place.function.clone(),
            place.budget.fuel,
            place.budget.memory_bytes,
        );
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return Ok(known.clone());
        }
        let verified = verify_module(
            module.bytes.clone(),
            digest,
            &module.listed,
            (place.profile, place.function),
            (root, &JUDGE, clock::now_ms()),
        )?;
        let admitted = host.admit(verified.bytes(), place.profile, place.function, place.budget)?;
        let mut known = lock();
        if known.len() >= ADMISSIONS_MAX {
            known.pop_first();
        }
        known.insert(key, admitted.clone());
        Ok(admitted)
    }
}
