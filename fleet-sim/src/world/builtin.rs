//! Tables for a world without data files.
//!
//! Owns a few public figures and how they are spread over days. They resemble Ontario; they are
//! not its history. Refuses to know files.

use super::calendar::Day;
use super::draws::{DAY_MINUTES, Draw, DrawTable};
use super::prices::PriceTable;

/// Mean Hourly Ontario Energy Price of 2016 by hour of day, CAD/MWh, rounded to whole dollars.
/// Source: IESO public data; the mean is ours.
const MEAN_PRICE_CAD_PER_MWH: [f64; 24] = [
    8.0, 6.0, 5.0, 4.0, 5.0, 7.0, 11.0, 14.0, 17.0, 18.0, 16.0, 15.0, 15.0, 14.0, 17.0, 19.0, 24.0,
    25.0, 26.0, 29.0, 24.0, 17.0, 13.0, 10.0,
];
/// The means are multiplied by these in turn, one per day. Ours; their mean is 1. Days of 2016
/// differ more than this.
const DAY_FACTOR: [f64; 7] = [1.0, 1.3, 0.7, 1.6, 0.9, 0.5, 1.0];
/// Every so many days there is more wind and water power than the night needs ...
const SURPLUS_EVERY_DAYS: usize = 5;
/// ... and all prices of that day are lower by this, CAD/MWh. Nights then turn negative, as in
/// an eighth of the hours of 2016.
const SURPLUS_CAD_PER_MWH: f64 = 9.0;
/// The table begins on 1 January of this year ...
const FIRST_YEAR: u32 = 2016;
/// ... and has this many days.
const DAYS: usize = 365;

/// Mains and room temperature, degrees Celsius: those of the draw file we use (NREL OCHRE).
const MAINS_C: f64 = 7.0;
const AMBIENT_C: f64 = 20.0;

/// The medium-use draw pattern of the US Department of Energy, 10 CFR 430 subpart B appendix E:
/// minute after the start, gallons, gallons per minute. 55 gallons a day in twelve draws.
const MEDIUM_DRAWS: [(usize, f64, f64); 12] = [
    (0, 15.0, 1.7),
    (30, 2.0, 1.0),
    (100, 9.0, 1.7),
    (630, 9.0, 1.7),
    (690, 5.0, 1.7),
    (720, 1.0, 1.0),
    (765, 1.0, 1.0),
    (770, 1.0, 1.0),
    (960, 1.0, 1.0),
    (975, 2.0, 1.0),
    (1005, 2.0, 1.7),
    (1020, 7.0, 1.7),
];
const LITRES_PER_GALLON: f64 = 3.785_411_784;

/// 365 days of prices.
pub(super) fn prices() -> PriceTable {
    let days: Vec<[f64; 24]> = (0..DAYS)
        .map(|day| {
            let factor = DAY_FACTOR[day % DAY_FACTOR.len()];
            let surplus = if day % SURPLUS_EVERY_DAYS == 0 { SURPLUS_CAD_PER_MWH } else { 0.0 };
            MEAN_PRICE_CAD_PER_MWH.map(|mean| (mean * factor - surplus) / 1000.0)
        })
        .collect();
    PriceTable::from_days(Day::first_of_year(FIRST_YEAR), &days)
}

/// One day of draws; each is spread evenly over the minutes it needs at its flow rate.
pub(super) fn draws() -> DrawTable {
    let idle = Draw { litres: 0.0, mains_c: MAINS_C, ambient_c: AMBIENT_C };
    let mut minutes = vec![idle; DAY_MINUTES];
    for (start, gallons, gallons_per_minute) in MEDIUM_DRAWS {
        let duration = (gallons / gallons_per_minute).ceil();
        for minute in &mut minutes[start..start + duration as usize] {
            minute.litres += gallons * LITRES_PER_GALLON / duration;
        }
    }
    DrawTable::pattern(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::DeviceVariation;

    #[test]
    fn draws_add_up_to_55_gallons_a_day() {
        let table = draws();
        let litres: f64 =
            (0..1440).map(|minute| table.at(DeviceVariation::NONE, minute).litres).sum();
        assert!((litres - 55.0 * LITRES_PER_GALLON).abs() < 1e-9);
    }

    #[test]
    fn prices_have_the_mean_and_the_negative_nights_of_ontario() {
        let table = prices();
        assert_eq!(table.hours(), 365 * 24);
        let all: Vec<f64> = (0..table.hours()).map(|hour| table.at(hour)).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!((0.010..0.018).contains(&mean), "{mean}");
        let negative = all.iter().filter(|price| **price < 0.0).count() as f64;
        assert!((0.05..0.20).contains(&(negative / all.len() as f64)));
        assert_eq!(table.start_hour("2016-01-01"), Ok(0));
    }
}
