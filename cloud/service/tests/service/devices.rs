//! What devices send: reports, results, garbage, and a device that is ahead.

use crate::fixture::{Cloud, Device, active, tou};
use gnomon_schemas::Digest;
use gnomon_schemas::ack::Ack;
use serde_json::{Value, json};

fn summary(role: &str, module: &Digest) -> Value {
    json!({
        "function": "setpoint", "module": module, "role": role, "version": 1,
        "from_ms": 0, "to_ms": 59_000, "ticks": 60, "evaluations": 57,
        "faults": {"out_of_fuel": 3}, "clamped": {"setpoint_c": {"range": 2}},
        "fuel": {"500": 57},
        "differences": {"setpoint_c": {"compared": 57, "mismatches": 19, "sum": 38.0,
            "sum_abs": 57.0, "max_abs": 3.0, "abs_milli": {"1000": 57}}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_makes_a_device_in_sync() {
    let cloud = Cloud::with_device().await;
    let device_view = cloud.device("heater-1");
    assert_eq!((&device_view["state"], &device_view["online"]), (&json!("unknown"), &Value::Null));
    let digest = Digest::of(gnomon_examples::WATER_HEATER_TOU);
    cloud.json("PUT", "/v1/devices/heater-1/desired", &active(tou(&digest)));
    cloud.approve_all();
    let mut device = Device::connect(&cloud, "heater-1").await;
    device.subscribe(&device.topic("desired")).await;
    let document = device.document(&cloud, 2).await;
    assert_eq!(document.functions.values().next().unwrap().active.as_ref().unwrap().module, digest);
    device.say(json!({"state": "pending", "seen": 2, "applied": 1})).await;
    cloud.until("it is pending", |cloud| cloud.device("heater-1")["state"] == "pending");
    let status = json!({"schema": "gnomon.status.v1", "device": "heater-1",
        "boot": device.boot, "online": true});
    device.publish(&device.topic("status"), status.to_string()).await;
    device.say(json!({"state": "in_sync", "seen": 2, "applied": 2})).await;
    cloud.until("it is in sync", |cloud| cloud.device("heater-1")["state"] == "in_sync");
    let view = cloud.device("heater-1");
    assert_eq!((&view["online"], &view["applied"]), (&json!(true), &json!(2)));
    assert!(view["publish_to_applied_ms"].is_u64(), "{view}");
    assert_eq!(cloud.get("/v1/status").json()["devices_by_state"], json!({"in_sync": 1}));
    let refusal = json!({"reason": "bounds_widened", "detail": "no"});
    device.say(json!({"state": "rejected", "seen": 2, "applied": 1, "refusal": refusal})).await;
    cloud.until("it is rejected", |cloud| cloud.device("heater-1")["state"] == "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_stored_once_and_acknowledged_each_time() {
    let cloud = Cloud::with_device().await;
    let mut device = Device::connect(&cloud, "heater-1").await;
    device.subscribe(&device.topic("ack")).await;
    let refusal = json!({"at_ms": 1, "refusal": {"reason": "rollback", "detail": "old"}});
    let batch = device.batch(
        3,
        json!({"summaries": [summary("active", &Digest::of(b"a"))], "refusals": [refusal]}),
    );
    for _ in 0..2 {
        device.publish(&device.topic("results"), batch.to_string()).await;
        let payload = device.next(&device.topic("ack")).await;
        let ack: Ack = cloud.opened(&payload);
        assert_eq!(
            (ack.device.as_str(), ack.boot, ack.sequences[0]),
            ("heater-1", device.boot.clone(), 3)
        );
    }
    let page = cloud.get("/v1/devices/heater-1/summaries").json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(page["items"][0]["evaluations"], 57);
    let refusals = cloud.get("/v1/devices/heater-1/refusals").json();
    assert_eq!(refusals["items"][0]["refusal"]["reason"], "rollback");
    let status = cloud.get("/v1/status").json();
    assert_eq!(
        (&status["batches_stored"], &status["refused_by_devices"]),
        (&json!(1), &json!({"rollback": 1}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_come_in_pages_and_survive_a_restart() {
    let cloud = Cloud::with_device().await;
    let mut device = Device::connect(&cloud, "heater-1").await;
    device.subscribe(&device.topic("ack")).await;
    let (results, ack) = (device.topic("results"), device.topic("ack"));
    // As a device does: what is not acknowledged is sent again, since a broker may
    // lose what it took. What comes twice is stored once.
    let mut waiting: std::collections::BTreeSet<u64> = (1..=300).collect();
    for _ in 0..20 {
        for &sequence in &waiting {
            let rows = json!({"summaries": [summary("active", &Digest::of(b"a"))]});
            device.publish(&results, device.batch(sequence, rows).to_string()).await;
        }
        let patience = std::time::Duration::from_secs(2);
        while !waiting.is_empty()
            && let Ok(payload) = tokio::time::timeout(patience, device.next(&ack)).await
        {
            let acknowledged = cloud.opened::<Ack>(&payload).sequences;
            waiting.retain(|sequence| !acknowledged.contains(sequence));
        }
    }
    assert_eq!(waiting, std::collections::BTreeSet::new(), "all are acknowledged");
    let Cloud { running, folder } = cloud;
    running.shutdown().await;
    let cloud = Cloud::start_in(folder).await;
    let (mut seen, mut after) = (0, 0);
    loop {
        let path = format!("/v1/devices/heater-1/summaries?limit=128&after={after}");
        let page = cloud.get(&path).json();
        seen += page["items"].as_array().unwrap().len();
        let Some(next) = page["next_after"].as_i64() else { break };
        after = next;
    }
    assert_eq!(seen, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_run_is_compared() {
    let cloud = Cloud::with_device().await;
    let candidate = Digest::of(gnomon_examples::WATER_HEATER_PRICE);
    let active = Digest::of(gnomon_examples::WATER_HEATER_TOU);
    let mut device = Device::connect(&cloud, "heater-1").await;
    device.subscribe(&device.topic("ack")).await;
    let rows = [summary("active", &active), summary("candidate", &candidate)];
    let batch = device.batch(1, json!({"summaries": rows}));
    device.publish(&device.topic("results"), batch.to_string()).await;
    device.next(&device.topic("ack")).await;
    let path = "/v1/functions/setpoint/comparison?candidate=water-heater-price@2.0.0";
    let report = cloud.get(path).json();
    assert_eq!((&report["devices"], &report["ticks"]), (&json!(1), &json!(60)));
    assert_eq!((&report["coverage"], &report["active"]), (&json!(0.95), &json!([active])));
    let output = &report["outputs"]["setpoint_c"];
    assert_eq!(
        (&output["mean_abs_difference"], &output["abs_difference_max"]),
        (&json!(1.0), &json!(3.0))
    );
    assert!(report["note"].as_str().unwrap().contains("decisions"));
    let none = cloud.get(&format!("{path}&selector=site%3Dsouth")).json();
    assert_eq!(none["devices"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_does_nothing_but_earn_a_reason() {
    let cloud = Cloud::with_device().await;
    let device = Device::connect(&cloud, "heater-1").await;
    let report = device.report(json!({"device": "heater-2"})).to_string();
    let unknown = device.report(json!({"device": "nobody"})).to_string();
    let huge = json!({"summaries": [{"function": "setpoint", "role": "active", "from_ms": 0,
        "to_ms": 0, "ticks": 9_007_199_254_740_991_u64, "evaluations": 0}]});
    for (topic, payload) in [
        (device.topic("reported"), "garbage".to_owned()),
        (device.topic("reported"), report),
        (device.topic("reported"), "{}".to_owned()),
        (device.topic("reported"), r#"{"a":1,"a":2}"#.to_owned()),
        (device.topic("results"), " ".repeat(300_000)),
        (device.topic("results"), device.batch(1, huge).to_string()),
        (device.topic("results"), device.batch(1, json!({"fleet": "other"})).to_string()),
        ("gnomon/acme/d/nobody/reported".to_owned(), unknown),
    ] {
        device.publish(&topic, payload).await;
    }
    let expected = json!({
        "malformed_json": 1, "wrong_device": 1, "schema_violation": 1, "duplicate_key": 1,
        "too_large": 1, "number_out_of_range": 1, "wrong_fleet": 1, "unknown_device": 1,
    });
    cloud.until("all are counted", |c| c.get("/v1/status").json()["refused"] == expected);
    let status = cloud.get("/v1/status").json();
    // Of the batch whose figures cannot be used its number is kept, and acknowledged:
    // sent again it would be no better, and what comes behind it would wait.
    assert_eq!((&status["batches_stored"], &status["devices"]), (&json!(1), &json!(1)));
    let rows = cloud.get("/v1/devices/heater-1/summaries").json();
    assert_eq!(rows["items"], json!([]));
    assert_eq!(cloud.device("heater-1")["state"], "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_ahead_gets_nothing_until_it_is_resolved() {
    let cloud = Cloud::with_device().await;
    let mut device = Device::connect(&cloud, "heater-1").await;
    device.subscribe(&device.topic("desired")).await;
    device.say(json!({"state": "in_sync", "seen": 40, "applied": 40})).await;
    cloud.until("it is in conflict", |cloud| cloud.device("heater-1")["state"] == "conflict");
    let edit = json!({"config": {"site": "x"}});
    assert_eq!(cloud.json("PUT", "/v1/fleet/desired", &edit).status, 200);
    assert_eq!((cloud.version("heater-1"), &cloud.device("heater-1")["conflict"]), (1, &json!(40)));
    assert_eq!(cloud.json("POST", "/v1/devices/heater-1/resolve", &json!({})).status, 200);
    assert_eq!(cloud.version("heater-1"), 41);
    let document = device.document(&cloud, 41).await;
    assert_eq!(document.config["site"], "x");
    device.say(json!({"state": "in_sync", "seen": 41, "applied": 41})).await;
    cloud.until("it is in sync", |cloud| cloud.device("heater-1")["state"] == "in_sync");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_document_under_a_known_version_is_a_conflict() {
    let cloud = Cloud::with_device().await;
    let device = Device::connect(&cloud, "heater-1").await;
    let other = Digest::of(b"another payload");
    device.say(json!({"seen": 1, "applied": 1, "applied_digest": other})).await;
    cloud.until("it is in conflict", |cloud| cloud.device("heater-1")["state"] == "conflict");
    assert_eq!(cloud.json("POST", "/v1/devices/heater-1/resolve", &json!({})).status, 200);
    assert_eq!(cloud.version("heater-1"), 2);
}

/// Otherwise a cloud that was restored would count up to what the device has accepted,
/// edit by edit, and each would be refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_went_back_from_what_the_cloud_has_forgotten_is_in_conflict() {
    let cloud = Cloud::with_device().await;
    let device = Device::connect(&cloud, "heater-1").await;
    let accepted = json!({"epoch": 1, "version": 9, "digest": Digest::of(b"given up")});
    device.say(json!({"state": "rejected", "seen": 9, "accepted": accepted})).await;
    cloud.until("it is in conflict", |cloud| cloud.device("heater-1")["state"] == "conflict");
    assert_eq!(cloud.json("POST", "/v1/devices/heater-1/resolve", &json!({})).status, 200);
    assert_eq!(cloud.version("heater-1"), 10);
}

/// Whoever has the director's key can sign any number; a device refuses one that leaves
/// no room, and would refuse all that the cloud signs above it.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_resolved_above_what_was_accepted_and_not_above_what_was_seen() {
    let cloud = Cloud::with_device().await;
    let device = Device::connect(&cloud, "heater-1").await;
    let other = Digest::of(b"another payload");
    let accepted = json!({"epoch": 1, "version": 1, "digest": other});
    let forged = json!({"state": "rejected", "seen": 9_000_000_000_u64, "applied": 1,
        "applied_digest": other, "accepted": accepted});
    device.say(forged).await;
    cloud.until("it is in conflict", |cloud| cloud.device("heater-1")["state"] == "conflict");
    assert_eq!(cloud.json("POST", "/v1/devices/heater-1/resolve", &json!({})).status, 200);
    assert_eq!(cloud.version("heater-1"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_leaves_its_topic_and_counts_on_when_it_returns() {
    let cloud = Cloud::with_device().await;
    cloud.json("PUT", "/v1/devices/heater-1/desired", &json!({"config": {"site": "x"}}));
    let mut device = Device::connect(&cloud, "heater-1").await;
    device.subscribe(&device.topic("desired")).await;
    device.document(&cloud, 2).await;
    assert_eq!(cloud.send("DELETE", "/v1/devices/heater-1", &[], &[]).status, 204);
    // A broker may give the last document twice, as retained and as it comes.
    while !device.next(&device.topic("desired")).await.is_empty() {}
    assert_eq!(cloud.get("/v1/devices/heater-1").problem(), (404, "unknown_device".into()));
    cloud.add_device("heater-1", json!({}));
    assert_eq!(cloud.version("heater-1"), 3);
}
