//! A running cloud in a folder of its own, an HTTP client and an MQTT device. A
//! test sets only what it is about.

use gnomon::serve::{HttpTls, Running, ServeOptions, start};
use gnomon_schemas::approval::Approval;
use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::Payload;
use gnomon_schemas::ids::{BootId, Digest};
use gnomon_schemas::succession::verify_first_root;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::{Verified, verify};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, PublishOptions, QoS};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) const PROFILE: &[u8] = include_bytes!("../../../../schemas/examples/profile.json");
pub(crate) const FLEET: &str = "acme";
const PATIENCE: Duration = Duration::from_secs(20);

/// A cloud that runs.
pub(crate) struct Cloud {
    pub(crate) running: Running,
    pub(crate) folder: TempDir,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) media_type: String,
    pub(crate) etag: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and reason of a problem; checks the form of it.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.media_type, "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        for field in ["type", "title", "detail"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
        (self.status, body["reason"].as_str().unwrap().to_owned())
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn options(folder: &TempDir) -> ServeOptions {
    ServeOptions {
        data_dir: folder.path().join("data"),
        fleet: FLEET.parse().unwrap(),
        http: any_port(),
        http_tls: HttpTls::Off,
        mqtt: any_port(),
        broker: None,
        identity: gnomon::identity::IdentityOptions::insecure(),
    }
}

impl Cloud {
    pub(crate) async fn start() -> Cloud {
        Cloud::start_in(TempDir::new().unwrap()).await
    }

    pub(crate) async fn start_in(folder: TempDir) -> Cloud {
        let running = start(options(&folder)).await.unwrap();
        let cloud = Cloud { running, folder };
        cloud.until("the broker is connected", |cloud| {
            cloud.get("/v1/status").json()["broker_connected"] == true
        });
        cloud
    }

    /// A cloud with the example profile, the two example modules and one device.
    pub(crate) async fn with_device() -> Cloud {
        let cloud = Cloud::start().await;
        cloud.add_profile();
        cloud.add_module(gnomon_examples::WATER_HEATER_TOU);
        cloud.add_module(gnomon_examples::WATER_HEATER_PRICE);
        cloud.add_device("heater-1", json!({"site": "north"}));
        cloud
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let url = format!("{}{path}", self.running.http_url());
        let builder = ureq::http::Request::builder().method(method).uri(url);
        let builder = headers.iter().fold(builder, |to, (name, value)| to.header(*name, *value));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .build();
        let agent: ureq::Agent = config.into();
        let answer = tokio::task::block_in_place(|| {
            if matches!(method, "GET" | "DELETE" | "HEAD") {
                agent.run(builder.body(()).unwrap())
            } else {
                agent.run(builder.body(body).unwrap())
            }
        });
        let (parts, mut body) = answer.unwrap().into_parts();
        let header = |name: &str| {
            parts.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        Answer {
            status: parts.status.as_u16(),
            media_type: header("content-type"),
            etag: header("etag"),
            body: body.with_config().limit(64 << 20).read_to_vec().unwrap(),
        }
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(method, path, &headers, body.to_string().as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &[])
    }

    pub(crate) fn add_profile(&self) {
        let headers = [("content-type", "application/json")];
        assert_eq!(self.send("POST", "/v1/profiles", &headers, PROFILE).status, 201);
    }

    pub(crate) fn upload(&self, module: &[u8], publisher: &str, signature: &str) -> Answer {
        let headers = [
            ("content-type", "application/wasm"),
            ("x-gnomon-publisher", publisher),
            ("x-gnomon-signature", signature),
        ];
        self.send("POST", "/v1/modules", &headers, module)
    }

    pub(crate) fn sign(&self, module: &[u8]) -> String {
        let path = self.running.data_dir().join("keys/publisher.pem");
        gnomon::keys::PrivateKey::read(&path).unwrap().sign_blob(module).unwrap()
    }

    pub(crate) fn add_module(&self, module: &[u8]) -> Digest {
        let answer = self.upload(module, "local", &self.sign(module));
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        Digest::of(module)
    }

    pub(crate) fn add_device(&self, device: &str, labels: Value) {
        let body = json!({"device": device, "profile": "water-heater", "labels": labels});
        assert_eq!(self.json("POST", "/v1/devices", &body).status, 201);
    }

    pub(crate) fn device(&self, device: &str) -> Value {
        self.get(&format!("/v1/devices/{device}")).json()
    }

    pub(crate) fn version(&self, device: &str) -> u64 {
        self.device(device)["desired"]["version"].as_u64().unwrap()
    }

    /// Approves all that waits, as the approver of a first start; how many requests.
    pub(crate) fn approve_all(&self) -> usize {
        let waiting = self.get("/v1/approvals").json()["waiting"].clone();
        let waiting = waiting.as_array().unwrap();
        for request in waiting {
            let answer = self.approve(&request["grant"], None, "approver.pem");
            assert_eq!(answer.status, 201, "{answer:?}");
        }
        waiting.len()
    }

    /// Brings an approval of this grant, signed by a key of the data folder.
    pub(crate) fn approve(&self, grant: &Value, devices: Option<&[&str]>, key: &str) -> Answer {
        self.json("POST", "/v1/approvals", &self.approval(grant, devices, key))
    }

    /// An approval of this grant in its envelope.
    pub(crate) fn approval(&self, grant: &Value, devices: Option<&[&str]>, key: &str) -> Value {
        let now_ms = gnomon::clock::now_ms();
        let mut approval = json!({
            "schema": "gnomon.approval.v1", "fleet": FLEET, "approved_at_ms": now_ms,
            "grant": grant,
        });
        if let Some(devices) = devices {
            approval["devices"] = json!(devices);
        }
        let path = self.running.data_dir().join("keys").join(key);
        let key = gnomon::keys::PrivateKey::read(&path).unwrap();
        let payload = serde_json::to_vec(&approval).unwrap();
        let sealed = gnomon::keys::seal::<Approval>(&payload, &[&key]).unwrap();
        serde_json::from_slice(&sealed).unwrap()
    }

    /// Waits until something that other tasks bring about has come.
    pub(crate) fn until(&self, what: &str, mut is: impl FnMut(&Cloud) -> bool) {
        let mut waited = Duration::ZERO;
        while !is(self) {
            assert!(waited < PATIENCE, "waited in vain until {what}");
            waited += Duration::from_millis(10);
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(10)));
        }
    }

    pub(crate) fn root(&self) -> TrustRoot {
        let bytes = std::fs::read(self.running.data_dir().join("trust-root.json")).unwrap();
        verify_first_root(&bytes).map(Verified::into_payload).unwrap()
    }

    pub(crate) fn opened<T: Payload + serde::de::DeserializeOwned>(&self, envelope: &[u8]) -> T {
        verify(envelope, &self.root().roles.director).unwrap().into_payload()
    }
}

pub(crate) fn tou(digest: &Digest) -> Value {
    json!({"module": digest, "params": {
        "off_peak_start_hour": 23, "off_peak_end_hour": 7, "high_c": 60, "low_c": 50
    }})
}

pub(crate) fn active(slot: Value) -> Value {
    json!({"functions": {"setpoint": {"active": slot}}})
}

/// A device that says what a test has it say.
pub(crate) struct Device {
    client: AsyncClient,
    messages: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
    name: String,
    pub(crate) boot: BootId,
}

impl Device {
    pub(crate) async fn connect(cloud: &Cloud, name: &str) -> Device {
        let address = cloud.running.mqtt_addr().unwrap();
        let broker = (address.ip().to_string(), address.port());
        let mut options = MqttOptions::new(format!("test-{name}"), broker);
        options.set_max_packet_size(8 << 20, 8 << 20);
        let (client, mut events) = AsyncClient::builder(options).capacity(100).build();
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Incoming::Publish(message)) = event {
                    let topic = String::from_utf8(message.topic.to_vec()).unwrap();
                    if sender.send((topic, message.payload.to_vec())).is_err() {
                        return;
                    }
                }
            }
        });
        Device { client, messages, name: name.to_owned(), boot: BootId::from_random([7; 16]) }
    }

    pub(crate) async fn subscribe(&self, topic: &str) {
        self.client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
    }

    pub(crate) fn topic(&self, channel: &str) -> String {
        format!("gnomon/{FLEET}/d/{}/{channel}", self.name)
    }

    pub(crate) async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        let options = PublishOptions::at_least_once();
        self.client.publish(topic, payload.into(), options).await.unwrap();
    }

    /// The next message on this topic.
    pub(crate) async fn next(&mut self, topic: &str) -> Vec<u8> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.messages.recv()).await;
            let (of, payload) = message.expect(topic).unwrap();
            if of == topic {
                return payload;
            }
        }
    }

    /// The next document of at least this version.
    pub(crate) async fn document(&mut self, cloud: &Cloud, version: u64) -> Document {
        loop {
            let payload = self.next(&self.topic("desired")).await;
            let document: Document = cloud.opened(&payload);
            if document.version.get() >= version {
                return document;
            }
        }
    }

    pub(crate) fn report(&self, changes: Value) -> Value {
        let mut report = json!({
            "schema": "gnomon.reported.v1", "fleet": FLEET, "device": self.name,
            "boot": self.boot, "sequence": 1, "at_ms": 1, "profile": Digest::of(PROFILE),
            "engine": Digest::of(b"engine"), "agent_version": "0", "trust_version": 1,
            "state": "in_sync", "a_field_of_a_later_release": 1,
        });
        report.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        report
    }

    pub(crate) async fn say(&self, changes: Value) {
        self.publish(&self.topic("reported"), self.report(changes).to_string()).await;
    }

    pub(crate) fn batch(&self, sequence: u64, changes: Value) -> Value {
        let mut batch = json!({
            "schema": "gnomon.results.v1", "fleet": FLEET, "device": self.name,
            "boot": self.boot, "sequence": sequence, "engine": Digest::of(b"engine"),
        });
        batch.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        batch
    }
}
