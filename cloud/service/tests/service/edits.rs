//! Layers, origins, versions, ETags: what an edit does, and what it does not.

use crate::fixture::{Cloud, Device, active, tou};
use gnomon_schemas::Digest;
use serde_json::{Value, json};

fn tou_digest() -> Digest {
    Digest::of(gnomon_examples::WATER_HEATER_TOU)
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_lie_over_each_other_and_every_value_has_an_origin() {
    let cloud = Cloud::with_device().await;
    cloud.add_device("heater-2", json!({"site": "south"}));
    for (name, selector, priority) in [("north", "site=north", 1), ("all", "site!=east", 5)] {
        let body = json!({"selector": selector, "priority": priority});
        let answer = cloud.json("PUT", &format!("/v1/groups/{name}"), &body);
        assert_eq!(answer.status, 201);
    }
    let config = |value: Value| json!({"config": value});
    cloud.json("PUT", "/v1/fleet/desired", &config(json!({"site": "f", "comfort_min_c": 40})));
    cloud.json("PUT", "/v1/groups/north/desired", &config(json!({"site": "n", "vacation": true})));
    cloud.json("PUT", "/v1/groups/all/desired", &config(json!({"vacation": false})));
    let device = config(json!({"comfort_min_c": 45}));
    assert_eq!(cloud.json("PUT", "/v1/devices/heater-1/desired", &device).status, 200);

    let effective = cloud.get("/v1/devices/heater-1/effective").json();
    assert_eq!(
        effective["content"]["config"],
        json!({"site": "n", "comfort_min_c": 45, "vacation": false})
    );
    let origins = &effective["origins"];
    assert_eq!(origins["/config/site"], "group:north");
    assert_eq!(origins["/config/vacation"], "group:all");
    assert_eq!(origins["/config/comfort_min_c"], "device:heater-1");
    assert_eq!(origins["/reporting/summary_ticks"], "default");
    let other = cloud.get("/v1/devices/heater-2/effective").json();
    assert_eq!(
        other["content"]["config"],
        json!({"site": "f", "comfort_min_c": 40, "vacation": false})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_makes_one_version_and_an_equal_one_none() {
    let cloud = Cloud::with_device().await;
    assert_eq!(cloud.version("heater-1"), 1);
    let layer = active(tou(&tou_digest()));
    let first = cloud.json("PUT", "/v1/fleet/desired", &layer);
    assert_eq!((first.status, first.etag.as_str()), (200, "\"r1\""));
    assert_eq!(cloud.approve_all(), 1);
    assert_eq!(cloud.version("heater-1"), 2);
    let again = cloud.json("PUT", "/v1/fleet/desired", &layer);
    assert_eq!((again.status, again.etag.as_str()), (200, "\"r1\""));
    // The same content from another layer is no other content.
    assert_eq!(cloud.json("PUT", "/v1/devices/heater-1/desired", &layer).status, 200);
    assert_eq!(cloud.version("heater-1"), 2);
    let versions = cloud.get("/v1/devices/heater-1/versions").json();
    let numbers: Vec<u64> =
        versions.as_array().unwrap().iter().map(|v| v["version"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 1]);
    let envelope = cloud.get("/v1/devices/heater-1/versions/2").body;
    let document: gnomon_schemas::document::Document = cloud.opened(&envelope);
    assert_eq!(document.functions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn etags_keep_two_people_from_undoing_each_other() {
    let cloud = Cloud::with_device().await;
    let path = "/v1/devices/heater-1/desired";
    assert_eq!(cloud.get(path).etag, "\"r0\"");
    let edit = |method: &str, etag: &str, body: &Value| {
        let headers = [("content-type", "application/merge-patch+json"), ("if-match", etag)];
        cloud.send(method, path, &headers, body.to_string().as_bytes())
    };
    let body = json!({"config": {"site": "a", "vacation": true}});
    assert_eq!(edit("PUT", "*", &body).problem(), (412, "precondition_failed".into()));
    assert_eq!(edit("PUT", "\"r0\"", &body).etag, "\"r1\"");
    assert_eq!(edit("PUT", "\"r0\"", &body).problem(), (412, "precondition_failed".into()));
    let patched = edit("PATCH", "\"r1\"", &json!({"config": {"vacation": null}}));
    assert_eq!(patched.json(), json!({"config": {"site": "a"}}));
    assert_eq!(cloud.get(path).etag, "\"r2\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_holds_for_all_devices_or_for_none() {
    let cloud = Cloud::with_device().await;
    cloud.add_device("heater-2", json!({}));
    let own = json!({"functions": {"setpoint": {"bounds": {"setpoint_c": {"max": 45}}}}});
    assert_eq!(cloud.json("PUT", "/v1/devices/heater-2/desired", &own).status, 200);
    let before = (cloud.version("heater-1"), cloud.version("heater-2"));
    // Fine for heater-1; with what heater-2 has, nothing would be left.
    let layer = json!({"functions": {"setpoint": {"bounds": {"setpoint_c": {"min": 48}}}}});
    let answer = cloud.json("PUT", "/v1/fleet/desired", &layer);
    assert_eq!(answer.problem(), (422, "bounds_widened".into()));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.starts_with("device heater-2: functions.setpoint: bounds.setpoint_c"),
        "{detail}"
    );
    assert_eq!((cloud.version("heater-1"), cloud.version("heater-2")), before);
    assert_eq!(cloud.get("/v1/fleet/desired").json(), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_changes_its_labels_changes_its_layers() {
    let cloud = Cloud::with_device().await;
    cloud.json("PUT", "/v1/groups/south", &json!({"selector": "site=south"}));
    cloud.json("PUT", "/v1/groups/south/desired", &json!({"config": {"site": "south"}}));
    assert_eq!(cloud.version("heater-1"), 1);
    let labels = json!({"labels": {"site": "south"}});
    assert_eq!(cloud.json("PATCH", "/v1/devices/heater-1", &labels).status, 200);
    assert_eq!(cloud.version("heater-1"), 2);
    assert_eq!(cloud.send("DELETE", "/v1/groups/south", &[], &[]).status, 204);
    assert_eq!(cloud.version("heater-1"), 3);
    let config = &cloud.get("/v1/devices/heater-1/effective").json()["content"]["config"];
    assert_eq!(*config, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_module_comes_on_its_own_topic() {
    let cloud = Cloud::start().await;
    cloud.add_profile();
    cloud.add_device("heater-1", json!({}));
    let module = padded(gnomon_examples::WATER_HEATER_TOU, 20_000);
    let digest = cloud.add_module(&module);
    assert_eq!(cloud.json("PUT", "/v1/fleet/desired", &active(tou(&digest))).status, 200);
    cloud.approve_all();
    let mut device = Device::connect(&cloud, "heater-1").await;
    device.subscribe(&device.topic("desired")).await;
    let document = device.document(&cloud, 2).await;
    assert!(document.modules[&digest].inline.is_none());
    let topic = format!("gnomon/acme/m/{}", digest.hex());
    device.subscribe(&topic).await;
    assert_eq!(device.next(&topic).await, module);
    assert_eq!(cloud.get(&format!("/v1/modules/{digest}/bytes")).body, module);
}

/// The component with a custom section that nobody reads.
fn padded(component: &[u8], size: usize) -> Vec<u8> {
    let size = u32::try_from(size).unwrap();
    let length = size + 4;
    let mut bytes = component.to_vec();
    bytes.push(0);
    bytes.extend([(length & 0x7f | 0x80) as u8, (length >> 7 & 0x7f | 0x80) as u8]);
    bytes.push((length >> 14) as u8);
    bytes.extend(b"\x03pad");
    bytes.extend(vec![0; size as usize]);
    bytes
}
