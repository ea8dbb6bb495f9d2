//! The reckoning: what agents and cloud say, held against plants and files.

use anyhow::{Context as _, Result};
use gnomon_schemas::Digest;
use gnomon_schemas::histogram::Histogram;
use gnomon_schemas::results::{ClampCounts, SlotRole, Summary};
use gnomon_schemas::value::Values;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fleet::{Member, Outbox};
use super::outcome::Trial;
use super::report::{ByFunction, ByRole, DemoReport, Fuel, Percentiles, SwapGap};
use super::story::{PATIENCE, Stage};
use crate::closed_loop::LoopReport;
use crate::functions::{price_params, tou_params};

/// Holds the cloud's word against the plants' and the stores'.
pub(super) fn count(stage: &Stage) -> Result<DemoReport> {
    let (v1, v2) = outcomes(stage)?;
    let outboxes = drain(stage)?;
    let summaries: Vec<Summary> = stage
        .members
        .iter()
        .map(|member| stage.cloud.summaries(&member.device))
        .collect::<Result<Vec<_>>>()?
        .concat();
    let status = stage.cloud.get("/v1/status")?;
    let batches_stored = status["batches_stored"].as_u64().unwrap_or(0);
    let batches_made: u64 = outboxes.iter().map(|outbox| outbox.appended).sum();
    let plants = |of: fn(&Member) -> u64| stage.members.iter().map(of).sum::<u64>();
    let ticks = plants(|member| member.account.ticks.load(Ordering::SeqCst));
    let missed = plants(|member| member.account.missed.load(Ordering::SeqCst))
        + plants(|member| member.account.late.load(Ordering::SeqCst))
        + plants(|member| member.account.refused_by_plant());
    let mut answer_us = Histogram::default();
    stage.members.iter().for_each(|member| answer_us.merge(&member.account.answer_us()));
    let of_role = |role| summaries.iter().filter(move |summary| summary.role == role);
    let ticks_told: u64 = of_role(SlotRole::Active).map(|summary| summary.ticks).sum();
    let swaps_ns: Vec<u64> = stage.swaps.try_iter().map(|swap| swap.swap_ns).collect();
    let bounds = stage.profile.outputs.values().find_map(|output| output.bounds);
    Ok(DemoReport {
        devices: stage.devices(),
        converged: stage.cloud.converge(stage.devices())?,
        publish_to_applied_ms: publish_to_applied(stage)?,
        ticks,
        tick_to_actuation_us: Percentiles {
            p50: answer_us.quantile(0.5),
            p95: answer_us.quantile(0.95),
            max: answer_us.max(),
        },
        missed_ticks: missed + summaries.iter().map(|summary| summary.missed).sum::<u64>(),
        evaluations: ByRole {
            active: of_role(SlotRole::Active).map(|summary| summary.evaluations).sum(),
            candidate: of_role(SlotRole::Candidate).map(|summary| summary.evaluations).sum(),
        },
        fuel: ByRole {
            active: fuel(of_role(SlotRole::Active)),
            candidate: fuel(of_role(SlotRole::Candidate)),
        },
        swaps: swaps_ns.len() as u64,
        swap_gap_us: swap_gap(swaps_ns),
        clamped_outputs: clamped(of_role(SlotRole::Active)),
        clamped_outputs_of_hot: clamped(
            of_role(SlotRole::Active)
                .filter(|summary| summary.module.as_ref() == Some(&stage.modules.hot)),
        ),
        refused: stage.refused()?,
        unverified_executions: unverified(stage, &summaries)?,
        records_stored: batches_stored,
        records_lost: batches_made.saturating_sub(batches_stored) + ticks.abs_diff(ticks_told),
        max_actuated_setpoint_c: stage
            .members
            .iter()
            .map(|member| member.account.max_setpoint_c())
            .fold(0.0, f64::max),
        firmware_max_setpoint_c: bounds.map_or(0.0, |bounds| bounds.max),
        energy_cost: ByFunction { v1: v1.energy_cost_cad, v2: v2.energy_cost_cad },
        energy_kwh: ByFunction { v1: v1.energy_kwh, v2: v2.energy_kwh },
        comfort_violation_minutes: ByFunction {
            v1: v1.comfort_violation_minutes,
            v2: v2.comfort_violation_minutes,
        },
        candidate: stage.candidate,
        days: u64::from(stage.options.days),
        start: stage.options.start.clone(),
        data: stage.options.folder().map_or("built-in".into(), |d| d.display().to_string()),
        wall_clock_s: 0.0,
    })
}

/// Every batch that an agent made must be in the cloud: waits for that.
fn drain(stage: &Stage) -> Result<Vec<Outbox>> {
    let start = Instant::now();
    loop {
        let outboxes: Vec<Outbox> =
            stage.members.iter().map(Member::outbox).collect::<Result<_>>()?;
        // The last summaries come when the device is gone: wait for two equal looks.
        if outboxes.iter().all(|outbox| outbox.waiting == 0) {
            std::thread::sleep(Duration::from_millis(500));
            let again: Vec<Outbox> =
                stage.members.iter().map(Member::outbox).collect::<Result<_>>()?;
            let same = |(a, b): (&Outbox, &Outbox)| a.appended == b.appended && b.waiting == 0;
            if outboxes.iter().zip(&again).all(same) {
                return Ok(again);
            }
        }
        if start.elapsed() > PATIENCE {
            return Ok(outboxes);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Outcomes of v1 and of v2, each on a thread of its own.
fn outcomes(stage: &Stage) -> Result<(LoopReport, LoopReport)> {
    let trial = Trial {
        world: &stage.world,
        profile: &stage.profile,
        function: &stage.function,
        start_hour: stage.start_hour,
        devices: stage.options.devices,
        days: stage.options.days,
    };
    let v1: Values = serde_json::from_value(tou_params())?;
    let v2: Values = serde_json::from_value(price_params())?;
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| trial.run(gnomon_examples::WATER_HEATER_TOU, &v1));
        let two = trial.run(gnomon_examples::WATER_HEATER_PRICE, &v2);
        (one.join(), two)
    });
    let one = one.ok().context("the run of v1 ended early")?;
    Ok((one?, two?))
}

/// From handing each version to the broker to its device's word.
fn publish_to_applied(stage: &Stage) -> Result<Percentiles> {
    let mut times = vec![];
    for member in &stage.members {
        let versions = stage.cloud.get(&format!("/v1/devices/{}/versions", member.device))?;
        for version in versions.as_array().into_iter().flatten() {
            let at = |name: &str| version[name].as_u64();
            if let (Some(published), Some(applied)) = (at("published_at_ms"), at("applied_at_ms")) {
                times.push(applied.saturating_sub(published));
            }
        }
    }
    Ok(Percentiles::of(times))
}

/// Evaluations, by summaries and records, of anything but the modules that were published.
fn unverified(stage: &Stage, summaries: &[Summary]) -> Result<u64> {
    let modules = &stage.modules;
    let published: BTreeSet<&Digest> = [&modules.v1, &modules.v2, &modules.hot].into();
    let mut foreign: u64 = summaries
        .iter()
        .filter(|summary| summary.module.as_ref().is_some_and(|m| !published.contains(m)))
        .map(|summary| summary.evaluations + summary.faults.values().sum::<u64>())
        .sum();
    for member in &stage.members {
        for record in stage.cloud.rows(&format!("/v1/devices/{}/records", member.device))? {
            let module: Option<Digest> = record["module"].as_str().and_then(|d| d.parse().ok());
            foreign += u64::from(!module.as_ref().is_some_and(|m| published.contains(m)));
        }
    }
    Ok(foreign)
}

fn clamped<'a>(summaries: impl Iterator<Item = &'a Summary>) -> u64 {
    summaries.flat_map(|summary| summary.clamped.values()).map(ClampCounts::total).sum()
}

fn fuel<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Fuel {
    let mut all = Histogram::default();
    summaries.for_each(|summary| all.merge(&summary.fuel));
    Fuel { p50: all.quantile(0.5), max: all.max() }
}

fn swap_gap(swaps_ns: Vec<u64>) -> SwapGap {
    let of = Percentiles::of(swaps_ns);
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a swap")]
    let us = |ns: u64| ns as f64 / 1000.0;
    SwapGap { p50: us(of.p50), max: us(of.max) }
}
