//! One household with its heater and a controller, minute by minute.
//!
//! Owns the coupling of world and plant ([`House`]), the accounts of a run ([`LoopReport`]) and a
//! loop for controllers that are plain closures. Refuses to know how a controller decides and
//! how it reaches the device.

use std::sync::Arc;

use crate::plant::{Outcome, PlantError, Step, Tank, TankSpec};
use crate::world::{DeviceVariation, Draw, World};

/// Hours of prices a controller is shown.
pub const FORECAST_HOURS: usize = 24;
const MINUTE_S: f64 = 60.0;
const HOUR_MINUTES: u64 = 60;
const DAY_MINUTES: u64 = 1440;
const J_PER_KWH: f64 = 3.6e6;

/// What differs between runs of a house.
#[derive(Debug, Clone, PartialEq)]
pub struct HouseSpec {
    /// The heater.
    pub tank: TankSpec,
    /// Temperature of the whole tank at the start, degrees Celsius. Default 55.
    pub initial_c: f64,
    /// A draw whose outlet is colder than this is a comfort violation, degrees Celsius.
    /// Default 40.
    pub comfort_min_c: f64,
    /// Setting of the mixing valve at the tank, degrees Celsius: a hotter outlet is tempered
    /// with cold water, so less is drawn. Default 49, the Canadian limit at a fixture; `None`
    /// for a house without one.
    pub mixing_valve_c: Option<f64>,
    /// Whether the heater stands in the outdoor air, as in a garage, and not in the room of
    /// the draw pattern. Default no.
    pub outdoors: bool,
}

impl Default for HouseSpec {
    fn default() -> Self {
        Self {
            tank: TankSpec::default(),
            initial_c: 55.0,
            comfort_min_c: 40.0,
            mixing_valve_c: Some(49.0),
            outdoors: false,
        }
    }
}

/// A household: its heater, its habits and its place in time.
#[derive(Debug, Clone)]
pub struct House {
    plant: Tank,
    world: Arc<World>,
    variation: DeviceVariation,
    comfort_min_c: f64,
    mixing_valve_c: Option<f64>,
    outdoors: bool,
    /// Minutes since the first hour of the world.
    minute: u64,
    forecast_cad_per_kwh: Vec<f64>,
}

/// What a controller sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TickInputs<'a> {
    /// Upper sensor, degrees Celsius.
    pub tank_temp_c: f64,
    /// Lower sensor, degrees Celsius.
    pub tank_low_temp_c: f64,
    /// Hour of the day, 0 to 23, Eastern Standard Time.
    pub hour: u32,
    /// Prices of the next [`FORECAST_HOURS`] hours, CAD/kWh; the first is the current hour's.
    pub price_forecast: &'a [f64],
}

/// What one minute brought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinuteReport {
    /// Minutes since the first hour of the world.
    pub minute: u64,
    /// The setpoint that was in force, degrees Celsius.
    pub setpoint_c: f64,
    /// Price of the hour, CAD/kWh.
    pub price_cad_per_kwh: f64,
    /// Electricity of this minute, kWh, times the price: CAD.
    pub cost_cad: f64,
    /// Whether hot water was wanted and came colder than comfortable.
    pub comfort_violation: bool,
    /// Hottest layer of the tank after the minute, degrees Celsius.
    pub max_tank_temp_c: f64,
    /// Energy accounts of the tank.
    pub outcome: Outcome,
}

impl House {
    /// A house whose first minute is the first of `start_hour`.
    ///
    /// # Errors
    /// [`PlantError`] naming the figure of the tank, the start or the valve that is impossible.
    pub fn new(
        spec: &HouseSpec,
        world: Arc<World>,
        variation: DeviceVariation,
        start_hour: u64,
    ) -> Result<Self, PlantError> {
        Ok(Self {
            plant: Tank::new(spec.tank.clone(), spec.initial_c)?,
            forecast_cad_per_kwh: world.forecast(start_hour, FORECAST_HOURS),
            world,
            variation,
            comfort_min_c: spec.comfort_min_c,
            mixing_valve_c: spec.mixing_valve_c,
            outdoors: spec.outdoors,
            minute: start_hour * HOUR_MINUTES,
        })
    }

    /// What a controller sees at the beginning of this minute.
    pub fn inputs(&self) -> TickInputs<'_> {
        TickInputs {
            tank_temp_c: self.plant.upper_temp_c(),
            tank_low_temp_c: self.plant.lower_temp_c(),
            hour: (self.minute % DAY_MINUTES / HOUR_MINUTES) as u32,
            price_forecast: &self.forecast_cad_per_kwh,
        }
    }

    /// Lets one minute pass with this setpoint, degrees Celsius.
    ///
    /// # Errors
    /// [`PlantError`] when the setpoint is not finite or absurd; no time has passed then.
    pub fn apply(&mut self, setpoint_c: f64) -> Result<MinuteReport, PlantError> {
        let draw = self.world.draw(self.variation, self.minute);
        let outcome = self.plant.step(&Step {
            dt_s: MINUTE_S,
            draw_l: self.tempered_l(&draw),
            mains_c: draw.mains_c,
            ambient_c: if self.outdoors { self.outdoor_c() } else { draw.ambient_c },
            setpoint_c,
        })?;
        let price = self.forecast_cad_per_kwh[0];
        let report = MinuteReport {
            minute: self.minute,
            setpoint_c,
            price_cad_per_kwh: price,
            cost_cad: outcome.element_energy_j / J_PER_KWH * price,
            comfort_violation: outcome
                .outlet_temp_c
                .is_some_and(|outlet_c| outlet_c < self.comfort_min_c),
            max_tank_temp_c: self.plant.max_temp_c(),
            outcome,
        };
        self.minute += 1;
        if self.minute.is_multiple_of(HOUR_MINUTES) {
            let hour_index = self.minute / HOUR_MINUTES;
            self.forecast_cad_per_kwh = self.world.forecast(hour_index, FORECAST_HOURS);
        }
        Ok(report)
    }

    /// The heater.
    pub fn plant(&self) -> &Tank {
        &self.plant
    }

    /// Minutes since the first hour of the world.
    pub fn minute(&self) -> u64 {
        self.minute
    }

    /// Outdoor temperature of this hour, degrees Celsius.
    pub fn outdoor_c(&self) -> f64 {
        self.world.outdoor_c(self.minute / HOUR_MINUTES)
    }

    /// Litres that leave the tank for a draw at the tap. The tap wants a volume at the valve's
    /// temperature; from a hotter tank it takes the volume with the same heat.
    fn tempered_l(&self, draw: &Draw) -> f64 {
        let outlet_c = self.plant.outlet_temp_c();
        match self.mixing_valve_c {
            Some(valve_c) if outlet_c > valve_c && valve_c > draw.mains_c => {
                draw.litres * (valve_c - draw.mains_c) / (outlet_c - draw.mains_c)
            }
            _ => draw.litres,
        }
    }
}

/// The accounts of a run, or of several merged runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoopReport {
    /// Electricity, kWh.
    pub energy_kwh: f64,
    /// Electricity times the price of its hour, CAD. Negative prices count as they are.
    pub energy_cost_cad: f64,
    /// Heat in the drawn water, relative to mains, kWh.
    pub delivered_kwh: f64,
    /// Heat lost to the room, kWh.
    pub standing_loss_kwh: f64,
    /// Heat in the tank at the end minus at the start, kWh.
    pub stored_change_kwh: f64,
    /// Minutes with a draw, whatever its temperature.
    pub draw_minutes: u64,
    /// Minutes with a draw that came colder than `comfort_min_c`.
    pub comfort_violation_minutes: u64,
    /// Hottest layer at any time, degrees Celsius; 0 before the first tick.
    pub max_tank_temp_c: f64,
    /// Highest setpoint at any time, degrees Celsius; 0 before the first tick.
    pub max_setpoint_c: f64,
    /// Minutes simulated.
    pub ticks: u64,
}

impl LoopReport {
    /// Adds one minute.
    pub fn add(&mut self, minute: &MinuteReport) {
        let outcome = &minute.outcome;
        self.merge(&Self {
            energy_kwh: outcome.element_energy_j / J_PER_KWH,
            energy_cost_cad: minute.cost_cad,
            delivered_kwh: outcome.delivered_energy_j / J_PER_KWH,
            standing_loss_kwh: outcome.standing_loss_j / J_PER_KWH,
            stored_change_kwh: outcome.stored_energy_change_j / J_PER_KWH,
            draw_minutes: u64::from(outcome.outlet_temp_c.is_some()),
            comfort_violation_minutes: u64::from(minute.comfort_violation),
            max_tank_temp_c: minute.max_tank_temp_c,
            max_setpoint_c: minute.setpoint_c,
            ticks: 1,
        });
    }

    /// Adds another run: sums of energies, costs and minutes, the larger of each maximum.
    pub fn merge(&mut self, other: &Self) {
        self.energy_kwh += other.energy_kwh;
        self.energy_cost_cad += other.energy_cost_cad;
        self.delivered_kwh += other.delivered_kwh;
        self.standing_loss_kwh += other.standing_loss_kwh;
        self.stored_change_kwh += other.stored_change_kwh;
        self.draw_minutes += other.draw_minutes;
        self.comfort_violation_minutes += other.comfort_violation_minutes;
        self.max_tank_temp_c = self.max_tank_temp_c.max(other.max_tank_temp_c);
        self.max_setpoint_c = self.max_setpoint_c.max(other.max_setpoint_c);
        self.ticks += other.ticks;
    }
}

/// Runs a house for `days` days; the controller gives a setpoint, degrees Celsius, every minute.
///
/// # Errors
/// [`PlantError`] for the first setpoint that is refused.
pub fn run(
    house: &mut House,
    days: u32,
    mut controller: impl FnMut(&TickInputs<'_>) -> f64,
) -> Result<LoopReport, PlantError> {
    let mut report = LoopReport::default();
    for _ in 0..u64::from(days) * DAY_MINUTES {
        let setpoint_c = controller(&house.inputs());
        report.add(&house.apply(setpoint_c)?);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house(device_index: u64) -> House {
        let world = Arc::new(World::built_in());
        let variation = DeviceVariation::of(device_index);
        House::new(&HouseSpec::default(), world, variation, 24).unwrap()
    }

    /// A setpoint that follows the price, so that a run visits most states.
    fn bargain_hunter(inputs: &TickInputs<'_>) -> f64 {
        if inputs.price_forecast[0] < 0.012 { 65.0 } else { 48.0 }
    }

    #[test]
    fn a_week_of_the_draw_pattern_closes_its_balance() {
        let report = run(&mut house(3), 7, bargain_hunter).unwrap();
        let spent_kwh = report.delivered_kwh + report.standing_loss_kwh + report.stored_change_kwh;
        assert!((report.energy_kwh / spent_kwh - 1.0).abs() < 1e-9);
        assert_eq!(report.ticks, 7 * 1440);
        assert_eq!(report.max_setpoint_c, 65.0);
        assert!(report.energy_kwh > 7.0 * 8.0 && report.energy_kwh < 7.0 * 16.0);
    }

    #[test]
    fn the_loop_is_the_sum_of_the_ticks() {
        let by_loop = run(&mut house(5), 2, bargain_hunter).unwrap();
        let mut house = house(5);
        let mut by_tick = LoopReport::default();
        for _ in 0..2 * 1440 {
            let setpoint_c = bargain_hunter(&house.inputs());
            by_tick.add(&house.apply(setpoint_c).unwrap());
        }
        assert_eq!(by_loop, by_tick);
        assert_eq!(house.minute(), 3 * 1440);
    }

    #[test]
    fn a_cold_tank_is_a_comfort_violation() {
        let report = run(&mut house(1), 3, |_| 10.0).unwrap();
        assert!(report.comfort_violation_minutes > 0);
        assert!(report.comfort_violation_minutes < report.draw_minutes);
        assert_eq!(report.energy_cost_cad, 0.0);
    }

    #[test]
    fn the_mixing_valve_serves_the_same_heat_from_a_hotter_tank() {
        let delivered_kwh = |setpoint_c: f64, mixing_valve_c| {
            let spec = HouseSpec { initial_c: setpoint_c, mixing_valve_c, ..HouseSpec::default() };
            let world = Arc::new(World::built_in());
            let mut house = House::new(&spec, world, DeviceVariation::NONE, 0).unwrap();
            run(&mut house, 2, |_| setpoint_c).unwrap().delivered_kwh
        };
        let (mild, hot) = (delivered_kwh(60.0, Some(49.0)), delivered_kwh(70.0, Some(49.0)));
        assert!((hot / mild - 1.0).abs() < 0.01, "{mild} {hot}");
        assert!(delivered_kwh(70.0, None) > 1.1 * delivered_kwh(60.0, None));
    }

    #[test]
    fn hours_and_prices_move_together() {
        let mut house = house(0);
        assert_eq!(house.inputs().hour, 0);
        for _ in 0..61 {
            house.apply(50.0).unwrap();
        }
        assert_eq!(house.inputs().hour, 1);
        let expected = World::built_in().forecast(25, FORECAST_HOURS);
        assert_eq!(house.inputs().price_forecast, expected);
    }

    #[test]
    fn a_setpoint_that_is_no_number_stops_the_run() {
        let mut house = house(0);
        let refused = run(&mut house, 1, |_| f64::NAN).unwrap_err();
        assert_eq!(refused.to_string().split(' ').next(), Some("setpoint_c"));
        assert_eq!(house.minute(), 1440);
    }
}
