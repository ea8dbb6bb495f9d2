//! Step 14: admission of modules for the slots that they fill, before any of them acts.

use gnomon_host::{Admitted, Host, Params, check_manifest};
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
