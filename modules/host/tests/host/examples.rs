//! The examples in the host: admitted, equal to each other and to their native twins.

use gnomon_examples::native::{price, tou};
use gnomon_host::Admitted;
use gnomon_schemas::value::{Value, Values};
use serde_json::json;

use crate::support::{function, host, number, values, water_heater};

/// Evaluations of each comparison.
const CASES: u64 = 3_000;

pub(crate) fn admitted(module: &[u8]) -> Admitted {
    let profile = water_heater();
    let budget = profile.functions[&function()].budget;
    host().admit(module, &profile, &function(), budget).unwrap()
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn between(&mut self, min: f64, max: f64) -> f64 {
        min + (max - min) * ((self.bits() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }
}

/// Deterministic inputs of the price functions: forecasts of 0 to 48 hours, with ties.
pub(crate) fn price_case(case: u64) -> Values {
    let random = &mut Random(case);
    let hours = random.below(49) as usize;
    let prices: Vec<f64> = (0..hours)
        .map(|_| match random.below(4) {
            0 => 0.1,
            1 => random.between(-0.05, 0.02),
            _ => random.between(-10.0, 10.0),
        })
        .collect();
    let mut inputs = Values::new();
    inputs.insert("tank_temp_c".into(), random.between(30.0, 70.0).into());
    inputs.insert("tank_low_temp_c".into(), random.between(5.0, 70.0).into());
    inputs.insert("hour".into(), random.between(0.0, 24.0).into());
    inputs.insert("price_forecast".into(), prices.into());
    inputs
}

pub(crate) fn price_params() -> Values {
    values(json!({
        "comfort_min_c": 45.0, "high_c": 62.0, "low_c": 41.0,
        "heat_c_per_hour": 4.5, "use_c_per_hour": 0.75,
    }))
}

fn float(values: &Values, name: &str) -> f64 {
    values[name].as_f64().unwrap()
}

fn native_price(inputs: &Values, params: &Values) -> f64 {
    let Value::List(prices) = &inputs["price_forecast"] else { panic!("a list") };
    let prices: Vec<f64> = prices.iter().map(|price| price.as_f64().unwrap()).collect();
    price::setpoint_c(
        &price::Inputs {
            tank_temp_c: float(inputs, "tank_temp_c"),
            tank_low_temp_c: float(inputs, "tank_low_temp_c"),
            hour: float(inputs, "hour"),
            price_forecast: &prices,
        },
        &price::Params {
            comfort_min_c: float(params, "comfort_min_c"),
            high_c: float(params, "high_c"),
            low_c: float(params, "low_c"),
            heat_c_per_hour: float(params, "heat_c_per_hour"),
            use_c_per_hour: float(params, "use_c_per_hour"),
        },
    )
}

#[test]
fn all_fit_the_profile_and_its_budget() {
    for example in gnomon_examples::ALL {
        let admitted = admitted(example.component);
        assert!(admitted.interface().outputs.contains_key(&"setpoint_c".parse().unwrap()));
        let with_memory = example.name.starts_with("smoothed-setpoint");
        assert_eq!(admitted.interface().state.is_some(), with_memory);
        let second = example.name == "smoothed-setpoint-2";
        assert_eq!(admitted.interface().migrate.is_some(), second);
    }
}

#[test]
fn price_in_rust_in_c_and_native_agree_bit_for_bit() {
    let rust = admitted(gnomon_examples::WATER_HEATER_PRICE);
    let c = admitted(gnomon_examples::WATER_HEATER_PRICE_C);
    let (mut high, mut low) = (0, 0);
    for case in 0..CASES {
        let (inputs, random) = (price_case(case), &mut Random(!case));
        let params = values(json!({
            "comfort_min_c": random.between(35.0, 55.0), "high_c": random.between(50.0, 70.0),
            "low_c": random.between(35.0, 45.0), "heat_c_per_hour": random.between(0.0, 10.0),
            "use_c_per_hour": random.between(0.0, 3.0),
        }));
        let native = native_price(&inputs, &params);
        for guest in [&rust, &c] {
            let params = guest.params(&params).unwrap();
            let found = number(&guest.evaluate(&inputs, &params, None), "setpoint_c");
            assert_eq!(found.to_bits(), native.to_bits(), "case {case}");
        }
        if native == float(&params, "high_c") { high += 1 } else { low += 1 }
    }
    assert!(high > CASES / 10 && low > CASES / 10, "both decisions: {high} and {low}");
}

#[test]
fn time_of_use_and_native_agree_bit_for_bit() {
    let guest = admitted(gnomon_examples::WATER_HEATER_TOU);
    for case in 0..CASES {
        let random = &mut Random(case);
        let native = tou::Params {
            off_peak_start_hour: random.below(25) as f64,
            off_peak_end_hour: random.between(0.0, 24.0),
            high_c: random.between(50.0, 70.0),
            low_c: random.between(35.0, 45.0),
        };
        let hour = if random.below(4) == 0 {
            native.off_peak_start_hour
        } else {
            random.between(0.0, 24.0)
        };
        let params = values(json!({
            "off_peak_start_hour": native.off_peak_start_hour,
            "off_peak_end_hour": native.off_peak_end_hour,
            "high_c": native.high_c, "low_c": native.low_c,
        }));
        let params = guest.params(&params).unwrap();
        let evaluation = guest.evaluate(&values(json!({"hour": hour})), &params, None);
        let expected = tou::setpoint_c(&tou::Inputs { hour }, &native);
        assert_eq!(number(&evaluation, "setpoint_c").to_bits(), expected.to_bits(), "case {case}");
    }
}

/// Clamping is not the host's: it hands on what a module asks for.
#[test]
fn hot_gets_what_it_asks_for() {
    let guest = admitted(gnomon_examples::WATER_HEATER_HOT);
    for asked in [95.0, -273.15, 1e300, 0.0] {
        let params = guest.params(&values(json!({"asked_c": asked}))).unwrap();
        let evaluation = guest.evaluate(&values(json!({"hour": 12.0})), &params, None);
        assert_eq!(number(&evaluation, "setpoint_c"), asked);
    }
}
