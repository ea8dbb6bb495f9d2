//! First start, restart, keys, and several clouds in one process.

use crate::fixture::{Cloud, Device, active, options, tou};
use gnomon::serve::start;
use gnomon_schemas::keys::PublicKey;
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_makes_keys_that_only_the_owner_reads() {
    let cloud = Cloud::start().await;
    let data = cloud.running.data_dir().to_owned();
    let mode =
        |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("keys"), 0o700);
    for name in ["keys/root.pem", "keys/director.pem", "keys/approver.pem", "keys/publisher.pem"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let root = cloud.root();
    assert_eq!((root.version, root.epoch, root.fleet.as_str()), (1, 1, "acme"));
    let public = std::fs::read_to_string(data.join("keys/publisher.pub")).unwrap();
    let public = PublicKey::from_pem(&public).unwrap();
    assert_eq!(root.publishers[&"local".parse().unwrap()].proof.key(), Some(&public));
    assert_eq!(cloud.get("/v1/trust").body, std::fs::read(data.join("trust-root.json")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_others_can_read_are_refused() {
    let Cloud { running, folder } = Cloud::start().await;
    let key = running.data_dir().join("keys/director.pem");
    running.shutdown().await;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = start(options(&folder)).await.err().unwrap().to_string();
    assert!(error.contains("director.pem can be read by others (mode 640)"), "{error}");
    assert!(error.contains("chmod 600"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_fleet_in_the_same_folder_is_refused() {
    let Cloud { running, folder } = Cloud::start().await;
    running.shutdown().await;
    let mut other = options(&folder);
    other.fleet = "other".parse().unwrap();
    let error = start(other).await.err().unwrap().to_string();
    assert!(error.contains("is for fleet `acme`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_the_same_ports_keeps_and_publishes_everything() {
    let cloud = Cloud::with_device().await;
    let digest = gnomon_schemas::Digest::of(gnomon_examples::WATER_HEATER_TOU);
    let layer = active(tou(&digest));
    assert_eq!(cloud.json("PUT", "/v1/fleet/desired", &layer).status, 200);
    assert_eq!(cloud.approve_all(), 1);
    let version = cloud.version("heater-1");
    assert_eq!(version, 2);
    let (http, mqtt) = (cloud.running.http_addr(), cloud.running.mqtt_addr().unwrap());
    let Cloud { running, folder } = cloud;
    running.shutdown().await;

    let mut same = options(&folder);
    (same.http, same.mqtt) = (http, mqtt);
    let cloud = Cloud { running: start(same).await.unwrap(), folder };
    assert_eq!(cloud.version("heater-1"), version);
    assert_eq!(cloud.get("/v1/fleet/desired").json(), layer);
    let mut device = Device::connect(&cloud, "heater-1").await;
    device.subscribe(&device.topic("desired")).await;
    device.subscribe("gnomon/acme/trust/1").await;
    let document = device.document(&cloud, version).await;
    assert_eq!(document.version.get(), version);
    assert!(document.modules[&digest].inline.is_some());
    let mut other = Device::connect(&cloud, "other").await;
    other.subscribe("gnomon/acme/trust/1").await;
    assert_eq!(other.next("gnomon/acme/trust/1").await, cloud.get("/v1/trust").body);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clouds_in_one_process_do_not_hear_each_other() {
    let (one, two) = (Cloud::with_device().await, Cloud::start().await);
    assert_ne!(one.running.mqtt_addr(), two.running.mqtt_addr());
    assert_eq!(two.get("/v1/devices").json(), json!([]));
    let mut device = Device::connect(&one, "heater-1").await;
    device.subscribe(&device.topic("desired")).await;
    assert_eq!(device.document(&one, 1).await.device.as_str(), "heater-1");
    two.running.shutdown().await;
    assert_eq!(one.get("/v1/health").status, 200);
}
