//! The world of the attacks: fixed keys, one device, and what its rightful cloud
//! would send. Nothing is random, so every run makes the same bytes.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_agent_core::Identity;
use gnomon_schemas::approval::{Approval, ApprovalSchema, Grant};
use gnomon_schemas::document::{
    Document, DocumentSchema, FunctionPlan, InlineBytes, ModuleRef, OnExpiry, Reporting, Slot,
};
use gnomon_schemas::envelope::{Envelope, Payload, Sign, Signature, pre_authentication_encoding};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::trust::{Proof, Publisher, Role, Roles, TrustRoot, TrustRootSchema};
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, FunctionName, Version};
use p256::ecdsa::signature::Signer as _;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The lowest time that it can be, and when the rightful documents are signed.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;
pub(crate) const DAY_MS: u64 = 24 * 3600 * 1000;
/// The device that is attacked.
pub(crate) const DEVICE: &str = "heater-001";
/// The firmware's profile.
pub(crate) const PROFILE: &[u8] = include_bytes!("../../schemas/examples/profile.json");
/// What runs by right.
pub(crate) const MODULE: &[u8] = b"the module that was approved";
/// What the attacker would have run.
pub(crate) const EVIL: &[u8] = b"the module of the attacker";

/// A key made from its name: Ed25519, whose signatures are always the same, or
/// P-256 with the nonces of RFC 6979, so that they are, too.
pub(crate) enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(p256::ecdsa::SigningKey),
}

fn seed(name: &str) -> Vec<u8> {
    let text = format!("gnomon attacks: {name}");
    ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

impl Signer {
    /// The Ed25519 key of this name.
    pub(crate) fn named(name: &str) -> Signer {
        Signer::Ed25519(Ed25519KeyPair::from_seed_unchecked(&seed(name)).unwrap())
    }

    /// The P-256 key of this name.
    pub(crate) fn p256(name: &str) -> Signer {
        Signer::P256(p256::ecdsa::SigningKey::from_slice(&seed(name)).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Signer::Ed25519(key) => PublicKey::from_ed25519(key.public_key().as_ref()).unwrap(),
            Signer::P256(key) => {
                let point = key.verifying_key().to_encoded_point(false);
                PublicKey::from_p256(point.as_bytes()).unwrap()
            }
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Signer::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Signer::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }
}

pub(crate) fn root_a() -> Signer {
    Signer::named("root a")
}

pub(crate) fn root_b() -> Signer {
    Signer::named("root b")
}

pub(crate) fn root_c() -> Signer {
    Signer::named("root c")
}

pub(crate) fn director() -> Signer {
    Signer::named("director")
}

pub(crate) fn approver() -> Signer {
    Signer::named("approver")
}

pub(crate) fn publisher() -> Signer {
    Signer::p256("publisher")
}

pub(crate) fn stranger() -> Signer {
    Signer::named("stranger")
}

/// A role of these keys.
pub(crate) fn role(keys: &[Signer], threshold: usize) -> Role {
    Role { keys: keys.iter().map(Signer::public).collect(), threshold }
}

/// A publisher with this key, for these functions; for all when there is none.
pub(crate) fn policy(key: &Signer, functions: &[&str]) -> Publisher {
    Publisher {
        proof: Proof::Key { key: key.public(), sigstore_root: None },
        profiles: BTreeSet::new(),
        functions: functions.iter().map(|name| name.parse().unwrap()).collect(),
    }
}

/// The usual trust root: two of three root keys, one director, one approver, one
/// publisher for the set-point and one for pumps.
pub(crate) fn trust_root() -> TrustRoot {
    TrustRoot {
        schema: TrustRootSchema::V1,
        fleet: "acme".parse().unwrap(),
        version: 1,
        epoch: 1,
        expires_at_ms: NOW_MS + 1000 * DAY_MS,
        roles: Roles {
            root: role(&[root_a(), root_b(), root_c()], 2),
            director: role(&[director()], 1),
            approver: role(&[approver()], 1),
        },
        publishers: BTreeMap::from([
            ("acme-controls".parse().unwrap(), policy(&publisher(), &["setpoint"])),
            ("acme-pumps".parse().unwrap(), policy(&Signer::p256("pumps"), &["pump"])),
        ]),
        sigstore_roots: BTreeMap::new(),
        denied: BTreeSet::from([Digest::of(b"a module that was recalled")]),
        release_counter_min: BTreeMap::from([("setpoint-tou".parse().unwrap(), 3)]),
        approved_after_ms: NOW_MS - 100 * DAY_MS,
    }
}

/// The root after the usual one, changed.
pub(crate) fn next_root(change: impl FnOnce(&mut TrustRoot)) -> TrustRoot {
    let mut root = trust_root();
    root.version += 1;
    change(&mut root);
    root
}

pub(crate) fn identity() -> Identity {
    let (profile, profile_digest) = Profile::parse(PROFILE).unwrap();
    Identity {
        fleet: "acme".parse().unwrap(),
        device: DEVICE.parse().unwrap(),
        profile,
        profile_digest,
    }
}

pub(crate) fn version(number: u64) -> Version {
    Version::try_from(number).unwrap()
}

pub(crate) fn setpoint() -> FunctionName {
    "setpoint".parse().unwrap()
}

/// A document that changes config alone: the director's own business.
pub(crate) fn config(number: u64) -> Document {
    let identity = identity();
    Document {
        schema: DocumentSchema::V1,
        fleet: identity.fleet,
        device: identity.device,
        profile: identity.profile_digest,
        epoch: 1,
        version: version(number),
        issued_at_ms: NOW_MS,
        expires_at_ms: NOW_MS + 30 * DAY_MS,
        on_expiry: OnExpiry::Hold,
        config: serde_json::Map::new(),
        functions: BTreeMap::new(),
        modules: BTreeMap::new(),
        reporting: Reporting::default(),
        approvals: vec![],
    }
}

/// What a document says of a module that the publisher signed.
pub(crate) fn listed(bytes: &[u8], signer: &Signer) -> ModuleRef {
    ModuleRef {
        name: "setpoint-tou".parse().unwrap(),
        version: "1.3.0".into(),
        release_counter: 3,
        size_bytes: bytes.len() as u64,
        evidence: ModuleEvidence::Key {
            publisher: "acme-controls".parse().unwrap(),
            signature: STANDARD.encode(signer.sign(bytes)),
        },
        inline: None,
    }
}

/// A document that puts this module in control, its bytes on their topic; not yet
/// approved.
pub(crate) fn with_module(number: u64, bytes: &[u8]) -> Document {
    let mut document = config(number);
    let slot = Slot { module: Digest::of(bytes), params: Values::new() };
    let plan = FunctionPlan { active: Some(slot), ..FunctionPlan::default() };
    document.functions.insert(setpoint(), plan);
    document.modules.insert(Digest::of(bytes), listed(bytes, &publisher()));
    document
}

/// The same, with the bytes in the document.
pub(crate) fn with_inline(number: u64, bytes: &[u8]) -> Document {
    let mut document = with_module(number, bytes);
    for listed in document.modules.values_mut() {
        listed.inline = Some(InlineBytes(bytes.to_vec()));
    }
    document
}

/// The approval that this document needs, for its device.
pub(crate) fn approval(document: &Document) -> Approval {
    Approval {
        schema: ApprovalSchema::V1,
        fleet: document.fleet.clone(),
        devices: Some([document.device.clone()].into()),
        approved_at_ms: NOW_MS - DAY_MS,
        grant: Grant::of(document),
    }
}

/// The document with the approval that it needs.
pub(crate) fn approved(mut document: Document) -> Document {
    document.approvals = vec![seal(&approval(&document), &[&approver()])];
    document
}

/// An envelope around a payload, signed by each of these keys.
pub(crate) fn seal<P: Payload + Serialize>(payload: &P, signers: &[&Signer]) -> Envelope {
    seal_bytes::<P>(&serde_json::to_vec(payload).unwrap(), signers)
}

/// An envelope that says it holds a `P`, around any bytes.
pub(crate) fn seal_bytes<P: Payload>(payload: &[u8], signers: &[&Signer]) -> Envelope {
    let sign: Vec<_> = signers.iter().map(|key| |message: &[u8]| key.sign(message)).collect();
    let signers: Vec<(String, Sign<'_>)> = signers
        .iter()
        .zip(&sign)
        .map(|(key, sign)| (key.public().id().to_string(), sign as Sign<'_>))
        .collect();
    Envelope::seal::<P>(payload, &signers)
}

/// An envelope of a kind of payload that we do not have.
pub(crate) fn seal_as(payload_type: &str, payload: &[u8], signer: &Signer) -> Envelope {
    let message = pre_authentication_encoding(payload_type, payload);
    Envelope {
        payload_type: payload_type.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![signature(signer, &message)],
    }
}

/// A signature with its key id.
pub(crate) fn signature(signer: &Signer, message: &[u8]) -> Signature {
    Signature {
        keyid: Some(signer.public().id().to_string()),
        sig: STANDARD.encode(signer.sign(message)),
    }
}

/// The director's document, as it goes over the wire.
pub(crate) fn directed(document: &Document) -> Vec<u8> {
    json(&seal(document, &[&director()]))
}

/// A trust root by the usual two keys.
pub(crate) fn rooted(root: &TrustRoot) -> Vec<u8> {
    json(&seal(root, &[&root_a(), &root_b()]))
}

/// The wire form.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}
