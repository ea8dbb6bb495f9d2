//! `fleet-sim bench`: every figure that the docs quote, each beside what the same costs
//! without Gnomon, measured in the same run. A section is a few figures that are measured
//! together; how is in the sections. What a figure should be is the reader's to say.

mod checkout;
mod inside;

use anyhow::{Context as _, Result};
use clap::Args;
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Instant;

/// `fleet-sim bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchOptions {
    /// These sections only, one after the other with commas between.
    #[arg(long, value_delimiter = ',', value_parser = section)]
    pub only: Vec<&'static Section>,
    /// Say which sections there are, and measure nothing.
    #[arg(long)]
    pub list: bool,
    /// Write the figures to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// One figure and its reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// How much it is.
    pub value: f64,
    /// In what.
    pub unit: String,
    /// What it is held against, in the same unit.
    pub reference: String,
    /// How much that is.
    pub reference_value: f64,
}

impl Figure {
    /// A figure with its reference.
    pub fn new(
        what: impl Into<String>,
        (value, unit): (f64, &str),
        (reference, reference_value): (&str, f64),
    ) -> Figure {
        let (unit, reference) = (unit.to_owned(), reference.to_owned());
        Figure { what: what.into(), value, unit, reference, reference_value }
    }

    /// The figure over its reference.
    pub fn ratio(&self) -> f64 {
        self.value / self.reference_value
    }
}

/// Figures that are measured together.
#[derive(Debug)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// What it is about, and on what.
    pub about: &'static str,
    measure: fn() -> Result<Vec<Figure>>,
}

/// All of them, in the order in which they run.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "evaluate",
        about: "one call of a function beside bare Wasmtime and native code; admission; sizes",
        measure: || checkout::cargo_bench("evaluate"),
    },
    Section {
        name: "verify",
        about: "documents and modules beside the bare signature checks that are in them",
        measure: || checkout::cargo_bench("verify"),
    },
    Section {
        name: "tick",
        about: "a minute of a scenario beside the bare evaluation in it; one thread",
        measure: inside::tick,
    },
    Section {
        name: "swarm",
        about: "hostile seeds with all checkers; all processors",
        measure: inside::swarm,
    },
    Section {
        name: "keeper",
        about: "ticks at 1 kHz through keeper and runner processes, quiet and disturbed",
        measure: || checkout::cargo_bench("keeper"),
    },
    Section {
        name: "footprint",
        about: "memory, size, traffic and writes of an agent beside their budgets; 2 minutes",
        measure: || checkout::cargo_bench("footprint"),
    },
    Section {
        name: "demo",
        about: "20 production agents, 7 days at 400 minutes a second, beside a bare evaluation",
        measure: inside::demo,
    },
    Section {
        name: "load",
        about: "2,000 light devices on the embedded broker, beside a bare broker and bare SQLite",
        measure: inside::load_embedded,
    },
    Section {
        name: "load-mosquitto",
        about: "the same on mosquitto",
        measure: inside::load_mosquitto,
    },
];

fn section(name: &str) -> Result<&'static Section, String> {
    SECTIONS.iter().find(|section| section.name == name).ok_or_else(|| {
        let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
        format!("no section `{name}`; there are {}", names.join(", "))
    })
}

/// A section as it was measured.
#[derive(Debug, Serialize)]
struct Measured {
    section: &'static str,
    about: &'static str,
    seconds: f64,
    figures: Vec<Figure>,
}

/// Measures, and prints table after table.
///
/// # Errors
/// When a section cannot be measured: what is missing for it.
pub fn run(options: &BenchOptions) -> Result<()> {
    let chosen: Vec<&Section> =
        if options.only.is_empty() { SECTIONS.iter().collect() } else { options.only.clone() };
    if options.list {
        chosen.iter().for_each(|section| println!("{:<15} {}", section.name, section.about));
        return Ok(());
    }
    let mut measured = vec![];
    for section in chosen {
        let start = Instant::now();
        let figures = (section.measure)().with_context(|| format!("section {}", section.name))?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{}: {} ({seconds:.0} s)", section.name, section.about);
        println!("{}\n", table(&figures));
        let (name, about) = (section.name, section.about);
        measured.push(Measured { section: name, about, seconds, figures });
        // What was measured stays, whatever becomes of the next section.
        if let Some(path) = &options.json {
            let text = serde_json::to_string_pretty(&measured)?;
            std::fs::write(path, text + "\n")
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["figure", "is", "reference", "is", "ratio"]);
    for figure in figures {
        let with_unit = |value: f64| format!("{} {}", short(value), figure.unit);
        table.add_row([
            figure.what.clone(),
            with_unit(figure.value),
            figure.reference.clone(),
            with_unit(figure.reference_value),
            format!("{:.2}", figure.ratio()),
        ]);
    }
    table
}

/// Three significant figures, and whole numbers as they are.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_known_by_its_name_and_a_wrong_one_is_told_what_there_is() {
        assert_eq!(section("tick").unwrap().name, "tick");
        let refusal = section("tock").unwrap_err();
        assert!(refusal.contains("`tock`") && refusal.contains("evaluate, verify, tick"));
    }

    #[test]
    fn a_table_has_figure_reference_and_ratio() {
        let figure = Figure::new("a call", (6.5, "us"), ("bare", 5.0));
        let text = table(&[figure]).to_string();
        assert!(text.contains("6.50 us") && text.contains("5.00 us") && text.contains("1.30"));
        assert_eq!([short(1234.5), short(0.25), short(42.0)], ["1234", "0.250", "42.0"]);
    }
}
