//! An agent on a bench, with a shell, a store and a keeper that do at once, and without
//! fault, what they are told. It judges nothing but that the floor never falls.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_agent_core::agent::{Failure, Transaction};
use gnomon_agent_core::message::{FunctionState, Prepare, ToKeeper};
use gnomon_agent_core::{Agent, Effect, Event, Floor, Monotonic, Stored};
use gnomon_schemas::document::Document;
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::reported::{Reported, State};
use gnomon_schemas::results::RefusalEvent;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{BootId, Digest, Reason, Version};

use super::fixture::{Fleet, activated, prepared, session};

/// An agent and its shell.
pub struct Bench {
    pub agent: Agent,
    pub now: Monotonic,
    /// What the shell's store holds.
    pub stored: Stored,
    /// The effects of the start.
    pub started: Vec<Effect>,
    /// What the store was told to keep and has not answered for.
    writing: Option<Transaction>,
}

impl Fleet {
    /// A bench whose agent has started with an empty store.
    pub fn bench(&self) -> Bench {
        self.bench_from(Stored::default())
    }

    /// A bench whose agent has started with this store.
    pub fn bench_from(&self, stored: Stored) -> Bench {
        Bench::start(self, &self.root, &session(1), stored)
    }

    /// The same, of a device whose firmware has the first root of all.
    pub fn bench_with_first_root(&self, stored: Stored) -> Bench {
        Bench::start(self, &self.first_root, &session(1), stored)
    }

    /// The same, in another start of the keeper.
    pub fn bench_in(&self, session: &BootId, stored: Stored) -> Bench {
        Bench::start(self, &self.first_root, session, stored)
    }
}

impl Bench {
    /// An agent that has heard nothing yet, before a store that holds this.
    pub fn idle(fleet: &Fleet, root: &TrustRoot, session: &BootId, stored: Stored) -> Bench {
        let agent = fleet.agent_of(root, session);
        Bench { agent, now: Monotonic(0), stored, started: vec![], writing: None }
    }

    fn start(fleet: &Fleet, root: &TrustRoot, session: &BootId, stored: Stored) -> Bench {
        let mut bench = Bench::idle(fleet, root, session, stored);
        bench.started = bench.run(Event::Started(bench.stored.clone()));
        bench
    }

    /// The store keeps what it was told to, and nobody hears of it.
    pub fn write(&mut self) {
        if let Some(change) = self.writing.take() {
            self.keep(&change);
        }
    }

    /// One event, and what it leads to at once. The store keeps what it need not answer for.
    pub fn hear(&mut self, event: Event) -> Vec<Effect> {
        if let Event::Persisted(document, outcome) = &event {
            let written = self.writing.take_if(|change| change.floor.digest == *document);
            if let (Some(change), Ok(())) = (written, outcome) {
                self.keep(&change);
            }
        }
        let effects = self.agent.apply(self.now, event);
        for effect in &effects {
            match effect {
                Effect::Persist(change) => self.writing = Some(change.as_ref().clone()),
                Effect::PersistRoot { version, envelope, .. } => {
                    self.stored.roots.insert(*version, envelope.clone());
                    self.stored.mirror.trust_version = *version;
                }
                Effect::KeepTrial(trial) => self.stored.trial = trial.clone(),
                Effect::KeepFailure(failure) => self.fail(failure),
                Effect::PersistRollback(failure) => self.go_back(failure),
                Effect::Append(append) => self.note_states(&append.states),
                _ => {}
            }
        }
        effects
    }

    /// One event, and all that follows when keeper and store do as they are told.
    pub fn run(&mut self, event: Event) -> Vec<Effect> {
        let mut all = vec![];
        let mut events = vec![event];
        while let Some(event) = (!events.is_empty()).then(|| events.remove(0)) {
            for effect in self.hear(event) {
                match &effect {
                    Effect::Persist(change) => {
                        events.push(Event::Persisted(change.floor.digest.clone(), Ok(())));
                    }
                    Effect::PersistRoot { version, .. } => {
                        events.push(Event::RootPersisted(*version, Ok(())));
                    }
                    Effect::Keeper(message) => events.extend(answer(message)),
                    _ => {}
                }
                all.push(effect);
            }
        }
        all
    }

    pub fn run_document(&mut self, fleet: &Fleet, document: &Document) -> Vec<Effect> {
        self.run(Event::Document(fleet.seal_document(document)))
    }

    /// The document comes, and goes no further than the keeper.
    pub fn hear_document(&mut self, fleet: &Fleet, document: &Document) -> Vec<Effect> {
        self.hear(Event::Document(fleet.seal_document(document)))
    }

    /// A document in force that has proved itself.
    pub fn prove(&mut self, fleet: &Fleet, document: &Document) {
        self.run_document(fleet, document);
        self.run(fleet.proven(document));
        assert_eq!(self.state(), (State::InSync, Some(document.version)));
    }

    fn keep(&mut self, change: &Transaction) {
        let stored = &mut self.stored;
        if let Some(before) = &stored.floor {
            assert!(change.floor.place() >= before.place(), "the floor fell");
            let is_other = change.floor.digest != before.digest;
            assert!(change.floor.place() > before.place() || !is_other, "two for one floor");
        }
        let is_same =
            stored.envelope.as_deref().map(digest_of) == Some(digest_of(&change.envelope));
        if !is_same && !change.keeps_previous {
            stored.previous = stored.envelope.take();
            stored.previous_trust_version = stored.envelope_trust_version;
            stored.previous_states = stored.states.clone();
        }
        stored.floor = Some(change.floor.clone());
        stored.mirror.floor = Some(change.floor.clone());
        stored.envelope = Some(change.envelope.clone());
        stored.envelope_trust_version = Some(change.floor.trust_version);
        stored.trial = change.trial.clone();
        stored.rolled_back_from = None;
        let modules = change.modules.iter();
        stored.modules.extend(modules.map(|(d, bytes)| (d.clone(), bytes.0.clone())));
    }

    fn go_back(&mut self, failure: &Failure) {
        let stored = &mut self.stored;
        let in_force = stored.envelope.as_deref().map(digest_of);
        assert_eq!(in_force.as_ref(), Some(&failure.document), "it is not in force");
        stored.envelope = stored.previous.take();
        stored.envelope_trust_version = stored.previous_trust_version.take();
        stored.states = std::mem::take(&mut stored.previous_states);
        stored.rolled_back_from = Some(failure.document.clone());
        stored.trial = None;
        self.fail(failure);
    }

    fn fail(&mut self, failure: &Failure) {
        self.stored.failures.retain(|known| known.document != failure.document);
        self.stored.failures.push(failure.clone());
    }

    fn note_states(&mut self, states: &[FunctionState]) {
        self.stored.states.retain(|known| states.iter().all(|new| !new.is_of(known)));
        self.stored.states.extend_from_slice(states);
    }

    /// What the agent would report now.
    pub fn reported(&mut self) -> Reported {
        let effects = self.hear(Event::Connected);
        reports(&effects).pop().unwrap()
    }

    pub fn state(&mut self) -> (State, Option<Version>) {
        let reported = self.reported();
        (reported.state, reported.applied)
    }
}

/// The digest of an envelope's payload.
pub fn digest_of(envelope: &[u8]) -> Digest {
    let envelope: Envelope = serde_json::from_slice(envelope).unwrap();
    Digest::of(&STANDARD.decode(envelope.payload).unwrap())
}

fn answer(message: &ToKeeper) -> Option<Event> {
    match message {
        ToKeeper::Prepare(prepare) => Some(prepared(&prepare.digest, Ok(()))),
        ToKeeper::Activate { document, version } => Some(activated(document, *version)),
        ToKeeper::Defaults | ToKeeper::Stop { .. } | ToKeeper::Kept { .. } => None,
    }
}

/// What the keeper is to prepare.
pub fn prepares(effects: &[Effect]) -> Vec<Prepare> {
    let prepares = effects.iter().filter_map(|effect| match effect {
        Effect::Keeper(message) => match message.as_ref() {
            ToKeeper::Prepare(prepare) => Some(prepare.as_ref().clone()),
            _ => None,
        },
        _ => None,
    });
    prepares.collect()
}

/// The effects in a word or two each.
pub fn names(effects: &[Effect]) -> Vec<String> {
    effects.iter().map(name).collect()
}

fn name(effect: &Effect) -> String {
    match effect {
        Effect::FetchModule(_) => "fetch".into(),
        Effect::ForgetModule(_) => "forget".into(),
        Effect::Keeper(message) => match message.as_ref() {
            ToKeeper::Prepare(prepare) => format!("prepare {}", prepare.document.version),
            ToKeeper::Activate { version, .. } => format!("activate {version}"),
            ToKeeper::Defaults => "defaults".into(),
            ToKeeper::Stop { modules } => format!("stop {}", modules.len()),
            ToKeeper::Kept { number } => format!("kept {number}"),
        },
        Effect::Persist(change) => format!("persist {}", change.floor.version),
        Effect::FetchRoot(version) => format!("fetch root {version}"),
        Effect::PersistRoot { version, .. } => format!("persist root {version}"),
        Effect::FetchDocument => "fetch document".into(),
        Effect::KeepTime(_) => "keep time".into(),
        Effect::Report(reported) => format!("report {:?}", reported.state),
        Effect::Append(_) => "append".into(),
        Effect::KeepTrial(trial) => {
            trial.as_ref().map_or("end trial".into(), |trial| format!("trial {}", trial.starts))
        }
        Effect::KeepFailure(_) => "keep failure".into(),
        Effect::PersistRollback(_) => "persist rollback".into(),
        Effect::Delete(..) => "delete".into(),
        Effect::Send => "send".into(),
    }
}

pub fn reports(effects: &[Effect]) -> Vec<Reported> {
    let reports = effects.iter().filter_map(|effect| match effect {
        Effect::Report(reported) => Some(reported.as_ref().clone()),
        _ => None,
    });
    reports.collect()
}

/// Every refusal that these effects keep for the cloud.
pub fn refused(effects: &[Effect]) -> Vec<RefusalEvent> {
    let batches = effects.iter().filter_map(|effect| match effect {
        Effect::Append(append) => Some(append.batches.iter().flat_map(|b| b.refusals.clone())),
        _ => None,
    });
    batches.flatten().collect()
}

pub fn reasons(effects: &[Effect]) -> Vec<Reason> {
    refused(effects).into_iter().map(|event| event.refusal.reason).collect()
}

pub fn floor(effects: &[Effect]) -> Option<Floor> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Persist(change) => Some(change.floor.clone()),
        _ => None,
    })
}
