//! Broker and network between cloud and devices: it retains, delays, loses, repeats and
//! forgets, and it shows an adversary all that went over it. What a message means is not
//! known here.

use gnomon_schemas::ids::Digest;
use gnomon_schemas::reported::Reported;
use std::collections::{BTreeMap, BTreeSet};

use super::options::Fault;
use super::world::{Happening, World};

/// Messages that an adversary remembers.
const OVERHEARD_MAX: usize = 200;

/// What a device hears.
#[derive(Debug, Clone)]
pub enum ToDevice {
    /// On its desired topic.
    Document(Vec<u8>),
    /// On the topic of this trust root.
    Root(u64, Vec<u8>),
    /// On a module's topic.
    Module(Digest, Vec<u8>),
    /// On its ack topic.
    Ack(Vec<u8>),
}

/// The broker's memory, and each device's line.
pub struct Network {
    /// Trust roots that are retained.
    pub roots: BTreeMap<u64, Vec<u8>>,
    /// Desired documents that are retained.
    pub desired: BTreeMap<usize, Vec<u8>>,
    /// Modules that are retained.
    pub modules: BTreeMap<Digest, Vec<u8>>,
    /// Each device's line.
    pub lines: Vec<Line>,
    /// What went to devices.
    pub overheard: Vec<(usize, ToDevice)>,
}

/// A device's line.
#[derive(Debug, Default)]
pub struct Line {
    /// Counts connections.
    pub link: u64,
    /// Whether there is one.
    pub is_up: bool,
    /// It cannot be reached until then.
    pub cut_until_ms: u64,
    /// It gets no documents until then.
    pub withheld_until_ms: u64,
    /// The modules whose topics it has subscribed.
    pub wanted: BTreeSet<Digest>,
    /// The trust root whose topic it has subscribed.
    pub root: Option<u64>,
}

impl Network {
    /// An empty one.
    pub fn new(devices: usize) -> Network {
        Network {
            roots: BTreeMap::new(),
            desired: BTreeMap::new(),
            modules: BTreeMap::new(),
            lines: (0..devices).map(|_| Line::default()).collect(),
            overheard: vec![],
        }
    }
}

impl World<'_> {
    /// The cloud publishes all that it has, as it does whenever it connects.
    pub(super) fn publish_all(&mut self) {
        let listed: Vec<(Digest, Vec<u8>)> = self
            .library
            .modules
            .iter()
            .map(|module| (Digest::of(&module.bytes), module.bytes.clone()))
            .collect();
        for (digest, bytes) in listed {
            self.publish_module(&digest, &bytes);
        }
        let roots: Vec<u64> = self.network.roots.keys().copied().collect();
        roots.into_iter().for_each(|version| self.publish_root(version));
        (0..self.devices.len()).for_each(|device| self.publish_desired(device));
    }

    pub(super) fn publish_desired(&mut self, device: usize) {
        let known = self.cloud.store.signed.get(&device);
        if self.cloud.store.conflicts.contains_key(&device) {
            return;
        }
        let Some(envelope) = known.map(|signed| signed.envelope.clone()) else { return };
        self.network.desired.insert(device, envelope.clone());
        self.post(device, ToDevice::Document(envelope));
    }

    pub(super) fn publish_root(&mut self, version: u64) {
        let Some(envelope) = self.network.roots.get(&version).cloned() else { return };
        for device in 0..self.devices.len() {
            if self.network.lines[device].root == Some(version) {
                self.post(device, ToDevice::Root(version, envelope.clone()));
            }
        }
    }

    /// Retains bytes on a module's topic, whatever they are.
    pub(super) fn publish_module(&mut self, digest: &Digest, bytes: &[u8]) {
        self.network.modules.insert(digest.clone(), bytes.to_vec());
        for device in 0..self.devices.len() {
            if self.network.lines[device].wanted.contains(digest) {
                self.post(device, ToDevice::Module(digest.clone(), bytes.to_vec()));
            }
        }
    }

    /// Hands a message to a device's line.
    pub(super) fn post(&mut self, device: usize, message: ToDevice) {
        if self.network.overheard.len() < OVERHEARD_MAX {
            self.network.overheard.push((device, message.clone()));
        } else {
            let place = self.random.usize(0..OVERHEARD_MAX);
            self.network.overheard[place] = (device, message.clone());
        }
        let line = &self.network.lines[device];
        let is_document = matches!(message, ToDevice::Document(_));
        if !line.is_up || (is_document && line.withheld_until_ms > self.now_ms) {
            return;
        }
        let link = line.link;
        let Some(ms) = self.passage(device) else { return };
        if self.comes_twice() {
            let again = ms + self.random.u64(0..60_000);
            self.after(again, Happening::Arrives(device, link, message.clone()));
        }
        self.after(ms, Happening::Arrives(device, link, message));
    }

    /// How long a message takes; none if it is lost, and the connection with it.
    fn passage(&mut self, device: usize) -> Option<u64> {
        if self.may(Fault::Drop) && self.random.u64(0..1000) < self.options.lossy_per_mille {
            self.faults.insert(Fault::Drop);
            // A client that misses an acknowledgement connects anew.
            self.line_breaks(device);
            return None;
        }
        let usual = self.random.u64(1..=self.options.delay_ms_max);
        if self.may(Fault::Delay) && self.random.u64(0..20) == 0 {
            self.faults.insert(Fault::Delay);
            return Some(usual + self.random.u64(0..60_000));
        }
        Some(usual)
    }

    fn comes_twice(&mut self) -> bool {
        let twice =
            self.may(Fault::Duplicate) && self.random.u64(0..1000) < self.options.lossy_per_mille;
        if twice {
            self.faults.insert(Fault::Duplicate);
        }
        twice
    }

    /// A device sends a report, or a batch of results.
    pub(super) fn send_report(&mut self, device: usize, report: &Reported) {
        let bytes = serde_json::to_vec(report).unwrap_or_default();
        if let Some(ms) = self.passage(device) {
            self.after(ms, Happening::ReportArrives(device, bytes));
        }
    }

    /// See [`World::send_report`].
    pub(super) fn send_results(&mut self, device: usize, bytes: Vec<u8>) {
        let Some(ms) = self.passage(device) else { return };
        if self.comes_twice() {
            let again = ms + self.random.u64(0..60_000);
            self.after(again, Happening::ResultsArrive(device, bytes.clone()));
        }
        self.after(ms, Happening::ResultsArrive(device, bytes));
    }

    /// The connection is gone; the device tries again.
    pub(super) fn line_breaks(&mut self, device: usize) {
        if std::mem::take(&mut self.network.lines[device].is_up) {
            self.disconnected(device);
            self.sometime(5_000, Happening::Connects(device));
        }
    }

    pub(super) fn connects(&mut self, device: usize) {
        let line = &self.network.lines[device];
        if line.is_up || !self.devices[device].is_planning() {
            return;
        }
        if line.cut_until_ms > self.now_ms {
            let ms = line.cut_until_ms - self.now_ms + self.random.u64(1..5_000);
            self.after(ms, Happening::Connects(device));
            return;
        }
        let line = &mut self.network.lines[device];
        line.is_up = true;
        line.link += 1;
        line.root = None;
        let wanted: Vec<Digest> = line.wanted.iter().cloned().collect();
        self.connected(device);
        self.repeat_desired(device);
        wanted.iter().for_each(|module| self.repeat_module(device, module));
    }

    /// The broker repeats what it retains for a subscription.
    pub(super) fn repeat_desired(&mut self, device: usize) {
        if let Some(envelope) = self.network.desired.get(&device).cloned() {
            self.post(device, ToDevice::Document(envelope));
        }
    }

    /// See [`World::repeat_desired`].
    pub(super) fn repeat_module(&mut self, device: usize, module: &Digest) {
        if let Some(bytes) = self.network.modules.get(module).cloned() {
            self.post(device, ToDevice::Module(module.clone(), bytes));
        }
    }

    /// See [`World::repeat_desired`].
    pub(super) fn repeat_root(&mut self, device: usize, version: u64) {
        self.network.lines[device].root = Some(version);
        if let Some(envelope) = self.network.roots.get(&version).cloned() {
            self.post(device, ToDevice::Root(version, envelope));
        }
    }
}
