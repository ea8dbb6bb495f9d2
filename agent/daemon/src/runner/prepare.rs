//! Step 14: admission of a whole document, before any of it acts.

use gnomon_agent_core::Guard;
use gnomon_host::{Admitted, Host, Params, manifest};
use gnomon_schemas::document::{Document, InlineBytes, ModuleRef, Reporting, Slot};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::{Budget, Profile};
use gnomon_schemas::{Digest, Reason, Refusal, Version, content};
use std::collections::BTreeMap;

/// A module that may be called, with its params.
#[derive(Debug, Clone)]
pub(super) struct Callable {
    pub(super) module: Admitted,
    pub(super) params: Params,
}

/// One function of a document, ready to run.
#[derive(Debug, Clone)]
pub(super) struct PreparedFunction {
    pub(super) active: Option<Callable>,
    pub(super) candidates: Vec<Callable>,
    pub(super) guard: Guard,
}

/// A document whose every module is admitted.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) version: Version,
    pub(super) functions: BTreeMap<FunctionName, PreparedFunction>,
    pub(super) reporting: Reporting,
}

impl Prepared {
    /// Admits every module of a verified document for the functions that it fills.
    pub(super) fn admit(
        host: &Host,
        profile: &Profile,
        document: &Document,
        modules: &BTreeMap<Digest, InlineBytes>,
    ) -> Result<Prepared, Refusal> {
        let mut functions = BTreeMap::new();
        for (name, plan) in &document.functions {
            let role = content::function(profile, name)?;
            let budget = content::budget_of(plan, role)?;
            let admit = |slot: &Slot| admit(host, (profile, name), document, modules, slot, budget);
            let prepared = PreparedFunction {
                active: plan.active.as_ref().map(admit).transpose()?,
                candidates: plan.candidates.iter().map(admit).collect::<Result<_, _>>()?,
                guard: Guard::new(profile, name, plan)?,
            };
            functions.insert(name.clone(), prepared);
        }
        Ok(Prepared { version: document.version, functions, reporting: document.reporting })
    }
}

fn admit(
    host: &Host,
    (profile, function): (&Profile, &FunctionName),
    document: &Document,
    modules: &BTreeMap<Digest, InlineBytes>,
    slot: &Slot,
    budget: Budget,
) -> Result<Callable, Refusal> {
    let place = || format!("functions.{function}: module {}", slot.module.short());
    let missing = || Refusal::new(Reason::ModuleMissing, place());
    let bytes = &modules.get(&slot.module).ok_or_else(missing)?.0;
    let listed = document.modules.get(&slot.module).ok_or_else(missing)?;
    check_manifest(bytes, listed).map_err(|refusal| refusal.at(place()))?;
    let module = host
        .admit(bytes, profile, function, budget)
        .map_err(|error| Refusal::from(error).at(place()))?;
    let params = module.params(&slot.params).map_err(|error| Refusal::from(error).at(place()))?;
    Ok(Callable { module, params })
}

/// What the director says of a module must be what its publisher signed into it:
/// else an old release could be passed off under a newer counter.
fn check_manifest(bytes: &[u8], listed: &ModuleRef) -> Result<(), Refusal> {
    let wrong = |detail: String| Err(Refusal::new(Reason::ModuleManifestMismatch, detail));
    let Some(inside) = manifest(bytes) else { return wrong("it carries no manifest".into()) };
    let listed = (&listed.name, &listed.version, listed.release_counter);
    if (&inside.name, &inside.version, inside.release_counter) != listed {
        return wrong(format!(
            "the module says {} {} counter {}, the document {} {} counter {}",
            inside.name, inside.version, inside.release_counter, listed.0, listed.1, listed.2
        ));
    }
    Ok(())
}
