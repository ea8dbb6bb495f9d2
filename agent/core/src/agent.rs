//! The planner's state machine: bytes in, effects out.
//!
//! A document goes verify, accept, fetch, prepare (the runner admits), persist
//! (floor, document and modules in one transaction), activate (the runner swaps).
//! Only after `persist` is the swap asked for, so the floor is durable before it
//! lets anything act. A failure anywhere leaves what runs running.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::ack::Ack;
use gnomon_schemas::document::{Document, InlineBytes, OnExpiry};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::module::JudgeEvidence;
use gnomon_schemas::reported::{FunctionReport, Reported, ReportedSchema, State};
use gnomon_schemas::results::{Record, RefusalEvent, Results, ResultsSchema, Summary};
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::{Verified, verify};
use gnomon_schemas::{BootId, Digest, Reason, Refusal, Version};

use crate::accept::{Floor, Identity, Order, accept, check_address};
use crate::message::{FromRunner, ToRunner};
use crate::pending::{Pending, Stage};
use crate::refusals::Refusals;
use crate::time::{Monotonic, TimeFloor};

/// How long a document may wait for its modules.
pub const FETCH_TIMEOUT_MS: u64 = 60_000;

/// What the agent hears.
#[derive(Debug)]
pub enum Event {
    /// The agent starts, with what its store held.
    Started(Stored),
    /// The broker accepted the connection and the subscriptions.
    Connected,
    /// The connection is gone.
    Disconnected,
    /// Bytes came on the desired topic.
    Document(Vec<u8>),
    /// Bytes came on a module's topic, or out of the store.
    Module(Digest, Vec<u8>),
    /// Bytes came on the ack topic.
    Ack(Vec<u8>),
    /// The store has tried to make a document durable.
    Persisted(Version, Result<(), String>),
    /// The runner spoke.
    Runner(FromRunner),
    /// Some time has passed.
    Clock,
}

/// What the store held at the start.
#[derive(Debug, Default)]
pub struct Stored {
    /// The floor.
    pub floor: Option<Floor>,
    /// The envelope of the document in force.
    pub envelope: Option<Vec<u8>>,
    /// The modules that are there.
    pub modules: BTreeMap<Digest, Vec<u8>>,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Subscribe to a module's topic and deliver what comes.
    FetchModule(Digest),
    /// Leave a module's topic.
    ForgetModule(Digest),
    /// Send to the runner.
    Runner(Box<ToRunner>),
    /// Make all of this durable in one transaction, then say so.
    Persist(Box<Transaction>),
    /// Publish the reported document, retained.
    Report(Box<Reported>),
    /// Append a batch to the outbox, durably.
    Append(Box<Results>),
    /// Delete acknowledged batches from the outbox.
    Delete(BootId, Vec<u64>),
    /// Publish what the outbox holds, the oldest first.
    Send,
}

/// One transition of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// The new floor.
    pub floor: Floor,
    /// The lowest possible time.
    pub time_floor_ms: u64,
    /// The envelope that comes into force.
    pub envelope: Vec<u8>,
    /// Its modules; all others can go, but for those of the previous document.
    pub modules: BTreeMap<Digest, InlineBytes>,
}

/// The planner's state.
pub struct Agent {
    identity: Identity,
    root: TrustRoot,
    judge: Box<dyn JudgeEvidence + Send>,
    boot: BootId,
    agent_version: String,
    engine: Option<Digest>,
    time: TimeFloor,
    floor: Option<Floor>,
    stored_modules: BTreeMap<Digest, Vec<u8>>,
    applied: Option<Verified<Document>>,
    pending: Option<Pending>,
    /// The newest document that came while another was past recall.
    waiting: Option<Vec<u8>>,
    /// The payload that was refused last: hearing it again is no news.
    refused_digest: Option<Digest>,
    seen: Option<Version>,
    state: State,
    defaulted: bool,
    functions: BTreeMap<FunctionName, FunctionReport>,
    refusals: Refusals,
    report_sequence: u64,
    results_sequence: u64,
}

/// What an agent is made with.
pub struct Setup {
    /// Who the device is.
    pub identity: Identity,
    /// The trust root in force.
    pub root: TrustRoot,
    /// The judge of module evidence.
    pub judge: Box<dyn JudgeEvidence + Send>,
    /// This start of the agent.
    pub boot: BootId,
    /// The agent's release.
    pub agent_version: String,
    /// The lowest possible time at the start (Unix time, ms).
    pub time_floor_ms: u64,
}

impl Agent {
    /// An agent that has heard nothing yet.
    pub fn new(setup: Setup) -> Agent {
        Agent {
            identity: setup.identity,
            root: setup.root,
            judge: setup.judge,
            boot: setup.boot,
            agent_version: setup.agent_version,
            engine: None,
            time: TimeFloor::new(setup.time_floor_ms, Monotonic(0)),
            floor: None,
            stored_modules: BTreeMap::new(),
            applied: None,
            pending: None,
            waiting: None,
            refused_digest: None,
            seen: None,
            state: State::Pending,
            defaulted: false,
            functions: BTreeMap::new(),
            refusals: Refusals::default(),
            report_sequence: 0,
            results_sequence: 0,
        }
    }

    /// The one entry: what has happened, and what is to be done about it.
    pub fn apply(&mut self, now: Monotonic, event: Event) -> Vec<Effect> {
        match event {
            Event::Started(stored) => self.start(now, stored),
            Event::Connected => vec![self.report(now), Effect::Send],
            Event::Disconnected => vec![],
            Event::Document(bytes) => self.document(now, bytes),
            Event::Module(digest, bytes) => self.module(now, &digest, &bytes),
            Event::Ack(bytes) => self.ack(now, &bytes),
            Event::Persisted(version, outcome) => self.persisted(now, version, outcome),
            Event::Runner(message) => self.runner(now, message),
            Event::Clock => self.clock(now),
        }
    }

    /// The version in force.
    pub fn applied_version(&self) -> Option<Version> {
        self.applied.as_ref().map(|document| document.payload().version)
    }

    /// Goes on with what the store held: verified again, but not judged against
    /// the floor or the clock, since it was accepted before.
    fn start(&mut self, now: Monotonic, stored: Stored) -> Vec<Effect> {
        self.floor = stored.floor;
        self.seen = self.floor.as_ref().map(|floor| floor.version);
        self.stored_modules = stored.modules;
        let Some(envelope) = stored.envelope else { return vec![] };
        let verified = verify::<Document>(&envelope, &self.root.roles.director)
            .map_err(Refusal::from)
            .and_then(|document| {
                check_address(document.payload(), &self.identity)?;
                Ok(document)
            });
        match verified {
            Ok(document) => self.begin(now, Pending::new(document, envelope, now, true)),
            Err(refusal) => self.refuse(now, None, refusal.at("stored document")),
        }
    }

    fn document(&mut self, now: Monotonic, bytes: Vec<u8>) -> Vec<Effect> {
        if let Some(pending) = &self.pending
            && matches!(pending.stage, Stage::Persisting | Stage::Activating)
        {
            self.waiting = Some(bytes);
            return vec![];
        }
        let document = match verify::<Document>(&bytes, &self.root.roles.director) {
            Ok(document) => document,
            Err(error) => return self.refuse(now, None, error.into()),
        };
        let is_known = |digest: Option<&Digest>| digest == Some(document.digest());
        if is_known(self.pending.as_ref().map(|pending| pending.document.digest()))
            || is_known(self.refused_digest.as_ref())
        {
            return vec![];
        }
        let version = document.payload().version;
        let lowest_ms = self.time.lowest_ms(now);
        match accept(&document, &self.identity, self.floor.as_ref(), lowest_ms) {
            Ok(Order::Same) => vec![],
            Ok(Order::Newer) => {
                self.seen = Some(version);
                self.time.raise(document.payload().issued_at_ms, now);
                self.begin(now, Pending::new(document, bytes, now, false))
            }
            Err(refusal) => self.refuse_document(now, &document, refusal),
        }
    }

    /// Takes a document up: collects the modules that are at hand, asks for the rest.
    fn begin(&mut self, now: Monotonic, mut pending: Pending) -> Vec<Effect> {
        let inline = pending.document.payload().modules.clone();
        for digest in pending.missing() {
            let listed = inline.get(&digest).and_then(|listed| listed.inline.as_ref());
            let at_hand = listed.map(|bytes| &bytes.0).or_else(|| self.stored_modules.get(&digest));
            let Some(bytes) = at_hand else { continue };
            let taken = pending.take_module(
                &digest,
                bytes,
                &self.identity.profile,
                &self.root,
                self.judge.as_ref(),
            );
            if let Err(refusal) = taken {
                let document = pending.document;
                return self.refuse_document(now, &document, refusal);
            }
        }
        let mut effects: Vec<Effect> =
            pending.missing().into_iter().map(Effect::FetchModule).collect();
        self.state = State::Pending;
        self.pending = Some(pending);
        effects.extend(self.prepare());
        effects.push(self.report(now));
        effects
    }

    fn module(&mut self, now: Monotonic, digest: &Digest, bytes: &[u8]) -> Vec<Effect> {
        let Some(pending) = self.pending.as_mut().filter(|p| p.stage == Stage::Fetching) else {
            return vec![Effect::ForgetModule(digest.clone())];
        };
        if !pending.missing().contains(digest) {
            return vec![Effect::ForgetModule(digest.clone())];
        }
        let profile = &self.identity.profile;
        // A broker can put any bytes on the topic: that is no reason to give up on
        // a document while the right bytes may still come.
        match pending.take_module(digest, bytes, profile, &self.root, self.judge.as_ref()) {
            Ok(()) => {
                let mut effects = vec![Effect::ForgetModule(digest.clone())];
                effects.extend(self.prepare());
                effects
            }
            Err(refusal) if refusal.reason == Reason::ModuleDigestMismatch => {
                let version = pending.document.payload().version;
                self.refuse(now, Some(version), refusal)
            }
            Err(refusal) => self.abandon(now, refusal),
        }
    }

    /// Hands the document to the runner when nothing is missing.
    fn prepare(&mut self) -> Option<Effect> {
        let pending = self.pending.as_mut().filter(|p| p.stage == Stage::Fetching)?;
        if !pending.missing().is_empty() {
            return None;
        }
        pending.stage = Stage::Preparing;
        Some(Effect::Runner(Box::new(ToRunner::Prepare {
            document: pending.document.payload().clone(),
            modules: pending.modules(),
        })))
    }

    fn runner(&mut self, now: Monotonic, message: FromRunner) -> Vec<Effect> {
        match message {
            FromRunner::Started { engine } => {
                self.engine = Some(engine);
                vec![]
            }
            FromRunner::Prepared { version, outcome } => self.prepared(now, version, outcome),
            FromRunner::Activated { version, .. } => self.activated(now, version),
            FromRunner::Done { summaries, records } => self.done(summaries, records),
        }
    }

    fn prepared(
        &mut self,
        now: Monotonic,
        version: Version,
        outcome: Result<(), Refusal>,
    ) -> Vec<Effect> {
        let Some(pending) = self
            .pending
            .as_mut()
            .filter(|p| p.stage == Stage::Preparing && p.document.payload().version == version)
        else {
            return vec![];
        };
        if let Err(refusal) = outcome {
            return self.abandon(now, refusal);
        }
        if pending.restored {
            pending.stage = Stage::Activating;
            return vec![activate(version)];
        }
        pending.stage = Stage::Persisting;
        vec![Effect::Persist(Box::new(Transaction {
            floor: Floor {
                epoch: pending.document.payload().epoch,
                version,
                digest: pending.document.digest().clone(),
            },
            time_floor_ms: self.time.lowest_ms(now),
            envelope: pending.envelope.clone(),
            modules: pending.modules(),
        }))]
    }

    fn persisted(
        &mut self,
        now: Monotonic,
        version: Version,
        outcome: Result<(), String>,
    ) -> Vec<Effect> {
        let Some(pending) = self
            .pending
            .as_mut()
            .filter(|p| p.stage == Stage::Persisting && p.document.payload().version == version)
        else {
            return vec![];
        };
        if let Err(error) = outcome {
            let effects = self.abandon(now, Refusal::new(Reason::StoreFailed, error));
            // It was not the document's fault: the next delivery may try again.
            self.refused_digest = None;
            return effects;
        }
        pending.stage = Stage::Activating;
        self.floor = Some(Floor {
            epoch: pending.document.payload().epoch,
            version,
            digest: pending.document.digest().clone(),
        });
        vec![activate(version)]
    }

    fn activated(&mut self, now: Monotonic, version: Version) -> Vec<Effect> {
        let is_it = |p: &Pending| p.document.payload().version == version;
        if !self.pending.as_ref().is_some_and(is_it) {
            return vec![];
        }
        let Some(pending) = self.pending.take() else { return vec![] };
        self.stored_modules =
            pending.modules().into_iter().map(|(digest, bytes)| (digest, bytes.0)).collect();
        self.note_slots(pending.document.payload());
        self.applied = Some(pending.document);
        self.state = State::InSync;
        self.defaulted = false;
        self.refused_digest = None;
        let mut effects = self.check_expiry(now);
        effects.push(self.report(now));
        if let Some(newer) = self.waiting.take() {
            effects.extend(self.document(now, newer));
        }
        effects
    }

    fn note_slots(&mut self, document: &Document) {
        let mut functions = BTreeMap::new();
        for (name, plan) in &document.functions {
            let before = self.functions.remove(name).unwrap_or_default();
            let active = plan.active.as_ref().map(|slot| slot.module.clone());
            let previous = if before.active == active { before.previous } else { before.active };
            let candidates = plan.candidates.iter().map(|slot| slot.module.clone()).collect();
            let report = FunctionReport { active, previous, candidates, executed: before.executed };
            functions.insert(name.clone(), report);
        }
        self.functions = functions;
    }

    fn done(&mut self, summaries: Vec<Summary>, records: Vec<Record>) -> Vec<Effect> {
        for summary in &summaries {
            let called = summary.evaluations > 0 || !summary.faults.is_empty();
            if let (true, Some(module)) = (called, &summary.module) {
                let report = self.functions.entry(summary.function.clone()).or_default();
                report.executed.insert(module.clone());
            }
        }
        vec![self.results(summaries, records, vec![]), Effect::Send]
    }

    fn clock(&mut self, now: Monotonic) -> Vec<Effect> {
        let late = |p: &Pending| {
            p.stage == Stage::Fetching && now.0.saturating_sub(p.since.0) >= FETCH_TIMEOUT_MS
        };
        if let Some(pending) = self.pending.as_ref().filter(|p| late(p)) {
            let missing: Vec<String> =
                pending.missing().iter().map(|digest| digest.short().to_string()).collect();
            let detail = format!("never came: {}", missing.join(", "));
            let effects = self.abandon(now, Refusal::new(Reason::ModuleMissing, detail));
            self.refused_digest = None;
            return effects;
        }
        let mut effects = self.check_expiry(now);
        if !effects.is_empty() {
            effects.push(self.report(now));
        }
        effects.push(Effect::Send);
        effects
    }

    /// Expiry never stops what runs, unless the signed document says so itself.
    fn check_expiry(&mut self, now: Monotonic) -> Vec<Effect> {
        let Some(applied) = self.applied.as_ref() else { return vec![] };
        let document = applied.payload();
        if self.state == State::Expired || self.time.lowest_ms(now) < document.expires_at_ms {
            return vec![];
        }
        self.state = State::Expired;
        if document.on_expiry == OnExpiry::Default && !self.defaulted {
            self.defaulted = true;
            return vec![Effect::Runner(Box::new(ToRunner::Defaults))];
        }
        vec![Effect::Send]
    }

    fn ack(&mut self, now: Monotonic, bytes: &[u8]) -> Vec<Effect> {
        let ack = match verify::<Ack>(bytes, &self.root.roles.director) {
            Ok(ack) => ack.into_payload(),
            Err(error) => return self.refuse(now, None, Refusal::from(error).at("ack")),
        };
        if ack.device != self.identity.device || ack.fleet != self.identity.fleet {
            let detail = format!("ack for `{}` of `{}`", ack.device, ack.fleet);
            return self.refuse(now, None, Refusal::new(Reason::WrongDevice, detail));
        }
        vec![Effect::Delete(ack.boot, ack.sequences), Effect::Send]
    }

    /// Gives a pending document up; what ran before still runs.
    fn abandon(&mut self, now: Monotonic, refusal: Refusal) -> Vec<Effect> {
        let Some(pending) = self.pending.take() else { return vec![] };
        let missing = pending.missing();
        let mut effects: Vec<Effect> = missing.into_iter().map(Effect::ForgetModule).collect();
        effects.extend(self.refuse_document(now, &pending.document, refusal));
        if let Some(newer) = self.waiting.take() {
            effects.extend(self.document(now, newer));
        }
        effects
    }

    /// Refuses a document whose signature was valid: the device is not in sync
    /// with what its cloud wants, unless that is older than what it has.
    fn refuse_document(
        &mut self,
        now: Monotonic,
        document: &Verified<Document>,
        refusal: Refusal,
    ) -> Vec<Effect> {
        let payload = document.payload();
        let is_ours = check_address(payload, &self.identity).is_ok();
        let is_newer = self
            .floor
            .as_ref()
            .is_none_or(|floor| (payload.epoch, payload.version) > (floor.epoch, floor.version));
        if is_ours && is_newer {
            self.seen = Some(payload.version);
            self.state = State::Rejected;
        }
        self.refused_digest = Some(document.digest().clone());
        self.refuse(now, Some(payload.version), refusal)
    }

    /// Every refusal comes through here: counted, reported, kept for the cloud.
    fn refuse(
        &mut self,
        now: Monotonic,
        version: Option<Version>,
        refusal: Refusal,
    ) -> Vec<Effect> {
        let keep = self.refusals.note(&refusal, now.0);
        let mut effects = vec![];
        if keep {
            let event = RefusalEvent { at_ms: self.time.lowest_ms(now), version, refusal };
            effects.push(self.results(vec![], vec![], vec![event]));
            effects.push(self.report(now));
            effects.push(Effect::Send);
        }
        effects
    }

    fn results(
        &mut self,
        summaries: Vec<Summary>,
        records: Vec<Record>,
        refusals: Vec<RefusalEvent>,
    ) -> Effect {
        self.results_sequence += 1;
        Effect::Append(Box::new(Results {
            schema: ResultsSchema::V1,
            fleet: self.identity.fleet.clone(),
            device: self.identity.device.clone(),
            boot: self.boot.clone(),
            sequence: self.results_sequence,
            engine: self.engine_digest(),
            summaries,
            records,
            refusals,
            dropped_batches: 0,
        }))
    }

    /// Until the runner has said what it is, the digest of nothing.
    fn engine_digest(&self) -> Digest {
        self.engine.clone().unwrap_or_else(|| Digest::of(b""))
    }

    fn report(&mut self, now: Monotonic) -> Effect {
        self.report_sequence += 1;
        let reported = Reported {
            schema: ReportedSchema::V1,
            fleet: self.identity.fleet.clone(),
            device: self.identity.device.clone(),
            boot: self.boot.clone(),
            sequence: self.report_sequence,
            at_ms: self.time.lowest_ms(now),
            profile: self.identity.profile_digest.clone(),
            engine: self.engine_digest(),
            agent_version: self.agent_version.clone(),
            trust_version: self.root.version,
            state: self.state,
            seen: self.seen,
            applied: self.applied_version(),
            applied_digest: self.applied.as_ref().map(|document| document.digest().clone()),
            refusal: self.refusals.last().cloned(),
            refused: self.refusals.counts().clone(),
            functions: self.functions.clone(),
        };
        self.functions.values_mut().for_each(|report| report.executed = BTreeSet::new());
        Effect::Report(Box::new(reported))
    }
}

fn activate(version: Version) -> Effect {
    Effect::Runner(Box::new(ToRunner::Activate { version }))
}
