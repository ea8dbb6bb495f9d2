//! The two ends of a device's keeper: the messages between it and the planner, each
//! late by chance and in order, and the firmware's ticks with what its sensors read.

use gnomon_agent_core::Event;
use gnomon_agent_core::message::ToKeeper;
use gnomon_schemas::value::{Value, Values};

use super::device::who;
use super::disk::Mood;
use super::facts::Fact;
use super::keeper::{Seen, Tick};
use super::options::Fault;
use super::world::{Happening, START_MS, World};

impl World<'_> {
    // Between planner and keeper.

    pub(super) fn tell_keeper(&mut self, device: usize, message: ToKeeper) {
        if let ToKeeper::Activate { document, .. } = &message {
            self.tell(&Fact::Asked { device, document });
        }
        let is_long = matches!(message, ToKeeper::Prepare(_));
        let ms = self.random.u64(if is_long { 20..2_000 } else { 1..20 });
        let held = &mut self.devices[device];
        held.to_keeper.push_back(message);
        held.keeper_free_ms = held.keeper_free_ms.max(self.now_ms) + ms;
        let (wait, life) = (held.keeper_free_ms - self.now_ms, held.life);
        self.after(wait, Happening::KeeperTakes(device, life));
    }

    pub(super) fn keeper_takes(&mut self, device: usize, life: u64) {
        let held = &mut self.devices[device];
        if held.life != life {
            return;
        }
        let (Some(message), Some(keeper)) = (held.to_keeper.pop_front(), &mut held.keeper) else {
            return;
        };
        let at_ms = START_MS + self.now_ms;
        keeper.hear(self.library, message, at_ms, held.keeper_is_busy);
        held.root_unheard = held.root_unheard.map(|left| left.saturating_sub(1));
        self.keeper_speaks(device);
        self.root_heard(device);
    }

    /// Whether the keeper has taken all that its planner said with the root in force.
    pub(super) fn root_heard(&mut self, device: usize) {
        if self.devices[device].root_unheard.take_if(|left| *left == 0).is_some() {
            self.tell(&Fact::RootHeard { device });
        }
    }

    /// What the keeper has done is seen, and what it says goes to the planner.
    pub(super) fn keeper_speaks(&mut self, device: usize) {
        let held = &mut self.devices[device];
        let Some(keeper) = &mut held.keeper else { return };
        let (messages, seen) = keeper.take();
        let is_heard = held.agent.is_some();
        for seen in seen {
            match seen {
                Seen::InForce(digest, document) => {
                    self.note(&who(device), &format!("version {} in force", document.version));
                    self.tell(&Fact::InForce { device, document: &document, digest: &digest });
                }
                Seen::WentBack => {
                    self.note(&who(device), "goes back by itself");
                    let to = self.devices[device].keeper.as_ref();
                    let to = to.and_then(|keeper| keeper.in_force().cloned());
                    self.tell(&Fact::WentBack { device, to: to.as_ref() });
                }
                Seen::Called(record) => {
                    if let Some(reason) = record.fault {
                        *self.reasons.entry(reason).or_default() += 1;
                    }
                    self.tell(&Fact::Called { device, record: &record });
                }
                Seen::Told(done) => self.tell(&Fact::Told { device, done: &done }),
            }
        }
        if !is_heard {
            return;
        }
        for message in messages {
            let ms = self.random.u64(1..20);
            let held = &mut self.devices[device];
            held.to_planner.push_back(message);
            held.planner_free_ms = held.planner_free_ms.max(self.now_ms) + ms;
            let (wait, life) = (held.planner_free_ms - self.now_ms, held.life);
            self.after(wait, Happening::PlannerTakes(device, life));
        }
    }

    pub(super) fn planner_takes(&mut self, device: usize, life: u64) {
        let held = &mut self.devices[device];
        if held.life == life
            && let Some(message) = held.to_planner.pop_front()
        {
            self.hear(device, Event::Keeper(message));
        }
    }

    // The device's end.

    pub(super) fn tick(&mut self, device: usize) {
        let inputs = self.inputs(device);
        let held = &mut self.devices[device];
        if held.keeper.is_none() {
            return;
        }
        held.number += 1;
        self.ticks += 1;
        let number = held.number;
        let at_ms = START_MS.saturating_add(self.now_ms).saturating_add_signed(held.label_ms);
        let runner_dies = held.runner_dies;
        self.tell(&Fact::Due { device, number });
        let tick = Tick { number, at_ms, inputs, runner_dies };
        let answer = self.devices[device].keeper.as_mut().and_then(|keeper| keeper.tick(&tick));
        if let Some((clamped, proposed)) = answer {
            let (inputs, proposed) = (&tick.inputs, proposed.as_ref());
            let fact = Fact::Actuated { device, number, inputs, clamped: &clamped, proposed };
            self.tell(&fact);
            let setpoint_c = clamped.values().get("setpoint_c").and_then(Value::as_f64);
            let held = &mut self.devices[device];
            let target_c = setpoint_c.unwrap_or(held.tank_c);
            held.tank_c += (target_c - held.tank_c) * 0.2;
            let source = format!("{:?} {:?}", clamped.source(), setpoint_c);
            if source != held.source {
                held.source.clone_from(&source);
                self.note(&who(device), &source);
            }
        }
        self.keeper_speaks(device);
    }

    /// What its sensors read.
    fn inputs(&mut self, device: usize) -> Values {
        let hour = (self.now_ms / 1000) as f64 / 3600.0 % 24.0;
        let noise = self.random.f64();
        let surge = if self.random.u64(0..200) == 0 { 40.0 } else { 0.0 };
        let held = &mut self.devices[device];
        held.tank_c = (held.tank_c - noise * 2.0).clamp(8.0, 95.0);
        let tank_c = held.tank_c + surge;
        let price = |ahead: u32| {
            let hour = (hour + f64::from(ahead)) % 24.0;
            Value::Float(0.02 + 0.01 * ((hour - 18.0).abs() / 6.0))
        };
        let mut inputs = Values::from([
            ("hour".to_owned(), Value::Float(hour)),
            ("tank_temp_c".to_owned(), Value::Float(tank_c)),
            ("tank_low_temp_c".to_owned(), Value::Float(tank_c - 10.0)),
            ("price_forecast".to_owned(), Value::List((0..24).map(price).collect())),
        ]);
        match held.sensor_fails {
            Some(true) => drop(inputs.remove("tank_temp_c")),
            Some(false) => drop(inputs.insert("tank_temp_c".into(), Value::Float(1e6))),
            None => {}
        }
        inputs
    }

    pub(super) fn disk_works(&mut self, device: usize) {
        self.devices[device].disk.mood = Mood::Well;
        self.note(&who(device), "the disk works");
    }

    /// Starts of another release take its place.
    pub(super) fn change_release(&mut self, device: usize) {
        let held = &mut self.devices[device];
        held.release = if held.release > 1 && self.random.bool() {
            held.release - 1
        } else {
            held.release + 1
        };
        self.faults.insert(Fault::PlannerUpgrade);
    }

    /// The keeper tells all that it has counted.
    pub(super) fn flush(&mut self, device: usize) {
        if let Some(keeper) = &mut self.devices[device].keeper {
            keeper.flush();
        }
        self.keeper_speaks(device);
    }
}
