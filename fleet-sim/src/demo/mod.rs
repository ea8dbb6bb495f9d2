//! The demo: the main job, end to end, with production agents over real MQTT.
//!
//! It tells the story in order and asks oracles outside agents and cloud (the
//! plants, the stores' files) whether what they say is true.

mod attacks;
mod count;
mod fleet;
mod outcome;
mod pace;
mod report;
mod story;

use anyhow::{Context as _, Result};
use clap::Args;
use std::path::PathBuf;

pub use report::DemoReport;

/// Where real data lie beside a checkout.
const DATA_FOLDER: &str = "../shared/data";
/// Asks for the built-in table.
const BUILT_IN: &str = "built-in";

/// How to run the demo.
#[derive(Debug, Clone, Args)]
pub struct DemoOptions {
    /// Simulated devices.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub devices: u32,
    /// Simulated days.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub days: u32,
    /// The folder with prices and draws. Unless given, `../shared/data` where that is
    /// there, else a small built-in table; `built-in` asks for the table.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// The first simulated day, in 2016.
    #[arg(long, default_value = "2016-11-14")]
    pub start: String,
    /// Simulated minutes per second of wall clock, for each device.
    #[arg(long, default_value_t = 400)]
    pub speed: u32,
    /// End when the story is told instead of serving on.
    #[arg(long)]
    pub headless: bool,
    /// Write the figures to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl DemoOptions {
    /// The folder with prices and draws, if there is one.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let usual = PathBuf::from(DATA_FOLDER);
        match &self.data {
            Some(folder) if folder.as_os_str() == BUILT_IN => None,
            Some(folder) => Some(folder.clone()),
            None => usual.is_dir().then_some(usual),
        }
    }
}

/// Runs the demo; `false` when a promise was broken.
///
/// # Errors
/// When it could not be run to its end.
pub fn run(options: &DemoOptions) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")?;
    let report = runtime.block_on(story::tell(options))?;
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.promises().iter().all(|promise| promise.kept))
}
