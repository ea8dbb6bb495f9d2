//! Fleets, keys, signed documents, and a bench that plays a faultless shell.
//! It defaults everything and judges nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_agent_core::agent::{Setup, Transaction};
use gnomon_agent_core::message::{FromRunner, ToRunner};
use gnomon_agent_core::{Agent, Effect, Event, Floor, Identity, Monotonic, Stored};
use gnomon_schemas::approval::{Approval, ApprovalSchema, Grant};
use gnomon_schemas::document::{
    Document, DocumentSchema, FunctionPlan, InlineBytes, ModuleRef, OnExpiry, Reporting, Slot,
};
use gnomon_schemas::envelope::{Envelope, Payload, Sign};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::module::{KeySignatures, ModuleEvidence};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::reported::{Reported, State};
use gnomon_schemas::results::RefusalEvent;
use gnomon_schemas::trust::{Proof, Publisher, Role, Roles, TrustRoot, TrustRootSchema};
use gnomon_schemas::value::Values;
use gnomon_schemas::verify::{Verified, verify};
use gnomon_schemas::{BootId, Digest, FunctionName, Reason, Version};
use proptest::test_runner::{Config, FileFailurePersistence};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

pub const NOW_MS: u64 = 1_800_000_000_000;
pub const DAY_MS: u64 = 24 * 3600 * 1000;
pub const PROFILE: &[u8] = include_bytes!("../../../../schemas/examples/profile.json");

/// This many random cases; a seed that fails is kept beside the test's source.
pub fn cases(cases: u32) -> Config {
    let kept = FileFailurePersistence::WithSource("regressions");
    Config { failure_persistence: Some(Box::new(kept)), ..Config::with_cases(cases) }
}

/// A fresh random key.
pub enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl Signer {
    pub fn ed25519() -> Signer {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signer::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    pub fn p256() -> Signer {
        let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Signer::P256(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    pub fn public(&self) -> PublicKey {
        match self {
            Signer::Ed25519(key) => PublicKey::from_ed25519(key.public_key().as_ref()).unwrap(),
            Signer::P256(key) => PublicKey::from_p256(key.public_key().as_ref()).unwrap(),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Signer::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Signer::P256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
        }
    }
}

pub fn version(number: u64) -> Version {
    Version::try_from(number).unwrap()
}

pub fn setpoint() -> FunctionName {
    "setpoint".parse().unwrap()
}

/// A fleet of one device, its keys and its trust root.
pub struct Fleet {
    pub root_key: Signer,
    pub director: Signer,
    pub approver: Signer,
    pub publisher: Signer,
    /// The firmware's.
    pub first_root: TrustRoot,
    /// The one in force.
    pub root: TrustRoot,
    pub identity: Identity,
}

impl Fleet {
    pub fn new() -> Fleet {
        let (root_key, director) = (Signer::ed25519(), Signer::ed25519());
        let (approver, publisher) = (Signer::ed25519(), Signer::p256());
        let role = |key: &Signer| Role { keys: vec![key.public()], threshold: 1 };
        let policy = Publisher {
            proof: Proof::Key { key: publisher.public(), sigstore_root: None },
            profiles: BTreeSet::new(),
            functions: BTreeSet::new(),
        };
        let root = TrustRoot {
            schema: TrustRootSchema::V1,
            fleet: "acme".parse().unwrap(),
            version: 1,
            epoch: 1,
            expires_at_ms: NOW_MS + 1000 * DAY_MS,
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
        let (profile, profile_digest) = Profile::parse(PROFILE).unwrap();
        let identity = Identity {
            fleet: "acme".parse().unwrap(),
            device: "heater-001".parse().unwrap(),
            profile,
            profile_digest,
        };
        let first_root = root.clone();
        Fleet { root_key, director, approver, publisher, first_root, root, identity }
    }

    /// A document without functions.
    pub fn document(&self, number: u64) -> Document {
        Document {
            schema: DocumentSchema::V1,
            fleet: self.identity.fleet.clone(),
            device: self.identity.device.clone(),
            profile: self.identity.profile_digest.clone(),
            epoch: 1,
            version: version(number),
            issued_at_ms: NOW_MS,
            expires_at_ms: NOW_MS + DAY_MS,
            on_expiry: OnExpiry::Hold,
            config: serde_json::Map::new(),
            functions: BTreeMap::new(),
            modules: BTreeMap::new(),
            reporting: Reporting::default(),
            approvals: vec![],
        }
    }

    /// A document whose setpoint is this module, not inline.
    pub fn document_with(&self, number: u64, bytes: &[u8]) -> Document {
        let mut document = self.document(number);
        let slot = Slot { module: Digest::of(bytes), params: Values::new() };
        let plan = FunctionPlan { active: Some(slot), ..FunctionPlan::default() };
        document.functions.insert(setpoint(), plan);
        document.modules.insert(Digest::of(bytes), self.listed(bytes));
        document
    }

    /// The same, with the bytes in the document.
    pub fn document_inline(&self, number: u64, bytes: &[u8]) -> Document {
        let mut document = self.document_with(number, bytes);
        for listed in document.modules.values_mut() {
            listed.inline = Some(InlineBytes(bytes.to_vec()));
        }
        document
    }

    /// What a document says of a module that the publisher signed.
    pub fn listed(&self, bytes: &[u8]) -> ModuleRef {
        ModuleRef {
            name: "some-module".parse().unwrap(),
            version: "1.0.0".into(),
            release_counter: 1,
            size_bytes: bytes.len() as u64,
            evidence: ModuleEvidence::Key {
                publisher: "acme-controls".parse().unwrap(),
                signature: STANDARD.encode(self.publisher.sign(bytes)),
            },
            inline: None,
        }
    }

    pub fn seal<P: Payload + Serialize>(&self, payload: &P) -> Vec<u8> {
        seal_by(&self.director, payload)
    }

    /// The document with the approval that it needs, if it needs one.
    pub fn approved(&self, document: &Document) -> Document {
        let mut document = document.clone();
        if !Grant::of(&document).is_empty() {
            document.approvals = vec![self.approve(&self.approval(&document))];
        }
        document
    }

    /// The approval that this document needs, for every device.
    pub fn approval(&self, document: &Document) -> Approval {
        Approval {
            schema: ApprovalSchema::V1,
            fleet: self.root.fleet.clone(),
            devices: None,
            approved_at_ms: NOW_MS,
            grant: Grant::of(document),
        }
    }

    pub fn approve(&self, approval: &Approval) -> Envelope {
        serde_json::from_slice(&seal_by(&self.approver, approval)).unwrap()
    }

    /// The document, approved where it must be, under the director's signature.
    pub fn seal_document(&self, document: &Document) -> Vec<u8> {
        self.seal(&self.approved(document))
    }

    pub fn verified(&self, document: &Document) -> Verified<Document> {
        verify(&self.seal_document(document), &self.root.roles.director).unwrap()
    }

    /// As [`Fleet::bench_from`], of a device whose firmware has the first root of all.
    pub fn bench_with_first_root(&self, stored: Stored) -> Bench {
        self.bench_of(self.first_root.clone(), stored)
    }

    pub fn agent(&self) -> Agent {
        self.agent_under(self.root.clone())
    }

    fn agent_under(&self, root: TrustRoot) -> Agent {
        Agent::new(Setup {
            identity: self.identity.clone(),
            root,
            judge: Box::new(KeySignatures),
            boot: BootId::from_random([7; 16]),
            agent_version: "0.0.0".into(),
            time_floor_ms: NOW_MS,
            released_at_ms: NOW_MS,
        })
    }

    /// A bench whose agent has started with an empty store.
    pub fn bench(&self) -> Bench {
        self.bench_from(Stored::default())
    }

    /// A bench whose agent has started with this store.
    pub fn bench_from(&self, stored: Stored) -> Bench {
        self.bench_of(self.root.clone(), stored)
    }

    fn bench_of(&self, root: TrustRoot, stored: Stored) -> Bench {
        let agent = self.agent_under(root);
        let kept = Stored { roots: stored.roots.clone(), ..Stored::default() };
        let mut bench = Bench { agent, now: Monotonic(0), stored: kept, started: vec![] };
        bench.started = bench.run(Event::Started(stored));
        bench
    }
}

pub fn seal_by<P: Payload + Serialize>(signer: &Signer, payload: &P) -> Vec<u8> {
    seal_by_all(&[signer], payload)
}

pub fn seal_by_all<P: Payload + Serialize>(signers: &[&Signer], payload: &P) -> Vec<u8> {
    let bytes = serde_json::to_vec(payload).unwrap();
    let sign: Vec<_> = signers.iter().map(|key| |message: &[u8]| key.sign(message)).collect();
    let signers: Vec<(String, Sign<'_>)> = signers
        .iter()
        .zip(&sign)
        .map(|(key, sign)| (key.public().id().to_string(), sign as Sign<'_>))
        .collect();
    serde_json::to_vec(&Envelope::seal::<P>(&bytes, &signers)).unwrap()
}

/// An agent and a shell that does at once, and without fault, what it is told.
pub struct Bench {
    pub agent: Agent,
    pub now: Monotonic,
    /// What the shell's store holds.
    pub stored: Stored,
    /// The effects of the start.
    pub started: Vec<Effect>,
}

impl Bench {
    /// One event, and what it leads to at once.
    pub fn hear(&mut self, event: Event) -> Vec<Effect> {
        self.agent.apply(self.now, event)
    }

    /// One event, and all that follows when runner and store do as they are told.
    pub fn run(&mut self, event: Event) -> Vec<Effect> {
        let mut all = vec![];
        let mut events = vec![event];
        while let Some(event) = (!events.is_empty()).then(|| events.remove(0)) {
            for effect in self.hear(event) {
                match &effect {
                    Effect::Persist(change) => {
                        self.keep(change);
                        events.push(Event::Persisted(change.floor.version, Ok(())));
                    }
                    Effect::PersistRoot { version, envelope, .. } => {
                        self.stored.roots.insert(*version, envelope.clone());
                        self.stored.mirror.trust_version = *version;
                        events.push(Event::RootPersisted(*version, Ok(())));
                    }
                    Effect::Runner(message) => events.extend(answer(message)),
                    _ => {}
                }
                all.push(effect);
            }
        }
        all
    }

    pub fn run_document(&mut self, fleet: &Fleet, document: &Document) -> Vec<Effect> {
        self.run(Event::Document(fleet.seal_document(document)))
    }

    fn keep(&mut self, change: &Transaction) {
        self.stored.floor = Some(change.floor.clone());
        self.stored.mirror.floor = Some(change.floor.clone());
        self.stored.envelope = Some(change.envelope.clone());
        self.stored.modules = change
            .modules
            .iter()
            .map(|(digest, bytes)| (digest.clone(), bytes.0.clone()))
            .collect();
    }

    /// What the agent would report now.
    pub fn reported(&mut self) -> Reported {
        let effects = self.hear(Event::Connected);
        reports(&effects).pop().unwrap()
    }

    pub fn state(&mut self) -> (State, Option<Version>) {
        let reported = self.reported();
        (reported.state, reported.applied)
    }
}

fn answer(message: &ToRunner) -> Option<Event> {
    let answer = match message {
        ToRunner::Prepare { document, .. } => {
            FromRunner::Prepared { version: document.version, outcome: Ok(()) }
        }
        ToRunner::Activate { version } => activated(*version),
        ToRunner::Defaults | ToRunner::Stop { .. } => return None,
    };
    Some(Event::Runner(answer))
}

pub fn activated(version: Version) -> FromRunner {
    FromRunner::Activated { version, swap_ns: 1, from_tick: BTreeMap::new() }
}

/// The effects in a word or two each.
pub fn names(effects: &[Effect]) -> Vec<String> {
    effects.iter().map(name).collect()
}

fn name(effect: &Effect) -> String {
    match effect {
        Effect::FetchModule(_) => "fetch".into(),
        Effect::ForgetModule(_) => "forget".into(),
        Effect::Runner(message) => match message.as_ref() {
            ToRunner::Prepare { document, .. } => format!("prepare {}", document.version),
            ToRunner::Activate { version } => format!("activate {version}"),
            ToRunner::Defaults => "defaults".into(),
            ToRunner::Stop { modules } => format!("stop {}", modules.len()),
        },
        Effect::Persist(change) => format!("persist {}", change.floor.version),
        Effect::FetchRoot(version) => format!("fetch root {version}"),
        Effect::PersistRoot { version, .. } => format!("persist root {version}"),
        Effect::FetchDocument => "fetch document".into(),
        Effect::KeepTime(_) => "keep time".into(),
        Effect::Report(reported) => format!("report {:?}", reported.state),
        Effect::Append(_) => "append".into(),
        Effect::Delete(..) => "delete".into(),
        Effect::Send => "send".into(),
    }
}

pub fn reports(effects: &[Effect]) -> Vec<Reported> {
    let reports = effects.iter().filter_map(|effect| match effect {
        Effect::Report(reported) => Some(reported.as_ref().clone()),
        _ => None,
    });
    reports.collect()
}

/// Every refusal that these effects keep for the cloud.
pub fn refused(effects: &[Effect]) -> Vec<RefusalEvent> {
    let batches = effects.iter().filter_map(|effect| match effect {
        Effect::Append(results) => Some(results.refusals.clone()),
        _ => None,
    });
    batches.flatten().collect()
}

pub fn reasons(effects: &[Effect]) -> Vec<Reason> {
    refused(effects).into_iter().map(|event| event.refusal.reason).collect()
}

pub fn floor(effects: &[Effect]) -> Option<Floor> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Persist(change) => Some(change.floor.clone()),
        _ => None,
    })
}
