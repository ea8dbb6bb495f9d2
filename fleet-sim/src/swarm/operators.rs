//! People: they edit layers, good and careless edits, approve what waits or let it wait,
//! rotate keys, recall modules, and in the end put everything in order.

use gnomon_cloud_core::roots::{Edit, RoleName};
use gnomon_schemas::ids::Digest;
use serde_json::{Value, json};

use super::disk::Mood;
use super::facts::Fact;
use super::keys::Key;
use super::options::Fault;
use super::world::{Happening, SETTLE_MS, START_MS, TICK_MS, World};

/// How often somebody looks after what is left, once faults have stopped.
const TIDY_MS: u64 = 20_000;

impl World<'_> {
    pub(super) fn operate(&mut self) {
        if self.is_calm {
            return;
        }
        self.sometime(self.options.operator_every_ms, Happening::Operator);
        if self.cloud_life.is_none() {
            return;
        }
        match self.random.u64(0..20) {
            0 => self.replace_director(false),
            1 => self.recall(),
            2..=3 => self.resolve(),
            4..=7 => self.approve_some(),
            _ => {
                self.edit_something();
                if self.random.u64(0..4) > 0 {
                    self.approve_some();
                }
            }
        }
    }

    fn edit(&mut self, layer: Option<usize>, patch: &Value) {
        let at = layer.map_or("fleet".into(), |device| format!("device {device}"));
        self.note("operator", &format!("edits the layer of {at}: {patch}"));
        let now_ms = START_MS + self.now_ms;
        match self.cloud.edit(self.library, &self.keys, (layer, patch), now_ms) {
            Ok(outcomes) => self.carry_out(outcomes),
            Err(refusal) => self.refused("cloud", &refusal),
        }
    }

    /// A slot with one of the modules, a good one more often than not.
    fn slot(&mut self) -> Value {
        let modules = &self.library.modules;
        let good = [
            "water-heater-tou",
            "water-heater-price",
            "smoothed-setpoint",
            "smoothed-setpoint-2",
            "is-mild",
        ];
        let index = if self.random.u64(0..3) > 0 {
            let name = good[self.random.usize(0..good.len())];
            modules.iter().position(|module| module.name == name).unwrap_or(0)
        } else {
            self.random.usize(0..self.library.common)
        };
        let (odd, unfit) = (&modules[self.library.common..], &self.library.unfit);
        // Which of them is not worth a draw of its own.
        let any = usize::try_from(self.now_ms).unwrap_or(0);
        let module = match self.random.u64(0..20) {
            0 => {
                let module = Digest::of(&modules[index].bytes);
                return json!({"module": module, "params": {"no_such_param": 1.0}});
            }
            1 | 2 => &odd[any % odd.len()],
            3 => &unfit[any % unfit.len()],
            _ => &modules[index],
        };
        json!({"module": Digest::of(&module.bytes), "params": module.params})
    }

    fn edit_something(&mut self) {
        let device = self.random.usize(0..self.devices.len());
        let layer = self.random.bool().then_some(device);
        let setpoint = |plan: Value| json!({"functions": {"setpoint": plan}});
        let patch = match self.random.u64(0..16) {
            0..=4 => {
                let mut plan = json!({"active": self.slot()});
                if self.random.bool() {
                    plan["probation"] = json!({"ticks": self.random.u64(0..30)});
                }
                setpoint(plan)
            }
            5..=7 => setpoint(json!({"candidates": [self.slot()]})),
            8 => setpoint(json!({"candidates": [self.slot(), self.slot()]})),
            9 => setpoint(json!({"active": null, "candidates": null})),
            10 => {
                let max = self.random.u64(40..75);
                setpoint(json!({"bounds": {"setpoint_c": {"max": max}}}))
            }
            11 => {
                let fuel = self.random.u64(5..300_000);
                setpoint(json!({"budget": {"fuel": fuel, "memory_bytes": 1_048_576}}))
            }
            12 => {
                let every = self.random.u64(0..4);
                json!({"reporting": {"summary_ticks": self.random.u64(0..40),
                    "record_every": every}})
            }
            13 => {
                let on_expiry = if self.random.bool() { "hold" } else { "default" };
                json!({"on_expiry": on_expiry, "expires_in_s": self.random.u64(3_500..5_500)})
            }
            14 => {
                let wanted = self.random.u64(30..70);
                setpoint(json!({"golden": [{"inputs": {"hour": 1.0, "tank_temp_c": 50.0},
                    "outputs": {"setpoint_c": wanted}, "tolerance": 5.0}]}))
            }
            _ => json!({"config": {"vacation": self.random.bool(),
                "comfort_min_c": self.random.u64(28..62)}}),
        };
        self.edit(layer, &patch);
    }

    fn approve_some(&mut self) {
        let device = self.random.usize(0..self.devices.len());
        let for_all = self.random.bool();
        self.approve(device, for_all);
        self.recompute();
    }

    fn approve(&mut self, device: usize, for_all: bool) {
        let now_ms = START_MS + self.now_ms;
        if let Some(approval) = self.cloud.approve(&self.keys, device, for_all, now_ms) {
            self.note("approver", &format!("approves what device {device} waits for"));
            self.tell(&Fact::Approved(&approval));
        }
    }

    fn resolve(&mut self) {
        let ahead: Vec<usize> = self.cloud.store.conflicts.keys().copied().collect();
        for device in ahead {
            self.note("operator", &format!("resolves the conflict of device {device}"));
            self.cloud.resolve(device);
        }
        self.recompute();
    }

    /// Another director. With `was_stolen`, a thief has the old key: the epoch rises.
    fn replace_director(&mut self, was_stolen: bool) {
        let next = Key::new(&mut self.random);
        let old = std::mem::replace(&mut self.keys.director, next);
        let id = old.public().id().to_string();
        let added = Edit::AddKey(RoleName::Director, self.keys.director.public().clone());
        self.old_directors.push(old);
        let removed = if was_stolen {
            Edit::RevokeDirector(id)
        } else {
            Edit::RemoveKey(RoleName::Director, id)
        };
        // One root brings the new key, the next takes the old one.
        let _ = self.follow_root(added) && self.follow_root(removed);
        self.recompute();
    }

    /// A careless module is recalled, or all its releases so far.
    fn recall(&mut self) {
        let index = self.random.usize(0..self.library.common);
        let module = &self.library.modules[index];
        if module.name.starts_with("water-heater") || module.name == "is-mild" {
            return;
        }
        let release = gnomon_host::manifest(&module.bytes);
        let edit = match release.filter(|_| self.now_ms.is_multiple_of(2)) {
            Some(release) => Edit::DenyReleases(release.name, release.release_counter),
            None => Edit::DenyModule(Digest::of(&module.bytes)),
        };
        self.follow_root(edit);
        self.recompute();
    }

    /// Faults stop. Whoever looks after the fleet puts it in order, and it must follow.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
        self.note("world", "calm");
        let stolen = self.faults.contains(&Fault::StolenDirector);
        self.cloud_life = None;
        self.cloud_starts();
        if stolen {
            self.replace_director(true);
        }
        for device in 0..self.devices.len() {
            let line = &mut self.network.lines[device];
            (line.cut_until_ms, line.withheld_until_ms) = (0, 0);
            self.sometime(5_000, Happening::Connects(device));
            let held = &mut self.devices[device];
            held.disk.mood = Mood::Well;
            (held.cut, held.keeper_is_busy) = (None, false);
            (held.runner_dies, held.sensor_fails) = (false, None);
            self.last_fault(device);
        }
        let good = ["water-heater-tou", "water-heater-price", "is-mild"];
        let name = good[self.random.usize(0..good.len())];
        let module = self.library.modules.iter().find(|module| module.name == name);
        let slot = module.map(|m| json!({"module": Digest::of(&m.bytes), "params": m.params}));
        let wanted = json!({"functions": {"setpoint": {"active": slot}}});
        let now_ms = START_MS + self.now_ms;
        match self.cloud.replace_layers(self.library, &self.keys, &wanted, now_ms) {
            Ok(outcomes) => self.carry_out(outcomes),
            Err(refusal) => self.refused("cloud", &refusal),
        }
        self.tidy();
        self.after(SETTLE_MS, Happening::End);
    }

    /// The last of all faults is over a little after the last edit: what failed meanwhile
    /// must be tried again by itself.
    fn last_fault(&mut self, device: usize) {
        let (is_busy, ms) = (self.random.bool(), self.random.u64(10_000..120_000));
        if is_busy && self.options.faults.contains(&Fault::KeeperBusy) {
            self.devices[device].keeper_is_busy = true;
            self.after(ms, Happening::Relief(device, Fault::KeeperBusy));
        } else if self.options.faults.contains(&Fault::DiskRefuses) {
            self.devices[device].disk.mood = Mood::Refuses;
            self.after(ms, Happening::DiskWorks(device));
        }
    }

    pub(super) fn tidy(&mut self) {
        self.resolve();
        for device in 0..self.devices.len() {
            self.approve(device, true);
        }
        self.recompute();
        self.after(TIDY_MS, Happening::Tidy);
    }

    /// The last counts are told; a little later everything must have come to rest.
    pub(super) fn end(&mut self) {
        if self.is_resting() {
            self.is_over = true;
            let standings = self.standings();
            for (device, standing) in standings.iter().enumerate() {
                self.note(&format!("device {device}"), &format!("{standing:?}"));
            }
            self.tell(&Fact::Settled { devices: &standings });
            return;
        }
        (0..self.devices.len()).for_each(|device| self.flush(device));
        self.rest();
        self.after(TICK_MS, Happening::End);
    }
}
