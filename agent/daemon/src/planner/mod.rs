//! The planner: network, keys and store around the core's decisions. It knows no
//! engine and no device.

pub mod mirror;
pub mod mqtt;
pub mod outbox;
pub mod store;

use gnomon_agent_core::agent::Transaction;
use gnomon_agent_core::message::ToRunner;
use gnomon_agent_core::{Agent, Effect, Event, Monotonic};
use gnomon_schemas::Version;
use gnomon_schemas::limits::REPORTED_BYTES_MAX;
use gnomon_schemas::reported::Reported;
use gnomon_schemas::topics::Channel;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

use crate::frames::FrameSender;
use mqtt::Bus;
use outbox::Outbox;
use store::{Store, StoreError};

/// How often the core is told that time has passed.
const CLOCK: Duration = Duration::from_secs(1);

/// How long the runner may take to say its last words when the agent is stopped.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long the last results may wait for their acknowledgement when the device is gone.
const LAST_ACKS: Duration = Duration::from_secs(300);

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
    runner_gone: watch::Receiver<()>,
    phase: Phase,
    clock: tokio::time::Interval,
    bus: Bus,
    store: Arc<Mutex<Store>>,
    outbox: Outbox,
    /// Dropped to end the runner.
    runner: Option<FrameSender<ToRunner>>,
    /// The last report, while it has found no room on the bus.
    unsent_report: Option<Reported>,
}

/// How the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The device is gone: its last results wait for their acknowledgement until then.
    Draining(Instant),
    /// The runner was told to end: its last results are kept, at the latest until then.
    Stopping(Instant),
}

impl Planner {
    /// A planner whose parts are connected. `runner_gone` closes when all that the
    /// runner ever said is among `events`.
    pub fn new(
        (agent, offline_roots): (Agent, Vec<Vec<u8>>),
        store: Store,
        bus: Bus,
        runner: FrameSender<ToRunner>,
        events: mpsc::Receiver<Event>,
        stop: watch::Receiver<bool>,
        runner_gone: watch::Receiver<()>,
    ) -> Planner {
        let mut clock = tokio::time::interval(CLOCK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shell = Shell {
            start: Instant::now(),
            events,
            own: VecDeque::new(),
            stop,
            runner_gone,
            phase: Phase::Running,
            clock,
            bus,
            store: Arc::new(Mutex::new(store)),
            outbox: Outbox::default(),
            runner: Some(runner),
            unsent_report: None,
        };
        Planner { agent, offline_roots, shell }
    }

    /// The agent's loop, until it is told to stop, or the runner is gone and its last
    /// results are acknowledged.
    ///
    /// # Errors
    /// When the store cannot be read at the start.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut stored = self.shell.with_store(|store| store.stored()).await?;
        stored.offline_roots = std::mem::take(&mut self.offline_roots);
        self.shell.own.push_back(Event::Started(stored));
        while let Some(event) = self.shell.next_event().await {
            match event {
                Event::Connected => {
                    self.shell.bus.greet();
                    self.shell.outbox.reconnected();
                }
                Event::Disconnected => self.shell.outbox.disconnected(),
                _ => {}
            }
            for effect in self.agent.apply(self.shell.now(), event) {
                self.shell.perform(effect).await;
            }
        }
        self.shell.bus.leave(self.shell.outbox.is_connected()).await;
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
            match self.phase {
                Phase::Running => tokio::select! {
                    event = self.events.recv() => return event,
                    _ = self.clock.tick() => return Some(Event::Clock),
                    _ = self.stop.changed() => self.let_runner_go(),
                    _ = self.runner_gone.changed() => {
                        self.phase = Phase::Draining(Instant::now() + LAST_ACKS);
                    }
                },
                Phase::Draining(until) => tokio::select! {
                    event = self.events.recv() => return event,
                    _ = self.clock.tick() => {
                        let is_over = Instant::now() >= until || self.is_drained().await;
                        return (!is_over).then_some(Event::Clock);
                    }
                    _ = self.stop.changed() => self.let_runner_go(),
                },
                Phase::Stopping(until) => {
                    if Instant::now() >= until {
                        return None;
                    }
                    tokio::select! {
                        biased;
                        event = self.events.recv() => return event,
                        _ = self.runner_gone.changed() => return None,
                        () = tokio::time::sleep_until(until.into()) => return None,
                    }
                }
            }
        }
    }

    /// The runner ends when nobody can speak to it any more.
    fn let_runner_go(&mut self) {
        self.runner = None;
        self.phase = Phase::Stopping(Instant::now() + LAST_WORDS);
    }

    /// Whether all that the runner said is kept, and all of it is acknowledged.
    async fn is_drained(&self) -> bool {
        self.events.is_empty()
            && self.with_store(|store| store.waiting_count()).await.is_ok_and(|count| count == 0)
    }

    async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::FetchRoot(version) => self.bus.fetch_root(version),
            Effect::PersistRoot { version, envelope, time_floor_ms } => {
                self.persist_root(version, envelope, time_floor_ms).await;
            }
            Effect::FetchDocument => self.bus.fetch_document(),
            Effect::FetchModule(digest) => self.bus.fetch(digest),
            Effect::ForgetModule(digest) => self.bus.forget(&digest),
            Effect::Runner(message) => self.tell_runner(*message),
            Effect::Persist(change) => self.persist(*change).await,
            Effect::KeepTime(at_ms) => {
                self.bus.raise_time_floor(at_ms);
                let kept = self.with_store(move |store| store.keep_time(at_ms)).await;
                log_failure("the time floor could not be kept", kept);
            }
            Effect::Report(reported) => self.report(*reported),
            Effect::Append(results) => {
                for event in &results.refusals {
                    tracing::warn!(reason = %event.refusal.reason, detail = %event.refusal.detail,
                        version = event.version.map(Version::get), "refused");
                }
                let written = self.with_store(move |store| store.append(&results)).await;
                log_failure("results could not be kept", written);
            }
            Effect::Delete(boot, sequences) => {
                self.outbox.acknowledged(sequences.len());
                let deleted = self.with_store(move |store| store.delete(&boot, &sequences)).await;
                log_failure("acknowledged results could not be deleted", deleted);
            }
            Effect::Send => self.send().await,
        }
    }

    fn tell_runner(&self, message: ToRunner) {
        // The runner reads at once but while it admits; a queue that is full after
        // hundreds of frames means that it is gone, and the event stream ends too.
        let Some(runner) = &self.runner else { return };
        if let Err(error) = runner.try_send(message) {
            tracing::error!(%error, "the runner does not listen");
        }
    }

    async fn persist(&mut self, change: Transaction) {
        let version = change.floor.version;
        self.bus.raise_time_floor(change.time_floor_ms);
        let outcome = self.with_store(move |store| store.persist(&change)).await;
        self.own.push_back(Event::Persisted(version, outcome.map_err(|e| e.to_string())));
    }

    async fn persist_root(&mut self, version: u64, envelope: Vec<u8>, time_ms: Option<u64>) {
        let persist = move |store: &mut Store| store.persist_root(version, &envelope, time_ms);
        let outcome = self.with_store(persist).await;
        self.own.push_back(Event::RootPersisted(version, outcome.map_err(|e| e.to_string())));
    }

    fn report(&mut self, mut reported: Reported) {
        // What was executed is told since the last report: one that never left counts too.
        for (name, unsent) in self.unsent_report.take().into_iter().flat_map(|r| r.functions) {
            if let Some(function) = reported.functions.get_mut(&name) {
                function.executed.extend(unsent.executed);
            }
        }
        self.unsent_report = Some(reported);
        self.send_report();
    }

    fn send_report(&mut self) {
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
        let Some((after, limit)) = self.outbox.ask(Instant::now()) else { return };
        let waiting = match self.with_store(move |store| store.waiting(after, limit)).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                return;
            }
        };
        for batch in waiting {
            if !self.bus.publish(Channel::Results, false, batch.bytes) {
                return;
            }
            self.outbox.sent(batch.id);
        }
    }

    /// SQLite waits for the disk; the runtime's threads must not.
    async fn with_store<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut store.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.unwrap_or_else(|error| Err(StoreError::Foreign(error.to_string())))
    }
}

fn log_failure(what: &str, outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "{what}");
    }
}
