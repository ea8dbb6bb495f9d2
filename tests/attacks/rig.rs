//! A running agent and an open broker that belongs to the attacker: anyone may publish
//! anything anywhere. The keys are those of [`world`](super::world).

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::Digest;
use gnomon_schemas::document::{Document, FunctionPlan, ModuleRef, Slot};
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::value::Values;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::world::*;
use crate::stage::{Agent, Firmware, Process, free_port, until};

/// A broker that lets everyone do everything, and a memory of what devices reported.
pub(crate) struct Broker {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    _processes: [Process; 2],
}

impl Broker {
    pub(crate) fn start() -> Broker {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let mosquitto = Process::spawn(
            Command::new("/usr/sbin/mosquitto")
                .args(["-p", &port.to_string()])
                .stderr(Stdio::null()),
        );
        until("mosquitto listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        let heard = File::create(folder.path().join("heard")).unwrap();
        let listener = Process::spawn(
            Command::new("mosquitto_sub")
                .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-v"])
                .args(["-t", "gnomon/+/d/+/reported"])
                .stdout(heard),
        );
        Broker { port, folder, _processes: [mosquitto, listener] }
    }

    /// Publishes, retained; whoever asks later gets it, too.
    pub(crate) fn retain(&self, topic: &str, payload: &[u8]) {
        let mut child = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-t", topic])
            .args(["-q", "1", "-r", "-s"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub (Debian: mosquitto-clients)");
        child.stdin.take().unwrap().write_all(payload).unwrap();
        assert!(child.wait().unwrap().success(), "publish on {topic}");
    }

    /// The last thing that a device has reported.
    pub(crate) fn reported(&self, device: &str) -> Option<Value> {
        self.all_reported(device).pop()
    }

    /// All that a device has reported, in its order.
    pub(crate) fn all_reported(&self, device: &str) -> Vec<Value> {
        let heard = fs::read_to_string(self.folder.path().join("heard")).unwrap();
        let topic = format!("gnomon/acme/d/{device}/reported ");
        // The last line may be on its way still.
        let whole = &heard[..heard.rfind('\n').unwrap_or(0)];
        let reports = whole.lines().filter_map(|line| line.strip_prefix(&topic));
        reports.map(|report| serde_json::from_str(report).unwrap()).collect()
    }
}

/// One device of the world.
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) agent: Agent,
}

impl Device {
    /// A device with this name, provisioned by the world's first root.
    pub(crate) fn start(broker: &Broker, name: &str) -> Device {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        fs::create_dir(&bundle).unwrap();
        let broker = format!("mqtt://127.0.0.1:{}", broker.port);
        let settings = json!({ "fleet": "acme", "device": name, "broker": broker });
        fs::write(bundle.join("agent.json"), settings.to_string()).unwrap();
        fs::write(bundle.join("profile.json"), PROFILE).unwrap();
        fs::write(bundle.join("trust-root.json"), rooted(&trust_root())).unwrap();
        let agent = Agent::provisioned(folder.path());
        Device { name: name.to_owned(), folder, agent }
    }

    /// The topic of its documents.
    pub(crate) fn desired(&self) -> String {
        format!("gnomon/acme/d/{}/desired", self.name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.agent.store()
    }

    /// Publishes a document of the director to it.
    pub(crate) fn direct(&self, broker: &Broker, document: &Document) {
        broker.retain(&self.desired(), &directed(&self.addressed(document)));
    }

    /// The same document for this device, with the approval that it needs for it.
    pub(crate) fn addressed(&self, document: &Document) -> Document {
        let mut document = document.clone();
        document.device = self.name.parse().unwrap();
        if !document.approvals.is_empty() {
            document = approved(document);
        }
        document
    }

    /// Waits until it reports what is asked of it.
    #[track_caller]
    pub(crate) fn wait(
        &self,
        broker: &Broker,
        what: &str,
        mut is: impl FnMut(&Value) -> bool,
    ) -> Value {
        until(&format!("{}: {what}", self.name), || broker.reported(&self.name).filter(|r| is(r)))
    }

    /// Waits until this version is in force.
    #[track_caller]
    pub(crate) fn wait_applied(&self, broker: &Broker, version: u64) {
        self.wait(broker, &format!("version {version}"), |reported| {
            reported["applied"] == version && reported["state"] == "in_sync"
        });
    }

    /// Waits until it has refused something for this reason so many times.
    #[track_caller]
    pub(crate) fn wait_refused(&self, broker: &Broker, reason: Reason, times: u64) -> Value {
        self.wait(broker, &format!("{times} refusals {reason}"), |reported| {
            reported["refused"][reason.code()].as_u64().unwrap_or(0) >= times
        })
    }

    /// Has it start anew; what is reported from then on is of the new process.
    pub(crate) fn restart(&mut self, broker: &Broker, meanwhile: impl FnOnce(&Path)) {
        let before = broker.reported(&self.name).map(|reported| reported["boot"].clone());
        self.agent.kill();
        meanwhile(&self.store());
        self.agent.run();
        self.wait(broker, "the report of a new boot", |report| {
            Some(&report["boot"]) != before.as_ref()
        });
    }

    /// Ticks until this source is in control with this output.
    #[track_caller]
    pub(crate) fn wait_output(&self, source: &str, setpoint_c: f64) {
        let mut firmware = self.agent.firmware();
        until(&format!("{}: {source} {setpoint_c}", self.name), || {
            let answer = firmware.tick(50.0);
            let is = answer["source"] == source && answer["outputs"]["setpoint_c"] == setpoint_c;
            is.then_some(())
        });
    }

    /// Ticks until what is in force has passed its probation, and that is durable: a
    /// document on probation is not restarted with for ever.
    #[track_caller]
    pub(crate) fn proves_itself(&self, broker: &Broker) {
        let mut firmware = self.agent.firmware();
        self.wait(broker, "the end of the probation", |reported| {
            firmware.tick(50.0);
            reported["state"] == "in_sync" && reported["on_probation"] != true
        });
    }

    /// Nothing but this may be in control now.
    #[track_caller]
    pub(crate) fn holds(&self, setpoint_c: f64) {
        let mut firmware: Firmware = self.agent.firmware();
        for _ in 0..5 {
            let answer = firmware.tick(50.0);
            assert_eq!(answer["outputs"]["setpoint_c"], setpoint_c, "{}: {answer}", self.name);
        }
    }
}

/// The module that runs by right: the time-of-use example, at any hour `high_c`.
pub(crate) fn tou(number: u64, high_c: f64) -> Document {
    let bytes = gnomon_examples::WATER_HEATER_TOU;
    let params = json!({
        "off_peak_start_hour": 0.0, "off_peak_end_hour": 24.0, "high_c": high_c, "low_c": 45.0,
    });
    placed(number, bytes, ("water-heater-tou", "1.0.0"), &params)
}

/// What the attacker would have run: it asks for anything.
pub(crate) fn hot(number: u64) -> Document {
    let bytes = gnomon_examples::WATER_HEATER_HOT;
    placed(number, bytes, ("water-heater-hot", "1.0.0"), &json!({ "asked_c": 70.0 }))
}

/// A document, not yet approved, with this module in control of the set-point.
fn placed(number: u64, bytes: &[u8], (name, release): (&str, &str), params: &Value) -> Document {
    let params: Values = serde_json::from_value(params.clone()).unwrap();
    let mut document = config(number);
    let slot = Slot { module: Digest::of(bytes), params };
    let plan = FunctionPlan { active: Some(slot), ..FunctionPlan::default() };
    document.functions.insert(setpoint(), plan);
    let listed = ModuleRef {
        name: name.parse().unwrap(),
        version: release.into(),
        release_counter: 1,
        size_bytes: bytes.len() as u64,
        evidence: ModuleEvidence::Key {
            publisher: "acme-controls".parse().unwrap(),
            signature: STANDARD.encode(publisher().sign(bytes)),
        },
        inline: None,
    };
    document.modules.insert(Digest::of(bytes), listed);
    document
}

/// The topic of a module's bytes.
pub(crate) fn module_topic(bytes: &[u8]) -> String {
    format!("gnomon/acme/m/{}", Digest::of(bytes).hex())
}

/// A device that runs the rightful module at 60 degrees under version 1.
pub(crate) fn scene(broker: &Broker, name: &str) -> Device {
    let module = gnomon_examples::WATER_HEATER_TOU;
    broker.retain(&module_topic(module), module);
    let device = Device::start(broker, name);
    device.direct(broker, &approved(tou(1, 60.0)));
    device.wait_applied(broker, 1);
    device.wait_output("active", 60.0);
    device
}
