//! Trust roots: made, drafted and signed offline by several holders, taken in force by a
//! running service, refused where they must be (TUF 5.3).

use crate::fixture::{Cloud, Device, FLEET, active, options, tou};
use crate::keys::{folder, gnomon, ok};
use gnomon::serve::start;
use gnomon_schemas::Digest;
use gnomon_schemas::succession::verify_next_root;
use gnomon_schemas::trust::TrustRoot;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const DEVICE: &str = "heater-1";

/// A fleet's keys and roots: `root/` with the holders' files, `data/` for a service.
struct Ceremony {
    folder: TempDir,
    passphrase: String,
}

impl Ceremony {
    fn init() -> Ceremony {
        let (folder, passphrase) = folder();
        let ceremony = Ceremony { folder, passphrase };
        let (out, data) = (ceremony.path("root"), ceremony.path("data"));
        let init = ["trust", "init", "--fleet", FLEET, "--out", &out, "--data", &data];
        let told = ok(&[&init[..], &["--passphrase-file", &ceremony.passphrase]].concat());
        assert!(told.contains("2 of 3 must sign"), "{told}");
        ceremony
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn root(&self, version: u64) -> String {
        self.path(&format!("root/trust-root.{version}.json"))
    }

    fn key(&self, number: u64) -> String {
        self.path(&format!("root/root-{number}.pem"))
    }

    /// Runs an offline command in the folder of the roots.
    #[track_caller]
    fn trust(&self, args: &[&str]) -> String {
        let dir = self.path("root");
        ok(&[&["trust"], args, &["--dir", &dir]].concat())
    }

    fn try_sign(&self, keys: &[&str]) -> (u8, String, String) {
        let dir = self.path("root");
        let mut args = vec!["trust", "sign", "--yes", "--dir", &dir];
        args.extend(["--passphrase-file", &self.passphrase]);
        keys.iter().for_each(|key| args.extend(["--key", key]));
        gnomon(&args)
    }

    #[track_caller]
    fn sign(&self, keys: &[u64]) -> String {
        let keys: Vec<String> = keys.iter().map(|number| self.key(*number)).collect();
        let (code, out, err) = self.try_sign(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((code, err.as_str()), (0, ""));
        out
    }

    /// A new key and its public half; encrypted.
    fn new_key(&self, name: &str) -> (String, String) {
        let path = self.path(name);
        ok(&["key", "new", "--out", &path, "--passphrase-file", &self.passphrase]);
        (path.clone(), format!("{path}.pub"))
    }

    /// A new director's key, plain: where it is, its public half.
    fn new_director(&self) -> (PathBuf, String) {
        let path = self.folder.path().join("director-2.pem");
        let public = format!("{}.pub", path.display());
        ok(&["key", "new", "--plain", "--out", path.to_str().unwrap()]);
        (path, public)
    }

    fn payload(&self, version: u64) -> TrustRoot {
        let shown = ok(&["--json", "trust", "show", &self.root(version)]);
        serde_json::from_str::<Value>(&shown)
            .map(|shown| serde_json::from_value(shown["root"].clone()).unwrap())
            .unwrap()
    }

    fn verify(&self, versions: &[u64]) -> (u8, String) {
        let files: Vec<String> = versions.iter().map(|version| self.root(*version)).collect();
        let mut args = vec!["trust", "verify"];
        args.extend(files.iter().map(String::as_str));
        let (code, out, err) = gnomon(&args);
        (code, out + &err)
    }

    async fn cloud(self) -> (Cloud, Ceremony) {
        let mut with = options(&self.folder);
        with.data_dir = self.folder.path().join("data");
        let running = start(with).await.unwrap();
        let cloud = Cloud { running, folder: TempDir::new().unwrap() };
        cloud.until("the broker is connected", |cloud| {
            cloud.get("/v1/status").json()["broker_connected"] == true
        });
        (cloud, self)
    }

    fn publish(&self, cloud: &Cloud, version: u64) -> (u8, String, String) {
        let url = cloud.running.http_url();
        let file = self.root(version);
        tokio::task::block_in_place(|| gnomon(&["--url", &url, "trust", "publish", &file]))
    }

    /// Puts the example module in control of the one device, approved.
    fn put_in_control(&self, cloud: &Cloud) {
        let module = gnomon_examples::WATER_HEATER_TOU;
        cloud.add_profile();
        cloud.add_device(DEVICE, json!({}));
        let url = cloud.running.http_url();
        let file = self.path("tou.wasm");
        std::fs::write(&file, module).unwrap();
        let key = self.path("root/publisher.pem");
        let phrase = ["--passphrase-file", &self.passphrase];
        let run = |args: &[&str]| {
            let all = [&["--url", url.as_str()], args, &phrase].concat();
            tokio::task::block_in_place(|| ok(&all))
        };
        run(&["module", "add", &file, "--key", &key]);
        let layer = active(tou(&Digest::of(module)));
        assert_eq!(cloud.json("PUT", "/v1/fleet/desired", &layer).status, 200);
        let approver = self.path("root/approver.pem");
        let told = run(&["approval", "sign", "--all", "--yes", "--key", &approver]);
        assert!(told.contains("1 devices get it now"), "{told}");
    }
}

fn encrypted(path: &str) -> bool {
    std::fs::read_to_string(path).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

#[test]
fn a_first_root_is_two_of_three_and_every_key_but_the_directors_is_encrypted() {
    let ceremony = Ceremony::init();
    for name in ["root-1.pem", "root-2.pem", "root-3.pem", "approver.pem", "publisher.pem"] {
        assert!(encrypted(&ceremony.path(&format!("root/{name}"))), "{name}");
    }
    assert!(!Path::new(&ceremony.path("root/director.pem")).exists());
    assert!(!encrypted(&ceremony.path("data/keys/director.pem")));
    assert!(!Path::new(&ceremony.path("data/keys/root.pem")).exists());
    let in_data = std::fs::read(ceremony.path("data/trust-root.json")).unwrap();
    assert_eq!(in_data, std::fs::read(ceremony.root(1)).unwrap());
    let root = ceremony.payload(1);
    assert_eq!((root.roles.root.keys.len(), root.roles.root.threshold), (3, 2));
    assert_eq!(ceremony.verify(&[1]).0, 0);
    let out = ceremony.path("root");
    let again = gnomon(&["trust", "init", "--fleet", FLEET, "--out", &out]);
    assert!(again.0 == 1 && again.2.contains("is there already"), "{again:?}");
}

#[test]
fn root_keys_that_their_holders_made_themselves_never_come_together() {
    let (folder, passphrase) = folder();
    let ceremony = Ceremony { folder, passphrase };
    let keys = ["anna.pem", "ben.pem", "chloe.pem"].map(|name| ceremony.new_key(name));
    let out = ceremony.path("root");
    let mut init = vec!["trust", "init", "--fleet", FLEET, "--out", &out];
    keys.iter().for_each(|(_, public)| init.extend(["--root", public]));
    let told = ok(&[&init[..], &["--passphrase-file", &ceremony.passphrase]].concat());
    assert!(told.contains("0 of the 2 root keys"), "{told}");
    assert!(!Path::new(&ceremony.root(1)).exists());
    assert!(ceremony.try_sign(&[&keys[2].0]).1.contains("1 of the 2 root keys"));
    assert!(ceremony.try_sign(&[&keys[0].0]).1.contains("trust-root.1.json"));
    assert_eq!(ceremony.verify(&[1]).0, 0);
}

#[test]
fn holders_sign_one_after_the_other_and_a_chain_is_verified_link_by_link() {
    let ceremony = Ceremony::init();
    let (_, public) = ceremony.new_director();
    assert!(ceremony.trust(&["add", "director", &public]).contains("is a director key"));
    let told = ceremony.sign(&[1]);
    assert!(told.contains("1 of the 2 root keys"), "{told}");
    assert!(!Path::new(&ceremony.root(2)).exists());
    // The same holder again is no second one.
    assert!(ceremony.sign(&[1]).contains("1 of the 2 root keys"));
    // An edit after the first signature makes that void.
    assert!(ceremony.trust(&["expires", "30d"]).contains("void"));
    assert!(ceremony.sign(&[2]).contains("1 of the 2 root keys"));
    assert!(ceremony.sign(&[3]).contains("trust-root.2.json"));
    for version in 3..=4 {
        ceremony.trust(&["bump-epoch"]);
        ceremony.sign(&[1, 2]);
        assert_eq!(ceremony.payload(version).epoch, version - 1);
    }
    assert_eq!(ceremony.verify(&[1, 2, 3, 4]).0, 0);
    for (chain, reason) in
        [(&[1, 3][..], "trust_root_skipped"), (&[1, 2, 2], "rollback"), (&[1, 2, 3, 2], "rollback")]
    {
        let (code, told) = ceremony.verify(chain);
        assert!(code == 1 && told.contains(reason), "{chain:?}: {told}");
    }
}

#[test]
fn a_root_needs_the_old_keys_and_its_own() {
    let ceremony = Ceremony::init();
    let (new_1, public_1) = ceremony.new_key("new-1.pem");
    let (new_2, public_2) = ceremony.new_key("new-2.pem");
    let first = ceremony.payload(1);
    let ids: Vec<String> =
        first.roles.root.keys.iter().map(|key| key.id().hex()[..12].to_owned()).collect();
    ceremony.trust(&["add", "root", &public_1]);
    ceremony.trust(&["add", "root", &public_2]);
    ids.iter().for_each(|id| drop(ceremony.trust(&["remove", "root", id])));
    let draft = ceremony.path("root/trust-root.2.draft.json");
    let verify = |file: &str| gnomon(&["trust", "verify", &ceremony.root(1), file]).2;
    // Old keys only.
    let told = ceremony.sign(&[1, 2]);
    assert!(told.contains("0 of the 2 root keys that its own wants"), "{told}");
    assert!(verify(&draft).contains("its own root keys: 0 of the 2"), "{}", verify(&draft));
    // New keys only.
    ceremony.trust(&["expires", "90d"]);
    let (code, told, _) = ceremony.try_sign(&[&new_1, &new_2]);
    assert!(code == 0 && told.contains("the trust root before wants"), "{told}");
    assert!(verify(&draft).contains("the previous root keys: 0 of the 2"));
    // Both.
    assert!(ceremony.sign(&[1, 3]).contains("trust-root.2.json"));
    assert_eq!(ceremony.verify(&[1, 2]).0, 0);
    // Somebody else's key is no signature at all.
    ceremony.trust(&["bump-epoch"]);
    let (code, _, err) = ceremony.try_sign(&[&ceremony.path("root/approver.pem")]);
    assert!(code == 1 && err.contains("is no root key"), "{err}");
}

#[test]
fn a_draft_that_contradicts_itself_is_not_signed() {
    let ceremony = Ceremony::init();
    let approver = ceremony.payload(1).roles.approver.keys[0].id();
    let told = ceremony.trust(&["remove", "approver", approver.short()]);
    assert!(told.contains("not ready to be signed") && told.contains("1 of 0 keys"), "{told}");
    let (code, _, err) = ceremony.try_sign(&[&ceremony.key(1), &ceremony.key(2)]);
    assert!(code == 1 && err.starts_with("error: trust_root_invalid: "), "{err}");
    // The director does not approve its own documents.
    let director = ceremony.path("data/keys/director.pem.pub");
    ceremony.trust(&["add", "approver", &director]);
    let (code, _, err) = ceremony.try_sign(&[&ceremony.key(1), &ceremony.key(2)]);
    assert!(code == 1 && err.contains("one person"), "{err}");
}

#[test]
fn publishers_are_keys_or_identities_for_what_they_may_publish() {
    let ceremony = Ceremony::init();
    let pinned = ceremony.path("trusted_root.json");
    std::fs::write(&pinned, "{\"mediaType\":\"x\"}").unwrap();
    ceremony.trust(&["add", "sigstore-root", "public", &pinned]);
    let add = ["add", "publisher", "--name", "ci", "--profile", "water-heater"];
    let identity = ["--certificate-identity-uri", "https://ci.example/build.yml@main"];
    let issuer = ["--certificate-oidc-issuer", "https://ci.example", "--sigstore-root", "public"];
    ceremony.trust(&[&add[..], &identity, &issuer].concat());
    ceremony.sign(&[1, 2]);
    let shown = ok(&["trust", "show", &ceremony.root(2)]);
    for part in ["URI https://ci.example/build.yml@main", "every function of profile water-heater"]
    {
        assert!(shown.contains(part), "{shown}");
    }
    let dir = ceremony.path("root");
    let without = [&["trust"], &add[..], &identity, &["--dir", &dir]].concat();
    assert_eq!(gnomon(&without).0, 2, "an identity without its issuer is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_director_is_replaced_by_one_root_that_reaches_every_device_first() {
    let (cloud, ceremony) = Ceremony::init().cloud().await;
    ceremony.put_in_control(&cloud);
    let mut device = Device::connect(&cloud, DEVICE).await;
    device.subscribe("gnomon/acme/trust/+").await;
    device.subscribe(&device.topic("desired")).await;
    assert_eq!(device.next("gnomon/acme/trust/1").await, cloud.get("/v1/trust").body);

    let (new, public) = ceremony.new_director();
    let stolen = ceremony.payload(1).roles.director.keys[0].id();
    ceremony.trust(&["add", "director", &public]);
    let told = ceremony.trust(&["revoke", "director", stolen.short()]);
    assert!(told.contains("the epoch is 2"), "{told}");
    ceremony.sign(&[1, 2]);
    // Without the key the service reads, edits nothing, and says what to do.
    let (code, out, err) = ceremony.publish(&cloud, 2);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("put a key there that it names"), "{out}");
    assert_eq!(cloud.get("/v1/status").json()["trust_version"], 2);
    let edit = json!({"config": {"site": "x"}});
    let refused = cloud.json("PATCH", "/v1/fleet/desired", &edit).problem();
    assert_eq!(refused, (503, "unavailable".into()));
    assert_eq!(cloud.version(DEVICE), 2);

    std::fs::copy(&new, ceremony.path("data/keys/director.pem")).unwrap();
    let (_, out, _) = ceremony.publish(&cloud, 2);
    assert!(out.contains("1 documents signed again"), "{out}");
    assert_eq!(cloud.version(DEVICE), 3, "versions go on counting");
    // Root before document: on one connection the order is what the broker got.
    let root = device.next("gnomon/acme/trust/2").await;
    let current = ceremony.payload(1);
    let root = verify_next_root(&root, &current).unwrap().into_payload();
    let document = loop {
        let bytes = device.next(&device.topic("desired")).await;
        let opened = gnomon_schemas::verify::verify::<gnomon_schemas::document::Document>(
            &bytes,
            &root.roles.director,
        );
        if let Ok(document) = opened {
            break document.into_payload();
        }
    };
    assert_eq!((document.epoch, document.version.get()), (2, 3));
    assert_eq!(gnomon_schemas::approval::check(&document, &root), Ok(()));
    assert_eq!(cloud.json("PATCH", "/v1/fleet/desired", &edit).status, 200);
    assert_eq!(cloud.version(DEVICE), 4);

    // A restart takes the chain from the store, a new device all of it from the broker.
    let Cloud { running, folder: _folder } = cloud;
    running.shutdown().await;
    let (cloud, _ceremony) = ceremony.cloud().await;
    assert_eq!(cloud.get("/v1/status").json()["trust_version"], 2);
    let mut late = Device::connect(&cloud, "late").await;
    // One after the other: a broker gives what it retains in any order.
    for version in 1..=2 {
        let topic = format!("gnomon/acme/trust/{version}");
        late.subscribe(&topic).await;
        let retained = late.next(&topic).await;
        assert_eq!(retained, cloud.get(&format!("/v1/trust/{version}")).body);
    }
    assert_eq!(cloud.get("/v1/trust/3").problem(), (404, "unknown_version".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_a_thief_burnt_is_recovered_by_the_next_epoch() {
    let (cloud, ceremony) = Ceremony::init().cloud().await;
    cloud.add_profile();
    cloud.add_device(DEVICE, json!({}));
    let mut device = Device::connect(&cloud, DEVICE).await;
    let burnt = json!({"state": "in_sync", "seen": 1_000_001, "applied": 1_000_001,
        "applied_digest": Digest::of(b"config of a thief")});
    device.say(burnt.clone()).await;
    cloud.until("it is in conflict", |cloud| cloud.device(DEVICE)["state"] == "conflict");
    ceremony.trust(&["bump-epoch"]);
    ceremony.sign(&[1, 2]);
    let (_, out, _) = ceremony.publish(&cloud, 2);
    assert!(out.contains("1 documents signed again"), "{out}");
    let desired = cloud.device(DEVICE)["desired"].clone();
    assert_eq!((&desired["epoch"], &desired["version"]), (&json!(2), &json!(2)));
    // What it says before it has the new root is about the old epoch.
    device.say(burnt).await;
    device.subscribe(&device.topic("ack")).await;
    device.publish(&device.topic("results"), device.batch(1, json!({})).to_string()).await;
    device.next(&device.topic("ack")).await;
    assert_eq!(cloud.device(DEVICE)["conflict"], json!(null));
    let now = json!({"state": "in_sync", "seen": 2, "applied": 2, "trust_version": 2,
        "applied_digest": desired["payload_digest"]});
    device.say(now).await;
    cloud.until("it is in sync", |cloud| cloud.device(DEVICE)["state"] == "in_sync");
    // From then on a greater number is a conflict again.
    device.say(json!({"state": "in_sync", "seen": 9, "applied": 9, "trust_version": 2})).await;
    cloud.until("it is in conflict", |cloud| cloud.device(DEVICE)["state"] == "conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_takes_no_root_that_may_not_follow() {
    let (cloud, ceremony) = Ceremony::init().cloud().await;
    for _ in 2..=3 {
        ceremony.trust(&["bump-epoch"]);
        ceremony.sign(&[1, 2]);
    }
    let post = |body: &[u8]| {
        cloud.send("POST", "/v1/trust", &[("content-type", "application/json")], body).problem()
    };
    let root = |version: u64| std::fs::read(ceremony.root(version)).unwrap();
    assert_eq!(post(&root(3)), (422, "trust_root_skipped".into()));
    assert_eq!(ceremony.publish(&cloud, 2).0, 0);
    assert_eq!(post(&root(1)), (422, "rollback".into()));
    let mut unsigned: Value = serde_json::from_slice(&root(3)).unwrap();
    unsigned["signatures"] = json!([]);
    assert_eq!(post(unsigned.to_string().as_bytes()), (422, "threshold_not_met".into()));
    let document = json!({"payloadType": "x", "payload": "", "signatures": []}).to_string();
    assert_eq!(post(document.as_bytes()), (422, "wrong_payload_type".into()));
    assert_eq!(cloud.get("/v1/status").json()["trust_version"], 2);
    // What is in force already changes nothing.
    assert_eq!(ceremony.publish(&cloud, 2).0, 0);
    assert_eq!(ceremony.publish(&cloud, 3).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_root_revokes_is_taken_no_more() {
    let (cloud, ceremony) = Ceremony::init().cloud().await;
    ceremony.put_in_control(&cloud);
    let digest = Digest::of(gnomon_examples::WATER_HEATER_TOU);
    let edit =
        |site: &str| cloud.json("PATCH", "/v1/fleet/desired", &json!({"config": {"site": site}}));
    let told = ceremony.trust(&["revoke", "module", digest.as_str()]);
    assert!(told.contains("must not run"), "{told}");
    ceremony.sign(&[1, 2]);
    let (_, out, _) = ceremony.publish(&cloud, 2);
    assert!(out.contains("heater-1 gets no new document: module_denied"), "{out}");
    assert_eq!(edit("a").problem(), (422, "module_denied".into()));
    assert_eq!(cloud.version(DEVICE), 2);
    // Away with it, and the fleet goes on.
    let without = json!({"functions": null, "config": {"site": "a"}});
    assert_eq!(cloud.json("PATCH", "/v1/fleet/desired", &without).status, 200);
    assert_eq!(cloud.version(DEVICE), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_publishers_and_approvals_are_revoked_one_by_one() {
    for (revoke, reason) in [
        (&["release", "water-heater-tou", "1"][..], Some("release_counter_too_low")),
        (&["publisher", "local"], Some("publisher_unknown")),
        (&["approvals-before", "now"], None),
    ] {
        let (cloud, ceremony) = Ceremony::init().cloud().await;
        ceremony.put_in_control(&cloud);
        ceremony.trust(&[&["revoke"], revoke].concat());
        ceremony.sign(&[2, 3]);
        let (code, out, err) = ceremony.publish(&cloud, 2);
        assert_eq!((code, err.as_str()), (0, ""), "{revoke:?}");
        let edit = json!({"config": {"site": "a"}});
        let answer = cloud.json("PATCH", "/v1/fleet/desired", &edit);
        match reason {
            Some(reason) => {
                assert_eq!(answer.problem(), (422, reason.to_owned()));
                assert!(out.contains(reason), "{out}");
            }
            None => {
                assert_eq!((answer.status, cloud.version(DEVICE)), (200, 2));
                assert!(out.contains("1 devices wait for an approval"), "{out}");
                assert!(!cloud.device(DEVICE)["awaiting_approval"].is_null());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_approvers_sign_one_after_the_other_where_the_root_wants_two() {
    let (cloud, ceremony) = Ceremony::init().cloud().await;
    let (second, public) = ceremony.new_key("approver-2.pem");
    ceremony.trust(&["add", "approver", &public]);
    ceremony.trust(&["threshold", "approver", "2"]);
    ceremony.sign(&[1, 2]);
    ceremony.publish(&cloud, 2);
    cloud.add_profile();
    cloud.add_device(DEVICE, json!({}));
    let url = cloud.running.http_url();
    let (file, bundle) = (ceremony.path("tou.wasm"), ceremony.path("approval.json"));
    std::fs::write(&file, gnomon_examples::WATER_HEATER_TOU).unwrap();
    let (publisher, first) =
        (ceremony.path("root/publisher.pem"), ceremony.path("root/approver.pem"));
    let run = |args: &[&str]| {
        let more = ["--passphrase-file", &ceremony.passphrase];
        let all = [&["--url", url.as_str()], args, &more].concat();
        tokio::task::block_in_place(|| gnomon(&all))
    };
    assert_eq!(run(&["module", "add", &file, "--key", &publisher]).0, 0);
    let layer = active(tou(&Digest::of(gnomon_examples::WATER_HEATER_TOU)));
    assert_eq!(cloud.json("PUT", "/v1/fleet/desired", &layer).status, 200);
    let digest = cloud.device(DEVICE)["awaiting_approval"].as_str().unwrap().to_owned();
    let (code, _, err) = run(&["approval", "sign", &digest, "--yes", "--key", &first]);
    assert!(code == 1 && err.starts_with("error: threshold_not_met: 1 of the 2"), "{err}");
    let sign = ["approval", "sign", &digest, "--yes", "--key"];
    assert_eq!(run(&[&sign[..], &[&first, "--out", &bundle]].concat()).0, 0);
    let (_, _, err) = run(&["approval", "sign", &digest, "--key", &first]);
    assert!(err.contains("--yes") && err.contains("water-heater-tou@1.0.0"), "{err}");
    let (code, out, err) = run(&[&sign[..], &[&second, "--envelope", &bundle]].concat());
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("1 devices get it now"), "{out}");
    assert_eq!(cloud.version(DEVICE), 2);
}
