//! Keys, provisioned configurations, documents with example modules, guests from
//! text, and a device that a test plays. It defaults everything and judges nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_agent::AgentConfig;
use gnomon_agent::device::{Device, Next, Tick};
use gnomon_agent_core::{Clamped, Identity};
use gnomon_host::manifest;
use gnomon_schemas::approval::{Approval, ApprovalSchema, Grant};
use gnomon_schemas::document::{
    Document, DocumentSchema, FunctionPlan, GoldenVector, InlineBytes, ModuleRef, OnExpiry,
    Probation, Reporting, Slot,
};
use gnomon_schemas::envelope::{Envelope, Payload, Sign};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::profile::{NarrowedBounds, Profile};
use gnomon_schemas::results::Source;
use gnomon_schemas::trust::{Proof, Publisher, Role, Roles, TrustRoot, TrustRootSchema};
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Digest, FunctionName, SignalName};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// No step of a test takes this long: the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Beyond the agent's release, which is the lowest time that it takes.
pub const NOW_MS: u64 = 1_900_000_000_000;
pub const PROFILE: &[u8] = include_bytes!("../../../../schemas/examples/profile.json");

pub fn profile() -> Profile {
    Profile::parse(PROFILE).unwrap().0
}

pub fn setpoint() -> FunctionName {
    "setpoint".parse().unwrap()
}

/// A fleet of one device, its keys and its trust root.
pub struct Fleet {
    root_key: Ed25519KeyPair,
    director: Ed25519KeyPair,
    approver: Ed25519KeyPair,
    publisher: Ed25519KeyPair,
    pub root: TrustRoot,
}

fn key() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()
}

impl Fleet {
    pub fn new() -> Fleet {
        let (root_key, director, approver, publisher) = (key(), key(), key(), key());
        let public =
            |key: &Ed25519KeyPair| PublicKey::from_ed25519(key.public_key().as_ref()).unwrap();
        let role = |key: &Ed25519KeyPair| Role { keys: vec![public(key)], threshold: 1 };
        let policy = Publisher {
            proof: Proof::Key { key: public(&publisher), sigstore_root: None },
            profiles: BTreeSet::new(),
            functions: BTreeSet::new(),
        };
        let root = TrustRoot {
            schema: TrustRootSchema::V1,
            fleet: "acme".parse().unwrap(),
            version: 1,
            epoch: 1,
            expires_at_ms: 2 * NOW_MS,
            roles: Roles {
                root: role(&root_key),
                director: role(&director),
                approver: role(&approver),
            },
            publishers: BTreeMap::from([("acme-controls".parse().unwrap(), policy)]),
            sigstore_roots: BTreeMap::new(),
            denied: BTreeSet::new(),
            release_counter_min: BTreeMap::new(),
            approved_after_ms: 0,
        };
        Fleet { root_key, director, approver, publisher, root }
    }

    pub fn seal<P: Payload + Serialize>(&self, payload: &P) -> Vec<u8> {
        serde_json::to_vec(&envelope(&self.director, payload)).unwrap()
    }

    /// The root after the fleet's, under the root key.
    pub fn next_root(&self, change: impl FnOnce(&mut TrustRoot)) -> Vec<u8> {
        let mut next = self.root.clone();
        next.version += 1;
        change(&mut next);
        serde_json::to_vec(&envelope(&self.root_key, &next)).unwrap()
    }

    /// Another root key and another director: the root that says so, under old and new.
    pub fn rotate(&mut self) -> Vec<u8> {
        let (root_key, director) = (key(), key());
        let public =
            |key: &Ed25519KeyPair| PublicKey::from_ed25519(key.public_key().as_ref()).unwrap();
        self.root.version += 1;
        self.root.roles.root.keys = vec![public(&root_key)];
        self.root.roles.director.keys = vec![public(&director)];
        let signs = [&self.root_key, &root_key]
            .map(|key| |message: &[u8]| key.sign(message).as_ref().to_vec());
        let signers: [(String, Sign<'_>); 2] =
            [("old".into(), &signs[0]), ("new".into(), &signs[1])];
        let bytes = serde_json::to_vec(&self.root).unwrap();
        let envelope = serde_json::to_vec(&Envelope::seal::<TrustRoot>(&bytes, &signers)).unwrap();
        (self.root_key, self.director) = (root_key, director);
        envelope
    }

    /// The first root in its envelope, as the firmware ships it.
    pub fn first_root(&self) -> Vec<u8> {
        serde_json::to_vec(&envelope(&self.root_key, &self.root)).unwrap()
    }

    /// The device's configuration; at its broker's address nobody listens.
    pub fn config(&self) -> AgentConfig {
        let (profile, profile_digest) = Profile::parse(PROFILE).unwrap();
        let identity = Identity {
            fleet: "acme".parse().unwrap(),
            device: "heater-001".parse().unwrap(),
            profile,
            profile_digest,
        };
        AgentConfig {
            identity,
            root: self.root.clone(),
            later_roots: vec![],
            broker: ("127.0.0.1".into(), 1),
            mutual: None,
        }
    }

    /// A document whose modules the publisher really signed, and an approver approved.
    pub fn document(&self, number: u64, plan: &Plan) -> Document {
        let mut document = plan.document(number);
        for (digest, listed) in &mut document.modules {
            let signature = self.publisher.sign(&plan.modules[digest].0);
            listed.evidence = evidence(&STANDARD.encode(signature.as_ref()));
        }
        let approval = Approval {
            schema: ApprovalSchema::V1,
            fleet: document.fleet.clone(),
            devices: None,
            approved_at_ms: NOW_MS,
            grant: Grant::of(&document),
        };
        document.approvals = vec![envelope(&self.approver, &approval)];
        document
    }
}

fn envelope<P: Payload + Serialize>(key: &Ed25519KeyPair, payload: &P) -> Envelope {
    let sign = |message: &[u8]| key.sign(message).as_ref().to_vec();
    let signers: [(String, Sign<'_>); 1] = [("key".into(), &sign)];
    Envelope::seal::<P>(&serde_json::to_vec(payload).unwrap(), &signers)
}

fn evidence(signature: &str) -> ModuleEvidence {
    let publisher = "acme-controls".parse().unwrap();
    ModuleEvidence::Key { publisher, signature: signature.into() }
}

/// What is to fill the setpoint.
#[derive(Default, Clone)]
pub struct Plan {
    active: Option<Slot>,
    candidates: Vec<Slot>,
    pub modules: BTreeMap<Digest, InlineBytes>,
    pub reporting: Reporting,
    pub bounds: BTreeMap<SignalName, NarrowedBounds>,
    golden: Vec<GoldenVector>,
    probation: Option<Probation>,
}

impl Plan {
    pub fn active(bytes: &[u8], params: serde_json::Value) -> Plan {
        let mut plan = Plan::default();
        plan.active = Some(plan.slot(bytes, params));
        plan
    }

    #[must_use]
    pub fn candidate(mut self, bytes: &[u8], params: serde_json::Value) -> Plan {
        let slot = self.slot(bytes, params);
        self.candidates.push(slot);
        self
    }

    #[must_use]
    pub fn summary_ticks(mut self, ticks: u32) -> Plan {
        self.reporting.summary_ticks = ticks;
        self
    }

    #[must_use]
    pub fn golden(mut self, vector: serde_json::Value) -> Plan {
        self.golden.push(serde_json::from_value(vector).unwrap());
        self
    }

    #[must_use]
    pub fn probation(self, ticks: u32, faults_max: u32) -> Plan {
        self.rules(Probation { ticks, faults_max, clamps_max: None })
    }

    #[must_use]
    pub fn rules(mut self, rules: Probation) -> Plan {
        self.probation = Some(rules);
        self
    }

    /// It stays in control whatever it does.
    #[must_use]
    pub fn trusted(self) -> Plan {
        self.probation(0, 0)
    }

    fn slot(&mut self, bytes: &[u8], params: serde_json::Value) -> Slot {
        self.modules.insert(Digest::of(bytes), InlineBytes(bytes.to_vec()));
        Slot { module: Digest::of(bytes), params: serde_json::from_value(params).unwrap() }
    }

    /// A document that the keeper takes: nobody has signed its modules.
    pub fn document(&self, number: u64) -> Document {
        let listed = |bytes: &InlineBytes| {
            let inside = manifest(&bytes.0);
            ModuleRef {
                name: inside.as_ref().map_or_else(|| "x".parse().unwrap(), |m| m.name.clone()),
                version: inside.as_ref().map_or_else(|| "1".into(), |m| m.version.clone()),
                release_counter: inside.map_or(1, |m| m.release_counter),
                size_bytes: bytes.0.len() as u64,
                evidence: evidence(""),
                inline: None,
            }
        };
        let plan = FunctionPlan {
            active: self.active.clone(),
            candidates: self.candidates.clone(),
            bounds: self.bounds.clone(),
            budget: None,
            golden: self.golden.clone(),
            probation: self.probation,
        };
        let (_, profile) = Profile::parse(PROFILE).unwrap();
        Document {
            schema: DocumentSchema::V1,
            fleet: "acme".parse().unwrap(),
            device: "heater-001".parse().unwrap(),
            profile,
            epoch: 1,
            version: number.try_into().unwrap(),
            issued_at_ms: NOW_MS,
            expires_at_ms: NOW_MS + 1_000_000_000,
            on_expiry: OnExpiry::Hold,
            config: serde_json::Map::new(),
            functions: BTreeMap::from([(setpoint(), plan)]),
            modules: self.modules.iter().map(|(d, bytes)| (d.clone(), listed(bytes))).collect(),
            reporting: self.reporting,
            approvals: vec![],
        }
    }
}

/// Time of use: 60 at night, 45 by day.
pub fn tou() -> Plan {
    let params = json!({"off_peak_start_hour": 23.0, "off_peak_end_hour": 7.0,
                        "high_c": 60.0, "low_c": 45.0});
    Plan::active(gnomon_examples::WATER_HEATER_TOU, params)
}

/// Asks for this much, however absurd.
pub fn hot(asked_c: f64) -> Plan {
    Plan::active(gnomon_examples::WATER_HEATER_HOT, json!({"asked_c": asked_c}))
}

/// A component from `hour` to `setpoint_c` with this body of its one function, and
/// a manifest.
pub fn guest(name: &str, body: &str) -> Vec<u8> {
    component(body, "", &format!("(@custom \"gnomon.manifest\" \"{}\")", manifest_of(name)))
}

/// A manifest, as a string of the text format.
fn manifest_of(name: &str) -> String {
    format!(
        r#"{{\"name\":\"{name}\",\"version\":\"1\",\"release_counter\":1,\"function\":\"setpoint\"}}"#
    )
}

/// The same with something else in front and behind.
pub fn component(body: &str, front: &str, behind: &str) -> Vec<u8> {
    let text = format!(
        r#"(component {front}
        (type $i-of (record (field "hour" f64)))
        (import "inputs" (type $i (eq $i-of)))
        (type $o-of (record (field "setpoint-c" f64)))
        (import "outputs" (type $o (eq $o-of)))
        (core module $m (func (export "f") (param f64) (result f64) {body}))
        (core instance $c (instantiate $m))
        (type $evaluate (func (param "in" $i) (result $o)))
        (func $f (type $evaluate) (canon lift (core func $c "f")))
        (export "evaluate" (func $f)) {behind})"#
    );
    wat::parse_str(text).unwrap()
}

/// A component with memory, so that the actuator shows what it remembers: what it asks
/// for and how its count goes on, both in terms of `$calls`, which is 0 at first.
pub fn counter(name: &str, asked_c: &str, calls: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        (type $i-of (record (field "hour" f64)))
        (import "inputs" (type $i (eq $i-of)))
        (type $o-of (record (field "setpoint-c" f64)))
        (import "outputs" (type $o (eq $o-of)))
        (type $s-of (record (field "calls" u32)))
        (import "state" (type $s (eq $s-of)))
        (core module $m (memory (export "m") 1)
            (func (export "f") (param $hour f64) (param $has i32) (param $calls i32) (result i32)
                (f64.store (i32.const 8) {asked_c})
                (i32.store (i32.const 16) {calls})
                (i32.const 8)))
        (core instance $c (instantiate $m))
        (type $evaluate (func (param "in" $i) (param "s" (option $s)) (result (tuple $o $s))))
        (func $f (type $evaluate) (canon lift (core func $c "f") (memory $c "m")))
        (export "evaluate" (func $f)) (@custom "gnomon.manifest" "{}"))"#,
        manifest_of(name)
    );
    wat::parse_str(text).unwrap()
}

/// Asks for so much plus its count, which goes up by one.
pub fn counting_from(name: &str, asked_c: u32) -> Vec<u8> {
    let asked = format!("(f64.add (f64.const {asked_c}) (f64.convert_i32_u (local.get $calls)))");
    counter(name, &asked, "(i32.add (local.get $calls) (i32.const 1))")
}

pub fn spin() -> Vec<u8> {
    guest("spin", "(loop (br 0)) unreachable")
}

pub fn inputs(hour: f64, tank_temp_c: f64) -> Values {
    let signals = [("hour", hour), ("tank_temp_c", tank_temp_c), ("tank_low_temp_c", 20.0)];
    signals.map(|(name, number)| (name.to_owned(), Value::Float(number))).into()
}

/// What an actuator got at one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Actuated {
    pub tick: u64,
    pub setpoint_c: f64,
    pub source: Source,
    pub clamped: bool,
}

/// The device's end that the keeper holds.
pub struct Script {
    ticks: Receiver<Tick>,
    actuated: Sender<Actuated>,
}

/// The test's end: dropped, the device is gone.
pub struct Hands {
    ticks: Sender<Tick>,
    pub actuated: Receiver<Actuated>,
    number: u64,
}

pub fn device() -> (Script, Hands) {
    let (to_script, ticks) = channel();
    let (actuated, from_script) = channel();
    (Script { ticks, actuated }, Hands { ticks: to_script, actuated: from_script, number: 0 })
}

impl Device for Script {
    fn next_tick(&mut self, patience: Duration) -> Next {
        match self.ticks.recv_timeout(patience) {
            Ok(tick) => Next::Tick(tick),
            Err(RecvTimeoutError::Timeout) => Next::Idle,
            Err(RecvTimeoutError::Disconnected) => Next::Closed,
        }
    }

    fn actuate(&mut self, tick: &Tick, values: &Clamped) {
        let got = Actuated {
            tick: tick.number,
            setpoint_c: values.values()["setpoint_c"].as_f64().unwrap(),
            source: values.source(),
            clamped: !values.changed().is_empty(),
        };
        // A test that has seen enough no longer listens.
        let _ = self.actuated.send(got);
    }
}

impl Hands {
    /// Asks for a tick and does not wait; gives its number.
    pub fn ask(&mut self, inputs: Values) -> u64 {
        self.ask_since(Duration::ZERO, inputs)
    }

    /// The same, for a tick that came some time ago.
    pub fn ask_since(&mut self, ago: Duration, inputs: Values) -> u64 {
        self.number += 1;
        let (number, at_ms) = (self.number, self.number * 60_000);
        let came = Instant::now().checked_sub(ago).unwrap();
        self.ticks.send(Tick { function: setpoint(), number, at_ms, came, inputs }).unwrap();
        number
    }

    /// One tick at this hour, answered.
    pub fn tick(&mut self, hour: f64) -> Actuated {
        self.tick_with(inputs(hour, 50.0))
    }

    /// So many of them at night.
    pub fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.tick(1.0);
        }
    }

    pub fn tick_with(&mut self, inputs: Values) -> Actuated {
        let number = self.ask(inputs);
        self.answer(number)
    }

    pub fn answer(&mut self, number: u64) -> Actuated {
        let answer = self.actuated.recv_timeout(PATIENCE).expect("a tick was left unanswered");
        assert_eq!(answer.tick, number, "answers come in order");
        answer
    }

    /// The device goes.
    pub fn leave(&mut self) {
        self.ticks = channel().0;
    }

    /// Leaves out some numbers, as a device does that came too late for them.
    pub fn miss(&mut self, ticks: u64) {
        self.number += ticks;
    }
}
