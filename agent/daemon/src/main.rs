//! `gnomon-agent`: arguments in, exit code out.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("GNOMON_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,gnomon_agent=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    gnomon_agent::cli::run(std::env::args_os())
}
