//! A simulated fleet: one queue of happenings in virtual time, everything drawn from one
//! seed. It moves things about and tells its checkers what it sees; what is right is the
//! checkers', what is decided is the production cores'.

use gnomon_cloud_core::roots;
use gnomon_schemas::ids::Digest;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::trust::{Proof, Publisher, Role, Roles, TrustRoot};
use std::collections::{BTreeMap, BTreeSet};

use super::checkers::{self, Checker};
use super::cloud::{Cloud, Outcome};
use super::device::Device;
use super::facts::{Fact, Standing};
use super::keys::{Key, Keys, seal, wire};
use super::library::Library;
use super::network::{Network, ToDevice};
use super::options::{Fault, Options};
use super::trace::Trace;

/// When every simulation begins (Unix time, ms).
pub const START_MS: u64 = 1_800_000_000_000;
/// One tick of every device.
pub const TICK_MS: u64 = 60_000;
/// How often a planner hears that time has passed.
const CLOCK_MS: u64 = 5_000;
/// How often the cloud looks for documents past half of their lives.
const RENEW_MS: u64 = 600_000;
/// How long after faults have stopped everything must have settled.
pub const SETTLE_MS: u64 = 15 * 60_000;

/// What stopped a simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Faults had stopped by then.
    pub is_liveness: bool,
    /// The checker.
    pub checker: &'static str,
    /// What must not have happened.
    pub what: String,
    /// When, in virtual time.
    pub at_ms: u64,
}

/// What is going to happen.
#[derive(Debug)]
pub enum Happening {
    /// The firmware of a device asks for values.
    Tick(usize),
    /// A planner hears that time has passed.
    Clock(usize),
    /// A device's next message to its keeper, or from it.
    KeeperTakes(usize, u64),
    /// See [`Happening::KeeperTakes`].
    PlannerTakes(usize, u64),
    /// Something comes out of the network, over this connection.
    Arrives(usize, u64, ToDevice),
    /// A device's report, or a batch of its results, comes to the cloud.
    ReportArrives(usize, Vec<u8>),
    /// See [`Happening::ReportArrives`].
    ResultsArrive(usize, Vec<u8>),
    /// The cloud's transaction is through.
    CloudCommits(u64, usize, Vec<u8>),
    /// A device tries to connect.
    Connects(usize),
    /// A planner starts.
    PlannerStarts(usize),
    /// A device has power again.
    PowerOn(usize),
    /// A disk writes again.
    DiskWorks(usize),
    /// The cloud runs again.
    CloudStarts,
    /// The cloud looks after its documents.
    Renew,
    /// Somebody edits, approves or goes back.
    Operator,
    /// Something goes wrong.
    Trouble,
    /// A sensor works, a keeper has time, a thief lets go.
    Relief(usize, Fault),
    /// Faults stop.
    Calm,
    /// An operator looks after what is left.
    Tidy,
    /// The last word.
    End,
}

/// A simulation.
pub struct World<'a> {
    pub(super) library: &'a Library,
    pub(super) options: Options,
    pub(super) random: fastrand::Rng,
    pub(super) now_ms: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    serial: u64,
    pub(super) trace: Trace,
    checkers: Vec<Box<dyn Checker + 'a>>,
    pub(super) violation: Option<Violation>,
    pub(super) keys: Keys,
    /// Keys that once were the director's.
    pub(super) old_directors: Vec<Key>,
    pub(super) first_root: TrustRoot,
    pub(super) cloud: Cloud,
    /// Counts the cloud's starts; none while it is down.
    pub(super) cloud_life: Option<u64>,
    pub(super) cloud_lives: u64,
    pub(super) network: Network,
    pub(super) devices: Vec<Device>,
    pub(super) is_calm: bool,
    pub(super) is_over: bool,
    /// No device ticks any more.
    is_resting: bool,
    /// Faults that were let loose.
    pub(super) faults: BTreeSet<Fault>,
    /// Reasons that devices and cloud gave.
    pub(super) reasons: BTreeMap<Reason, u64>,
    /// Evaluations and ticks, for the figures.
    pub(super) ticks: u64,
}

impl<'a> World<'a> {
    /// The world of these options.
    ///
    /// # Errors
    /// When the library contradicts itself.
    pub fn new(library: &'a Library, options: Options, trace: Trace) -> anyhow::Result<World<'a>> {
        let mut random = fastrand::Rng::with_seed(options.seed);
        let keys = Keys::new(&mut random);
        let first_root = first_root(&keys)?;
        let count = options.devices;
        let cloud = Cloud::new(library, &keys, first_root.clone(), count, options.inline);
        let devices = (0..count).map(|_| Device::new(&mut random, &options)).collect();
        let mut world = World {
            library,
            checkers: checkers::all(library, count),
            random,
            now_ms: 0,
            queue: BTreeMap::new(),
            serial: 0,
            trace,
            violation: None,
            keys,
            old_directors: vec![],
            first_root,
            cloud,
            cloud_life: Some(0),
            cloud_lives: 0,
            network: Network::new(count),
            devices,
            is_calm: false,
            is_over: false,
            is_resting: false,
            faults: BTreeSet::new(),
            reasons: BTreeMap::new(),
            ticks: 0,
            options,
        };
        world.begin();
        Ok(world)
    }

    fn begin(&mut self) {
        let line = self.options.to_string();
        self.trace.line(0, "world", &line);
        let published: Vec<Digest> =
            self.library.modules.iter().map(|module| Digest::of(&module.bytes)).collect();
        published.iter().for_each(|module| self.tell(&Fact::Published(module)));
        self.publish_all();
        for device in 0..self.devices.len() {
            self.power_on(device);
            let first = self.random.u64(0..TICK_MS);
            self.after(first, Happening::Tick(device));
            self.after(first % CLOCK_MS, Happening::Clock(device));
        }
        self.after(1, Happening::Operator);
        self.after(RENEW_MS, Happening::Renew);
        let first = self.options.fault_every_ms;
        self.after(first, Happening::Trouble);
        self.after(self.options.safety_ms, Happening::Calm);
    }

    /// Lets everything happen, up to the end or the first violation.
    pub fn run(&mut self) -> Option<Violation> {
        while let Some(((at_ms, _), happening)) = self.queue.pop_first() {
            self.now_ms = at_ms;
            self.happen(happening);
            if self.violation.is_some() || self.is_over {
                break;
            }
        }
        self.violation.clone()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick(_) if self.is_resting => {}
            Happening::Tick(device) => {
                self.tick(device);
                self.after(TICK_MS, Happening::Tick(device));
            }
            Happening::Clock(device) => {
                self.clock(device);
                self.after(CLOCK_MS, Happening::Clock(device));
            }
            Happening::KeeperTakes(device, life) => self.keeper_takes(device, life),
            Happening::PlannerTakes(device, life) => self.planner_takes(device, life),
            Happening::Arrives(device, link, message) => self.arrives(device, link, message),
            Happening::ReportArrives(device, bytes) => self.report_arrives(device, &bytes),
            Happening::ResultsArrive(device, bytes) => self.results_arrive(device, bytes),
            Happening::CloudCommits(life, device, bytes) => {
                self.cloud_commits(life, device, &bytes);
            }
            Happening::Connects(device) => self.connects(device),
            Happening::PlannerStarts(device) => self.planner_starts(device),
            Happening::PowerOn(device) => self.power_on(device),
            Happening::DiskWorks(device) => self.disk_works(device),
            Happening::CloudStarts => self.cloud_starts(),
            Happening::Renew => {
                self.recompute();
                self.after(RENEW_MS, Happening::Renew);
            }
            Happening::Operator => self.operate(),
            Happening::Trouble => self.trouble(),
            Happening::Relief(device, fault) => self.relieve(device, fault),
            Happening::Calm => self.calm(),
            Happening::Tidy => self.tidy(),
            Happening::End => self.end(),
        }
    }

    /// Something happens so much later.
    pub(super) fn after(&mut self, ms: u64, happening: Happening) {
        self.serial += 1;
        self.queue.insert((self.now_ms + ms, self.serial), happening);
    }

    /// About so much later, as chance has it.
    pub(super) fn sometime(&mut self, mean_ms: u64, happening: Happening) {
        let ms = self.random.u64(1..=mean_ms.max(1) * 2);
        self.after(ms, happening);
    }

    /// Tells every checker.
    pub(super) fn tell(&mut self, fact: &Fact<'_>) {
        for checker in &mut self.checkers {
            if let Err(what) = checker.hear(fact)
                && self.violation.is_none()
            {
                let (checker, at_ms) = (checker.name(), self.now_ms);
                let is_liveness = self.is_calm && matches!(fact, Fact::Settled { .. });
                self.trace.line(at_ms, checker, &what);
                self.violation = Some(Violation { is_liveness, checker, what, at_ms });
            }
        }
    }

    pub(super) fn note(&mut self, who: &str, what: &str) {
        self.trace.line(self.now_ms, who, what);
    }

    pub(super) fn refused(&mut self, who: &str, refusal: &gnomon_schemas::Refusal) {
        *self.reasons.entry(refusal.reason).or_default() += 1;
        self.tell(&Fact::Refused { reason: refusal.reason });
        self.note(who, &format!("refused: {refusal}"));
    }

    /// No device ticks any more: what is left must come to rest.
    pub(super) fn rest(&mut self) {
        self.is_resting = true;
    }

    /// Whether it was told to.
    pub(super) fn is_resting(&self) -> bool {
        self.is_resting
    }

    /// Whether a fault of this kind may happen now.
    pub(super) fn may(&self, fault: Fault) -> bool {
        !self.is_calm && self.options.faults.contains(&fault)
    }

    // The cloud's end.

    pub(super) fn recompute(&mut self) {
        if self.cloud_life.is_none() {
            return;
        }
        let now_ms = START_MS + self.now_ms;
        let (outcomes, refusals) = self.cloud.recompute(self.library, &self.keys, now_ms);
        self.carry_out(outcomes);
        refusals.iter().for_each(|refusal| self.refused("cloud", refusal));
    }

    pub(super) fn carry_out(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Signed(device, document) => {
                    let Some(signed) = self.cloud.store.signed.get(&device) else { continue };
                    let digest = signed.digest.clone();
                    let line = format!("version {} for device {device}", signed.version);
                    self.note("cloud", &line);
                    self.tell(&Fact::Directed { document: &document, digest: &digest });
                    self.publish_desired(device);
                }
                Outcome::Stored(device, results) => {
                    self.tell(&Fact::Stored { device, results: &results });
                }
                Outcome::Ack(device, bytes) => self.post(device, ToDevice::Ack(bytes)),
                Outcome::Behind(device) => self.publish_desired(device),
            }
        }
    }

    fn report_arrives(&mut self, device: usize, bytes: &[u8]) {
        if self.cloud_life.is_some() {
            let outcomes = self.cloud.take_report(device, bytes);
            self.carry_out(outcomes);
        }
    }

    fn results_arrive(&mut self, device: usize, bytes: Vec<u8>) {
        let Some(life) = self.cloud_life else { return };
        let blindly = self.cloud.ack_blindly(&self.keys, device, &bytes);
        self.carry_out(blindly.into_iter().collect());
        let ms = self.random.u64(1..200);
        self.after(ms, Happening::CloudCommits(life, device, bytes));
    }

    fn cloud_commits(&mut self, life: u64, device: usize, bytes: &[u8]) {
        if self.cloud_life == Some(life) {
            let outcomes = self.cloud.take_results(&self.keys, device, bytes);
            self.carry_out(outcomes);
        }
    }

    pub(super) fn cloud_starts(&mut self) {
        if self.cloud_life.is_none() {
            self.cloud_lives += 1;
            self.cloud_life = Some(self.cloud_lives);
            self.note("cloud", "starts");
            self.publish_all();
            self.recompute();
        }
    }

    /// How each device stands.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let of = |(index, device): (usize, &Device)| {
            let signed = self.cloud.store.signed.get(&index);
            let report = device.reported.as_ref();
            Standing {
                state: report.map(|report| report.state),
                applied: (
                    report.and_then(|report| report.applied).map(|version| version.get()),
                    report.and_then(|report| report.applied_digest.clone()),
                ),
                wanted: (
                    signed.map(|signed| signed.version.get()),
                    signed.map(|signed| signed.digest.clone()),
                ),
                in_force: device.keeper.as_ref().and_then(|keeper| keeper.in_force().cloned()),
                waiting: device.disk.rows().len(),
                refusal: report.and_then(|r| r.refusal.as_ref()).map(ToString::to_string),
            }
        };
        self.devices.iter().enumerate().map(of).collect()
    }

    /// Signs and publishes the next trust root, as the holders of its keys decide.
    pub(super) fn follow_root(&mut self, edit: roots::Edit) -> bool {
        let mut draft = roots::next(&self.cloud.root);
        if roots::apply(&mut draft, &self.cloud.root, edit).is_err() || draft.check().is_err() {
            return false;
        }
        let (_, envelope) = seal(&[&self.keys.root], &draft);
        self.note("cloud", &format!("trust root {} of epoch {}", draft.version, draft.epoch));
        if draft.epoch > self.cloud.root.epoch {
            self.cloud.end_conflicts();
        }
        self.network.roots.insert(draft.version, wire(&envelope));
        let version = draft.version;
        self.cloud.root = draft;
        self.publish_root(version);
        self.mix_up_roots(version);
        true
    }
}

fn first_root(keys: &Keys) -> anyhow::Result<TrustRoot> {
    let role = |key: &Key| Role { keys: vec![key.public().clone()], threshold: 1 };
    let publisher = Publisher {
        proof: Proof::Key { key: keys.publisher.public().clone(), sigstore_root: None },
        profiles: BTreeSet::new(),
        functions: BTreeSet::new(),
    };
    let roles = Roles {
        root: role(&keys.root),
        director: role(&keys.director),
        approver: role(&keys.approver),
    };
    // Of the same house, for lamps.
    let lighting = Publisher { functions: BTreeSet::from(["dim".parse()?]), ..publisher.clone() };
    let names = ("acme-controls".parse()?, "acme-lighting".parse()?);
    let publishers = BTreeMap::from([(names.0, publisher), (names.1, lighting)]);
    let expires_at_ms = START_MS + 3650 * 24 * 3600 * 1000;
    Ok(roots::first("acme".parse()?, roles, publishers, expires_at_ms))
}
