//! Sites: a plant with its surroundings, as the function of a device meets it.
//!
//! Owns what all of them share: how readings are written, what a step is. A site is made of
//! a plant (`crate::plant`), the world around it and its accounts. Refuses to know functions,
//! faults and assertions.

mod battery;
mod heater;

use gnomon_schemas::ids::SignalName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::{Value, Values};
use serde::Deserialize;
use std::sync::Arc;

use super::quantity::Row;
use crate::plant::PlantError;
use crate::world::{DeviceVariation, World};

pub(super) use battery::BatteryFile;
pub(super) use heater::HeaterFile;

/// Minutes of a day: a step of a site is one minute.
pub(super) const DAY_STEPS: u64 = 1440;
const HOUR_MINUTES: u64 = 60;
const J_PER_KWH: f64 = 3.6e6;

/// A plant in its surroundings, minute by minute.
pub(super) trait Site: Send {
    /// Writes what the sensors show at the beginning of this minute.
    fn read(&mut self, readings: &mut Values);

    /// Lets one minute pass. `actuated` has a number for each output of the profile, in its
    /// order; the site has looked up its own. Without power nothing heats or charges.
    /// Writes the site's quantities, in the order of its table.
    ///
    /// # Errors
    /// [`PlantError`] when the plant cannot take a figure.
    fn step(
        &mut self,
        actuated: &[f64],
        powered: bool,
        quantities: &mut [f64],
    ) -> Result<(), PlantError>;
}

/// What stands at every site, and how the sites differ.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum PlantFile {
    /// An electric storage water heater in a household.
    WaterHeater(HeaterFile),
    /// A home battery beside a household.
    Battery(BatteryFile),
    /// Recorded evaluations instead of a plant.
    Replay(super::replay::ReplayFile),
}

/// Where a site is in time, and who it is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) world: Arc<World>,
    pub(super) start_hour: u64,
    pub(super) seed: u64,
    pub(super) device: u64,
}

impl Place {
    /// How this household differs from others, if they do.
    fn variation(&self, households_differ: bool) -> DeviceVariation {
        if households_differ {
            DeviceVariation::of((self.seed << 24).wrapping_add(self.device))
        } else {
            DeviceVariation::NONE
        }
    }
}

impl PlantFile {
    /// The quantities of such a site.
    pub(super) fn quantities(&self) -> &'static [Row] {
        match self {
            PlantFile::WaterHeater(_) => heater::QUANTITIES,
            PlantFile::Battery(_) => battery::QUANTITIES,
            PlantFile::Replay(_) => super::replay::QUANTITIES,
        }
    }

    /// The site of one device.
    ///
    /// # Errors
    /// What is wrong with a figure of the plant, or that the profile lacks its actuator.
    pub(super) fn site(&self, place: &Place, profile: &Profile) -> Result<Box<dyn Site>, String> {
        match self {
            PlantFile::WaterHeater(file) => {
                Ok(Box::new(heater::Heater::new(file, place, profile)?))
            }
            PlantFile::Battery(file) => Ok(Box::new(battery::House::new(file, place, profile)?)),
            PlantFile::Replay(_) => Err("recorded evaluations have no site".into()),
        }
    }
}

/// Place of an output in the profile.
fn place_of_output(profile: &Profile, name: &str) -> Result<usize, String> {
    profile.outputs.keys().position(|output| output.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = profile.outputs.keys().map(|output| output.as_str()).collect();
        format!(
            "the plant's actuator is `{name}`, and the profile `{}` has no such output, only {}; \
             take the profile that belongs to the plant",
            profile.name,
            known.join(", ")
        )
    })
}

/// Whether the device has a sensor for this.
fn has_signal(profile: &Profile, name: &str) -> bool {
    name.parse::<SignalName>().is_ok_and(|name| profile.signals.contains_key(&name))
}

/// Writes a number; a name costs an allocation only the first time.
#[inline]
fn put(readings: &mut Values, name: &str, number: f64) {
    match readings.get_mut(name) {
        Some(reading) => *reading = Value::Float(number),
        None => drop(readings.insert(name.to_owned(), Value::Float(number))),
    }
}

/// Writes a list of numbers in place.
fn put_list(readings: &mut Values, name: &str, numbers: &[f64]) {
    match readings.get_mut(name) {
        Some(Value::List(items)) if items.len() == numbers.len() => {
            for (item, number) in items.iter_mut().zip(numbers) {
                *item = Value::Float(*number);
            }
        }
        _ => drop(readings.insert(name.to_owned(), Value::from(numbers.to_vec()))),
    }
}

/// A number in -1..=1 that belongs to a device and a figure of it: always the same.
fn deviation(place: &Place, salt: u64) -> f64 {
    let mixed =
        crate::world::mix(crate::world::mix(place.seed ^ salt << 32).wrapping_add(place.device));
    (mixed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}
