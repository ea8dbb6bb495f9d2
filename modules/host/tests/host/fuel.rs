//! Fuel is the same on every machine: golden for functions written as text, and for
//! the examples wherever the same toolchain built them.
//!
//! A line of `fuel.golden` is a function, a case and its fuel. An example's function is
//! its name and the start of its digest: another toolchain makes another digest, and
//! then there is only the equality between hosts to hold. `GNOMON_BLESS=1` rewrites.

use gnomon_host::{Admitted, Host, HostOptions};
use gnomon_schemas::value::Values;
use serde_json::json;
use std::collections::BTreeMap;

use crate::support::{BUDGET, REALLOC, bytes, component, function, profile_of, simple, values};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuel.golden");

/// Fuel by function and case.
type Fuel = BTreeMap<(String, String), u64>;

struct Case {
    function: String,
    name: String,
    guest: Admitted,
    params: Values,
    inputs: Values,
}

fn forecast(hours: usize) -> Vec<f64> {
    (0..hours).map(|hour| ((hour * 7) % 24) as f64 / 100.0).collect()
}

/// Reference functions of `x: f64` or of a list, as text: no compiler comes between.
fn written() -> Vec<(&'static str, String, bool)> {
    let list = |body: &str| {
        component(
            &[
                ("inputs", r#"(record (field "xs" (list f64)))"#),
                ("outputs", r#"(record (field "y" f64))"#),
            ],
            r#"(param "in" $inputs) (result $outputs)"#,
            &format!(
                r#"(memory (export "memory") 2) {REALLOC}
                   (func (export "f") (param $at i32) (param $count i32) (result f64) {body})"#
            ),
        )
    };
    vec![
        (
            "straight",
            simple(
                r#"(func (export "f") (param f64) (result f64)
                     (f64.add (f64.mul (local.get 0) (f64.const 1.8)) (f64.const 32)))"#,
            ),
            false,
        ),
        (
            "count",
            simple(
                r#"(func (export "f") (param f64) (result f64) (local $i f64)
                     (loop (local.set $i (f64.add (local.get $i) (f64.const 1)))
                           (br_if 0 (f64.lt (local.get $i) (local.get 0))))
                     (local.get $i))"#,
            ),
            false,
        ),
        (
            "fibonacci",
            simple(
                r#"(func $f (export "f") (param f64) (result f64)
                     (if (result f64) (f64.lt (local.get 0) (f64.const 2))
                       (then (local.get 0))
                       (else (f64.add
                         (call $f (f64.sub (local.get 0) (f64.const 1)))
                         (call $f (f64.sub (local.get 0) (f64.const 2)))))))"#,
            ),
            false,
        ),
        (
            "dispatch",
            simple(
                r#"(type $to (func (param f64) (result f64))) (table 2 funcref)
                   (elem (i32.const 0) $half $twice) (memory 1)
                   (func $half (type $to) (f64.mul (local.get 0) (f64.const 0.5)))
                   (func $twice (type $to) (f64.add (local.get 0) (local.get 0)))
                   (func (export "f") (type $to)
                     (memory.fill (i32.const 0) (i32.const 7) (i32.const 4096))
                     (call_indirect (type $to) (local.get 0)
                       (f64.gt (local.get 0) (f64.const 10))))"#,
            ),
            false,
        ),
        (
            "sum",
            list(
                "(local $sum f64)
                 (block (loop
                   (br_if 1 (i32.eqz (local.get $count)))
                   (local.set $sum (f64.add (local.get $sum) (f64.load (local.get $at))))
                   (local.set $at (i32.add (local.get $at) (i32.const 8)))
                   (local.set $count (i32.sub (local.get $count) (i32.const 1)))
                   (br 0)))
                 (local.get $sum)",
            ),
            true,
        ),
    ]
}

fn written_cases(host: &Host) -> Vec<Case> {
    let signals = json!({"x": {"type": "f64"}, "xs": {"type": {"list": "f64"}}});
    let profile = profile_of(signals, json!({"y": {"type": "f64"}}));
    let mut cases = vec![];
    for (name, text, of_list) in written() {
        let guest = host.admit(&bytes(&text), &profile, &function(), BUDGET).unwrap();
        let inputs: Vec<_> = if of_list {
            [0, 1, 24, 48, 4096].map(|n| (format!("items={n}"), json!({"xs": forecast(n)}))).into()
        } else {
            [0, 1, 12, 15].map(|x| (format!("x={x}"), json!({"x": x}))).into()
        };
        cases.extend(inputs.into_iter().map(|(case, inputs)| Case {
            function: name.to_owned(),
            name: case,
            guest: guest.clone(),
            params: Values::new(),
            inputs: values(inputs),
        }));
    }
    cases
}

fn example_cases(host: &Host) -> Vec<Case> {
    let profile = crate::support::water_heater();
    let budget = profile.functions[&function()].budget;
    let mut cases = vec![];
    for example in gnomon_examples::ALL {
        let guest = host.admit(example.component, &profile, &function(), budget).unwrap();
        let params = match example.name {
            "water-heater-tou" => values(json!({
                "off_peak_start_hour": 23.0, "off_peak_end_hour": 7.0, "high_c": 60.0, "low_c": 45.0
            })),
            "water-heater-hot" => values(json!({"asked_c": 95.0})),
            "smoothed-setpoint" => values(json!({"target_c": 55.0, "weight": 0.25})),
            "smoothed-setpoint-2" => values(json!({"target_c": 55.0, "readings": 4})),
            _ => crate::examples::price_params(),
        };
        for (hours, temp) in [(0, 50.0), (1, 44.0), (24, 50.0), (24, 46.0), (48, 50.0)] {
            cases.push(Case {
                function: format!("{}@{}", example.name, guest.digest().short()),
                name: format!("hours={hours},temp={temp}"),
                guest: guest.clone(),
                params: params.clone(),
                inputs: values(json!({
                    "hour": 13.5, "tank_temp_c": temp, "tank_low_temp_c": temp - 5.0,
                    "price_forecast": forecast(hours),
                })),
            });
        }
    }
    cases
}

fn measure(cases: &[Case]) -> Fuel {
    cases
        .iter()
        .map(|case| {
            let params = case.guest.params(&case.params).unwrap();
            let evaluation = case.guest.evaluate(&case.inputs, &params, None);
            assert!(evaluation.outcome.is_ok(), "{} {}", case.function, case.name);
            ((case.function.clone(), case.name.clone()), evaluation.fuel.unwrap())
        })
        .collect()
}

fn read_golden() -> Fuel {
    let text = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    let mut golden = Fuel::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [function, case, fuel] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("fuel.golden: {line}")
        };
        golden.insert((function.to_owned(), case.to_owned()), fuel.parse().unwrap());
    }
    golden
}

fn write_golden(golden: &Fuel) {
    let mut text = String::from("# function case fuel; see tests/host/fuel.rs\n");
    for ((function, case), fuel) in golden {
        text += &format!("{function} {case} {fuel}\n");
    }
    std::fs::write(GOLDEN, text).unwrap();
}

#[test]
fn fuel_is_golden() {
    let host = crate::support::host();
    let (written, examples) = (measure(&written_cases(host)), measure(&example_cases(host)));
    let mut golden = read_golden();
    if std::env::var_os("GNOMON_BLESS").is_some() {
        golden.retain(|(function, _), _| function.contains('@'));
        golden.extend(written.clone());
        golden.extend(examples.clone());
        write_golden(&golden);
    }
    let of = |keep: &dyn Fn(&str) -> bool| -> Fuel {
        golden.iter().filter(|((f, _), _)| keep(f)).map(|(k, fuel)| (k.clone(), *fuel)).collect()
    };
    assert_eq!(written, of(&|function| !function.contains('@')));
    for function in examples.keys().map(|(function, _)| function) {
        let known = of(&|other| other == function);
        let found: Fuel = examples
            .iter()
            .filter(|((other, _), _)| other == function)
            .map(|(key, fuel)| (key.clone(), *fuel))
            .collect();
        if known.is_empty() {
            println!("note: {function} is of another toolchain than fuel.golden's; not compared");
        } else {
            assert_eq!(found, known);
        }
    }
}

#[test]
fn fuel_is_the_same_in_every_host_and_thread() {
    let all = |host: &Host| {
        let mut fuel = measure(&written_cases(host));
        fuel.extend(measure(&example_cases(host)));
        fuel
    };
    let here = all(crate::support::host());
    let other = Host::new(&HostOptions { instances: 1 }).unwrap();
    assert_eq!(all(&other), here);
    other.forget_compiled();
    assert_eq!(all(&other), here, "compiled again");
    let thread = std::thread::spawn(|| {
        let host = Host::new(&HostOptions { instances: 2 }).unwrap();
        let mut fuel = measure(&written_cases(&host));
        fuel.extend(measure(&example_cases(&host)));
        fuel
    });
    assert_eq!(thread.join().unwrap(), here);
}
