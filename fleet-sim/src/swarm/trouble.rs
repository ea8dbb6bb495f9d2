//! What goes wrong: parts that fail, and an adversary on the wire who replays, forges,
//! garbles, misdirects and withholds, now and then with the director's stolen key.

use gnomon_schemas::document::Document;
use gnomon_schemas::ids::Digest;

use super::device::Cut;
use super::disk::Mood;
use super::facts::Fact;
use super::keys::{read, seal, wire};
use super::network::ToDevice;
use super::options::Fault;
use super::world::{Happening, World};

impl World<'_> {
    pub(super) fn trouble(&mut self) {
        if self.is_calm {
            return;
        }
        self.sometime(self.options.fault_every_ms, Happening::Trouble);
        let device = self.random.usize(0..self.devices.len());
        if self.random.u64(0..4) == 0 {
            self.devices[device].disk.back_up();
        }
        if self.random.u64(0..6) == 0 {
            self.cloud.back_up();
        }
        let kinds: Vec<Fault> = self.options.faults.iter().copied().collect();
        if kinds.is_empty() {
            return;
        }
        let fault = kinds[self.random.usize(0..kinds.len())];
        if self.let_loose(device, fault) {
            self.note("world", &format!("{} at device {device}", fault.name()));
            self.faults.insert(fault);
        }
    }

    /// Whether it could happen.
    fn let_loose(&mut self, device: usize, fault: Fault) -> bool {
        let ms = self.random.u64(1_000..1_200_000);
        match fault {
            // These come by the message, and this one with a start.
            Fault::Drop | Fault::Delay | Fault::Duplicate => return false,
            Fault::Partition => {
                self.network.lines[device].cut_until_ms = self.now_ms + ms * 4;
                self.line_breaks(device);
            }
            Fault::BrokerForgets => self.broker_forgets(),
            Fault::PowerCut | Fault::PlannerCrash | Fault::PlannerUpgrade => {
                let cut = if fault == Fault::PowerCut { Cut::Power } else { Cut::Planner };
                if fault == Fault::PlannerUpgrade {
                    self.change_release(device);
                }
                let effects = self.random.u32(1..40);
                self.devices[device].cut.get_or_insert((effects, cut));
            }
            Fault::KeeperBusy => self.for_a_while(device, fault, ms),
            Fault::RunnerDies | Fault::SensorFails => self.for_a_while(device, fault, ms),
            Fault::DiskRefuses => {
                self.devices[device].disk.mood = Mood::Refuses;
                self.after(ms, Happening::DiskWorks(device));
            }
            Fault::DiskLost | Fault::DiskSetBack | Fault::DiskSpoilt => {
                return self.harm_disk(device, fault);
            }
            Fault::ClockJump => {
                let held = &mut self.devices[device];
                held.jump_ms += ms * 10;
                held.label_ms = self.random.i64(-100_000_000_000..100_000_000_000);
            }
            Fault::CloudCrash | Fault::CloudSetBack => {
                if fault == Fault::CloudSetBack {
                    if !self.cloud.restore() {
                        return false;
                    }
                    let left = self.cloud.store.results.clone();
                    self.tell(&Fact::CloudRestored { left });
                }
                self.cloud_life = None;
                self.after(ms / 10, Happening::CloudStarts);
            }
            Fault::Withhold => {
                self.network.lines[device].withheld_until_ms = self.now_ms + ms * 4;
            }
            Fault::Replay => return self.replay(device),
            Fault::Garble => return self.garble(device),
            Fault::Misdirect => return self.misdirect(device),
            Fault::Forge => return self.forge(device),
            Fault::WrongModule => return self.exchange_module(),
            Fault::ForgedAck => return self.forge_ack(device),
            Fault::StolenDirector => return self.steal(device),
        }
        true
    }

    fn for_a_while(&mut self, device: usize, fault: Fault, ms: u64) {
        let is_missing = self.random.bool();
        let held = &mut self.devices[device];
        match fault {
            Fault::KeeperBusy => held.keeper_is_busy = true,
            Fault::RunnerDies => held.runner_dies = true,
            _ => held.sensor_fails = Some(is_missing),
        }
        self.after(ms, Happening::Relief(device, fault));
    }

    pub(super) fn relieve(&mut self, device: usize, fault: Fault) {
        let held = &mut self.devices[device];
        match fault {
            Fault::KeeperBusy => held.keeper_is_busy = false,
            Fault::RunnerDies => held.runner_dies = false,
            _ => held.sensor_fails = None,
        }
    }

    /// Every connection breaks, and nothing is retained until the cloud is back.
    fn broker_forgets(&mut self) {
        self.network.desired.clear();
        self.network.modules.clear();
        for device in 0..self.devices.len() {
            self.line_breaks(device);
        }
        let ms = self.random.u64(1..30_000);
        // The cloud connects anew, and publishes all that it has.
        self.cloud_life = None;
        self.after(ms, Happening::CloudStarts);
    }

    /// With the device off, so that nobody has it in memory.
    fn harm_disk(&mut self, device: usize, fault: Fault) -> bool {
        if !self.devices[device].is_planning() {
            return false;
        }
        self.ends(device, Cut::Power);
        let disk = &mut self.devices[device].disk;
        match fault {
            Fault::DiskLost => disk.lose(),
            Fault::DiskSetBack if !disk.restore() => return false,
            Fault::DiskSetBack => {}
            _ => return disk.spoil_module(),
        }
        let left = disk.row_keys();
        self.tell(&Fact::OutboxLost { device, left });
        true
    }

    fn overheard(&mut self) -> Option<(usize, ToDevice)> {
        let all = &self.network.overheard;
        (!all.is_empty()).then(|| all[self.random.usize(0..all.len())].clone())
    }

    fn replay(&mut self, device: usize) -> bool {
        let Some((_, message)) = self.overheard() else { return false };
        if let ToDevice::Document(bytes) = &message
            && self.random.bool()
        {
            self.network.desired.insert(device, bytes.clone());
        }
        self.put(device, message);
        true
    }

    /// The newest root on the topic where a device waits for one before it.
    pub(super) fn mix_up_roots(&mut self, version: u64) {
        if !self.may(Fault::Replay) || !self.now_ms.is_multiple_of(4) {
            return;
        }
        let Some(envelope) = self.network.roots.get(&version).cloned() else { return };
        for device in 0..self.devices.len() {
            let waits_for = self.network.lines[device].root.filter(|asked| *asked < version);
            if let Some(asked) = waits_for {
                self.faults.insert(Fault::Replay);
                self.post(device, ToDevice::Root(asked, envelope.clone()));
            }
        }
    }

    /// Puts a message where the device listens: who owns the broker chooses the topic.
    fn put(&mut self, device: usize, message: ToDevice) {
        let line = &self.network.lines[device];
        let message = match message {
            ToDevice::Root(version, bytes) => ToDevice::Root(line.root.unwrap_or(version), bytes),
            ToDevice::Module(digest, bytes) => {
                ToDevice::Module(line.wanted.first().cloned().unwrap_or(digest), bytes)
            }
            other => other,
        };
        self.post(device, message);
    }

    fn misdirect(&mut self, device: usize) -> bool {
        let Some((of, message)) = self.overheard() else { return false };
        if of == device {
            return false;
        }
        self.put(device, message);
        true
    }

    fn garble(&mut self, device: usize) -> bool {
        let Some((_, mut message)) = self.overheard() else { return false };
        let (ToDevice::Document(bytes)
        | ToDevice::Root(_, bytes)
        | ToDevice::Module(_, bytes)
        | ToDevice::Ack(bytes)) = &mut message;
        match self.random.u64(0..5) {
            0 => bytes.truncate(self.random.usize(0..=bytes.len())),
            1 if self.now_ms.is_multiple_of(2) => *bytes = b"{\"payloadType\":1e999}".to_vec(),
            1 => *bytes = b"{\"payloadType\":\"x\",\"payloadType\":\"y\"}".to_vec(),
            2 => *bytes = [b"[".repeat(100), b"]".repeat(100)].concat(),
            3 => *bytes = vec![b' '; 300 * 1024],
            _ if bytes.is_empty() => return false,
            _ => {
                let place = self.random.usize(0..bytes.len());
                bytes[place] ^= 1 << self.random.u8(0..7);
            }
        }
        self.put(device, message);
        true
    }

    /// The newest document of a device, as a forger would read it.
    pub(super) fn newest(&self, device: usize) -> Option<Document> {
        let signed = self.cloud.store.signed.get(&device)?;
        read(&signed.envelope).map(|(document, _)| document)
    }

    fn forge(&mut self, device: usize) -> bool {
        let Some(mut document) = self.newest(device) else { return false };
        let Some(version) = document.version.next() else { return false };
        document.version = version;
        let (_, envelope) = seal(&[&self.keys.stranger], &document);
        self.post(device, ToDevice::Document(wire(&envelope)));
        true
    }

    fn forge_ack(&mut self, device: usize) -> bool {
        let rows = self.devices[device].disk.rows();
        let Some(row) = rows.values().next() else { return false };
        let ack = gnomon_schemas::ack::Ack {
            schema: gnomon_schemas::ack::AckSchema::V1,
            fleet: row.fleet.clone(),
            device: row.device.clone(),
            boot: row.boot.clone(),
            sequences: rows.values().map(|row| row.sequence).take(100).collect(),
        };
        let (_, envelope) = seal(&[&self.keys.stranger], &ack);
        self.post(device, ToDevice::Ack(wire(&envelope)));
        true
    }

    /// Other bytes on a module's topic.
    fn exchange_module(&mut self) -> bool {
        let modules = &self.library.modules;
        let index = self.random.usize(0..self.library.common);
        let digest = Digest::of(&modules[index].bytes);
        let other = if self.random.bool() {
            self.library.foreign.clone()
        } else {
            modules[self.random.usize(0..self.library.common)].bytes.clone()
        };
        self.publish_module(&digest, &other);
        true
    }
}
