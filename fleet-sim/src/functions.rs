//! Params of the running example's two functions, as every part of the simulator publishes
//! them. What the functions do is in `modules/examples`.

use serde_json::{Value, json};

/// Of `water-heater-tou`: it heats in off-peak hours.
pub(crate) fn tou_params() -> Value {
    json!({"off_peak_start_hour": 23.0, "off_peak_end_hour": 7.0, "high_c": 60.0, "low_c": 45.0})
}

/// Of `water-heater-price`: it plans over 24 hours of prices.
pub(crate) fn price_params() -> Value {
    json!({"comfort_min_c": 42.0, "high_c": 65.0, "low_c": 40.0,
           "heat_c_per_hour": 6.0, "use_c_per_hour": 1.0})
}
