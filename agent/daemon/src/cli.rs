//! The command line of `gnomon-agent`: `run` and `footprint`.

use clap::{Parser, Subcommand};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::Values;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::AgentConfig;
use crate::socket::SocketDevice;
use crate::{footprint, start};

/// The on-device agent of Gnomon.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(usage) => {
            let code = if usage.use_stderr() { 2 } else { 0 };
            // Nobody may be reading.
            let _ = usage.print();
            return ExitCode::from(code);
        }
    };
    match obey(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { config, data, socket } => {
            let config = AgentConfig::read(&config)?;
            let device = SocketDevice::listen(&socket, config.identity.profile.clone())?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let device_name = config.identity.device.clone();
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
        Command::Footprint { module, profile, function, inputs, params } => {
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
