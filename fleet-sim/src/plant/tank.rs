//! The electric storage water heater: water, elements and firmware in one step.
//!
//! Owns the order of the processes within a step and the energy accounts. Refuses to know who
//! chose the setpoint and why water is drawn.

use super::firmware::{Element, Firmware};
use super::nodes::Nodes;
use super::spec::{TankSpec, WATER_J_PER_L_K};
use super::{
    Outcome, Plant, PlantError, SETPOINT_C, Step, TANK_LOW_TEMP_C, TANK_MEAN_TEMP_C, TANK_TEMP_C,
    TankDisturbance, check_range,
};

/// Draw and heating alternate at least this often, seconds.
const SLICE_S_MAX: f64 = 60.0;
/// The thermostat looks at its sensor at least this often, seconds. 4.5 kW warm one 16 L layer
/// by 1.4 K in this time, which bounds the overshoot.
const FIRMWARE_S_MAX: f64 = 20.0;
/// Longest accepted step, seconds: one day.
const STEP_S_MAX: f64 = 86_400.0;

/// A stratified electric storage water heater.
#[derive(Debug, Clone, PartialEq)]
pub struct Tank {
    spec: TankSpec,
    nodes: Nodes,
    firmware: Firmware,
    upper_node: usize,
    lower_node: usize,
    setpoint_c: f64,
    inner_step_s_max: f64,
}

impl Tank {
    /// A tank of one temperature, degrees Celsius, whose setpoint is that temperature.
    ///
    /// # Errors
    /// [`PlantError`] naming the figure of the label, or the temperature, that is impossible.
    pub fn new(spec: TankSpec, initial_c: f64) -> Result<Self, PlantError> {
        spec.check()?;
        check_range("initial_c", initial_c, 0.0, 100.0)?;
        let nodes = Nodes::new(&spec, initial_c);
        Ok(Self {
            upper_node: spec.node_at(spec.upper_height_fraction),
            lower_node: spec.node_at(spec.lower_height_fraction),
            inner_step_s_max: nodes.exchange_step_s_max().min(FIRMWARE_S_MAX),
            nodes,
            firmware: Firmware::default(),
            setpoint_c: initial_c,
            spec,
        })
    }

    /// Upper sensor, degrees Celsius: the one a user would call the tank's temperature.
    pub fn upper_temp_c(&self) -> f64 {
        self.nodes.temps_c()[self.upper_node]
    }

    /// Lower sensor, degrees Celsius: falls as soon as water is drawn.
    pub fn lower_temp_c(&self) -> f64 {
        self.nodes.temps_c()[self.lower_node]
    }

    /// Mean over the volume, degrees Celsius.
    pub fn mean_temp_c(&self) -> f64 {
        let temps_c = self.nodes.temps_c();
        temps_c.iter().sum::<f64>() / temps_c.len() as f64
    }

    /// Temperature of the top layer, degrees Celsius: what a tap would get now.
    pub fn outlet_temp_c(&self) -> f64 {
        self.nodes.temps_c().last().copied().unwrap_or_default()
    }

    /// Hottest layer, degrees Celsius.
    pub fn max_temp_c(&self) -> f64 {
        // Between steps no layer is warmer than the one above it.
        self.outlet_temp_c()
    }

    /// Layer temperatures, degrees Celsius, bottom first.
    pub fn node_temps_c(&self) -> &[f64] {
        self.nodes.temps_c()
    }

    /// Whether the limit switch is open.
    pub fn is_cut_out(&self) -> bool {
        self.firmware.is_cut_out()
    }

    /// Moves time on by one step with the given setpoint.
    ///
    /// # Errors
    /// [`PlantError`] naming the input that is not finite or out of range; nothing has moved.
    pub fn step(&mut self, step: &Step) -> Result<Outcome, PlantError> {
        check_range("dt_s", step.dt_s, 1e-3, STEP_S_MAX)?;
        check_range("draw_l", step.draw_l, 0.0, 100.0 * self.spec.volume_l)?;
        check_range("mains_c", step.mains_c, 0.0, 100.0)?;
        check_range("ambient_c", step.ambient_c, -60.0, 80.0)?;
        check_range("setpoint_c", step.setpoint_c, -100.0, 200.0)?;
        self.setpoint_c = step.setpoint_c;

        let before_j = self.nodes.energy_j();
        let mut outcome = Outcome::default();
        let slices = (step.dt_s / SLICE_S_MAX).ceil();
        for _ in 0..slices as u64 {
            self.slice(step, step.dt_s / slices, step.draw_l / slices, &mut outcome);
        }
        outcome.stored_energy_change_j = self.nodes.energy_j() - before_j;
        if step.draw_l > 0.0 {
            let rise_k = outcome.delivered_energy_j / (step.draw_l * WATER_J_PER_L_K);
            outcome.outlet_temp_c = Some(step.mains_c + rise_k);
        }
        Ok(outcome)
    }

    /// One slice: the draw first, then heating and losses in short inner steps.
    fn slice(&mut self, step: &Step, dt_s: f64, draw_l: f64, outcome: &mut Outcome) {
        if draw_l > 0.0 {
            outcome.delivered_energy_j += self.nodes.draw(draw_l, step.mains_c);
            self.nodes.mix_inversions();
        }
        let inner_steps = (dt_s / self.inner_step_s_max).ceil();
        let inner_s = dt_s / inner_steps;
        for _ in 0..inner_steps as u64 {
            outcome.element_energy_j += self.heat(inner_s);
            outcome.standing_loss_j += self.nodes.exchange(inner_s, step.ambient_c);
            self.nodes.mix_inversions();
        }
    }

    /// Lets the firmware choose an element and runs it. Returns the electricity used, joules.
    fn heat(&mut self, dt_s: f64) -> f64 {
        let (upper_c, lower_c) = (self.upper_temp_c(), self.lower_temp_c());
        let hottest_c = self.max_temp_c();
        let chosen = self.firmware.choose(&self.spec, self.setpoint_c, upper_c, lower_c, hottest_c);
        let (node, power_w) = match chosen {
            None => return 0.0,
            Some(Element::Upper) => (self.upper_node, self.spec.upper_element_w),
            Some(Element::Lower) => (self.lower_node, self.spec.lower_element_w),
        };
        self.nodes.heat(node, power_w * dt_s);
        power_w * dt_s
    }
}

impl Plant for Tank {
    type Disturbance = TankDisturbance;
    type Outcome = Outcome;

    fn sensors(&self) -> &'static [&'static str] {
        &[TANK_TEMP_C, TANK_LOW_TEMP_C, TANK_MEAN_TEMP_C]
    }

    fn actuators(&self) -> &'static [&'static str] {
        &[SETPOINT_C]
    }

    fn read(&self, sensor: &str) -> Option<f64> {
        match sensor {
            TANK_TEMP_C => Some(self.upper_temp_c()),
            TANK_LOW_TEMP_C => Some(self.lower_temp_c()),
            TANK_MEAN_TEMP_C => Some(self.mean_temp_c()),
            _ => None,
        }
    }

    fn command(&mut self, actuator: &str, value: f64) -> Result<(), PlantError> {
        if actuator != SETPOINT_C {
            return Err(PlantError::UnknownActuator { actuator: actuator.to_owned() });
        }
        check_range("setpoint_c", value, -100.0, 200.0)?;
        self.setpoint_c = value;
        Ok(())
    }

    fn advance(&mut self, disturbance: &TankDisturbance, dt_s: f64) -> Result<Outcome, PlantError> {
        self.step(&Step {
            dt_s,
            draw_l: disturbance.draw_l,
            mains_c: disturbance.mains_c,
            ambient_c: disturbance.ambient_c,
            setpoint_c: self.setpoint_c,
        })
    }
}

#[cfg(test)]
#[path = "tank_tests.rs"]
mod tests;
