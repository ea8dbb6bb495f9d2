//! The state machine under any sequence of events, sensible or not.

use gnomon_agent_core::message::{FromKeeper, RolledBack, ToKeeper};
use gnomon_agent_core::{Effect, Event, Floor, Monotonic};
use gnomon_schemas::profile::NarrowedBounds;
use gnomon_schemas::reported::State;
use gnomon_schemas::{Digest, Reason, Refusal};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::bench::{Bench, digest_of, names, reasons, refused, reports};
use super::fixture::{Fleet, activated, cases, prepared, seal_by, setpoint, version};

const MODULE: &[u8] = b"the module of version 4";

/// Envelopes by what they are.
struct Mail {
    fleet: Fleet,
    /// Versions 1 to 6; the fourth needs a module that must be fetched.
    good: Vec<Vec<u8>>,
    /// The digests of their payloads.
    digests: Vec<Digest>,
    /// Signed, for this device, newer than all of those, and each refused.
    bad: Vec<Vec<u8>>,
    /// Not signed by the director, or not an envelope at all.
    garbage: Vec<Vec<u8>>,
}

impl Mail {
    fn digest(&self, number: u64) -> &Digest {
        &self.digests[usize::try_from(number).unwrap() - 1]
    }
}

static MAIL: LazyLock<Mail> = LazyLock::new(|| {
    let fleet = Fleet::new();
    let document = |number| match number {
        4 => fleet.document_with(4, MODULE),
        _ => fleet.document_inline(number, format!("module {number}").as_bytes()),
    };
    let documents: Vec<_> = (1..=6).map(document).collect();
    let good: Vec<_> = documents.iter().map(|document| fleet.seal_document(document)).collect();
    let digests = documents.iter().map(|document| fleet.digest(document)).collect();
    let mut expired = fleet.document(50);
    expired.expires_at_ms = 1;
    let mut widened = document(51);
    let bounds = NarrowedBounds { min: Some(0.0), ..NarrowedBounds::default() };
    let plan = widened.functions.get_mut(&setpoint()).unwrap();
    plan.bounds.insert("setpoint_c".parse().unwrap(), bounds);
    let mut unlisted = document(52);
    unlisted.modules.clear();
    let mut other_profile = fleet.document(53);
    other_profile.profile = Digest::of(b"other");
    let far = fleet.document(9_000_000_000);
    let bad = [expired, widened, unlisted, other_profile].map(|bad| fleet.seal_document(&bad));
    let mut forged = good[5].clone();
    let at = forged.iter().position(|byte| *byte == b'Z').unwrap_or(60);
    forged[at] = b'A';
    let garbage = vec![
        b"garbage".to_vec(),
        vec![],
        seal_by(&super::fixture::Signer::ed25519(), &far),
        forged,
        vec![b'['; 300_000],
    ];
    Mail { good, digests, bad: bad.to_vec(), garbage, fleet }
});

#[derive(Debug, Clone)]
enum Step {
    Good(usize),
    Bad(usize),
    Garbage(usize),
    RightModule,
    WrongModule,
    Prepared(u64, bool),
    Persisted(u64, bool),
    Activated(u64),
    /// The answer to whatever is open: done, or failed where that can fail.
    Answer(bool),
    Clock(u64),
    GarbageAck,
    Disconnected,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_usize).prop_map(Step::Good),
        2 => (0..4_usize).prop_map(Step::Bad),
        2 => (0..5_usize).prop_map(Step::Garbage),
        2 => Just(Step::RightModule),
        1 => Just(Step::WrongModule),
        2 => (1..7_u64, any::<bool>()).prop_map(|(v, ok)| Step::Prepared(v, ok)),
        2 => (1..7_u64, any::<bool>()).prop_map(|(v, ok)| Step::Persisted(v, ok)),
        2 => (1..7_u64).prop_map(Step::Activated),
        8 => prop::bool::weighted(0.85).prop_map(Step::Answer),
        1 => (0..40_000_u64).prop_map(Step::Clock),
        1 => Just(Step::GarbageAck),
        1 => Just(Step::Disconnected),
    ]
}

/// What a shell must have seen for the agent to be right.
#[derive(Default)]
struct Model {
    durable: Option<Floor>,
    persisting: Option<Floor>,
    activating: Option<u64>,
    preparing: Option<u64>,
    bad_seen: BTreeSet<usize>,
}

impl Model {
    /// Judges the effects of one event; `durable_now` is the version that it made durable.
    fn follow(&mut self, effects: &[Effect], durable_now: Option<u64>) {
        for (effect, name) in effects.iter().zip(names(effects)) {
            if let Effect::Persist(change) = effect {
                assert!(self.persisting.is_none(), "one at a time");
                assert!(self.activating.is_none(), "one at a time");
                if let Some(durable) = &self.durable {
                    let (new, old) = (&change.floor, durable);
                    assert!((new.epoch, new.version) > (old.epoch, old.version), "floor fell");
                }
                self.persisting = Some(change.floor.clone());
            }
            if let Some(number) = name.strip_prefix("activate ") {
                let number = number.parse().unwrap();
                assert_eq!(durable_now, Some(number), "activated before it was durable");
                self.activating = Some(number);
            }
            if let Some(number) = name.strip_prefix("prepare ") {
                assert!(self.persisting.is_none() && self.activating.is_none(), "past recall");
                self.preparing = Some(number.parse().unwrap());
            }
        }
    }

    fn event_of(&self, step: &Step) -> Option<Event> {
        let refusal = || Refusal::new(Reason::CompileFailed, "no");
        let mail = &*MAIL;
        let prepared = |number: u64, ok: bool| {
            prepared(mail.digest(number), if ok { Ok(()) } else { Err(refusal()) })
        };
        let persisted = |number: u64, ok: bool| {
            let outcome = if ok { Ok(()) } else { Err("full".into()) };
            Event::Persisted(mail.digest(number).clone(), outcome)
        };
        let activated = |number| activated(mail.digest(number), version(number));
        Some(match step {
            Step::Good(index) => Event::Document(mail.good[*index].clone()),
            Step::Bad(index) => Event::Document(mail.bad[*index].clone()),
            Step::Garbage(index) => Event::Document(mail.garbage[*index].clone()),
            Step::RightModule => Event::Module(Digest::of(MODULE), MODULE.to_vec()),
            Step::WrongModule => Event::Module(Digest::of(MODULE), b"wrong".to_vec()),
            Step::Prepared(number, ok) => prepared(*number, *ok),
            Step::Persisted(number, ok) => persisted(*number, *ok),
            Step::Activated(number) => activated(*number),
            Step::Clock(_) => Event::Clock,
            Step::GarbageAck => Event::Ack(b"{}".to_vec()),
            Step::Disconnected => Event::Disconnected,
            Step::Answer(ok) => {
                if let Some(number) = self.activating {
                    activated(number)
                } else if let Some(floor) = &self.persisting {
                    persisted(floor.version.get(), *ok)
                } else {
                    prepared(self.preparing?, *ok)
                }
            }
        })
    }

    /// What the shell knows to have happened by this event.
    fn note(&mut self, event: &Event) -> Option<u64> {
        match event {
            Event::Persisted(document, outcome) => {
                let floor = self.persisting.take_if(|floor| floor.digest == *document)?;
                outcome.is_ok().then(|| self.durable.insert(floor).version.get())
            }
            Event::Keeper(FromKeeper::Activated { version, .. }) => {
                self.activating.take_if(|number| *number == version.get());
                None
            }
            _ => None,
        }
    }
}

fn check(bench: &mut Bench, model: &mut Model, step: &Step) {
    if let Step::Clock(by) = step {
        bench.now = Monotonic(bench.now.0 + by);
    }
    let Some(event) = model.event_of(step) else { return };
    let before = bench.state();
    let activating = model.activating;
    let durable_now = model.note(&event);
    let effects = bench.hear(event);
    model.follow(&effects, durable_now);
    let after = bench.state();
    match step {
        Step::Garbage(_) | Step::GarbageAck | Step::WrongModule => {
            assert_eq!(before, after, "{step:?} changed the agent");
            assert!(refused(&effects).len() <= 1);
        }
        Step::Bad(index) => {
            assert_eq!(after.1, before.1, "{step:?} was applied");
            if model.bad_seen.insert(*index) {
                assert_eq!(reasons(&effects).len(), 1, "{step:?}");
                assert_eq!(after.0, State::Rejected, "{step:?}");
                assert_eq!(reports(&effects).last().unwrap().state, State::Rejected);
            }
        }
        _ => {}
    }
    if after.1 != before.1 {
        assert_eq!(after.1.map(|version| version.get()), activating, "applied out of turn");
        assert_eq!(after.1, model.durable.as_ref().map(|floor| floor.version));
        assert!(after.1 > before.1, "applied went back");
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn no_sequence_of_events_breaks_an_invariant(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut bench = MAIL.fleet.bench();
        let mut model = Model::default();
        for step in &steps {
            // Refusals are kept whole up to 32 a minute: let the window pass.
            bench.now = Monotonic(bench.now.0 + 2_000);
            check(&mut bench, &mut model, step);
        }
    }
}

/// Whatever keeper and store may say of a document, true or not.
fn any_word() -> impl Strategy<Value = Event> {
    let mail = &*MAIL;
    let digest = (0..6_usize).prop_map(|index| mail.digests[index].clone());
    (digest.clone(), prop::option::of(digest), 0..8_u8).prop_map(|(document, to, word)| {
        let refusal = Refusal::new(Reason::ProbationFailed, "3 faults");
        let rolled_back = RolledBack { from: document.clone(), to, refusal: refusal.clone() };
        let engine = Digest::of(b"engine");
        Event::Keeper(match word {
            0 => return Event::Persisted(document, Ok(())),
            1 => return Event::Persisted(document, Err("full".into())),
            2 => return prepared(&document, Ok(())),
            3 => return prepared(&document, Err(refusal)),
            4 => return activated(&document, version(1)),
            5 => FromKeeper::Started { engine, rolled_back: Some(rolled_back) },
            6 => FromKeeper::RolledBack(rolled_back),
            _ => FromKeeper::Proven { document },
        })
    })
}

proptest! {
    #![proptest_config(cases(256))]

    /// The bench's store judges that the floor never falls and names one document only.
    #[test]
    fn no_word_out_of_turn_lowers_the_floor_or_activates_what_is_not_durable(
        turns in prop::collection::vec((step(), prop::option::of(any_word())), 0..60),
    ) {
        let mut bench = MAIL.fleet.bench();
        let mut model = Model::default();
        let mut hear = |model: &mut Model, event: Event| {
            let _ = model.note(&event);
            for effect in bench.hear(event) {
                let Effect::Keeper(message) = effect else {
                    if let Effect::Persist(change) = effect {
                        model.persisting = Some(change.floor.clone());
                    }
                    continue;
                };
                match *message {
                    ToKeeper::Prepare(prepare) => {
                        model.preparing = Some(prepare.document.version.get());
                    }
                    ToKeeper::Activate { document, version } => {
                        model.activating = Some(version.get());
                        let held = bench.stored.envelope.as_deref().map(digest_of);
                        assert_eq!(held, Some(document), "not durable");
                    }
                    _ => {}
                }
            }
            bench.now = Monotonic(bench.now.0 + 2_000);
        };
        for (step, word) in turns {
            if let Some(event) = model.event_of(&step) {
                hear(&mut model, event);
            }
            if let Some(word) = word {
                hear(&mut model, word);
            }
        }
    }
}

#[test]
fn the_random_sequences_do_reach_activation_rejection_and_failed_writes() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut applied, mut rejected, mut store_failed) = (0, 0, 0);
    for _ in 0..100 {
        let steps = prop::collection::vec(step(), 60).new_tree(&mut runner).unwrap().current();
        let (mut bench, mut model) = (MAIL.fleet.bench(), Model::default());
        for step in &steps {
            bench.now = Monotonic(bench.now.0 + 2_000);
            check(&mut bench, &mut model, step);
        }
        let reported = bench.reported();
        applied += u32::from(reported.applied.is_some_and(|version| version.get() > 1));
        rejected += u32::from(reported.state == State::Rejected);
        store_failed += u32::from(reported.refused.contains_key(&Reason::StoreFailed));
    }
    let reached = (applied, rejected, store_failed);
    assert!(applied > 50 && rejected > 10 && store_failed > 5, "{reached:?} of 100");
}
