//! The planner: network, keys and store around the core's decisions. It knows no
//! engine and no device.

mod keeping;
pub mod mirror;
pub mod mqtt;
pub mod outbox;
mod owed;
pub mod store;

use gnomon_agent_core::agent::{Append, Transaction};
use gnomon_agent_core::message::ToKeeper;
use gnomon_agent_core::{Agent, Effect, Event, Monotonic};
use gnomon_schemas::limits::REPORTED_BYTES_MAX;
use gnomon_schemas::reported::Reported;
use gnomon_schemas::topics::Channel;
use gnomon_schemas::{BootId, Version};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

use crate::frames::FrameSender;
use crate::status::{PlannerBoard, PlannerView};
use keeping::Keeping;
use mqtt::Bus;
use outbox::Outbox;
use owed::Owed;
use store::{Store, StoreError};

/// How often the core is told that time has passed.
const CLOCK: Duration = Duration::from_secs(1);

/// How long what the keeper did may wait for more of it: a function and its candidates
/// tell their minute one after the other, and one transaction wears the flash less.
const GATHERING: Duration = Duration::from_millis(250);
/// With so many messages nothing more is waited for.
const GATHERED_MAX: usize = 8;

/// How long the keeper may take to say its last words when the agent is stopped.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The shell around the core.
pub struct Planner {
    agent: Agent,
    offline_roots: Vec<Vec<u8>>,
    shell: Shell,
}

struct Shell {
    start: Instant,
    events: mpsc::Receiver<Event>,
    /// Events that effects brought about: they come before what the network brings.
    own: VecDeque<Event>,
    stop: watch::Receiver<bool>,
    keeper_gone: watch::Receiver<()>,
    phase: Phase,
    clock: tokio::time::Interval,
    bus: Bus,
    keeping: Keeping,
    outbox: Outbox,
    /// What the keeper did, and when it is kept. Until it is, the keeper holds it, too.
    gathered: Vec<Append>,
    gathered_until: Option<Instant>,
    /// Dropped to end the keeper.
    keeper: Option<FrameSender<ToKeeper>>,
    /// The last report, while it has found no room on the bus.
    unsent_report: Option<Reported>,
    /// How long the last results may wait for their acknowledgement when the keeper is gone.
    last_acks: Duration,
    /// What an operator sees.
    board: PlannerBoard,
}

/// How the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The device is gone: its last results wait for their acknowledgement until then.
    Draining(Instant),
    /// The keeper was told to end: its last results are kept, at the latest until then.
    Stopping(Instant),
}

impl Planner {
    /// A planner whose parts are connected. `keeper_gone` closes when all that the
    /// runner ever said is among `events`.
    #[expect(clippy::too_many_arguments, reason = "each is a part, and named at its one caller")]
    pub fn new(
        (agent, offline_roots): (Agent, Vec<Vec<u8>>),
        store: Store,
        bus: Bus,
        keeper: FrameSender<ToKeeper>,
        events: mpsc::Receiver<Event>,
        stop: watch::Receiver<bool>,
        keeper_gone: watch::Receiver<()>,
        last_acks: Duration,
    ) -> Planner {
        let mut clock = tokio::time::interval(CLOCK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shell = Shell {
            start: Instant::now(),
            events,
            own: VecDeque::new(),
            stop,
            keeper_gone,
            phase: Phase::Running,
            clock,
            bus,
            keeping: Keeping::new(store),
            outbox: Outbox::default(),
            gathered: vec![],
            gathered_until: None,
            keeper: Some(keeper),
            unsent_report: None,
            last_acks,
            board: PlannerBoard::default(),
        };
        Planner { agent, offline_roots, shell }
    }

    /// What an operator sees of it, and of its store while it has one.
    pub fn viewer(&self) -> impl Fn() -> PlannerView + Send + 'static {
        let (board, status) = (self.shell.board.clone(), self.shell.keeping.status());
        move || PlannerView { store: status(), ..board.view() }
    }

    /// The agent's loop, until it is told to stop, or the keeper is gone and its last
    /// results are acknowledged.
    ///
    /// # Errors
    /// When the store cannot be read at the start, or turns out to be damaged: the next
    /// start then puts it aside.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let read = |store: &mut Store| store.stored();
        let mut stored = self.shell.keeping.with("read", read).await?;
        stored.offline_roots = std::mem::take(&mut self.offline_roots);
        self.shell.own.push_back(Event::Started(stored));
        while let Some(event) = self.shell.next_event().await {
            self.shell.note(&event).await;
            for effect in self.agent.apply(self.shell.now(), event) {
                self.shell.perform(effect).await;
            }
            if let Some(damage) = self.shell.keeping.take_damage() {
                return Err(damage);
            }
        }
        self.shell.bus.leave(self.shell.outbox.is_connected()).await;
        self.shell.keeping.close().await;
        Ok(())
    }
}

impl Shell {
    fn now(&self) -> Monotonic {
        Monotonic(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.own.pop_front() {
            return Some(event);
        }
        loop {
            let now = Instant::now();
            if self.phase != Phase::Running || self.gathered_until.is_some_and(|end| end <= now) {
                self.keep_gathered().await;
            }
            let gathered_until = self.gathered_until.unwrap_or(now);
            match self.phase {
                Phase::Running => tokio::select! {
                    event = self.events.recv() => return event,
                    _ = self.clock.tick() => return Some(Event::Clock),
                    () = tokio::time::sleep_until(gathered_until.into()),
                        if self.gathered_until.is_some() => {}
                    _ = self.stop.changed() => self.let_keeper_go(),
                    _ = self.keeper_gone.changed() => {
                        self.phase = Phase::Draining(Instant::now() + self.last_acks);
                    }
                },
                Phase::Draining(until) if Instant::now() >= until && self.events.is_empty() => {
                    return None;
                }
                Phase::Draining(until) => tokio::select! {
                    biased;
                    event = self.events.recv() => return event,
                    _ = self.clock.tick() => {
                        let is_over = Instant::now() >= until || self.is_drained().await;
                        return (!is_over).then_some(Event::Clock);
                    }
                    _ = self.stop.changed() => self.let_keeper_go(),
                },
                Phase::Stopping(until) => {
                    if Instant::now() >= until {
                        return None;
                    }
                    tokio::select! {
                        biased;
                        event = self.events.recv() => return event,
                        _ = self.keeper_gone.changed() => return None,
                        () = tokio::time::sleep_until(until.into()) => return None,
                    }
                }
            }
        }
    }

    /// The keeper ends when nobody can speak to it any more.
    fn let_keeper_go(&mut self) {
        self.keeper = None;
        self.phase = Phase::Stopping(Instant::now() + LAST_WORDS);
    }

    /// Whether all that the keeper said is kept, and all of it is acknowledged.
    async fn is_drained(&mut self) -> bool {
        let count = |store: &mut Store| store.waiting_count();
        self.events.is_empty()
            && self.keeping.with("count what waits", count).await.is_ok_and(|count| count == 0)
    }

    /// What an event means for the shell itself.
    async fn note(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.bus.greet();
                self.outbox.reconnected();
                self.board.connection(true);
            }
            Event::Disconnected => {
                self.outbox.disconnected();
                self.board.connection(false);
            }
            Event::Clock => self.keeping.try_again(Instant::now()).await,
            _ => {}
        }
    }

    async fn perform(&mut self, effect: Effect) {
        if matters_after_results(&effect) {
            self.keep_gathered().await;
        }
        match effect {
            Effect::FetchRoot(version) => self.bus.fetch_root(version),
            Effect::PersistRoot { version, envelope, time_floor_ms } => {
                self.persist_root(version, envelope, time_floor_ms).await;
            }
            Effect::FetchDocument => self.bus.fetch_document(),
            Effect::FetchModule(digest) => self.bus.fetch(digest),
            Effect::ForgetModule(digest) => self.bus.forget(&digest),
            Effect::Keeper(message) => self.tell_keeper(*message),
            Effect::Persist(change) => self.persist(*change).await,
            Effect::KeepTime(at_ms) => {
                self.bus.raise_time_floor(at_ms);
                // The next one comes soon.
                let keep = move |store: &mut Store| store.keep_time(at_ms);
                let _ = self.keeping.with("keep the time", keep).await;
            }
            Effect::Report(reported) => self.report(*reported),
            Effect::KeepTrial(trial) => self.keeping.keep(Owed::Trial(trial)).await,
            Effect::KeepFailure(failure) => self.keeping.keep(Owed::Failure(failure)).await,
            Effect::PersistRollback(failure) => self.keeping.keep(Owed::Rollback(failure)).await,
            Effect::Append(append) => self.append(*append).await,
            Effect::Delete(boot, sequences) => self.delete(boot, sequences).await,
            Effect::Send => self.send().await,
        }
    }

    fn tell_keeper(&self, message: ToKeeper) {
        // The keeper reads at once but while it admits; a queue that is full after
        // hundreds of frames means that it is gone, and the event stream ends too.
        let Some(keeper) = &self.keeper else { return };
        if let Err(error) = keeper.try_send(message) {
            tracing::error!(%error, "the keeper does not listen");
        }
    }

    /// What is owed goes first: a document that was given up must not become the one
    /// that a rollback returns to.
    async fn persist(&mut self, change: Transaction) {
        let document = change.floor.digest.clone();
        self.bus.raise_time_floor(change.time_floor_ms);
        let outcome = match self.keeping.settle().await {
            Ok(()) => {
                let persist = move |store: &mut Store| store.persist(&change);
                self.keeping.with("keep a document", persist).await
            }
            Err(error) => Err(error),
        };
        self.own.push_back(Event::Persisted(document, outcome.map_err(|e| e.to_string())));
    }

    async fn persist_root(&mut self, version: u64, envelope: Vec<u8>, time_ms: Option<u64>) {
        let persist = move |store: &mut Store| store.persist_root(version, &envelope, time_ms);
        let outcome = self.keeping.with("keep a trust root", persist).await;
        self.own.push_back(Event::RootPersisted(version, outcome.map_err(|e| e.to_string())));
    }

    /// What the keeper did is said again until it is told that it is kept.
    async fn append(&mut self, append: Append) {
        for event in append.batches.iter().flat_map(|batch| &batch.refusals) {
            self.board.refuse(event.version, &event.refusal);
            tracing::warn!(reason = %event.refusal.reason, detail = %event.refusal.detail,
                version = event.version.map(Version::get), "refused");
        }
        if append.done.is_none() {
            return self.keeping.say(append).await;
        }
        self.gathered.push(append);
        self.gathered_until.get_or_insert(Instant::now() + GATHERING);
        if self.gathered.len() >= GATHERED_MAX {
            self.keep_gathered().await;
        }
    }

    /// What the store does not take now, the keeper says again.
    async fn keep_gathered(&mut self) {
        self.gathered_until = None;
        let gathered = std::mem::take(&mut self.gathered);
        if gathered.is_empty() {
            return;
        }
        let numbers: Vec<_> = gathered.iter().filter_map(|a| Some(a.done.as_ref()?.1)).collect();
        let kept = self.keeping.append(gathered).await;
        for (number, _) in numbers.into_iter().zip(kept).filter(|(_, is_kept)| *is_kept) {
            self.tell_keeper(ToKeeper::Kept { number });
        }
        self.send().await;
    }

    /// What the store does not hear of is sent and acknowledged again.
    async fn delete(&mut self, boot: BootId, sequences: Vec<u64>) {
        let now = Instant::now();
        let acknowledge = move |store: &mut Store| store.acknowledge(&boot, &sequences, now);
        if let Ok(places) = self.keeping.with("delete what is acknowledged", acknowledge).await {
            self.outbox.acknowledged(&places);
        }
    }

    fn report(&mut self, mut reported: Reported) {
        self.board.report(&reported);
        // What was executed is told since the last report: one that never left counts too.
        for (name, unsent) in self.unsent_report.take().into_iter().flat_map(|r| r.functions) {
            if let Some(function) = reported.functions.get_mut(&name) {
                function.executed.extend(unsent.executed);
            }
        }
        self.unsent_report = Some(reported);
        self.send_report();
    }

    /// Without a connection the client's queue would only fill with what is past by then.
    fn send_report(&mut self) {
        if !self.outbox.is_connected() {
            return;
        }
        let Some(report) = self.unsent_report.take() else { return };
        match serde_json::to_vec(&report) {
            Ok(bytes) if bytes.len() <= REPORTED_BYTES_MAX => {
                if !self.bus.publish(Channel::Reported, true, bytes) {
                    self.unsent_report = Some(report);
                }
            }
            Ok(bytes) => tracing::error!(bytes = bytes.len(), "the report is over its cap"),
            Err(error) => tracing::error!(%error, "the report has no JSON form"),
        }
    }

    async fn send(&mut self) {
        self.send_report();
        let Some((sent, room)) = self.outbox.ask(Instant::now()) else { return };
        let read = move |store: &mut Store| store.waiting(&sent, room);
        let Ok(waiting) = self.keeping.with("read what waits", read).await else { return };
        for batch in waiting {
            let bytes = batch.bytes.len();
            if !self.bus.publish(Channel::Results, false, batch.bytes) {
                return;
            }
            self.outbox.sent(batch.class, batch.id, bytes);
        }
    }
}

/// Whether what it writes comes after what the keeper did until then: a document that
/// comes into force takes over what the functions remember.
fn matters_after_results(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Persist(_)
            | Effect::PersistRoot { .. }
            | Effect::PersistRollback(_)
            | Effect::KeepTrial(_)
            | Effect::KeepFailure(_)
    )
}
