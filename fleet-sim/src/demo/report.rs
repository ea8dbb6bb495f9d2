//! What the demo measured, as JSON and for people, and the promises it is held to.

use serde::Serialize;
use std::collections::BTreeMap;

use crate::percentiles::nearest_ranks;

/// Percentiles of a time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p95: u64,
    pub max: u64,
}

impl Percentiles {
    /// The percentiles of these values; zeros of none.
    pub fn of(values: Vec<u64>) -> Percentiles {
        let [p50, p95, max] = nearest_ranks(values, [50, 95, 100]);
        Percentiles { p50, p95, max }
    }
}

/// Numbers of the active module and of the candidate.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ByRole<T> {
    pub active: T,
    pub candidate: T,
}

/// Numbers of the two functions that are compared.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ByFunction<T> {
    pub v1: T,
    pub v2: T,
}

/// Fuel per call.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Fuel {
    pub p50: u64,
    pub max: u64,
}

/// How long the tick loop was held up by swaps, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct SwapGap {
    pub p50: f64,
    pub max: f64,
}

/// What the shadow run showed.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct CandidateReport {
    /// Share of the comparisons that differed by more than the tolerance.
    pub mismatch_rate: f64,
    /// The mean absolute difference of the setpoint, in degrees Celsius.
    pub mean_abs_difference: f64,
    /// Share of the ticks at which the candidate was called.
    pub coverage: f64,
}

/// Everything that the demo measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DemoReport {
    /// Simulated devices.
    pub devices: u64,
    /// Devices in sync at the end.
    pub converged: u64,
    /// From handing a document to the broker to the device's word that it is in force.
    pub publish_to_applied_ms: Percentiles,
    /// Ticks at which an actuator got a value, by the plants' count.
    pub ticks: u64,
    /// Ticks at which it got none, by the plants' count or the agents', or got one
    /// after the profile's deadline.
    pub missed_ticks: u64,
    /// From asking an agent for a tick to the value at the actuator, by the plants' clock.
    pub tick_to_actuation_us: Percentiles,
    /// Calls that returned outputs.
    pub evaluations: ByRole<u64>,
    /// Fuel per completed call.
    pub fuel: ByRole<Fuel>,
    /// How long the tick loop was held up by swaps.
    pub swap_gap_us: SwapGap,
    /// Swaps between two ticks.
    pub swaps: u64,
    /// Outputs that were brought back inside the firmware's bounds.
    pub clamped_outputs: u64,
    /// Those of the function that asks for 95 degrees.
    pub clamped_outputs_of_hot: u64,
    /// Refusals by the devices, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Evaluations of modules that were never published.
    pub unverified_executions: u64,
    /// Batches of results that the cloud stores.
    pub records_stored: u64,
    /// Batches that agents made and the cloud does not store, and ticks that no
    /// stored summary accounts for.
    pub records_lost: u64,
    /// The highest setpoint that reached an actuator.
    pub max_actuated_setpoint_c: f64,
    /// The firmware's bound.
    pub firmware_max_setpoint_c: f64,
    /// Cost of electricity in closed-loop runs, in CAD, all devices.
    pub energy_cost: ByFunction<f64>,
    /// Electricity in the same runs, in kWh.
    pub energy_kwh: ByFunction<f64>,
    /// Minutes with a draw colder than comfortable in the same runs, all devices.
    pub comfort_violation_minutes: ByFunction<u64>,
    /// What the shadow run showed.
    pub candidate: CandidateReport,
    /// Simulated days.
    pub days: u64,
    /// The first simulated day.
    pub start: String,
    /// Where prices and draws come from.
    pub data: String,
    /// Wall-clock time of the whole demo, in seconds.
    pub wall_clock_s: f64,
}

/// Something that the demo must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// What was promised, with the figures.
    pub text: String,
    /// Whether it was kept.
    pub kept: bool,
}

impl DemoReport {
    /// The promises, in the order of the story.
    pub fn promises(&self) -> Vec<Promise> {
        let refused = |reason: &str| self.refused.get(reason).copied().unwrap_or(0);
        let promise = |kept: bool, text: String| Promise { text, kept };
        let (cost, cold) = (self.energy_cost, self.comfort_violation_minutes);
        vec![
            promise(
                self.converged == self.devices,
                format!("{} of {} devices are in sync", self.converged, self.devices),
            ),
            promise(
                self.missed_ticks == 0 && self.ticks == self.devices * self.days * 1440,
                format!("{} ticks, {} missed", self.ticks, self.missed_ticks),
            ),
            promise(
                self.unverified_executions == 0,
                format!("{} executions of unverified code", self.unverified_executions),
            ),
            promise(
                self.records_lost == 0 && self.records_stored > 0,
                format!(
                    "{} batches of results stored, {} lost",
                    self.records_stored, self.records_lost
                ),
            ),
            promise(
                refused("module_signature_invalid") >= self.devices
                    && refused("approval_missing") >= self.devices
                    && refused("threshold_not_met") >= self.devices
                    && refused("rollback") >= self.devices,
                format!(
                    "attacks refused: {} tampered modules, {} that nobody approved, {} unsigned \
                     documents, {} replays",
                    refused("module_signature_invalid"),
                    refused("approval_missing"),
                    refused("threshold_not_met"),
                    refused("rollback")
                ),
            ),
            promise(
                self.clamped_outputs_of_hot > 0
                    && self.max_actuated_setpoint_c <= self.firmware_max_setpoint_c,
                format!(
                    "asked for 95 C, clamped {} times: never above {:.1} C (firmware: {:.1} C)",
                    self.clamped_outputs_of_hot,
                    self.max_actuated_setpoint_c,
                    self.firmware_max_setpoint_c
                ),
            ),
            promise(
                cost.v2 < cost.v1 && cold.v2 <= cold.v1,
                format!(
                    "v2 costs {:.2} CAD, v1 {:.2} CAD; cold minutes {} and {}",
                    cost.v2, cost.v1, cold.v2, cold.v1
                ),
            ),
        ]
    }

    /// The summary for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for promise in self.promises() {
            let mark = if promise.kept { "yes" } else { "NO " };
            text.push_str(&format!("  {mark}  {}\n", promise.text));
        }
        text.push_str(&format!(
            "\n  publish to applied  p50 {} ms, p95 {} ms, max {} ms\n\
             \x20 tick to actuation   p50 {} us, p95 {} us, max {} us\n\
             \x20 swap                p50 {:.1} us, max {:.1} us between two ticks ({} swaps)\n\
             \x20 fuel per call       active p50 {}, candidate p50 {}\n\
             \x20 wall clock          {:.0} s for {} device-days\n",
            self.publish_to_applied_ms.p50,
            self.publish_to_applied_ms.p95,
            self.publish_to_applied_ms.max,
            self.tick_to_actuation_us.p50,
            self.tick_to_actuation_us.p95,
            self.tick_to_actuation_us.max,
            self.swap_gap_us.p50,
            self.swap_gap_us.max,
            self.swaps,
            self.fuel.active.p50,
            self.fuel.candidate.p50,
            self.wall_clock_s,
            self.devices * self.days,
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let of = Percentiles::of((1..=100).rev().collect());
        assert_eq!((of.p50, of.p95, of.max), (50, 95, 100));
        let none = Percentiles::of(vec![]);
        assert_eq!((none.p50, none.max), (0, 0));
    }

    #[test]
    fn a_report_of_nothing_keeps_no_promise_that_needs_evidence() {
        let kept = DemoReport { devices: 1, days: 1, ..DemoReport::default() }.promises();
        let broken = kept.iter().filter(|promise| !promise.kept).count();
        assert_eq!(broken, 6, "{kept:?}");
    }
}
