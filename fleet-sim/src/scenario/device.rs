//! One device through a whole run: its site, its functions, its faults.
//!
//! Owns the order of a minute: read, break, call, actuate, let time pass, keep accounts.
//! Refuses to know other devices and threads.

use gnomon_schemas::value::Values;

use super::controller::Program;
use super::fault::{Fault, Faults};
use super::measure::{BUCKETS, Tracker};
use super::quantity::OfAgent;
use super::site::{Place, Site};

/// Minutes between two times at which the agent stores what a function remembers.
const STORED_EVERY_MINUTES: u64 = 60;

/// What all devices of a variant have in common.
pub(super) struct Variant<'a> {
    pub(super) name: &'a str,
    pub(super) programs: &'a [Program],
    pub(super) faults: &'a [Fault],
    /// Quantities of the site, before the agent's.
    pub(super) of_site: usize,
    /// All quantities.
    pub(super) quantities: usize,
    pub(super) minutes: u64,
}

/// Runs a device to its end; fills the trackers and adds to the sums of all quantities.
///
/// # Errors
/// What the plant refused, with the minute.
pub(super) fn run(
    variant: &Variant<'_>,
    place: &Place,
    site: &mut dyn Site,
    trackers: &mut [Tracker],
    sums: &mut [f64],
) -> Result<(), String> {
    let mut controllers = Vec::new();
    let mut actuated = vec![0.0; (variant.quantities - variant.of_site - OfAgent::OUTPUTS) / 2];
    for program in variant.programs {
        let controller = program.start()?;
        controller.standing(&mut actuated);
        controllers.push(controller);
    }
    let mut faults = Faults::of(variant.faults, place, variant.name);
    let mut readings = Values::new();
    let mut quantities = vec![0.0; variant.quantities];
    let mut was_down = false;
    for minute in 0..variant.minutes {
        let (of_site, of_agent) = quantities.split_at_mut(variant.of_site);
        of_agent[..OfAgent::FUEL].fill(0.0);
        of_agent[OfAgent::FUEL..].fill(f64::NAN);
        let broken = faults.at(minute);
        let is_down = broken.agent_down || broken.power_cut;
        if was_down && !is_down {
            controllers.iter_mut().for_each(|controller| controller.restart());
        }
        was_down = is_down;
        site.read(&mut readings);
        if !is_down {
            let sensed = broken.sensors.then(|| faults.sensed(minute, &readings));
            let sensed = sensed.as_ref().unwrap_or(&readings);
            for controller in controllers.iter_mut().filter(|of| of.is_due(minute)) {
                controller.tick(sensed, broken.traps, &mut actuated, of_agent);
                if minute.is_multiple_of(STORED_EVERY_MINUTES) {
                    controller.store_state();
                }
            }
        }
        site.step(&actuated, !broken.power_cut, of_site)
            .map_err(|error| format!("minute {minute}: {error}"))?;
        let bucket = (minute * BUCKETS as u64 / variant.minutes) as usize;
        for tracker in trackers.iter_mut() {
            tracker.add(quantities[tracker.quantity], bucket);
        }
        for (sum, amount) in sums.iter_mut().zip(&quantities) {
            *sum += amount;
        }
    }
    Ok(())
}
