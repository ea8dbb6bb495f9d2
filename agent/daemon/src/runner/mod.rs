//! The runner: a process with an engine in it and nothing else. It admits modules, calls
//! them, and compiles them, as the keeper asks on the one socket that it has. No keys but
//! the one that seals native code, no network, no store, no device.
//!
//! It is built to be lost: whatever a guest does to it, the keeper has the actuator.

pub(crate) mod compiled;
pub(crate) mod link;
mod wire;

use gnomon_host::{ArtifactKey, Evaluation, Host, HostOptions};
use gnomon_schemas::{Digest, Reason, Refusal};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use crate::cell::{Callable, CellSpec, SlotFacts, load};
use crate::sandbox::{self, Purpose};
use wire::{Answer, Ask, Proposed};

/// Instances at a time: one call, and the trial start of an admission.
const INSTANCES: u32 = 2;

/// Why a runner has ended.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The engine.
    #[error(transparent)]
    Host(#[from] gnomon_host::HostError),
    /// The walls.
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    /// The walls do not hold.
    #[error("the runner's walls do not hold: {0} is possible")]
    Leaky(String),
    /// The socket to the keeper.
    #[error("the keeper: {0}")]
    Keeper(#[from] io::Error),
}

/// Runs behind walls until the keeper is gone; the socket to it is standard input.
///
/// # Errors
/// [`RunnerError`].
pub fn run(purpose: Purpose, realtime: Option<u8>) -> Result<(), RunnerError> {
    let threshold = sandbox::approach()?;
    match (purpose, realtime) {
        (Purpose::Active, Some(priority)) => warn(sandbox::priority::realtime(priority)),
        (Purpose::Active, None) => {}
        (Purpose::Candidates | Purpose::Compile, _) => warn(sandbox::priority::idle()),
    }
    let host = Host::new(&HostOptions { instances: INSTANCES })?;
    let walls = threshold.enter(purpose)?;
    let test = sandbox::self_test();
    if let Some(attempt) = test.possible().next() {
        return Err(RunnerError::Leaky(attempt.what.to_string()));
    }
    let engine = host.engine_digest().clone();
    let mut keeper = Keeper;
    wire::write(&mut keeper, &Answer::Ready { walls, engine }, &[])?;
    let mut serving = Serving { host, slots: vec![] };
    let mut reader = BufReader::new(Keeper);
    loop {
        let (ask, attached) = match wire::read::<Ask>(&mut reader) {
            Ok(frame) => frame,
            // The keeper is gone, or needs this runner no more.
            Err(error)
                if [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset]
                    .contains(&error.kind()) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let (answer, code) = serving.answer(ask, attached);
        wire::write(&mut keeper, &answer, &[&code])?;
    }
}

/// The socket to the keeper, which is standard input: no descriptor but the first three
/// is open.
struct Keeper;

impl Read for Keeper {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), buffer)?)
    }
}

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdin(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn warn(outcome: Result<(), sandbox::priority::PriorityError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "the runner keeps its priority");
    }
}

struct Serving {
    host: Host,
    slots: Vec<Callable>,
}

impl Serving {
    /// The answer, and what is attached to it.
    fn answer(&mut self, ask: Ask, attached: Vec<u8>) -> (Answer, Vec<u8>) {
        let answer = match ask {
            Ask::Load { profile, slots, modules, key } => {
                let spec = |modules| CellSpec { profile: Arc::from(profile), modules, slots };
                let key = ArtifactKey::from_bytes(key);
                Answer::Loaded(self.load(&modules, &attached, &key, spec))
            }
            Ask::Evaluate { number, slot, inputs, state } => {
                let Some(callable) = self.slots.get(slot) else { return (no_slot(number), vec![]) };
                let evaluation =
                    callable.module.evaluate(&inputs, &callable.params, state.as_ref());
                evaluated(number, evaluation)
            }
            Ask::Migrate { number, slot, old } => {
                let Some(callable) = self.slots.get(slot) else { return (no_slot(number), vec![]) };
                Answer::Migrated { number, outcome: callable.module.migrate(&old) }
            }
            Ask::Compile { key } => {
                match self.host.compile(&attached, &ArtifactKey::from_bytes(key)) {
                    Ok(code) => return (Answer::Compiled(Ok(())), code),
                    Err(error) => Answer::Compiled(Err(error.into())),
                }
            }
        };
        (answer, vec![])
    }

    fn load(
        &mut self,
        listed: &[(Digest, usize, usize)],
        attached: &[u8],
        key: &ArtifactKey,
        spec: impl FnOnce(BTreeMap<Digest, Arc<[u8]>>) -> CellSpec,
    ) -> Result<Vec<SlotFacts>, Refusal> {
        let short = || Refusal::new(Reason::Unavailable, "the keeper sent too little");
        let (mut rest, mut modules) = (attached, BTreeMap::new());
        for (digest, bytes, code) in listed {
            let (module, after) = rest.split_at_checked(*bytes).ok_or_else(short)?;
            let (code, after) = after.split_at_checked(*code).ok_or_else(short)?;
            rest = after;
            if !code.is_empty()
                && let Err(error) = self.host.learn(digest, code, key)
            {
                // It is compiled here then, which takes longer.
                tracing::warn!(%error, module = digest.short(), "compiled code is not used");
            }
            modules.insert(digest.clone(), Arc::from(module));
        }
        let (slots, facts) = load(&self.host, &spec(modules))?;
        self.slots = slots;
        // What is admitted stays; the list of the compiled would keep what is not.
        self.host.forget_compiled();
        Ok(facts)
    }
}

fn no_slot(number: u64) -> Answer {
    let refusal = Refusal::new(Reason::ModuleMissing, "there is no such slot");
    let (fuel, memory_bytes, time_ns) = (None, 0, 0);
    Answer::Evaluated { number, outcome: Err(refusal), fuel, memory_bytes, time_ns }
}

fn evaluated(number: u64, evaluation: Evaluation) -> Answer {
    let Evaluation { outcome, fuel, memory_bytes, time } = evaluation;
    let outcome = outcome.map(|made| Proposed { outputs: made.outputs, state: made.state });
    let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Answer::Evaluated { number, outcome, fuel, memory_bytes, time_ns }
}

/// How long ago this was, for a call that came to no end.
fn since(start: Instant) -> std::time::Duration {
    start.elapsed()
}
