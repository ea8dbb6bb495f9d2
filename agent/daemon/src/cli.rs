//! The command line of `gnomon-agent`. It decides nothing; what it runs is elsewhere.

use clap::{Parser, Subcommand};
use gnomon_schemas::BootId;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::Values;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::AgentConfig;
use crate::sandbox::Purpose;
use crate::sandbox::trial::Trial;
use crate::status::Status;
use crate::verify::{Verdict, VerifyBundle, VerifyDocument};
use crate::{enrol, footprint, runner, supervise};

/// The on-device agent of Gnomon.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Work(Work),
    #[command(flatten)]
    Verify(Verify),
}

/// What ends with a verdict.
#[derive(Subcommand)]
enum Verify {
    /// Verify a sigstore bundle over an artifact, offline, as the agent does.
    VerifyBundle(VerifyBundle),
    /// Verify a desired document, offline, as a device would that is given it.
    VerifyDocument(VerifyDocument),
}

/// What is done, or fails.
#[derive(Subcommand)]
enum Work {
    /// Run the agent of one device.
    Run {
        /// The provisioning folder that `gnomon device bundle` writes.
        #[arg(long)]
        config: PathBuf,
        /// Where the agent keeps its store.
        #[arg(long)]
        data: PathBuf,
        /// The Unix socket on which the firmware asks for each tick.
        #[arg(long)]
        socket: PathBuf,
        /// The one-time token of `gnomon device enroll`, for a device without a
        /// certificate; in the environment other users do not see it.
        #[arg(long = "enroll", env = "GNOMON_ENROLL_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// Ticks and active functions run in the system's real-time class (SCHED_FIFO), at
        /// this priority, where that is permitted (CAP_SYS_NICE or `ulimit -r`).
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
        realtime: Option<u8>,
    },
    /// The part of the agent with the network, the keys and the store: started by `run`,
    /// for the keeper on standard input.
    #[command(hide = true)]
    Planner {
        #[arg(long)]
        config: PathBuf,
        #[arg(long)]
        data: PathBuf,
        #[arg(long)]
        session: BootId,
        #[arg(long = "enroll", env = "GNOMON_ENROLL_TOKEN", hide_env_values = true)]
        token: Option<String>,
    },
    /// The part of the agent that calls modules: started by `run`, behind walls, for the
    /// keeper on standard input.
    #[command(hide = true)]
    Runner {
        #[arg(long)]
        purpose: Purpose,
        #[arg(long)]
        realtime: Option<u8>,
    },
    /// Show what the agent that works in a data folder does: versions, slots, last
    /// reasons, outbox, clock floor, processes.
    Status {
        /// The agent's data folder.
        #[arg(long)]
        data: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Get the device's certificate by a one-time token, and end.
    Enroll {
        /// The provisioning folder that `gnomon device bundle` writes.
        #[arg(long)]
        config: PathBuf,
        /// Where the agent keeps its store.
        #[arg(long)]
        data: PathBuf,
        /// The one-time token of `gnomon device enroll`.
        #[arg(long, env = "GNOMON_ENROLL_TOKEN", hide_env_values = true)]
        token: String,
    },
    /// Print the resident memory of the engine, and of one module in it, as JSON.
    Footprint {
        /// A module's component.
        #[arg(long, requires_all = ["profile", "function", "inputs"])]
        module: Option<PathBuf>,
        /// The profile that it is for.
        #[arg(long)]
        profile: Option<PathBuf>,
        /// The function that it fills.
        #[arg(long)]
        function: Option<FunctionName>,
        /// Its inputs, as JSON.
        #[arg(long)]
        inputs: Option<String>,
        /// Its params, as JSON.
        #[arg(long, default_value = "{}")]
        params: String,
    },
    /// Enter the runner's walls, try to leave them, print what happened as JSON, and end.
    Sandbox(Trial),
}

/// Runs the command line.
pub fn run<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    refuse_core_dumps();
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(usage) => {
            let code = if usage.use_stderr() { 2 } else { 0 };
            // Nobody may be reading.
            let _ = usage.print();
            return ExitCode::from(code);
        }
    };
    match arguments.command {
        Command::Verify(Verify::VerifyBundle(command)) => tell(command.run()),
        Command::Verify(Verify::VerifyDocument(command)) => tell(command.run()),
        Command::Work(work) => match obey(work) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                match error.downcast_ref::<supervise::Unusable>() {
                    Some(_) => ExitCode::from(supervise::UNUSABLE),
                    None => ExitCode::FAILURE,
                }
            }
        },
    }
}

/// The device's key is in memory: it must not land in a file when the agent dies.
fn refuse_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be turned off");
    }
}

/// A verdict as JSON on standard output, its reason on standard error, and as a code.
fn tell(verdict: anyhow::Result<Verdict>) -> ExitCode {
    match verdict {
        Ok(Ok(verified)) => {
            println!("{verified}");
            ExitCode::SUCCESS
        }
        Ok(Err(refusal)) => {
            println!("{}", serde_json::to_string(&refusal).unwrap_or_default());
            eprintln!("refused: {refusal}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn obey(work: Work) -> anyhow::Result<()> {
    match work {
        Work::Enroll { config, data, token } => {
            let config = AgentConfig::read(&config)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let is_new = runtime.block_on(enrol(&config, &data, &token))?;
            println!(
                "{}",
                if is_new { "enrolled" } else { "enrolled before; the token is unused" }
            );
            Ok(())
        }
        Work::Run { config, data, socket, token, realtime } => {
            supervise::run(supervise::Orders { config, data, socket, token, realtime })
        }
        Work::Status { data, json } => {
            let status = Status::of(&data);
            println!("{}", if json { serde_json::to_string(&status)? } else { status.to_string() });
            Ok(())
        }
        Work::Planner { config, data, session, token } => {
            supervise::planner(&config, &data, session, token.as_deref())
        }
        Work::Runner { purpose, realtime } => Ok(runner::run(purpose, realtime)?),
        Work::Footprint { module, profile, function, inputs, params } => {
            let (Some(module), Some(profile), Some(function), Some(inputs)) =
                (module, profile, function, inputs)
            else {
                println!("{}", serde_json::to_string(&footprint::measure(None)?)?);
                return Ok(());
            };
            let (profile, _) = Profile::parse(&std::fs::read(profile)?)?;
            let inputs: Values = serde_json::from_str(&inputs)?;
            let params: Values = serde_json::from_str(&params)?;
            let module = std::fs::read(module)?;
            let measured =
                footprint::measure(Some((&module, &profile, &function, &inputs, &params)))?;
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }
        Work::Sandbox(trial) => {
            let report = trial.run()?;
            println!("{}", serde_json::to_string(&report)?);
            anyhow::ensure!(report.all_refused(), "the walls do not hold: see what was possible");
            Ok(())
        }
    }
}
