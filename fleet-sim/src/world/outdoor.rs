//! Outdoor temperatures by the hour.
//!
//! Owns the table, its file format and how gaps are filled. Refuses to know what stands outdoors.

use std::path::Path;

use super::WorldError;
use super::calendar::Day;
use super::csv;

const HEADER: &str = "date,hour,temperature_c";
const DAY_HOURS: usize = 24;
/// Mean temperature of Toronto by month, degrees Celsius: climate normals 1981 to 2010,
/// Environment and Climate Change Canada.
const MONTH_MEAN_C: [f64; 12] =
    [-3.7, -2.6, 1.4, 7.9, 14.1, 19.4, 22.3, 21.5, 17.2, 10.7, 4.9, -0.5];
/// Days of a month in the built-in table, which interpolates between the middles of months.
const MONTH_DAYS: f64 = 365.0 / 12.0;
/// Warmest minus mean of a day in the built-in table, K, and its hour. Ours.
const DAY_SWING_K: f64 = 4.0;
const WARMEST_HOUR: usize = 15;

/// Temperatures of consecutive hours, degrees Celsius.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OutdoorTable {
    first_day: Day,
    temp_c: Vec<f64>,
}

impl OutdoorTable {
    /// The temperature `hour_index` hours after the beginning of `day`; repeats at its end.
    pub(super) fn at(&self, day: Day, hour_index: u64) -> f64 {
        let hours = self.temp_c.len() as u64;
        let ahead = match (day.since(self.first_day), self.first_day.since(day)) {
            (Some(days), _) => u64::from(days) * DAY_HOURS as u64 % hours,
            (None, Some(days)) => hours - u64::from(days) * DAY_HOURS as u64 % hours,
            (None, None) => 0,
        };
        self.temp_c[((ahead + hour_index) % hours) as usize]
    }
}

/// 365 days around the monthly means, with a warm afternoon each.
pub(super) fn built_in(first_day: Day) -> OutdoorTable {
    let hour_c = |hour: usize| {
        let day = hour as f64 / DAY_HOURS as f64;
        let months = day / MONTH_DAYS + 11.5;
        let (month, share) = (months as usize, months.fract());
        let mean =
            MONTH_MEAN_C[month % 12] * (1.0 - share) + MONTH_MEAN_C[(month + 1) % 12] * share;
        let from_warmest = (hour % DAY_HOURS).abs_diff(WARMEST_HOUR);
        let from_warmest = from_warmest.min(DAY_HOURS - from_warmest) as f64;
        mean + DAY_SWING_K * (1.0 - from_warmest / 6.0)
    };
    OutdoorTable { first_day, temp_c: (0..365 * DAY_HOURS).map(hour_c).collect() }
}

/// Reads a temperature file: hours 1 to 24 (hour ending). An hour that is missing has the
/// temperature of the hour before it: stations have gaps.
pub(super) fn load(path: &Path) -> Result<OutdoorTable, WorldError> {
    let text = csv::read(path)?;
    let rows = csv::rows(path, &text, HEADER)?;
    let mut first_day = None;
    let mut temp_c = Vec::with_capacity(rows.len());
    for row in &rows {
        let [date, hour, value] = row.fields()?;
        let day = Day::parse(date).ok_or_else(|| WorldError::Date { value: date.to_owned() })?;
        let first = *first_day.get_or_insert(day);
        let hour = row.number("hour", hour, 1.0, DAY_HOURS as f64)? as usize;
        let days = day.since(first).unwrap_or(0) as usize;
        let place = days * DAY_HOURS + hour - 1;
        if place < temp_c.len() || place > temp_c.len() + 31 * DAY_HOURS {
            let expected = format!("a later hour within 31 days of the line before, not {date}");
            return Err(row.out_of_sequence(expected, format!("{date},{hour}")));
        }
        // Both are how tables write that there was no reading.
        if value.is_empty() || value.eq_ignore_ascii_case("nan") {
            continue;
        }
        let value = row.number("temperature_c", value, -60.0, 60.0)?;
        let before = temp_c.last().copied().unwrap_or(value);
        temp_c.resize(place, before);
        temp_c.push(value);
    }
    match first_day {
        Some(first_day) if temp_c.len() >= DAY_HOURS => {
            let last = temp_c.last().copied().unwrap_or_default();
            temp_c.resize(temp_c.len().next_multiple_of(DAY_HOURS), last);
            Ok(OutdoorTable { first_day, temp_c })
        }
        _ => Err(WorldError::Short {
            path: path.to_owned(),
            found: rows.len(),
            per_day: DAY_HOURS,
            days_min: 1,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_year_is_cold_in_january_and_warm_in_july() {
        let first = Day::first_of_year(2016);
        let table = built_in(first);
        let mean =
            |day: u32| (0..24).map(|hour| table.at(first.plus(day), hour)).sum::<f64>() / 24.0;
        assert!((-6.0..0.0).contains(&mean(15)), "{}", mean(15));
        assert!((20.0..25.0).contains(&mean(196)), "{}", mean(196));
        assert!(table.at(first, 15) > table.at(first, 3));
        assert_eq!(table.at(first.plus(365), 0), table.at(first, 0));
    }

    #[test]
    fn a_gap_has_the_temperature_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outdoor.csv");
        let hour = |hour: u32, value: &str| format!("2016-01-01,{hour},{value}\n");
        let hours: String = (1..=24)
            .filter(|at| *at != 5)
            .map(|at| {
                hour(
                    at,
                    match at {
                        9 => "",
                        11 => "NaN",
                        _ => "1.5",
                    },
                )
            })
            .collect();
        std::fs::write(&path, format!("{HEADER}\n{hours}")).unwrap();
        let table = load(&path).unwrap();
        assert_eq!(table.temp_c, [1.5; 24]);
        std::fs::write(&path, format!("{HEADER}\n{}{}", hour(5, "1"), hour(4, "1"))).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("line 3"));
    }
}
