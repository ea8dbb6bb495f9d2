//! The device as the keeper sees it: ticks come from it, clamped values go to it.
//!
//! A firmware that links the agent implements [`Device`]; one that does not
//! speaks JSON lines over the [`socket`](crate::socket). What a value does is not
//! known here.

use gnomon_agent_core::Clamped;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::value::Values;
use std::time::{Duration, Instant};

/// One tick of one function.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// The function that is due.
    pub function: FunctionName,
    /// The number of the tick; a gap in the numbers is a tick that was missed.
    pub number: u64,
    /// The device's own time (ms), for results only: nothing is judged by it.
    pub at_ms: u64,
    /// When the device asked, by this machine's own clock: the deadline counts from here.
    pub came: Instant,
    /// What the device measures, by signal.
    pub inputs: Values,
}

/// What the device has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// A tick is due.
    Tick(Tick),
    /// Nothing within the time given.
    Idle,
    /// The device is gone; the keeper ends.
    Closed,
}

/// Actuators and sensors. It takes nothing but [`Clamped`] values:
/// ```no_run
/// # use gnomon_agent::device::{Device, Tick};
/// # use gnomon_agent_core::Clamped;
/// fn actuate(device: &mut dyn Device, tick: &Tick, clamped: &Clamped) {
///     device.actuate(tick, clamped);
/// }
/// ```
/// ```compile_fail,E0308
/// # use gnomon_agent::device::{Device, Tick};
/// # use gnomon_agent_core::Clamped;
/// fn actuate(device: &mut dyn Device, tick: &Tick, clamped: &Clamped) {
///     device.actuate(tick, clamped.values());
/// }
/// ```
pub trait Device: Send {
    /// Waits for the next tick, but not longer than `patience`.
    fn next_tick(&mut self, patience: Duration) -> Next;

    /// Gives the actuators of one function their values for this tick.
    fn actuate(&mut self, tick: &Tick, values: &Clamped);
}
