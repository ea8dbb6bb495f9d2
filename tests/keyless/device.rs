//! A module that an identity signed, from the author's command line to a device: pinned
//! in a trust root, signed against an authority and a log, approved, and in control.

use serde_json::{Value, json};
use std::path::Path;

use super::{Authorities, token};
use crate::stage::{Agent, Cloud, PROFILE, free_port, tou_params, until};

const IDENTITY: &str = "https://ci.test/acme/heaters/.github/workflows/release.yml@refs/tags/v1";
const ISSUER: &str = "https://ci.test";

/// A cloud that was set up with `gnomon trust init`; its root keys are beside it.
fn cloud() -> Cloud {
    let mqtt = free_port();
    let address = format!("127.0.0.1:{mqtt}");
    let mut cloud = Cloud::prepare(mqtt, &["--mqtt", &address, "--insecure-mqtt"]);
    let passphrase = cloud.file("passphrase", b"words of a test\n");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(passphrase, private).unwrap();
    let init = ["trust", "init", "--fleet", "acme", "--out", "trust", "--data", "cloud"];
    with_passphrase(&cloud, &init);
    cloud.run();
    cloud
}

fn with_passphrase(cloud: &Cloud, arguments: &[&str]) -> String {
    cloud.does(&[arguments, &["--passphrase-file", "passphrase"]].concat())
}

/// Pins the authorities, and lets this identity publish as `ci`.
fn trust(cloud: &Cloud, authorities: &Path) {
    let root = authorities.join("trusted_root.json");
    let add = ["trust", "add", "--dir", "trust"];
    cloud.does(&[&add[..], &["sigstore-root", "ours", root.to_str().unwrap()]].concat());
    let publisher = ["publisher", "--name", "ci", "--certificate-identity-uri", IDENTITY];
    let by = ["--certificate-oidc-issuer", ISSUER, "--sigstore-root", "ours"];
    cloud.does(&[&add[..], &publisher, &by].concat());
    let sign = ["trust", "sign", "--dir", "trust", "--yes", "--key", "trust/root-1.pem"];
    with_passphrase(cloud, &[&sign[..], &["--key", "trust/root-2.pem"]].concat());
    cloud.does(&["trust", "publish", "trust/trust-root.2.json"]);
}

/// Signs a module's file as somebody; gives the bundle's file.
fn sign(cloud: &Cloud, authorities: &Authorities, module: &str, subject: &str) -> String {
    let claims = json!({ "iss": ISSUER, "sub": subject, "aud": "sigstore" });
    let token = cloud.file("token", token(&claims).as_bytes());
    let main = format!("{}/main", authorities.address);
    let to = ["--fulcio", &main, "--rekor", &main, "--identity-token", &token];
    cloud.does(&[&["module", "sign", module, "--keyless"], &to[..]].concat());
    format!("{module}.sigstore.json")
}

pub(super) fn an_identity_publishes_a_module_and_a_device_runs_it(authorities: &Authorities) {
    let mut cloud = cloud();
    trust(&cloud, authorities.folder.path());
    let profile = cloud.file("profile.json", PROFILE);
    cloud.does(&["profile", "add", &profile]);
    cloud.does(&["device", "add", "heater-1", "--profile", "water-heater"]);
    let module = cloud.file("tou.wasm", gnomon_examples::WATER_HEATER_TOU);

    // Somebody else with an account at the same issuer.
    let foreign = sign(&cloud, authorities, &module, "https://ci.test/mallory/fork");
    let add = |cloud: &Cloud, bundle: &str| {
        cloud.gnomon(&["module", "add", &module, "--publisher", "ci", "--bundle", bundle])
    };
    let refused = add(&cloud, &foreign);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("identity_mismatch"), "{said}");

    let bundle = sign(&cloud, authorities, &module, IDENTITY);
    let verify = ["module", "verify", &module, "--bundle", &bundle, "--publisher", "ci"];
    cloud.does(&[&verify[..], &["--root", "trust/trust-root.2.json"]].concat());
    let added = add(&cloud, &bundle);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));

    let digest = cloud.get("/v1/modules")[0]["digest"].clone();
    let active = json!({ "module": digest, "params": tou_params(60.0) });
    let layer = json!({ "functions": { "setpoint": { "active": active } } });
    let layer = cloud.file("layer.json", layer.to_string().as_bytes());
    cloud.does(&["desired", "patch", "--fleet", "--file", &layer]);
    let approve = ["approval", "sign", "--all", "--yes", "--key", "trust/approver.pem"];
    with_passphrase(&cloud, &approve);

    // The device has nothing but the firmware's root: it takes the next one, then this.
    let first = std::fs::read(cloud.folder.path().join("trust/trust-root.1.json")).unwrap();
    let folder = cloud.folder.path().join("device");
    std::fs::create_dir(&folder).unwrap();
    let provisioned = folder.join("bundle");
    cloud.does(&["device", "bundle", "heater-1", "--out", provisioned.to_str().unwrap()]);
    std::fs::write(provisioned.join("trust-root.json"), first).unwrap();
    let mut agent = Agent::provisioned(&folder);
    let report: Value = until("in sync under root 2", || {
        let device = cloud.get("/v1/devices/heater-1");
        let is = device["state"] == "in_sync" && device["applied"] == device["desired"]["version"];
        is.then(|| device["reported"].clone())
    });
    assert_eq!(report["trust_version"], 2);
    assert_eq!(report["functions"]["setpoint"]["active"], digest);
    until("in control", || {
        let answer = agent.firmware().tick(50.0);
        (answer["source"] == "active").then_some(())
    });
    // Offline, from its store: no authority, no log and no cloud is asked again.
    agent.kill();
    cloud.kill();
    agent.run();
    until("in control again", || (agent.firmware().tick(50.0)["source"] == "active").then_some(()));
}
