//! The keeper's end of a runner: a child process that is asked, waited for up to a
//! deadline, and ended when it does not come back. What it says is hostile until parsed.

use gnomon_host::{Evaluation, Outputs};
use gnomon_schemas::value::{Value, ValueType, Values};
use gnomon_schemas::{Reason, Refusal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::since;
use super::wire::{self, ANSWER_BYTES_MAX, Answer, Ask};
use crate::cell::{Cell, SlotFacts, failed};
use crate::sandbox::{ENVIRONMENT, Purpose};

/// What a call may be late before its runner is ended: the engine's own deadline ends a
/// guest long before.
const GRACE: Duration = Duration::from_millis(250);
/// How long a write may wait: there is never more than one call in the socket.
const WRITE_PATIENCE: Duration = Duration::from_millis(50);
/// What a read takes at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// A runner process.
pub(super) struct Runner {
    child: Option<Child>,
    stream: UnixStream,
    buffer: Vec<u8>,
}

/// Starts runners, always from the same thread: to the kernel that thread is their parent,
/// with which they end.
pub(super) struct Spawner(Mutex<Sender<Order>>);

type Order = (Purpose, Option<u8>, Sender<io::Result<Runner>>);

impl Spawner {
    pub(super) fn start(exe: PathBuf) -> io::Result<Spawner> {
        let (orders, to_do) = channel::<Order>();
        std::thread::Builder::new().name("spawner".into()).spawn(move || {
            for (purpose, realtime, answer) in to_do {
                // Whoever asked may have given up; the runner then ends with its handle.
                let _ = answer.send(Runner::spawn(&exe, purpose, realtime));
            }
        })?;
        Ok(Spawner(Mutex::new(orders)))
    }

    pub(super) fn spawn(&self, purpose: Purpose, realtime: Option<u8>) -> io::Result<Runner> {
        let (answer, runner) = channel();
        let gone = || io::Error::other("the thread that starts runners has ended");
        let orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.send((purpose, realtime, answer)).map_err(|_| gone())?;
        drop(orders);
        runner.recv().map_err(|_| gone())?
    }
}

impl Runner {
    fn spawn(exe: &Path, purpose: Purpose, realtime: Option<u8>) -> io::Result<Runner> {
        let (stream, other) = UnixStream::pair()?;
        let mut command = Command::new(exe);
        let name = match purpose {
            Purpose::Active => "active",
            Purpose::Candidates => "candidates",
            Purpose::Compile => "compile",
        };
        command.arg("runner").arg("--purpose").arg(name);
        if let Some(priority) = realtime {
            command.arg("--realtime").arg(priority.to_string());
        }
        command.env_clear().envs(ENVIRONMENT);
        command.stdin(Stdio::from(OwnedFd::from(other))).stdout(Stdio::null());
        if let Ok(filter) = std::env::var("GNOMON_LOG") {
            command.env("GNOMON_LOG", filter);
        }
        let child = command.spawn()?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Runner { child: Some(child), stream, buffer: vec![] })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub(super) fn ask(&mut self, ask: &Ask, attached: &[&[u8]]) -> io::Result<()> {
        wire::write(&mut self.stream, ask, attached)
    }

    /// The next answer, and what is attached to it; none if it has not come by `until`.
    pub(super) fn answer(
        &mut self,
        until: Instant,
        bytes_max: usize,
    ) -> io::Result<Option<(Answer, Vec<u8>)>> {
        loop {
            if let Some(frame) = self.take_frame(bytes_max)? {
                return Ok(Some(frame));
            }
            if !self.wait(until)? {
                return Ok(None);
            }
            let start = self.buffer.len();
            self.buffer.resize(start + CHUNK_BYTES, 0);
            let read = self.stream.read(&mut self.buffer[start..])?;
            self.buffer.truncate(start + read);
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take_frame(&mut self, bytes_max: usize) -> io::Result<Option<(Answer, Vec<u8>)>> {
        let Some((lengths, rest)) = self.buffer.split_first_chunk::<8>() else { return Ok(None) };
        let (head, attached) = wire::split(*lengths)?;
        if head + attached > bytes_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer is over its cap"));
        }
        let Some((body, _)) = rest.split_at_checked(head + attached) else { return Ok(None) };
        let (head_bytes, attached_bytes) = body.split_at(head);
        // The parser caps the depth, so that no answer exhausts the keeper's stack.
        let mut json = serde_json::Deserializer::from_slice(head_bytes);
        let answer = Answer::deserialize(&mut json)?;
        let attached = attached_bytes.to_vec();
        let taken = 8 + head + attached.len();
        self.buffer.drain(..taken);
        Ok(Some((answer, attached)))
    }

    /// Whether there is something to read before `until`.
    fn wait(&self, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 60, tv_nsec: 0 });
            let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            reap(child);
        }
    }
}

/// Waits for ended children on a thread of its own: nobody else has the time.
fn reap(child: Child) {
    static REAPER: Mutex<Option<Sender<Child>>> = Mutex::new(None);
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = reaper.get_or_insert_with(|| {
        let (sender, children) = channel::<Child>();
        let work = move || children.into_iter().for_each(|mut child| drop(child.wait()));
        if let Err(error) = std::thread::Builder::new().name("reaper".into()).spawn(work) {
            tracing::error!(%error, "ended runners stay in the table of processes");
        }
        sender
    });
    // Without a reaper it stays a zombie until the keeper ends.
    let _ = sender.send(child);
}

/// A cell in a process of its own.
pub(super) struct ProcessCell {
    runner: Runner,
    facts: Vec<SlotFacts>,
    number: u64,
    /// The call that has not come back, and when its runner is ended for it.
    late: Option<Instant>,
    is_alive: bool,
}

impl ProcessCell {
    pub(super) fn new(runner: Runner, facts: Vec<SlotFacts>) -> ProcessCell {
        // From now on nobody may be kept waiting.
        let _ = runner.stream.set_write_timeout(Some(WRITE_PATIENCE));
        ProcessCell { runner, facts, number: 0, late: None, is_alive: true }
    }

    /// Asks, and waits for the answer with this number.
    fn call(&mut self, ask: &Ask, until: Instant) -> Result<Answer, Refusal> {
        if !self.is_alive {
            return Err(Refusal::new(Reason::RunnerDied, "it has ended"));
        }
        if let Some(end) = self.late {
            self.catch_up(end)?;
        }
        let sent = self.runner.ask(ask, &[]);
        let answer = sent.and_then(|()| self.await_number(until));
        match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                let end = Instant::now() + GRACE;
                self.late = Some(end);
                Err(Refusal::new(Reason::DeadlineMissed, "the runner has not answered in time"))
            }
            Err(error) => Err(self.died(&error)),
        }
    }

    /// A call from before may have come to its end meanwhile; its answer is past.
    fn catch_up(&mut self, end: Instant) -> Result<(), Refusal> {
        match self.runner.answer(Instant::now(), ANSWER_BYTES_MAX) {
            Ok(Some(_)) => {
                self.late = None;
                Ok(())
            }
            Ok(None) if Instant::now() >= end => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "it was ended: it hung");
                Err(self.died(&error))
            }
            Ok(None) => {
                let detail = "the runner is still busy with the tick before";
                Err(Refusal::new(Reason::DeadlineMissed, detail))
            }
            Err(error) => Err(self.died(&error)),
        }
    }

    fn await_number(&mut self, until: Instant) -> io::Result<Option<Answer>> {
        loop {
            let answer = self.runner.answer(until, ANSWER_BYTES_MAX)?;
            let Some((answer, _)) = answer else { return Ok(None) };
            match &answer {
                Answer::Evaluated { number, .. } | Answer::Migrated { number, .. }
                    if *number == self.number =>
                {
                    return Ok(Some(answer));
                }
                _ => {}
            }
        }
    }

    fn died(&mut self, error: &io::Error) -> Refusal {
        self.is_alive = false;
        tracing::error!(%error, pid = self.runner.id(), "a runner has died");
        Refusal::new(Reason::RunnerDied, error.to_string())
    }

    /// The outcome of a call in the types of its module: a runner that was taken over by
    /// its guest could say anything.
    fn parsed(&self, slot: usize, answer: Answer) -> Option<Evaluation> {
        let facts = self.facts.get(slot)?;
        let Answer::Evaluated { outcome, fuel, memory_bytes, time_ns, .. } = answer else {
            return None;
        };
        let typed = |fields: &ValueType, values: Values| match fields.accept(&Value::Record(values))
        {
            Ok(Value::Record(values)) => Ok(values),
            _ => Err(Refusal::new(Reason::OutputInvalid, "not what the module's types say")),
        };
        let outcome = outcome.and_then(|made| {
            let outputs = typed(&ValueType::Record(facts.outputs.clone()), made.outputs)?;
            let state = made.state.zip(facts.state.as_ref());
            let state = state.map(|(state, ty)| typed(ty, state)).transpose()?;
            Ok(Outputs { outputs, state })
        });
        let time = Duration::from_nanos(time_ns);
        Some(Evaluation { outcome, fuel, memory_bytes, time })
    }
}

impl Cell for ProcessCell {
    fn evaluate(
        &mut self,
        slot: usize,
        inputs: &Values,
        state: Option<&Values>,
        until: Instant,
    ) -> Evaluation {
        let start = Instant::now();
        self.number += 1;
        let (number, inputs, state) = (self.number, inputs.clone(), state.cloned());
        let answer = self.call(&Ask::Evaluate { number, slot, inputs, state }, until);
        let parsed = answer.map(|answer| self.parsed(slot, answer));
        match parsed {
            Ok(Some(evaluation)) => evaluation,
            Ok(None) => failed(Reason::OutputInvalid, "no answer to an evaluation", since(start)),
            Err(refusal) => Evaluation {
                outcome: Err(refusal),
                fuel: None,
                memory_bytes: 0,
                time: since(start),
            },
        }
    }

    fn migrate(&mut self, slot: usize, old: &Values, until: Instant) -> Result<Values, Refusal> {
        self.number += 1;
        let ask = Ask::Migrate { number: self.number, slot, old: old.clone() };
        let wrong = || Refusal::new(Reason::StateInvalid, "no state of the module");
        match self.call(&ask, until)? {
            Answer::Migrated { outcome, .. } => {
                let facts = self.facts.get(slot).ok_or_else(wrong)?;
                facts.take_state(&outcome?).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }

    fn is_alive(&self) -> bool {
        self.is_alive
    }

    fn process(&self) -> Option<u32> {
        Some(self.runner.id())
    }
}
