//! A water heater in a household, as a site.
//!
//! Owns the quantities and the parameters of the scenario's `water-heater` plant; physics and
//! habits are in `crate::plant` and `crate::closed_loop`. Refuses to know who sets the setpoint.

use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::Values;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::{DAY_STEPS, place_of_output};
use super::{HOUR_MINUTES, J_PER_KWH, Place, Site, deviation, has_signal, put, put_list};
use crate::closed_loop::{House, HouseSpec};
use crate::plant::{PlantError, SETPOINT_C, TANK_LOW_TEMP_C, TANK_TEMP_C, TankSpec};
use crate::scenario::expression::unknown;
use crate::scenario::quantity::{Kind, Row};

const OUTDOOR_TEMP_C: &str = "outdoor_temp_c";
/// A thermostat with this setpoint never closes: what a heater without power does.
const UNPOWERED_C: f64 = -100.0;

/// In the order in which [`Heater::step`] writes them.
pub(super) const QUANTITIES: &[Row] = &[
    ("tank_temp_c", Kind::Reading, "upper sensor, as it is and not as a fault shows it"),
    ("tank_low_temp_c", Kind::Reading, "lower sensor, likewise"),
    ("tank_mean_temp_c", Kind::Reading, "mean of the tank"),
    ("max_tank_temp_c", Kind::Reading, "hottest layer"),
    ("outlet_temp_c", Kind::Reading, "drawn water, at minutes with a draw"),
    ("outdoor_temp_c", Kind::Reading, "outdoor air"),
    ("price_cad_per_kwh", Kind::Reading, "price of the hour"),
    ("energy_kwh", Kind::Account, "electricity"),
    ("energy_cost", Kind::Account, "electricity times the price of its hour, CAD"),
    ("delivered_kwh", Kind::Account, "heat in drawn water, relative to mains"),
    ("standing_loss_kwh", Kind::Account, "heat lost to the room"),
    ("stored_change_kwh", Kind::Account, "heat in the tank at the end less that at the start"),
    ("draw_minutes", Kind::Account, "minutes with a draw"),
    ("comfort_violation_minutes", Kind::Account, "minutes with a draw below comfort_min_c"),
];

/// The `[plant]` of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::scenario) struct HeaterFile {
    /// Label of the tank.
    tank: TankSpec,
    /// Temperature of the tank at the start, degrees Celsius.
    initial_c: f64,
    /// A draw that comes colder is a comfort violation, degrees Celsius.
    comfort_min_c: f64,
    /// Setting of the mixing valve, degrees Celsius; 0 for a house without one.
    mixing_valve_c: f64,
    /// Whether the heater stands in the outdoor air.
    outdoors: bool,
    /// Whether households differ in hours and volumes.
    households_differ: bool,
    /// By how much figures of the label differ from device to device, as fractions of them.
    spread: BTreeMap<String, f64>,
}

impl Default for HeaterFile {
    fn default() -> HeaterFile {
        let house = HouseSpec::default();
        HeaterFile {
            tank: house.tank,
            initial_c: house.initial_c,
            comfort_min_c: house.comfort_min_c,
            mixing_valve_c: house.mixing_valve_c.unwrap_or(0.0),
            outdoors: house.outdoors,
            households_differ: true,
            spread: BTreeMap::new(),
        }
    }
}

/// A house with its heater.
pub(super) struct Heater {
    house: House,
    setpoint: usize,
    senses_outdoors: bool,
    /// The hour whose prices stand in the readings.
    hour_read: Option<u64>,
}

impl Heater {
    pub(super) fn new(file: &HeaterFile, place: &Place, profile: &Profile) -> Result<Self, String> {
        let mut tank = file.tank.clone();
        for (salt, (name, share)) in (1..).zip(&file.spread) {
            *figure(&mut tank, name)? *= 1.0 + share * deviation(place, salt);
        }
        let spec = HouseSpec {
            tank,
            initial_c: file.initial_c,
            comfort_min_c: file.comfort_min_c,
            mixing_valve_c: (file.mixing_valve_c > 0.0).then_some(file.mixing_valve_c),
            outdoors: file.outdoors,
        };
        let variation = place.variation(file.households_differ);
        let house = House::new(&spec, place.world.clone(), variation, place.start_hour);
        Ok(Heater {
            house: house.map_err(|error| error.to_string())?,
            setpoint: place_of_output(profile, SETPOINT_C)?,
            senses_outdoors: has_signal(profile, OUTDOOR_TEMP_C),
            hour_read: None,
        })
    }
}

/// A figure of the label by its name.
fn figure<'a>(tank: &'a mut TankSpec, name: &str) -> Result<&'a mut f64, String> {
    Ok(match name {
        "volume_l" => &mut tank.volume_l,
        "height_m" => &mut tank.height_m,
        "loss_w_per_k" => &mut tank.loss_w_per_k,
        "lower_element_w" => &mut tank.lower_element_w,
        "upper_element_w" => &mut tank.upper_element_w,
        "deadband_k" => &mut tank.deadband_k,
        _ => {
            let known = [
                "volume_l",
                "height_m",
                "loss_w_per_k",
                "lower_element_w",
                "upper_element_w",
                "deadband_k",
            ];
            return Err(unknown("figure to spread", name, known.into_iter()));
        }
    })
}

impl Site for Heater {
    fn read(&mut self, readings: &mut Values) {
        let minute = self.house.minute();
        let inputs = self.house.inputs();
        put(readings, TANK_TEMP_C, inputs.tank_temp_c);
        put(readings, TANK_LOW_TEMP_C, inputs.tank_low_temp_c);
        put(readings, "hour", (minute % DAY_STEPS) as f64 / HOUR_MINUTES as f64);
        let hour = minute / HOUR_MINUTES;
        if self.hour_read != Some(hour) {
            self.hour_read = Some(hour);
            put_list(readings, "price_forecast", inputs.price_forecast);
            if self.senses_outdoors {
                put(readings, OUTDOOR_TEMP_C, self.house.outdoor_c());
            }
        }
    }

    fn step(
        &mut self,
        actuated: &[f64],
        powered: bool,
        quantities: &mut [f64],
    ) -> Result<(), PlantError> {
        let setpoint_c = if powered { actuated[self.setpoint] } else { UNPOWERED_C };
        let outdoor_c = self.house.outdoor_c();
        let minute = self.house.apply(setpoint_c)?;
        let (tank, outcome) = (self.house.plant(), &minute.outcome);
        let row = [
            tank.upper_temp_c(),
            tank.lower_temp_c(),
            tank.mean_temp_c(),
            minute.max_tank_temp_c,
            outcome.outlet_temp_c.unwrap_or(f64::NAN),
            outdoor_c,
            minute.price_cad_per_kwh,
            outcome.element_energy_j / J_PER_KWH,
            minute.cost_cad,
            outcome.delivered_energy_j / J_PER_KWH,
            outcome.standing_loss_j / J_PER_KWH,
            outcome.stored_energy_change_j / J_PER_KWH,
            f64::from(u8::from(outcome.outlet_temp_c.is_some())),
            f64::from(u8::from(minute.comfort_violation)),
        ];
        quantities[..row.len()].copy_from_slice(&row);
        Ok(())
    }
}
