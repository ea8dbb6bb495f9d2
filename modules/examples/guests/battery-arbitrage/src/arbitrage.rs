//! The arbitrage rule: charge in cheap hours, serve the house in dear ones, if the
//! difference pays for the losses. Refuses to know WIT, memory or the device.

/// What the rule reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inputs<'a> {
    /// Charge as a fraction of the capacity, 0 to 1.
    pub state_of_charge: f64,
    /// What the house takes without the battery, W.
    pub house_w: f64,
    /// Hourly prices, CAD per kWh; the first is the current hour's. Any length.
    pub price_forecast: &'a [f64],
}

/// The tunables of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Power while charging, W.
    pub charge_w: f64,
    /// Most power while discharging, W.
    pub discharge_w: f64,
    /// In so many of the coming hours it may charge.
    pub charge_hours: f64,
    /// In so many of the coming hours it may discharge.
    pub discharge_hours: f64,
    /// Charge that is kept for an outage, 0 to 1.
    pub reserve: f64,
    /// Energy out over energy in; a smaller gain than this loss is left alone.
    pub round_trip_efficiency: f64,
}

/// Power at the battery's terminals, W: above zero charges, below zero discharges.
#[must_use]
pub fn battery_w(inputs: &Inputs<'_>, params: &Params) -> f64 {
    let Some(&now) = inputs.price_forecast.first() else {
        return 0.0;
    };
    let (mut cheaper, mut dearer) = (0.0, 0.0);
    let (mut lowest, mut highest) = (now, now);
    for &price in inputs.price_forecast {
        if price < now {
            cheaper += 1.0;
            if price < lowest {
                lowest = price;
            }
        } else if price > now {
            dearer += 1.0;
            if price > highest {
                highest = price;
            }
        }
    }
    let pays = |bought: f64, sold: f64| sold * params.round_trip_efficiency > bought;
    if cheaper < params.charge_hours && pays(now, highest) && inputs.state_of_charge < 1.0 {
        params.charge_w
    } else if dearer < params.discharge_hours
        && pays(lowest, now)
        && inputs.state_of_charge > params.reserve
    {
        // What the house does not take would go to the grid, which pays little or nothing.
        if inputs.house_w < params.discharge_w { -inputs.house_w } else { -params.discharge_w }
    } else {
        0.0
    }
}
