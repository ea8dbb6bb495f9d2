//! From a document to what fills the function: modules admitted, golden vectors met,
//! states rehearsed, as the production keeper prepares it.

use gnomon_agent_core::Guard;
use gnomon_agent_core::message::{FunctionState, Prepare};
use gnomon_agent_core::probation::Probation;
use gnomon_agent_core::tally::Tally;
use gnomon_schemas::content;
use gnomon_schemas::document::{FunctionPlan, Slot};
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::results::SlotRole;
use gnomon_schemas::value::Values;

use super::keeper::{Beside, Filling, Keeper, Placed, Ready};
use super::library::{Library, missing};

impl Keeper {
    pub(super) fn prepare(
        &self,
        library: &Library,
        prepare: &Prepare,
        busy: bool,
    ) -> Result<Ready, Refusal> {
        if busy {
            return Err(Refusal::new(Reason::Unavailable, "the keeper is busy"));
        }
        let document = &prepare.document;
        let nothing = FunctionPlan::default();
        let plan = document.functions.get(&self.function).unwrap_or(&nothing);
        let role = content::function(&library.profile, &self.function)?;
        let budget = content::budget_of(plan, role)?;
        let place = |slot: &Slot, role: SlotRole| -> Result<Placed, Refusal> {
            let bytes = prepare.modules.get(&slot.module).ok_or_else(|| missing("bytes"))?;
            if let Some(listed) = document.modules.get(&slot.module) {
                gnomon_host::check_manifest(&bytes.0, listed)?;
            }
            let admitted = library.admit_with(&bytes.0, &self.function, budget, &slot.params);
            let (module, params) = admitted?;
            let known = prepare.states.iter().find(|known| {
                known.function == self.function && known.module == slot.module && known.role == role
            });
            let state = known.map(|known| known.state.clone());
            let state = state.filter(|state| module.takes_state(state));
            Ok(Placed { module, params, state })
        };
        let mut active =
            plan.active.as_ref().map(|slot| place(slot, SlotRole::Active)).transpose()?;
        if let Some(active) = &mut active {
            golden(active, plan)?;
            active.state = self.rehearsed(active, &prepare.states)?;
        }
        let of = |placed: &Placed, role| {
            let (version, module) = (Some(document.version), Some(placed.digest().clone()));
            Tally::new(self.function.clone(), module, role, version, document.reporting)
        };
        let mut candidates = vec![];
        for slot in &plan.candidates {
            let placed = place(slot, SlotRole::Candidate)?;
            candidates.push(Beside { tally: of(&placed, SlotRole::Candidate), placed });
        }
        let tally = match &active {
            Some(placed) => of(placed, SlotRole::Active),
            None => {
                let version = Some(document.version);
                let role = SlotRole::Active;
                Tally::new(self.function.clone(), None, role, version, document.reporting)
            }
        };
        let rules = plan.probation.unwrap_or_default();
        let probation = active.as_ref().and_then(|active| {
            Probation::new(rules, &self.function, active.digest()).filter(|_| prepare.on_trial)
        });
        let guard = Guard::new(&library.profile, &self.function, plan)?;
        let filling = Filling { active, guard, candidates, tally };
        let (digest, on_trial) = (prepare.digest.clone(), prepare.on_trial);
        Ok(Ready { digest, document: document.clone(), on_trial, filling, probation })
    }

    /// What the module makes of the state before it.
    fn rehearsed(
        &self,
        placed: &Placed,
        states: &[FunctionState],
    ) -> Result<Option<Values>, Refusal> {
        let own = self.filling.active.as_ref();
        let now = own.and_then(|own| Some((own.digest().clone(), own.state.clone()?)));
        let stored = states.iter().filter(|known| known.role == SlotRole::Active);
        let stored = stored.map(|known| (known.module.clone(), known.state.clone())).next_back();
        let before = if own.is_some() { now } else { stored };
        let Some((module, state)) = before else { return Ok(placed.state.clone()) };
        if module != *placed.digest() && placed.module.interface().migrate.is_some() {
            return placed
                .module
                .migrate(&state)
                .map(Some)
                .map_err(|refusal| Refusal::new(Reason::StateNotMigrated, refusal.to_string()));
        }
        Ok(Some(state).filter(|state| placed.module.takes_state(state)))
    }
}

/// The module returns what the golden vectors say.
fn golden(placed: &Placed, plan: &FunctionPlan) -> Result<(), Refusal> {
    for vector in &plan.golden {
        let made = placed.module.evaluate(&vector.inputs, &placed.params, vector.state.as_ref());
        let proposed = made.outcome.map(|outputs| outputs.outputs).unwrap_or_default();
        for (name, expected) in &vector.outputs {
            let found = proposed.get(name).and_then(gnomon_schemas::value::Value::as_f64);
            let is_near = found
                .zip(expected.as_f64())
                .is_some_and(|(found, expected)| (found - expected).abs() <= vector.tolerance);
            if !is_near {
                return Err(Refusal::new(Reason::GoldenMismatch, name.clone()));
            }
        }
    }
    Ok(())
}
