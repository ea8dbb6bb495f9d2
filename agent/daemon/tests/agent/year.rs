//! A year without a network: the production core on a real store, in virtual time, each
//! variant in a process of its own, so that its memory can be told. The test plays
//! keeper, clock, broker and cloud, and keeps accounts that it judges the device by.

use gnomon_agent::planner::outbox::Outbox;
use gnomon_agent::planner::store::Store;
use gnomon_agent_core::agent::{Append, Setup};
use gnomon_agent_core::message::{Done, FromKeeper, ToKeeper};
use gnomon_agent_core::{Agent, Effect, Event, Identity, Monotonic};
use gnomon_schemas::ack::{Ack, AckSchema};
use gnomon_schemas::document::OnExpiry;
use gnomon_schemas::histogram::Histogram;
use gnomon_schemas::limits::{OUTBOX_BYTES_MAX, OUTBOX_ROWS_MAX};
use gnomon_schemas::module::KeySignatures;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::reported::{Reported, State};
use gnomon_schemas::results::{Class, Record, Results, SlotRole, Summary};
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{BootId, Digest, Reason};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::fixture::{Fleet, NOW_MS, PROFILE, Plan, hot, tou};
use super::small_disk::bytes_in;
use super::store::Disk;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAYS: u64 = 365;
/// The whole of it would fit an outbox: this is a quarter of one.
const OUTBOX_HERE_BYTES_MAX: usize = OUTBOX_BYTES_MAX / 4;
/// Trust roots that were published meanwhile.
const ROTATIONS: usize = 20;
/// What the memory of a planner may grow by after its first month: a page here and there.
const MEMORY_GROWTH_KIB_MAX: u64 = 8 * 1024;
/// What R16 of the security brief allows on disk.
const DISK_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Which variant a process is to live through.
const VARIANT: &str = "GNOMON_YEAR";

type Counts = BTreeMap<Class, u64>;

/// What the world knows of the device.
#[derive(Default)]
struct Accounts {
    /// Batches that the core made and that were kept.
    made: Counts,
    /// Batches that the cloud has stored, once each.
    stored: BTreeSet<(BootId, u64)>,
    arrived: Counts,
    /// Batches of which a stored one says that they were dropped.
    told: Counts,
    /// The last message of the keeper that is durable.
    kept: u64,
    defaults: u64,
    applied: Option<u64>,
    report: Option<Reported>,
    disk_bytes_max: u64,
}

/// One start of the agent after another.
struct Device {
    fleet: Fleet,
    plans: Vec<Plan>,
    disk: Disk,
    store: Option<Store>,
    agent: Agent,
    window: Outbox,
    boots: u8,
    epoch: Instant,
    now: Monotonic,
    /// What the broker retains.
    roots: BTreeMap<u64, Vec<u8>>,
    document: Vec<u8>,
    accounts: Accounts,
}

fn agent(root: &TrustRoot, boot: u8, time_floor_ms: u64) -> Agent {
    let (profile, profile_digest) = Profile::parse(PROFILE).unwrap();
    let (fleet, device) = ("acme".parse().unwrap(), "heater-001".parse().unwrap());
    Agent::new(Setup {
        identity: Identity { fleet, device, profile, profile_digest },
        root: root.clone(),
        judge: Box::new(KeySignatures),
        boot: BootId::from_random([boot; 16]),
        session: BootId::from_random([255; 16]),
        agent_version: "0.0.0".into(),
        time_floor_ms,
        released_at_ms: NOW_MS,
    })
}

impl Device {
    fn new(on_expiry: OnExpiry) -> (Device, TrustRoot) {
        let fleet = Fleet::new();
        let firmware = fleet.root.clone();
        let plans =
            vec![tou().candidate(gnomon_examples::WATER_HEATER_HOT, json!({"asked_c": 9.0}))];
        let mut document = fleet.document(1, &plans[0]);
        document.on_expiry = on_expiry;
        document.reporting.record_bytes_per_day_max = 64 * 1024;
        let document = fleet.seal(&document);
        let (disk, agent) = (Disk::new(), agent(&firmware, 0, NOW_MS));
        let (window, accounts) = (Outbox::default(), Accounts::default());
        let (roots, now, store) = (BTreeMap::new(), Monotonic(0), None);
        let device = Device {
            fleet,
            plans,
            disk,
            store,
            agent,
            window,
            boots: 0,
            epoch: Instant::now(),
            now,
            roots,
            document,
            accounts,
        };
        (device, firmware)
    }

    /// The power comes back: whatever was not durable is gone.
    fn start(&mut self, firmware: &TrustRoot) {
        drop(self.store.take());
        let store = self.disk.open().with_outbox_bytes_max(OUTBOX_HERE_BYTES_MAX);
        assert_eq!(store.was_rebuilt(), None);
        self.boots += 1;
        self.agent = agent(firmware, self.boots, NOW_MS.max(store.time_floor_ms().unwrap()));
        self.now = Monotonic(0);
        self.window = Outbox::default();
        let stored = store.stored().unwrap();
        self.store = Some(store);
        self.hear(Event::Started(stored));
    }

    fn instant(&self) -> Instant {
        self.epoch + Duration::from_millis(self.now.0)
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// One event, and all that follows from it.
    fn hear(&mut self, event: Event) {
        match event {
            Event::Connected => self.window.reconnected(),
            Event::Disconnected => self.window.disconnected(),
            Event::Clock => {
                let now = self.instant();
                self.store().take_out_due(now).unwrap();
            }
            _ => {}
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.agent.apply(self.now, event) {
                self.perform(effect, &mut events);
            }
        }
        let bytes = bytes_in(self.disk.folder.path());
        self.accounts.disk_bytes_max = self.accounts.disk_bytes_max.max(bytes);
        assert!(bytes <= DISK_BYTES_MAX, "{bytes} bytes on disk");
    }

    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        let is_connected = self.window.is_connected();
        match effect {
            Effect::Append(append) => self.append(&append),
            Effect::KeepTime(at_ms) => self.store().keep_time(at_ms).unwrap(),
            Effect::KeepTrial(trial) => self.store().keep_trial(trial.as_ref()).unwrap(),
            Effect::KeepFailure(failure) => self.store().keep_failure(&failure).unwrap(),
            Effect::PersistRollback(failure) => self.store().persist_rollback(&failure).unwrap(),
            Effect::Persist(change) => {
                self.store().persist(&change).unwrap();
                events.push_back(Event::Persisted(change.floor.digest.clone(), Ok(())));
            }
            Effect::PersistRoot { version, envelope, time_floor_ms } => {
                self.store().persist_root(version, &envelope, time_floor_ms).unwrap();
                events.push_back(Event::RootPersisted(version, Ok(())));
            }
            Effect::Delete(boot, sequences) => {
                let now = self.instant();
                let places = self.store().acknowledge(&boot, &sequences, now).unwrap();
                self.window.acknowledged(&places);
            }
            Effect::Keeper(message) => events.extend(self.keeper(*message).map(Event::Keeper)),
            Effect::Report(report) => self.accounts.report = Some(*report),
            Effect::Send => events.extend(self.send()),
            Effect::FetchDocument if is_connected => {
                events.push_back(Event::Document(self.document.clone()));
            }
            Effect::FetchRoot(version) if is_connected => {
                events.extend(self.roots.get(&version).cloned().map(Event::TrustRoot));
            }
            Effect::FetchModule(digest) if is_connected => {
                let bytes = self.plans.iter().find_map(|plan| plan.modules.get(&digest)).unwrap();
                events.push_back(Event::Module(digest, bytes.0.clone()));
            }
            Effect::FetchDocument
            | Effect::FetchRoot(_)
            | Effect::FetchModule(_)
            | Effect::ForgetModule(_) => {}
        }
    }

    fn append(&mut self, append: &Append) {
        let is_new = append.done.as_ref().is_none_or(|(_, number)| *number > self.accounts.kept);
        for batch in append.batches.iter().filter(|_| is_new) {
            *self.accounts.made.entry(batch.class()).or_default() += 1;
        }
        self.store().append(append).unwrap();
        if let Some((_, number)) = append.done {
            self.accounts.kept = self.accounts.kept.max(number);
        }
    }

    fn keeper(&mut self, message: ToKeeper) -> Option<FromKeeper> {
        match message {
            ToKeeper::Prepare(prepare) => {
                assert_eq!(prepare.modules.len(), prepare.document.modules.len());
                Some(FromKeeper::Prepared { document: prepare.digest, outcome: Ok(()) })
            }
            ToKeeper::Activate { document, version } => {
                self.accounts.applied = Some(version.get());
                let from_tick = BTreeMap::new();
                Some(FromKeeper::Activated { document, version, swap_ns: 1, from_tick })
            }
            ToKeeper::Defaults => {
                self.accounts.defaults += 1;
                None
            }
            ToKeeper::Kept { .. } | ToKeeper::Stop { .. } => None,
        }
    }

    /// The cloud stores what it is sent, once, and says so.
    fn send(&mut self) -> Vec<Event> {
        let Some((sent, room)) = self.window.ask(self.instant()) else { return vec![] };
        let mut acks: BTreeMap<BootId, Vec<u64>> = BTreeMap::new();
        for row in self.store.as_ref().unwrap().waiting(&sent, room).unwrap() {
            self.window.sent(row.class, row.id, row.bytes.len());
            let batch: Results = serde_json::from_slice(&row.bytes).unwrap();
            assert_eq!(batch.class(), row.class);
            acks.entry(batch.boot.clone()).or_default().push(batch.sequence);
            if self.accounts.stored.insert((batch.boot.clone(), batch.sequence)) {
                *self.accounts.arrived.entry(row.class).or_default() += 1;
                let by_class = batch.dropped_by_class.values().sum::<u64>();
                assert_eq!(batch.dropped_batches, by_class);
                for (class, batches) in batch.dropped_by_class {
                    *self.accounts.told.entry(class).or_default() += batches;
                }
            }
        }
        let (fleet, device) = (self.fleet.root.fleet.clone(), "heater-001".parse().unwrap());
        let ack = |(boot, sequences)| {
            let (fleet, device) = (fleet.clone(), Clone::clone(&device));
            let ack = Ack { schema: AckSchema::V1, fleet, device, boot, sequences };
            Event::Ack(self.fleet.seal(&ack))
        };
        acks.into_iter().map(ack).collect()
    }

    /// One hour: ticks each second, summed up and said, some of it twice.
    fn live_an_hour(&mut self, hour: u64) {
        for _ in 0..3 {
            self.now.0 += HOUR_MS / 3;
            self.hear(Event::Clock);
        }
        let done = done_of(hour, self.accounts.kept + 1);
        self.hear(Event::Keeper(FromKeeper::Done(Box::new(done.clone()))));
        if hour.is_multiple_of(50) {
            // The word that it is kept was lost.
            self.hear(Event::Keeper(FromKeeper::Done(Box::new(done))));
        }
        if hour.is_multiple_of(31) {
            self.hear(Event::TrustRoot(format!("garbage {hour}").into_bytes()));
        }
    }

    /// Made = arrived + waiting + dropped, and what was dropped is told or about to be.
    fn balance(&mut self) {
        let status = self.store.as_ref().unwrap().status().unwrap();
        let of = |counts: &Counts, class| counts.get(&class).copied().unwrap_or(0);
        for class in [Class::Faults, Class::Summaries, Class::Samples] {
            let waits = status.outbox.get(&class).map_or(0, |amount| amount.rows);
            let dropped = of(&status.dropped.by_class, class);
            let accounted = of(&self.accounts.arrived, class) + waits + dropped;
            assert_eq!(of(&self.accounts.made, class), accounted, "{class:?}");
        }
        let bytes: u64 = status.outbox.values().map(|amount| amount.bytes).sum();
        let rows: u64 = status.outbox.values().map(|amount| amount.rows).sum();
        assert!(bytes <= OUTBOX_HERE_BYTES_MAX as u64 && rows <= OUTBOX_ROWS_MAX);
    }
}

/// What the keeper did in an hour: the 60th part of its ticks is enough to fill the same
/// buckets.
fn done_of(hour: u64, number: u64) -> Done {
    let histogram = |base: u64, spread: u64| {
        let mut histogram = Histogram::default();
        (0..60).for_each(|tick| histogram.record(base + (tick * 37 + hour * 11) % spread));
        histogram
    };
    let (active, candidate) = (
        Digest::of(gnomon_examples::WATER_HEATER_TOU),
        Digest::of(gnomon_examples::WATER_HEATER_HOT),
    );
    let at_ms = NOW_MS + hour * HOUR_MS;
    let summary = |role, module: &Digest| -> Summary {
        let faults = if hour.is_multiple_of(97) { json!({"trap_integer": 1}) } else { json!({}) };
        serde_json::from_value(json!({
            "function": "setpoint", "module": module, "role": role, "version": 1,
            "from_ms": at_ms, "to_ms": at_ms + HOUR_MS, "ticks": 3600, "evaluations": 3600,
            "faults": faults, "sources": {"active": 3600}, "memory_bytes_max": 65_536,
            "fuel": histogram(4_000, 90), "time_us": histogram(20, 400),
        }))
        .unwrap()
    };
    let record = |tick: u64| -> Record {
        serde_json::from_value(json!({
            "at_ms": at_ms + tick, "tick": hour * 3600 + tick, "function": "setpoint",
            "module": active, "role": "active", "time_us": 31, "fuel": 4_021,
            "inputs": {"tank_temp_c": 51.5, "tank_low_temp_c": 44.25, "hour": 13.5},
            "params": {"off_peak_start_hour": 23.0, "high_c": 60.0, "low_c": 45.0},
            "outputs": {"setpoint_c": 45.0}, "actuated": {"setpoint_c": 45.0},
        }))
        .unwrap()
    };
    let summaries =
        vec![summary(SlotRole::Active, &active), summary(SlotRole::Candidate, &candidate)];
    Done { number, summaries, records: (0..3).map(record).collect(), states: vec![] }
}

/// The most memory that this process ever had, in KiB.
fn memory_peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

fn the_year(on_expiry: OnExpiry) {
    let (mut device, firmware) = Device::new(on_expiry);
    device.start(&firmware);
    device.hear(Event::Connected);
    device.hear(Event::Document(device.document.clone()));
    assert_eq!(device.accounts.applied, Some(1));
    device.hear(Event::Disconnected);

    let mut memory_kib = 0;
    for day in 0..DAYS {
        if day % 30 == 10 {
            device.start(&firmware);
        }
        for hour in 0..24 {
            device.live_an_hour(day * 24 + hour);
        }
        device.balance();
        if day == 60 {
            memory_kib = memory_peak_kib();
        }
    }
    let growth_kib = memory_peak_kib() - memory_kib;
    assert!(growth_kib <= MEMORY_GROWTH_KIB_MAX, "{memory_kib} KiB grew by {growth_kib} KiB");
    assert_eq!(device.accounts.applied, Some(1), "control went on");
    assert_eq!(device.accounts.defaults > 0, on_expiry == OnExpiry::Default);
    let report = device.accounts.report.clone().unwrap();
    assert_eq!(report.state, State::Expired);
    assert!(device.store().time_floor_ms().unwrap() > NOW_MS + (DAYS - 2) * 24 * HOUR_MS);
    let status = device.store().status().unwrap();
    println!(
        "{on_expiry:?}: made {:?}, dropped {:?}, at most {} bytes on disk, {} KiB of memory",
        device.accounts.made,
        status.dropped.by_class,
        device.accounts.disk_bytes_max,
        memory_kib + growth_kib,
    );
    assert!(status.dropped.batches > 0, "a year is more than fits here");
    assert_eq!(status.dropped.by_class.get(&Class::Faults), None);

    // The world went on meanwhile.
    for _ in 0..ROTATIONS {
        let envelope = device.fleet.rotate();
        device.roots.insert(device.fleet.root.version, envelope);
    }
    let plan = hot(55.0);
    let mut newer = device.fleet.document(2, &plan);
    newer.issued_at_ms = NOW_MS + DAYS * 24 * HOUR_MS;
    newer.expires_at_ms = newer.issued_at_ms + 30 * 24 * HOUR_MS;
    device.document = device.fleet.seal(&newer);
    device.plans.push(plan);
    device.hear(Event::Connected);
    device.hear(Event::Document(device.document.clone()));
    assert_eq!(device.accounts.applied, Some(2), "one document is enough");
    device.live_an_hour(DAYS * 24);
    device.hear(Event::Clock);
    device.balance();
    let report = device.accounts.report.clone().unwrap();
    assert_eq!((report.state, report.trust_version), (State::InSync, 1 + ROTATIONS as u64));
    assert!(!report.refused.contains_key(&Reason::StoreDamaged));
    let status = device.store().status().unwrap();
    assert_eq!((device.store().waiting_count().unwrap(), status.dropped_untold), (0, 0));
    assert_eq!(device.accounts.told, status.dropped.by_class, "the gap report is exact");
    assert_eq!(status.appended, device.accounts.made.values().sum::<u64>());
    device.store.take().unwrap().close().unwrap();
    let left = bytes_in(device.disk.folder.path());
    assert!(left < 8 * 1024 * 1024, "what the outbox took is given back: {left}");
}

#[test]
fn a_year_offline_fits_its_caps_loses_nothing_silently_and_ends_with_one_document() {
    const NAME: &str = "agent::year::\
        a_year_offline_fits_its_caps_loses_nothing_silently_and_ends_with_one_document";
    match std::env::var(VARIANT).as_deref() {
        Ok("hold") => return the_year(OnExpiry::Hold),
        Ok(_) => return the_year(OnExpiry::Default),
        Err(_) => {}
    }
    let live = |variant: &str| -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", NAME, "--nocapture"]).env(VARIANT, variant);
        child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in ["hold", "default"].map(live) {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let also = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{also}");
        println!("{said}");
    }
}
