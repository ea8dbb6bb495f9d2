//! The keeper: device, tick loop and clamp. It keeps the actuator fed on every tick,
//! whatever becomes of planner and runners. No keys, no network, no store, no engine.
//!
//! Threads: the tick loop; the candidates, at a lower priority, on inputs that the tick
//! loop has already acted on; one that prepares documents, off the control path; and two
//! for each planner that is attached.

mod candidates;
mod in_force;
mod outbound;
mod prepare;
mod revive;
mod ticks;
mod view;

use gnomon_agent_core::message::{FromKeeper, Prepare, ToKeeper};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::{Digest, Reason, Refusal};
use std::collections::BTreeSet;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::cell::Workshop;
use crate::device::Device;
use crate::frames;
use outbound::Outbound;
use prepare::Prepared;
use revive::Revive;
use ticks::{Command, TickLoop};
pub use view::{KeeperView, Pulse, SlotsView};

/// How long the tick loop may take to answer a question between two ticks.
const ANSWER: Duration = Duration::from_secs(2);

/// What becomes of the keeper when a planner is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutPlanner {
    /// It ends: they share a process.
    End,
    /// It goes on: another planner will come.
    GoOn,
}

/// A running keeper.
pub struct Keeper {
    commands: Sender<Command>,
    to_prepare: Sender<Box<Prepare>>,
    outbound: Arc<Outbound>,
    shared: Arc<Shared>,
    pulse: Arc<Pulse>,
    without_planner: WithoutPlanner,
    ticks: JoinHandle<()>,
}

/// What the threads of preparation and of planners share.
#[derive(Default)]
struct Shared {
    /// The document that was prepared last, until it is asked for.
    ready: Mutex<Option<Prepared>>,
    /// The stream of the planner in office.
    stream: Mutex<Option<UnixStream>>,
}

/// How a keeper is started.
#[derive(Debug, Clone, Copy)]
pub struct KeeperOptions {
    /// What becomes of it without a planner.
    pub without_planner: WithoutPlanner,
    /// The tick loop's priority in the system's real-time class, if it is to be in it.
    pub realtime: Option<u8>,
}

impl Keeper {
    /// Starts a keeper on its own threads, on the profile's defaults.
    ///
    /// # Errors
    /// When a thread cannot be had.
    pub fn start(
        profile: Profile,
        device: Box<dyn Device>,
        workshop: Arc<dyn Workshop>,
        options: KeeperOptions,
    ) -> io::Result<Keeper> {
        let profile = Arc::new(profile);
        let outbound = Arc::new(Outbound::new(workshop.engine()));
        let pulse = Arc::new(Pulse::default());
        let shared = Arc::new(Shared::default());
        let (commands, to_ticks) = channel();
        let (jobs, to_candidates) = sync_channel(candidates::QUEUE_MAX);
        let (to_prepare, prepares) = channel();

        let beside = candidates::Candidates::new(Arc::clone(&workshop), Arc::clone(&outbound));
        let beside = thread("candidates", move || beside.run(&to_candidates))?;
        let revive = Revive::new(Arc::clone(&workshop), commands.clone());
        let ticks = TickLoop::new(
            &profile,
            device,
            Arc::clone(&outbound),
            jobs,
            Arc::clone(&pulse),
            revive,
        );
        let (end, way_out) = (Arc::clone(&shared), Arc::clone(&outbound));
        let ticks = thread("ticks", move || {
            if let Some(priority) = options.realtime {
                realtime(priority);
            }
            ticks.run(&to_ticks);
            // The tick loop held the only way to the candidates: they have their say, too.
            if beside.join().is_err() {
                tracing::error!("the candidates' thread has panicked");
            }
            way_out.detach();
            end.close();
        })?;
        let preparer = Preparer {
            profile,
            workshop,
            outbound: Arc::clone(&outbound),
            shared: Arc::clone(&shared),
            commands: commands.clone(),
        };
        thread("prepare", move || preparer.run(&prepares))?;
        let without_planner = options.without_planner;
        Ok(Keeper { commands, to_prepare, outbound, shared, pulse, without_planner, ticks })
    }

    /// Speaks with a planner from now on, in the place of the one before.
    ///
    /// # Errors
    /// When the stream or a thread cannot be had.
    pub fn attach(&self, stream: UnixStream) -> io::Result<()> {
        let planner = frames::sender::<FromKeeper>("keeper", stream.try_clone()?)?;
        let before = self.shared.lock_stream().replace(stream.try_clone()?);
        if let Some(before) = before {
            // It may have closed it itself.
            let _ = before.shutdown(Shutdown::Both);
        }
        self.outbound.attach(planner);
        let (commands, to_prepare) = (self.commands.clone(), self.to_prepare.clone());
        let (shared, outbound) = (Arc::clone(&self.shared), Arc::clone(&self.outbound));
        let at_end = OnDrop {
            commands: (self.without_planner == WithoutPlanner::End).then(|| commands.clone()),
        };
        frames::receiver("keeper", stream, move |message| {
            let _at_end = &at_end;
            match message {
                ToKeeper::Prepare(message) => to_prepare.send(message).is_ok(),
                ToKeeper::Activate { document, version } => {
                    let ready = shared.take_ready(&document).map(Box::new);
                    commands.send(Command::Activate(document, version, ready)).is_ok()
                }
                ToKeeper::Defaults => commands.send(Command::Defaults).is_ok(),
                // What is prepared may hold them, too: once it is in force, it is said again.
                ToKeeper::Stop { modules } => commands.send(Command::Stop(modules)).is_ok(),
                ToKeeper::Kept { number } => {
                    outbound.kept(number);
                    true
                }
            }
        })?;
        Ok(())
    }

    /// Speaks with no planner any more: the one in office reads the end of its stream.
    pub fn detach(&self) {
        self.outbound.detach();
        self.shared.close();
    }

    /// The sign that its loop turns.
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// What an operator sees; none if the loop does not answer.
    pub fn view(&self) -> Option<KeeperView> {
        let (answer, view) = sync_channel(1);
        self.commands.send(Command::View(answer)).ok()?;
        view.recv_timeout(ANSWER).ok()
    }

    /// Asks the tick loop to end; what was done until then is still said.
    pub fn end(&self) {
        // It may have ended.
        let _ = self.commands.send(Command::End);
    }

    /// Whether the tick loop has ended.
    pub fn has_ended(&self) -> bool {
        self.ticks.is_finished()
    }
}

/// Sends the end when the reader of a planner's frames ends, however it ends.
struct OnDrop {
    commands: Option<Sender<Command>>,
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(commands) = &self.commands {
            // The tick loop may have ended first.
            let _ = commands.send(Command::End);
        }
    }
}

impl Shared {
    fn lock_stream(&self) -> std::sync::MutexGuard<'_, Option<UnixStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_ready(&self, document: &Digest) -> Option<Prepared> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.take_if(|ready| ready.digest == *document)
    }

    /// Ends the reader of the planner's frames; what is to be written still is.
    fn close(&self) {
        if let Some(stream) = self.lock_stream().take() {
            // The planner may have closed it already.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}

/// Prepares one document after the other.
struct Preparer {
    profile: Arc<Profile>,
    workshop: Arc<dyn Workshop>,
    outbound: Arc<Outbound>,
    shared: Arc<Shared>,
    commands: Sender<Command>,
}

impl Preparer {
    fn run(&self, prepares: &Receiver<Box<Prepare>>) {
        while let Ok(mut message) = prepares.recv() {
            // Only the newest is wanted.
            while let Ok(newer) = prepares.try_recv() {
                message = newer;
            }
            let document = message.digest.clone();
            let keep =
                |ready| *self.shared.ready.lock().unwrap_or_else(PoisonError::into_inner) = ready;
            // Whatever was prepared before must not be taken for this one.
            keep(None);
            let outcome = self.prepare(&message).map(keep);
            self.outbound.say(FromKeeper::Prepared { document, outcome });
        }
    }

    /// Gives nothing for what is in force: that is at hand, and was admitted.
    fn prepare(&self, message: &Prepare) -> Result<Option<Prepared>, Refusal> {
        let (answer, standing) = sync_channel(1);
        let gone = || Refusal::new(Reason::Unavailable, "the tick loop does not answer");
        self.commands.send(Command::States(answer)).map_err(|_| gone())?;
        let standing = standing.recv_timeout(ANSWER).map_err(|_| gone())?;
        if standing.document.as_ref() == Some(&message.digest) {
            return Ok(None);
        }
        let workshop = self.workshop.as_ref();
        let prepared = Prepared::new(workshop, &self.profile, message, &standing)?;
        let in_control = standing.functions.into_values().map(|of| of.module);
        let needed: BTreeSet<Digest> = message.modules.keys().cloned().chain(in_control).collect();
        workshop.keep_only(&needed);
        Ok(Some(prepared))
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let stack = gnomon_host::THREAD_STACK_BYTES;
    Builder::new().name(name.into()).stack_size(stack).spawn(work)
}

fn realtime(priority: u8) {
    if let Err(error) = crate::sandbox::priority::realtime(priority) {
        tracing::error!(%error, "the tick loop keeps its priority");
    }
}
