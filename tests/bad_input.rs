//! Bad input at the command line, over HTTP and in the agent: one clear error
//! with a stable code, and nothing has changed.

use serde_json::{Value, json};
use std::process::Command;

use crate::stage::{Agent, Cloud, PROFILE};

/// The one line that the command line prints, and its exit code.
#[track_caller]
fn refused(cloud: &Cloud, arguments: &[&str], reason: &str) {
    let output = cloud.gnomon(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
    let [line] = lines.as_slice() else { panic!("{arguments:?}: one error line, not\n{error}") };
    assert!(line.starts_with(&format!("error: {reason}: ")), "{arguments:?}: {line}");
}

#[test]
fn each_wrong_input_earns_its_own_code_at_the_command_line_and_over_http() {
    let cloud = Cloud::start();
    cloud.set_scene(&json!({}));
    let before = cloud.get("/v1/status");

    let profile: Value = serde_json::from_slice(PROFILE).unwrap();
    let mut contradiction = profile.clone();
    contradiction["outputs"]["setpoint_c"]["default"] = json!(99.0);
    let wrong_profile = cloud.file("wrong.json", contradiction.to_string().as_bytes());
    refused(&cloud, &["profile", "add", &wrong_profile], "profile_invalid");
    let broken = cloud.file("broken.json", b"{\"schema\":");
    refused(&cloud, &["profile", "add", &broken], "malformed_json");
    refused(&cloud, &["device", "add", "other", "--profile", "toaster"], "unknown_profile");
    refused(&cloud, &["device", "show", "nobody"], "unknown_device");

    let garbage = cloud.file("garbage.wasm", b"\0asm garbage");
    refused(&cloud, &["module", "add", &garbage, "--data", "cloud"], "not_a_component");
    let importing = cloud.file("importing.wasm", &importing_module());
    refused(&cloud, &["module", "add", &importing, "--data", "cloud"], "has_imports");

    let config = cloud.file("config.json", br#"{"config":{"comfort_min_c":"warm"}}"#);
    refused(&cloud, &["desired", "patch", "--fleet", "--file", &config], "config_invalid");
    let twice = cloud.file("twice.json", br#"{"config":{"vacation":true,"vacation":false}}"#);
    refused(&cloud, &["desired", "patch", "--fleet", "--file", &twice], "duplicate_key");
    let wide = cloud
        .file("wide.json", br#"{"functions":{"setpoint":{"bounds":{"setpoint_c":{"max":95.0}}}}}"#);
    refused(&cloud, &["desired", "patch", "--fleet", "--file", &wide], "bounds_widened");
    let other = cloud.file("other.json", br#"{"functions":{"pump":{}}}"#);
    refused(&cloud, &["desired", "patch", "--fleet", "--file", &other], "unknown_function");
    let huge = cloud.file("huge.json", &vec![b' '; 2 * 1024 * 1024]);
    refused(&cloud, &["desired", "patch", "--fleet", "--file", &huge], "too_large");

    assert_eq!(cloud.get("/v1/devices/nobody")["reason"], "unknown_device");
    assert_eq!(cloud.get("/v1/nothing")["reason"], "unknown_route");
    let after = cloud.get("/v1/status");
    assert_eq!(before["devices"], after["devices"]);
    assert_eq!(cloud.get("/v1/modules").as_array().unwrap().len(), 1);
    let version = cloud.device()["desired"]["version"].as_u64();
    assert_eq!(cloud.device()["applied"], Value::Null);
    assert!(version.is_some());
}

/// A component that imports a function, with a manifest.
fn importing_module() -> Vec<u8> {
    let example = gnomon_examples::WATER_HEATER_TOU;
    // The manifest is the last section of an example: the same bytes go after ours.
    let name = b"gnomon.manifest";
    let at = example.windows(name.len()).rposition(|window| window == name).unwrap();
    // Section id 0, a size of one or two bytes, the name's length of one byte.
    let start = example[..at].iter().rposition(|byte| *byte == 0).unwrap();
    // (component (import "clock" (func (result u64))))
    let mut component = vec![0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];
    component.extend([0x07, 0x05, 0x01, 0x40, 0x00, 0x00, 0x77]);
    component.extend([0x0a, 0x0a, 0x01, 0x00, 0x05, b'c', b'l', b'o', b'c', b'k', 0x01, 0x00]);
    component.extend(&example[start..]);
    component
}

#[test]
fn an_agent_says_which_file_of_its_bundle_is_wrong() {
    let cloud = Cloud::start();
    cloud.set_scene(&json!({}));
    drop(Agent::start(&cloud));
    let bundle = cloud.folder.path().join("bundle");
    for (file, content, expected) in [
        ("agent.json", r#"{"fleet":"acme"}"#, "agent.json: at `.`: missing field `device`"),
        ("agent.json", "", "agent.json: not JSON"),
        ("profile.json", "{}", "profile.json: profile: at `.`: missing field `schema`"),
        ("trust-root.json", "{}", "trust-root.json: envelope: at `.`: missing field"),
    ] {
        let path = bundle.join(file);
        let right = std::fs::read(&path).unwrap();
        std::fs::write(&path, content).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_gnomon-agent-under-test"))
            .arg("run")
            .arg("--config")
            .arg(&bundle)
            .args(["--data", "unused", "--socket", "unused.sock"])
            .current_dir(cloud.folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected), "{file}: expected {expected}, got {error}");
        std::fs::write(&path, right).unwrap();
    }
}

#[test]
fn a_candidate_that_proposes_the_greatest_numbers_stops_neither_control_nor_results() {
    let cloud = Cloud::start();
    let often = json!({"summary_ticks": 5, "record_every": 1});
    cloud.set_scene(&often);
    let hot = cloud.file("hot.wasm", gnomon_examples::WATER_HEATER_HOT);
    cloud.does(&["module", "add", &hot, "--data", "cloud"]);
    let agent = Agent::start(&cloud);
    let mut firmware = agent.firmware();
    let mut ticks = 0;
    for asked_c in ["1.7e308", "-1.7e308", "1e200", "1e12"] {
        let params = format!("{{\"asked_c\":{asked_c}}}");
        let hot =
            ["candidate", "add", "--fleet", "--function", "setpoint", "water-heater-hot@1.0.0"];
        cloud.does(&[&hot[..], &["--params", &params]].concat());
        cloud.approve();
        cloud.wait_applied(cloud.device()["desired"]["version"].as_u64().unwrap());
        for _ in 0..20 {
            assert_eq!(firmware.tick(50.0)["outputs"]["setpoint_c"], 60.0);
            ticks += 1;
        }
        let remove = ["candidate", "remove", "--fleet", "--function", "setpoint"];
        cloud.does(&[&remove[..], &["water-heater-hot@1.0.0"]].concat());
    }
    crate::restart::wait_accounted(&cloud, &agent, ticks);
    assert_eq!(cloud.get("/v1/status")["refused"], json!({}), "the cloud takes every batch");
}
