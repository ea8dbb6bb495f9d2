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
use crate::canary::{self, Canary};
use crate::message::ToKeeper;
use crate::pending::{Accepted, Pending};
use crate::record_budget::RecordBudget;
use crate::refusals::Refusals;
use crate::time::{Monotonic, TimeFloor};

mod clock;
mod fetch;
mod keeper;
mod outward;
mod roots;
mod states;
mod trial;

pub use crate::event::{Append, Effect, Event, Failure, Mirror, Setup, Stored, Transaction, Trial};
pub use trial::TRIAL_STARTS_MAX;

/// How long until a document that failed through no fault of its own is tried again.
pub const AGAIN_AFTER_MS: u64 = 20_000;
/// How often the lowest possible time is made durable.
pub const KEEP_TIME_MS: u64 = 600_000;
/// How long a document may wait for its modules.
pub const FETCH_TIMEOUT_MS: u64 = 60_000;
/// How long the keeper may take over one step: compilation is capped far below.
pub const KEEPER_TIMEOUT_MS: u64 = 180_000;

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
    /// The modules of what is in force, and of what a rollback would return to.
    stored_modules: BTreeMap<Digest, Vec<u8>>,
    applied: Option<Accepted>,
    /// What the store holds as what is in force was refused at the start.
    stored_is_refused: bool,
    /// What a rollback would return to, while one may come.
    previous: Option<Accepted>,
    /// What the store holds and could not be put in force yet, when it gave way to a newer
    /// one.
    shelved: Option<Accepted>,
    trial: trial::Trials,
    states: states::States,
    pending: Option<Pending>,
    /// The newest document that came while another was past recall.
    waiting: Option<Accepted>,
    /// The payload that was refused last: hearing it again is no news.
    refused_digest: Option<Digest>,
    /// Epoch and version of the newest document with a valid signature.
    seen: Option<(u64, Version)>,
    state: State,
    defaulted: bool,
    functions: BTreeMap<FunctionName, FunctionReport>,
    refusals: Refusals,
    record_budget: RecordBudget,
    time_kept: Monotonic,
    /// A document that failed through no fault of its own. One that is as new or newer and
    /// is taken up after it takes its place.
    again: Option<Delayed>,
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
            stored_is_refused: false,
            previous: None,
            shelved: None,
            trial: trial::Trials::of(setup.session),
            states: states::States::default(),
            pending: None,
            waiting: None,
            refused_digest: None,
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
            Event::Persisted(document, outcome) => self.persisted(now, &document, outcome),
            Event::Keeper(message) => self.keeper(now, message),
            Event::Clock => self.clock(now),
        }
    }

    /// The version in force.
    pub fn applied_version(&self) -> Option<Version> {
        self.applied.as_ref().map(|applied| applied.payload().version)
    }

    /// Goes on with what the store held: verified again, and the very document that
    /// the floor names, or the one that a rollback left; not judged by the clock, since
    /// it was accepted before.
    fn start(&mut self, now: Monotonic, stored: Stored) -> Vec<Effect> {
        self.stored_modules = stored.modules;
        self.states = states::States::of(stored.states, stored.previous_states);
        let first = self.root.version;
        let of_floor = stored.floor.as_ref().map(|floor| floor.trust_version);
        let held = |envelope: Option<Vec<u8>>, under: Option<u64>| {
            envelope.map(|envelope| Held { envelope, trust_version: under.or(of_floor) })
        };
        let mut current = held(stored.envelope, stored.envelope_trust_version);
        let mut previous = held(stored.previous, stored.previous_trust_version);
        let mirrored = stored.mirror.floor.filter(|_| !canary::is_out(Canary::MirrorIgnored));
        self.floor = Floor::higher(stored.floor, mirrored);
        self.seen = self.floor.as_ref().map(Floor::place);
        let judges = [&current, &previous].map(|held| held.as_ref()?.trust_version);
        let damaged = stored.damaged.map(|why| Refusal::new(Reason::StoreDamaged, why));
        let mut effects = damaged.map(|why| self.refuse(now, None, why)).unwrap_or_default();
        let trust_floor = stored.mirror.trust_version;
        effects.extend(self.restore_roots(now, &stored.roots, &judges, trust_floor));
        self.trial.restore(stored.failures, stored.rolled_back_from);
        let (is_given_up, counted) = self.count_start(now, stored.trial);
        effects.extend(counted);
        if is_given_up {
            current = previous.take();
        }
        self.previous = previous.and_then(|held| self.verify_addressed(held).ok());
        effects.extend(self.stop_denied(now));
        match current.map(|held| self.verify_stored(held)) {
            Some(Ok(accepted)) => {
                self.floor.get_or_insert_with(|| accepted.floor());
                effects.extend(self.begin(now, Pending::restored(accepted, now)));
            }
            Some(Err(refusal)) => {
                self.state = State::Rejected;
                self.stored_is_refused = true;
                effects.extend(self.refuse(now, None, refusal.at("stored document")));
            }
            None => {}
        }
        effects.extend(self.bring_roots(now, stored.offline_roots, first));
        effects
    }

    /// What the store held is judged by the root that it was accepted under.
    fn verify_addressed(&self, held: Held) -> Result<Accepted, Refusal> {
        let Held { envelope, trust_version } = held;
        let trust_version = trust_version.unwrap_or(self.root.version);
        let root = self.root_at(trust_version);
        let document = verify::<Document>(&envelope, &root.roles.director)?;
        check_address(document.payload(), &self.identity)?;
        Ok(Accepted { document, envelope, trust_version })
    }

    fn verify_stored(&self, held: Held) -> Result<Accepted, Refusal> {
        let accepted = self.verify_addressed(held)?;
        let Some(floor) = &self.floor else { return Ok(accepted) };
        let own = accepted.floor();
        let is_it = (floor.place(), &floor.digest) == (own.place(), &own.digest);
        let was_given_up = self.trial.was_given_up(&floor.digest);
        // What a rollback leaves lies below the floor.
        let is_left = was_given_up && own.place() < floor.place();
        match self.trial.failure(&own.digest).filter(|_| was_given_up) {
            Some(failure) => Err(failure),
            None if is_left || (is_it && !was_given_up) => Ok(accepted),
            None => {
                let detail = format!("version {} is not the floor's", own.version);
                Err(Refusal::new(Reason::Rollback, detail))
            }
        }
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
        if let Some(failure) = self.trial.failure(document.digest()) {
            return self.refuse_document(now, &document, failure);
        }
        let (newest, lowest_ms) = (self.newest(), self.time.lowest_ms(now));
        match accept(&document, &self.identity, &self.root, newest.as_ref(), lowest_ms) {
            // In force, unless what the store held of it was damaged.
            Ok(Order::Same) if self.is_applied(&document) => vec![],
            Ok(Order::Same) => {
                let accepted = self.accepted(document, bytes);
                self.begin(now, Pending::new(accepted, now))
            }
            Ok(Order::Newer) if self.pending.as_ref().is_some_and(Pending::is_past_recall) => {
                self.waiting = Some(self.accepted(document, bytes));
                vec![]
            }
            Ok(Order::Newer) => {
                let accepted = self.accepted(document, bytes);
                self.take_up(now, accepted)
            }
            Err(refusal) => self.refuse_document(now, &document, refusal),
        }
    }

    fn accepted(&self, document: Verified<Document>, envelope: Vec<u8>) -> Accepted {
        Accepted { document, envelope, trust_version: self.root.version }
    }

    /// Whether this payload is on its way, waits, or was refused last.
    fn is_known(&self, digest: &Digest) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.digest() == digest)
            || self.waiting.as_ref().is_some_and(|waiting| waiting.digest() == digest)
            || self.refused_digest.as_ref() == Some(digest)
    }

    fn is_applied(&self, document: &Verified<Document>) -> bool {
        self.applied.as_ref().is_some_and(|applied| applied.digest() == document.digest())
    }

    /// What a document must be newer than: the newest one that waits, is on its way,
    /// or was accepted.
    fn newest(&self) -> Option<Floor> {
        let pending = self.pending.as_ref().map(|pending| &pending.accepted);
        let on_its_way = [self.waiting.as_ref(), pending].into_iter().flatten();
        let newest = on_its_way.map(Accepted::floor).next();
        Floor::higher(self.floor.clone(), newest)
    }

    fn take_up(&mut self, now: Monotonic, accepted: Accepted) -> Vec<Effect> {
        self.note_seen(accepted.payload());
        self.time.raise(accepted.payload().issued_at_ms, now);
        self.begin(now, Pending::new(accepted, now))
    }

    /// Goes on with what waits, or else with what gave way, if nothing is on its way.
    fn take_waiting(&mut self, now: Monotonic) -> Vec<Effect> {
        if self.pending.as_ref().is_some_and(|pending| !pending.restored) {
            return vec![];
        }
        if let Some(waiting) = self.waiting.take() {
            return self.take_up(now, waiting);
        }
        let shelved = self.shelved.take_if(|_| self.pending.is_none());
        shelved.map(|held| self.begin(now, Pending::restored(held, now))).unwrap_or_default()
    }

    /// Gives a pending document up; what ran before still runs.
    fn abandon(&mut self, now: Monotonic, refusal: Refusal, again: Again) -> Vec<Effect> {
        let Some(pending) = self.pending.take() else { return vec![] };
        let missing = pending.missing();
        let mut effects: Vec<Effect> = missing.into_iter().map(Effect::ForgetModule).collect();
        effects.extend(self.refuse_document(now, &pending.accepted.document, refusal));
        if again == Again::Yes && !canary::is_out(Canary::NeverAgain) {
            self.refused_digest = None;
            let place = pending.accepted.floor().place();
            let delayed = Delayed { envelope: pending.accepted.envelope, place, since: now };
            // Of two that wait, the newer one.
            if self.again.as_ref().is_none_or(|other| other.place <= place) {
                self.again = Some(delayed);
            }
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
        let mut sequences = ack.sequences;
        if canary::is_out(Canary::AckCountsBelow) {
            sequences = (1..=sequences.iter().copied().max().unwrap_or(0)).collect();
        }
        vec![Effect::Delete(ack.boot, sequences), Effect::Send]
    }
}

/// A document that is tried again later.
struct Delayed {
    envelope: Vec<u8>,
    place: (u64, Version),
    since: Monotonic,
}

/// A document as the store held it, not yet verified.
struct Held {
    envelope: Vec<u8>,
    trust_version: Option<u64>,
}

/// Whether a document that was given up is taken when it is delivered once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}

/// The message to the keeper, as an effect.
fn tell(message: ToKeeper) -> Effect {
    Effect::Keeper(Box::new(message))
}
