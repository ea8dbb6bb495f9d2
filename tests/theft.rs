//! Theft drills: somebody holds one private key, and the broker. No new code runs, and
//! one trust root, published once, takes the key's power away on every device.
//!
//! A stolen device is `identity`'s business.

use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::{Digest, Version};
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

use crate::attacks::rig::{Broker, Device, hot, module_topic, scene, tou};
use crate::attacks::world::{
    Signer, approved, approver, config, directed, json as bytes, next_root, publisher, rooted, seal,
};
use crate::stage::{Agent, Cloud, PROFILE, free_port, until};

const DAY_MS: u64 = 24 * 3600 * 1000;
const HEATERS: [&str; 3] = ["heater-1", "heater-2", "heater-3"];

/// The director's key as it lies in the cloud's folder.
fn stolen(path: &Path) -> Signer {
    let pem = pem::parse(std::fs::read_to_string(path).unwrap()).unwrap();
    Signer::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(pem.contents()).unwrap())
}

/// A fleet set up as in production: root keys in other hands, each encrypted.
struct Fleet {
    broker: Broker,
    cloud: Cloud,
}

impl Fleet {
    fn start() -> Fleet {
        let broker = Broker::start();
        let url = format!("mqtt://127.0.0.1:{}", broker.port);
        let mut cloud = Cloud::prepare(free_port(), &["--broker", &url]);
        let passphrase = cloud.file("passphrase", b"the words of the drill\n");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&passphrase, private).unwrap();
        let make = ["trust", "init", "--fleet", "acme", "--out", "trust", "--data", "cloud"];
        cloud.does(&[&make[..], &["--passphrase-file", "passphrase"]].concat());
        cloud.run();
        let fleet = Fleet { broker, cloud };
        let profile = fleet.cloud.file("profile.json", PROFILE);
        fleet.cloud.does(&["profile", "add", &profile]);
        for name in HEATERS {
            fleet.cloud.does(&["device", "add", name, "--profile", "water-heater"]);
        }
        for (file, module) in [
            ("tou.wasm", gnomon_examples::WATER_HEATER_TOU),
            ("price.wasm", gnomon_examples::WATER_HEATER_PRICE),
        ] {
            let file = fleet.cloud.file(file, module);
            fleet.with_passphrase(&["module", "add", &file, "--key", "trust/publisher.pem"]);
        }
        fleet
    }

    fn with_passphrase(&self, arguments: &[&str]) {
        self.cloud.does(&[arguments, &["--passphrase-file", "passphrase"]].concat());
    }

    /// Puts something into a layer, and has it approved where it must be.
    fn patch(&self, layer: &[&str], content: &Value) {
        let file = self.cloud.file("layer.json", content.to_string().as_bytes());
        self.cloud.does(&[&["desired", "patch"], layer, &["--file", &file]].concat());
        let sign = ["approval", "sign", "--all", "--yes", "--key", "trust/approver.pem"];
        self.with_passphrase(&sign);
    }

    fn agent(&self, name: &str) -> Agent {
        let folder = self.cloud.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let bundle = folder.join("bundle");
        self.cloud.does(&["device", "bundle", name, "--out", bundle.to_str().unwrap()]);
        Agent::provisioned(&folder)
    }

    fn device(&self, name: &str) -> Value {
        self.cloud.get(&format!("/v1/devices/{name}"))
    }

    /// Waits until each of these devices has what the cloud wants.
    #[track_caller]
    fn wait_in_sync(&self, names: &[&str], trust_version: u64) {
        for name in names {
            let last = std::cell::RefCell::new(Value::Null);
            until(&format!("{name} in sync under root {trust_version}"), || {
                let device = self.device(name);
                let is = device["state"] == "in_sync"
                    && device["applied"] == device["desired"]["version"]
                    && device["reported"]["trust_version"] == trust_version;
                last.replace(device);
                is.then_some(())
            });
        }
    }

    /// What the broker retains for a device: the thief has read it.
    fn captured(&self, name: &str) -> Document {
        let output = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &self.broker.port.to_string(), "-C", "1", "-W", "20"])
            .args(["-t", &format!("gnomon/acme/d/{name}/desired")])
            .output()
            .unwrap();
        let envelope: Envelope = serde_json::from_slice(&output.stdout).unwrap();
        let engine = base64::engine::general_purpose::STANDARD;
        let payload = base64::Engine::decode(&engine, envelope.payload).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }

    /// The thief publishes; the device must refuse it for this reason.
    #[track_caller]
    fn refused(&self, name: &str, envelope: &[u8], reason: Reason) {
        let count = || {
            let reported = self.broker.reported(name);
            reported.map_or(0, |report| report["refused"][reason.code()].as_u64().unwrap_or(0))
        };
        let before = count();
        self.broker.retain(&format!("gnomon/acme/d/{name}/desired"), envelope);
        until(&format!("{name} refuses for {reason}"), || (count() > before).then_some(()));
    }
}

#[track_caller]
fn holds(agent: &Agent, setpoint_c: f64) {
    let mut firmware = agent.firmware();
    for _ in 0..5 {
        assert_eq!(firmware.tick(50.0)["outputs"]["setpoint_c"], setpoint_c);
    }
}

#[track_caller]
fn reaches(agent: &Agent, setpoint_c: f64) {
    let mut firmware = agent.firmware();
    until(&format!("{setpoint_c} degrees"), || {
        (firmware.tick(50.0)["outputs"]["setpoint_c"] == setpoint_c).then_some(())
    });
}

fn higher(document: &Document, by: u64) -> Document {
    let version = Version::try_from(document.version.get() + by).unwrap();
    Document { version, ..document.clone() }
}

/// What the thief tries with the director's key; nothing of it may run.
fn try_everything(fleet: &Fleet, thief: &Signer, running: &Document, neighbour: &Document) {
    let sealed = |document: &Document| bytes(&seal(document, &[thief]));
    let refused = |document: &Document, reason| {
        fleet.refused("heater-1", &sealed(document), reason);
    };
    let setpoint = "setpoint".parse().unwrap();
    // A module of its own: unapproved, approved by itself, under an approval for another.
    let mut evil = hot(running.version.get() + 1);
    evil.device = running.device.clone();
    evil.profile = running.profile.clone();
    refused(&evil, Reason::ApprovalMissing);
    let mut by_itself = higher(&evil, 1);
    let approval = crate::attacks::world::approval(&by_itself);
    by_itself.approvals = vec![seal(&approval, &[thief])];
    refused(&by_itself, Reason::ThresholdNotMet);
    let mut borrowed = higher(&evil, 2);
    borrowed.approvals = running.approvals.clone();
    refused(&borrowed, Reason::ApprovalMissing);
    // The approved module within other bounds, and as another function.
    let mut wider = higher(running, 4);
    wider.functions.get_mut(&setpoint).unwrap().bounds.clear();
    refused(&wider, Reason::ApprovalMissing);
    let mut elsewhere = higher(running, 5);
    let plan = elsewhere.functions.remove(&setpoint).unwrap();
    elsewhere.functions.insert("pump".parse().unwrap(), plan);
    refused(&elsewhere, Reason::UnknownFunction);
    // What was approved for another device, and that device's very document.
    let mut replayed = higher(neighbour, 20);
    replayed.device = running.device.clone();
    refused(&replayed, Reason::ApprovalMissing);
    refused(&higher(neighbour, 21), Reason::WrongDevice);
    // Versions and epochs that would leave the rightful director none.
    refused(&higher(running, 2_000_000), Reason::FastForward);
    refused(&Document { epoch: 2, ..higher(running, 7) }, Reason::FastForward);
    refused(&Document { version: running.version, ..evil }, Reason::Equivocation);
}

#[test]
fn a_stolen_director_key_runs_no_new_code_and_one_root_recovers_every_device() {
    let fleet = Fleet::start();
    let modules = fleet.cloud.get("/v1/modules");
    let digest = |name: &str| {
        let modules = modules.as_array().unwrap();
        modules.iter().find(|module| module["name"] == name).unwrap()["digest"].clone()
    };
    let params = |high_c: f64| json!({ "off_peak_start_hour": 0.0, "off_peak_end_hour": 24.0, "high_c": high_c, "low_c": 45.0 });
    let active = |high_c| json!({ "module": digest("water-heater-tou"), "params": params(high_c) });
    let bounds = json!({ "setpoint_c": { "max": 62.0 } });
    let setpoint = json!({ "setpoint": { "active": active(60.0), "bounds": bounds } });
    fleet.patch(&["--fleet"], &json!({ "functions": setpoint }));
    let candidate = json!([{ "module": digest("water-heater-price"), "params": {
        "comfort_min_c": 45.0, "high_c": 60.0, "low_c": 46.0, "heat_c_per_hour": 8.0,
        "use_c_per_hour": 0.5,
    } }]);
    let beside = json!({ "setpoint": { "candidates": candidate } });
    fleet.patch(&["--device", "heater-2"], &json!({ "functions": beside }));
    let [first, second, mut third] = HEATERS.map(|name| fleet.agent(name));
    fleet.wait_in_sync(&HEATERS, 1);
    [&first, &second, &third].into_iter().for_each(|agent| reaches(agent, 60.0));

    // The theft: the director's key and the broker. One device is not at home.
    let keys = fleet.cloud.folder.path().join("cloud/keys");
    let thief = stolen(&keys.join("director.pem"));
    third.kill();
    let running = fleet.captured("heater-1");
    try_everything(&fleet, &thief, &running, &fleet.captured("heater-2"));
    holds(&first, 60.0);
    // What a director may do alone, the thief can, too: burn versions and config.
    let mut burnt = higher(&running, 1_000_000);
    burnt.config.insert("comfort_min_c".into(), 31.into());
    // And time itself: as far as one document may move it, past the trust root's life.
    burnt.issued_at_ms += 10_000 * DAY_MS;
    burnt.expires_at_ms = burnt.issued_at_ms + DAY_MS;
    fleet.broker.retain("gnomon/acme/d/heater-1/desired", &bytes(&seal(&burnt, &[&thief])));
    until("the burnt version", || {
        let reported = fleet.broker.reported("heater-1")?;
        (reported["applied"] == burnt.version.get()).then_some(())
    });
    holds(&first, 60.0);
    let rightful = Document { issued_at_ms: running.issued_at_ms, ..higher(&burnt, 1) };
    fleet.refused("heater-1", &bytes(&seal(&rightful, &[&thief])), Reason::Expired);

    // The runbook: a new key, one root that two holders sign, one publish.
    let id: Value = serde_json::from_str(&fleet.cloud.does(&[
        "--json",
        "key",
        "public",
        "cloud/keys/director.pem",
    ]))
    .unwrap();
    fleet.cloud.does(&["key", "new", "--out", "new-director.pem", "--plain"]);
    fleet.cloud.does(&["trust", "add", "--dir", "trust", "director", "new-director.pem.pub"]);
    let revoke = ["trust", "revoke", "--dir", "trust", "director", id["id"].as_str().unwrap()];
    fleet.cloud.does(&revoke);
    let sign = ["trust", "sign", "--dir", "trust", "--yes", "--key", "trust/root-1.pem"];
    fleet.with_passphrase(&[&sign[..], &["--key", "trust/root-3.pem"]].concat());
    let new = fleet.cloud.folder.path().join("new-director.pem");
    std::fs::rename(new, keys.join("director.pem")).unwrap();
    fleet.cloud.does(&["trust", "publish", "trust/trust-root.2.json"]);
    fleet.wait_in_sync(&["heater-1", "heater-2"], 2);
    third.run();
    fleet.wait_in_sync(&HEATERS, 2);
    [&first, &second, &third].into_iter().for_each(|agent| reaches(agent, 60.0));

    // The thief is nobody now; the rightful cloud goes on.
    let current = fleet.captured("heater-1");
    assert_eq!(current.epoch, 2);
    let late = bytes(&seal(&higher(&current, 1), &[&thief]));
    fleet.refused("heater-1", &late, Reason::ThresholdNotMet);
    let warm = json!({ "setpoint": { "active": { "params": params(58.0) } } });
    fleet.patch(&["--fleet"], &json!({ "functions": warm }));
    fleet.wait_in_sync(&HEATERS, 2);
    [&first, &second, &third].into_iter().for_each(|agent| reaches(agent, 58.0));
}

#[test]
fn a_stolen_publisher_key_reaches_no_device() {
    let broker = Broker::start();
    let mut device = scene(&broker, "published");
    // A module that the publisher's key signed, on its topic, and documents by that key.
    let module = gnomon_examples::WATER_HEATER_HOT;
    broker.retain(&module_topic(module), module);
    let evil = device.addressed(&approved(hot(2)));
    broker.retain(&device.desired(), &bytes(&seal(&evil, &[&publisher()])));
    device.wait_refused(&broker, Reason::ThresholdNotMet, 1);
    let mut by_publisher = hot(3);
    by_publisher.device = device.name.parse().unwrap();
    let approval = crate::attacks::world::approval(&by_publisher);
    by_publisher.approvals = vec![seal(&approval, &[&publisher()])];
    broker.retain(&device.desired(), &directed(&by_publisher));
    device.wait_refused(&broker, Reason::ThresholdNotMet, 2);
    device.direct(&broker, &hot(4));
    device.wait_refused(&broker, Reason::ApprovalMissing, 1);
    device.holds(60.0);

    // Had it come as far as control, one root ends it: at once and after a restart.
    device.direct(&broker, &approved(hot(5)));
    device.wait_applied(&broker, 5);
    device.wait_output("active", 70.0);
    let second = next_root(|root| {
        root.denied.insert(Digest::of(module));
    });
    broker.retain("gnomon/acme/trust/2", &rooted(&second));
    device.wait_refused(&broker, Reason::ModuleDenied, 1);
    device.wait_output("default", 50.0);
    device.restart(&broker, |_| {});
    device.wait_output("default", 50.0);
    // And the next root takes the publisher away altogether.
    let mut third = second;
    third.version = 3;
    third.publishers.remove(&"acme-controls".parse().unwrap());
    broker.retain("gnomon/acme/trust/3", &rooted(&third));
    device.wait(&broker, "root 3", |reported| reported["trust_version"] == 3);
    device.direct(&broker, &approved(tou(6, 55.0)));
    device.wait_refused(&broker, Reason::PublisherUnknown, 1);
    device.direct(&broker, &config(7));
    device.wait_applied(&broker, 7);
}

#[test]
fn a_stolen_approver_key_does_nothing() {
    let broker = Broker::start();
    let device: Device = scene(&broker, "approved");
    let evil = device.addressed(&approved(hot(2)));
    let module = gnomon_examples::WATER_HEATER_HOT;
    broker.retain(&module_topic(module), module);
    broker.retain(&device.desired(), &bytes(&seal(&evil, &[&approver()])));
    device.wait_refused(&broker, Reason::ThresholdNotMet, 1);
    let cold = device.addressed(&config(3));
    broker.retain(&device.desired(), &bytes(&seal(&cold, &[&approver()])));
    device.wait_refused(&broker, Reason::ThresholdNotMet, 2);
    broker.retain(&device.desired(), &bytes(&evil.approvals[0]));
    device.wait_refused(&broker, Reason::WrongPayloadType, 1);
    let root = next_root(|_| {});
    broker.retain("gnomon/acme/trust/2", &bytes(&seal(&root, &[&approver()])));
    device.wait_refused(&broker, Reason::ThresholdNotMet, 3);
    device.holds(60.0);
    device.direct(&broker, &approved(tou(4, 55.0)));
    device.wait_applied(&broker, 4);
}
