//! A function of a device: called and guarded as the agent on a device does it.
//!
//! Owns the tick: evaluate in a fresh instance, keep the state, clamp; hold the last outputs
//! after a failed call, and after too many of those go to the defaults. Evaluation is
//! `gnomon-host`'s, and what an actuator gets is decided by `gnomon-agent-core`'s guard alone.
//! Refuses to know plants and time.

use gnomon_agent_core::{Clamped, Guard};
use gnomon_host::{Admitted, Host, Params};
use gnomon_schemas::SignalName;
use gnomon_schemas::document::FunctionPlan;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::{Budget, NarrowedBounds, Profile};
use gnomon_schemas::results::Source;
use gnomon_schemas::value::{Value, ValueType, Values};
use std::collections::BTreeMap;

use super::quantity::OfAgent;

const MINUTE_MS: u64 = 60_000;
/// Wall time says nothing about a device here, where a busy machine may stop a thread for a
/// second: fuel, the first fence and the same everywhere, ends a call that goes on for too long.
const DEADLINE_MS: u64 = 600_000;

/// What fills a function in one variant of a scenario.
#[derive(Debug, Clone)]
pub(super) struct Filling {
    pub(super) module: Vec<u8>,
    pub(super) params: Values,
    pub(super) bounds: BTreeMap<SignalName, NarrowedBounds>,
    pub(super) budget: Option<Budget>,
}

/// A function as all devices of a variant have it; without a module the defaults hold.
#[derive(Debug, Clone)]
pub(super) struct Program {
    module: Option<(Admitted, Values)>,
    guard: Guard,
    period_minutes: u64,
    outputs: Vec<Output>,
}

/// One output of a function, and its place among those of the profile.
#[derive(Debug, Clone)]
struct Output {
    name: String,
    place: usize,
    value_type: ValueType,
}

impl Program {
    /// Admits the module, as a device would, if there is one.
    ///
    /// # Errors
    /// One sentence that says what does not fit.
    pub(super) fn new(
        host: &Host,
        profile: &Profile,
        function: &FunctionName,
        filling: Option<&Filling>,
    ) -> Result<Program, String> {
        let Some(role) = profile.functions.get(function) else {
            let known: Vec<&str> = profile.functions.keys().map(FunctionName::as_str).collect();
            return Err(format!("the profile has no such function, only {}", known.join(", ")));
        };
        if role.period_ms % MINUTE_MS != 0 {
            return Err(format!(
                "its period is {} ms; a scenario goes by minutes, so a multiple of {MINUTE_MS} \
                 is needed",
                role.period_ms
            ));
        }
        let bounds = filling.map(|filling| filling.bounds.clone()).unwrap_or_default();
        let plan = FunctionPlan { bounds, ..FunctionPlan::default() };
        let guard = Guard::new(profile, function, &plan).map_err(|refusal| refusal.detail)?;
        let admit = |filling| admit(host, profile, function, filling);
        let outputs = profile.outputs.iter().enumerate();
        let outputs = outputs.filter(|(_, (name, _))| role.outputs.contains(*name));
        Ok(Program {
            module: filling.map(admit).transpose()?,
            guard,
            period_minutes: role.period_ms / MINUTE_MS,
            outputs: outputs
                .map(|(place, (name, output))| Output {
                    name: name.to_string(),
                    place,
                    value_type: output.value_type.clone(),
                })
                .collect(),
        })
    }

    /// The module with its params, if there is one.
    pub(super) fn module(&self) -> Option<&(Admitted, Values)> {
        self.module.as_ref()
    }

    /// The guard as it stands at the start of a device.
    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Notes what was proposed and what came of it.
    #[inline]
    pub(super) fn note(
        &self,
        proposal: Option<&Values>,
        clamped: &Clamped,
        quantities: &mut [f64],
    ) {
        match clamped.source() {
            Source::Active => {}
            Source::HoldLast => quantities[OfAgent::HELD_TICKS] += 1.0,
            Source::Default => quantities[OfAgent::DEFAULT_TICKS] += 1.0,
        }
        quantities[OfAgent::CLAMPED_TICKS] += f64::from(u8::from(!clamped.changed().is_empty()));
        for output in &self.outputs {
            let number =
                |values: &Values| values.get(&output.name).map(|value| output.number(value));
            let place = OfAgent::OUTPUTS + 2 * output.place;
            quantities[place] = proposal.and_then(number).unwrap_or(f64::NAN);
            quantities[place + 1] = number(clamped.values()).unwrap_or(f64::NAN);
        }
    }

    /// A device's own instance of it, on the profile's defaults.
    ///
    /// # Errors
    /// One sentence about params; they were checked before.
    pub(super) fn start(&self) -> Result<Controller<'_>, String> {
        let module = self.module.as_ref().map(|(admitted, params)| {
            let params = admitted.params(params).map_err(|error| error.to_string())?;
            Ok::<_, String>((admitted, params))
        });
        Ok(Controller {
            module: module.transpose()?,
            guard: self.guard.clone(),
            program: self,
            state: None,
            stored_state: None,
        })
    }
}

/// A function on one device.
pub(super) struct Controller<'a> {
    program: &'a Program,
    /// The module with a device's own params: calls of two threads share nothing.
    module: Option<(&'a Admitted, Params)>,
    guard: Guard,
    state: Option<Values>,
    /// The state as it outlives the agent.
    stored_state: Option<Values>,
}

impl Controller<'_> {
    /// Whether the function is called in this minute of the run.
    pub(super) fn is_due(&self, minute: u64) -> bool {
        self.program.period_minutes == 1 || minute.is_multiple_of(self.program.period_minutes)
    }

    /// One tick. Writes what the actuators get, by place of the output, and the agent's
    /// quantities.
    pub(super) fn tick(
        &mut self,
        readings: &Values,
        traps: bool,
        actuated: &mut [f64],
        quantities: &mut [f64],
    ) {
        quantities[OfAgent::TICKS] += 1.0;
        let proposal = if traps { None } else { self.call(readings, quantities) };
        let clamped = if self.module.is_some() {
            let outcome = if proposal.is_some() { OfAgent::EVALUATIONS } else { OfAgent::FAULTS };
            quantities[outcome] += 1.0;
            self.guard.actuate(proposal.as_ref(), readings)
        } else {
            self.guard.default_outputs(readings)
        };
        self.program.note(proposal.as_ref(), &clamped, quantities);
        for output in &self.program.outputs {
            actuated[output.place] = quantities[OfAgent::OUTPUTS + 2 * output.place + 1];
        }
    }

    fn call(&mut self, readings: &Values, quantities: &mut [f64]) -> Option<Values> {
        let (admitted, params) = self.module.as_ref()?;
        let evaluation = admitted.evaluate(readings, params, self.state.as_ref());
        if let Some(fuel) = evaluation.fuel {
            quantities[OfAgent::FUEL] = fuel as f64;
        }
        // A call that failed has forgotten nothing.
        let outputs = evaluation.outcome.ok()?;
        if outputs.state.is_some() {
            self.state = outputs.state;
        }
        Some(outputs.outputs)
    }

    /// What is stored with results outlives the agent.
    pub(super) fn store_state(&mut self) {
        if self.state.is_some() {
            self.stored_state.clone_from(&self.state);
        }
    }

    /// The agent starts anew: actuators at the defaults, the state as it was stored.
    pub(super) fn restart(&mut self) {
        self.guard = self.program.guard.clone();
        self.state.clone_from(&self.stored_state);
    }

    /// Where the actuators stand, by place of the output.
    pub(super) fn standing(&self, actuated: &mut [f64]) {
        let standing = self.guard.standing();
        for output in &self.program.outputs {
            if let Some(value) = standing.get(&output.name) {
                actuated[output.place] = output.number(value);
            }
        }
    }
}

impl Output {
    /// The value as a number to sum up and to hand to a plant.
    fn number(&self, value: &Value) -> f64 {
        match (value, &self.value_type) {
            (Value::Bool(truth), _) => f64::from(u8::from(*truth)),
            (Value::Text(case), ValueType::Enum(cases)) => {
                cases.iter().position(|known| known == case).map_or(f64::NAN, |at| at as f64)
            }
            _ => value.as_f64().unwrap_or(f64::NAN),
        }
    }
}

/// Admits a module under a function's budget, and checks its params.
fn admit(
    host: &Host,
    profile: &Profile,
    function: &FunctionName,
    filling: &Filling,
) -> Result<(Admitted, Values), String> {
    let mut patient = profile.clone();
    let mut budget = filling.budget;
    if let Some(role) = patient.functions.get_mut(function) {
        role.deadline_ms = DEADLINE_MS;
        budget = Some(budget.unwrap_or(role.budget));
    }
    let budget = budget.ok_or("the profile has no such function")?;
    let admitted = host
        .admit(&filling.module, &patient, function, budget)
        .map_err(|error| format!("the module is not admitted: {error}"))?;
    let params = admitted.check_params(&filling.params).map_err(|error| error.to_string())?;
    Ok((admitted, params))
}
