//! Step 14: admission of modules for the slots that they fill, before any of them acts.

use gnomon_host::{Admitted, Host, Params, manifest};
use gnomon_schemas::document::ModuleRef;
use gnomon_schemas::{Reason, Refusal};

use super::{CellSpec, SlotAsk, SlotFacts};

/// A module that may be called, with its params.
#[derive(Debug, Clone)]
pub(crate) struct Callable {
    pub(crate) module: Admitted,
    pub(crate) params: Params,
}

/// Admits every slot of a cell.
pub(crate) fn load(
    host: &Host,
    spec: &CellSpec,
) -> Result<(Vec<Callable>, Vec<SlotFacts>), Refusal> {
    let mut callables = vec![];
    for slot in &spec.slots {
        let place = || format!("functions.{}: module {}", slot.function, slot.module.short());
        callables.push(admit(host, spec, slot).map_err(|refusal| refusal.at(place()))?);
    }
    let facts = callables.iter().map(facts).collect();
    Ok((callables, facts))
}

fn admit(host: &Host, spec: &CellSpec, slot: &SlotAsk) -> Result<Callable, Refusal> {
    let Some(bytes) = spec.modules.get(&slot.module) else {
        return Err(Refusal::new(Reason::ModuleMissing, "its bytes are not here"));
    };
    check_manifest(bytes, &slot.listed)?;
    let module = host.admit(bytes, &spec.profile, &slot.function, slot.budget)?;
    let params = module.params(&slot.params)?;
    Ok(Callable { module, params })
}

fn facts(callable: &Callable) -> SlotFacts {
    let interface = callable.module.interface();
    let outputs = interface.outputs.iter();
    SlotFacts {
        module: callable.module.digest().clone(),
        params: callable.params.values().clone(),
        inputs: interface.inputs.keys().cloned().collect(),
        outputs: outputs.map(|(name, ty)| (name.to_string(), ty.clone())).collect(),
        state: interface.state.clone(),
        migrates: interface.migrate.clone(),
    }
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
