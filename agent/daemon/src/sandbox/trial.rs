//! `gnomon-agent sandbox`: enters the walls as a runner does, tries to leave them,
//! and runs modules inside, to show what holds on this machine.

use anyhow::Context as _;
use clap::Args;
use gnomon_host::{Host, HostOptions, THREAD_STACK_BYTES};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::limits::{MODULE_BYTES_MAX, PROFILE_BYTES_MAX};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::Values;
use gnomon_schemas::{Refusal, content};
use serde::Serialize;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::Instant;

use super::{Purpose, SelfTest, Walls, approach, self_test};
use crate::files;

/// As many as a runner has.
const INSTANCES: u32 = 4;

/// `gnomon-agent sandbox`.
#[derive(Debug, Args)]
pub struct Trial {
    /// The runner whose walls are tried.
    #[arg(long, value_enum, default_value_t = Purpose::Active)]
    purpose: Purpose,
    /// A module's component to compile and evaluate behind the walls; may be given again.
    #[arg(long = "module", requires_all = ["profile", "function", "inputs"])]
    modules: Vec<PathBuf>,
    /// The profile that the modules are for.
    #[arg(long)]
    profile: Option<PathBuf>,
    /// The function that they fill.
    #[arg(long)]
    function: Option<FunctionName>,
    /// Their inputs, as JSON.
    #[arg(long, value_parser = values)]
    inputs: Option<Values>,
    /// Their params, as JSON.
    #[arg(long, default_value = "{}", value_parser = values)]
    params: Values,
    /// Make a call at the end that only an intruder would: the kernel ends the process.
    #[arg(long)]
    break_out: bool,
}

fn values(json: &str) -> Result<Values, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// What happened.
#[derive(Debug, Serialize)]
pub struct Report {
    /// From the start of the command to the end of its self-test.
    pub ready_ms: u64,
    /// What is in force.
    pub walls: Walls,
    /// Attempts of the first thread.
    pub self_test: SelfTest,
    /// Attempts of a thread that was there before the walls.
    pub self_test_of_thread: SelfTest,
    /// What became of the modules, in their order.
    pub modules: Vec<Outcome>,
}

impl Report {
    /// No thread could leave.
    pub fn all_refused(&self) -> bool {
        self.self_test.all_refused() && self.self_test_of_thread.all_refused()
    }
}

/// What became of one module.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Where it came from.
    pub module: PathBuf,
    /// What it returned.
    pub outputs: Option<Values>,
    /// What the call cost, where that is known.
    pub fuel: Option<u64>,
    /// Time of the evaluation.
    pub time_us: u64,
    /// Why it returned nothing.
    pub refusal: Option<Refusal>,
}

/// Modules and what they are called with.
struct Work {
    modules: Vec<(PathBuf, Vec<u8>)>,
    profile: Profile,
    function: FunctionName,
    inputs: Values,
    params: Values,
}

impl Trial {
    /// Enters, for good: the process can do nothing afterwards but report and end.
    ///
    /// # Errors
    /// Files that cannot be used, an engine that cannot start, walls that do not stand.
    pub fn run(self) -> anyhow::Result<Report> {
        let start = Instant::now();
        let (purpose, break_out) = (self.purpose, self.break_out);
        let work = self.read()?;
        let threshold = approach()?;
        // A runner holds its socket twice, too.
        let _stream = std::io::stdin().as_fd().try_clone_to_owned()?;
        let host = Host::new(&HostOptions { instances: INSTANCES })?;
        let (entered, wait) = channel::<()>();
        let thread = Builder::new().name("trial".into()).stack_size(THREAD_STACK_BYTES).spawn(
            move || {
                // Nothing comes where the walls do not stand.
                wait.recv().ok()?;
                let tested = self_test();
                Some((tested, work.map_or_else(Vec::new, |work| work.outcomes(&host))))
            },
        )?;
        let walls = threshold.enter(purpose)?;
        let self_test = self_test();
        let ready_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(?purpose, ready_ms, "inside the walls");
        entered.send(()).context("the thread inside ended")?;
        let ended = thread.join().ok().flatten();
        let (self_test_of_thread, modules) = ended.context("the thread inside ended")?;
        if break_out {
            // To where it is already, should it be possible.
            rustix::process::chroot("/")?;
            anyhow::bail!("the walls do not hold: another root was taken");
        }
        Ok(Report { ready_ms, walls, self_test, self_test_of_thread, modules })
    }

    /// Reads all files, as there are none inside.
    fn read(self) -> anyhow::Result<Option<Work>> {
        let (Some(profile), Some(function), Some(inputs)) =
            (self.profile, self.function, self.inputs)
        else {
            return Ok(None);
        };
        let read = |path: &Path, bytes_max| {
            files::read_capped(path, bytes_max).with_context(|| path.display().to_string())
        };
        let module = |path: PathBuf| {
            let bytes = read(&path, MODULE_BYTES_MAX)?;
            anyhow::Ok((path, bytes))
        };
        Ok(Some(Work {
            profile: Profile::parse(&read(&profile, PROFILE_BYTES_MAX)?)?.0,
            modules: self.modules.into_iter().map(module).collect::<Result<_, _>>()?,
            function,
            inputs,
            params: self.params,
        }))
    }
}

impl Work {
    fn outcomes(self, host: &Host) -> Vec<Outcome> {
        let modules = self.modules.iter();
        modules.map(|(path, bytes)| self.outcome(host, path.clone(), bytes)).collect()
    }

    fn outcome(&self, host: &Host, module: PathBuf, bytes: &[u8]) -> Outcome {
        let evaluate = || {
            let role = content::function(&self.profile, &self.function)?;
            let admitted = host.admit(bytes, &self.profile, &self.function, role.budget)?;
            let params = admitted.params(&self.params)?;
            Ok::<_, Refusal>(admitted.evaluate(&self.inputs, &params, None))
        };
        let (outcome, fuel, time) = match evaluate() {
            Ok(evaluation) => (evaluation.outcome, evaluation.fuel, evaluation.time),
            Err(refusal) => (Err(refusal), None, std::time::Duration::ZERO),
        };
        let (outputs, refusal) = match outcome {
            Ok(outputs) => (Some(outputs.outputs), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Outcome { module, outputs, fuel, time_us, refusal }
    }
}
