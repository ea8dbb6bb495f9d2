//! Plants: the physical things a device's function acts on.
//!
//! Owns the [`Plant`] trait, the units of a step and the errors. The plants are an electric
//! storage water heater, [`Tank`], and a home battery, [`Battery`]; equations and sources are
//! in `PLANT.md`.
//! Refuses to know prices, households, controllers, clocks, files and randomness.

mod battery;
mod firmware;
mod nodes;
#[cfg(test)]
mod reference_tests;
mod spec;
mod tank;

pub use battery::{BATTERY_W, Battery, BatteryOutcome, BatterySpec, STATE_OF_CHARGE};
pub use spec::TankSpec;
pub use tank::Tank;

/// The tank's upper temperature sensor, degrees Celsius.
pub const TANK_TEMP_C: &str = "tank_temp_c";
/// The tank's lower temperature sensor, degrees Celsius.
pub const TANK_LOW_TEMP_C: &str = "tank_low_temp_c";
/// Volume-weighted mean of the tank, degrees Celsius. No real device has this sensor.
pub const TANK_MEAN_TEMP_C: &str = "tank_mean_temp_c";
/// The thermostat setpoint of both elements, degrees Celsius.
pub const SETPOINT_C: &str = "setpoint_c";

/// A physical thing with named sensors and named actuators.
///
/// Names carry their unit (`tank_temp_c`), values are `f64`. An actuator keeps its value
/// until it is commanded again, as a real one does when its controller falls silent.
pub trait Plant {
    /// What the surroundings do to the plant during one step.
    type Disturbance;
    /// The accounts of one step.
    type Outcome;

    /// Names that [`Plant::read`] answers.
    fn sensors(&self) -> &'static [&'static str];

    /// Names that [`Plant::command`] accepts.
    fn actuators(&self) -> &'static [&'static str];

    /// The present value of a sensor, in the unit its name ends with; `None` if unknown.
    fn read(&self, sensor: &str) -> Option<f64>;

    /// Sets an actuator, in the unit its name ends with.
    ///
    /// # Errors
    /// [`PlantError::UnknownActuator`] or [`PlantError::NotFinite`]; the old value stays.
    fn command(&mut self, actuator: &str, value: f64) -> Result<(), PlantError>;

    /// Moves time on by `dt_s` seconds.
    ///
    /// # Errors
    /// [`PlantError`] when an input is refused; the plant is then unchanged.
    fn advance(
        &mut self,
        disturbance: &Self::Disturbance,
        dt_s: f64,
    ) -> Result<Self::Outcome, PlantError>;
}

/// What the house does to the tank during one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TankDisturbance {
    /// Hot water taken from the top during the step, litres.
    pub draw_l: f64,
    /// Temperature of the cold water that replaces it, degrees Celsius.
    pub mains_c: f64,
    /// Temperature of the air around the tank, degrees Celsius.
    pub ambient_c: f64,
}

/// All inputs of one tank step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Length of the step, seconds, above zero. 60 or less keeps draw and heating interleaved.
    pub dt_s: f64,
    /// Hot water taken from the top during the step, litres.
    pub draw_l: f64,
    /// Temperature of the cold water that replaces it, degrees Celsius.
    pub mains_c: f64,
    /// Temperature of the air around the tank, degrees Celsius.
    pub ambient_c: f64,
    /// Thermostat setpoint of both elements, degrees Celsius.
    pub setpoint_c: f64,
}

/// The accounts of one tank step:
/// `element_energy_j = delivered_energy_j + standing_loss_j + stored_energy_change_j`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Electricity taken by the elements, joules; all of it becomes heat in the water.
    pub element_energy_j: f64,
    /// Heat that left with the drawn water, relative to mains temperature, joules.
    pub delivered_energy_j: f64,
    /// Heat lost through the jacket, joules; negative when the room is the warmer one.
    pub standing_loss_j: f64,
    /// Heat in the tank after the step minus before it, joules.
    pub stored_energy_change_j: f64,
    /// Mean temperature of the drawn water, degrees Celsius; `None` without a draw.
    pub outlet_temp_c: Option<f64>,
}

/// Why a plant refused a figure. Nothing has moved when one of these is returned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlantError {
    /// A number was NaN or infinite.
    #[error("{quantity} is not a finite number; check the caller's arithmetic")]
    NotFinite {
        /// Name of the quantity, with its unit.
        quantity: &'static str,
    },
    /// A number was outside the range in which the model means anything.
    #[error("{quantity} is {value}, outside {min} to {max}; give a figure in that range")]
    OutOfRange {
        /// Name of the quantity, with its unit.
        quantity: &'static str,
        /// What was given.
        value: f64,
        /// Smallest accepted value.
        min: f64,
        /// Largest accepted value.
        max: f64,
    },
    /// The plant has no such actuator.
    #[error("no actuator named {actuator:?}; `Plant::actuators` lists them")]
    UnknownActuator {
        /// The name that was asked for.
        actuator: String,
    },
}

/// Refuses a figure that is not finite or lies outside `min..=max`.
fn check_range(quantity: &'static str, value: f64, min: f64, max: f64) -> Result<(), PlantError> {
    if !value.is_finite() {
        return Err(PlantError::NotFinite { quantity });
    }
    if value < min || value > max {
        return Err(PlantError::OutOfRange { quantity, value, min, max });
    }
    Ok(())
}
