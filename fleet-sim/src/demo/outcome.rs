//! Outcomes: the same days and draws twice, once under each function, in a closed
//! loop. A shadow run cannot know this: it sees only inputs that the active
//! function shaped.

use anyhow::{Context as _, Result};
use gnomon_agent_core::Guard;
use gnomon_host::{Admitted, Host, HostOptions, Params};
use gnomon_schemas::document::FunctionPlan;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::{Value, Values};
use std::sync::Arc;

use crate::closed_loop::{House, HouseSpec, LoopReport, TickInputs, run};
use crate::world::{DeviceVariation, World};

/// A day that is run first and not counted, so that both start from their own habits.
const WARM_UP_DAYS: u32 = 1;

/// What is run in the loop.
pub(super) struct Trial<'a> {
    pub(super) world: &'a Arc<World>,
    pub(super) profile: &'a Profile,
    pub(super) function: &'a FunctionName,
    pub(super) start_hour: u64,
    pub(super) devices: u32,
    pub(super) days: u32,
}

impl Trial<'_> {
    /// Runs every device under one module.
    pub(super) fn run(&self, component: &[u8], params: &Values) -> Result<LoopReport> {
        let host = Host::new(&HostOptions { instances: 2 })?;
        let role = self.profile.functions.get(self.function).context("no such function")?;
        let module = host.admit(component, self.profile, self.function, role.budget)?;
        let params = module.params(params)?;
        let mut total = LoopReport::default();
        for device in 0..self.devices {
            let variation = DeviceVariation::of(u64::from(device));
            let warm_up = self.start_hour.saturating_sub(24 * u64::from(WARM_UP_DAYS));
            let mut house =
                House::new(&HouseSpec::default(), Arc::clone(self.world), variation, warm_up)?;
            let mut guard = Guard::new(self.profile, self.function, &FunctionPlan::default())?;
            let mut controller =
                |inputs: &TickInputs<'_>| setpoint_c(&module, &params, &mut guard, inputs);
            if warm_up < self.start_hour {
                run(&mut house, WARM_UP_DAYS, &mut controller)?;
            }
            total.merge(&run(&mut house, self.days, &mut controller)?);
        }
        Ok(total)
    }
}

/// One tick as the agent's runner does it: evaluate, then the same guard.
fn setpoint_c(
    module: &Admitted,
    params: &Params,
    guard: &mut Guard,
    inputs: &TickInputs<'_>,
) -> f64 {
    let inputs = Values::from([
        ("tank_temp_c".to_owned(), Value::Float(inputs.tank_temp_c)),
        ("tank_low_temp_c".to_owned(), Value::Float(inputs.tank_low_temp_c)),
        ("hour".to_owned(), Value::Float(f64::from(inputs.hour))),
        ("price_forecast".to_owned(), Value::from(inputs.price_forecast.to_vec())),
    ]);
    let proposal = module.evaluate(&inputs, params, None).outcome.ok();
    let clamped = guard.actuate(proposal.as_ref().map(|outputs| &outputs.outputs), &inputs);
    // The profile has this output, so the guard always gives it a number.
    clamped.values().get("setpoint_c").and_then(Value::as_f64).unwrap_or(0.0)
}
