//! The production verifier on a bench: a real [`Agent`] with a shell that does at
//! once, and without fault, what it is told. It judges nothing itself.

use gnomon_agent_core::agent::Setup;
use gnomon_agent_core::message::{FromKeeper, ToKeeper};
use gnomon_agent_core::{Agent, Effect, Event, Floor, Identity, Monotonic, Stored};
use gnomon_schemas::reported::Reported;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{BootId, Digest, Reason, Version};
use gnomon_sigstore::Judge;
use std::collections::BTreeMap;

/// An agent and its shell.
pub(crate) struct Bench {
    agent: Agent,
    now: Monotonic,
    /// What the shell's store holds of the document in force.
    pub(crate) floor: Option<Floor>,
    pub(crate) roots: BTreeMap<u64, Vec<u8>>,
    /// What the runner was told to prepare or to put in force.
    pub(crate) touched: Vec<Digest>,
}

/// What one event has led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The refusals that it earned.
    pub(crate) refused: Vec<Reason>,
    /// Whether store or runner were told anything.
    pub(crate) acted: bool,
}

/// What must not change by an attack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    applied: Option<Version>,
    floor: Option<Floor>,
    trust_version: u64,
    executed: Vec<Option<Digest>>,
}

impl Bench {
    /// An agent that has started with an empty store.
    pub(crate) fn new(identity: Identity, root: TrustRoot, lowest_ms: u64) -> Bench {
        let agent = Agent::new(Setup {
            identity,
            root,
            judge: Box::new(Judge),
            session: BootId::from_random([8; 16]),
            boot: BootId::from_random([7; 16]),
            agent_version: "0.0.0".into(),
            time_floor_ms: lowest_ms,
            released_at_ms: lowest_ms,
        });
        let (floor, roots, touched) = (None, BTreeMap::new(), vec![]);
        let mut bench = Bench { agent, now: Monotonic(0), floor, roots, touched };
        bench.hear(Event::Started(Stored::default()));
        bench
    }

    /// One event, and all that follows when runner and store do as they are told.
    pub(crate) fn hear(&mut self, event: Event) -> Outcome {
        let mut outcome = Outcome { refused: vec![], acted: false };
        let mut events = vec![event];
        while let Some(event) = (!events.is_empty()).then(|| events.remove(0)) {
            for effect in self.agent.apply(self.now, event) {
                outcome.acted |= matches!(
                    effect,
                    Effect::Persist(_) | Effect::PersistRoot { .. } | Effect::Keeper(_)
                );
                match effect {
                    Effect::Persist(change) => {
                        let document = change.floor.digest.clone();
                        self.floor = Some(change.floor.clone());
                        events.push(Event::Persisted(document, Ok(())));
                    }
                    Effect::PersistRoot { version, envelope, .. } => {
                        self.roots.insert(version, envelope);
                        events.push(Event::RootPersisted(version, Ok(())));
                    }
                    Effect::Keeper(message) => events.extend(self.run(&message)),
                    Effect::Append(append) => {
                        let refusals = append.batches.iter().flat_map(|batch| &batch.refusals);
                        outcome.refused.extend(refusals.map(|event| event.refusal.reason));
                    }
                    _ => {}
                }
            }
        }
        outcome
    }

    fn run(&mut self, message: &ToKeeper) -> Option<Event> {
        let answer = match message {
            ToKeeper::Prepare(prepare) => {
                self.touched.extend(prepare.modules.keys().cloned());
                FromKeeper::Prepared { document: prepare.digest.clone(), outcome: Ok(()) }
            }
            ToKeeper::Activate { document, version } => FromKeeper::Activated {
                document: document.clone(),
                version: *version,
                swap_ns: 1,
                from_tick: BTreeMap::new(),
            },
            ToKeeper::Defaults | ToKeeper::Stop { .. } | ToKeeper::Kept { .. } => return None,
        };
        Some(Event::Keeper(answer))
    }

    /// Time goes by.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now.0 += ms;
    }

    /// What the agent would report now.
    pub(crate) fn reported(&mut self) -> Reported {
        let effects = self.agent.apply(self.now, Event::Connected);
        let mut reports = effects.into_iter().filter_map(|effect| match effect {
            Effect::Report(reported) => Some(*reported),
            _ => None,
        });
        reports.next_back().unwrap()
    }

    /// What runs, what was accepted, under which root.
    pub(crate) fn state(&mut self) -> State {
        let reported = self.reported();
        State {
            applied: reported.applied,
            floor: self.floor.clone(),
            trust_version: reported.trust_version,
            executed: reported.functions.values().map(|report| report.active.clone()).collect(),
        }
    }
}
