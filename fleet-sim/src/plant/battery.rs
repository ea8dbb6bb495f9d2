//! A home battery behind an inverter: charge, losses and limits in one step.
//!
//! Owns the state of charge and the energy accounts. Refuses to know prices, what the house
//! takes, and who chose the power.

use serde::Deserialize;

use super::{Plant, PlantError, check_range};

/// Charge in the battery as a fraction of its capacity, 0 to 1.
pub const STATE_OF_CHARGE: &str = "state_of_charge";
/// Power at the inverter's terminals, W: above zero charges, below zero discharges.
pub const BATTERY_W: &str = "battery_w";
const J_PER_KWH: f64 = 3.6e6;
const DAY_S: f64 = 86_400.0;
/// Longest accepted step, seconds: one day.
const STEP_S_MAX: f64 = DAY_S;

/// The label of a battery. The default is a common 13.5 kWh home battery.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatterySpec {
    /// Usable energy, kWh. Default 13.5.
    pub capacity_kwh: f64,
    /// Most power that it takes, W. Default 5000.
    pub charge_w_max: f64,
    /// Most power that it gives, W. Default 5000.
    pub discharge_w_max: f64,
    /// Energy out over energy in, from terminal to terminal, above 0 to 1. Default 0.90.
    pub round_trip_efficiency: f64,
    /// What it loses by itself in a day, as a fraction of its charge. Default 0.001.
    pub self_discharge_per_day: f64,
}

impl Default for BatterySpec {
    fn default() -> Self {
        Self {
            capacity_kwh: 13.5,
            charge_w_max: 5000.0,
            discharge_w_max: 5000.0,
            round_trip_efficiency: 0.90,
            self_discharge_per_day: 0.001,
        }
    }
}

impl BatterySpec {
    /// Refuses a label that describes no battery.
    fn check(&self) -> Result<(), PlantError> {
        check_range("capacity_kwh", self.capacity_kwh, 0.01, 10_000.0)?;
        check_range("charge_w_max", self.charge_w_max, 0.0, 1e7)?;
        check_range("discharge_w_max", self.discharge_w_max, 0.0, 1e7)?;
        check_range("round_trip_efficiency", self.round_trip_efficiency, 0.01, 1.0)?;
        check_range("self_discharge_per_day", self.self_discharge_per_day, 0.0, 0.5)
    }
}

/// The accounts of one battery step:
/// `terminal_energy_j = stored_energy_change_j + loss_j`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BatteryOutcome {
    /// Energy taken at the terminals, joules; below zero when energy was given.
    pub terminal_energy_j: f64,
    /// Charge after the step minus before it, joules.
    pub stored_energy_change_j: f64,
    /// Heat of inverter and cells, and self-discharge, joules.
    pub loss_j: f64,
}

/// A battery with its inverter.
#[derive(Debug, Clone, PartialEq)]
pub struct Battery {
    spec: BatterySpec,
    /// Energy kept of what goes in, and given of what goes out: the root of the round trip.
    one_way_efficiency: f64,
    capacity_j: f64,
    stored_j: f64,
    battery_w: f64,
}

impl Battery {
    /// A battery with this charge, 0 to 1, that neither takes nor gives.
    ///
    /// # Errors
    /// [`PlantError`] naming the figure that is impossible.
    pub fn new(spec: BatterySpec, state_of_charge: f64) -> Result<Self, PlantError> {
        spec.check()?;
        check_range(STATE_OF_CHARGE, state_of_charge, 0.0, 1.0)?;
        let capacity_j = spec.capacity_kwh * J_PER_KWH;
        Ok(Self {
            one_way_efficiency: spec.round_trip_efficiency.sqrt(),
            capacity_j,
            stored_j: capacity_j * state_of_charge,
            battery_w: 0.0,
            spec,
        })
    }

    /// Charge as a fraction of the capacity, 0 to 1.
    pub fn state_of_charge(&self) -> f64 {
        self.stored_j / self.capacity_j
    }

    /// What the terminals take in `dt_s`, joules: the command within the limits of the
    /// inverter and of what the cells can still take or give.
    fn terminal_energy_j(&self, dt_s: f64) -> f64 {
        let wanted_w = self.battery_w.clamp(-self.spec.discharge_w_max, self.spec.charge_w_max);
        let room_j = (self.capacity_j - self.stored_j) / self.one_way_efficiency;
        let charge_j = self.stored_j * self.one_way_efficiency;
        (wanted_w * dt_s).clamp(-charge_j, room_j)
    }
}

impl Plant for Battery {
    type Disturbance = ();
    type Outcome = BatteryOutcome;

    fn sensors(&self) -> &'static [&'static str] {
        &[STATE_OF_CHARGE]
    }

    fn actuators(&self) -> &'static [&'static str] {
        &[BATTERY_W]
    }

    fn read(&self, sensor: &str) -> Option<f64> {
        (sensor == STATE_OF_CHARGE).then(|| self.state_of_charge())
    }

    fn command(&mut self, actuator: &str, value: f64) -> Result<(), PlantError> {
        if actuator != BATTERY_W {
            return Err(PlantError::UnknownActuator { actuator: actuator.to_owned() });
        }
        check_range(BATTERY_W, value, -1e9, 1e9)?;
        self.battery_w = value;
        Ok(())
    }

    fn advance(&mut self, (): &(), dt_s: f64) -> Result<BatteryOutcome, PlantError> {
        check_range("dt_s", dt_s, 1e-3, STEP_S_MAX)?;
        let before_j = self.stored_j;
        let terminal_energy_j = self.terminal_energy_j(dt_s);
        let kept_j = if terminal_energy_j > 0.0 {
            terminal_energy_j * self.one_way_efficiency
        } else {
            terminal_energy_j / self.one_way_efficiency
        };
        let leaked_j = before_j * self.spec.self_discharge_per_day * dt_s / DAY_S;
        // Rounding must not lead out of the cells.
        self.stored_j = (before_j + kept_j - leaked_j).clamp(0.0, self.capacity_j);
        let stored_energy_change_j = self.stored_j - before_j;
        // The accounts of the two ways are summed apart, so that a test can hold them together.
        let loss_j = (terminal_energy_j - kept_j) + leaked_j;
        Ok(BatteryOutcome { terminal_energy_j, stored_energy_change_j, loss_j })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn battery(state_of_charge: f64) -> Battery {
        Battery::new(BatterySpec::default(), state_of_charge).unwrap()
    }

    #[test]
    fn every_step_closes_its_energy_balance() {
        let mut battery = battery(0.5);
        for minute in 0..10_000_u32 {
            battery.command(BATTERY_W, f64::from(minute % 97) * 150.0 - 7000.0).unwrap();
            let outcome = battery.advance(&(), 60.0).unwrap();
            let left = outcome.terminal_energy_j - outcome.stored_energy_change_j - outcome.loss_j;
            // Near empty the self-discharge of a step may be more than what is left.
            assert!(left.abs() < 50.0, "minute {minute}: {outcome:?}");
            assert!((0.0..=1.0).contains(&battery.state_of_charge()));
        }
    }

    #[test]
    fn a_round_trip_loses_what_the_label_says() {
        let spec = BatterySpec { self_discharge_per_day: 0.0, ..BatterySpec::default() };
        let mut battery = Battery::new(spec, 0.0).unwrap();
        let mut through = |power_w: f64| {
            battery.command(BATTERY_W, power_w).unwrap();
            (0..600).map(|_| battery.advance(&(), 60.0).unwrap().terminal_energy_j).sum::<f64>()
        };
        let (taken_j, given_j) = (through(5000.0), -through(-5000.0));
        assert!((given_j / taken_j - 0.90).abs() < 1e-9, "{given_j} of {taken_j}");
        assert!((given_j - 13.5 * J_PER_KWH * 0.90_f64.sqrt()).abs() < 1.0);
    }

    #[test]
    fn the_inverter_gives_no_more_than_its_label() {
        let mut battery = battery(0.5);
        battery.command(BATTERY_W, 20_000.0).unwrap();
        assert_eq!(battery.advance(&(), 60.0).unwrap().terminal_energy_j, 300_000.0);
        battery.command(BATTERY_W, -20_000.0).unwrap();
        assert_eq!(battery.advance(&(), 60.0).unwrap().terminal_energy_j, -300_000.0);
    }

    #[test]
    fn a_battery_at_rest_loses_only_its_self_discharge() {
        let mut battery = battery(1.0);
        for _ in 0..24 {
            battery.advance(&(), 3600.0).unwrap();
        }
        assert!((battery.state_of_charge() - 0.999).abs() < 1e-6);
    }

    #[test]
    fn impossible_figures_are_refused_by_name() {
        let spec = BatterySpec { capacity_kwh: 0.0, ..BatterySpec::default() };
        assert!(matches!(Battery::new(spec, 0.5), Err(PlantError::OutOfRange { .. })));
        let not_finite = PlantError::NotFinite { quantity: BATTERY_W };
        assert_eq!(battery(0.5).command(BATTERY_W, f64::NAN), Err(not_finite));
        assert!(matches!(
            battery(0.5).command("valve", 1.0),
            Err(PlantError::UnknownActuator { .. })
        ));
    }
}
