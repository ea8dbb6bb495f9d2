//! A cloud in virtual time: the production composition, choice of approvals and drafting
//! of trust roots around a store that may be set back. It publishes, stores what devices
//! send, and acknowledges it; what is on its way is the network's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gnomon_agent_core::canary::{self, Canary};
use gnomon_cloud_core::approvals::{self, Given};
use gnomon_cloud_core::compose::{self, Identity, StoredModule};
use gnomon_cloud_core::layer::{Layer, Origin};
use gnomon_schemas::ack::{Ack, AckSchema};
use gnomon_schemas::approval::{Approval, ApprovalSchema, Grant};
use gnomon_schemas::content;
use gnomon_schemas::document::{Document, ModuleRef};
use gnomon_schemas::ids::{BootId, DeviceId, Digest, FleetId, Version};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::limits;
use gnomon_schemas::module::{JudgeEvidence, KeySignatures, ModuleEvidence, verify_module};
use gnomon_schemas::reason::Refusal;
use gnomon_schemas::reported::Reported;
use gnomon_schemas::results::Results;
use gnomon_schemas::strict;
use gnomon_schemas::trust::TrustRoot;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Keys, seal, wire};
use super::library::Library;

/// The newest version of one device.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Its number.
    pub version: Version,
    /// The digest of its payload.
    pub digest: Digest,
    /// As it is published.
    pub envelope: Vec<u8>,
    content: Digest,
    approvals: Vec<Digest>,
    issued_at_ms: u64,
    expires_at_ms: u64,
    epoch: u64,
    director: Digest,
    /// The digests of all its versions' payloads, by number.
    known: BTreeMap<u64, Digest>,
}

/// What is durable.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// The fleet's layer, and each device's.
    pub layers: BTreeMap<Option<usize>, Layer>,
    /// Every approval that was given.
    given: Vec<Given>,
    /// The newest version of each device.
    pub signed: BTreeMap<usize, Signed>,
    /// Devices that wait for an approval, and for which.
    pub waiting: BTreeMap<usize, Grant>,
    /// What is stored of which device.
    pub results: BTreeSet<(usize, BootId, u64)>,
    /// Devices that are ahead.
    pub conflicts: BTreeMap<usize, Version>,
    floors: BTreeMap<usize, Version>,
}

/// The cloud.
pub struct Cloud {
    /// The fleet.
    pub fleet: FleetId,
    /// The trust root in force, and all before it, by version.
    pub root: TrustRoot,
    /// What is durable.
    pub store: Store,
    backup: Option<Store>,
    modules: BTreeMap<Digest, StoredModule>,
    /// Whether small modules go inside documents.
    inline: bool,
    devices: usize,
    /// Acknowledgements as they were sealed, by batch: one that is sent again and again is
    /// acknowledged as often, in the very same bytes while the director is the same.
    sealed: RefCell<BTreeMap<(usize, BootId, u64), Sealed>>,
}

/// An acknowledgement, and the director who sealed it.
struct Sealed {
    by: PublicKey,
    bytes: Vec<u8>,
}

/// What the cloud wants sent or told.
#[derive(Debug)]
pub enum Outcome {
    /// A device has a new document.
    Signed(usize, Box<Document>),
    /// A batch was stored for the first time.
    Stored(usize, Box<Results>),
    /// These are stored: the acknowledgement for a device.
    Ack(usize, Vec<u8>),
    /// A device has not seen its newest document.
    Behind(usize),
}

impl Cloud {
    /// An empty one, which knows every module that the publisher signed.
    pub fn new(
        library: &Library,
        keys: &Keys,
        root: TrustRoot,
        devices: usize,
        inline: bool,
    ) -> Cloud {
        let listed = |module: &super::library::Module| {
            let inside = gnomon_host::manifest(&module.bytes);
            let (name, version, release_counter) = match inside {
                Some(inside) => (inside.name, inside.version, inside.release_counter),
                // What has none says nothing against it.
                None => (module.name.parse().ok()?, "1.0.0".into(), 1),
            };
            let listed = ModuleRef {
                name,
                version,
                release_counter,
                size_bytes: module.bytes.len() as u64,
                evidence: ModuleEvidence::Key {
                    publisher: root.publishers.keys().next()?.clone(),
                    signature: STANDARD.encode(keys.publisher.sign(&module.bytes)),
                },
                inline: None,
            };
            let bytes = module.bytes.clone();
            Some((Digest::of(&bytes), StoredModule { listed, bytes }))
        };
        Cloud {
            fleet: root.fleet.clone(),
            modules: library.modules.iter().chain(&library.unfit).filter_map(listed).collect(),
            root,
            store: Store::default(),
            backup: None,
            inline,
            devices,
            sealed: RefCell::default(),
        }
    }

    /// What a module's row says.
    pub fn listed(&self, module: &Digest) -> Option<&ModuleRef> {
        self.modules.get(module).map(|stored| &stored.listed)
    }

    fn name(device: usize) -> Option<DeviceId> {
        format!("device-{device}").parse().ok()
    }

    /// Merges a patch into a layer; the edit is refused as a whole if any device's document
    /// could not be made.
    ///
    /// # Errors
    /// Why not.
    pub fn edit(
        &mut self,
        library: &Library,
        keys: &Keys,
        (layer, patch): (Option<usize>, &serde_json::Value),
        now_ms: u64,
    ) -> Result<Vec<Outcome>, Refusal> {
        let before = self.store.clone();
        let patch = Layer::parse(patch.to_string().as_bytes())?;
        let known = self.store.layers.entry(layer).or_default();
        *known = known.patched(&patch);
        let (outcomes, refusals) = self.recompute(library, keys, now_ms);
        match refusals.into_iter().next() {
            None => Ok(outcomes),
            Some(refusal) => {
                self.store = before;
                Err(refusal)
            }
        }
    }

    /// Composes every device's document; signs those that are new and approved. A device
    /// whose document cannot be made keeps what it has, and that is told.
    pub fn recompute(
        &mut self,
        library: &Library,
        keys: &Keys,
        now_ms: u64,
    ) -> (Vec<Outcome>, Vec<Refusal>) {
        let (mut outcomes, mut refusals) = (vec![], vec![]);
        for device in 0..self.devices {
            match self.recompute_one(library, keys, device, now_ms) {
                Ok(outcome) => outcomes.extend(outcome),
                Err(refusal) => refusals.push(refusal),
            }
        }
        (outcomes, refusals)
    }

    fn recompute_one(
        &mut self,
        library: &Library,
        keys: &Keys,
        device: usize,
        now_ms: u64,
    ) -> Result<Option<Outcome>, Refusal> {
        let Some(name) = Cloud::name(device) else { return Ok(None) };
        let layers = [(None, Origin::Fleet), (Some(device), Origin::Device(name.clone()))];
        let layers = layers
            .into_iter()
            .filter_map(|(layer, origin)| Some((origin, self.store.layers.get(&layer)?)));
        let content = compose::effective(layers)?.content;
        let identity = Identity {
            fleet: self.fleet.clone(),
            device: name.clone(),
            profile: library.profile_digest.clone(),
            epoch: self.root.epoch,
        };
        let content_digest = compose::content_digest(&content, &identity, &self.modules);
        let make = |version, inline| {
            let with = (&library.profile, inline);
            compose::document(&content, &identity, (version, now_ms), &self.modules, with)
        };
        let draft = make(Version::FIRST, false)?;
        self.check_slots(library, &draft, now_ms)?;
        let grant = Grant::of(&draft);
        if self.store.conflicts.contains_key(&device) {
            return Ok(None);
        }
        let given: Vec<&Given> = self.store.given.iter().collect();
        let Some(chosen) = approvals::choose(&grant, &name, &self.root, &given) else {
            self.store.waiting.insert(device, grant);
            return Ok(None);
        };
        let envelopes: Vec<_> = chosen.iter().map(|given| given.envelope.clone()).collect();
        let approvals: Vec<Digest> = chosen.iter().map(|given| given.digest.clone()).collect();
        self.store.waiting.remove(&device);
        let director = keys.director.public().id();
        let floor = self.store.floors.get(&device).map_or(0, |floor| floor.get());
        let latest = self.store.signed.get(&device);
        let is_young =
            |latest: &Signed| now_ms < u64::midpoint(latest.issued_at_ms, latest.expires_at_ms);
        if latest.is_some_and(|latest| {
            latest.content == content_digest
                && latest.version.get() > floor
                && latest.approvals == approvals
                && latest.epoch == self.root.epoch
                && latest.director == director
                && is_young(latest)
        }) {
            return Ok(None);
        }
        let last = latest.map_or(0, |latest| latest.version.get()).max(floor);
        let Ok(version) = Version::try_from(last + 1) else { return Ok(None) };
        let document = Document { approvals: envelopes, ..make(version, self.inline)? };
        let (bytes, envelope) = seal(&[&keys.director], &document);
        let mut known = latest.map(|latest| latest.known.clone()).unwrap_or_default();
        known.insert(version.get(), Digest::of(&bytes));
        let signed = Signed {
            version,
            digest: Digest::of(&bytes),
            envelope: wire(&envelope),
            content: content_digest,
            approvals,
            issued_at_ms: now_ms,
            expires_at_ms: document.expires_at_ms,
            epoch: self.root.epoch,
            director,
            known,
        };
        self.store.signed.insert(device, signed);
        Ok(Some(Outcome::Signed(device, Box::new(document))))
    }

    /// What the device will check, too: whose modules they are, and whether they fit.
    fn check_slots(
        &self,
        library: &Library,
        document: &Document,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        for (function, plan) in &document.functions {
            let role = content::function(&library.profile, function)?;
            let budget = content::budget_of(plan, role)?;
            for slot in plan.slots() {
                let Some(stored) = self.modules.get(&slot.module) else { continue };
                let (bytes, of) = (stored.bytes.clone(), (&library.profile, function));
                let trust = (&self.root, &KeySignatures as &dyn JudgeEvidence, now_ms);
                verify_module(bytes, &slot.module, &stored.listed, of, trust)?;
                library.admit_with(&stored.bytes, function, budget, &slot.params)?;
            }
        }
        Ok(())
    }

    /// Other layers in the place of all, in one edit.
    ///
    /// # Errors
    /// Why not.
    pub fn replace_layers(
        &mut self,
        library: &Library,
        keys: &Keys,
        fleet: &serde_json::Value,
        now_ms: u64,
    ) -> Result<Vec<Outcome>, Refusal> {
        self.store.layers.clear();
        self.edit(library, keys, (None, fleet), now_ms)
    }

    /// A second person signs for what waits, for the device alone or for all.
    pub fn approve(
        &mut self,
        keys: &Keys,
        device: usize,
        for_all: bool,
        now_ms: u64,
    ) -> Option<Approval> {
        let grant = self.store.waiting.get(&device)?.clone();
        let devices = (!for_all).then(|| Cloud::name(device).into_iter().collect());
        let approval = Approval {
            schema: ApprovalSchema::V1,
            fleet: self.fleet.clone(),
            devices,
            approved_at_ms: now_ms,
            grant,
        };
        let (bytes, envelope) = seal(&[&keys.approver], &approval);
        let given = Given { digest: Digest::of(&bytes), approval: approval.clone(), envelope };
        self.store.given.push(given);
        Some(approval)
    }

    /// Ends a conflict: what comes next is above what the device has seen.
    pub fn resolve(&mut self, device: usize) {
        if let Some(ahead) = self.store.conflicts.remove(&device) {
            let floor = self.store.floors.entry(device).or_insert(ahead);
            *floor = (*floor).max(ahead);
        }
    }

    /// Every device's numbers order under a new epoch.
    pub fn end_conflicts(&mut self) {
        self.store.conflicts.clear();
    }

    /// Takes what came as results of this device.
    pub fn take_results(&mut self, keys: &Keys, device: usize, bytes: &[u8]) -> Vec<Outcome> {
        let parsed = strict::parse::<Results>(bytes, limits::RESULTS_BYTES_MAX);
        let Ok(results) = parsed else { return vec![] };
        if Cloud::name(device).as_ref() != Some(&results.device) || results.fleet != self.fleet {
            return vec![];
        }
        let ack = self.ack(keys, device, &results);
        let key = (device, results.boot.clone(), results.sequence);
        if !self.store.results.insert(key) {
            return vec![ack];
        }
        vec![Outcome::Stored(device, Box::new(results)), ack]
    }

    /// What would be acknowledged if nobody cared whether it is stored: a bug that is let
    /// out on purpose.
    pub fn ack_blindly(&self, keys: &Keys, device: usize, bytes: &[u8]) -> Option<Outcome> {
        if !canary::is_out(Canary::AckBeforeStored) {
            return None;
        }
        let results = strict::parse::<Results>(bytes, limits::RESULTS_BYTES_MAX).ok()?;
        Some(self.ack(keys, device, &results))
    }

    fn ack(&self, keys: &Keys, device: usize, results: &Results) -> Outcome {
        let director = keys.director.public();
        let key = (device, results.boot.clone(), results.sequence);
        let mut sealed = self.sealed.borrow_mut();
        if let Some(known) = sealed.get(&key).filter(|known| known.by == *director) {
            return Outcome::Ack(device, known.bytes.clone());
        }
        let ack = Ack {
            schema: AckSchema::V1,
            fleet: self.fleet.clone(),
            device: results.device.clone(),
            boot: results.boot.clone(),
            sequences: vec![results.sequence],
        };
        let bytes = wire(&seal(&[&keys.director], &ack).1);
        sealed.insert(key, Sealed { by: director.clone(), bytes: bytes.clone() });
        Outcome::Ack(device, bytes)
    }

    /// Takes what a device reports.
    pub fn take_report(&mut self, device: usize, bytes: &[u8]) -> Vec<Outcome> {
        let parsed = strict::parse::<Reported>(bytes, limits::REPORTED_BYTES_MAX);
        let Ok(report) = parsed else { return vec![] };
        if Cloud::name(device).as_ref() != Some(&report.device) {
            return vec![];
        }
        let latest = self.store.signed.get(&device);
        let floor = self.store.floors.get(&device).map_or(0, |floor| floor.get());
        let signed = latest.map_or(0, |latest| latest.version.get()).max(floor);
        let accepted = report.accepted.filter(|accepted| accepted.epoch == self.root.epoch);
        if let Some(accepted) = accepted {
            let number = accepted.version.get();
            let known = latest.and_then(|latest| latest.known.get(&number));
            let is_other = known.is_some_and(|known| *known != accepted.digest) && number > floor;
            if number > signed || is_other {
                self.store.conflicts.insert(device, accepted.version);
            }
        }
        let is_behind = report.seen < latest.map(|latest| latest.version);
        let is_free = !self.store.conflicts.contains_key(&device);
        if is_free && is_behind { vec![Outcome::Behind(device)] } else { vec![] }
    }

    /// Puts a copy of the store aside.
    pub fn back_up(&mut self) {
        self.backup = Some(self.store.clone());
    }

    /// Puts that copy back; false if there is none.
    pub fn restore(&mut self) -> bool {
        let Some(backup) = self.backup.clone() else { return false };
        self.store = backup;
        true
    }
}
