//! The planner's state machine: bytes in, effects out.
//!
//! A document goes verify, accept, fetch, prepare (the runner admits), persist
//! (floor, document and modules in one transaction), activate (the runner swaps).
//! Only after `persist` is the swap asked for, so the floor is durable before it
//! lets anything act. A failure anywhere leaves what runs running.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::ack::Ack;
use gnomon_schemas::document::Document;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::module::JudgeEvidence;
use gnomon_schemas::reported::{FunctionReport, State};
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::{Verified, verify};
use gnomon_schemas::{BootId, Digest, Reason, Refusal, Version};

use crate::accept::{Floor, Identity, Order, accept, check_address};
use crate::message::{FromRunner, MODULES_BYTES_MAX, ToRunner};
use crate::pending::{Pending, Stage};
use crate::record_budget::RecordBudget;
use crate::refusals::Refusals;
use crate::time::{Monotonic, TimeFloor};

mod clock;
mod outward;
mod roots;

pub use crate::event::{Effect, Event, Mirror, Setup, Stored, Transaction};

/// How long until a document that failed through no fault of its own is tried again.
pub const AGAIN_AFTER_MS: u64 = 60_000;
/// How often the lowest possible time is made durable.
pub const KEEP_TIME_MS: u64 = 600_000;
/// How long a document may wait for its modules.
pub const FETCH_TIMEOUT_MS: u64 = 60_000;

/// The planner's state.
pub struct Agent {
    identity: Identity,
    /// The trust root in force.
    root: TrustRoot,
    roots: roots::Roots,
    judge: Box<dyn JudgeEvidence + Send>,
    boot: BootId,
    agent_version: String,
    engine: Option<Digest>,
    time: TimeFloor,
    released_at_ms: u64,
    floor: Option<Floor>,
    stored_modules: BTreeMap<Digest, Vec<u8>>,
    applied: Option<Verified<Document>>,
    pending: Option<Pending>,
    /// The newest document that came while another was past recall, and its envelope.
    waiting: Option<(Verified<Document>, Vec<u8>)>,
    /// The payload that was refused last: hearing it again is no news.
    refused_digest: Option<Digest>,
    /// A newer document was refused while another was on its way.
    refused_newer: bool,
    /// Epoch and version of the newest document with a valid signature.
    seen: Option<(u64, Version)>,
    state: State,
    defaulted: bool,
    functions: BTreeMap<FunctionName, FunctionReport>,
    refusals: Refusals,
    record_budget: RecordBudget,
    time_kept: Monotonic,
    /// A document that failed through no fault of its own, and when. Whatever is taken
    /// up after it takes its place.
    again: Option<(Vec<u8>, Monotonic)>,
    report_sequence: u64,
    results_sequence: u64,
}

impl Agent {
    /// An agent that has heard nothing yet.
    pub fn new(setup: Setup) -> Agent {
        Agent {
            identity: setup.identity,
            root: setup.root,
            roots: roots::Roots::default(),
            judge: setup.judge,
            boot: setup.boot,
            agent_version: setup.agent_version,
            engine: None,
            time: TimeFloor::new(setup.time_floor_ms, Monotonic(0)),
            released_at_ms: setup.released_at_ms,
            floor: None,
            stored_modules: BTreeMap::new(),
            applied: None,
            pending: None,
            waiting: None,
            refused_digest: None,
            refused_newer: false,
            seen: None,
            state: State::Pending,
            defaulted: false,
            functions: BTreeMap::new(),
            refusals: Refusals::default(),
            record_budget: RecordBudget::default(),
            time_kept: Monotonic(0),
            again: None,
            report_sequence: 0,
            results_sequence: 0,
        }
    }

    /// The one entry: what has happened, and what is to be done about it.
    pub fn apply(&mut self, now: Monotonic, event: Event) -> Vec<Effect> {
        match event {
            Event::Started(stored) => self.start(now, stored),
            Event::Connected => {
                vec![self.fetch_next_root(), self.report(now), Effect::Send]
            }
            Event::Disconnected => vec![],
            Event::Document(bytes) => self.document(now, bytes),
            Event::TrustRoot(bytes) => self.trust_root(now, &bytes),
            Event::RootPersisted(version, outcome) => self.root_persisted(now, version, outcome),
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

    /// Goes on with what the store held: verified again, and the very document that
    /// the floor names; not judged by the clock, since it was accepted before.
    fn start(&mut self, now: Monotonic, stored: Stored) -> Vec<Effect> {
        self.stored_modules = stored.modules;
        let first = self.root.version;
        let under = stored.floor.as_ref().map(|floor| floor.trust_version);
        self.floor = Floor::higher(stored.floor, stored.mirror.floor);
        self.seen = self.floor.as_ref().map(Floor::place);
        let mut effects =
            self.restore_roots(now, &stored.roots, under, stored.mirror.trust_version);
        match stored.envelope.map(|envelope| (self.verify_stored(&envelope), envelope)) {
            Some((Ok(document), envelope)) => {
                let under = under.unwrap_or(self.root.version);
                self.floor.get_or_insert_with(|| Floor::of(&document, under));
                let mut pending = Pending::new(document, envelope, now, under);
                pending.restored = true;
                effects.extend(self.begin(now, pending));
            }
            Some((Err(refusal), _)) => {
                self.state = State::Rejected;
                effects.extend(self.refuse(now, None, refusal.at("stored document")));
            }
            None => {}
        }
        effects.extend(self.bring_roots(now, stored.offline_roots, first));
        effects
    }

    fn verify_stored(&self, envelope: &[u8]) -> Result<Verified<Document>, Refusal> {
        let root = self.root_of_stored();
        let document = verify::<Document>(envelope, &root.roles.director)?;
        check_address(document.payload(), &self.identity)?;
        let own = Floor::of(&document, root.version);
        let is_it = |floor: &Floor| (floor.place(), &floor.digest) == (own.place(), &own.digest);
        if !self.floor.as_ref().is_none_or(is_it) {
            let detail = format!("version {} is not the floor's", own.version);
            return Err(Refusal::new(Reason::Rollback, detail));
        }
        Ok(document)
    }

    fn document(&mut self, now: Monotonic, bytes: Vec<u8>) -> Vec<Effect> {
        if let Err(refusal) = self.check_trust_floor() {
            return self.refuse(now, None, refusal);
        }
        let document = match verify::<Document>(&bytes, &self.root.roles.director) {
            Ok(document) => document,
            Err(error) => return self.refuse(now, None, error.into()),
        };
        if self.is_known(document.digest()) {
            return vec![];
        }
        let (newest, lowest_ms) = (self.newest(), self.time.lowest_ms(now));
        match accept(&document, &self.identity, &self.root, newest.as_ref(), lowest_ms) {
            // In force, unless what the store held of it was damaged.
            Ok(Order::Same) if self.is_applied(&document) => vec![],
            Ok(Order::Same) => {
                self.begin(now, Pending::new(document, bytes, now, self.root.version))
            }
            Ok(Order::Newer) if self.is_past_recall(&document) => {
                self.waiting = Some((document, bytes));
                vec![]
            }
            Ok(Order::Newer) => self.take_up(now, document, bytes),
            Err(refusal) => self.refuse_document(now, &document, refusal),
        }
    }

    /// Whether this payload is on its way, waits, or was refused last.
    fn is_known(&self, digest: &Digest) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.document.digest() == digest)
            || self.waiting.as_ref().is_some_and(|(waiting, _)| waiting.digest() == digest)
            || self.refused_digest.as_ref() == Some(digest)
    }

    fn is_applied(&self, document: &Verified<Document>) -> bool {
        self.applied.as_ref().is_some_and(|applied| applied.digest() == document.digest())
    }

    /// Whether the pending document must run to its end before this one is taken up.
    /// The runner answers by version alone, so an equal one of another epoch waits too.
    fn is_past_recall(&self, newer: &Verified<Document>) -> bool {
        self.pending.as_ref().is_some_and(|pending| match pending.stage {
            Stage::Fetching => false,
            Stage::Preparing => pending.document.payload().version == newer.payload().version,
            Stage::Persisting | Stage::Activating => true,
        })
    }

    /// What a document must be newer than: the newest one that waits, is on its way,
    /// or was accepted.
    fn newest(&self) -> Option<Floor> {
        let waiting = self.waiting.as_ref().map(|(document, _)| document);
        let on_its_way = waiting.or(self.pending.as_ref().map(|pending| &pending.document));
        on_its_way
            .map(|document| Floor::of(document, self.root.version))
            .or_else(|| self.floor.clone())
    }

    fn take_up(
        &mut self,
        now: Monotonic,
        document: Verified<Document>,
        bytes: Vec<u8>,
    ) -> Vec<Effect> {
        self.note_seen(document.payload());
        self.time.raise(document.payload().issued_at_ms, now);
        self.begin(now, Pending::new(document, bytes, now, self.root.version))
    }

    /// Takes a document up: collects the modules that are at hand, asks for the rest.
    fn begin(&mut self, now: Monotonic, mut pending: Pending) -> Vec<Effect> {
        let mut effects = vec![];
        match self.collect(now, &mut pending) {
            Ok(noted) => effects.extend(noted),
            Err(refusal) => return self.refuse_document(now, &pending.document, refusal),
        }
        let missing = pending.missing();
        let replaced = self.pending.take().map(|old| old.missing()).unwrap_or_default();
        let left = replaced.into_iter().filter(|digest| !missing.contains(digest));
        effects.extend(left.map(Effect::ForgetModule));
        effects.extend(missing.into_iter().map(Effect::FetchModule));
        self.state = State::Pending;
        self.refused_newer = false;
        self.again = None;
        self.pending = Some(pending);
        effects.extend(self.prepare());
        effects.push(self.report(now));
        effects
    }

    /// Takes inline and stored modules. A stored one that is damaged is refused
    /// and fetched again, and the document must be made durable again.
    fn collect(&mut self, now: Monotonic, pending: &mut Pending) -> Result<Vec<Effect>, Refusal> {
        let needed_bytes = pending.needed_bytes();
        if needed_bytes > MODULES_BYTES_MAX as u64 {
            let detail = format!("modules of {needed_bytes} bytes, at most {MODULES_BYTES_MAX}");
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let profile = &self.identity.profile;
        let root = if pending.restored { self.root_of_stored() } else { self.root.clone() };
        let document = &pending.document;
        let was_accepted =
            self.floor.as_ref().is_some_and(|floor| floor.digest == *document.digest());
        // What was accepted before is judged by no earlier time than it was signed at: the
        // floor may have been taken back since.
        let signed_ms = if was_accepted { document.payload().issued_at_ms } else { 0 };
        let lowest_ms = self.time.lowest_ms(now).max(signed_ms);
        let trust = (&root, self.judge.as_ref() as &dyn JudgeEvidence, lowest_ms);
        let mut damaged = vec![];
        let listed = pending.document.payload().modules.clone();
        for digest in pending.missing() {
            let inline = listed.get(&digest).and_then(|module| module.inline.as_ref());
            if let Some(bytes) = inline {
                pending.take_module(&digest, &bytes.0, profile, trust)?;
            } else if let Some(bytes) = self.stored_modules.get(&digest) {
                match pending.take_module(&digest, bytes, profile, trust) {
                    Err(refusal) if Digest::of(bytes) != digest => damaged.push((digest, refusal)),
                    taken => taken?,
                }
            }
        }
        let version = pending.document.payload().version;
        let mut effects = vec![];
        for (digest, refusal) in damaged {
            self.stored_modules.remove(&digest);
            pending.restored = false;
            effects.extend(self.refuse(now, Some(version), refusal.at("stored module")));
        }
        Ok(effects)
    }

    fn module(&mut self, now: Monotonic, digest: &Digest, bytes: &[u8]) -> Vec<Effect> {
        let Some(pending) = self.pending.as_mut().filter(|p| p.stage == Stage::Fetching) else {
            return vec![Effect::ForgetModule(digest.clone())];
        };
        if !pending.missing().contains(digest) {
            return vec![Effect::ForgetModule(digest.clone())];
        }
        let profile = &self.identity.profile;
        let judge: &dyn JudgeEvidence = self.judge.as_ref();
        let trust = (&self.root, judge, self.time.lowest_ms(now));
        // A broker can put any bytes on the topic: that is no reason to give up on
        // a document while the right bytes may still come.
        match pending.take_module(digest, bytes, profile, trust) {
            Ok(()) => {
                let mut effects = vec![Effect::ForgetModule(digest.clone())];
                effects.extend(self.prepare());
                effects
            }
            Err(refusal) if Digest::of(bytes) != *digest => {
                let version = pending.document.payload().version;
                self.refuse(now, Some(version), refusal)
            }
            Err(refusal) => self.abandon(now, refusal, Again::No),
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
        if pending.judge_again {
            return self.prepared_under_old_root(now).unwrap_or_default();
        }
        if let Err(refusal) = outcome {
            let is_busy = refusal.reason == Reason::Unavailable;
            return self.abandon(now, refusal, if is_busy { Again::Yes } else { Again::No });
        }
        if pending.restored {
            pending.stage = Stage::Activating;
            return vec![activate(version)];
        }
        pending.stage = Stage::Persisting;
        vec![Effect::Persist(Box::new(Transaction {
            floor: Floor::of(&pending.document, pending.trust_version),
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
            // It was not the document's fault: the next delivery may try again.
            return self.abandon(now, Refusal::new(Reason::StoreFailed, error), Again::Yes);
        }
        pending.stage = Stage::Activating;
        self.floor = Some(Floor::of(&pending.document, pending.trust_version));
        vec![activate(version)]
    }

    fn activated(&mut self, now: Monotonic, version: Version) -> Vec<Effect> {
        let is_it = |p: &mut Pending| {
            p.stage == Stage::Activating && p.document.payload().version == version
        };
        let Some(pending) = self.pending.take_if(is_it) else { return vec![] };
        self.stored_modules =
            pending.modules().into_iter().map(|(digest, bytes)| (digest, bytes.0)).collect();
        self.note_slots(pending.document.payload());
        self.applied = Some(pending.document);
        self.state = if self.refused_newer { State::Rejected } else { State::InSync };
        self.defaulted = false;
        let mut effects = self.check_expiry(now);
        effects.extend(self.stop_recalled(now));
        effects.push(self.report(now));
        effects.extend(self.take_waiting(now));
        effects
    }

    fn take_waiting(&mut self, now: Monotonic) -> Vec<Effect> {
        let Some((document, bytes)) = self.waiting.take() else { return vec![] };
        self.take_up(now, document, bytes)
    }

    /// Gives a pending document up; what ran before still runs.
    fn abandon(&mut self, now: Monotonic, refusal: Refusal, again: Again) -> Vec<Effect> {
        let Some(pending) = self.pending.take() else { return vec![] };
        let missing = pending.missing();
        let mut effects: Vec<Effect> = missing.into_iter().map(Effect::ForgetModule).collect();
        effects.extend(self.refuse_document(now, &pending.document, refusal));
        if again == Again::Yes {
            self.refused_digest = None;
            self.again = Some((pending.envelope, now));
        }
        effects.extend(self.take_waiting(now));
        effects
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
}

/// Whether a document that was given up is taken when it is delivered once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}

fn activate(version: Version) -> Effect {
    Effect::Runner(Box::new(ToRunner::Activate { version }))
}
