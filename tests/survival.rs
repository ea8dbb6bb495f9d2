//! The agent's processes through what a device meets: a disk that fails, a clock that
//! jumps, a cloud that comes back older, a planner that is exchanged, firmware in another
//! language. Control goes on, and the rest recovers by itself.

use rustix::process::Signal;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::faults::{Control, Fault, Shim};
use crate::stage::{Agent, Cloud, DEVICE, Firmware, tou_params, until};

/// A cloud with a function in control of its device, and the agent of that device.
fn in_control(reporting: &Value, start: impl FnOnce(&Cloud) -> Agent) -> (Cloud, Agent) {
    let cloud = Cloud::start();
    cloud.set_scene(reporting);
    cloud.does(&["device", "bundle", DEVICE, "--out", "bundle"]);
    let agent = start(&cloud);
    cloud.wait_applied(newest(&cloud));
    (cloud, agent)
}

fn newest(cloud: &Cloud) -> u64 {
    cloud.device()["desired"]["version"].as_u64().unwrap()
}

fn heat_to(cloud: &Cloud, high_c: f64) {
    cloud.put_in_control("water-heater-tou@1.0.0", &tou_params(high_c), &json!({}));
}

/// So many ticks, none of which gets anything but the active function's value.
#[track_caller]
fn control_goes_on(firmware: &mut Firmware, ticks: u32, what: &str) {
    for tick in 0..ticks {
        let answer = firmware.tick(50.0);
        assert_eq!(answer["source"], "active", "{what}, tick {tick}: {answer}");
    }
}

fn status(data: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_gnomon-agent-under-test"))
        .args(["status", "--json", "--data"])
        .arg(data)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An agent with faults below its data folder.
fn faulty(folder: &Path, control: &Control) -> Agent {
    let mut command = Command::new("true");
    Shim::build().apply(&mut command, control);
    let text = |text: &OsStr| text.to_str().unwrap().to_owned();
    let environment: Vec<(String, String)> =
        command.get_envs().map(|(name, value)| (text(name), text(value.unwrap()))).collect();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Agent::under(folder, &environment)
}

#[test]
fn a_disk_that_fails_stops_no_tick_and_once_it_is_back_so_is_everything() {
    let faults = [("full", Fault::Full), ("failing", Fault::Io), ("read-only", Fault::ReadOnly)];
    let drills = faults.map(|(name, fault)| thread::spawn(move || disk_drill(name, fault)));
    drills.into_iter().for_each(|drill| drill.join().unwrap());
}

fn disk_drill(name: &str, fault: Fault) {
    let mut control = None;
    let (cloud, agent) = in_control(&json!({"summary_ticks": 1}), |cloud| {
        let folder = cloud.folder.path();
        std::fs::create_dir(folder.join("agent")).unwrap();
        let faults = control.insert(Control::over(&folder.join("agent")));
        faulty(folder, faults)
    });
    let control = control.unwrap();
    let mut firmware = agent.firmware();
    control_goes_on(&mut firmware, 20, name);
    let before = newest(&cloud);
    control.set(fault);
    control_goes_on(&mut firmware, 50, name);
    heat_to(&cloud, 47.0);
    until("the disk was asked for something", || (control.struck() > 0).then_some(()));
    control_goes_on(&mut firmware, 50, name);
    let applied = cloud.device()["applied"].as_u64().unwrap();
    let durable = status(agent.data())["store"]["floor"]["version"].as_u64().unwrap();
    assert!(applied <= durable, "{name}: what is not durable does not act: {applied}, {durable}");
    // A full disk may have room for what matters after all: ballast, and the log's old pages.
    if fault != Fault::Full {
        assert_eq!(applied, before, "{name}: what is not durable does not act");
    }
    control.set(Fault::None);
    // Nobody publishes again: the device tries by itself.
    until(&format!("{name}: in force after all"), || {
        let answer = firmware.tick(50.0);
        assert_eq!(answer["source"], "active", "{name}: {answer}");
        (answer["outputs"]["setpoint_c"] == 47.0).then_some(())
    });
    cloud.wait_applied(before + 1);
}

#[test]
fn a_clock_that_jumps_is_a_label_and_nothing_more() {
    let mut control = None;
    let (cloud, agent) = in_control(&json!({}), |cloud| {
        let folder = cloud.folder.path();
        std::fs::create_dir(folder.join("agent")).unwrap();
        let faults = control.insert(Control::over(&folder.join("agent")));
        faulty(folder, faults)
    });
    let control = control.unwrap();
    let mut firmware = agent.firmware();
    const YEAR_S: i64 = 31_556_952;
    // To 1970, beyond 2038, beyond 2106, and back in steps.
    for (round, years) in [-56, 13, 81, 80, -1, 0].into_iter().enumerate() {
        control.clock_offset(years * YEAR_S);
        control_goes_on(&mut firmware, 20, "after a jump");
        let high_c = 46.0 + round as f64;
        heat_to(&cloud, high_c);
        cloud.wait_applied(newest(&cloud));
        assert_eq!(firmware.tick(50.0)["outputs"]["setpoint_c"], high_c);
    }
    let reported = cloud.device()["reported"].clone();
    assert_eq!(reported["refusal"], Value::Null);
    let at_ms = reported["at_ms"].as_u64().unwrap();
    assert!((1_793_491_200_000..3_000_000_000_000).contains(&at_ms), "{at_ms}");
}

#[test]
fn a_cloud_that_comes_back_older_is_a_conflict_for_a_person_and_control_goes_on() {
    let (mut cloud, agent) =
        in_control(&json!({}), |cloud| Agent::provisioned(cloud.folder.path()));
    let mut firmware = agent.firmware();
    let folder = cloud.folder.path().join("cloud");
    cloud.kill();
    copy(&folder, &cloud.folder.path().join("backup"));
    cloud.run();
    heat_to(&cloud, 48.0);
    heat_to(&cloud, 49.0);
    cloud.wait_applied(newest(&cloud));
    cloud.kill();
    std::fs::remove_dir_all(&folder).unwrap();
    copy(&cloud.folder.path().join("backup"), &folder);
    cloud.run();
    until("a conflict", || (cloud.device()["state"] == "conflict").then_some(()));
    control_goes_on(&mut firmware, 50, "in conflict");
    assert_eq!(firmware.tick(50.0)["outputs"]["setpoint_c"], 49.0, "the device keeps what it has");
    cloud.does(&["device", "resolve", DEVICE]);
    until("resolved", || {
        let answer = firmware.tick(50.0);
        assert_eq!(answer["source"], "active");
        (answer["outputs"]["setpoint_c"] == 60.0).then_some(())
    });
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn another_planner_takes_over_without_a_missed_tick() {
    let (cloud, agent) = in_control(&json!({}), |cloud| Agent::provisioned(cloud.folder.path()));
    let mut firmware = agent.firmware();
    let before = status(agent.data())["keeper"]["planner_pid"].as_u64().unwrap();
    agent.signal(Signal::HUP);
    until("another planner", || {
        control_goes_on(&mut firmware, 1, "while the planner is exchanged");
        let now = status(agent.data())["keeper"]["planner_pid"].as_u64()?;
        (now != before).then_some(())
    });
    heat_to(&cloud, 51.0);
    until("a document by the new planner", || {
        let answer = firmware.tick(50.0);
        assert_eq!(answer["source"], "active");
        (answer["outputs"]["setpoint_c"] == 51.0).then_some(())
    });
}

#[test]
fn firmware_in_python_lives_a_day_with_the_agent() {
    let (_cloud, agent) = in_control(&json!({}), |cloud| Agent::provisioned(cloud.folder.path()));
    let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/firmware.py");
    let output = Command::new("python3")
        .arg(firmware)
        .arg(agent.socket())
        .args(["--minutes", "1440"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let day: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&day["ticks"], &day["unanswered"]), (&json!(1440), &json!(0)), "{day}");
    assert_eq!(day["sources"], json!({"active": 1440}));
    let (tank_c, setpoint_c) = (&day["tank_c"], &day["setpoint_c"]);
    assert!(setpoint_c[0].as_f64().unwrap() >= 35.0 && setpoint_c[1].as_f64().unwrap() <= 70.0);
    assert!(tank_c[1].as_f64().unwrap() < 75.0 && day["kwh"].as_f64().unwrap() > 0.0, "{day}");
}

#[test]
fn the_service_manager_hears_that_it_is_ready_that_it_lives_and_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = |what: &str| {
        let mut seen = vec![];
        loop {
            let mut buffer = [0; 256];
            let read =
                manager.recv(&mut buffer).unwrap_or_else(|e| panic!("{what}: {e}, {seen:?}"));
            let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
            if text.lines().any(|line| line == what) {
                return;
            }
            seen.push(text);
        }
    };
    let cloud = Cloud::start();
    cloud.set_scene(&json!({}));
    cloud.does(&["device", "bundle", DEVICE, "--out", "bundle"]);
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "600000")];
    let mut agent = Agent::under(cloud.folder.path(), &environment);
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    agent.signal(Signal::TERM);
    hear("STOPPING=1");
    assert!(agent.wait().success());
}

#[test]
fn an_operator_sees_versions_slots_reasons_outbox_and_clock_floor() {
    let (cloud, mut agent) =
        in_control(&json!({}), |cloud| Agent::provisioned(cloud.folder.path()));
    let mut firmware = agent.firmware();
    control_goes_on(&mut firmware, 5, "at first");
    let seen = until("all three parts", || {
        let seen = status(agent.data());
        (seen["planner"]["reported"]["state"] == "in_sync").then_some(seen)
    });
    let version = newest(&cloud);
    assert_eq!(seen["keeper"]["view"]["version"], version);
    assert_eq!(seen["planner"]["reported"]["applied"], version);
    assert_eq!(seen["keeper"]["walls"]["seccomp"], true);
    assert_eq!(seen["store"]["floor"]["version"], version);
    let active = &seen["keeper"]["view"]["functions"]["setpoint"]["active"];
    assert_eq!(*active, cloud.device()["reported"]["functions"]["setpoint"]["active"]);
    // People read the same; and once nothing runs, what is durable is still told.
    let text = |agent: &Agent| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnomon-agent-under-test"));
        let output = command.args(["status", "--data"]).arg(agent.data()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let told = text(&agent);
    assert!(told.contains("setpoint") && told.contains("in_sync"), "{told}");
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    let told = text(&agent);
    assert!(told.contains("no keeper answers") && told.contains("floor"), "{told}");
}

#[test]
fn two_agents_do_not_share_a_folder() {
    let (cloud, agent) = in_control(&json!({}), |cloud| Agent::provisioned(cloud.folder.path()));
    let second = Command::new(env!("CARGO_BIN_EXE_gnomon-agent-under-test"))
        .args(["run", "--config", "bundle", "--data", "agent", "--socket", "second.sock"])
        .current_dir(cloud.folder.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(told.contains("another agent works in"), "{told}");
    control_goes_on(&mut agent.firmware(), 5, "the first agent");
}
