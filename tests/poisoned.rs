//! The zoo through real processes: each animal beside a good function, and in its place.
//! Whatever it is, the function before it misses no tick, the actuator gets what the
//! firmware permits, and after a failed probation the device is back where it was.

#[path = "../agent/daemon/tests/agent/fixture.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the agent's tests use the rest")]
mod fixture;

use fixture::{Actuated, Hands, Plan, device, setpoint, tou};
use gnomon_agent::cell::processes;
use gnomon_agent::frames::{self, FrameSender};
use gnomon_agent::keeper::{Keeper, KeeperOptions, WithoutPlanner};
use gnomon_agent_core::message::{FromKeeper, Prepare, ToKeeper};
use gnomon_schemas::results::Source;
use gnomon_schemas::{Digest, Reason, Refusal};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::poison::{Fate, Poison, inputs, zoo};

/// A guest that does not end costs its tick this long.
const DEADLINE_MS: u64 = 40;
/// Ticks beside a candidate.
const TICKS: u32 = 8;
/// The most ticks until a poisonous active function is gone, or has shown that it is not.
const TRIAL_TICKS: u32 = 30;
/// What the good function asks for at night.
const GOOD_C: f64 = 60.0;

/// A keeper with runner processes; the test is its planner and its device.
struct Rig {
    planner: FrameSender<ToKeeper>,
    messages: Receiver<FromKeeper>,
    hands: Hands,
    version: u64,
    _keeper: Keeper,
    _folder: tempfile::TempDir,
}

/// What the keeper has said of the document in force.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    RolledBack(Reason),
    Proven,
}

impl Verdict {
    fn of(message: &FromKeeper) -> Option<Verdict> {
        match message {
            FromKeeper::RolledBack(what) => Some(Verdict::RolledBack(what.refusal.reason)),
            FromKeeper::Proven { .. } => Some(Verdict::Proven),
            _ => None,
        }
    }
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let exe = PathBuf::from(env!("CARGO_BIN_EXE_gnomon-agent-under-test"));
        let workshop = processes(exe, folder.path().to_owned(), None).unwrap();
        let (script, hands) = device();
        let mut profile = fixture::profile();
        profile.functions.get_mut(&setpoint()).unwrap().deadline_ms = DEADLINE_MS;
        let options = KeeperOptions { without_planner: WithoutPlanner::GoOn, realtime: None };
        let keeper = Keeper::start(profile, Box::new(script), workshop, options).unwrap();
        let (own, other) = UnixStream::pair().unwrap();
        let (sender, messages) = channel();
        frames::receiver("test", own.try_clone().unwrap(), move |m| sender.send(m).is_ok())
            .unwrap();
        let planner = frames::sender("test", own).unwrap();
        keeper.attach(other).unwrap();
        Rig { planner, messages, hands, version: 0, _keeper: keeper, _folder: folder }
    }

    fn tick(&mut self) -> Actuated {
        self.hands.tick_with(inputs(1.0))
    }

    /// A tick that the good function answers.
    #[track_caller]
    fn good_tick(&mut self, when: &str) {
        let got = self.tick();
        assert_eq!((got.source, got.setpoint_c), (Source::Active, GOOD_C), "{when}: {got:?}");
    }

    /// Prepares a document while the good function goes on, tick by tick.
    fn prepare(&mut self, plan: &Plan, on_trial: bool, when: &str) -> Result<Digest, Refusal> {
        self.version += 1;
        let document = plan.document(self.version);
        let digest = Digest::of(&serde_json::to_vec(&document).unwrap());
        let prepare = Prepare {
            digest: digest.clone(),
            document,
            modules: plan.modules.clone(),
            states: vec![],
            on_trial,
        };
        self.planner.send(ToKeeper::Prepare(Box::new(prepare))).unwrap();
        let start = Instant::now();
        loop {
            match self.messages.recv_timeout(Duration::from_millis(5)) {
                Ok(FromKeeper::Prepared { document, outcome }) if document == digest => {
                    return outcome.map(|()| digest);
                }
                _ => {}
            }
            if self.version > 1 {
                self.good_tick(when);
            }
            assert!(start.elapsed() < Duration::from_secs(180), "{when}: no answer");
        }
    }

    fn activate(&mut self, document: Digest) {
        let version = self.version.try_into().unwrap();
        self.planner.send(ToKeeper::Activate { document, version }).unwrap();
        while !matches!(self.messages.recv().unwrap(), FromKeeper::Activated { .. }) {}
    }

    /// Ticks under the document on trial until the keeper has made up its mind.
    fn prove(&mut self, animal: &str) -> Verdict {
        for _ in 0..TRIAL_TICKS {
            let got = self.tick();
            assert!((35.0..=70.0).contains(&got.setpoint_c), "{animal}: {got:?}");
            // Its word comes by another thread: it may be a little behind.
            while let Ok(message) = self.messages.recv_timeout(Duration::from_millis(2)) {
                if let Some(verdict) = Verdict::of(&message) {
                    return verdict;
                }
            }
        }
        while let Ok(message) = self.messages.recv_timeout(Duration::from_secs(10)) {
            if let Some(verdict) = Verdict::of(&message) {
                return verdict;
            }
        }
        panic!("{animal}: no verdict after {TRIAL_TICKS} ticks");
    }

    fn put_good_in_force(&mut self) {
        let document = self.prepare(&tou(), false, "the good one").unwrap();
        self.activate(document);
    }
}

/// Whether this refusal is the animal's fate; behind walls a compiler may give up first.
#[track_caller]
fn assert_fate(animal: &Poison, refusal: &Refusal) {
    let expected = match animal.fate {
        Fate::Refused(reasons) => reasons,
        _ => &[],
    };
    let is_it = expected.contains(&refusal.reason) || refusal.reason == Reason::CompileFailed;
    assert!(is_it, "{}: {refusal}, expected {:?}", animal.name, animal.fate);
}

fn beside_and_in_place(animals: &[&'static Poison]) {
    let mut rig = Rig::new();
    rig.put_good_in_force();
    for animal in animals {
        let name = animal.name;
        let none = serde_json::json!({});
        let beside = tou().candidate(&animal.bytes, none.clone());
        match rig.prepare(&beside, false, &format!("{name} is prepared as a candidate")) {
            Ok(document) => {
                rig.activate(document);
                (0..TICKS).for_each(|_| rig.good_tick(&format!("beside {name}")));
            }
            Err(refusal) => assert_fate(animal, &refusal),
        }
        let in_place = Plan::active(&animal.bytes, none);
        match rig.prepare(&in_place, true, &format!("{name} is prepared as active")) {
            Ok(document) => {
                rig.activate(document);
                match rig.prove(name) {
                    Verdict::RolledBack(reason) => {
                        assert_eq!(reason, Reason::ProbationFailed, "{name}");
                        rig.good_tick(&format!("after {name} was given up"));
                    }
                    Verdict::Proven => {
                        let always_faults = matches!(animal.fate, Fate::Faults(_));
                        assert!(!always_faults, "{name} passed its probation");
                        // It is tame so far: the good one takes its place again.
                        let document = rig.version;
                        put_back(&mut rig);
                        assert!(rig.version > document);
                    }
                }
            }
            Err(refusal) => assert_fate(animal, &refusal),
        }
    }
}

fn put_back(rig: &mut Rig) {
    rig.version += 1;
    let document = tou().document(rig.version);
    let digest = Digest::of(&serde_json::to_vec(&document).unwrap());
    let (modules, states) = (tou().modules, vec![]);
    let prepare = Prepare { digest: digest.clone(), document, modules, states, on_trial: false };
    rig.planner.send(ToKeeper::Prepare(Box::new(prepare))).unwrap();
    loop {
        if let FromKeeper::Prepared { document, outcome } = rig.messages.recv().unwrap()
            && document == digest
        {
            outcome.unwrap();
            break;
        }
    }
    rig.activate(digest);
    // The step from where the other one left the actuator may take a tick.
    rig.tick();
}

#[test]
fn no_animal_of_the_zoo_costs_the_function_before_it_a_tick() {
    let (one, other): (Vec<_>, Vec<_>) = zoo().iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let halves = [one, other].map(|half| {
        let animals: Vec<&'static Poison> = half.into_iter().map(|(_, animal)| animal).collect();
        std::thread::spawn(move || beside_and_in_place(&animals))
    });
    halves.into_iter().for_each(|half| half.join().unwrap());
    println!("{} animals, each beside a function and in its place", zoo().len());
}
