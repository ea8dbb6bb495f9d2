//! `fleet-sim`: parses arguments and calls the library.

use clap::{Parser, Subcommand};
use fleet_sim::bench::{self, BenchOptions};
use fleet_sim::demo::{self, DemoOptions};
use fleet_sim::load::{self, LoadOptions};
use fleet_sim::scenario::incident::{self, IncidentOptions};
use fleet_sim::scenario::{self, ScenarioOptions};
use fleet_sim::swarm::{self, CanaryOptions, RunOptions, SwarmOptions, Verdict};
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Simulated fleets for Gnomon.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole story: publish, shadow, compare, promote, attack, on simulated water heaters.
    Demo(DemoOptions),
    /// Many seeds of the simulator: production cores in a hostile world.
    Swarm(SwarmOptions),
    /// One seed, with every transition if asked for.
    Run(RunOptions),
    /// Bugs that are let out on purpose: each must be found.
    Canaries(CanaryOptions),
    /// A fleet, functions, a world and faults from a file, and whether its assertions hold.
    Scenario(ScenarioOptions),
    /// Recorded evaluations of a device as a scenario that runs them again.
    Incident(IncidentOptions),
    /// Thousands of light devices over real MQTT against a cloud and a broker on this machine.
    Load(LoadOptions),
    /// Every figure that the docs quote, beside what the same costs without Gnomon.
    Bench(BenchOptions),
    /// The cloud, as a process that `load` starts.
    #[command(hide = true, disable_help_flag = true)]
    Gnomon {
        /// As of `gnomon`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// A scenario that could not run; 1 is for one whose assertions do not hold.
const BAD_SCENARIO: u8 = 2;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match Arguments::parse().command {
        Command::Demo(options) => run_demo(&options),
        Command::Swarm(options) => ended(swarm::swarm(&options)),
        Command::Run(options) => ended(swarm::run(&options)),
        Command::Canaries(options) => ended(swarm::run_canaries(&options)),
        Command::Scenario(options) => match scenario::run(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => failed(&error, BAD_SCENARIO),
        },
        Command::Incident(options) => match incident::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, BAD_SCENARIO),
        },
        Command::Load(options) => match load::run(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => {
                eprintln!("error: not all of it holds: see the lines marked NO above");
                ExitCode::FAILURE
            }
            Err(error) => failed(&error, 1),
        },
        Command::Bench(options) => match bench::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, 1),
        },
        Command::Gnomon { arguments } => match load::end_with_parent() {
            Ok(()) => gnomon::cli::run(std::iter::once(OsString::from("gnomon")).chain(arguments)),
            Err(error) => failed(&error.into(), 1),
        },
    }
}

fn ended(verdict: anyhow::Result<Verdict>) -> ExitCode {
    match verdict {
        Ok(verdict) => ExitCode::from(verdict.exit_code()),
        Err(error) => failed(&error, 1),
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}

fn run_demo(options: &DemoOptions) -> ExitCode {
    match demo::run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: the demo ended, but not as promised: see the lines marked NO above");
            ExitCode::FAILURE
        }
        Err(error) => failed(&error, 1),
    }
}
