//! Scenarios: a file says what fleet, plant, functions, world and faults there are, and what
//! must hold of a run.
//!
//! Owns the command `fleet-sim scenario`. The modules in the order in which a scenario passes
//! them: `file`, `expression`, `site` and `fault`, `controller`, `device`, `simulate`,
//! `measure`, `assertion`, `report`, `plot`. The manual is `SCENARIOS.md`. Refuses to know
//! networks, signatures and the cloud.

mod assertion;
pub mod bench;
mod controller;
mod device;
mod expression;
mod fault;
mod file;
pub mod incident;
mod measure;
mod plot;
mod quantity;
mod replay;
mod report;
mod simulate;
mod site;
#[cfg(test)]
mod tests;

use anyhow::{Context as _, Result, anyhow};
use gnomon_host::{Host, HostOptions};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;

pub use assertion::Verdict;
pub use file::{Scenario, ScenarioError};
pub use quantity::{Kind, Quantity};
pub use simulate::Speed;

use report::Report;
use simulate::Simulated;

/// What `fleet-sim scenario` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct ScenarioOptions {
    /// The scenario; SCENARIOS.md says what stands in one.
    pub file: PathBuf,
    /// Write a JUnit XML report.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write verdicts, accounts and speed as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw an SVG for each asserted quantity.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Threads; as many as there are cores unless given. Results do not depend on it.
    #[arg(long)]
    pub threads: Option<usize>,
    /// List the quantities that assertions can name, and run nothing.
    #[arg(long)]
    pub list: bool,
}

/// A run that is over.
pub struct Ended {
    scenario: Scenario,
    simulated: Simulated,
    verdicts: Vec<Verdict>,
}

impl Ended {
    /// Each assertion and whether it holds.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Whether all assertions hold.
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.holds)
    }

    /// How fast it ran.
    pub fn speed(&self) -> &Speed {
        &self.simulated.speed
    }

    fn report(&self) -> Report<'_> {
        let Ended { scenario, simulated, verdicts } = self;
        Report { scenario, simulated, verdicts }
    }

    /// All of it for people.
    pub fn text(&self) -> String {
        self.report().text()
    }

    /// All of it for a program.
    pub fn json(&self) -> serde_json::Value {
        self.report().json()
    }

    /// All of it as JUnit XML.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn junit(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![];
        self.report().junit(&mut bytes)?;
        Ok(bytes)
    }
}

/// Runs a scenario. `progress` hears of each device that is done.
///
/// # Errors
/// What the plant refused.
pub fn simulate(
    scenario: Scenario,
    threads: Option<usize>,
    progress: &(dyn Fn() + Sync),
) -> Result<Ended> {
    let simulated = scenario.simulate(threads, progress).map_err(|message| anyhow!(message))?;
    let verdicts = assertion::judge(&scenario, &simulated);
    Ok(Ended { scenario, simulated, verdicts })
}

/// A host for one thread that evaluates, and for whoever admits meanwhile.
///
/// # Errors
/// When the platform cannot give it memory.
pub fn host() -> Result<Host> {
    Ok(Host::new(&HostOptions { instances: 2 })?)
}

/// The command: runs a scenario file, writes what was asked for, says whether all holds.
///
/// # Errors
/// A scenario that cannot run, or a file that cannot be written.
pub fn run(options: &ScenarioOptions) -> Result<bool> {
    let host = host()?;
    let scenario = Scenario::load(&options.file, &host)?;
    if options.list {
        for quantity in &scenario.quantities {
            let kind = match quantity.kind {
                Kind::Account => "account",
                Kind::Reading => "reading",
            };
            println!("{kind}  {:<28} {}", quantity.name, quantity.meaning);
        }
        return Ok(true);
    }
    let devices = scenario.devices * scenario.variants.len() as u64;
    let bar = ProgressBar::with_draw_target(Some(devices), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} devices, {eta} left")?);
    let ended = simulate(scenario, options.threads, &|| bar.inc(1))
        .with_context(|| options.file.display().to_string())?;
    bar.finish_and_clear();
    print!("{}", ended.text());
    let write = |path: &PathBuf, bytes: Vec<u8>| {
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &options.junit {
        write(path, ended.junit()?)?;
    }
    if let Some(path) = &options.json {
        write(path, serde_json::to_vec_pretty(&ended.json())?)?;
    }
    if let Some(folder) = &options.plots {
        let drawn = plot::draw_all(&ended.scenario, &ended.simulated, folder);
        let drawn = drawn.map_err(|message| anyhow!(message))?;
        println!("{drawn} plots in {}", folder.display());
    }
    Ok(ended.holds())
}
