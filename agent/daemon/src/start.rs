//! Joins planner, runner, store and bus into a running agent. What they do is theirs.

use gnomon_agent_core::agent::Setup;
use gnomon_agent_core::message::FromRunner;
use gnomon_agent_core::{Agent, Event};
use gnomon_schemas::module::KeySignatures;
use gnomon_schemas::{BootId, Version};
use ring::rand::{SecureRandom, SystemRandom};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::AgentConfig;
use crate::device::Device;
use crate::frames;
use crate::planner::Planner;
use crate::planner::mqtt::Bus;
use crate::planner::store::{Store, StoreError};
use crate::runner::{self, RunnerError};

/// It is not earlier than this agent's release (Unix time, ms): 2026-11-01.
const RELEASED_AT_MS: u64 = 1_793_491_200_000;
/// Events that may wait for the planner; with more, network and runner are slowed.
const EVENTS_MAX: usize = 1024;

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
    fs::create_dir_all(data).map_err(io(data))?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o700)).map_err(io(data))?;
    let store_path = data.join("agent.db");
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

    let address = (config.broker.0.as_str(), config.broker.1);
    let who = (config.identity.fleet.clone(), config.identity.device.clone(), boot.clone());
    let bus = Bus::start(address, who, events)?;
    let agent = Agent::new(Setup {
        identity: config.identity,
        root: config.root,
        judge: Box::new(KeySignatures),
        boot,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        time_floor_ms: RELEASED_AT_MS.max(store.time_floor_ms()?),
    });
    let (stop, stopped) = watch::channel(false);
    let planner = Planner::new(agent, store, bus, to_runner, from_all, stopped, runner_gone);
    Ok(AgentHandle { stop, planner: tokio::spawn(planner.run()), store_path })
}

fn new_boot() -> Result<BootId, StartError> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| StartError::Random)?;
    Ok(BootId::from_random(random))
}
