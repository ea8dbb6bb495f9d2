//! A device whose clock says 1970, or 2106: it enrols, knows its broker, takes a
//! document, and goes on from its store as if there were no clock at all.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::{Agent, Cloud, DEVICE, tou_params, until};

/// Unix time in seconds: the beginning, and more than 32 bits hold.
const CLOCKS: [&str; 2] = ["0", "4294967297"];

/// The library that stands before the C library and gives programs another clock.
fn other_clock() -> PathBuf {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("other_clock.so");
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/sigstore/tests/sigstore/clock.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status()
        .expect("cc (Debian: gcc)");
    assert!(built.success());
    library
}

#[test]
fn a_device_needs_no_clock_nor_a_right_one() {
    let library = other_clock();
    for seconds in CLOCKS {
        let environment = [("LD_PRELOAD", library.to_str().unwrap()), ("SYSTEM_CLOCK", seconds)];
        let cloud = Cloud::start_mutual(&[]);
        cloud.set_scene(&json!({}));
        cloud.does(&["device", "bundle", DEVICE, "--out", "bundle"]);
        let made = cloud.does(&["--json", "device", "enroll", DEVICE]);
        let made: Value = serde_json::from_str(&made).unwrap();
        let enrolled = Command::new(env!("CARGO_BIN_EXE_gnomon-agent-under-test"))
            .args(["enroll", "--config", "bundle", "--data", "agent"])
            .env("GNOMON_ENROLL_TOKEN", made["token"].as_str().unwrap())
            .envs(environment)
            .current_dir(cloud.folder.path())
            .output()
            .unwrap();
        assert!(enrolled.status.success(), "at {seconds}: {enrolled:?}");

        let mut agent = Agent::under(cloud.folder.path(), &environment);
        let in_force = |high_c: f64| {
            cloud.put_in_control("water-heater-tou@1.0.0", &tou_params(high_c), &json!({}));
            cloud.wait_applied(cloud.device()["desired"]["version"].as_u64().unwrap());
        };
        in_force(60.0);
        in_force(58.0);
        let reported = cloud.device()["reported"].clone();
        assert_eq!(reported["refusal"], Value::Null, "at {seconds}");
        // Neither clock's time: not before the agent's release, not eighty years ahead.
        let at_ms = reported["at_ms"].as_u64().unwrap();
        assert!((1_793_491_200_000..3_000_000_000_000).contains(&at_ms), "{at_ms}");
        agent.kill();
        agent.run();
        until("in control after a restart", || {
            let answer = agent.firmware().tick(50.0);
            (answer["outputs"]["setpoint_c"] == 58.0).then_some(())
        });
    }
}
