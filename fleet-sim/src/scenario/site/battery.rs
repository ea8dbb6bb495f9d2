//! A home battery beside a household, as a site.
//!
//! Owns the household's load, the meter and the quantities of the scenario's `battery` plant;
//! physics are in `crate::plant`. Refuses to know who sets the battery's power.

use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::Values;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::{DAY_STEPS, HOUR_MINUTES, J_PER_KWH, Place, Site, deviation, place_of_output};
use super::{put, put_list};
use crate::closed_loop::FORECAST_HOURS;
use crate::plant::{BATTERY_W, Battery, BatterySpec, Plant as _, PlantError, STATE_OF_CHARGE};
use crate::scenario::expression::unknown;
use crate::scenario::quantity::{Kind, Row};
use crate::world::DeviceVariation;

const MINUTE_S: f64 = 60.0;
/// What a house takes in each hour of the day as a share of its mean: low at night, a small peak
/// in the morning, a large one in the evening. Ours, in the shape of residential load profiles;
/// the mean is 1.
const HOURLY_SHARE: [f64; 24] = [
    0.65, 0.60, 0.55, 0.55, 0.55, 0.60, 0.80, 1.00, 1.00, 0.95, 0.90, 0.95, 1.00, 0.95, 0.95, 1.00,
    1.20, 1.50, 1.65, 1.60, 1.50, 1.35, 1.20, 1.00,
];

/// In the order in which [`House::step`] writes them.
pub(super) const QUANTITIES: &[Row] = &[
    ("state_of_charge", Kind::Reading, "charge as a fraction of the capacity"),
    ("house_w", Kind::Reading, "what the house takes without the battery"),
    ("terminal_w", Kind::Reading, "what the battery really takes, below zero gives"),
    ("grid_w", Kind::Reading, "power at the meter"),
    ("price_cad_per_kwh", Kind::Reading, "price of the hour"),
    ("energy_kwh", Kind::Account, "energy bought"),
    ("exported_kwh", Kind::Account, "energy given to the grid"),
    ("energy_cost", Kind::Account, "energy at the meter times the price of its hour, CAD"),
    ("charged_kwh", Kind::Account, "energy that went into the battery"),
    ("discharged_kwh", Kind::Account, "energy that came out of it"),
    ("loss_kwh", Kind::Account, "heat of inverter and cells, and self-discharge"),
    ("stored_change_kwh", Kind::Account, "charge at the end less that at the start"),
];

/// The `[plant]` of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::scenario) struct BatteryFile {
    /// Label of the battery.
    battery: BatterySpec,
    /// Charge at the start, 0 to 1.
    initial_state_of_charge: f64,
    /// What the house takes on average, W.
    house_mean_w: f64,
    /// Whether households differ in hours and in what they take.
    households_differ: bool,
    /// What energy that is given to the grid earns, as a share of the price.
    export_price_share: f64,
    /// By how much figures of the label differ from device to device, as fractions of them.
    spread: BTreeMap<String, f64>,
}

impl Default for BatteryFile {
    fn default() -> BatteryFile {
        BatteryFile {
            battery: BatterySpec::default(),
            initial_state_of_charge: 0.5,
            house_mean_w: 1000.0,
            households_differ: true,
            export_price_share: 0.0,
            spread: BTreeMap::new(),
        }
    }
}

/// A house with a battery behind its meter.
pub(super) struct House {
    battery: Battery,
    place: Place,
    variation: DeviceVariation,
    house_mean_w: f64,
    export_price_share: f64,
    output: usize,
    minute: u64,
    hour_read: Option<u64>,
}

impl House {
    pub(super) fn new(
        file: &BatteryFile,
        place: &Place,
        profile: &Profile,
    ) -> Result<Self, String> {
        let mut spec = file.battery.clone();
        for (salt, (name, share)) in (1..).zip(&file.spread) {
            *figure(&mut spec, name)? *= 1.0 + share * deviation(place, salt);
        }
        let variation = place.variation(file.households_differ);
        for (name, figure, max) in [
            ("house_mean_w", file.house_mean_w, 20_000.0),
            ("export_price_share", file.export_price_share, 1.0),
        ] {
            if !(0.0..=max).contains(&figure) {
                return Err(format!("{name} is {figure}; give a figure from 0 to {max}"));
            }
        }
        let battery = Battery::new(spec, file.initial_state_of_charge);
        Ok(House {
            battery: battery.map_err(|error| error.to_string())?,
            variation,
            house_mean_w: file.house_mean_w,
            export_price_share: file.export_price_share,
            output: place_of_output(profile, BATTERY_W)?,
            minute: place.start_hour * HOUR_MINUTES,
            place: place.clone(),
            hour_read: None,
        })
    }

    /// What the house takes in this minute, W: the day's curve, a straight line between hours.
    fn house_w(&self) -> f64 {
        let minute = self.minute + DAY_STEPS - self.variation.shift_minutes;
        let hour = (minute / HOUR_MINUTES) as usize % HOURLY_SHARE.len();
        let into_hour = (minute % HOUR_MINUTES) as f64 / HOUR_MINUTES as f64;
        let (now, next) = (HOURLY_SHARE[hour], HOURLY_SHARE[(hour + 1) % HOURLY_SHARE.len()]);
        self.house_mean_w * self.variation.scale * (now + (next - now) * into_hour)
    }
}

/// A figure of the label by its name.
fn figure<'a>(battery: &'a mut BatterySpec, name: &str) -> Result<&'a mut f64, String> {
    Ok(match name {
        "capacity_kwh" => &mut battery.capacity_kwh,
        "charge_w_max" => &mut battery.charge_w_max,
        "discharge_w_max" => &mut battery.discharge_w_max,
        "self_discharge_per_day" => &mut battery.self_discharge_per_day,
        _ => {
            let known =
                ["capacity_kwh", "charge_w_max", "discharge_w_max", "self_discharge_per_day"];
            return Err(unknown("figure to spread", name, known.into_iter()));
        }
    })
}

impl Site for House {
    fn read(&mut self, readings: &mut Values) {
        put(readings, STATE_OF_CHARGE, self.battery.state_of_charge());
        put(readings, "house_w", self.house_w());
        put(readings, "hour", (self.minute % DAY_STEPS) as f64 / HOUR_MINUTES as f64);
        let hour = self.minute / HOUR_MINUTES;
        if self.hour_read != Some(hour) {
            self.hour_read = Some(hour);
            let forecast = self.place.world.forecast(hour, FORECAST_HOURS);
            put_list(readings, "price_forecast", &forecast);
        }
    }

    fn step(
        &mut self,
        actuated: &[f64],
        powered: bool,
        quantities: &mut [f64],
    ) -> Result<(), PlantError> {
        let price_cad_per_kwh = self.place.world.price_cad_per_kwh(self.minute / HOUR_MINUTES);
        let house_w = if powered { self.house_w() } else { 0.0 };
        self.battery.command(BATTERY_W, if powered { actuated[self.output] } else { 0.0 })?;
        let outcome = self.battery.advance(&(), MINUTE_S)?;
        let terminal_kwh = outcome.terminal_energy_j / J_PER_KWH;
        let meter_kwh = house_w * MINUTE_S / J_PER_KWH + terminal_kwh;
        let (bought_kwh, exported_kwh) = (meter_kwh.max(0.0), (-meter_kwh).max(0.0));
        let paid_kwh = bought_kwh - exported_kwh * self.export_price_share;
        let row = [
            self.battery.state_of_charge(),
            house_w,
            outcome.terminal_energy_j / MINUTE_S,
            meter_kwh * J_PER_KWH / MINUTE_S,
            price_cad_per_kwh,
            bought_kwh,
            exported_kwh,
            paid_kwh * price_cad_per_kwh,
            terminal_kwh.max(0.0),
            (-terminal_kwh).max(0.0),
            outcome.loss_j / J_PER_KWH,
            outcome.stored_energy_change_j / J_PER_KWH,
        ];
        quantities[..row.len()].copy_from_slice(&row);
        self.minute += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_day_have_mean_one() {
        let mean = HOURLY_SHARE.iter().sum::<f64>() / 24.0;
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }
}
