//! The demo as a test: a small fleet, one day, the built-in world; load, small; and what the
//! command line says by its exit code.

#[allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's verdict")]
mod load;

use fleet_sim::demo::{self, DemoOptions};
use serde_json::Value;

fn options(folder: &tempfile::TempDir) -> DemoOptions {
    DemoOptions {
        devices: 3,
        days: 1,
        data: Some("built-in".into()),
        start: "2016-11-14".into(),
        speed: 500,
        headless: true,
        json: Some(folder.path().join("demo.json")),
    }
}

#[test]
fn the_story_ends_well_and_its_figures_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder);
    demo::run(&options).unwrap();
    let report = std::fs::read(options.json.unwrap()).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}: {report:#}"));
    assert_eq!(number("converged"), 3.0, "{report:#}");
    assert_eq!((number("ticks"), number("missed_ticks")), (3.0 * 1440.0, 0.0), "{report:#}");
    assert_eq!(report["evaluations"]["active"], 3 * 1440, "{report:#}");
    assert_eq!((number("unverified_executions"), number("records_lost")), (0.0, 0.0), "{report:#}");
    for attack in ["module_signature_invalid", "approval_missing", "threshold_not_met", "rollback"]
    {
        assert_eq!(report["refused"][attack], 3, "{report:#}");
    }
    assert!(number("clamped_outputs") > 0.0, "{report:#}");
    assert_eq!(number("max_actuated_setpoint_c"), number("firmware_max_setpoint_c"), "{report:#}");
    // Five documents: v1, v2 in shadow, v2, hot, v2 again; and the empty first one, unless
    // v1 overtook it.
    assert!((3.0 * 5.0..=3.0 * 6.0).contains(&number("swaps")), "{report:#}");
    assert!(report["energy_cost"]["v1"].as_f64() > Some(0.0), "{report:#}");
}

#[test]
fn a_wrong_folder_or_day_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let wrong_folder = DemoOptions { data: Some(folder.path().into()), ..options(&folder) };
    let error = format!("{:#}", demo::run(&wrong_folder).unwrap_err());
    assert!(error.contains("ontario_price_2016.csv"), "{error}");
    let wrong_day = DemoOptions { start: "2016-02-30".into(), ..options(&folder) };
    let error = format!("{:#}", demo::run(&wrong_day).unwrap_err());
    assert!(error.contains("2016-02-30"), "{error}");
}

#[test]
fn the_exit_code_tells_a_failed_assertion_from_a_bad_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let code = |assertion: &str| {
        let text = format!(
            "name = \"code\"\ndays = 1\nprofile = \"water-heater\"\nassertions = [\"{assertion}\"]\n\
             plant = {{ type = \"water-heater\" }}\nvariants.defaults = {{}}\n"
        );
        let file = folder.path().join("scenario.toml");
        std::fs::write(&file, text).unwrap();
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_fleet-sim"))
            .arg("scenario")
            .arg(&file)
            .output()
            .unwrap();
        (run.status.code(), String::from_utf8(run.stderr).unwrap())
    };
    assert_eq!(code("max(tank_temp_c) < 75"), (Some(0), String::new()));
    assert_eq!(code("max(tank_temp_c) > 75"), (Some(1), String::new()));
    let (bad, message) = code("max(tank_tmp_c) < 75");
    assert_eq!(bad, Some(2));
    assert!(message.contains("column 5: no quantity \"tank_tmp_c\", did you mean"), "{message}");
}
