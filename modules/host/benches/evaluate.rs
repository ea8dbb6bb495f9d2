//! What an evaluation costs beside bare Wasmtime and a native call of the same
//! function, what admission costs, and how large things are.
//!
//! `cargo bench -p gnomon-host`, with `-- --json` for a program to read. Every figure
//! is of the one run; the calls take turns, so that what disturbs one round
//! disturbs them all.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench stops at what it lacks")]

use gnomon_examples::native::price;
use gnomon_host::engine::{MEMORY_BYTES_MAX, WASM_STACK_BYTES, features, pool};
use gnomon_host::{Admitted, ArtifactKey, Host, HostOptions};
use gnomon_schemas::Digest;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::Values;
use serde_json::{Value as Json, json};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, Val};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, Store, WasmFeatures};

const ROUNDS: usize = 500;
const CALLS_PER_ROUND: u32 = 100;
const NATIVE_CALLS_PER_ROUND: u32 = 10_000;
const ADMISSIONS: usize = 30;
const HOURS: usize = 24;
const RATIO_MAX: f64 = 1.5;

const METHOD: &str = "\
Function: water-heater-price (Rust) over a 24-hour forecast. One thread; 500 rounds, in
each of which all four take turns (100 calls, 10000 native ones), the order moving on by
one from round to round; a figure is the median over the rounds of a round's mean,
with the 10th and 90th percentile of the rounds behind it.
  native  price::setpoint_c, the same source file, compiled for this machine
  bare    Wasmtime, same component, same pool and resident memory: fresh store and
          instance, then Func::call with arguments made beforehand; no fuel, epochs,
          limiter, NaN canonicalization or checks
  metered bare with fuel, epochs and NaN canonicalization
  ours    Admitted::evaluate: inputs checked and converted from typed values, fresh
          store and instance, fuel, epochs, limiter, NaN canonicalization, outputs
          converted and weighed";

fn main() {
    let report = report();
    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", serde_json::to_string_pretty(&report).unwrap());
    } else {
        print(&report);
    }
}

fn report() -> Json {
    let host = Host::new(&HostOptions::default()).unwrap();
    let mut report = json!({
        "method": METHOD,
        "evaluation": evaluations(&host),
        "modules": gnomon_examples::ALL.iter().map(|e| admissions(&host, e)).collect::<Vec<_>>(),
        "agent": agent(),
    });
    report["figures"] = figures(&report);
    report
}

/// What the docs quote, each with its reference, as `fleet-sim bench` reads it.
fn figures(report: &Json) -> Json {
    let evaluation = &report["evaluation"];
    let us = |name: &str| micros(&evaluation[name]["median_ns"]);
    let figure = |what: String, (value, unit): (f64, &str), reference: (&str, f64)| {
        json!({"what": what, "value": value, "unit": unit, "reference": reference.0,
            "reference_value": reference.1})
    };
    let bare = ("bare Wasmtime", us("bare"));
    let mut all = vec![
        figure("one evaluation, everything on".into(), (us("ours"), "us"), bare),
        figure("bare Wasmtime".into(), (us("bare"), "us"), ("native code", us("native"))),
    ];
    for module in report["modules"].as_array().unwrap() {
        let name = module["name"].as_str().unwrap();
        let (cold, cached) = (micros(&module["cold_ns"]), micros(&module["cached_ns"]));
        let learned = micros(&module["learned_ns"]);
        let bytes = module["bytes"].as_f64().unwrap();
        let native = module["artifact_bytes"].as_f64().unwrap();
        let compiled = ("compiled anew", cold);
        all.extend([
            figure(format!("{name}: admitted again"), (cached, "us"), compiled),
            figure(format!("{name}: admitted from its artifact"), (learned, "us"), compiled),
            figure(format!("{name}: component"), (bytes, "bytes"), ("its native code", native)),
        ]);
    }
    Json::Array(all)
}

fn print(report: &Json) {
    println!("{METHOD}\n");
    let evaluation = &report["evaluation"];
    for name in ["native", "bare", "metered", "ours"] {
        let ns = &evaluation[name];
        println!(
            "{name:<7} {:>9.3} us   ({:.3} to {:.3})",
            micros(&ns["median_ns"]),
            micros(&ns["p10_ns"]),
            micros(&ns["p90_ns"])
        );
    }
    println!(
        "ours/bare   {:.2}   (at most {RATIO_MAX})",
        evaluation["ours_per_bare"].as_f64().unwrap()
    );
    println!("bare/native {:.0}", evaluation["bare_per_native"].as_f64().unwrap());
    println!("fuel {} memory {} bytes\n", evaluation["fuel"], evaluation["memory_bytes"]);
    println!("admission, median of {ADMISSIONS}: cold is checks, compilation and a trial start;");
    println!("cached is the same with the compiled form in memory; learned is the same after");
    println!("loading the sealed artifact, of so many bytes, in place of compiling");
    println!(
        "{:<22} {:>6} {:>10} {:>10} {:>11} {:>9}",
        "module", "bytes", "cold ms", "cached us", "learned us", "artifact"
    );
    for module in report["modules"].as_array().unwrap() {
        println!(
            "{:<22} {:>6} {:>10.2} {:>10.1} {:>11.1} {:>9}",
            module["name"].as_str().unwrap(),
            module["bytes"].as_u64().unwrap(),
            micros(&module["cold_ns"]) / 1e3,
            micros(&module["cached_ns"]),
            micros(&module["learned_ns"]),
            module["artifact_bytes"].as_u64().unwrap()
        );
    }
    match &report["agent"] {
        Json::Null => println!("\ngnomon-agent: not built (cargo build --release -p gnomon-agent)"),
        agent => {
            println!(
                "\ngnomon-agent: {} bytes, stripped {}",
                agent["bytes"], agent["stripped_bytes"]
            );
            if let Some(footprint) = agent["footprint"].as_str() {
                println!("gnomon-agent footprint: {}", footprint.trim());
            }
        }
    }
}

fn micros(ns: &Json) -> f64 {
    ns.as_f64().unwrap_or(f64::NAN) / 1e3
}

/// Sorted durations of some rounds or repetitions.
struct Times(Vec<f64>);

impl Times {
    fn of(mut ns: Vec<f64>) -> Times {
        ns.sort_by(f64::total_cmp);
        Times(ns)
    }

    fn quantile(&self, q: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * q).round() as usize]
    }

    fn json(&self) -> Json {
        json!({
            "median_ns": self.quantile(0.5),
            "p10_ns": self.quantile(0.1),
            "p90_ns": self.quantile(0.9),
        })
    }
}

fn time(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn mean_ns(calls: u32, mut call: impl FnMut()) -> f64 {
    let elapsed = time(|| (0..calls).for_each(|_| call()));
    elapsed.as_nanos() as f64 / f64::from(calls)
}

fn evaluations(host: &Host) -> Json {
    let prices: Vec<f64> = (0..HOURS).map(|hour| ((hour * 7) % HOURS) as f64 / 100.0).collect();
    let native = || {
        black_box(price::setpoint_c(
            black_box(&price::Inputs {
                tank_temp_c: 50.0,
                tank_low_temp_c: 45.0,
                hour: 13.5,
                price_forecast: &prices,
            }),
            black_box(&NATIVE_PARAMS),
        ));
    };
    let ours = Ours::new(host, &prices);
    let bare = Bare::new(gnomon_examples::WATER_HEATER_PRICE, &prices, false);
    let metered = Bare::new(gnomon_examples::WATER_HEATER_PRICE, &prices, true);
    assert_eq!(ours.call(), bare.call(), "the same function");
    assert_eq!(ours.call(), metered.call(), "the same function");

    let mut rounds = [const { Vec::new() }; 4];
    for round in 0..ROUNDS + 20 {
        for turn in 0..4 {
            let which = (round + turn) % 4;
            let ns = match which {
                0 => mean_ns(NATIVE_CALLS_PER_ROUND, native),
                1 => mean_ns(CALLS_PER_ROUND, || {
                    black_box(bare.call());
                }),
                2 => mean_ns(CALLS_PER_ROUND, || {
                    black_box(metered.call());
                }),
                _ => mean_ns(CALLS_PER_ROUND, || {
                    black_box(ours.evaluate());
                }),
            };
            // The first rounds warm caches and the pool.
            if round >= 20 {
                rounds[which].push(ns);
            }
        }
    }
    let [native, bare, metered, timed] = rounds.map(Times::of);
    let last = ours.evaluate();
    json!({
        "native": native.json(), "bare": bare.json(), "metered": metered.json(),
        "ours": timed.json(),
        "ours_per_bare": timed.quantile(0.5) / bare.quantile(0.5),
        "bare_per_native": bare.quantile(0.5) / native.quantile(0.5),
        "fuel": last.fuel, "memory_bytes": last.memory_bytes,
    })
}

const NATIVE_PARAMS: price::Params = price::Params {
    comfort_min_c: 45.0,
    high_c: 62.0,
    low_c: 41.0,
    heat_c_per_hour: 4.5,
    use_c_per_hour: 0.75,
};

fn profile() -> (Profile, FunctionName) {
    let file = include_bytes!("../../../schemas/examples/profile.json");
    (Profile::parse(file).unwrap().0, "setpoint".parse().unwrap())
}

struct Ours {
    admitted: Admitted,
    params: gnomon_host::Params,
    inputs: Values,
}

impl Ours {
    fn new(host: &Host, prices: &[f64]) -> Ours {
        let admitted = admit(host, gnomon_examples::WATER_HEATER_PRICE);
        let params = values(json!({
            "comfort_min_c": 45.0, "high_c": 62.0, "low_c": 41.0,
            "heat_c_per_hour": 4.5, "use_c_per_hour": 0.75,
        }));
        let inputs = values(json!({
            "tank_temp_c": 50.0, "tank_low_temp_c": 45.0, "hour": 13.5, "price_forecast": prices,
        }));
        Ours { params: admitted.params(&params).unwrap(), admitted, inputs }
    }

    fn evaluate(&self) -> gnomon_host::Evaluation {
        self.admitted.evaluate(&self.inputs, &self.params, None)
    }

    fn call(&self) -> f64 {
        self.evaluate().outcome.unwrap().outputs["setpoint_c"].as_f64().unwrap()
    }
}

fn values(json: Json) -> Values {
    serde_json::from_value(json).unwrap()
}

fn admit(host: &Host, module: &[u8]) -> Admitted {
    let (profile, function) = profile();
    let budget = profile.functions[&function].budget;
    host.admit(module, &profile, &function, budget).unwrap()
}

struct Bare {
    engine: Engine,
    instance: InstancePre<()>,
    evaluate: ComponentExportIndex,
    arguments: [Val; 2],
    metered: bool,
}

impl Bare {
    fn new(module: &[u8], prices: &[f64], metered: bool) -> Bare {
        let mut config = Config::new();
        config
            .wasm_features(WasmFeatures::all(), false)
            .wasm_features(features(), true)
            .consume_fuel(metered)
            .epoch_interruption(metered)
            .cranelift_nan_canonicalization(metered)
            .cranelift_opt_level(OptLevel::Speed)
            .max_wasm_stack(WASM_STACK_BYTES)
            .wasm_backtrace_max_frames(None)
            .concurrency_support(false)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(&HostOptions::default())))
            .memory_reservation(MEMORY_BYTES_MAX as u64)
            .memory_guard_size(64 * 1024);
        let engine = Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, module).unwrap();
        let number = |name: &str, value| (name.to_owned(), Val::Float64(value));
        let prices = prices.iter().copied().map(Val::Float64).collect();
        let inputs = Val::Record(vec![
            number("tank-temp-c", 50.0),
            number("tank-low-temp-c", 45.0),
            number("hour", 13.5),
            ("price-forecast".to_owned(), Val::List(prices)),
        ]);
        let params = Val::Record(vec![
            number("comfort-min-c", 45.0),
            number("high-c", 62.0),
            number("low-c", 41.0),
            number("heat-c-per-hour", 4.5),
            number("use-c-per-hour", 0.75),
        ]);
        Bare {
            instance: Linker::new(&engine).instantiate_pre(&component).unwrap(),
            evaluate: component.get_export_index(None, "evaluate").unwrap(),
            engine,
            arguments: [inputs, params],
            metered,
        }
    }

    fn call(&self) -> f64 {
        let mut store = Store::new(&self.engine, ());
        if self.metered {
            store.set_fuel(1_000_000).unwrap();
            store.set_epoch_deadline(1_000);
        }
        let instance = self.instance.instantiate(&mut store).unwrap();
        let evaluate = instance.get_func(&mut store, self.evaluate).unwrap();
        let mut results = [Val::Bool(false)];
        evaluate.call(&mut store, &self.arguments, &mut results).unwrap();
        match &results {
            [Val::Record(fields)] => match fields.as_slice() {
                [(_, Val::Float64(setpoint_c))] => *setpoint_c,
                _ => f64::NAN,
            },
            _ => f64::NAN,
        }
    }
}

fn admissions(host: &Host, example: &gnomon_examples::Example) -> Json {
    let (key, module) = (ArtifactKey::from_bytes([0; 32]), Digest::of(example.component));
    let sealed = host.compile(example.component, &key).unwrap();
    let median_ns = |cold: bool, learned: bool| {
        let once = |_| {
            if cold {
                host.forget_compiled();
            }
            let elapsed = time(|| {
                if learned {
                    host.learn(&module, &sealed, &key).unwrap();
                }
                drop(black_box(admit(host, example.component)));
            });
            elapsed.as_nanos() as f64
        };
        Times::of((0..ADMISSIONS).map(once).collect()).quantile(0.5)
    };
    json!({
        "name": example.name, "language": example.language, "bytes": example.component.len(),
        "cold_ns": median_ns(true, false), "cached_ns": median_ns(false, false),
        "learned_ns": median_ns(true, true), "artifact_bytes": sealed.len(),
    })
}

/// The agent's binary beside this bench's, if it was built.
fn agent() -> Json {
    let Some(binary) = agent_binary() else { return Json::Null };
    let copy = std::env::temp_dir().join(format!("gnomon-agent-{}", std::process::id()));
    let stripped = Command::new("strip").arg("-o").arg(&copy).arg(&binary).status();
    let stripped_bytes = match stripped {
        Ok(status) if status.success() => size(&copy),
        _ => None,
    };
    // A copy that was never made needs no removal.
    drop(std::fs::remove_file(&copy));
    let footprint = footprint(&binary).filter(|output| output.status.success());
    json!({
        "bytes": size(&binary),
        "stripped_bytes": stripped_bytes,
        "footprint": footprint.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()),
    })
}

/// The agent's own word on its resident memory: bare, with the engine up, and with
/// the planning water heater admitted and called a thousand times.
fn footprint(binary: &Path) -> Option<Output> {
    let module = std::env::temp_dir().join(format!("gnomon-module-{}", std::process::id()));
    std::fs::write(&module, gnomon_examples::WATER_HEATER_PRICE).ok()?;
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/examples/profile.json");
    let inputs =
        r#"{"tank_temp_c":51.5,"tank_low_temp_c":40,"hour":2.5,"price_forecast":[0.02,0.11]}"#;
    let params =
        r#"{"comfort_min_c":42,"high_c":65,"low_c":40,"heat_c_per_hour":6,"use_c_per_hour":1}"#;
    let output = Command::new(binary)
        .args(["footprint", "--function", "setpoint", "--inputs", inputs, "--params", params])
        .arg("--module")
        .arg(&module)
        .arg("--profile")
        .arg(profile)
        .output();
    // A file in the system's temporary folder does no harm if it stays.
    drop(std::fs::remove_file(&module));
    output.ok()
}

fn agent_binary() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let binary = here.parent()?.parent()?.join("gnomon-agent");
    binary.is_file().then_some(binary)
}

fn size(file: &Path) -> Option<u64> {
    Some(file.metadata().ok()?.len())
}
