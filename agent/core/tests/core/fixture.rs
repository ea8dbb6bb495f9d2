//! Fleets, keys, signed documents, and what keeper and store say of them. It defaults
//! everything and judges nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_agent_core::agent::Setup;
use gnomon_agent_core::message::{FromKeeper, RolledBack};
use gnomon_agent_core::{Agent, Event, Identity};
use gnomon_schemas::approval::{Approval, ApprovalSchema, Grant};
use gnomon_schemas::document::{
    Document, DocumentSchema, FunctionPlan, InlineBytes, ModuleRef, OnExpiry, Reporting, Slot,
};
use gnomon_schemas::envelope::{Envelope, Payload, Sign};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::module::{KeySignatures, ModuleEvidence};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::trust::{Proof, Publisher, Role, Roles, TrustRoot, TrustRootSchema};
use gnomon_schemas::value::Values;
use gnomon_schemas::verify::{Verified, verify};
use gnomon_schemas::{BootId, Digest, FunctionName, Reason, Refusal, Version};
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

    /// The digest of the payload that is sealed for this document.
    pub fn digest(&self, document: &Document) -> Digest {
        Digest::of(&serde_json::to_vec(&self.approved(document)).unwrap())
    }

    /// The keeper says its first word, and what it has given up.
    pub fn started(&self, rolled_back: Option<RolledBack>) -> Event {
        Event::Keeper(FromKeeper::Started { engine: Digest::of(b"engine"), rolled_back })
    }

    /// The keeper has given a document up; in force again is another, or the defaults.
    pub fn gone_back(&self, from: &Document, to: Option<&Document>) -> RolledBack {
        let refusal = Refusal::new(Reason::ProbationFailed, "3 faults, in 5 ticks");
        RolledBack { from: self.digest(from), to: to.map(|to| self.digest(to)), refusal }
    }

    /// The same as it is said to a planner that is there.
    pub fn rolled_back(&self, from: &Document, to: Option<&Document>) -> Event {
        Event::Keeper(FromKeeper::RolledBack(self.gone_back(from, to)))
    }

    /// The document in force does well.
    pub fn healthy(&self, document: &Document) -> Event {
        Event::Keeper(FromKeeper::Healthy { document: self.digest(document) })
    }

    /// The document in force has proved itself.
    pub fn proven(&self, document: &Document) -> Event {
        Event::Keeper(FromKeeper::Proven { document: self.digest(document) })
    }

    /// The keeper has admitted it.
    pub fn prepared(&self, document: &Document) -> Event {
        prepared(&self.digest(document), Ok(()))
    }

    /// The keeper has not.
    pub fn not_prepared(&self, document: &Document, refusal: Refusal) -> Event {
        prepared(&self.digest(document), Err(refusal))
    }

    /// The store has kept it.
    pub fn persisted(&self, document: &Document) -> Event {
        Event::Persisted(self.digest(document), Ok(()))
    }

    /// The store has not.
    pub fn not_persisted(&self, document: &Document) -> Event {
        Event::Persisted(self.digest(document), Err("disk full".into()))
    }

    /// The keeper has put it in force.
    pub fn activated(&self, document: &Document) -> Event {
        activated(&self.digest(document), document.version)
    }

    pub fn agent(&self) -> Agent {
        self.agent_of(&self.root, &session(1))
    }

    /// An agent under this root, planning for this start of the keeper.
    pub fn agent_of(&self, root: &TrustRoot, session: &BootId) -> Agent {
        Agent::new(Setup {
            identity: self.identity.clone(),
            root: root.clone(),
            judge: Box::new(KeySignatures),
            boot: BootId::from_random([7; 16]),
            session: session.clone(),
            agent_version: "0.0.0".into(),
            time_floor_ms: NOW_MS,
            released_at_ms: NOW_MS,
        })
    }
}

/// The start of a keeper.
pub fn session(number: u8) -> BootId {
    BootId::from_random([100 + number; 16])
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

pub fn prepared(document: &Digest, outcome: Result<(), Refusal>) -> Event {
    Event::Keeper(FromKeeper::Prepared { document: document.clone(), outcome })
}

pub fn activated(document: &Digest, version: Version) -> Event {
    let (document, from_tick) = (document.clone(), BTreeMap::new());
    Event::Keeper(FromKeeper::Activated { document, version, swap_ns: 1, from_tick })
}
