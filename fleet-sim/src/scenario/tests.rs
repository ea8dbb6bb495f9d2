//! Tests of scenarios as a whole: what ships, what breaks, what is refused, what is written.

use super::*;
use gnomon_host::Host;
use gnomon_schemas::Digest;
use gnomon_schemas::value::Values;
use serde_json::{Value as Json, json};
use std::path::Path;

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
const TOU: &str = "module = \"water-heater-tou\"\nparams = { off_peak_start_hour = 23, \
                   off_peak_end_hour = 7, high_c = 60, low_c = 45 }\n";
const PRICE: &str = "module = \"water-heater-price\"\nparams = { comfort_min_c = 42, high_c = 65, \
                     low_c = 40, heat_c_per_hour = 6, use_c_per_hour = 1 }\n";

/// A day of two heaters under one function; the rest is what a test is about.
fn scenario(assertions: &[&str], function: &str, rest: &str) -> String {
    format!(
        "name = \"test\"\ndays = 1\ndevices = 2\nprofile = \"water-heater\"\n\
         assertions = {assertions:?}\n[plant]\ntype = \"water-heater\"\n\
         [variants.v1.functions.setpoint]\n{function}\n{rest}"
    )
}

fn ended(text: &str, host: &Host) -> Ended {
    let scenario = Scenario::parse(text, Path::new("test.toml"), host);
    simulate(scenario.unwrap_or_else(|error| panic!("{error}")), Some(2), &|| ()).unwrap()
}

#[track_caller]
fn assert_holds(text: &str) {
    let ended = ended(text, &host().unwrap());
    assert!(ended.holds(), "{}", ended.text());
}

/// The report without what depends on the machine.
fn without_speed(mut report: Json) -> Json {
    report["speed"] = Json::Null;
    report
}

#[test]
fn the_scenarios_that_ship_hold() {
    let host = host().unwrap();
    for entry in Path::new(SCENARIOS).read_dir().unwrap() {
        let path = entry.unwrap().path();
        let scenario = Scenario::load(&path, &host).unwrap();
        let ended = simulate(scenario, None, &|| ()).unwrap();
        println!("{}", ended.text());
        assert!(ended.holds(), "{}", ended.text());
    }
}

#[test]
fn a_year_of_real_prices_weather_and_a_real_household_judges_two_functions() {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
    if !data.is_dir() {
        println!("note: {data:?} is missing, no year of real data is run");
        return;
    }
    let world = format!(
        "[variants.v2.functions.setpoint]\n{PRICE}[world]\nprices = {prices:?}\n\
         draws = {draws:?}\ndraws_l_per_day = 180\noutdoor = {outdoor:?}\n",
        prices = data.join("ontario_price_2016.csv"),
        draws = data.join("resstock_hot_water_schedule.csv"),
        outdoor = data.join("toronto_temperature_2016.csv"),
    );
    let assertions = [
        "max(max_tank_temp_c) < 75",
        "energy_cost.v2 <= 0.97 * energy_cost.v1",
        "comfort_violation_minutes.v2 <= 0.01 * draw_minutes.v2",
        "energy_kwh <= 1.05 * (delivered_kwh + standing_loss_kwh)",
    ];
    let text = scenario(&assertions, TOU, &world).replace("days = 1", "days = 365");
    let text = text.replace("[plant]\n", "[plant]\noutdoors = true\n");
    assert_holds(&text.replace("devices = 2", "devices = 1"));
}

#[test]
fn figures_do_not_depend_on_threads_and_follow_the_seed() {
    let host = host().unwrap();
    let run = |seed: u64, threads| {
        let rest = "[[faults]]\nkind = \"sensor_noise\"\nsignal = \"tank_low_temp_c\"\n\
                    amount = 2\nfrom_hour = 0\nto_hour = 24\n";
        let text = scenario(&["energy_cost < 9", "p95(tank_temp_c) < 70"], PRICE, rest);
        let text = text.replace("devices = 2", &format!("devices = 5\nseed = {seed}"));
        let scenario = Scenario::parse(&text, Path::new("test.toml"), &host).unwrap();
        without_speed(simulate(scenario, Some(threads), &|| ()).unwrap().json())
    };
    assert_eq!(run(1, 1), run(1, 3));
    assert_ne!(run(1, 1)["accounts"], run(2, 1)["accounts"]);
}

#[test]
fn what_a_function_asks_for_is_clamped_as_on_a_device() {
    let hot = "module = \"water-heater-hot\"\nparams = { asked_c = 95 }\n";
    assert_holds(&scenario(
        &[
            "max(proposed_setpoint_c) == 95",
            "max(setpoint_c) == 70",
            "clamped_ticks == ticks",
            "max(max_tank_temp_c) < 72",
            "faults == 0",
        ],
        hot,
        "",
    ));
    let narrowed = format!("{hot}bounds = {{ setpoint_c = {{ max = 55 }} }}\n");
    assert_holds(&scenario(&["max(setpoint_c) == 55"], &narrowed, ""));
}

#[test]
fn a_failing_module_is_held_and_then_on_its_default() {
    let rest = "[[faults]]\nkind = \"module_trap\"\nfrom_hour = 3\nto_hour = 4\ndevices = [1]\n";
    assert_holds(&scenario(
        &[
            "faults == 60",
            "held_ticks == 5",
            "default_ticks == 55",
            "count(setpoint_c == 50) == 55",
        ],
        TOU,
        rest,
    ));
    // A budget that it starts in, and no call fits in, is a fault of every tick.
    let starved = format!("{PRICE}budget = {{ fuel = 1000, memory_bytes = 1048576 }}\n");
    let assertions = ["faults == ticks", "held_ticks == 10", "default_ticks == ticks - 10"];
    assert_holds(&scenario(&assertions, &starved, ""));
}

#[test]
fn a_missing_sensor_is_a_fault_and_meets_the_interlock() {
    let rest = "[[faults]]\nkind = \"sensor_missing\"\nsignal = \"tank_temp_c\"\n\
                from_hour = 3\nto_hour = 4\n";
    // The function reads the hour alone, so it goes on; the interlock does not trust the silence.
    let assertions = [
        "faults == 0",
        "count(setpoint_c == 35) == 120",
        "count(proposed_setpoint_c > 0) == ticks",
    ];
    assert_holds(&scenario(&assertions, TOU, rest));
}

#[test]
fn without_power_nothing_heats_and_without_agent_the_actuator_stays() {
    let fault =
        |kind: &str| format!("[[faults]]\nkind = \"{kind}\"\nfrom_hour = 1\nto_hour = 24\n");
    let hot = "module = \"water-heater-hot\"\nparams = { asked_c = 70 }\n";
    let warm = "max(tank_temp_c) > 65";
    assert_holds(&scenario(
        &[warm, "ticks == 120", "count(setpoint_c) == 120"],
        hot,
        &fault("agent_down"),
    ));
    let cold = ["last(tank_mean_temp_c) < 45", "ticks == 120", "energy_kwh < 10"];
    assert_holds(&scenario(&cold, hot, &fault("power_cut")));
}

#[test]
fn a_function_with_memory_goes_on_after_a_restart() {
    let smoothed = "module = \"smoothed-setpoint\"\nparams = { target_c = 55, weight = 0.1 }\n";
    let rest = "[[faults]]\nkind = \"agent_down\"\nfrom_hour = 6\nto_hour = 7\n";
    assert_holds(&scenario(
        &["faults == 0", "ticks == 2 * 1380", "mean(tank_temp_c) > 50", "mean(tank_temp_c) < 60"],
        smoothed,
        rest,
    ));
}

#[test]
fn a_failed_assertion_is_in_every_report() {
    let host = host().unwrap();
    let text = scenario(&["max(tank_temp_c) < 5", "energy_kwh > 0", "max(fuel) / 0 > 1"], TOU, "");
    let ended = ended(&text, &host);
    assert!(!ended.holds());
    let verdicts: Vec<bool> = ended.verdicts().iter().map(|verdict| verdict.holds).collect();
    assert_eq!(verdicts, [false, true, true]);
    assert!(ended.text().contains("FAIL  max(tank_temp_c) < 5"), "{}", ended.text());
    assert_eq!(ended.json()["holds"], false);
    let junit = String::from_utf8(ended.junit().unwrap()).unwrap();
    assert!(junit.contains("failures=\"1\"") && junit.contains("max(tank_temp_c) &lt; 5 [v1]"));
    let mut reader = quick_xml::Reader::from_str(&junit);
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Eof => break,
            _ => continue,
        }
    }
}

#[test]
fn each_asserted_quantity_has_a_plot() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scenario.toml");
    std::fs::write(&file, scenario(&["max(tank_temp_c) < 75", "energy_cost < 9"], TOU, ""))
        .unwrap();
    let options = ScenarioOptions {
        file,
        junit: Some(folder.path().join("junit.xml")),
        json: Some(folder.path().join("report.json")),
        plots: Some(folder.path().join("plots")),
        threads: Some(1),
        list: false,
    };
    assert!(run(&options).unwrap());
    for name in ["plots/tank_temp_c.svg", "plots/energy_cost.svg"] {
        let svg = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("v1"), "{name}");
    }
    assert!(folder.path().join("junit.xml").is_file() && options.json.unwrap().is_file());
}

#[test]
fn a_bad_scenario_is_refused_with_its_place() {
    let host = host().unwrap();
    let good = scenario(&["energy_kwh > 0"], TOU, "");
    let check = |change: &dyn Fn(&str) -> String, expected: &str| {
        let refused = Scenario::parse(&change(&good), Path::new("test.toml"), &host);
        let message = refused.map(drop).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected:?} is not in: {message}");
    };
    let replace = |from: &'static str, to: &'static str| move |text: &str| text.replace(from, to);
    let fault = |fault: &'static str| {
        move |text: &str| format!("{text}[[faults]]\nfrom_hour = 1\nto_hour = 2\n{fault}")
    };
    check(&replace("days = 1", "dayz = 1"), "line 2, column 1");
    check(&replace("days = 1", "days = 0"), "days is 0; give a number from 1");
    check(&replace("energy_kwh", "energy_kw"), "assertion 1: column 1: no quantity \"energy_kw\"");
    check(&replace("\"energy_kwh > 0\"", ""), "assertions is empty");
    check(&replace("high_c", "hihg_c"), "variants.v1: functions.setpoint: params");
    check(&replace("\"water-heater-tou\"", "\"water-heater-tuo\""), "cannot read module");
    check(&replace("functions.setpoint", "functions.heat"), "no function in the profile \"heat\"");
    check(&replace("type = \"water-heater\"", "type = \"kettle\""), "unknown variant `kettle`");
    check(&replace("profile = \"water-heater\"", "profile = \"kettle\""), "known: water-heater");
    check(
        &replace("profile = \"water-heater\"", "profile = \"home-battery\""),
        "no function in the profile \"setpoint\"",
    );
    check(&fault("kind = \"sensor_frozen\""), "fault 1: signal is missing");
    check(&fault("kind = \"sensor_frozen\"\nsignal = \"tank\""), "fault 1: no signal \"tank\"");
    check(&fault("kind = \"module_trap\"\ndevices = [2]"), "fault 1: no device 2; there are 2");
    check(&fault("kind = \"sensor_noise\"\nsignal = \"hour\""), "fault 1: amount is missing");
    check(
        &fault("kind = \"sensor_noise\"\nsignal = \"price_forecast\"\namount = 1"),
        "fault 1: signal price_forecast is list<f64>; noise and offset are for an f64",
    );
    let world = |text: &str| format!("{text}[world]\nprices = \"none.csv\"\n");
    check(&world, "world: cannot read \"none.csv\"");
}

/// Records of a day as the cloud's API returns them, by the price function.
fn recorded(host: &Host, folder: &Path) -> Json {
    let module = gnomon_examples::WATER_HEATER_PRICE;
    std::fs::write(folder.join("price.wasm"), module).unwrap();
    let profile: &[u8] = include_bytes!("../../../schemas/examples/profile.json");
    let (profile, _) = gnomon_schemas::profile::Profile::parse(profile).unwrap();
    let function = "setpoint".parse().unwrap();
    let budget = profile.functions[&function].budget;
    let admitted = host.admit(module, &profile, &function, budget).unwrap();
    let params = json!({"comfort_min_c": 42.0, "high_c": 65.0, "low_c": 40.0,
                        "heat_c_per_hour": 6.0, "use_c_per_hour": 1.0});
    let fit: Values = serde_json::from_value(params.clone()).unwrap();
    let fit = admitted.params(&fit).unwrap();
    let record = |tick: u64| {
        let inputs = json!({
            "tank_temp_c": 41.0 + tick as f64 / 7.0,
            "tank_low_temp_c": 0.1 + 30.0 + tick as f64 / 3.0,
            "hour": tick as f64 / 2.0,
            "price_forecast": (0..24).map(|h| ((h * tick) % 7) as f64 / 100.0).collect::<Vec<_>>(),
        });
        let read: Values = serde_json::from_value(inputs.clone()).unwrap();
        let evaluation = admitted.evaluate(&read, &fit, None);
        json!({
            "id": tick, "at_ms": 1_451_624_400_000 + tick * 1_800_000, "tick": tick * 30,
            "function": "setpoint", "module": Digest::of(module), "role": "active",
            "inputs": inputs, "params": params, "fuel": evaluation.fuel, "time_us": 7,
            "outputs": evaluation.outcome.unwrap().outputs,
        })
    };
    json!({"items": (0..48).map(record).collect::<Vec<_>>(), "next_after": null})
}

#[test]
fn an_incident_runs_again_bit_for_bit_and_beside_another_module() {
    let host = host().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let page = recorded(&host, folder.path());
    let options = incident::IncidentOptions {
        records: path("records.json"),
        module: path("price.wasm"),
        out: path("incident.toml"),
        profile: "water-heater".into(),
        function: None,
        beside: Some(path("beside.wasm")),
        beside_params: None,
    };
    std::fs::write(path("beside.wasm"), gnomon_examples::WATER_HEATER_PRICE_C).unwrap();
    let run = |page: &Json| {
        std::fs::write(&options.records, page.to_string()).unwrap();
        incident::run(&options).unwrap();
        let scenario = Scenario::load(&options.out, &host).unwrap();
        simulate(scenario, Some(1), &|| ()).unwrap()
    };
    let same = run(&page);
    assert!(same.holds(), "{}", same.text());
    assert_eq!(same.json()["accounts"]["recorded"]["records"], 48.0);
    // Another language, the same bits; its fuel is not held against the recorded one.
    assert_eq!(same.json()["accounts"]["beside"]["output_mismatches"], 0.0);
    assert_eq!(same.json()["accounts"]["beside"]["module_mismatches"], 48.0);
    for (field, value) in [("fuel", json!(1)), ("outputs", json!({"setpoint_c": 39.999999999999}))]
    {
        let mut other = page.clone();
        other["items"][7][field] = value;
        let ended = run(&other);
        assert!(!ended.holds(), "{field}");
        assert_eq!(ended.verdicts().iter().filter(|verdict| !verdict.holds).count(), 1, "{field}");
    }
    // What another module did meanwhile is left out.
    let mut swapped = page.clone();
    swapped["items"][7]["module"] = json!(Digest::of(b"another"));
    swapped["items"][7]["fuel"] = json!(1);
    let ended = run(&swapped);
    assert!(ended.holds(), "{}", ended.text());
    assert_eq!(ended.json()["accounts"]["recorded"]["records"], 47.0);
    // What the clock of the device did is not held against the module.
    let mut late = page.clone();
    late["items"][7]["fault"] = json!("deadline_missed");
    let item = late["items"][7].as_object_mut().unwrap();
    item.remove("outputs");
    item.remove("fuel");
    let ended = run(&late);
    assert!(ended.holds(), "{}", ended.text());
    assert_eq!(ended.json()["accounts"]["recorded"]["unrepeatable_faults"], 1.0);
    let mut other = page.clone();
    other["items"].as_array_mut().unwrap().iter_mut().for_each(|record| {
        record["module"] = json!(Digest::of(b"another"));
    });
    std::fs::write(&options.records, other.to_string()).unwrap();
    let refused = incident::run(&options).unwrap_err().to_string();
    assert!(refused.contains("made none of the 48 records"), "{refused}");
}

#[test]
fn records_are_read_as_pages_lists_and_lines() {
    let host = host().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let page = recorded(&host, folder.path());
    let list = page["items"].clone();
    let lines: Vec<String> =
        list.as_array().unwrap().iter().map(std::string::ToString::to_string).collect();
    let expected = replay::parse(&page.to_string()).unwrap();
    assert_eq!(expected.len(), 48);
    for text in [list.to_string(), lines.join("\n"), format!("[{page}]")] {
        assert_eq!(replay::parse(&text).unwrap(), expected);
    }
    assert!(replay::parse("{\"a\": 1}").unwrap_err().contains("no records in it"));
    assert!(replay::parse("{").unwrap_err().contains("not JSON"));
}

#[test]
fn the_cost_of_a_tick_is_measured() {
    for cost in bench::tick_costs(30).unwrap() {
        println!("{cost:?}");
        assert!(cost.evaluation_ns > 0.0 && cost.tick_per_evaluation > 0.0);
    }
}
