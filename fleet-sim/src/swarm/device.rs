//! A device: the production planner with a shell in virtual time, a keeper and a disk.
//! Power can go, and the planner can end, between any two effects.

use gnomon_agent_core::agent::{Append, Failure, Setup, Trial};
use gnomon_agent_core::message::{FromKeeper, ToKeeper};
use gnomon_agent_core::{Agent, Effect, Event, Identity};
use gnomon_schemas::document::Document;
use gnomon_schemas::ids::BootId;
use gnomon_schemas::module::KeySignatures;
use gnomon_schemas::reported::Reported;
use std::collections::{BTreeSet, VecDeque};

use super::disk::{Disk, Left};
use super::facts::Fact;
use super::keeper::Keeper;
use super::keys::read;
use super::least::Least;
use super::network::ToDevice;
use super::options::{Fault, Options};
use super::world::{Happening, START_MS, World};

/// Batches on their way at a time, and how long until they are sent once more.
const WINDOW: usize = 64;
const PATIENCE_MS: u64 = 10_000;
/// When this release of the agent was made, before the simulation began.
const RELEASED_BEFORE_MS: u64 = 30 * 24 * 3600 * 1000;

/// What the shell owes to the disk, in order.
#[derive(Debug, Clone)]
enum Owed {
    Trial(Option<Trial>),
    Failure(Failure),
    Rollback(Failure),
}

/// How a device ends in the middle of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Power goes.
    Power,
    /// The planner ends.
    Planner,
}

/// One device.
pub struct Device {
    pub(super) agent: Option<Agent>,
    pub(super) keeper: Option<Keeper>,
    pub(super) disk: Disk,
    /// Counts the planner's starts: what was meant for one is not for the next.
    pub(super) life: u64,
    pub(super) started_at_ms: u64,
    pub(super) drift_ppm: i64,
    /// How far its clock, and its label of the time, have jumped.
    pub(super) jump_ms: u64,
    pub(super) label_ms: i64,
    pub(super) release: u64,
    /// The lowest time that it can be for it.
    pub(super) least: Least,
    /// So many messages are to be taken until its keeper has heard of the root in force.
    pub(super) root_unheard: Option<usize>,
    pub(super) to_keeper: VecDeque<ToKeeper>,
    pub(super) to_planner: VecDeque<FromKeeper>,
    pub(super) keeper_free_ms: u64,
    pub(super) planner_free_ms: u64,
    owed: VecDeque<Owed>,
    unsaid: VecDeque<Append>,
    sent: BTreeSet<u64>,
    round_ms: u64,
    unsent: Option<Reported>,
    /// What it reported last.
    pub(super) reported: Option<Reported>,
    /// It ends so after so many effects.
    pub(super) cut: Option<(u32, Cut)>,
    pub(super) keeper_is_busy: bool,
    pub(super) runner_dies: bool,
    pub(super) sensor_fails: Option<bool>,
    /// The keeper's ticks, and the water.
    pub(super) number: u64,
    pub(super) tank_c: f64,
    pub(super) source: String,
}

impl Device {
    /// One that was never switched on.
    pub fn new(random: &mut fastrand::Rng, options: &Options) -> Device {
        let drift = options.drift_ppm_max;
        Device {
            agent: None,
            keeper: None,
            disk: Disk::default(),
            life: 0,
            started_at_ms: 0,
            drift_ppm: random.i64(-drift..=drift),
            jump_ms: 0,
            label_ms: 0,
            release: 1,
            least: Least::default(),
            root_unheard: None,
            to_keeper: VecDeque::new(),
            to_planner: VecDeque::new(),
            keeper_free_ms: 0,
            planner_free_ms: 0,
            owed: VecDeque::new(),
            unsaid: VecDeque::new(),
            sent: BTreeSet::new(),
            round_ms: 0,
            unsent: None,
            reported: None,
            cut: None,
            keeper_is_busy: false,
            runner_dies: false,
            sensor_fails: None,
            number: 0,
            tank_c: 52.0,
            source: String::new(),
        }
    }

    /// Whether its planner runs.
    pub fn is_planning(&self) -> bool {
        self.agent.is_some()
    }
}

pub(super) fn who(device: usize) -> String {
    format!("device {device}")
}

impl World<'_> {
    fn boot_id(&mut self) -> BootId {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        BootId::from_random(bytes)
    }

    pub(super) fn power_on(&mut self, device: usize) {
        if self.devices[device].keeper.is_some() {
            return;
        }
        let session = self.boot_id();
        match Keeper::new(self.library, session) {
            Ok(keeper) => self.devices[device].keeper = Some(keeper),
            Err(refusal) => return self.refused("world", &refusal),
        }
        self.note(&who(device), "power on");
        self.tell(&Fact::KeeperStarted { device });
        self.planner_starts(device);
    }

    pub(super) fn planner_starts(&mut self, device: usize) {
        let boot = self.boot_id();
        let (root, now_ms) = (self.first_root.clone(), self.now_ms);
        let profile = (self.library.profile.clone(), self.library.profile_digest.clone());
        let held = &mut self.devices[device];
        let Some(keeper) = held.keeper.as_ref().filter(|_| held.agent.is_none()) else { return };
        let released_at_ms = START_MS - RELEASED_BEFORE_MS + held.release * 1000;
        let (Ok(fleet), Ok(name)) = ("acme".parse(), format!("device-{device}").parse()) else {
            return;
        };
        let setup = Setup {
            identity: Identity {
                fleet,
                device: name,
                profile: profile.0,
                profile_digest: profile.1,
            },
            root,
            judge: Box::new(KeySignatures),
            boot,
            session: keeper.session().clone(),
            agent_version: format!("0.{}.0", held.release),
            time_floor_ms: held.disk.time_floor_ms().max(released_at_ms),
            released_at_ms,
        };
        let lowest_ms = setup.time_floor_ms;
        held.agent = Some(Agent::new(setup));
        held.life += 1;
        held.started_at_ms = now_ms;
        held.jump_ms = 0;
        let line = format!("planner starts, release {}", held.release);
        self.note(&who(device), &line);
        self.tell(&Fact::PlannerStarted { device });
        self.time_begins(device, lowest_ms);
        self.tell_held(device);
        self.tell_root(device);
        let stored = self.devices[device].disk.stored();
        self.hear(device, Event::Started(stored));
        let engine = self.library.engine().clone();
        if let Some(keeper) = &mut self.devices[device].keeper {
            keeper.greet(&engine);
        }
        self.keeper_speaks(device);
        self.sometime(2_000, Happening::Connects(device));
    }

    /// The planner is gone; the keeper goes on, or goes with it.
    pub(super) fn ends(&mut self, device: usize, cut: Cut) {
        let held = &mut self.devices[device];
        if held.agent.take().is_none() {
            return;
        }
        held.cut = None;
        held.life += 1;
        held.to_keeper.clear();
        held.to_planner.clear();
        held.owed.clear();
        held.unsaid.clear();
        held.sent.clear();
        held.unsent = None;
        held.root_unheard = None;
        self.network.lines[device].is_up = false;
        self.network.lines[device].wanted.clear();
        let ms = self.random.u64(50..60_000);
        match cut {
            Cut::Planner => {
                self.note(&who(device), "planner ends");
                self.after(ms, Happening::PlannerStarts(device));
            }
            Cut::Power => {
                self.note(&who(device), "power off");
                self.devices[device].keeper = None;
                self.after(ms, Happening::PowerOn(device));
            }
        }
    }

    pub(super) fn tell_held(&mut self, device: usize) {
        let held = self.devices[device].disk.held();
        self.tell(&Fact::Held { device, held: &held });
    }

    fn tell_root(&mut self, device: usize) {
        let newest = self.devices[device].disk.newest_root();
        let root = newest.unwrap_or_else(|| self.first_root.clone());
        self.tell(&Fact::RootInForce { device, root: &root });
    }

    /// Roots are rare, and what follows from one is said only then: a planner that crashes
    /// may well do so in between.
    fn root_is_badly_timed(&mut self, device: usize) {
        if self.may(Fault::PlannerCrash) && self.now_ms.is_multiple_of(4) {
            let effects = u32::try_from(self.now_ms / 4 % 4 + 1).unwrap_or(1);
            self.devices[device].cut.get_or_insert((effects, Cut::Planner));
        }
    }

    fn tell_came(&mut self, device: usize, envelope: &[u8]) {
        self.tell_time(device);
        if let Some((document, digest)) = read::<Document>(envelope) {
            self.tell(&Fact::Came { device, document: &document, digest: &digest });
        }
    }

    pub(super) fn connected(&mut self, device: usize) {
        let held = &mut self.devices[device];
        held.sent.clear();
        held.round_ms = self.now_ms;
        self.hear(device, Event::Connected);
    }

    pub(super) fn disconnected(&mut self, device: usize) {
        self.hear(device, Event::Disconnected);
    }

    pub(super) fn clock(&mut self, device: usize) {
        self.settle_debts(device);
        self.say(device);
        self.hear(device, Event::Clock);
        let held = &mut self.devices[device];
        if let Some(keeper) = held.keeper.as_mut().filter(|k| k.owes() && held.agent.is_some()) {
            keeper.remind();
            self.keeper_speaks(device);
        }
        self.tell_time(device);
    }

    pub(super) fn arrives(&mut self, device: usize, link: u64, message: ToDevice) {
        let line = &self.network.lines[device];
        if !line.is_up || line.link != link {
            return;
        }
        if let ToDevice::Document(bytes) = &message {
            self.tell_came(device, bytes);
        }
        let line = &self.network.lines[device];
        let event = match message {
            ToDevice::Document(bytes) => Event::Document(bytes),
            ToDevice::Root(version, bytes) if line.root == Some(version) => Event::TrustRoot(bytes),
            ToDevice::Module(digest, bytes) if line.wanted.contains(&digest) => {
                Event::Module(digest, bytes)
            }
            ToDevice::Ack(bytes) => Event::Ack(bytes),
            ToDevice::Root(..) | ToDevice::Module(..) => return,
        };
        self.hear(device, event);
    }

    /// One event, and all that follows at once, unless the device ends in between.
    pub(super) fn hear(&mut self, device: usize, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.monotonic(device);
            let brings_root = matches!(event, Event::Started(_) | Event::RootPersisted(_, Ok(())));
            let Some(agent) = &mut self.devices[device].agent else { return };
            for effect in agent.apply(now, event) {
                if let Some(cut) = self.is_cut(device) {
                    self.half_done(device, &effect, cut);
                    self.ends(device, cut);
                    return;
                }
                events.extend(self.perform(device, effect));
            }
            if brings_root {
                self.devices[device].root_unheard = Some(self.devices[device].to_keeper.len());
                self.root_heard(device);
            }
        }
    }

    fn is_cut(&mut self, device: usize) -> Option<Cut> {
        let (left, cut) = self.devices[device].cut.as_mut()?;
        *left = left.saturating_sub(1);
        (*left == 0).then_some(*cut)
    }

    /// What was being written when the device ended is there or not.
    fn half_done(&mut self, device: usize, effect: &Effect, cut: Cut) {
        let left = match self.random.u64(0..3) {
            0 => Left::Nothing,
            // A process that ends loses nothing that it has written.
            1 if cut == Cut::Power => Left::Store,
            _ => Left::All,
        };
        let disk = &mut self.devices[device].disk;
        // Nobody hears whether it worked.
        let _ = match effect {
            Effect::Persist(change) => disk.persist(change, left),
            Effect::PersistRoot { version, envelope, time_floor_ms } => {
                disk.persist_root(*version, envelope, *time_floor_ms, left)
            }
            _ => Ok(()),
        };
        self.tell_held(device);
    }

    fn perform(&mut self, device: usize, effect: Effect) -> Option<Event> {
        match effect {
            Effect::FetchRoot(version) => self.repeat_root(device, version),
            Effect::FetchDocument => self.repeat_desired(device),
            Effect::FetchModule(digest) => {
                self.network.lines[device].wanted.insert(digest.clone());
                self.repeat_module(device, &digest);
            }
            Effect::ForgetModule(digest) => {
                self.network.lines[device].wanted.remove(&digest);
            }
            Effect::PersistRoot { version, envelope, time_floor_ms } => {
                let disk = &mut self.devices[device].disk;
                let done = disk.persist_root(version, &envelope, time_floor_ms, Left::All);
                self.tell_held(device);
                if done.is_ok() {
                    time_floor_ms.iter().for_each(|at_ms| self.time_begins(device, *at_ms));
                    self.tell_root(device);
                    self.root_is_badly_timed(device);
                }
                return Some(Event::RootPersisted(version, done));
            }
            Effect::Persist(change) => {
                self.settle_debts(device);
                let held = &mut self.devices[device];
                let done = if held.owed.is_empty() {
                    held.disk.persist(&change, Left::All)
                } else {
                    Err("something is owed".into())
                };
                self.tell_held(device);
                return Some(Event::Persisted(change.floor.digest.clone(), done));
            }
            Effect::Keeper(message) => self.tell_keeper(device, *message),
            Effect::KeepTime(at_ms) => {
                // The next one comes soon.
                let _ = self.devices[device].disk.keep_time(at_ms);
            }
            Effect::KeepTrial(trial) => self.owe(device, Owed::Trial(trial)),
            Effect::KeepFailure(failure) => self.owe(device, Owed::Failure(*failure)),
            Effect::PersistRollback(failure) => self.owe(device, Owed::Rollback(*failure)),
            Effect::Report(report) => {
                self.devices[device].unsent = Some(*report);
                self.send(device);
            }
            Effect::Append(append) => self.append(device, *append),
            Effect::Delete(boot, sequences) => {
                // What is not deleted is sent and acknowledged again.
                let gone = self.devices[device].disk.delete(&boot, &sequences);
                for sequence in gone.unwrap_or_default() {
                    self.tell(&Fact::Deleted { device, boot: &boot, sequence });
                }
            }
            Effect::Send => self.send(device),
        }
        None
    }

    fn owe(&mut self, device: usize, debt: Owed) {
        self.devices[device].owed.push_back(debt);
        self.settle_debts(device);
    }

    fn settle_debts(&mut self, device: usize) {
        let held = &mut self.devices[device];
        if held.owed.is_empty() {
            return;
        }
        while let Some(debt) = held.owed.front() {
            let done = match debt {
                Owed::Trial(trial) => held.disk.keep_trial(trial.as_ref()),
                Owed::Failure(failure) => held.disk.keep_failure(failure),
                Owed::Rollback(failure) => held.disk.go_back(failure),
            };
            if done.is_err() {
                break;
            }
            held.owed.pop_front();
        }
        self.tell_held(device);
    }

    fn append(&mut self, device: usize, append: Append) {
        for event in append.batches.iter().flat_map(|batch| &batch.refusals) {
            self.refused(&who(device), &event.refusal);
        }
        if append.done.is_none() {
            self.devices[device].unsaid.push_back(append);
            return self.say(device);
        }
        let Ok((kept, is_whole)) = self.devices[device].disk.append(&append) else { return };
        kept.iter().for_each(|results| self.tell(&Fact::Kept { device, results }));
        if let (true, Some((_, number))) = (is_whole, append.done) {
            self.tell_keeper(device, ToKeeper::Kept { number });
        }
    }

    fn say(&mut self, device: usize) {
        while let Some(append) = self.devices[device].unsaid.front().cloned() {
            let Ok((kept, _)) = self.devices[device].disk.append(&append) else { return };
            kept.iter().for_each(|results| self.tell(&Fact::Kept { device, results }));
            self.devices[device].unsaid.pop_front();
        }
    }

    fn send(&mut self, device: usize) {
        if !self.network.lines[device].is_up {
            return;
        }
        if let Some(report) = self.devices[device].unsent.take() {
            let line = format!("{:?}, applied {:?}", report.state, report.applied);
            self.note(&who(device), &line);
            self.send_report(device, &report);
            self.devices[device].reported = Some(report);
        }
        let held = &mut self.devices[device];
        if self.now_ms.saturating_sub(held.round_ms) >= PATIENCE_MS {
            held.sent.clear();
            held.round_ms = self.now_ms;
        }
        let room = WINDOW.saturating_sub(held.sent.len());
        let next = held.disk.rows().iter().filter(|(row, _)| !held.sent.contains(row)).take(room);
        let next: Vec<(u64, Vec<u8>)> = next
            .map(|(row, results)| (*row, serde_json::to_vec(results).unwrap_or_default()))
            .collect();
        for (row, bytes) in next {
            self.devices[device].sent.insert(row);
            self.send_results(device, bytes);
        }
    }
}
