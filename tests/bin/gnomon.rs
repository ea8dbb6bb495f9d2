//! `gnomon`, built beside the end-to-end tests so that Cargo tells them where it is.

fn main() -> std::process::ExitCode {
    // Quiet unless asked: a test that asks reads all that there is to read.
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("GNOMON_LOG") {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
    }
    gnomon::cli::run(std::env::args_os())
}
