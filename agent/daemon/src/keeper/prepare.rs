//! From a verified document to a set of functions that can be put in force between two
//! ticks: modules admitted, golden vectors met, states rehearsed. Nothing of it acts.

use gnomon_agent_core::Guard;
use gnomon_agent_core::message::{FunctionState, Prepare};
use gnomon_schemas::document::{Document, FunctionPlan, GoldenVector, Probation, Reporting, Slot};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::results::SlotRole;
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Digest, Reason, Refusal, Version, content};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cell::{Cell, CellSpec, Purpose, SlotAsk, SlotFacts, Workshop};

/// How long a call may take that nobody waits for.
const REHEARSAL: Duration = Duration::from_secs(5);

/// A slot of a cell, and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) slot: usize,
    pub(super) facts: SlotFacts,
}

/// One function of a document, ready to run.
pub(super) struct PreparedFunction {
    pub(super) active: Option<Placed>,
    pub(super) candidates: Vec<(Placed, Option<Values>)>,
    pub(super) guard: Guard,
    pub(super) probation: Probation,
    /// The state to begin with, if what is in force then has none that fits.
    pub(super) state: Option<Values>,
}

/// A cell, and how to make it again.
pub(super) struct Housed {
    pub(super) cell: Box<dyn Cell>,
    pub(super) spec: Arc<CellSpec>,
}

/// A document that can be put in force.
pub(super) struct Prepared {
    pub(super) digest: Digest,
    pub(super) version: Version,
    pub(super) on_trial: bool,
    pub(super) functions: BTreeMap<FunctionName, PreparedFunction>,
    pub(super) reporting: Reporting,
    pub(super) active: Option<Housed>,
    pub(super) candidates: Option<Housed>,
}

/// What is in force at the moment.
#[derive(Default)]
pub(super) struct Standing {
    /// The digest of the document's payload.
    pub(super) document: Option<Digest>,
    pub(super) functions: BTreeMap<FunctionName, InControl>,
}

/// A module in control: the state that it left at the last tick, and what was read at it.
pub(super) struct InControl {
    pub(super) module: Digest,
    pub(super) state: Option<Values>,
    pub(super) inputs: Values,
}

impl Prepared {
    /// Admits every module of a verified document for the functions that it fills.
    ///
    /// # Errors
    /// The first refusal.
    pub(super) fn new(
        workshop: &dyn Workshop,
        profile: &Arc<Profile>,
        message: &Prepare,
        standing: &Standing,
    ) -> Result<Prepared, Refusal> {
        let document = &message.document;
        let (mut asks, mut beside) = (vec![], vec![]);
        for (name, plan) in &document.functions {
            let budget = content::budget_of(plan, content::function(profile, name)?)?;
            let ask = |slot: &Slot| ask(document, name, slot, budget);
            asks.extend(plan.active.as_ref().map(ask).transpose()?);
            for slot in &plan.candidates {
                beside.push(ask(slot)?);
            }
        }
        let spec = |slots| {
            let bytes = |bytes: &gnomon_schemas::document::InlineBytes| bytes.0.as_slice().into();
            let modules = message.modules.iter();
            let modules = modules.map(|(digest, module)| (digest.clone(), bytes(module)));
            Arc::new(CellSpec { profile: Arc::clone(profile), modules: modules.collect(), slots })
        };
        let (mut active, facts) = house(workshop, spec(asks), Purpose::Active)?;
        let (candidates, beside_facts) = house(workshop, spec(beside), Purpose::Candidates)?;
        let mut functions = BTreeMap::new();
        let (mut facts, mut beside_facts) = (facts.into_iter(), beside_facts.into_iter());
        for (name, plan) in &document.functions {
            let placed = plan.active.as_ref().and_then(|_| facts.next());
            let known = |facts: &SlotFacts, role| remembered(&message.states, name, facts, role);
            let candidates = beside_facts.by_ref().take(plan.candidates.len());
            let candidates = candidates.map(|placed| {
                let state = known(&placed.facts, SlotRole::Candidate);
                (placed, state)
            });
            let candidates = candidates.collect();
            let mut prepared = PreparedFunction {
                candidates,
                guard: Guard::new(profile, name, plan)?,
                probation: plan.probation.unwrap_or_default(),
                state: None,
                active: placed,
            };
            if let (Some(placed), Some(housed)) = (&prepared.active, &mut active) {
                let before = before(standing, &message.states, name, &placed.facts.module);
                let place = |refusal: Refusal| refusal.at(format!("functions.{name}"));
                rehearse_golden(housed.cell.as_mut(), placed, plan).map_err(place)?;
                prepared.state =
                    rehearse_state(housed.cell.as_mut(), placed, before).map_err(place)?;
                if prepared.state.is_none() {
                    let shadow =
                        remembered(&message.states, name, &placed.facts, SlotRole::Candidate);
                    prepared.state = shadow;
                }
                if let Some(now) = standing.functions.get(name) {
                    warm_up(housed.cell.as_mut(), placed, &now.inputs, prepared.state.as_ref());
                }
            }
            functions.insert(name.clone(), prepared);
        }
        Ok(Prepared {
            digest: message.digest.clone(),
            version: document.version,
            on_trial: message.on_trial,
            functions,
            reporting: document.reporting,
            active,
            candidates,
        })
    }
}

fn ask(
    document: &Document,
    function: &FunctionName,
    slot: &Slot,
    budget: gnomon_schemas::profile::Budget,
) -> Result<SlotAsk, Refusal> {
    let Some(listed) = document.modules.get(&slot.module) else {
        return Err(Refusal::new(Reason::ModuleMissing, slot.module.as_str()));
    };
    let mut listed = listed.clone();
    listed.inline = None;
    let (module, params) = (slot.module.clone(), slot.params.clone());
    Ok(SlotAsk { function: function.clone(), module, listed, params, budget })
}

/// A cell for these slots; none for none.
fn house(
    workshop: &dyn Workshop,
    spec: Arc<CellSpec>,
    purpose: Purpose,
) -> Result<(Option<Housed>, Vec<Placed>), Refusal> {
    if spec.slots.is_empty() {
        return Ok((None, vec![]));
    }
    let (cell, facts) = workshop.build(&spec, purpose)?;
    let placed = facts.into_iter().enumerate().map(|(slot, facts)| Placed { slot, facts });
    Ok((Some(Housed { cell, spec }), placed.collect()))
}

/// What this module remembered in this place when it was kept last.
fn remembered(
    states: &[FunctionState],
    function: &FunctionName,
    facts: &SlotFacts,
    role: SlotRole,
) -> Option<Values> {
    let is_it = |known: &&FunctionState| {
        known.function == *function && known.module == facts.module && known.role == role
    };
    facts.take_state(&states.iter().find(is_it)?.state)
}

/// The state of what was in control last: in this process, or before it started. Of the
/// latter the module's own comes first.
fn before(
    standing: &Standing,
    states: &[FunctionState],
    function: &FunctionName,
    module: &Digest,
) -> Option<(Digest, Values)> {
    if let Some(InControl { module, state, .. }) = standing.functions.get(function) {
        return state.clone().map(|state| (module.clone(), state));
    }
    let of_active =
        |known: &&FunctionState| known.function == *function && known.role == SlotRole::Active;
    let mut known = states.iter().filter(of_active);
    let own = known.clone().find(|known| known.module == *module);
    let known = own.or_else(|| known.next_back())?;
    Some((known.module.clone(), known.state.clone()))
}

/// What the module makes of the state before it, tried on a copy.
fn rehearse_state(
    cell: &mut dyn Cell,
    placed: &Placed,
    before: Option<(Digest, Values)>,
) -> Result<Option<Values>, Refusal> {
    let Some((module, state)) = before else { return Ok(None) };
    take_over(cell, placed, &module, &state, Instant::now() + REHEARSAL)
}

/// The state of one module as another's own: the same module goes on with it; another
/// makes its own of it if it exports `migrate`, or has it as it is if it fits.
pub(super) fn take_over(
    cell: &mut dyn Cell,
    placed: &Placed,
    module: &Digest,
    state: &Values,
    until: Instant,
) -> Result<Option<Values>, Refusal> {
    if *module != placed.facts.module && placed.facts.migrates.is_some() {
        let migrated = cell.migrate(placed.slot, state, until);
        let failed = |refusal: Refusal| {
            let detail = format!("{}: {}", refusal.reason, refusal.detail);
            Refusal::new(Reason::StateNotMigrated, detail)
        };
        return migrated.map(Some).map_err(failed);
    }
    Ok(placed.facts.take_state(state))
}

/// One call for nothing, on what was read last: the first call in a new process is many
/// times slower than the next, and shall not be the one that the actuator waits for. What
/// comes of it is probation's to judge, once it counts.
fn warm_up(cell: &mut dyn Cell, placed: &Placed, inputs: &Values, state: Option<&Values>) {
    let _ = cell.evaluate(placed.slot, inputs, state, Instant::now() + REHEARSAL);
}

/// Step 15: the module returns what the document's golden vectors say.
fn rehearse_golden(
    cell: &mut dyn Cell,
    placed: &Placed,
    plan: &FunctionPlan,
) -> Result<(), Refusal> {
    for (index, vector) in plan.golden.iter().enumerate() {
        let place = |refusal: Refusal| refusal.at(format!("golden[{index}]"));
        meet(cell, placed, vector).map_err(place)?;
    }
    Ok(())
}

fn meet(cell: &mut dyn Cell, placed: &Placed, vector: &GoldenVector) -> Result<(), Refusal> {
    let mismatch = |detail: String| Err(Refusal::new(Reason::GoldenMismatch, detail));
    let until = Instant::now() + REHEARSAL;
    let state = vector.state.as_ref();
    if state.is_some() && placed.facts.state.is_none() {
        return mismatch("state is given, but the module has no memory".into());
    }
    let evaluation = cell.evaluate(placed.slot, &vector.inputs, state, until);
    let proposed = match evaluation.outcome {
        Ok(outputs) => outputs.outputs,
        Err(refusal) if refusal.reason == Reason::Unavailable => return Err(refusal),
        Err(refusal) => return mismatch(refusal.to_string()),
    };
    for (name, expected) in &vector.outputs {
        let ty = placed.facts.outputs.get(name);
        let expected = ty.and_then(|ty| ty.accept(expected).ok());
        let found = proposed.get(name);
        let fits = match (found, &expected) {
            (Some(found), Some(expected)) => is_near(found, expected, vector.tolerance),
            _ => false,
        };
        if !fits {
            let show = |value: Option<&Value>| {
                value.map_or_else(|| "nothing".into(), |v| serde_json::json!(v).to_string())
            };
            let (found, expected) = (show(found), show(vector.outputs.get(name)));
            return mismatch(format!("outputs.{name} is {found}, expected {expected}"));
        }
    }
    Ok(())
}

fn is_near(found: &Value, expected: &Value, tolerance: f64) -> bool {
    // As doubles, neighbours among the greatest integers are the same number.
    let is_close = |found: f64, expected: f64| (found - expected).abs() <= tolerance;
    found == expected
        || (tolerance > 0.0
            && found.as_f64().zip(expected.as_f64()).is_some_and(|(f, e)| is_close(f, e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_tolerance_a_number_is_the_very_number() {
        let great = |number: i128| Value::Int((1 << 60) + number);
        assert!(is_near(&great(0), &great(0), 0.0));
        assert!(!is_near(&great(0), &great(1), 0.0), "as doubles they are one");
        assert!(is_near(&great(0), &great(1), 1.0));
        assert!(is_near(&Value::Float(60.0), &Value::Float(60.5), 0.5));
        assert!(!is_near(&Value::Float(60.0), &Value::Float(60.5), 0.49));
        assert!(!is_near(&Value::Float(f64::NAN), &Value::Float(60.0), 1e300));
        assert!(!is_near(&Value::Text("60".into()), &Value::Float(60.0), 1.0));
    }
}
