//! Joins planner, runner, store and bus into a running agent. What they do is theirs.

use gnomon_agent_core::agent::Setup;
use gnomon_agent_core::message::FromRunner;
use gnomon_agent_core::{Agent, Event, Identity};
use gnomon_schemas::{BootId, Version};
use gnomon_sigstore::Judge;
use ring::rand::{SecureRandom, SystemRandom};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{AgentConfig, Mutual};
use crate::device::Device;
use crate::enrol::{EnrolError, Office};
use crate::frames;
use crate::planner::Planner;
use crate::planner::mqtt::{Bus, Way};
use crate::planner::store::{Store, StoreError};
use crate::runner::{self, RunnerError};
use crate::tls::FloorClock;

/// It is not earlier than this agent's release (Unix time, ms): 2026-11-01.
pub(crate) const RELEASED_AT_MS: u64 = 1_793_491_200_000;
/// Events that may wait for the planner; with more, network and runner are slowed.
const EVENTS_MAX: usize = 1024;
/// The first and the longest pause between attempts to reach the place of enrolment.
const ENROL_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const STORE_FILE: &str = "agent.db";

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder or the sockets.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The runner.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// The MQTT client's options.
    #[error("the MQTT client: {0}")]
    Mqtt(#[from] rumqttc::ClientBuildError),
    /// The device's certificate.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The system's randomness.
    #[error("the system gives no random numbers")]
    Random,
}

/// What an observer in the same process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swapped {
    /// The version that came into force.
    pub version: Version,
    /// How long the tick loop was held up, in nanoseconds.
    pub swap_ns: u64,
}

/// A running agent.
pub struct AgentHandle {
    stop: watch::Sender<bool>,
    planner: JoinHandle<Result<(), StoreError>>,
    store_path: PathBuf,
}

impl AgentHandle {
    /// Ends the runner, keeps its last results in the outbox, and stops the planner.
    ///
    /// # Errors
    /// What the planner ended with.
    pub async fn stop(self) -> Result<(), StoreError> {
        // The planner may have ended by itself.
        let _ = self.stop.send(true);
        self.planner.await.unwrap_or_else(|error| Err(StoreError::Foreign(error.to_string())))
    }

    /// Waits until the agent ends by itself: the device is gone and the last results
    /// are acknowledged, or have waited for long.
    ///
    /// # Errors
    /// What the planner ended with.
    pub async fn ended(&mut self) -> Result<(), StoreError> {
        (&mut self.planner)
            .await
            .unwrap_or_else(|error| Err(StoreError::Foreign(error.to_string())))
    }

    /// Where the store lies.
    pub fn store_path(&self) -> &Path {
        &self.store_path
    }
}

/// Starts an agent on the current tokio runtime, its data in `data`.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub fn start(
    config: AgentConfig,
    data: &Path,
    device: Box<dyn Device>,
    observer: Option<Sender<Swapped>>,
) -> Result<AgentHandle, StartError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| StartError::Io(path, error)
    };
    open_folder(data)?;
    let store_path = data.join(STORE_FILE);
    let store = Store::open(&store_path)?;
    let boot = new_boot()?;

    let (planner_end, runner_end) = UnixStream::pair().map_err(io(data))?;
    let (events, from_all) = mpsc::channel(EVENTS_MAX);
    let from_runner = events.clone();
    let (runner_alive, runner_gone) = watch::channel(());
    frames::receiver("planner", planner_end.try_clone().map_err(io(data))?, move |message| {
        // Held until the last message is handed over: its end tells the planner.
        let _alive = &runner_alive;
        if let (FromRunner::Activated { version, swap_ns, .. }, Some(observer)) =
            (&message, &observer)
        {
            // An observer that has left misses nothing that matters here.
            let _ = observer.send(Swapped { version: *version, swap_ns: *swap_ns });
        }
        from_runner.blocking_send(Event::Runner(message)).is_ok()
    })
    .map_err(io(data))?;
    let to_runner = frames::sender("planner", planner_end).map_err(io(data))?;
    runner::start(config.identity.profile.clone(), device, runner_end)?;

    let time_floor_ms = RELEASED_AT_MS.max(store.time_floor_ms()?);
    let clock = Arc::new(FloorClock::new(time_floor_ms));
    let (way, renewal) = way(config.broker, config.mutual, &config.identity, data, &clock)?;
    let who = (config.identity.fleet.clone(), config.identity.device.clone(), boot.clone());
    let bus = Bus::start(way, who, events)?;
    let agent = Agent::new(Setup {
        identity: config.identity,
        root: config.root,
        judge: Box::new(Judge),
        boot,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        time_floor_ms,
        released_at_ms: RELEASED_AT_MS,
    });
    let (stop, stopped) = watch::channel(false);
    let agent = (agent, config.later_roots);
    let planner = Planner::new(agent, store, bus, to_runner, from_all, stopped, runner_gone);
    let renewal = renewal.map(tokio::spawn);
    let planner = tokio::spawn(async move {
        let ended = planner.run().await;
        renewal.inspect(JoinHandle::abort);
        ended
    });
    Ok(AgentHandle { stop, planner, store_path })
}

type Renewal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The way to the broker, and what keeps the device's certificate fresh on it.
fn way(
    broker: (String, u16),
    mutual: Option<Mutual>,
    identity: &Identity,
    data: &Path,
    clock: &Arc<FloorClock>,
) -> Result<(Way, Option<Renewal>), EnrolError> {
    let (renewed, changes) = watch::channel(0);
    let Some(mutual) = mutual else {
        let clock = Arc::clone(clock);
        return Ok((Way { broker, tls: None, clock, renewed: changes }, None));
    };
    let can_renew = mutual.enrol.is_some();
    let office = Office::new(mutual, identity.device.clone(), data, Arc::clone(clock))?;
    let held = office.load()?.ok_or(EnrolError::NotEnrolled)?;
    let own = held.own()?;
    let tls = Some(office.broker_tls(Arc::clone(&own))?);
    let way = Way { broker, tls, clock: Arc::clone(clock), renewed: changes };
    let renewal = can_renew.then(|| Box::pin(office.keep_renewed(held, own, renewed)) as Renewal);
    Ok((way, renewal))
}

/// Gets the device's first certificate by a one-time token, if it has none: tries until
/// the cloud can be reached.
///
/// # Errors
/// [`EnrolError`] when the cloud says no, or a file cannot be used.
pub async fn enrol(config: &AgentConfig, data: &Path, token: &str) -> Result<bool, StartError> {
    open_folder(data)?;
    let store = Store::open(&data.join(STORE_FILE))?;
    let clock = Arc::new(FloorClock::new(RELEASED_AT_MS.max(store.time_floor_ms()?)));
    let mutual = config.mutual.clone().ok_or(EnrolError::NothingToDo)?;
    let office = Office::new(mutual, config.identity.device.clone(), data, clock)?;
    if office.load()?.is_some() {
        return Ok(false);
    }
    let mut pause = ENROL_PAUSE.0;
    loop {
        match office.enrol(token).await {
            Ok(_) => return Ok(true),
            Err(EnrolError::Post(error)) => {
                tracing::warn!(%error, ?pause, "the cloud cannot be reached; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ENROL_PAUSE.1);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_folder(data: &Path) -> Result<(), StartError> {
    let made = fs::create_dir_all(data)
        .and_then(|()| fs::set_permissions(data, fs::Permissions::from_mode(0o700)));
    made.map_err(|error| StartError::Io(data.to_owned(), error))
}

fn new_boot() -> Result<BootId, StartError> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| StartError::Random)?;
    Ok(BootId::from_random(random))
}
