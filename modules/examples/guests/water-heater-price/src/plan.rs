//! The price plan: in which of the coming hours to heat so that the tank stays
//! comfortable for the least money, of which only the current hour is acted on.
//! Refuses to know WIT, memory or the device; compiled both into the component
//! and, as the native twin, into `gnomon-examples`.
//!
//! Only `+ - *` and comparisons, no library call: the C version of this function
//! (`water-heater-price-c`) does the same operations in the same order, so that
//! their results are equal bit for bit. A change here is a change there.

/// The forecast is read this far; work is bounded by it.
pub const HORIZON_HOURS_MAX: usize = 24;

/// What the plan reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inputs<'a> {
    /// Upper sensor of the tank, degrees Celsius.
    pub tank_temp_c: f64,
    /// Lower sensor of the tank, degrees Celsius.
    pub tank_low_temp_c: f64,
    /// Local hour of the day, 0 to 24, fractional. The plan does not depend on it
    /// (the forecast starts with the current hour); it is there for the record.
    pub hour: f64,
    /// Hourly prices, CAD per kWh; the first is the current hour's. Any length.
    pub price_forecast: &'a [f64],
}

/// The tunables of the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// The predicted mean tank temperature should not fall below this.
    pub comfort_min_c: f64,
    /// Setpoint while heating; no plan predicts more than this.
    pub high_c: f64,
    /// Setpoint otherwise.
    pub low_c: f64,
    /// What one hour of heating adds to the mean tank temperature.
    pub heat_c_per_hour: f64,
    /// What one hour of use and loss takes from it.
    pub use_c_per_hour: f64,
}

/// One hour of the plan.
#[derive(Clone, Copy)]
struct Hour {
    price: f64,
    /// Predicted mean tank temperature at the end of the hour.
    temp_c: f64,
    chosen: bool,
}

/// The setpoint in degrees Celsius for the current hour: `high_c` if the plan
/// heats now or the upper sensor is below `comfort_min_c`, else `low_c`.
#[must_use]
pub fn setpoint_c(inputs: &Inputs<'_>, params: &Params) -> f64 {
    if inputs.tank_temp_c < params.comfort_min_c || heats_now(inputs, params) {
        params.high_c
    } else {
        params.low_c
    }
}

fn heats_now(inputs: &Inputs<'_>, params: &Params) -> bool {
    let mut hours = [Hour { price: 0.0, temp_c: 0.0, chosen: false }; HORIZON_HOURS_MAX];
    let count = inputs.price_forecast.len().min(HORIZON_HOURS_MAX);
    let Some(hours) = hours.get_mut(..count) else {
        return false;
    };
    predict_unheated(hours, inputs, params);
    for index in 0..count {
        choose_if_free(hours, index, params);
    }
    // Every round chooses one more hour, so there are at most as many as hours.
    while let Some(cold) = first_cold(hours, params.comfort_min_c) {
        let Some(cheapest) = cheapest_until(hours, cold, params) else {
            break;
        };
        choose(hours, cheapest, params);
    }
    hours.first().is_some_and(|hour| hour.chosen)
}

fn predict_unheated(hours: &mut [Hour], inputs: &Inputs<'_>, params: &Params) {
    let mut temp_c = (inputs.tank_temp_c + inputs.tank_low_temp_c) * 0.5;
    for (hour, price) in hours.iter_mut().zip(inputs.price_forecast) {
        temp_c -= params.use_c_per_hour;
        *hour = Hour { price: *price, temp_c, chosen: false };
    }
}

/// Heat that costs nothing is always taken, as far as the tank holds it.
fn choose_if_free(hours: &mut [Hour], index: usize, params: &Params) {
    if hours.get(index).is_some_and(|hour| hour.price <= 0.0) {
        choose(hours, index, params);
    }
}

fn first_cold(hours: &[Hour], comfort_min_c: f64) -> Option<usize> {
    hours.iter().position(|hour| hour.temp_c < comfort_min_c)
}

/// The cheapest hour up to `cold` that can still take heat, the earliest of equals.
/// An hour whose price is infinite or not a number is never chosen.
fn cheapest_until(hours: &[Hour], cold: usize, params: &Params) -> Option<usize> {
    let mut best = None;
    let mut best_price = f64::INFINITY;
    for (index, hour) in hours.iter().enumerate().take(cold + 1) {
        if !hour.chosen && hour.price < best_price && heat_c(hours, index, params) > 0.0 {
            best = Some(index);
            best_price = hour.price;
        }
    }
    best
}

/// Marks the hour and warms it and all later ones.
fn choose(hours: &mut [Hour], index: usize, params: &Params) {
    let heat_c = heat_c(hours, index, params);
    if let Some(hour) = hours.get_mut(index) {
        hour.chosen = true;
    }
    if heat_c > 0.0 {
        for hour in hours.iter_mut().skip(index) {
            hour.temp_c += heat_c;
        }
    }
}

/// What heating in this hour adds: a full hour's heat, or less so that neither it
/// nor a later hour is predicted above `high_c`. Zero or negative: nothing.
fn heat_c(hours: &[Hour], index: usize, params: &Params) -> f64 {
    let mut heat_c = params.heat_c_per_hour;
    for hour in hours.iter().skip(index) {
        let room_c = params.high_c - hour.temp_c;
        if room_c < heat_c {
            heat_c = room_c;
        }
    }
    heat_c
}
