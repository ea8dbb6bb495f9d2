//! Planner, store and keeper together: each may be cut off, fail or be late at any
//! moment. What was made durable holds, and in the end they agree on what is in force.

use gnomon_agent_core::agent::{AGAIN_AFTER_MS, KEEPER_TIMEOUT_MS};
use gnomon_agent_core::message::{FromKeeper, RolledBack, ToKeeper};
use gnomon_agent_core::{Effect, Event, Monotonic, Stored};
use gnomon_schemas::document::Document;
use gnomon_schemas::reported::State;
use gnomon_schemas::{Digest, Reason, Refusal, Version};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;

use super::bench::{Bench, digest_of};
use super::fixture::{Fleet, activated, cases, prepared, session};

/// The digest of a document's payload, and its envelope.
type Sealed = (Digest, Vec<u8>);

/// Versions 1 to 24: one in two brings another module, one in four goes back to an old
/// one, and the others change a setting only.
static DOCUMENTS: LazyLock<(Fleet, Vec<Sealed>)> = LazyLock::new(|| {
    let fleet = Fleet::new();
    let mut last = fleet.document_inline(1, b"first");
    let documents: Vec<Document> = (1..=24)
        .map(|number| {
            last = match number % 4 {
                0 => fleet.document_inline(number, b"first"),
                2 => fleet.document_inline(number, format!("module {number}").as_bytes()),
                _ => last.clone(),
            };
            last.version = number.try_into().unwrap();
            last.clone()
        })
        .collect();
    let sealed = documents.iter().map(|d| (fleet.digest(d), fleet.seal_document(d))).collect();
    (fleet, sealed)
});

#[derive(Debug, Clone, Copy)]
enum Step {
    Deliver(usize),
    /// One of those that come after the newest one there was.
    DeliverNewer(usize),
    /// The keeper takes a message; a preparation succeeds, or fails for one of two reasons.
    KeeperWorks(Option<bool>),
    PlannerHears,
    StoreAnswers(bool),
    /// What is in force on trial fails, proves itself, or does well.
    Fail,
    Prove,
    Healthy,
    /// The planner ends and starts again; what it was writing is there or not.
    PlannerStarts(bool),
    /// Both do.
    DeviceStarts(bool),
    Time(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..24_usize).prop_map(Step::Deliver),
        4 => (0..3_usize).prop_map(Step::DeliverNewer),
        20 => prop_oneof![9 => Just(None), 1 => any::<bool>().prop_map(Some)]
            .prop_map(Step::KeeperWorks),
        24 => Just(Step::PlannerHears),
        10 => prop::bool::weighted(0.85).prop_map(Step::StoreAnswers),
        3 => Just(Step::Fail),
        4 => Just(Step::Prove),
        1 => Just(Step::Healthy),
        1 => any::<bool>().prop_map(Step::PlannerStarts),
        1 => any::<bool>().prop_map(Step::DeviceStarts),
        1 => (0..200_000_u64).prop_map(Step::Time),
    ]
}

#[derive(Debug, Clone)]
struct InForce {
    digest: Digest,
    on_trial: bool,
}

/// A keeper as the real one is, without ticks.
#[derive(Default)]
struct Keeper {
    force: Option<InForce>,
    /// What a rollback would put back, if one may come.
    before: Option<Option<InForce>>,
    ready: Option<InForce>,
    rolled_back: Option<RolledBack>,
    given_up: BTreeSet<Digest>,
    /// The profile's defaults hold, whatever is in force.
    defaulted: bool,
    inbox: VecDeque<ToKeeper>,
    outbox: VecDeque<FromKeeper>,
}

impl Keeper {
    fn say(&mut self, event: Event) {
        let Event::Keeper(message) = event else { unreachable!() };
        self.outbox.push_back(message);
    }

    /// Takes one message; gives what was put in force, if anything was.
    fn work(&mut self, failure: Option<bool>) -> Option<Digest> {
        match self.inbox.pop_front()? {
            ToKeeper::Prepare(prepare) => {
                let is_in_force = self.force.as_ref().is_some_and(|f| f.digest == prepare.digest);
                let reason = match failure {
                    _ if is_in_force => None,
                    None => None,
                    Some(true) => Some(Reason::GoldenMismatch),
                    Some(false) => Some(Reason::Unavailable),
                };
                self.ready = reason.is_none().then(|| InForce {
                    digest: prepare.digest.clone(),
                    on_trial: prepare.on_trial,
                });
                let outcome = reason.map_or(Ok(()), |reason| Err(Refusal::new(reason, "no")));
                self.say(prepared(&prepare.digest, outcome));
                None
            }
            ToKeeper::Activate { document, version } => self.activate(document, version),
            ToKeeper::Defaults => {
                self.defaulted = true;
                None
            }
            ToKeeper::Stop { .. } | ToKeeper::Kept { .. } => None,
        }
    }

    fn activate(&mut self, document: Digest, version: Version) -> Option<Digest> {
        if let Some(force) = self.force.clone().filter(|force| force.digest == document) {
            self.say(activated(&document, version));
            if !force.on_trial {
                self.outbox.push_back(FromKeeper::Proven { document });
            }
            return None;
        }
        let next = self.ready.take_if(|ready| ready.digest == document)?;
        if self.given_up.contains(&document) {
            return None;
        }
        let is_unproven = self.force.as_ref().is_some_and(|force| force.on_trial);
        let on_trial = next.on_trial;
        let old = self.force.replace(next);
        let before = if is_unproven { self.before.take() } else { Some(old) };
        self.before = before.filter(|_| on_trial);
        self.defaulted = false;
        self.rolled_back = None;
        self.say(activated(&document, version));
        Some(document)
    }

    fn fail(&mut self) {
        // On the defaults no module is called, and none can fail.
        if self.defaulted || !self.force.as_ref().is_some_and(|force| force.on_trial) {
            return;
        }
        let (Some(failed), Some(before)) = (self.force.take(), self.before.take()) else {
            panic!("on trial without anything before");
        };
        self.given_up.insert(failed.digest.clone());
        let refusal = Refusal::new(Reason::ProbationFailed, "3 faults");
        let to = before.as_ref().map(|before| before.digest.clone());
        let what = RolledBack { from: failed.digest, to, refusal };
        self.force = before;
        self.rolled_back = Some(what.clone());
        self.outbox.push_back(FromKeeper::RolledBack(what));
    }

    fn prove(&mut self) {
        let Some(force) = self.force.as_mut().filter(|force| force.on_trial) else { return };
        force.on_trial = false;
        self.before = None;
        self.outbox.push_back(FromKeeper::Proven { document: force.digest.clone() });
    }

    fn do_well(&mut self) {
        let Some(force) = self.force.as_ref().filter(|force| force.on_trial) else { return };
        self.outbox.push_back(FromKeeper::Healthy { document: force.digest.clone() });
    }

    fn greet(&mut self) {
        (self.inbox, self.outbox) = (VecDeque::new(), VecDeque::new());
        let (engine, rolled_back) = (Digest::of(b"engine"), self.rolled_back.clone());
        self.outbox.push_back(FromKeeper::Started { engine, rolled_back });
    }
}

struct World {
    bench: Bench,
    keeper: Keeper,
    starts: u8,
    /// Which document the store is to answer for.
    writing: Option<Digest>,
    /// Every document that was ever durable, by its place.
    accepted: BTreeMap<(u64, Version), Digest>,
    /// Given up, durably.
    failed: BTreeSet<Digest>,
    swaps: usize,
}

impl World {
    fn new() -> World {
        let bench = Bench::idle(&DOCUMENTS.0, &DOCUMENTS.0.root, &session(0), Stored::default());
        let mut world = World {
            bench,
            keeper: Keeper::default(),
            starts: 0,
            writing: None,
            accepted: BTreeMap::new(),
            failed: BTreeSet::new(),
            swaps: 0,
        };
        world.keeper.greet();
        world.hear(Event::Started(Stored::default()));
        world
    }

    fn in_store(&self) -> Option<Digest> {
        self.bench.stored.envelope.as_deref().map(digest_of)
    }

    fn hear(&mut self, event: Event) {
        for effect in self.bench.hear(event) {
            match effect {
                Effect::Persist(change) => {
                    assert!(self.writing.is_none(), "one at a time");
                    self.writing = Some(change.floor.digest.clone());
                }
                Effect::KeepFailure(failure) | Effect::PersistRollback(failure) => {
                    self.failed.insert(failure.document.clone());
                }
                Effect::Keeper(message) => {
                    match message.as_ref() {
                        ToKeeper::Activate { document, .. } => {
                            assert_eq!(self.in_store().as_ref(), Some(document), "not durable");
                        }
                        ToKeeper::Prepare(prepare) => {
                            assert!(!self.failed.contains(&prepare.digest), "tried again");
                        }
                        _ => {}
                    }
                    self.keeper.inbox.push_back(*message);
                }
                _ => {}
            }
        }
        if let Some(floor) = &self.bench.stored.floor {
            let known = self.accepted.entry(floor.place()).or_insert_with(|| floor.digest.clone());
            assert_eq!(*known, floor.digest, "two documents for one floor");
            let highest = self.accepted.keys().next_back();
            assert_eq!(highest, Some(&floor.place()), "the floor fell");
        }
    }

    fn start(&mut self, is_written: bool) {
        self.writing = None;
        if is_written {
            self.bench.write();
        }
        let stored = self.bench.stored.clone();
        let fleet = &DOCUMENTS.0;
        self.bench = Bench::idle(fleet, &fleet.root, &session(self.starts), stored.clone());
        self.keeper.greet();
        self.hear(Event::Started(stored));
    }

    fn take(&mut self, step: Step) {
        // Refusals are kept whole up to 32 a minute: let the window pass.
        self.bench.now = Monotonic(self.bench.now.0 + 2_000);
        match step {
            Step::DeliverNewer(by) => {
                let newest = self.accepted.keys().next_back().map_or(0, |(_, v)| v.get());
                let index = usize::try_from(newest).unwrap() + by;
                self.take(Step::Deliver(index.min(DOCUMENTS.1.len() - 1)));
            }
            Step::Deliver(index) => self.hear(Event::Document(DOCUMENTS.1[index].1.clone())),
            Step::KeeperWorks(failure) => {
                let before = self.keeper.force.as_ref().map(|force| force.digest.clone());
                if let Some(digest) = self.keeper.work(failure) {
                    assert_ne!(before, Some(digest.clone()));
                    self.swaps += 1;
                }
            }
            Step::PlannerHears => {
                if let Some(message) = self.keeper.outbox.pop_front() {
                    self.hear(Event::Keeper(message));
                }
            }
            Step::StoreAnswers(ok) => {
                if let Some(document) = self.writing.take() {
                    let outcome = if ok { Ok(()) } else { Err("disk full".into()) };
                    self.hear(Event::Persisted(document, outcome));
                }
            }
            Step::Fail => self.keeper.fail(),
            Step::Prove => self.keeper.prove(),
            Step::Healthy => self.keeper.do_well(),
            Step::PlannerStarts(is_written) => self.start(is_written),
            Step::DeviceStarts(is_written) => {
                self.starts += 1;
                self.keeper = Keeper::default();
                self.start(is_written);
            }
            Step::Time(ms) => {
                self.bench.now = Monotonic(self.bench.now.0 + ms);
                self.hear(Event::Clock);
            }
        }
    }

    /// Nothing fails any more.
    fn settle(&mut self) {
        for _ in 0..6 {
            while self.writing.is_some()
                || !self.keeper.inbox.is_empty()
                || !self.keeper.outbox.is_empty()
            {
                self.take(Step::StoreAnswers(true));
                self.take(Step::KeeperWorks(None));
                self.take(Step::PlannerHears);
            }
            self.take(Step::Time(KEEPER_TIMEOUT_MS + AGAIN_AFTER_MS));
        }
    }

    fn check_agreement(&mut self) {
        // What has proved itself at the very moment at which the store forgot it goes on
        // until the keeper starts anew.
        let is_forgotten =
            self.in_store().is_none() && self.bench.agent.applied_version().is_none();
        let is_told = |force: &InForce| !self.keeper.defaulted && (force.on_trial || !is_forgotten);
        let force = self.keeper.force.clone().filter(is_told);
        let digest = force.as_ref().map(|force| force.digest.clone());
        let reported = self.bench.reported();
        assert_eq!(reported.applied_digest, digest, "planner and keeper");
        if let Some(force) = &force {
            assert_eq!(self.in_store(), digest, "store and keeper");
            assert_eq!(reported.on_probation, force.on_trial);
            assert_eq!(self.bench.stored.trial.is_some(), force.on_trial);
            assert!(!self.failed.contains(&force.digest), "a failure is in force");
            let is_newest = self.bench.stored.floor.as_ref().unwrap().digest == force.digest;
            assert!(is_newest || reported.state == State::Rejected, "{:?}", reported.state);
        }
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn whatever_fails_and_whenever_they_agree_in_the_end_and_nothing_acts_that_may_not(
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(*step));
        world.settle();
        world.check_agreement();
        // And the newest document there is comes into force, or is refused.
        world.take(Step::Deliver(DOCUMENTS.1.len() - 1));
        world.settle();
        world.check_agreement();
        let force = world.keeper.force.as_ref().map(|force| &force.digest);
        let is_newest = force == DOCUMENTS.1.last().map(|(digest, _)| digest);
        prop_assert!(is_newest || world.bench.reported().state == State::Rejected);
    }
}

#[test]
fn the_random_steps_do_reach_swaps_rollbacks_and_starts_in_the_middle() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut swaps, mut rollbacks, mut kept) = (0, 0, 0);
    for _ in 0..200 {
        let steps = prop::collection::vec(step(), 150).new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(*step));
        swaps += usize::from(world.swaps > 1);
        rollbacks += usize::from(world.bench.stored.rolled_back_from.is_some());
        kept += usize::from(world.bench.stored.previous.is_some());
    }
    let reached = (swaps, rollbacks, kept);
    assert!(swaps > 100 && rollbacks > 10 && kept > 20, "{reached:?} of 200");
}
