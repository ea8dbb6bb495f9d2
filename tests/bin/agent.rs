//! `gnomon-agent`, built beside the end-to-end tests so that Cargo tells them where it is.

fn main() -> std::process::ExitCode {
    gnomon_agent::cli::run(std::env::args_os())
}
