//! Load through its public door, small: the real cloud in a process, both brokers, and what
//! the program says where it cannot run.

use serde_json::Value;
use std::process::{Command, Output};

fn fleet_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fleet-sim")).args(arguments).output().unwrap()
}

fn run(broker: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("load.json");
    let small = ["--devices", "40", "--seconds", "2", "--tick-ms", "200", "--backlog", "3"];
    let arguments = [&["load", "--json", file.to_str().unwrap()], &small[..], broker].concat();
    let output = fleet_sim(&arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("yes  devices that took the new document: 40 of 40"), "{said}");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// What must be so on any broker.
fn check(report: &Value) {
    let number = |at: &str| report.pointer(at).unwrap().as_f64().unwrap();
    for converged in ["/connecting/converged", "/publishing/converged", "/reconnecting/back"] {
        assert_eq!(number(converged), 40.0, "{converged}: {report:#}");
    }
    // 40 devices call their function five times a second.
    assert!((150.0..=250.0).contains(&number("/steady/calls_per_s")), "{report:#}");
    assert!(number("/draining/batches") >= 120.0, "{report:#}");
    assert_eq!(number("/batches_made"), number("/batches_stored"), "{report:#}");
    assert_eq!(number("/refused"), 0.0, "{report:#}");
    assert!(number("/publishing/bare_fan_out_s") > 0.0, "{report:#}");
    assert!(number("/draining/bare_insert_per_s") > 0.0, "{report:#}");
    assert!(number("/cloud/peak_bytes") >= number("/cloud/after_bytes"), "{report:#}");
}

#[test]
fn devices_converge_report_and_come_back_on_the_embedded_broker() {
    let report = run(&[]);
    check(&report);
    assert_eq!(report["broker_process"], Value::Null);
}

#[test]
fn each_device_enrols_and_all_of_it_works_under_mutual_tls() {
    let report = run(&["--tls"]);
    check(&report);
    assert!(report["connecting"]["enrolled_per_s"].as_f64() > Some(0.0), "{report:#}");
}

#[test]
fn devices_converge_report_and_come_back_on_mosquitto() {
    let report = run(&["--broker", "mosquitto"]);
    check(&report);
    assert!(report["broker_process"]["peak_bytes"].as_u64() > Some(0), "{report:#}");
}

#[test]
fn load_goes_nowhere_else_and_a_broker_that_is_not_there_is_one_clear_error() {
    let refusal = |broker: &str| {
        let output = fleet_sim(&["load", "--devices", "1", "--broker", broker]);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = refusal("mqtt://192.0.2.1:1883");
    assert!(code == 2 && error.contains("loopback address only"), "{code}: {error}");
    let output = fleet_sim(&["load", "--tls", "--broker", "mosquitto"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && error.contains("embedded broker"), "{error}");
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, error) = refusal(&format!("mqtt://127.0.0.1:{port}"));
    assert!(code == 1 && error.contains(&format!("no broker at 127.0.0.1:{port}")), "{error}");
}

#[test]
fn a_section_that_is_not_there_is_told_with_those_that_are() {
    let output = fleet_sim(&["bench", "--only", "tick,tock"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("no section `tock`") && error.contains("load-mosquitto"), "{error}");
    let list = String::from_utf8(fleet_sim(&["bench", "--list"]).stdout).unwrap();
    assert_eq!(list.lines().count(), fleet_sim::bench::SECTIONS.len());
}

/// Whatever figure the README quotes, one command measures it again.
#[test]
fn every_row_of_what_it_costs_names_a_section_of_the_bench_and_each_section_has_one() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let costs = text.split("\n## What it costs").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = costs.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let named = |row: &&str| {
        let section = row.rsplit_once("--only ").and_then(|(_, rest)| rest.split('`').next());
        section
            .unwrap_or_else(|| panic!("no `fleet-sim bench --only SECTION` in: {row}"))
            .to_owned()
    };
    let mut found: Vec<String> = rows.iter().map(named).collect();
    found.sort_unstable();
    found.dedup();
    let mut sections: Vec<&str> = fleet_sim::bench::SECTIONS.iter().map(|s| s.name).collect();
    sections.sort_unstable();
    assert_eq!(found, sections);
}
