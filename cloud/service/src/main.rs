//! The `gnomon` command: arguments in, exit code out.

use std::io::IsTerminal as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("GNOMON_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,gnomon=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    gnomon::cli::run(std::env::args_os())
}
