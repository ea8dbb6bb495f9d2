//! Cells in this process: for firmware that links the agent, for simulators and tests.
//! A guest is bounded by the engine alone; what breaks the engine breaks the process.

use gnomon_host::{Evaluation, Host, HostError, HostOptions};
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Reason, Refusal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::load::Callable;
use super::{Cell, CellSpec, Purpose, SlotFacts, Workshop, failed, load};

/// Instances at a time: one each for control, candidates and admission, and one more.
const INSTANCES: u32 = 4;

/// One engine for all cells.
pub(crate) struct LocalWorkshop {
    host: Host,
}

impl LocalWorkshop {
    pub(crate) fn new() -> Result<LocalWorkshop, HostError> {
        Ok(LocalWorkshop { host: Host::new(&HostOptions { instances: INSTANCES })? })
    }
}

impl Workshop for LocalWorkshop {
    fn engine(&self) -> Digest {
        self.host.engine_digest().clone()
    }

    fn build(
        &self,
        spec: &CellSpec,
        _purpose: Purpose,
    ) -> Result<(Box<dyn Cell>, Vec<SlotFacts>), Refusal> {
        // A panic of the compiler is the module's fault, not the end of control.
        let loaded = catch_unwind(AssertUnwindSafe(|| load(&self.host, spec)));
        let (slots, facts) = loaded.unwrap_or_else(|_| {
            Err(Refusal::new(Reason::CompileFailed, "the engine's compiler panicked"))
        })?;
        Ok((Box::new(LocalCell { slots }), facts))
    }
}

struct LocalCell {
    slots: Vec<Callable>,
}

impl Cell for LocalCell {
    fn evaluate(
        &mut self,
        slot: usize,
        inputs: &Values,
        state: Option<&Values>,
        _until: Instant,
    ) -> Evaluation {
        match self.slots.get(slot) {
            Some(callable) => callable.module.evaluate(inputs, &callable.params, state),
            None => failed(Reason::ModuleMissing, "there is no such slot", Duration::ZERO),
        }
    }

    fn migrate(&mut self, slot: usize, old: &Values, _until: Instant) -> Result<Values, Refusal> {
        let missing = || Refusal::new(Reason::ModuleMissing, "there is no such slot");
        self.slots.get(slot).ok_or_else(missing)?.module.migrate(old)
    }

    fn is_alive(&self) -> bool {
        true
    }
}
