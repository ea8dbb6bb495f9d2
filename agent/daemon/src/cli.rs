//! The command line of `gnomon-agent`. It decides nothing; what it runs is elsewhere.

use clap::{Parser, Subcommand};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::Values;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::AgentConfig;
use crate::socket::SocketDevice;
use crate::verify::{Verdict, VerifyBundle, VerifyDocument};
use crate::{enrol, footprint, start};

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
                ExitCode::FAILURE
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
        Work::Run { config, data, socket, token } => {
            let config = AgentConfig::read(&config)?;
            let device = SocketDevice::listen(&socket, config.identity.profile.clone())?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let device_name = config.identity.device.clone();
                if let Some(token) = token {
                    enrol(&config, &data, &token).await?;
                }
                let mut agent = start(config, &data, Box::new(device), None)?;
                tracing::info!(device = %device_name, socket = %socket.display(), "agent runs");
                let mut terminated = signal(SignalKind::terminate())?;
                tokio::select! {
                    ended = agent.ended() => {
                        ended?;
                        // Nobody asked for it: whoever watches over the agent must know.
                        anyhow::bail!("the runner has ended: see the log, and start the agent again");
                    }
                    interrupted = tokio::signal::ctrl_c() => interrupted?,
                    _ = terminated.recv() => {}
                }
                agent.stop().await?;
                Ok(())
            })
        }
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
    }
}
