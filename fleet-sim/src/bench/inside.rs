//! Sections that this program measures by itself.

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::Value;
use std::process::{Command, Stdio};

use super::Figure;
use crate::load::{self, LoadOptions, LoadReport};
use crate::scenario::bench::{TickCost, tick_costs};
use crate::swarm;

/// Rounds of a device-day for each side.
const TICK_ROUNDS: usize = 30;
/// Rounds where only the reference is wanted.
const REFERENCE_ROUNDS: usize = 5;
const SEEDS: std::ops::Range<u64> = 0..200;
const US: f64 = 1e3;
const MINUTE_NS: f64 = 60e9;
const DAY_TICKS: f64 = 1440.0;

pub(super) fn tick() -> Result<Vec<Figure>> {
    let costs = tick_costs(TICK_ROUNDS)?;
    let figures = costs.iter().flat_map(|cost| {
        let name = cost.module;
        let bare = MINUTE_NS / (cost.evaluation_ns * DAY_TICKS);
        [
            Figure::new(
                format!("{name}: a whole tick"),
                (cost.tick_ns / US, "us"),
                ("its bare evaluation", cost.evaluation_ns / US),
            ),
            Figure::new(
                format!("{name}: a minute and core"),
                (cost.device_days_per_minute_and_core, "device-days"),
                ("evaluations alone", bare),
            ),
        ]
    });
    Ok(figures.collect())
}

/// The function that is a few instructions: its evaluation is what any costs.
fn bare_evaluation() -> Result<TickCost> {
    tick_costs(REFERENCE_ROUNDS)?.into_iter().next().context("no function to measure")
}

pub(super) fn swarm() -> Result<Vec<Figure>> {
    let bare = bare_evaluation()?;
    let report = swarm::measure(SEEDS)?;
    ensure!(report.failed.is_empty(), "seeds fail: {:?}", report.failed.keys());
    let threads = swarm::threads(0) as f64;
    let tick_us = report.seconds * threads * 1e6 / report.ticks as f64;
    let device_seconds = report.device_days_per_second * 86_400.0;
    Ok(vec![
        Figure::new(
            "a tick of a whole hostile world",
            (tick_us, "us"),
            ("a bare evaluation", bare.evaluation_ns / US),
        ),
        Figure::new(
            format!("simulated, {:.1} seeds a second", report.seeds_per_second),
            (device_seconds, "device-seconds a second"),
            ("a device in real time", 1.0),
        ),
    ])
}

/// The demo as a process of its own: it has a story to tell, and this one has tables.
pub(super) fn demo() -> Result<Vec<Figure>> {
    let bare = bare_evaluation()?.evaluation_ns / US;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("demo.json");
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let status = Command::new(program)
        .args(["demo", "--headless", "--data", "built-in", "--json"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the demo breaks a promise: run `fleet-sim demo --headless`");
    let report: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let us = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64);
    let figure = |what: &str, pointer: &str| -> Result<Figure> {
        let value = us(pointer).with_context(|| format!("the demo says nothing at {pointer}"))?;
        Ok(Figure::new(what, (value, "us"), ("a bare evaluation", bare)))
    };
    Ok(vec![
        figure("swap between two ticks, median", "/swap_gap_us/p50")?,
        figure("tick to actuation, median", "/tick_to_actuation_us/p50")?,
        figure("tick to actuation, 95th percentile", "/tick_to_actuation_us/p95")?,
    ])
}

pub(super) fn load_embedded() -> Result<Vec<Figure>> {
    figures_of(&load(&[])?)
}

pub(super) fn load_mosquitto() -> Result<Vec<Figure>> {
    figures_of(&load(&["--broker", "mosquitto"])?)
}

/// Options as if nothing else were said at the command line.
#[derive(Parser)]
struct Usual {
    #[command(flatten)]
    options: LoadOptions,
}

fn load(more: &[&str]) -> Result<LoadReport> {
    let arguments = std::iter::once("load").chain(more.iter().copied());
    let report = load::measure(&Usual::try_parse_from(arguments)?.options)?;
    ensure!(report.holds(), "not all of it holds:\n{report}");
    Ok(report)
}

fn figures_of(report: &LoadReport) -> Result<Vec<Figure>> {
    let LoadReport { publishing, steady, draining, reconnecting, .. } = report;
    let bare_s = publishing.bare_fan_out_s.context("no reference")?;
    let fan_out = ("bare broker, same bytes", bare_s);
    let insert = draining.bare_insert_per_s.context("no reference")?;
    let weight = report.broker_process.as_ref().unwrap_or(&report.cloud);
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let all = report.devices;
    let ms = 1e3;
    let mut figures = vec![
        Figure::new(
            format!("approval to in force on all {all}"),
            (publishing.converged_s, "s"),
            fan_out,
        ),
        Figure::new("first at the broker to last that came", (publishing.fan_out_s, "s"), fan_out),
        Figure::new(
            "at the broker to in force, median",
            (publishing.to_in_force.p50 as f64, "ms"),
            ("bare broker, all", bare_s * ms),
        ),
        Figure::new(
            "at the broker to in force, 99th percentile",
            (publishing.to_in_force.p99 as f64, "ms"),
            ("bare broker, all", bare_s * ms),
        ),
        Figure::new("all reconnect", (reconnecting.seconds, "s"), fan_out),
        Figure::new(
            "batches stored, signed for and deleted",
            (draining.stored_per_s, "a second"),
            ("bare SQLite, same rows", insert),
        ),
        Figure::new(
            "a batch made to stored, 99th percentile",
            (steady.to_stored.p99 as f64, "ms"),
            ("bare SQLite, one row", ms / insert),
        ),
    ];
    if let Some(plain) = weight.per_plain_client_bytes {
        figures.push(Figure::new(
            "memory of broker and what shares its process, per device",
            (kib(weight.per_device_bytes), "KiB"),
            ("a plain client", kib(plain)),
        ));
    }
    Ok(figures)
}
