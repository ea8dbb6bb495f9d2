//! The agent's processes: this one is the keeper, and starts the others. A planner that
//! ends is started again while the keeper goes on; runners are the workshop's business.
//!
//! Signals: TERM and INT end the agent in order; HUP puts another planner in the place of
//! this one, out of the program that is on disk by then, which is how it is upgraded.

use anyhow::{Context as _, bail};
use gnomon_schemas::BootId;
use sd_notify::NotifyState;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::config::AgentConfig;
use crate::keeper::{Keeper, KeeperOptions, WithoutPlanner};
use crate::runner::compiled::ProcessWorkshop;
use crate::socket::SocketDevice;
use crate::start::{enrol, lock_folder, new_id, plan};
use crate::status::{self, KEEPER_SOCKET, KeeperStatus};

/// A planner that ends with this code will not do better the next time (EX_CONFIG).
pub(crate) const UNUSABLE: u8 = 78;
/// Native code of modules, in the data folder.
const CODE_FOLDER: &str = "compiled";
/// The first and the longest pause before a planner is started again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A planner that lived for so long has done its work.
const LONG_LIFE: Duration = Duration::from_secs(10);
/// How long the planner may take to make the last results durable.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// A tick loop that has not turned for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How often the supervisor looks after everything.
const ROUND: Duration = Duration::from_millis(100);

/// What `gnomon-agent run` is told.
pub(crate) struct Orders {
    pub(crate) config: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) token: Option<String>,
    pub(crate) realtime: Option<u8>,
}

/// What no other start would mend: a configuration, a certificate, a store of a newer agent.
#[derive(Debug, thiserror::Error)]
#[error("the planner cannot work")]
pub(crate) struct Unusable;

/// Runs the agent of one device until it is told to end.
pub(crate) fn run(orders: Orders) -> anyhow::Result<()> {
    // Read here for its errors, and for the profile; the planner reads it for itself.
    let config = AgentConfig::read(&orders.config)?;
    let _lock = lock_folder(&orders.data)?;
    let profile = config.identity.profile.clone();
    let device = SocketDevice::listen(&orders.socket, profile.clone())
        .with_context(|| format!("the firmware's socket {}", orders.socket.display()))?;
    // The very program that runs: one on disk may be newer by the time it is needed.
    let own = PathBuf::from("/proc/self/exe");
    let folder = orders.data.join(CODE_FOLDER);
    let workshop = Arc::new(ProcessWorkshop::open(own, folder, orders.realtime)?);
    let options =
        KeeperOptions { without_planner: WithoutPlanner::GoOn, realtime: orders.realtime };
    let keeper = Keeper::start(profile, Box::new(device), Arc::clone(&workshop) as _, options)?;
    let keeper = Arc::new(keeper);
    let office = Arc::new(Office::default());
    serve_status(&orders.data, &keeper, workshop, &office)?;
    let stop = Arc::new(AtomicBool::new(false));
    let renew = Arc::new(AtomicBool::new(false));
    let (fatal, ended) = oneshot::channel();
    let planners = Planners {
        exe: std::env::current_exe().context("the agent's own program")?,
        session: new_id()?,
        orders,
        keeper: Arc::clone(&keeper),
        stop: Arc::clone(&stop),
        renew: Arc::clone(&renew),
        office,
    };
    // To the kernel the thread that starts a process is its parent: this one lives long.
    let planners = thread::Builder::new().name("planners".into()).spawn(move || {
        // Nobody listens when the agent ends in order.
        let _ = fatal.send(planners.run());
    })?;
    tell(&[NotifyState::Ready]);
    tracing::info!(device = %config.identity.device, "agent runs");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(watch(&keeper, &renew, ended));
    tell(&[NotifyState::Stopping]);
    stop.store(true, Ordering::SeqCst);
    keeper.end();
    // It has nothing to say but what it has logged.
    let _ = planners.join();
    outcome
}

/// The planner in office, for the status.
#[derive(Default)]
struct Office {
    pid: AtomicU32,
    starts: AtomicU64,
}

fn serve_status(
    data: &Path,
    keeper: &Arc<Keeper>,
    workshop: Arc<ProcessWorkshop>,
    office: &Arc<Office>,
) -> anyhow::Result<()> {
    let (keeper, office) = (Arc::clone(keeper), Arc::clone(office));
    let path = data.join(KEEPER_SOCKET);
    let served = status::serve(&path, move || {
        let planner = office.pid.load(Ordering::SeqCst);
        Some(KeeperStatus {
            pid: std::process::id(),
            planner_pid: (planner != 0).then_some(planner),
            planner_starts: office.starts.load(Ordering::SeqCst),
            walls: workshop.walls(),
            view: keeper.view()?,
        })
    });
    served.with_context(|| format!("the status socket {}", path.display()))
}

/// Until the agent is told to end, or cannot go on.
async fn watch(
    keeper: &Keeper,
    renew: &AtomicBool,
    mut fatal: oneshot::Receiver<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let watchdog = sd_notify::watchdog_enabled().map(|every| every / 3);
    let mut round = tokio::time::interval(watchdog.unwrap_or(SILENCE_MAX).min(SILENCE_MAX));
    loop {
        tokio::select! {
            _ = terminated.recv() => return Ok(()),
            _ = interrupted.recv() => return Ok(()),
            _ = hung_up.recv() => renew.store(true, Ordering::SeqCst),
            ended = &mut fatal => {
                return ended.unwrap_or_else(|_| bail!("the thread of planners has panicked"));
            }
            _ = round.tick() => {
                if keeper.has_ended() {
                    bail!("the tick loop has ended: see the log, and start the agent again");
                }
                // A loop that hangs is not spoken for: the service manager then ends it.
                if watchdog.is_some() && keeper.pulse().silence() < SILENCE_MAX {
                    tell(&[NotifyState::Watchdog]);
                }
            }
        }
    }
}

/// Tells the service manager, if there is one.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// One planner after the other.
struct Planners {
    exe: PathBuf,
    session: BootId,
    orders: Orders,
    keeper: Arc<Keeper>,
    stop: Arc<AtomicBool>,
    renew: Arc<AtomicBool>,
    office: Arc<Office>,
}

impl Planners {
    /// # Errors
    /// When the first of them will never do better.
    fn run(&self) -> anyhow::Result<()> {
        let mut pause = PAUSE.0;
        let mut has_worked = false;
        while !self.stop.load(Ordering::SeqCst) {
            let start = Instant::now();
            let ended = self.start().and_then(|planner| self.see_through(planner));
            let lived = start.elapsed();
            has_worked |= lived >= LONG_LIFE;
            match ended {
                Ok(_) if self.stop.load(Ordering::SeqCst) => return Ok(()),
                Ok(ended) if !has_worked && ended.code() == Some(UNUSABLE.into()) => {
                    return Err(Unusable.into());
                }
                Ok(ended) if ended.success() => tracing::info!("another planner takes over"),
                Ok(ended) => {
                    let (code, signal) = (ended.code(), ended.signal());
                    tracing::error!(code, signal, "the planner has ended; the keeper goes on");
                    has_worked |= ended.code() != Some(UNUSABLE.into());
                }
                Err(error) => tracing::error!(%error, "the planner does not start"),
            }
            pause = if lived >= LONG_LIFE { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
            self.rest(pause);
        }
        Ok(())
    }

    fn rest(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end && !self.stop.load(Ordering::SeqCst) {
            thread::sleep(ROUND.min(pause));
        }
    }

    fn start(&self) -> std::io::Result<Child> {
        let (own, other) = UnixStream::pair()?;
        let mut command = Command::new(&self.exe);
        command.arg("planner").arg("--config").arg(&self.orders.config);
        command.arg("--data").arg(&self.orders.data);
        command.arg("--session").arg(self.session.as_str());
        if let Some(token) = &self.orders.token {
            // Not an argument: those are for everybody to read.
            command.env("GNOMON_ENROLL_TOKEN", token);
        }
        command.stdin(Stdio::from(OwnedFd::from(other)));
        let planner = command.spawn()?;
        self.office.pid.store(planner.id(), Ordering::SeqCst);
        self.office.starts.fetch_add(1, Ordering::SeqCst);
        self.keeper.attach(own)?;
        Ok(planner)
    }

    /// Waits for a planner's end; tells it to end when it is to.
    fn see_through(&self, mut planner: Child) -> std::io::Result<ExitStatus> {
        let mut told: Option<Instant> = None;
        loop {
            if let Some(ended) = planner.try_wait()? {
                self.office.pid.store(0, Ordering::SeqCst);
                return Ok(ended);
            }
            let is_over = self.stop.load(Ordering::SeqCst) && self.keeper.has_ended();
            if told.is_none() && (is_over || self.renew.swap(false, Ordering::SeqCst)) {
                // It reads the end of its stream, makes what it has read durable, and ends.
                self.keeper.detach();
                told = Some(Instant::now());
            }
            if told.is_some_and(|told| told.elapsed() >= LAST_WORDS) {
                planner.kill()?;
            }
            thread::sleep(if told.is_some() { Duration::from_millis(5) } else { ROUND });
        }
    }
}

/// Runs a planner for the keeper at the other end of standard input.
pub(crate) fn planner(
    config: &Path,
    data: &Path,
    session: BootId,
    token: Option<&str>,
) -> anyhow::Result<()> {
    let term = Some(rustix::process::Signal::TERM);
    rustix::process::set_parent_process_death_signal(term).context("the keeper's end")?;
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let unusable = |error: anyhow::Error| error.context(Unusable);
        let config = AgentConfig::read(config).map_err(|error| unusable(error.into()))?;
        if let Some(token) = token {
            enrol(&config, data, token).await.map_err(|error| unusable(error.into()))?;
        }
        let planner = plan(config, data, stream, session, Duration::ZERO, None);
        let mut planner = planner.map_err(|error| unusable(error.into()))?;
        planner.ended().await?;
        Ok(())
    })
}
