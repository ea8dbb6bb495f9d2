//! What the cloud has stored can be run again: the same module, inputs, params and state
//! give the same bits, the same fuel and the same fault.

use gnomon_schemas::content;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::results::Record;

use super::{Checker, must};
use crate::swarm::facts::Fact;
use crate::swarm::library::Library;

pub(super) struct Replay<'a> {
    library: &'a Library,
}

impl<'a> Replay<'a> {
    pub(super) fn new(library: &'a Library) -> Replay<'a> {
        Replay { library }
    }

    fn run_again(&self, record: &Record) -> Result<(), String> {
        // A runner that died has no result to repeat.
        if record.fault == Some(Reason::RunnerDied) {
            return Ok(());
        }
        let Some(bytes) = self.library.bytes(&record.module) else {
            return Err(format!("{} is no module of the fleet", record.module.short()));
        };
        let role = content::function(&self.library.profile, &record.function)
            .map_err(|refusal| refusal.to_string())?;
        // A document may give less fuel than the profile; what ran out says how much.
        let mut budget = role.budget;
        if let (Some(Reason::OutOfFuel), Some(fuel)) = (record.fault, record.fuel) {
            budget.fuel = fuel;
        }
        let admitted = self.library.admit_with(bytes, &record.function, budget, &record.params);
        let (module, params) = admitted.map_err(|refusal| refusal.to_string())?;
        let again = module.evaluate(&record.inputs, &params, record.state.as_ref());
        let outputs = again.outcome.as_ref().ok().map(|made| &made.outputs);
        let fault = again.outcome.as_ref().err().map(|refusal| refusal.reason);
        let text = |values| serde_json::to_string(&values).unwrap_or_default();
        must(text(outputs) == text(record.outputs.as_ref()) && fault == record.fault, || {
            format!("tick {}: {:?} and {fault:?} the second time", record.tick, outputs)
        })?;
        must(again.fuel == record.fuel, || {
            format!("tick {}: fuel {:?} the second time", record.tick, again.fuel)
        })
    }
}

impl Checker for Replay<'_> {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Stored { device, results } = fact else { return Ok(()) };
        for record in &results.records {
            self.run_again(record).map_err(|what| format!("device {device}: {what}"))?;
        }
        Ok(())
    }
}
