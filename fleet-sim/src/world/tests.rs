//! Tests of loading and of looking up: real files, built-in tables, broken files.
//!
//! Owns one broken file per refusal. Refuses to know plants.

use super::*;

const SHARED_DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");

/// The shared data folder, if it stands beside the checkout.
fn shared_data() -> Option<&'static Path> {
    let dir = Path::new(SHARED_DATA);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("note: {SHARED_DATA} is missing, nothing tested against real data");
    None
}

/// Writes the two files into a fresh directory and loads them.
fn load(name: &str, prices: &str, draws: &str) -> (PathBuf, Result<World, WorldError>) {
    let dir = std::env::temp_dir().join(format!("gnomon-world-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(PRICE_FILE), prices).unwrap();
    std::fs::write(dir.join(DRAW_FILE), draws).unwrap();
    let world = World::load(Some(&dir));
    std::fs::remove_dir_all(&dir).unwrap();
    (dir, world)
}

fn price_text(days: u32) -> String {
    let mut text = "date,hour,hoep_cad_per_kwh\n".to_owned();
    for day in 1..=days {
        for hour in 1..=24 {
            text += &format!("2016-01-{day:02},{hour},0.0{hour}\n");
        }
    }
    text
}

fn draw_text() -> String {
    let mut text =
        "Time,Water Heating (L/min),Zone Temperature (C),Mains Temperature (C)\n".to_owned();
    for minute in 0..1440 {
        text += &format!("1/1/2018 {}:{:02},{},20,7\n", minute / 60, minute % 60, minute % 3);
    }
    text
}

#[test]
fn the_real_files_load() {
    let Some(dir) = shared_data() else { return };
    let world = World::load(Some(dir)).unwrap();
    assert!(!world.is_built_in());
    // 366 days less the filler day.
    assert_eq!(world.hours(), 365 * 24);
    assert_eq!(world.price_cad_per_kwh(0), -0.00109);
    let hour = world.start_hour("2016-06-09").unwrap() + 19;
    assert_eq!(world.price_cad_per_kwh(hour), 1.6196);
    let litres: f64 =
        (0..2880).map(|minute| world.draw(DeviceVariation::NONE, minute).litres).sum();
    assert!((litres / 2.0 - 208.2).abs() < 0.1, "{litres}");
    let first = world.draw(DeviceVariation::NONE, PATTERN_START_MINUTE);
    assert_eq!(first, Draw { litres: 6.435200033, mains_c: 7.0, ambient_c: 20.0 });
}

#[test]
fn forecast_begins_now_and_wraps_at_the_end() {
    let world = World::load(None).unwrap();
    assert!(world.is_built_in());
    let last = world.hours() - 1;
    let forecast = world.forecast(last, 24);
    assert_eq!(forecast.len(), 24);
    assert_eq!(forecast[0], world.price_cad_per_kwh(last));
    assert_eq!(forecast[1], world.price_cad_per_kwh(0));
}

#[test]
fn dates_outside_the_table_are_refused() {
    let world = World::built_in();
    assert_eq!(world.start_hour("2016-01-18"), Ok(17 * 24));
    let refused = world.start_hour("2016-12-31").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no prices for 2016-12-31; choose a day from 2016-01-01 to 2016-12-30"
    );
    assert!(matches!(world.start_hour("yesterday"), Err(WorldError::Date { .. })));
}

#[test]
fn households_differ_within_bounds_and_stay_the_same() {
    let all: Vec<_> = (0..1000).map(DeviceVariation::of).collect();
    for variation in &all {
        assert!(variation.shift_minutes <= SHIFT_MINUTES_MAX);
        assert!((0.8..=1.2).contains(&variation.scale));
    }
    let mean_scale = all.iter().map(|v| v.scale).sum::<f64>() / 1000.0;
    let mean_shift = all.iter().map(|v| v.shift_minutes as f64).sum::<f64>() / 1000.0;
    assert!((mean_scale - 1.0).abs() < 0.02, "{mean_scale}");
    assert!((mean_shift - 120.0).abs() < 10.0, "{mean_shift}");
    assert_eq!(DeviceVariation::of(7), DeviceVariation::of(7));
}

#[test]
fn a_later_household_draws_the_same_later() {
    let world = World::built_in();
    let late = DeviceVariation { shift_minutes: 90, scale: 0.5 };
    for minute in 90..3000 {
        let early = world.draw(DeviceVariation::NONE, minute - 90).litres;
        assert_eq!(world.draw(late, minute).litres, early * 0.5);
    }
}

#[test]
fn well_formed_files_load_and_filler_goes() {
    let (_, world) = load("good", &price_text(3), &draw_text());
    assert_eq!(world.unwrap().hours(), 72);
    let mut filled = price_text(2);
    for hour in 1..=24 {
        filled += &format!("2016-01-03,{hour},0\n");
    }
    let (_, world) = load("filler", &filled, &draw_text());
    assert_eq!(world.unwrap().hours(), 48);
}

#[test]
fn every_broken_price_file_is_refused_with_its_line() {
    let good = price_text(2);
    let check = |name: &str, text: &str, expected: &str| {
        let (dir, world) = load(name, text, &draw_text());
        let message = world.unwrap_err().to_string();
        let message = message.replace(&format!("{:?}", dir.join(PRICE_FILE)), "FILE");
        assert!(message.starts_with(expected), "{name}: {message}");
    };
    check("empty", "", "FILE line 1: header is \"\"");
    check("header", &good.replace("hoep", "price"), "FILE line 1: header");
    check(
        "word",
        &good.replacen(",0.02\n", ",two\n", 1),
        "FILE line 3: hoep_cad_per_kwh is \"two\"",
    );
    check(
        "nan",
        &good.replacen(",0.02\n", ",NaN\n", 1),
        "FILE line 3: hoep_cad_per_kwh is not finite",
    );
    check(
        "unit",
        &good.replacen(",0.02\n", ",20\n", 1),
        "FILE line 3: hoep_cad_per_kwh is 20, outside -2 to 2",
    );
    check("fields", &good.replacen(",0.02\n", "\n", 1), "FILE line 3: 2 fields instead of 3");
    check(
        "gap",
        &good.replacen("2016-01-01,2,", "2016-01-01,3,", 1),
        "FILE line 3: time is \"2016-01-01,3\"",
    );
    check("ragged", &good.replacen("2016-01-02,24,0.024\n", "", 1), "FILE: 47 data lines");
    check("short", &price_text(1), "FILE: 24 data lines");
}

#[test]
fn every_broken_draw_file_is_refused_with_its_line() {
    let good = draw_text();
    let check = |name: &str, text: &str, expected: &str| {
        let (dir, world) = load(name, &price_text(2), text);
        let message = world.unwrap_err().to_string();
        let message = message.replace(&format!("{:?}", dir.join(DRAW_FILE)), "FILE");
        assert!(message.starts_with(expected), "{name}: {message}");
    };
    check("draw-header", &good.replace("L/min", "gal"), "FILE line 1: header");
    check("draw-short", good.lines().next().unwrap(), "FILE: 0 data lines");
    check(
        "draw-sign",
        &good.replacen("0:01,1,", "0:01,-1,", 1),
        "FILE line 3: Water Heating (L/min) is -1",
    );
    check(
        "draw-inf",
        &good.replacen("0:01,1,", "0:01,inf,", 1),
        "FILE line 3: Water Heating (L/min) is not",
    );
    check(
        "draw-time",
        &good.replacen("0:01,", "0:02,", 1),
        "FILE line 3: time is \"1/1/2018 0:02\"",
    );
}

/// A household that draws a quarter of its flow at noon, and half of it at 18:00.
fn shares_text() -> String {
    let mut text =
        "step,hot_water_dishwasher,hot_water_clothes_washer,hot_water_fixtures\n".to_owned();
    for step in 0..96 {
        let (washer, fixtures) = match step {
            48 => (0.05, 0.20),
            72 => (0.0, 0.5),
            _ => (0.0, 0.0),
        };
        text += &format!("{step},0.0,{washer},{fixtures}\n");
    }
    text
}

#[test]
fn shares_of_a_flow_become_the_litres_that_were_asked_for() {
    let (_, world) = load("shares", &price_text(2), &shares_text());
    let world = world.unwrap();
    let litres = |minutes: std::ops::Range<u64>| -> f64 {
        minutes.map(|minute| world.draw(DeviceVariation::NONE, minute).litres).sum()
    };
    assert!((litres(0..1440) - SHARES_L_PER_DAY).abs() < 1e-9);
    assert!((litres(720..735) - SHARES_L_PER_DAY / 3.0).abs() < 1e-9, "at noon, not shifted");
    assert!((litres(1080..1095) - SHARES_L_PER_DAY * 2.0 / 3.0).abs() < 1e-9);
    let draw = |minute| world.draw(DeviceVariation::NONE, minute).litres;
    assert_eq!(draw(1080), draw(1094), "evenly within the quarter");
}

#[test]
fn a_broken_file_of_shares_is_refused_with_its_line() {
    let check = |name: &str, text: &str, expected: &str| {
        let (dir, world) = load(name, &price_text(2), text);
        let message = world.unwrap_err().to_string();
        let message = message.replace(&format!("{:?}", dir.join(DRAW_FILE)), "FILE");
        assert!(message.starts_with(expected), "{name}: {message}");
    };
    let good = shares_text();
    check("shares-gap", &good.replacen("\n1,", "\n2,", 1), "FILE line 3: time is \"2\"");
    check(
        "shares-over",
        &good.replacen("0.5", "1.5", 1),
        "FILE line 74: hot_water_fixtures is 1.5",
    );
    let ragged = good.trim_end().rsplit_once('\n').unwrap().0;
    check("shares-ragged", ragged, "FILE: 95 data lines; whole days of 96");
    let asked = Tables { draws_l_per_day: Some(100.0), ..Tables::default() };
    let message = World::of(&asked).unwrap_err().to_string();
    assert!(message.contains("leave draws_l_per_day out"), "{message}");
}

#[test]
fn a_real_year_of_shares_has_its_litres() {
    let Some(dir) = shared_data() else { return };
    let draws = Some(dir.join("resstock_hot_water_schedule.csv"));
    let tables = Tables { draws, draws_l_per_day: Some(150.0), ..Tables::default() };
    let world = World::of(&tables).unwrap();
    let minutes = 365 * 1440;
    let draw = |minute| world.draw(DeviceVariation::NONE, minute).litres;
    let litres: f64 = (0..minutes).map(draw).sum();
    assert!((litres / 365.0 - 150.0).abs() < 1e-6, "{litres}");
    let most = (0..minutes).map(draw).fold(0.0, f64::max);
    assert!((1.0..20.0).contains(&most), "{most} L/min");
}

#[test]
fn a_missing_file_is_named() {
    let dir = Path::new("/nonexistent/gnomon");
    let refused = World::load(Some(dir)).unwrap_err();
    assert!(matches!(&refused, WorldError::Unreadable { path, .. } if path.ends_with(PRICE_FILE)));
    assert!(refused.to_string().contains("give the directory"));
}
