//! Clients and brokers that are not ours: mosquitto's, from Debian.

use serde_json::{Value, json};
use std::process::{Command, Stdio};

use crate::stage::{Agent, Cloud, DEVICE, Process, free_port, tou_params, until};

fn topic(channel: &str) -> String {
    format!("gnomon/acme/d/{DEVICE}/{channel}")
}

/// The retained message of a topic, as mosquitto_sub sees it.
fn retained(port: u16, topic: &str) -> Value {
    let output = Command::new("mosquitto_sub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic, "-C", "1", "-W", "20"])
        .args(["--retained-only"])
        .output()
        .expect("mosquitto_sub (Debian: mosquitto-clients)");
    assert!(output.status.success(), "{topic}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn publish(port: u16, topic: &str, payload: &[u8], arguments: &[&str]) {
    let mut child = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic, "-q", "1", "-s"])
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub (Debian: mosquitto-clients)");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), payload).unwrap();
    assert!(child.wait().unwrap().success(), "publish on {topic}");
}

#[test]
fn a_foreign_client_sees_the_documents_and_garbage_earns_a_reason() {
    let cloud = Cloud::start();
    cloud.set_scene(&json!({}));
    let agent = Agent::start(&cloud);
    let version = cloud.device()["desired"]["version"].as_u64().unwrap();
    cloud.wait_applied(version);

    let desired = retained(cloud.mqtt, &topic("desired"));
    assert_eq!(desired["payloadType"], "application/vnd.gnomon.desired.v1+json");
    assert_eq!(desired["signatures"].as_array().unwrap().len(), 1);
    let reported = retained(cloud.mqtt, &topic("reported"));
    assert_eq!((&reported["state"], &reported["applied"]), (&json!("in_sync"), &json!(version)));
    assert_eq!(retained(cloud.mqtt, &topic("status"))["online"], true);

    let mut firmware = agent.firmware();
    assert_eq!(firmware.tick(50.0)["outputs"]["setpoint_c"], 60.0);
    let huge = vec![b' '; 300 * 1024];
    let not_ours = json!({"payloadType": "text/plain", "payload": "", "signatures": []});
    let no_base64 =
        json!({"payloadType": desired["payloadType"], "payload": "%%%", "signatures": []});
    let twice = desired.to_string().replacen('{', r#"{"payload":"","#, 1);
    let stripped = json!({"payloadType": desired["payloadType"], "payload": desired["payload"], "signatures": []});
    let cases: [(&str, &[u8]); 7] = [
        ("malformed_json", b"not a document"),
        ("too_large", &huge),
        ("schema_violation", b"{}"),
        ("wrong_payload_type", &not_ours.to_string().into_bytes()),
        ("bad_base64", &no_base64.to_string().into_bytes()),
        ("duplicate_key", twice.as_bytes()),
        ("threshold_not_met", &stripped.to_string().into_bytes()),
    ];
    for (reason, payload) in cases {
        publish(cloud.mqtt, &topic("desired"), payload, &[]);
        until(&format!("the refusal {reason}"), || {
            let refused = &cloud.device()["reported"]["refused"];
            (refused[reason] == 1).then_some(())
        });
    }
    // Each refusal reached the cloud once, whole, and nothing else has changed.
    until("the refusals are stored", || {
        (cloud.rows("refusals").len() == cases.len()).then_some(())
    });
    assert_eq!(firmware.tick(50.0)["outputs"]["setpoint_c"], 60.0);
    assert_eq!(cloud.device()["state"], "in_sync");
    assert_eq!(cloud.device()["applied"], version);
}

#[test]
fn the_cloud_and_the_agent_work_over_mosquitto() {
    let port = free_port();
    let _mosquitto = Process::spawn(
        Command::new("/usr/sbin/mosquitto").args(["-p", &port.to_string()]).stderr(Stdio::null()),
    );
    until("mosquitto listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let cloud = Cloud::start_on(port);
    let quick = json!({"summary_ticks": 5});
    cloud.set_scene(&quick);
    let agent = Agent::start(&cloud);
    let version = cloud.device()["desired"]["version"].as_u64().unwrap();
    cloud.wait_applied(version);
    let mut firmware = agent.firmware();
    for _ in 0..20 {
        assert_eq!(firmware.tick(50.0)["source"], "active");
    }
    until("the results are stored", || {
        let ticks: u64 =
            cloud.rows("summaries").iter().map(|row| row["ticks"].as_u64().unwrap()).sum();
        (ticks == 20).then_some(())
    });
    cloud.put_in_control("water-heater-tou@1.0.0", &tou_params(55.0), &quick);
    cloud.wait_applied(version + 1);
    assert_eq!(firmware.tick(50.0)["outputs"]["setpoint_c"], 55.0);
}
