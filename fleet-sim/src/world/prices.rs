//! Hourly electricity prices.
//!
//! Owns the table, its calendar and its file format. Refuses to know what prices are used for.

use std::path::Path;

use super::WorldError;
use super::calendar::Day;
use super::csv::{self, Row};

const HEADER: &str = "date,hour,hoep_cad_per_kwh";
const DAY_HOURS: usize = 24;
/// A planner looks 24 hours ahead, so a table needs a second day.
const DAYS_MIN: usize = 2;
/// The Ontario market caps prices at plus and minus 2,000 CAD/MWh.
const PRICE_CAD_PER_KWH_MAX: f64 = 2.0;
/// A last day that ends with this many zero hours is filler.
const FILLER_HOURS: usize = 4;

/// Prices of whole consecutive days, CAD/kWh.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PriceTable {
    first_day: Day,
    cad_per_kwh: Vec<f64>,
}

impl PriceTable {
    /// A table from days of 24 prices each.
    pub(super) fn from_days(first_day: Day, days: &[[f64; DAY_HOURS]]) -> Self {
        Self { first_day, cad_per_kwh: days.as_flattened().to_vec() }
    }

    pub(super) fn at(&self, hour_index: u64) -> f64 {
        self.cad_per_kwh[(hour_index % self.hours()) as usize]
    }

    pub(super) fn first_day(&self) -> Day {
        self.first_day
    }

    pub(super) fn hours(&self) -> u64 {
        self.cad_per_kwh.len() as u64
    }

    pub(super) fn start_hour(&self, date: &str) -> Result<u64, WorldError> {
        let value = date.to_owned();
        let Some(day) = Day::parse(date) else {
            return Err(WorldError::Date { value });
        };
        let days = (self.cad_per_kwh.len() / DAY_HOURS) as u32;
        match day.since(self.first_day) {
            Some(offset) if offset < days => Ok(u64::from(offset) * DAY_HOURS as u64),
            _ => Err(WorldError::DateOutside {
                value,
                first: self.first_day.to_string(),
                last: self.first_day.plus(days - 1).to_string(),
            }),
        }
    }
}

/// Reads a price file: hours 1 to 24 (hour ending) of consecutive days.
pub(super) fn load(path: &Path) -> Result<PriceTable, WorldError> {
    let text = csv::read(path)?;
    let rows = csv::rows(path, &text, HEADER)?;
    let short = |found| WorldError::Short {
        path: path.to_owned(),
        found,
        per_day: DAY_HOURS,
        days_min: DAYS_MIN,
    };
    let Some(first) = rows.first() else {
        return Err(short(0));
    };
    let first_date = first.fields::<3>()?[0];
    let first_day =
        Day::parse(first_date).ok_or_else(|| WorldError::Date { value: first_date.to_owned() })?;
    let mut days = Vec::with_capacity(rows.len() / DAY_HOURS);
    let (chunks, rest) = rows.as_chunks::<DAY_HOURS>();
    for (index, chunk) in chunks.iter().enumerate() {
        days.push(read_day(chunk, first_day.plus(index as u32))?);
    }
    // The file of 2016 ends with zeros where the source had no figures. The whole day goes, so
    // that the hour of day keeps its place when the table wraps.
    if days.last().is_some_and(|day| day[DAY_HOURS - FILLER_HOURS..].iter().all(|p| *p == 0.0)) {
        days.pop();
    }
    if !rest.is_empty() || days.len() < DAYS_MIN {
        return Err(short(rows.len()));
    }
    Ok(PriceTable::from_days(first_day, &days))
}

fn read_day(rows: &[Row<'_>; DAY_HOURS], day: Day) -> Result<[f64; DAY_HOURS], WorldError> {
    let mut prices = [0.0; DAY_HOURS];
    let date_text = day.to_string();
    for (hour, (row, price)) in (1..).zip(rows.iter().zip(&mut prices)) {
        let [date, hour_ending, value] = row.fields()?;
        let hour_text = hour.to_string();
        if date != date_text || hour_ending != hour_text {
            let expected = format!("{date_text},{hour_text}");
            return Err(row.out_of_sequence(expected, format!("{date},{hour_ending}")));
        }
        let max = PRICE_CAD_PER_KWH_MAX;
        *price = row.number("hoep_cad_per_kwh", value, -max, max)?;
    }
    Ok(prices)
}
