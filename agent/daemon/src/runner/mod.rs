//! The runner: engine, device and tick loop. No keys, no network, no store.
//!
//! Three threads: the reader of frames, which also admits modules and so keeps
//! compilation off the control path; the tick loop; the candidates, which run at
//! a lower priority on inputs that the tick loop has already acted on.

mod candidates;
mod done;
mod prepare;
mod ticks;

use gnomon_agent_core::message::{FromRunner, ToRunner};
use gnomon_host::{Host, HostError, HostOptions, THREAD_STACK_BYTES};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::{Digest, Reason, Refusal};
use std::collections::BTreeSet;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};

use crate::device::Device;
use crate::frames;
use prepare::Prepared;

/// Instances at a time: one each for the tick loop, the candidates and admission.
const INSTANCES: u32 = 4;

/// Why a runner could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The engine.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Threads or the socket.
    #[error("the runner could not start: {0}")]
    Io(#[from] io::Error),
}

/// What the tick loop is told between two ticks.
enum Command {
    Activate(Prepared),
    Defaults,
    Stop(BTreeSet<Digest>),
}

/// Dropped when the tick loop ends, however it ends: the reader of frames then
/// sees the end of the stream and ends, and after it the writer.
struct EndOfTicks(UnixStream);

impl Drop for EndOfTicks {
    fn drop(&mut self) {
        // The planner may have closed it already.
        let _ = self.0.shutdown(Shutdown::Read);
    }
}

/// Starts a runner on its own threads; it ends when the device or the planner is gone.
///
/// # Errors
/// [`RunnerError`] when the engine, a thread or the socket cannot be had.
pub fn start(
    profile: Profile,
    device: Box<dyn Device>,
    stream: UnixStream,
) -> Result<JoinHandle<()>, RunnerError> {
    let host = Arc::new(Host::new(&HostOptions { instances: INSTANCES })?);
    let planner = frames::sender::<FromRunner>("runner", stream.try_clone()?)?;
    let (commands, to_ticks) = mpsc::channel();
    let (jobs, to_candidates) = mpsc::sync_channel(candidates::QUEUE_MAX);

    // The first frame; the queue is empty, so it cannot fail.
    let _ = planner.try_send(FromRunner::Started { engine: host.engine_digest().clone() });

    let beside = candidates::Candidates::new(planner.clone());
    Builder::new()
        .name("candidates".into())
        .stack_size(THREAD_STACK_BYTES)
        .spawn(move || beside.run(&to_candidates))?;

    let ticks = ticks::TickLoop::new(profile.clone(), device, planner.clone(), jobs);
    let end = EndOfTicks(stream.try_clone()?);
    let tick_thread =
        Builder::new().name("ticks".into()).stack_size(THREAD_STACK_BYTES).spawn(move || {
            let _end = end;
            ticks.run(&to_ticks);
        })?;

    let mut prepared: Option<Prepared> = None;
    frames::receiver("runner", stream, move |message| match message {
        ToRunner::Prepare { document, modules } => {
            let version = document.version;
            // Whatever was prepared before must not be taken for this one.
            prepared = None;
            // A panic of the compiler is the module's fault, not the end of control.
            let admit = || Prepared::admit(&host, &profile, &document, &modules);
            let outcome = catch_unwind(AssertUnwindSafe(admit)).unwrap_or_else(|_| {
                Err(Refusal::new(Reason::CompileFailed, "the engine's compiler panicked"))
            });
            let outcome = outcome.map(|admitted| prepared = Some(admitted));
            planner.send(FromRunner::Prepared { version, outcome }).is_ok()
        }
        ToRunner::Activate { version } => match prepared.take() {
            Some(ready) if ready.version == version => {
                commands.send(Command::Activate(ready)).is_ok()
            }
            _ => true,
        },
        ToRunner::Defaults => commands.send(Command::Defaults).is_ok(),
        // What is prepared may hold them, too: once it is in force, it is said again.
        ToRunner::Stop { modules } => commands.send(Command::Stop(modules)).is_ok(),
    })?;
    Ok(tick_thread)
}
