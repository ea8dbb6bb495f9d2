//! Tests of scenarios as a whole: what ships, what breaks, what is refused, what is written.

use super::*;
use std::path::Path;

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

#[test]
fn a_tick_costs_little_more_than_its_function() {
    for cost in bench::tick_costs(30).unwrap() {
        println!("{cost:?}");
        assert!(cost.tick_ns > cost.evaluation_ns && cost.tick_per_evaluation.is_finite());
    }
}

#[test]
fn every_scenario_that_ships_is_read() {
    let host = host(None).unwrap();
    for entry in Path::new(SCENARIOS).read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            Scenario::load(&path, &host).unwrap();
        }
    }
}
