//! What the examples promise: the same bytes from any folder, small and within
//! the feature floor, and the decisions of the two native twins.
//! Refuses to run a component: that is the host's, whose tests do so.
#![allow(clippy::expect_used, clippy::panic, reason = "this is how a test fails")]

use std::fs;
use std::path::Path;

use gnomon_examples::native::{arbitrage, price, tou};
use gnomon_examples::{ALL, BATTERY, Example};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

#[path = "../build/guests.rs"]
mod guests;

#[path = "../../sdk/rust/src/bump.rs"]
mod bump;

/// A larger component means that a runtime or a panic message crept in.
const COMPONENT_BYTES_MAX: usize = 2_500;

fn all() -> impl Iterator<Item = &'static Example> {
    ALL.iter().chain(BATTERY)
}

#[test]
fn same_bytes_from_another_folder() {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the folder of this crate");
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let copy = elsewhere.path().join("a checkout/elsewhere");
    for file in guests::sources(&modules).expect("a list of sources") {
        let to = copy.join(&file);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a new folder");
        fs::copy(modules.join(&file), to).expect("a copy");
    }

    let built = guests::build(&copy, &elsewhere.path().join("work")).expect("a second build");

    assert_eq!(built.len(), all().count());
    for (example, (name, component)) in all().zip(&built) {
        assert_eq!(example.name, *name);
        assert!(example.component == component, "{name} differs when built in {}", copy.display());
    }
}

#[test]
fn a_missing_compiler_is_named() {
    let (modules, work) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), Path::new("unused"));
    let error = guests::build_c("no-such-clang".as_ref(), &modules, work, "a.c", "a.wit")
        .expect_err("there is no such compiler");
    assert_eq!(
        error.to_string(),
        "cannot run no-such-clang: install clang and lld (Debian: apt-get install clang lld)"
    );
}

#[test]
fn small_and_within_the_feature_floor() {
    let floor = WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::FLOATS
        | WasmFeatures::GC_TYPES
        | WasmFeatures::COMPONENT_MODEL;
    for Example { name, component, .. } in all() {
        println!("{name}: {} bytes", component.len());
        assert!(component.len() < COMPONENT_BYTES_MAX, "{name} is too large");
        Validator::new_with_features(floor)
            .validate_all(component)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn imports_nothing_and_carries_its_manifest() {
    for Example { name, component, .. } in all() {
        let mut manifest = None;
        for payload in Parser::new(0).parse_all(component) {
            match payload.expect("a well-formed component") {
                Payload::ComponentImportSection(imports) => {
                    for import in imports {
                        let import = import.expect("a well-formed import");
                        let type_only = matches!(import.ty, wasmparser::ComponentTypeRef::Type(_));
                        assert!(type_only, "{name} imports {:?}", import.name);
                    }
                }
                Payload::ImportSection(_) => panic!("{name}: the core module imports something"),
                Payload::CustomSection(section) => {
                    assert_eq!(section.name(), "gnomon.manifest", "{name}");
                    assert!(manifest.replace(section.data()).is_none(), "{name}: two");
                }
                _ => {}
            }
        }
        let manifest = String::from_utf8_lossy(manifest.expect("a manifest"));
        let second = name.contains("price") || name.ends_with("-2");
        let version = if second { "2.0.0" } else { "1.0.0" };
        let function = if name.starts_with("battery") { "dispatch" } else { "setpoint" };
        let rest = format!(r#""release_counter":1,"function":"{function}"}}"#);
        assert_eq!(manifest, format!(r#"{{"name":"{name}","version":"{version}",{rest}"#));
    }
}

/// A tank at 50 °C, comfort from 45, half a degree used and 5 gained per hour.
fn heats(prices: &[f64], change: impl FnOnce(&mut price::Inputs<'_>, &mut price::Params)) -> bool {
    let mut inputs = price::Inputs {
        tank_temp_c: 50.0,
        tank_low_temp_c: 50.0,
        hour: 13.5,
        price_forecast: prices,
    };
    let mut params = price::Params {
        comfort_min_c: 45.0,
        high_c: 60.0,
        low_c: 40.0,
        heat_c_per_hour: 5.0,
        use_c_per_hour: 0.5,
    };
    change(&mut inputs, &mut params);
    match price::setpoint_c(&inputs, &params) {
        60.0 => true,
        40.0 => false,
        other => panic!("setpoint {other} is neither high nor low"),
    }
}

/// Twenty-four hours at 10 cents, with some of them set otherwise.
fn day(others: &[(usize, f64)]) -> [f64; 24] {
    let mut prices = [0.10; 24];
    for &(hour, price) in others {
        prices[hour] = price;
    }
    prices
}

#[test]
fn heats_in_the_cheapest_hour_only() {
    // Without heat the tank is below 45 at the end of the eleventh hour.
    assert!(heats(&day(&[(0, 0.09)]), |_, _| {}));
    assert!(!heats(&day(&[(3, 0.09), (4, 0.09)]), |_, _| {}));
    // An hour after the cold one is too late to be worth waiting for.
    assert!(heats(&day(&[(0, 0.09), (15, 0.01)]), |_, _| {}));
    // Equal prices: the earliest.
    assert!(heats(&day(&[]), |_, _| {}));
}

#[test]
fn a_warm_tank_waits() {
    assert!(!heats(&day(&[(0, 0.01)]), |_, params| params.use_c_per_hour = 0.1));
}

#[test]
fn a_full_tank_takes_no_more() {
    let full = |inputs: &mut price::Inputs<'_>, params: &mut price::Params| {
        inputs.tank_temp_c = 61.0;
        inputs.tank_low_temp_c = 61.0;
        params.use_c_per_hour = 1.0;
    };
    // The first hour ends at exactly 60: no room for it, however cheap; the next has.
    assert!(!heats(&day(&[(0, 0.01)]), full));
    // Free heat is asked for even then; the thermostat stops at high.
    assert!(heats(&day(&[(0, 0.0)]), full));
}

#[test]
fn comfort_is_kept_whatever_the_price() {
    assert!(heats(&day(&[(0, 9.0)]), |inputs, _| inputs.tank_temp_c = 44.9));
    assert!(heats(&day(&[(0, 9.0)]), |inputs, _| inputs.tank_low_temp_c = 40.2));
}

#[test]
fn reads_forecasts_of_any_length() {
    assert!(!heats(&[], |_, _| {}));
    assert!(heats(&[], |inputs, _| inputs.tank_temp_c = 44.0));
    assert!(!heats(&[0.01], |_, _| {}));
    let long: Vec<f64> = day(&[]).iter().copied().chain([-1.0; 10_000]).collect();
    assert_eq!(heats(&long, |_, _| {}), heats(&day(&[]), |_, _| {}));
}

#[test]
fn free_heat_is_taken() {
    assert!(heats(&[-0.02], |_, _| {}));
    assert!(heats(&[0.0], |_, _| {}));
    // Free heat later makes paying now needless.
    assert!(!heats(&day(&[(9, -0.01), (10, -0.01)]), |_, _| {}));
}

#[test]
fn not_a_number_ends_in_a_decision() {
    heats(&[f64::NAN; 24], |_, _| {});
    for price in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        heats(&day(&[(0, price), (5, price)]), |inputs, _| inputs.tank_low_temp_c = 0.0);
    }
    heats(&day(&[]), |inputs, _| inputs.tank_temp_c = f64::NAN);
    heats(&day(&[]), |_, params| params.heat_c_per_hour = f64::NAN);
    heats(&day(&[]), |_, params| params.heat_c_per_hour = -1.0);
    heats(&day(&[]), |_, params| params.use_c_per_hour = f64::INFINITY);
    heats(&day(&[]), |_, params| params.comfort_min_c = f64::INFINITY);
}

#[test]
fn off_peak_windows_wrap_midnight() {
    let high = |hour, start, end| {
        let params = tou::Params {
            off_peak_start_hour: start,
            off_peak_end_hour: end,
            high_c: 60.0,
            low_c: 45.0,
        };
        tou::setpoint_c(&tou::Inputs { hour }, &params) == 60.0
    };
    let hours = |start, end| -> Vec<u8> {
        let day = 0..24u8;
        day.filter(|&hour| high(f64::from(hour), start, end)).collect()
    };
    assert_eq!(hours(22.0, 3.0), [0, 1, 2, 22, 23]);
    assert_eq!(hours(1.0, 4.0), [1, 2, 3]);
    assert!(hours(5.0, 5.0).is_empty());
    assert_eq!(hours(0.0, 24.0).len(), 24);
    assert!(high(23.99, 23.5, 6.0) && !high(23.49, 23.5, 6.0));
    assert!(!high(f64::NAN, 1.0, 4.0) && !high(f64::NAN, 22.0, 6.0));
}

#[test]
fn a_battery_trades_only_what_pays() {
    let params = arbitrage::Params {
        charge_w: 5000.0,
        discharge_w: 4000.0,
        charge_hours: 4.0,
        discharge_hours: 4.0,
        reserve: 0.2,
        round_trip_efficiency: 0.9,
    };
    let power = |state_of_charge, house_w, price_forecast: &[f64]| {
        let inputs = arbitrage::Inputs { state_of_charge, house_w, price_forecast };
        arbitrage::battery_w(&inputs, &params)
    };
    assert_eq!(power(0.5, 900.0, &day(&[(0, 0.02)])), 5000.0);
    assert_eq!(power(0.5, 900.0, &day(&[(0, 0.30)])), -900.0);
    assert_eq!(power(0.5, 9000.0, &day(&[(0, 0.30)])), -4000.0);
    // The reserve is kept, a full battery takes nothing, a small gain is left alone.
    assert_eq!(power(0.2, 900.0, &day(&[(0, 0.30)])), 0.0);
    assert_eq!(power(1.0, 900.0, &day(&[(0, 0.02)])), 0.0);
    assert_eq!(power(0.5, 900.0, &day(&[(0, 0.095)])), 0.0);
    assert_eq!(power(0.5, 900.0, &[]), 0.0);
    assert_eq!(power(0.5, 900.0, &[f64::NAN; 24]), 0.0);
}

#[test]
fn the_allocator_aligns_grows_and_ends() {
    use bump::{Block, PAGE_BYTES, block, pages_missing};
    assert_eq!(block(9, 16, 8), Some(Block { start: 16, end: 32 }));
    assert_eq!(block(16, 0, 1), Some(Block { start: 16, end: 16 }));
    assert_eq!(block(usize::MAX - 2, 1, 8), None);
    assert_eq!(block(8, usize::MAX - 4, 1), None);
    assert_eq!(pages_missing(PAGE_BYTES, 1), 0);
    assert_eq!(pages_missing(PAGE_BYTES + 1, 1), 1);
    assert_eq!(pages_missing(1, 2), 0);
}
