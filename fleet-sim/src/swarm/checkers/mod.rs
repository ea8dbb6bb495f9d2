//! What must hold whatever happens: one property per file, each from facts alone. A
//! checker knows no agent, no cloud and no fault; a new one is a file and a line here.

mod approvals;
mod bounds;
mod convergence;
mod delivery;
mod expiry;
mod failures;
mod floor;
mod metering;
mod recall;
mod replay;
mod swap;
mod trust;

use super::facts::Fact;
use super::library::Library;

/// One property.
pub trait Checker {
    /// Its name, as violations give it.
    fn name(&self) -> &'static str;

    /// Hears what happened.
    ///
    /// # Errors
    /// What must not have.
    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String>;
}

/// All of them, for so many devices.
pub fn all(library: &Library, devices: usize) -> Vec<Box<dyn Checker + '_>> {
    vec![
        Box::new(trust::Trust::new(devices)),
        Box::new(approvals::Approvals::default()),
        Box::new(bounds::BoundsHold::new(devices)),
        Box::new(swap::Swap::new(devices)),
        Box::new(floor::FloorHolds::new(devices)),
        Box::new(failures::Failures::new(devices)),
        Box::new(recall::Recall::new(library, devices)),
        Box::new(expiry::Expiry::new(library, devices)),
        Box::new(metering::Metering::new(devices)),
        Box::new(replay::Replay::new(library)),
        Box::new(delivery::Delivery::default()),
        Box::new(convergence::Convergence),
    ]
}

/// Fails with this sentence unless it holds.
fn must(holds: bool, sentence: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(sentence()) }
}
