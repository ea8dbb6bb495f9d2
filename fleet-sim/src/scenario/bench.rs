//! What a simulated tick costs beside the bare evaluation of its function.
//!
//! Owns the method: both take turns, a day of one device each, so that what disturbs one round
//! disturbs both; the figures are medians over the rounds. Refuses to print.

use anyhow::{Result, anyhow};
use gnomon_schemas::value::Values;
use serde::Serialize;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use super::device;
use super::file::Scenario;
use super::site::{DAY_STEPS, Place};

/// Costs of one function on the water heater.
#[derive(Debug, Clone, Serialize)]
pub struct TickCost {
    /// The function.
    pub module: &'static str,
    /// `Admitted::evaluate` alone, with inputs made beforehand, nanoseconds.
    pub evaluation_ns: f64,
    /// A whole minute of a device, nanoseconds: readings, evaluation, clamp, the tank's physics,
    /// accounts and what assertions keep.
    pub tick_ns: f64,
    /// The second over the first.
    pub tick_per_evaluation: f64,
    /// Days of a device with a function call each minute that one core does in a minute.
    pub device_days_per_minute_and_core: f64,
}

/// Functions that are measured, with their params in a scenario.
const FUNCTIONS: [(&str, &str); 2] = [
    (
        "water-heater-tou",
        "{ off_peak_start_hour = 23, off_peak_end_hour = 7, high_c = 60, low_c = 45 }",
    ),
    (
        "water-heater-price",
        "{ comfort_min_c = 42, high_c = 65, low_c = 40, heat_c_per_hour = 6, use_c_per_hour = 1 }",
    ),
];
const MINUTE_NS: f64 = 60e9;

/// Measures each function, so many rounds of one device-day per side.
///
/// # Errors
/// When no engine can be had.
pub fn tick_costs(rounds: usize) -> Result<Vec<TickCost>> {
    FUNCTIONS.iter().map(|(module, params)| tick_cost(module, params, rounds.max(1))).collect()
}

fn tick_cost(module: &'static str, params: &str, rounds: usize) -> Result<TickCost> {
    let text = format!(
        "name = \"bench\"\ndays = 1\nprofile = \"water-heater\"\n\
         assertions = [\"max(max_tank_temp_c) < 75\", \"comfort_violation_minutes < 9\"]\n\
         plant = {{ type = \"water-heater\" }}\n\
         variants.v1.functions.setpoint = {{ module = \"{module}\", params = {params} }}\n"
    );
    let host = super::host()?;
    let scenario = Scenario::parse(&text, Path::new("bench"), &host)?;
    let place = |device| Place { world: scenario.world.clone(), start_hour: 0, seed: 0, device };
    let trackers = scenario.trackers().map_err(|message| anyhow!(message))?;
    let programs = scenario.variants.first().map_or(&[][..], |variant| &variant.programs);
    let (admitted, params) = programs
        .first()
        .and_then(|program| program.module())
        .ok_or_else(|| anyhow!("the scenario of the bench has no function"))?;
    let params = admitted.params(params)?;
    let site = |device| scenario.plant.site(&place(device), &scenario.profile);
    let mut readings = Values::new();
    site(0).map_err(|message| anyhow!(message))?.read(&mut readings);
    let variant = scenario.variant(0, programs);
    let (mut evaluation_ns, mut tick_ns) = (vec![], vec![]);
    for round in 0..=rounds {
        let started = Instant::now();
        for _ in 0..DAY_STEPS {
            black_box(admitted.evaluate(black_box(&readings), &params, None));
        }
        let evaluations = started.elapsed();
        let mut site = site(round as u64).map_err(|message| anyhow!(message))?;
        let (mut kept, mut sums) = (trackers.clone(), vec![0.0; scenario.quantities.len()]);
        let started = Instant::now();
        device::run(&variant, &place(round as u64), site.as_mut(), &mut kept, &mut sums)
            .map_err(|message| anyhow!(message))?;
        let ticks = started.elapsed();
        black_box(&sums);
        // The first round warms caches and the pool.
        if round > 0 {
            evaluation_ns.push(evaluations.as_nanos() as f64 / DAY_STEPS as f64);
            tick_ns.push(ticks.as_nanos() as f64 / DAY_STEPS as f64);
        }
    }
    let (evaluation_ns, tick_ns) = (median(evaluation_ns), median(tick_ns));
    Ok(TickCost {
        module,
        evaluation_ns,
        tick_ns,
        tick_per_evaluation: tick_ns / evaluation_ns,
        device_days_per_minute_and_core: MINUTE_NS / (tick_ns * DAY_STEPS as f64),
    })
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
