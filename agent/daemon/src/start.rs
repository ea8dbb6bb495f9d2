//! Joins planner, keeper, store and bus into a running agent. What they do is theirs.

use gnomon_agent_core::agent::Setup;
use gnomon_agent_core::message::FromKeeper;
use gnomon_agent_core::{Agent, Event, Identity};
use gnomon_host::HostError;
use gnomon_schemas::{BootId, Version};
use gnomon_sigstore::Judge;
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, File, OpenOptions, TryLockError};
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

use crate::cell::local::LocalWorkshop;
use crate::config::{AgentConfig, Mutual};
use crate::device::Device;
use crate::enrol::{EnrolError, Office};
use crate::frames;
use crate::keeper::{Keeper, KeeperOptions, WithoutPlanner};
use crate::planner::Planner;
use crate::planner::mirror;
use crate::planner::mqtt::{Bus, Way};
use crate::planner::store::{Store, StoreError};
use crate::status::{self, PLANNER_SOCKET};
use crate::tls::FloorClock;

/// It is not earlier than this agent's release (Unix time, ms): 2026-11-01.
pub(crate) const RELEASED_AT_MS: u64 = 1_793_491_200_000;
/// Events that may wait for the planner; with more, network and runner are slowed.
const EVENTS_MAX: usize = 1024;
/// The first and the longest pause between attempts to reach the place of enrolment.
const ENROL_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long the last results may wait for their acknowledgement when the device is gone.
const LAST_ACKS: Duration = Duration::from_secs(300);
pub(crate) const STORE_FILE: &str = "agent.db";
/// Held by the agent that works in the folder.
const LOCK_FILE: &str = "lock";

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder or the sockets.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another agent.
    #[error("another agent works in {0}: end it first, or give this one a folder of its own")]
    InUse(PathBuf),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] HostError),
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
    /// Of the data folder, where planner and keeper share a process.
    lock: Option<File>,
}

impl AgentHandle {
    /// Ends the keeper, keeps its last results in the outbox, and stops the planner.
    ///
    /// # Errors
    /// What the planner ended with.
    pub async fn stop(self) -> Result<(), StoreError> {
        let _lock = self.lock;
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

/// Starts an agent on the current tokio runtime, its data in `data`: planner, keeper and
/// engine in this process.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub fn start(
    config: AgentConfig,
    data: &Path,
    device: Box<dyn Device>,
    observer: Option<Sender<Swapped>>,
) -> Result<AgentHandle, StartError> {
    let io = io_at(data);
    let lock = lock_folder(data)?;
    let (planner_end, keeper_end) = UnixStream::pair().map_err(&io)?;
    let options = KeeperOptions { without_planner: WithoutPlanner::End, realtime: None };
    let workshop = Arc::new(LocalWorkshop::new()?);
    let keeper = Keeper::start(config.identity.profile.clone(), device, workshop, options);
    keeper.and_then(|keeper| keeper.attach(keeper_end)).map_err(&io)?;
    let mut agent = plan(config, data, planner_end, new_id()?, LAST_ACKS, observer)?;
    agent.lock = Some(lock);
    Ok(agent)
}

/// Starts a planner on the current tokio runtime, for the keeper at the other end of
/// `stream`, whose start is `session`.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub(crate) fn plan(
    config: AgentConfig,
    data: &Path,
    stream: UnixStream,
    session: BootId,
    last_acks: Duration,
    observer: Option<Sender<Swapped>>,
) -> Result<AgentHandle, StartError> {
    let io = io_at(data);
    let store_path = data.join(STORE_FILE);
    let store = Store::open(&store_path)?;
    let boot = new_id()?;
    let (events, from_all) = mpsc::channel(EVENTS_MAX);
    let from_keeper = events.clone();
    let (keeper_alive, keeper_gone) = watch::channel(());
    frames::receiver("planner", stream.try_clone().map_err(&io)?, move |message| {
        // Held until the last message is handed over: its end tells the planner.
        let _alive = &keeper_alive;
        if let (FromKeeper::Activated { version, swap_ns, .. }, Some(observer)) =
            (&message, &observer)
        {
            // An observer that has left misses nothing that matters here.
            let _ = observer.send(Swapped { version: *version, swap_ns: *swap_ns });
        }
        from_keeper.blocking_send(Event::Keeper(message)).is_ok()
    })
    .map_err(&io)?;
    let to_keeper = frames::sender("planner", stream).map_err(&io)?;

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
        session,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        time_floor_ms,
        released_at_ms: RELEASED_AT_MS,
    });
    let (stop, stopped) = watch::channel(false);
    let agent = (agent, config.later_roots);
    let planner =
        Planner::new(agent, store, bus, to_keeper, from_all, stopped, keeper_gone, last_acks);
    let view = planner.viewer();
    status::serve(&data.join(PLANNER_SOCKET), move || Some(view())).map_err(&io)?;
    let renewal = renewal.map(tokio::spawn);
    let planner = tokio::spawn(async move {
        let ended = planner.run().await;
        renewal.inspect(JoinHandle::abort);
        ended
    });
    Ok(AgentHandle { stop, planner, store_path, lock: None })
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> StartError {
    let path = path.to_owned();
    move |error| StartError::Io(path.clone(), error)
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

/// The lowest possible time that the device has kept (Unix time, ms). An agent that runs
/// has its store to itself; what it keeps beside it says the same.
fn lowest_time_ms(data: &Path) -> Result<u64, StartError> {
    let path = data.join(STORE_FILE);
    let store = match Store::open(&path) {
        Err(error) if error.is_busy() => return Ok(mirror::time_floor_ms(&path)),
        store => store?,
    };
    let at_ms = store.time_floor_ms()?;
    if let Err(error) = store.close() {
        tracing::warn!(%error, "the store was not closed in order");
    }
    Ok(at_ms)
}

/// Gets the device's first certificate by a one-time token, if it has none: tries until
/// the cloud can be reached.
///
/// # Errors
/// [`EnrolError`] when the cloud says no, or a file cannot be used.
pub async fn enrol(config: &AgentConfig, data: &Path, token: &str) -> Result<bool, StartError> {
    open_folder(data)?;
    let clock = Arc::new(FloorClock::new(RELEASED_AT_MS.max(lowest_time_ms(data)?)));
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

/// Makes the data folder if there is none, and keeps every other agent out of it for as
/// long as the file that is given is held.
pub(crate) fn lock_folder(data: &Path) -> Result<File, StartError> {
    open_folder(data)?;
    let path = data.join(LOCK_FILE);
    let io = io_at(&path);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(&io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(data.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

fn open_folder(data: &Path) -> Result<(), StartError> {
    let made = fs::create_dir_all(data)
        .and_then(|()| fs::set_permissions(data, fs::Permissions::from_mode(0o700)));
    made.map_err(io_at(data))
}

pub(crate) fn new_id() -> Result<BootId, StartError> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| StartError::Random)?;
    Ok(BootId::from_random(random))
}
