//! The time-of-use rule: which setpoint an hour of the day gets.
//! Refuses to know WIT, memory or the device; compiled both into the component
//! and, as the native twin, into `gnomon-examples`.

/// What the rule reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inputs {
    /// Local hour of the day, 0 to 24, fractional.
    pub hour: f64,
}

/// The tunables of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// First off-peak hour of the day, 0 to 24; belongs to the window.
    pub off_peak_start_hour: f64,
    /// Hour at which off-peak ends, 0 to 24; does not belong to the window.
    pub off_peak_end_hour: f64,
    /// Setpoint in off-peak hours, degrees Celsius.
    pub high_c: f64,
    /// Setpoint in all other hours, degrees Celsius.
    pub low_c: f64,
}

/// The setpoint in degrees Celsius: `high_c` in the off-peak window, else `low_c`.
///
/// A window whose start is its end is empty; one whose end comes before its start
/// wraps midnight. An hour that is not a number is never off-peak.
#[must_use]
pub fn setpoint_c(inputs: &Inputs, params: &Params) -> f64 {
    if off_peak(inputs.hour, params.off_peak_start_hour, params.off_peak_end_hour) {
        params.high_c
    } else {
        params.low_c
    }
}

fn off_peak(hour: f64, start: f64, end: f64) -> bool {
    if start <= end { hour >= start && hour < end } else { hour >= start || hour < end }
}
