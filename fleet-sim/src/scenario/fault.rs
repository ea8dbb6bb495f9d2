//! Faults of a scenario: what breaks, on which device, from when to when.
//!
//! Owns the windows and what a broken sensor shows. Refuses to know who reads it. What is
//! random comes from the seed and the place in time alone, so every run has the same.

use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::{Value, ValueType, Values};
use serde::Deserialize;

use super::expression::unknown;
use super::site::Place;
use crate::world::mix;

const HOUR_MINUTES: f64 = 60.0;
const PRICE_FORECAST: &str = "price_forecast";
/// Uniform numbers whose sum is nearly normal, with a variance of one.
const UNIFORMS_PER_NORMAL: u64 = 12;

/// A `[[faults]]` entry of a scenario.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultFile {
    kind: FaultKind,
    /// The signal, for faults of a sensor.
    signal: Option<String>,
    /// Standard deviation of the noise, or the offset, in the signal's unit.
    amount: Option<f64>,
    /// Hours after the start.
    from_hour: f64,
    /// Hours after the start; not included.
    to_hour: f64,
    /// Only these devices, counted from 0; all unless given.
    devices: Option<Vec<u64>>,
    /// Only in these variants; in all unless given.
    variants: Option<Vec<String>>,
}

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FaultKind {
    /// The sensor goes on showing what it showed when the fault began.
    SensorFrozen,
    /// There is no reading.
    SensorMissing,
    /// Every reading is off by a random amount.
    SensorNoise,
    /// Every reading is off by the same amount.
    SensorOffset,
    /// No new forecast arrives.
    StalePrices,
    /// Every call of the function fails, as if it trapped.
    ModuleTrap,
    /// The agent is down, and actuators stay where they are; then it starts anew.
    AgentDown,
    /// The device has no power; then the agent starts anew.
    PowerCut,
}

/// A fault that is checked: minutes of the run, and the signal it is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    kind: FaultKind,
    signal: String,
    amount: f64,
    from_minute: u64,
    to_minute: u64,
    devices: Option<Vec<u64>>,
    variants: Option<Vec<String>>,
}

impl Fault {
    /// Checks an entry against the profile and the size of the fleet.
    ///
    /// # Errors
    /// One sentence that names the field.
    pub(super) fn of(
        file: &FaultFile,
        profile: &Profile,
        devices: u64,
        variants: &[String],
    ) -> Result<Fault, String> {
        let in_order = 0.0 <= file.from_hour && file.from_hour < file.to_hour;
        if !in_order || !file.to_hour.is_finite() {
            return Err("from_hour must be 0 or more, and to_hour later than it".into());
        }
        let of_sensor = matches!(
            file.kind,
            FaultKind::SensorFrozen
                | FaultKind::SensorMissing
                | FaultKind::SensorNoise
                | FaultKind::SensorOffset
        );
        let with_amount = matches!(file.kind, FaultKind::SensorNoise | FaultKind::SensorOffset);
        let signal = match (&file.signal, file.kind) {
            (None, FaultKind::StalePrices) => PRICE_FORECAST.to_owned(),
            (Some(signal), _) if of_sensor => signal.clone(),
            (None, _) if of_sensor => return Err("signal is missing: which sensor breaks?".into()),
            (Some(_), _) => return Err("signal is only for faults of a sensor".into()),
            (None, _) => String::new(),
        };
        if !signal.is_empty() {
            let of_profile = profile.signals.iter();
            let Some((_, sensor)) = of_profile.clone().find(|(name, _)| name.as_str() == signal)
            else {
                return Err(unknown("signal", &signal, of_profile.map(|(name, _)| name.as_str())));
            };
            if with_amount && sensor.value_type != ValueType::F64 {
                return Err(format!(
                    "signal {signal} is {}; noise and offset are for an f64",
                    sensor.value_type
                ));
            }
        }
        let amount = match file.amount {
            Some(amount) if with_amount && amount.is_finite() => amount,
            Some(_) => return Err("amount is a number for sensor_noise and sensor_offset".into()),
            None if with_amount => {
                return Err("amount is missing: by how much are readings off?".into());
            }
            None => 0.0,
        };
        for device in file.devices.iter().flatten() {
            if *device >= devices {
                return Err(format!("no device {device}; there are {devices}, counted from 0"));
            }
        }
        for variant in file.variants.iter().flatten() {
            if !variants.contains(variant) {
                return Err(unknown("variant", variant, variants.iter().map(String::as_str)));
            }
        }
        let minute = |hour: f64| (hour * HOUR_MINUTES).round() as u64;
        Ok(Fault {
            kind: file.kind,
            signal,
            amount,
            from_minute: minute(file.from_hour),
            to_minute: minute(file.to_hour),
            devices: file.devices.clone(),
            variants: file.variants.clone(),
        })
    }

    fn concerns(&self, device: u64, variant: &str) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.contains(&device))
            && self.variants.as_ref().is_none_or(|all| all.iter().any(|known| known == variant))
    }
}

/// What is broken on a device in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) sensors: bool,
    pub(super) traps: bool,
    pub(super) agent_down: bool,
    pub(super) power_cut: bool,
}

/// The faults of one device in one variant.
pub(super) struct Faults<'a> {
    faults: Vec<(usize, &'a Fault)>,
    /// What each fault's sensor showed when it froze.
    frozen: Vec<Option<Value>>,
    seed: u64,
    device: u64,
}

impl<'a> Faults<'a> {
    pub(super) fn of(all: &'a [Fault], place: &Place, variant: &str) -> Faults<'a> {
        let faults = all.iter().enumerate();
        let faults: Vec<_> =
            faults.filter(|(_, fault)| fault.concerns(place.device, variant)).collect();
        let frozen = vec![None; faults.len()];
        Faults { faults, frozen, seed: place.seed, device: place.device }
    }

    /// What is broken in this minute.
    #[inline]
    pub(super) fn at(&self, minute: u64) -> Broken {
        let mut broken = Broken::default();
        for (_, fault) in &self.faults {
            if !(fault.from_minute..fault.to_minute).contains(&minute) {
                continue;
            }
            match fault.kind {
                FaultKind::ModuleTrap => broken.traps = true,
                FaultKind::AgentDown => broken.agent_down = true,
                FaultKind::PowerCut => broken.power_cut = true,
                _ => broken.sensors = true,
            }
        }
        broken
    }

    /// What the sensors show in this minute, made of what is.
    pub(super) fn sensed(&mut self, minute: u64, readings: &Values) -> Values {
        let mut sensed = readings.clone();
        for ((number, fault), frozen) in self.faults.iter().zip(&mut self.frozen) {
            if !(fault.from_minute..fault.to_minute).contains(&minute) {
                continue;
            }
            match fault.kind {
                FaultKind::SensorMissing => drop(sensed.remove(&fault.signal)),
                FaultKind::SensorFrozen | FaultKind::StalePrices => {
                    if let Some(now) = sensed.get_mut(&fault.signal) {
                        *now = frozen.get_or_insert_with(|| now.clone()).clone();
                    }
                }
                FaultKind::SensorNoise | FaultKind::SensorOffset => {
                    let times = if fault.kind == FaultKind::SensorNoise {
                        let of_fault = mix(self.seed ^ mix(*number as u64));
                        normal(mix(of_fault ^ mix(self.device)) ^ minute)
                    } else {
                        1.0
                    };
                    if let Some(Value::Float(now)) = sensed.get_mut(&fault.signal) {
                        *now += fault.amount * times;
                    }
                }
                FaultKind::ModuleTrap | FaultKind::AgentDown | FaultKind::PowerCut => {}
            }
        }
        sensed
    }
}

/// A nearly normal number of mean 0 and variance 1: always the same for the same place. Sums
/// and products only, so that it has the same bits on every machine.
fn normal(place: u64) -> f64 {
    let uniform = |turn: u64| (mix(place.wrapping_mul(UNIFORMS_PER_NORMAL) + turn) >> 11) as f64;
    let sum: f64 = (0..UNIFORMS_PER_NORMAL).map(uniform).sum();
    sum / (1_u64 << 53) as f64 - UNIFORMS_PER_NORMAL as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_mean_zero_and_variance_one() {
        let all: Vec<f64> = (0..20_000).map(|place| normal(mix(7) ^ place)).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        assert_eq!(normal(5).to_bits(), normal(5).to_bits());
    }
}
