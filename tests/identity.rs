//! Who may be on the bus: agents with certificates, and everybody else. Each attack is
//! run with foreign clients against the embedded broker and against mosquitto with the
//! configuration that `gnomon broker config` prints.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::stage::{Agent, Cloud, DEVICE, PROFILE, Process, free_port, tou_params, until};

/// The device whose key and certificate an attacker has.
const THIEF: &str = "heater-2";

fn topic(device: &str, channel: &str) -> String {
    format!("gnomon/acme/d/{device}/{channel}")
}

/// Both devices registered, the first one with a function in control.
fn set_scene(cloud: &Cloud) {
    cloud.set_scene(&json!({}));
    cloud.does(&["device", "add", THIEF, "--profile", "water-heater"]);
    cloud.approve();
}

fn token(cloud: &Cloud, device: &str) -> String {
    let made: Value =
        serde_json::from_str(&cloud.does(&["--json", "device", "enroll", device])).unwrap();
    made["token"].as_str().unwrap().to_owned()
}

/// Runs `gnomon-agent enroll` for a device whose data is in the folder of this name.
fn enroll(cloud: &Cloud, device: &str, data: &str, token: &str) -> Output {
    let bundle = format!("{device}-bundle");
    cloud.does(&["device", "bundle", device, "--out", &bundle]);
    Command::new(env!("CARGO_BIN_EXE_gnomon-agent-under-test"))
        .args(["enroll", "--config", &bundle, "--data", data])
        .env("GNOMON_ENROLL_TOKEN", token)
        .env("GNOMON_LOG", "trace")
        .current_dir(cloud.folder.path())
        .output()
        .unwrap()
}

fn enrolled(cloud: &Cloud, device: &str, data: &str) {
    let output = enroll(cloud, device, data, &token(cloud, device));
    assert!(output.status.success(), "{output:?}");
}

/// The first device's agent, with its certificate.
fn agent(cloud: &Cloud) -> Agent {
    enrolled(cloud, DEVICE, "agent");
    let agent = Agent::start(cloud);
    cloud.wait_applied(cloud.device()["desired"]["version"].as_u64().unwrap());
    agent
}

/// A foreign client with somebody's certificate.
struct Client {
    port: u16,
    ca: PathBuf,
    pair: Option<(PathBuf, PathBuf)>,
}

impl Client {
    /// With the certificate that lies in an agent's data folder.
    fn of(cloud: &Cloud, data: &str) -> Client {
        let data = cloud.folder.path().join(data);
        Client::with(cloud, Some((data.join("device.crt"), data.join("device.key"))))
    }

    fn with(cloud: &Cloud, pair: Option<(PathBuf, PathBuf)>) -> Client {
        Client { port: cloud.mqtt, ca: cloud.folder.path().join("cloud/ca.crt"), pair }
    }

    fn command(&self, program: &str, id: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "localhost", "-p", &self.port.to_string(), "-q", "1", "-i", id]);
        command.arg("--cafile").arg(&self.ca);
        if let Some((certificate, key)) = &self.pair {
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        command.args(arguments).stderr(Stdio::null());
        command
    }

    /// What a subscription brings within two seconds; at most one message.
    fn reads(&self, id: &str, filter: &str) -> Vec<u8> {
        let mut command = self.command("mosquitto_sub", id, &["-t", filter, "-C", "1", "-W", "2"]);
        command.output().expect("mosquitto_sub (Debian: mosquitto-clients)").stdout
    }

    /// The topics that a subscription brings within two seconds.
    fn hears(&self, id: &str, filter: &str) -> String {
        let arguments = ["-t", filter, "-F", "%t", "-W", "2"];
        let output = self.command("mosquitto_sub", id, &arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn publishes(&self, id: &str, topic: &str, payload: &str, more: &[&str]) {
        let arguments = [&["-t", topic, "-m", payload], more].concat();
        // Whether it is told of the refusal differs from broker to broker.
        let _ = self.command("mosquitto_pub", id, &arguments).status().unwrap();
    }
}

/// Puts a new document in force: whatever was sent before has arrived by then.
fn one_more_document(cloud: &Cloud, high_c: f64) {
    cloud.put_in_control("water-heater-tou@1.0.0", &tou_params(high_c), &json!({}));
    cloud.wait_applied(cloud.device()["desired"]["version"].as_u64().unwrap());
}

/// That the device is seen online for a while, without a gap.
fn stays_online(cloud: &Cloud) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(700) {
        assert_eq!(cloud.device()["online"], true);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All that a device whose key was stolen could try against another.
fn a_stolen_key_reaches_only_its_own(cloud: &Cloud) {
    let mut agent = agent(cloud);
    enrolled(cloud, THIEF, "thief");
    let thief = Client::of(cloud, "thief");
    let boot = cloud.device()["reported"]["boot"].clone();

    // It reads its own document: so the silence below is the broker's doing.
    assert!(!thief.reads(THIEF, &topic(THIEF, "desired")).is_empty());
    let foreign = [
        topic(DEVICE, "desired"),
        topic(DEVICE, "reported"),
        topic(DEVICE, "status"),
        topic("+", "desired"),
        topic(DEVICE, "#"),
        "gnomon/acme/#".to_owned(),
        "#".to_owned(),
        "$SYS/#".to_owned(),
    ];
    for filter in foreign {
        let heard = thief.hears(THIEF, &filter);
        // A broker that filters at delivery lets it have its own by a wide filter, and
        // what is for everybody.
        let own = format!("gnomon/acme/d/{THIEF}/");
        let is_due = |topic: &str| {
            [&*own, "gnomon/acme/m/", "gnomon/acme/trust/"].iter().any(|all| topic.starts_with(all))
        };
        assert!(heard.lines().all(is_due), "{filter}: {heard}");
    }

    // It writes nothing of the other's, and leaves nothing behind there.
    for channel in ["desired", "ack", "reported", "results", "status"] {
        thief.publishes(THIEF, &topic(DEVICE, channel), "garbage", &[]);
        thief.publishes(THIEF, &topic(DEVICE, channel), "garbage", &["-r"]);
    }
    thief.publishes(THIEF, "gnomon/acme/trust/2", "garbage", &["-r"]);
    one_more_document(cloud, 58.0);
    agent.kill();
    agent.run();
    until("the agent is back", || {
        let reported = &cloud.device()["reported"];
        (reported["boot"] != boot && reported["state"] == "in_sync").then_some(())
    });
    let refused = cloud.device()["reported"]["refused"].clone();
    assert!(refused.as_object().is_none_or(|refused| refused.is_empty()), "{refused}");
    let here = cloud.get("/v1/status")["refused"].clone();
    assert!(here.as_object().is_none_or(|refused| refused.is_empty()), "{here}");

    // It takes over nobody's session, and announces nobody's end.
    until("online", || (cloud.device()["online"] == true).then_some(()));
    let boot = cloud.device()["reported"]["boot"].clone();
    let mut taking = thief.command("mosquitto_sub", DEVICE, &["-t", &topic(DEVICE, "desired")]);
    let taking = Process::spawn(taking.stdout(Stdio::null()));
    stays_online(cloud);
    drop(taking);
    let offline = json!({"schema": "gnomon.status.v1", "device": DEVICE, "boot": boot,
        "online": false});
    let (will, text) = (topic(DEVICE, "status"), offline.to_string());
    let arguments = ["-t", &*topic(THIEF, "ack"), "--will-topic", &will, "--will-payload", &text];
    let mut willing = thief.command("mosquitto_sub", THIEF, &arguments);
    let willing = Process::spawn(willing.stdout(Stdio::null()));
    std::thread::sleep(Duration::from_millis(300));
    // Killed, so that the broker would send what it left.
    drop(willing);
    stays_online(cloud);
    one_more_document(cloud, 57.0);
}

/// No certificate, another fleet's, and one that is not for clients.
fn strangers_are_turned_away(cloud: &Cloud) {
    enrolled(cloud, DEVICE, "agent");
    let own = topic(DEVICE, "desired");
    assert!(!Client::of(cloud, "agent").reads(DEVICE, &own).is_empty());
    let folder = cloud.folder.path();
    let other = cloud.gnomon(&[
        "broker",
        "certificate",
        "--data",
        "other",
        "--fleet",
        "acme",
        "--out",
        "other-broker",
    ]);
    assert!(other.status.success(), "{other:?}");
    let forged = forged_device(&folder.join("other"), folder);
    let strangers = [
        ("no certificate", None),
        ("another authority's", Some(forged)),
        (
            "the broker's own",
            Some((folder.join("cloud/broker.crt"), folder.join("cloud/keys/broker.pem"))),
        ),
    ];
    for (who, pair) in strangers {
        let stranger = Client::with(cloud, pair);
        assert!(stranger.reads(DEVICE, &own).is_empty(), "{who}");
    }
    let plain = Command::new("mosquitto_sub")
        .args(["-h", "localhost", "-p", &cloud.mqtt.to_string(), "-i", DEVICE])
        .args(["-t", &own, "-C", "1", "-W", "2"])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(plain.stdout.is_empty() && !plain.status.success(), "plain TCP");
}

/// A certificate for the device, by an authority of the same name that is not ours.
fn forged_device(authority: &Path, folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("forged.crt"), folder.join("forged.pem"));
    let request = folder.join("forged.csr");
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
    };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let subject = format!("/CN={DEVICE}");
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        &text(&key),
        "-out",
        &text(&request),
        "-subj",
        &subject,
    ]);
    std::fs::write(folder.join("san"), format!("subjectAltName=URI:urn:gnomon:acme:{DEVICE}\n"))
        .unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        &text(&request),
        "-CA",
        &text(&authority.join("ca.crt")),
        "-CAkey",
        &text(&authority.join("keys/ca.pem")),
        "-CAcreateserial",
        "-days",
        "9",
        "-extfile",
        "san",
        "-out",
        &text(&certificate),
    ]);
    (certificate, key)
}

/// Every file below a folder, read.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            // A socket cannot be read.
            false => std::fs::read(&path).map(|bytes| vec![(path, bytes)]).unwrap_or_default(),
        })
        .collect()
}

#[test]
fn a_device_enrols_by_its_token_and_converges_over_mutual_tls() {
    let cloud = Cloud::start_mutual(&[]);
    cloud.set_scene(&json!({}));
    let token = token(&cloud, DEVICE);
    let output = enroll(&cloud, DEVICE, "agent", &token);
    assert!(output.status.success(), "{output:?}");
    let agent = Agent::start(&cloud);
    cloud.wait_applied(cloud.device()["desired"]["version"].as_u64().unwrap());
    assert_eq!(agent.firmware().tick(50.0)["outputs"]["setpoint_c"], 60.0);

    use std::os::unix::fs::PermissionsExt as _;
    let key = cloud.folder.path().join("agent/device.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    // Neither the token's secret nor the key is anywhere else.
    let secret = token.rsplit('-').next().unwrap().as_bytes().to_vec();
    let text = std::fs::read_to_string(&key).unwrap();
    let body = text.lines().nth(1).unwrap().as_bytes().to_vec();
    let told = [output.stdout, output.stderr].concat();
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|at| at == part);
    assert!(!holds(&told, &secret) && !holds(&told, &body));
    for (path, bytes) in files(cloud.folder.path()) {
        assert!(!holds(&bytes, &secret), "the token is in {}", path.display());
        assert!(path == key || !holds(&bytes, &body), "the key is in {}", path.display());
    }
}

#[test]
fn a_stolen_key_reaches_only_its_own_on_the_embedded_broker() {
    let cloud = Cloud::start_mutual(&[]);
    set_scene(&cloud);
    a_stolen_key_reaches_only_its_own(&cloud);
}

#[test]
fn strangers_are_turned_away_by_the_embedded_broker() {
    let cloud = Cloud::start_mutual(&[]);
    set_scene(&cloud);
    strangers_are_turned_away(&cloud);
}

#[test]
fn the_port_behind_the_front_takes_nobody_who_comes_past_it() {
    let cloud = Cloud::start_mutual(&[]);
    let known = [cloud.http, cloud.mqtt];
    let inner: Vec<u16> =
        cloud.listens().into_iter().filter(|port| !known.contains(port)).collect();
    let [port] = inner[..] else { panic!("ports beside {known:?}: {inner:?}") };
    let attempts: [&[&str]; 4] = [
        &["-i", "gnomon_cloud"],
        &["-i", "gnomon_cloud", "-u", "gnomon_cloud"],
        &["-i", "gnomon_cloud", "-u", "gnomon_cloud", "-P", "guess"],
        &["-i", DEVICE, "-V", "5"],
    ];
    for attempt in attempts {
        let output = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "gnomon/acme/#"])
            .args(["-C", "1", "-W", "2"])
            .args(attempt)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).to_ascii_lowercase();
        assert!(error.contains("not authori"), "{attempt:?}: {error}");
        assert!(!output.status.success() && output.stdout.is_empty(), "{attempt:?}");
    }
}

#[test]
fn a_token_opens_one_device_once() {
    let cloud = Cloud::start_mutual(&[]);
    cloud.does(&["profile", "add", &cloud.file("profile.json", PROFILE)]);
    for device in [DEVICE, THIEF] {
        cloud.does(&["device", "add", device, "--profile", "water-heater"]);
    }
    let token = token(&cloud, DEVICE);
    let refused = |device: &str, data: &str, token: &str| {
        let output = enroll(&cloud, device, data, token);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains("token_invalid"), "{error}");
        assert!(!cloud.folder.path().join(data).join("device.crt").exists());
    };
    refused(THIEF, "wrong-device", &token);
    let near = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { 1 } else { 0 });
    refused(DEVICE, "guessed", &near);
    let output = enroll(&cloud, DEVICE, "first", &token);
    assert!(output.status.success(), "{output:?}");
    refused(DEVICE, "replayed", &token);
    // Our own log says which it was; nobody else is told.
    let log = cloud.does(&["--json", "audit", "list"]);
    for cause in ["for another device", "no such token", "used before"] {
        assert!(log.contains(cause), "{cause}: {log}");
    }
    let output = cloud.gnomon(&["device", "enroll", DEVICE, "--ttl", "25h"]);
    assert!(!output.status.success(), "a token of 25 hours");
}

#[test]
fn a_revoked_device_is_cut_off_within_seconds_and_stays_out() {
    let cloud = Cloud::start_mutual(&[]);
    set_scene(&cloud);
    let _agent = agent(&cloud);
    let start = Instant::now();
    cloud.does(&["device", "revoke", DEVICE]);
    until("offline", || (cloud.device()["online"] == false).then_some(()));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let thief = Client::of(&cloud, "agent");
    assert!(thief.reads(DEVICE, &topic(DEVICE, "desired")).is_empty());
    let listed = cloud.does(&["--json", "device", "certificates", DEVICE]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert!(listed[0]["revoked_at_ms"].is_u64(), "{listed}");
    // A new token brings it back, as a new device would come.
    std::fs::remove_file(cloud.folder.path().join("agent/device.crt")).unwrap();
    std::fs::remove_file(cloud.folder.path().join("agent/device.key")).unwrap();
    enrolled(&cloud, DEVICE, "agent");
    assert!(!thief.reads(DEVICE, &topic(DEVICE, "desired")).is_empty());
    // And one that is removed has no way left.
    cloud.does(&["device", "remove", DEVICE]);
    assert!(thief.reads(DEVICE, &topic(DEVICE, "ack")).is_empty());
    let listed = cloud.does(&["--json", "device", "certificates", DEVICE]);
    assert!(!listed.contains("\"revoked_at_ms\": null"), "{listed}");
}

#[test]
fn a_certificate_is_renewed_under_way_with_a_new_key() {
    let cloud = Cloud::start_mutual(&["--device-certificate-s", "12"]);
    cloud.set_scene(&json!({}));
    let key = cloud.folder.path().join("agent/device.key");
    let agent = agent(&cloud);
    let first = std::fs::read(&key).unwrap();
    let count = || {
        let listed = cloud.does(&["--json", "device", "certificates", DEVICE]);
        serde_json::from_str::<Value>(&listed).unwrap().as_array().unwrap().len()
    };
    until("two renewals", || (count() >= 3).then_some(()));
    until("the key on disk is another", || (std::fs::read(&key).ok()? != first).then_some(()));
    // The first certificate is over by now; the agent is there by a later one.
    until("online", || (cloud.device()["online"] == true).then_some(()));
    one_more_document(&cloud, 59.0);
    assert_eq!(agent.firmware().tick(50.0)["outputs"]["setpoint_c"], 59.0);
}

/// mosquitto with the configuration that is printed for it.
struct Mosquitto {
    folder: PathBuf,
    process: Option<Process>,
    port: u16,
}

impl Mosquitto {
    /// A cloud on mosquitto, both running.
    fn start() -> (Cloud, Mosquitto) {
        let port = free_port();
        let url = format!("mqtts://localhost:{port}");
        let mut cloud = Cloud::prepare(port, &["--broker", &url]);
        let folder = cloud.folder.path().join("mosquitto");
        cloud.does(&[
            "broker",
            "certificate",
            "--data",
            "cloud",
            "--fleet",
            "acme",
            "--out",
            "mosquitto",
        ]);
        cloud.does(&["broker", "config", "mosquitto", "--fleet", "acme", "--out", "mosquitto"]);
        let path = folder.join("mosquitto.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        let here = format!("listener {port} 127.0.0.1");
        // As root it would change to a user who cannot read the test's folder.
        let text = format!("{}user root\n", text.replace("listener 8883", &here));
        std::fs::write(&path, text).unwrap();
        let mut mosquitto = Mosquitto { folder, process: None, port };
        mosquitto.run();
        cloud.run();
        (cloud, mosquitto)
    }

    fn run(&mut self) {
        self.process = None;
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(self.folder.join("mosquitto.conf")).stderr(Stdio::null());
        self.process = Some(Process::spawn(&mut command));
        until("mosquitto listens", || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok());
    }
}

#[test]
fn a_stolen_key_reaches_only_its_own_on_mosquitto_with_our_configuration() {
    let (cloud, _mosquitto) = Mosquitto::start();
    set_scene(&cloud);
    a_stolen_key_reaches_only_its_own(&cloud);
}

#[test]
fn strangers_and_the_revoked_are_turned_away_by_mosquitto_with_our_configuration() {
    let (cloud, mut mosquitto) = Mosquitto::start();
    set_scene(&cloud);
    strangers_are_turned_away(&cloud);
    let client = Client::of(&cloud, "agent");
    let own = topic(DEVICE, "desired");
    assert!(!client.reads(DEVICE, &own).is_empty());
    cloud.does(&["device", "revoke", DEVICE]);
    cloud.does(&["device", "crl", "--out", "mosquitto/crl.pem"]);
    mosquitto.run();
    until("the cloud is back", || {
        (cloud.get("/v1/status")["broker_connected"] == true).then_some(())
    });
    assert!(client.reads(DEVICE, &own).is_empty());
    enrolled(&cloud, THIEF, "thief");
    let other = Client::of(&cloud, "thief");
    assert!(!other.reads(THIEF, &topic(THIEF, "desired")).is_empty(), "others are let in");
}
