//! Bad input over HTTP: one clear problem with a stable code each, and nothing done.

use crate::fixture::{Cloud, PROFILE, active, tou};
use gnomon_schemas::Digest;
use serde_json::{Value, json};

fn refused(cloud: &Cloud, method: &str, path: &str, body: &Value) -> (u16, String) {
    cloud.json(method, path, body).problem()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused() {
    let cloud = Cloud::with_device().await;
    let path = "/v1/fleet/desired";
    let raw = |media: &str, body: &[u8]| {
        cloud.send("PUT", path, &[("content-type", media)], body).problem()
    };
    let json_type = "application/json";
    let deep = format!("{{\"config\":{}1{}}}", "{\"a\":".repeat(60), "}".repeat(60));
    let large = format!("{{\"config\":{{\"site\":\"{}\"}}}}", "x".repeat(1 << 20));
    for (body, status, reason) in [
        ("{", 400, "malformed_json"),
        ("", 400, "malformed_json"),
        (r#"{"config":{},"config":{}}"#, 400, "duplicate_key"),
        (deep.as_str(), 400, "too_deep"),
        (r#"{"config":{"a":12345678901234567890}}"#, 400, "number_out_of_range"),
        (r#"{"confg":{}}"#, 422, "schema_violation"),
        (large.as_str(), 413, "too_large"),
    ] {
        assert_eq!(raw(json_type, body.as_bytes()), (status, reason.to_owned()));
    }
    assert_eq!(raw("text/plain", b"{}"), (415, "unsupported_media_type".into()));
    assert_eq!(cloud.version("heater-1"), 1);
    assert_eq!(cloud.get(path).etag, "\"r0\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_does_not_fit_the_profile_is_refused() {
    let cloud = Cloud::with_device().await;
    let tou_digest = Digest::of(gnomon_examples::WATER_HEATER_TOU);
    let mut bad_params = tou(&tou_digest);
    bad_params["params"]["high_c"] = json!("hot");
    let setpoint = |plan: Value| json!({"functions": {"setpoint": plan}});
    for (body, reason, place) in [
        (json!({"config": {"comfort_min_c": "warm"}}), "config_invalid", "config/comfort_min_c"),
        (json!({"functions": {"other": {}}}), "unknown_function", "`other`"),
        (active(tou(&Digest::of(b"none"))), "unknown_module", "functions.setpoint"),
        (active(bad_params), "params_invalid", "functions.setpoint: active"),
        (active(json!({"module": tou_digest})), "params_invalid", "functions.setpoint: active"),
        (active(json!({"params": {}})), "schema_violation", "functions.setpoint.active"),
        (
            setpoint(json!({"bounds": {"setpoint_c": {"max": 99}}})),
            "bounds_widened",
            "bounds.setpoint_c",
        ),
        (setpoint(json!({"bounds": {"tank": {"max": 1}}})), "unknown_output", "bounds.tank"),
        (
            setpoint(json!({"budget": {"fuel": 1_000_000_000, "memory_bytes": 65536}})),
            "budget_exceeded",
            "budget",
        ),
        (
            setpoint(json!({"candidates": vec![tou(&tou_digest); 5]})),
            "too_large",
            "functions.setpoint",
        ),
        (json!({"expires_in_s": 1}), "schema_violation", "expires_in_s"),
    ] {
        let answer = cloud.json("PUT", "/v1/devices/heater-1/desired", &body);
        assert_eq!(answer.problem(), (422, reason.to_owned()), "{body}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("heater-1") && detail.contains(place), "{detail}");
    }
    assert_eq!(cloud.version("heater-1"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_things_are_named() {
    let cloud = Cloud::with_device().await;
    for (path, reason) in [
        ("/v1/devices/nobody", "unknown_device"),
        ("/v1/devices/nobody/desired", "unknown_device"),
        ("/v1/devices/nobody/summaries", "unknown_device"),
        ("/v1/groups/none", "unknown_group"),
        ("/v1/groups/none/desired", "unknown_group"),
        ("/v1/profiles/none", "unknown_profile"),
        ("/v1/modules/none@1", "unknown_module"),
        ("/v1/modules/00000000", "unknown_module"),
        ("/v1/devices/heater-1/versions/9", "unknown_version"),
        ("/v1/devices/heater-1/versions/x", "unknown_version"),
        ("/v1/profiles/water-heater/functions/none/wit", "unknown_function"),
        ("/v1/nothing", "unknown_route"),
        ("/", "unknown_route"),
    ] {
        assert_eq!(cloud.get(path).problem(), (404, reason.to_owned()), "{path}");
    }
    for path in ["/v1/devices/Heater", "/v1/devices/heater%2F1", "/v1/devices?selector=a"] {
        assert_eq!(cloud.get(path).problem(), (400, "invalid_id".into()), "{path}");
    }
    let wrong_method = refused(&cloud, "POST", "/v1/fleet/desired", &json!({}));
    assert_eq!(wrong_method, (405, "unknown_route".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_and_profiles_that_contradict_are_refused() {
    let cloud = Cloud::with_device().await;
    let device = |profile: &str, labels: Value| {
        refused(
            &cloud,
            "POST",
            "/v1/devices",
            &json!({"device": "heater-1", "profile": profile, "labels": labels}),
        )
    };
    assert_eq!(device("toaster", json!({})), (422, "unknown_profile".into()));
    assert_eq!(device("water-heater", json!({"site": "x"})), (409, "already_exists".into()));
    assert_eq!(device("water-heater", json!({"a b": "x"})), (400, "invalid_id".into()));
    let mut profile: Value = serde_json::from_slice(PROFILE).unwrap();
    profile["outputs"]["setpoint_c"]["default"] = json!(99);
    assert_eq!(refused(&cloud, "POST", "/v1/profiles", &profile), (422, "profile_invalid".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_that_nobody_vouches_for_or_that_do_not_fit_are_refused() {
    let cloud = Cloud::with_device().await;
    let good = gnomon_examples::WATER_HEATER_HOT;
    let signature = cloud.sign(good);
    let mut tampered = good.to_vec();
    *tampered.last_mut().unwrap() ^= 1;
    let upload = |bytes: &[u8], publisher: &str, signature: &str| {
        cloud.upload(bytes, publisher, signature).problem()
    };
    assert_eq!(upload(&tampered, "local", &signature), (422, "module_signature_invalid".into()));
    assert_eq!(upload(good, "local", "none"), (422, "module_signature_invalid".into()));
    assert_eq!(upload(good, "stranger", &signature), (422, "publisher_unknown".into()));
    let signed = |bytes: &[u8]| upload(bytes, "local", &cloud.sign(bytes));
    assert_eq!(signed(b"\0asm\x01\0\0\0"), (422, "not_a_component".into()));
    let bare = wat::parse_str("(component)").unwrap();
    assert_eq!(signed(&bare), (422, "module_manifest_mismatch".into()));
    let manifest = |function: &str| {
        format!(r#"{{"name":"x","version":"1","release_counter":1,"function":"{function}"}}"#)
    };
    let text = format!(
        "(component (import \"clock\" (func)) (@custom \"gnomon.manifest\" {:?}))",
        manifest("setpoint")
    );
    assert_eq!(signed(&wat::parse_str(&text).unwrap()), (422, "has_imports".into()));
    let text = format!("(component (@custom \"gnomon.manifest\" {:?}))", manifest("setpoint"));
    assert_eq!(signed(&wat::parse_str(&text).unwrap()), (422, "missing_export".into()));
    let text = format!("(component (@custom \"gnomon.manifest\" {:?}))", manifest("other"));
    assert_eq!(signed(&wat::parse_str(&text).unwrap()), (422, "unknown_function".into()));
    assert_eq!(upload(&vec![0; 5 << 20], "local", &signature), (413, "too_large".into()));
    assert_eq!(cloud.get("/v1/modules").json().as_array().unwrap().len(), 2);
}
