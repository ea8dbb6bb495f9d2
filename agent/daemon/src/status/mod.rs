//! The local operator's view: what runs, what waits, and why something was refused.
//!
//! Keeper and planner each answer on a socket in the data folder, open to the agent's own
//! user alone. A part that does not answer is left out; without a planner, what is durable
//! is read from the store itself.

mod text;

use gnomon_schemas::reported::Reported;
use gnomon_schemas::{Refusal, Version};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::keeper::KeeperView;
use crate::planner::store::{Store, StoreStatus};
use crate::sandbox::Walls;
use crate::start::STORE_FILE;

/// The keeper's socket in the data folder.
pub(crate) const KEEPER_SOCKET: &str = "keeper.sock";
/// The planner's socket in the data folder.
pub(crate) const PLANNER_SOCKET: &str = "planner.sock";
/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The largest answer.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Refusals that are remembered for an operator.
const REASONS_MAX: usize = 8;

/// All that there is to see.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The release of this program.
    pub agent_version: &'static str,
    /// Control; none if no keeper answers.
    pub keeper: Option<KeeperStatus>,
    /// The cloud's side; none if no planner answers.
    pub planner: Option<PlannerView>,
    /// What is durable; none if the store cannot be read.
    pub store: Option<StoreStatus>,
    /// Why it cannot.
    pub store_error: Option<String>,
}

/// The keeper and its processes.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeeperStatus {
    /// The keeper's process.
    pub pid: u32,
    /// The planner's process, if there is one.
    pub planner_pid: Option<u32>,
    /// Planners since the keeper's start.
    pub planner_starts: u64,
    /// The walls of the runner that was started last.
    pub walls: Option<Walls>,
    /// Ticks, slots and runners.
    pub view: KeeperView,
}

/// What the planner tells.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PlannerView {
    /// How long it has been up (ms).
    pub up_ms: u64,
    /// Whether it is connected to the broker.
    pub connected: bool,
    /// What it has reported last.
    pub reported: Option<Reported>,
    /// The last refusals, the newest first.
    pub reasons: VecDeque<ReasonView>,
    /// Its store, which nobody else can look into; told as the store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreStatus>,
}

/// One refusal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReasonView {
    /// How long the planner had been up then (ms).
    pub up_ms: u64,
    /// The version that was refused, if one was.
    pub version: Option<Version>,
    /// Why.
    pub refusal: Refusal,
}

/// The planner's view, shared with the thread that tells it.
#[derive(Debug, Clone)]
pub struct PlannerBoard {
    start: Instant,
    view: Arc<Mutex<PlannerView>>,
}

impl Default for PlannerBoard {
    fn default() -> PlannerBoard {
        PlannerBoard { start: Instant::now(), view: Arc::default() }
    }
}

impl PlannerBoard {
    fn lock(&self) -> MutexGuard<'_, PlannerView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes a report.
    pub fn report(&self, reported: &Reported) {
        self.lock().reported = Some(reported.clone());
    }

    /// Notes whether there is a connection.
    pub fn connection(&self, connected: bool) {
        self.lock().connected = connected;
    }

    /// Notes a refusal.
    pub fn refuse(&self, version: Option<Version>, refusal: &Refusal) {
        let reason = ReasonView { up_ms: self.up_ms(), version, refusal: refusal.clone() };
        let mut view = self.lock();
        view.reasons.push_front(reason);
        view.reasons.truncate(REASONS_MAX);
    }

    /// What there is to tell.
    pub fn view(&self) -> PlannerView {
        PlannerView { up_ms: self.up_ms(), ..self.lock().clone() }
    }
}

/// Answers whoever connects with what `make` gives, on a thread of its own.
pub(crate) fn serve<T: Serialize>(
    path: &Path,
    make: impl Fn() -> Option<T> + Send + 'static,
) -> io::Result<()> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    thread::Builder::new().name("status".into()).spawn(move || {
        for mut stream in listener.incoming().filter_map(Result::ok) {
            let Some(view) = make() else { continue };
            // Somebody who does not read keeps nobody else waiting for long.
            let told = stream
                .set_write_timeout(Some(PATIENCE))
                .and_then(|()| stream.write_all(&serde_json::to_vec(&view)?));
            if let Err(error) = told {
                tracing::debug!(%error, "nobody has read the status");
            }
        }
    })?;
    Ok(())
}

impl Status {
    /// Asks the agent that works in `data`. Its store is read where no planner answers.
    pub fn of(data: &Path) -> Status {
        let mut planner: Option<PlannerView> = ask(&data.join(PLANNER_SOCKET));
        let told = planner.as_mut().and_then(|planner| planner.store.take());
        let read = || Store::open_read_only(&data.join(STORE_FILE))?.status();
        let store = told.map_or_else(read, Ok);
        let (store, store_error) = match store {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Status {
            agent_version: env!("CARGO_PKG_VERSION"),
            keeper: ask(&data.join(KEEPER_SOCKET)),
            planner,
            store,
            store_error,
        }
    }
}

fn ask<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    let stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut answer = vec![];
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).ok()?;
    serde_json::from_slice(&answer).ok()
}
