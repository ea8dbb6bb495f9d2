//! The `gnomon` command line: `serve`, and everything else over HTTP. A table of
//! contents: each noun has its file.
//!
//! It decides nothing that the service does not check again.

mod approval;
mod ask;
mod audit;
mod broker;
mod candidate;
mod client;
mod desired;
mod device;
mod device_identity;
mod key;
mod module;
mod module_build;
mod module_sign;
mod profile;
mod results;
mod serve;
mod show;
mod status;
mod token;
mod trust;

use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use client::{Access, Client};
use show::Shown;

/// Code as configuration for device fleets: the cloud and its command line.
#[derive(Debug, Parser)]
#[command(name = "gnomon", version, arg_required_else_help = true)]
struct Cli {
    /// Where the service listens
    #[arg(long, global = true, env = "GNOMON_URL", default_value = "http://127.0.0.1:8480")]
    url: String,
    #[command(flatten)]
    access: Access,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the cloud: HTTP API, store and MQTT broker in one process
    Serve(serve::ServeArgs),
    /// How the service and its devices stand
    Status,
    /// Device types, as their firmware declares them
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Devices
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Other brokers than the embedded one
    #[command(subcommand)]
    Broker(broker::BrokerCommand),
    /// Groups of devices by label
    #[command(subcommand)]
    Group(device::GroupCommand),
    /// Modules: build, sign, upload
    #[command(subcommand)]
    Module(module::ModuleCommand),
    /// What fleet, groups and devices should have
    #[command(subcommand)]
    Desired(desired::DesiredCommand),
    /// Modules in shadow beside the active one
    #[command(subcommand)]
    Candidate(candidate::CandidateCommand),
    /// Who may use the HTTP API
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// What was done, by whom, and whether the log of it was touched
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Private keys: made, encrypted, looked at
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Which keys may do what: drafted and signed offline, handed on by the service
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// What waits for a second person, and that person's signature
    #[command(subcommand)]
    Approval(approval::ApprovalCommand),
    /// The newest summaries of a device
    Results(results::ResultsArgs),
    /// What a device refused, and why
    Refusals(results::ResultsArgs),
}

/// A failure that has an exit code of its own, beside 1 (it could not be done) and 2
/// (the arguments are wrong).
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Exit {
    code: u8,
    message: String,
}

/// Whose layer.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Scope {
    /// The whole fleet
    #[arg(long)]
    fleet: bool,
    /// A group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// One device
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

impl Scope {
    fn path(&self) -> String {
        match (&self.group, &self.device) {
            (Some(group), _) => format!("/v1/groups/{}/desired", client::segment(group)),
            (None, Some(device)) => format!("/v1/devices/{}/desired", client::segment(device)),
            (None, None) => "/v1/fleet/desired".to_owned(),
        }
    }
}

/// Where keys are, for commands that sign.
#[derive(Debug, Clone, Args)]
struct DataDir {
    /// The data folder of the service
    #[arg(long, env = "GNOMON_DATA", default_value = "gnomon-data", value_name = "DIR")]
    data: PathBuf,
}

/// Runs the command line; the first argument is the program's name.
pub fn run<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    refuse_core_dumps();
    let (code, out, err) = execute(args);
    // A closed pipe is the reader's choice, not an error.
    std::io::stdout().write_all(out.as_bytes()).unwrap_or_default();
    std::io::stderr().write_all(err.as_bytes()).unwrap_or_default();
    ExitCode::from(code)
}

/// Private keys are in memory: they must not land in a file when the program dies.
fn refuse_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be turned off");
    }
}

/// As [`run`], with what would be printed on standard output and error.
pub fn execute<I, T>(args: I) -> (u8, String, String)
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return (2, String::new(), error.to_string()),
        Err(help) => return (0, help.to_string(), String::new()),
    };
    let json = cli.json;
    match dispatch(cli) {
        Ok(shown) => (0, shown.text(json), String::new()),
        Err(error) => {
            let code = error.downcast_ref::<Exit>().map_or(1, |exit| exit.code);
            (code, String::new(), format!("error: {error:#}\n"))
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Shown> {
    let client = Client::new(&cli.url, &cli.access);
    match cli.command {
        Command::Serve(args) => serve::serve(args),
        Command::Status => status::status(&client),
        Command::Profile(command) => profile::run(&client, command),
        Command::Device(command) => device::run(&client, command),
        Command::Broker(command) => broker::run(&client, command),
        Command::Group(command) => device::run_group(&client, command),
        Command::Module(command) => module::run(&client, command),
        Command::Desired(command) => desired::run(&client, command),
        Command::Candidate(command) => candidate::run(&client, command),
        Command::Key(command) => key::run(command),
        Command::Trust(command) => trust::run(&client, command),
        Command::Approval(command) => approval::run(&client, command),
        Command::Token(command) => token::run(&client, command),
        Command::Audit(command) => audit::run(&client, command),
        Command::Results(args) => results::results(&client, &args),
        Command::Refusals(args) => results::refusals(&client, &args),
    }
}
