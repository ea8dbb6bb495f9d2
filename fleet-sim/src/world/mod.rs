//! The world around a device: hourly prices, hot-water draws and outdoor temperatures, from
//! files or built in.
//!
//! Owns loading, checking and looking up of these tables. Everything is a pure function of an
//! index once loaded; hour 0 begins at midnight of the first day. Refuses to know plants,
//! controllers, clocks and randomness.

mod builtin;
mod calendar;
mod csv;
mod draws;
mod outdoor;
mod prices;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use draws::DrawTable;
use outdoor::OutdoorTable;
use prices::PriceTable;

pub use draws::{
    DeviceVariation, Draw, PATTERN_START_MINUTE, SHARES_L_PER_DAY, SHIFT_MINUTES_MAX, mix,
};

/// File with hourly prices, in the directory given to [`World::load`].
pub const PRICE_FILE: &str = "ontario_price_2016.csv";
/// File with hot-water draws, in the directory given to [`World::load`].
pub const DRAW_FILE: &str = "uef_medium_draw_1min.csv";

/// Which tables come from files; the built-in ones where there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    /// Hourly prices.
    pub prices: Option<PathBuf>,
    /// Hot-water draws: litres by the minute, or shares of a flow by the quarter of an hour.
    pub draws: Option<PathBuf>,
    /// What shares are to come to a day on average, litres; 208 unless given.
    pub draws_l_per_day: Option<f64>,
    /// Hourly outdoor temperatures.
    pub outdoor: Option<PathBuf>,
}

/// Prices, draws and outdoor temperatures for every device of a fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    prices: PriceTable,
    draws: DrawTable,
    outdoor: OutdoorTable,
    built_in: bool,
}

impl World {
    /// Reads [`PRICE_FILE`] and [`DRAW_FILE`] from `dir`, or takes the built-in tables.
    ///
    /// # Errors
    /// [`WorldError`] naming the file, the line and what to do.
    pub fn load(dir: Option<&Path>) -> Result<Self, WorldError> {
        match dir {
            Some(dir) => Self::of(&Tables {
                prices: Some(dir.join(PRICE_FILE)),
                draws: Some(dir.join(DRAW_FILE)),
                ..Tables::default()
            }),
            None => Ok(Self::built_in()),
        }
    }

    /// Reads the tables that have a file, and takes the built-in ones for the rest.
    ///
    /// # Errors
    /// [`WorldError`] naming the file, the line and what to do.
    pub fn of(tables: &Tables) -> Result<Self, WorldError> {
        let Tables { prices, draws, draws_l_per_day, outdoor } = tables;
        let prices_of_file = prices.as_deref().map(prices::load).transpose()?;
        let draws_of_file =
            draws.as_deref().map(|path| draws::load(path, *draws_l_per_day)).transpose()?;
        if draws_of_file.is_none() && draws_l_per_day.is_some() {
            return Err(WorldError::HasLitres { path: PathBuf::from("built-in") });
        }
        let built_in = *tables == Tables::default();
        let prices = prices_of_file.unwrap_or_else(builtin::prices);
        let outdoor = match outdoor {
            Some(path) => outdoor::load(path)?,
            None => outdoor::built_in(prices.first_day()),
        };
        let draws = draws_of_file.unwrap_or_else(builtin::draws);
        Ok(Self { prices, draws, outdoor, built_in })
    }

    /// The tables that are part of the program; they cannot fail to load.
    pub fn built_in() -> Self {
        let prices = builtin::prices();
        let outdoor = outdoor::built_in(prices.first_day());
        Self { prices, draws: builtin::draws(), outdoor, built_in: true }
    }

    /// Whether the built-in tables are in use.
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }

    /// Wholesale price of the hour, CAD/kWh. May be negative. Wraps at the end of the table.
    pub fn price_cad_per_kwh(&self, hour_index: u64) -> f64 {
        self.prices.at(hour_index)
    }

    /// Prices of `hours` hours, CAD/kWh, the first of them that of `hour_index`. They are the
    /// prices that come true: a perfect forecast.
    pub fn forecast(&self, hour_index: u64, hours: usize) -> Vec<f64> {
        (hour_index..).take(hours).map(|hour| self.prices.at(hour)).collect()
    }

    /// Number of hours after which prices repeat: whole days.
    pub fn hours(&self) -> u64 {
        self.prices.hours()
    }

    /// Index of the first hour of a day written `YYYY-MM-DD`.
    ///
    /// # Errors
    /// [`WorldError::Date`] or [`WorldError::DateOutside`].
    pub fn start_hour(&self, date: &str) -> Result<u64, WorldError> {
        self.prices.start_hour(date)
    }

    /// Outdoor temperature of the hour, degrees Celsius.
    pub fn outdoor_c(&self, hour_index: u64) -> f64 {
        self.outdoor.at(self.prices.first_day(), hour_index)
    }

    /// What a household draws in one minute; minute 0 is the first of hour 0.
    pub fn draw(&self, device: DeviceVariation, minute_index: u64) -> Draw {
        self.draws.at(device, minute_index)
    }
}

/// Why a table was refused. Lines count from 1, the header is line 1.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WorldError {
    /// The file could not be read.
    #[error(
        "cannot read {path:?}: {reason}; \
         give the directory that holds it, or none for the built-in tables"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The first line is not the expected header.
    #[error("{path:?} line 1: header is {found:?}; it must be {expected:?}")]
    Header {
        /// The file.
        path: PathBuf,
        /// The header that is read.
        expected: &'static str,
        /// The header that was found.
        found: String,
    },
    /// A line has another number of fields than the header.
    #[error(
        "{path:?} line {line}: {found} fields instead of {expected}; \
         separate them by commas, without quotes"
    )]
    Fields {
        /// The file.
        path: PathBuf,
        /// Line number.
        line: usize,
        /// Fields in the header.
        expected: usize,
        /// Fields in the line.
        found: usize,
    },
    /// A field is not a number.
    #[error(
        "{path:?} line {line}: {column} is {value:?}; write a finite decimal number with a point"
    )]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// Line number.
        line: usize,
        /// Column, as the header names it.
        column: &'static str,
        /// The field.
        value: String,
    },
    /// A number is NaN or infinite.
    #[error(
        "{path:?} line {line}: {column} is not finite; fill the gap or leave the whole day out"
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Line number.
        line: usize,
        /// Column, as the header names it.
        column: &'static str,
    },
    /// A number lies outside what the quantity can be.
    #[error("{path:?} line {line}: {column} is {value}, outside {min} to {max}; check the unit")]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// Line number.
        line: usize,
        /// Column, as the header names it.
        column: &'static str,
        /// The figure.
        value: f64,
        /// Smallest accepted value.
        min: f64,
        /// Largest accepted value.
        max: f64,
    },
    /// A time is missing, doubled or out of order.
    #[error(
        "{path:?} line {line}: time is {found:?}, expected {expected:?}; \
         no hour or minute may be missing"
    )]
    Sequence {
        /// The file.
        path: PathBuf,
        /// Line number.
        line: usize,
        /// The time that should come here.
        expected: String,
        /// The time that was found.
        found: String,
    },
    /// There are too few lines, or not whole days of them.
    #[error("{path:?}: {found} data lines; whole days of {per_day} are needed, {days_min} or more")]
    Short {
        /// The file.
        path: PathBuf,
        /// Data lines found.
        found: usize,
        /// Lines of one day.
        per_day: usize,
        /// Fewest days.
        days_min: usize,
    },
    /// Litres a day were asked of a table that has litres of its own.
    #[error(
        "{path:?} has litres of its own; leave draws_l_per_day out, it is for files of shares \
         (dishwasher, clothes washer, fixtures)"
    )]
    HasLitres {
        /// The file.
        path: PathBuf,
    },
    /// A date could not be read.
    #[error("{value:?} is not a date; write it like 2016-01-18")]
    Date {
        /// What was given.
        value: String,
    },
    /// There are no prices for a date.
    #[error("no prices for {value}; choose a day from {first} to {last}")]
    DateOutside {
        /// What was asked for.
        value: String,
        /// First day with prices.
        first: String,
        /// Last day with prices.
        last: String,
    },
}
