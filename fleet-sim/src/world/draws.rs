//! Hot-water draws of a household, minute by minute.
//!
//! Owns the repeated pattern, its file format and how households differ from each other.
//! Refuses to know the tank the water comes from.

use std::path::Path;

use super::WorldError;
use super::csv;

/// Minute of the day at which the pattern's time zero falls: 05:00. The test procedure counts
/// from the start of a test, not from midnight; starting in the early morning puts its three
/// clusters at 05:00-07:00, 15:30-18:00 and 21:00-22:15, before the shift of each device.
pub const PATTERN_START_MINUTE: u64 = 300;
/// Largest shift of a device's day, minutes.
pub const SHIFT_MINUTES_MAX: u64 = 240;

/// What a household draws a day on average where its file has shares of a flow: that of the
/// medium pattern, litres.
pub const SHARES_L_PER_DAY: f64 = 208.0;

/// Shares of a flow, a line every quarter of an hour, as ResStock's schedules have them.
const SHARES_HEADER: &str = "step,hot_water_dishwasher,hot_water_clothes_washer,hot_water_fixtures";
const SHARES_MINUTES: usize = 15;
const SHARES_PER_DAY: usize = DAY_MINUTES / SHARES_MINUTES;
/// Cold water and room where a file says nothing of them: as in the medium pattern's.
const MAINS_C: f64 = 7.0;
const AMBIENT_C: f64 = 20.0;

const HEADER: &str = "Time,Water Heating (L/min),Zone Temperature (C),Mains Temperature (C)";
pub(super) const DAY_MINUTES: usize = 1440;

/// What a household does to its tank in one minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Hot water taken, litres.
    pub litres: f64,
    /// Temperature of the cold water, degrees Celsius.
    pub mains_c: f64,
    /// Temperature of the room, degrees Celsius.
    pub ambient_c: f64,
}

/// How one household differs from the pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceVariation {
    /// How much later than the pattern its day runs, minutes.
    pub shift_minutes: u64,
    /// Its volume per draw as a multiple of the pattern's.
    pub scale: f64,
}

impl DeviceVariation {
    /// The pattern as it is.
    pub const NONE: Self = Self { shift_minutes: 0, scale: 1.0 };

    /// The household of a device: shift 0 to 240 minutes, scale 0.8 to 1.2, always the same for
    /// the same index.
    pub fn of(device_index: u64) -> Self {
        let mixed = mix(device_index);
        Self {
            shift_minutes: (mixed >> 32) % (SHIFT_MINUTES_MAX + 1),
            scale: 0.8 + 0.4 * ((mixed & 0xffff) as f64 / 65_535.0),
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): spreads neighbouring indices.
/// What is random in a world is this of its place, so that it is the same in every run.
pub fn mix(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Draws of whole days, repeated for ever.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DrawTable {
    minutes: Vec<Draw>,
    /// Minute of the day at which the first one falls.
    start_minute: u64,
}

impl DrawTable {
    /// The pattern of the test procedure; the caller has checked that it has whole days.
    pub(super) fn pattern(minutes: Vec<Draw>) -> Self {
        Self { minutes, start_minute: PATTERN_START_MINUTE }
    }

    pub(super) fn at(&self, device: DeviceVariation, minute_index: u64) -> Draw {
        let period = self.minutes.len() as u64;
        let late = (self.start_minute + device.shift_minutes) % period;
        let minute = (minute_index % period + period - late) % period;
        let draw = self.minutes[minute as usize];
        Draw { litres: draw.litres * device.scale, ..draw }
    }
}

/// Reads a draw file of either form, known by its header. Shares become litres so that the
/// whole file has `litres_per_day` on average; the other form has litres of its own.
pub(super) fn load(path: &Path, litres_per_day: Option<f64>) -> Result<DrawTable, WorldError> {
    let text = csv::read(path)?;
    if text.trim_start_matches('\u{feff}').starts_with(SHARES_HEADER) {
        return shares(path, &text, litres_per_day.unwrap_or(SHARES_L_PER_DAY));
    }
    match litres_per_day {
        Some(_) => Err(WorldError::HasLitres { path: path.to_owned() }),
        None => pattern(path, &text),
    }
}

/// One line per minute, whole days.
fn pattern(path: &Path, text: &str) -> Result<DrawTable, WorldError> {
    let rows = csv::rows(path, text, HEADER)?;
    whole_days(path, rows.len(), DAY_MINUTES)?;
    let mut minutes = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let [time, litres, ambient, mains] = row.fields()?;
        let minute = index % DAY_MINUTES;
        let clock = format!("{}:{:02}", minute / 60, minute % 60);
        if time.rsplit(' ').next() != Some(clock.as_str()) {
            return Err(row.out_of_sequence(clock, time.to_owned()));
        }
        minutes.push(Draw {
            litres: row.number("Water Heating (L/min)", litres, 0.0, 60.0)?,
            ambient_c: row.number("Zone Temperature (C)", ambient, -40.0, 60.0)?,
            mains_c: row.number("Mains Temperature (C)", mains, 0.0, 40.0)?,
        });
    }
    Ok(DrawTable::pattern(minutes))
}

/// One line per quarter of an hour, whole days from midnight. What a quarter has is drawn
/// evenly in its minutes, and the three uses count alike: the file says no flow of theirs.
fn shares(path: &Path, text: &str, litres_per_day: f64) -> Result<DrawTable, WorldError> {
    let rows = csv::rows(path, text, SHARES_HEADER)?;
    whole_days(path, rows.len(), SHARES_PER_DAY)?;
    let mut of_quarters = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let [step, dishwasher, washer, fixtures] = row.fields()?;
        if step != index.to_string() {
            return Err(row.out_of_sequence(index.to_string(), step.to_owned()));
        }
        of_quarters.push(
            row.number("hot_water_dishwasher", dishwasher, 0.0, 1.0)?
                + row.number("hot_water_clothes_washer", washer, 0.0, 1.0)?
                + row.number("hot_water_fixtures", fixtures, 0.0, 1.0)?,
        );
    }
    let days = (of_quarters.len() / SHARES_PER_DAY) as f64;
    let all: f64 = of_quarters.iter().sum();
    // A file of nothing but zeros is a household that is away.
    let litres_per_share = if all > 0.0 { litres_per_day * days / all } else { 0.0 };
    let a_minute = |share: &f64| Draw {
        litres: share * litres_per_share / SHARES_MINUTES as f64,
        mains_c: MAINS_C,
        ambient_c: AMBIENT_C,
    };
    let minutes = of_quarters.iter().flat_map(|share| [a_minute(share); SHARES_MINUTES]).collect();
    Ok(DrawTable { minutes, start_minute: 0 })
}

fn whole_days(path: &Path, found: usize, per_day: usize) -> Result<(), WorldError> {
    if found > 0 && found.is_multiple_of(per_day) {
        return Ok(());
    }
    Err(WorldError::Short { path: path.to_owned(), found, per_day, days_min: 1 })
}
