//! `gnomon candidate`: sugar over patches of a layer. Each edit is one PATCH with
//! the ETag that was read, so two people cannot undo each other's.

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Scope;
use super::approval::waiting_lines;
use super::client::{Client, segment};
use super::module;
use super::show::{Shown, grid, pairs};

#[derive(Debug, Subcommand)]
pub(super) enum CandidateCommand {
    /// Run a module in shadow beside the active one
    Add {
        #[command(flatten)]
        slot: SlotArgs,
        /// Its params, as JSON
        #[arg(long, value_name = "JSON")]
        params: Option<String>,
        #[command(flatten)]
        scope: Scope,
    },
    /// Take a module out of the shadow
    Remove {
        #[command(flatten)]
        slot: SlotArgs,
        #[command(flatten)]
        scope: Scope,
    },
    /// What the shadow run shows so far
    Compare {
        #[command(flatten)]
        slot: SlotArgs,
        /// Only devices with these labels
        #[arg(long)]
        selector: Option<String>,
    },
    /// Make a candidate the active module
    Promote {
        #[command(flatten)]
        slot: SlotArgs,
        /// Other params than it had in shadow, as JSON
        #[arg(long, value_name = "JSON")]
        params: Option<String>,
        #[command(flatten)]
        scope: Scope,
    },
}

#[derive(Debug, Args)]
pub(super) struct SlotArgs {
    /// The function
    #[arg(long)]
    function: String,
    /// Digest, the beginning of one, or name@version
    module: String,
}

/// A layer's candidates of a function, and the one in question.
struct Candidates {
    path: String,
    etag: Option<String>,
    others: Vec<Value>,
    this: Option<Value>,
    digest: Value,
}

pub(super) fn run(client: &Client, command: CandidateCommand) -> Result<Shown> {
    match command {
        CandidateCommand::Add { slot, params, scope } => {
            let mut found = read(client, &slot, &scope)?;
            let params = given(params.as_deref())?.unwrap_or_else(|| json!({}));
            found.others.push(json!({ "module": found.digest, "params": params }));
            let plan = json!({ "candidates": found.others });
            patch(client, &slot, &found, plan, "runs in shadow")
        }
        CandidateCommand::Remove { slot, scope } => {
            let found = read(client, &slot, &scope)?;
            if found.this.is_none() {
                bail!("{} is no candidate of `{}` in this layer", slot.module, slot.function);
            }
            let plan = json!({ "candidates": rest(&found.others) });
            patch(client, &slot, &found, plan, "no longer runs in shadow")
        }
        CandidateCommand::Promote { slot, params, scope } => {
            let found = read(client, &slot, &scope)?;
            let Some(mut this) = found.this.clone() else {
                bail!("{} is no candidate of `{}` in this layer", slot.module, slot.function);
            };
            if let Some(params) = given(params.as_deref())? {
                this["params"] = params;
            }
            let plan = json!({ "active": this, "candidates": rest(&found.others) });
            patch(client, &slot, &found, plan, "is active")
        }
        CandidateCommand::Compare { slot, selector } => compare(client, &slot, selector),
    }
}

fn given(params: Option<&str>) -> Result<Option<Value>> {
    let parse = |text: &str| serde_json::from_str(text).context("--params is not JSON");
    params.map(parse).transpose()
}

/// An empty list is taken out of the layer.
fn rest(others: &[Value]) -> Value {
    if others.is_empty() { Value::Null } else { Value::Array(others.to_vec()) }
}

fn read(client: &Client, slot: &SlotArgs, scope: &Scope) -> Result<Candidates> {
    let digest = module::find(client, &slot.module)?["digest"].clone();
    let path = scope.path();
    let answer = client.get(&path)?;
    let layer = answer.json()?;
    let all = layer["functions"][&slot.function]["candidates"].as_array().cloned();
    let (this, others): (Vec<Value>, Vec<Value>) =
        all.unwrap_or_default().into_iter().partition(|known| known["module"] == digest);
    let etag = answer.etag().map(str::to_owned);
    Ok(Candidates { path, etag, others, this: this.into_iter().next(), digest })
}

fn patch(
    client: &Client,
    slot: &SlotArgs,
    found: &Candidates,
    plan: Value,
    now: &str,
) -> Result<Shown> {
    let body = json!({ "functions": { &slot.function: plan } }).to_string();
    let answer = client.send("PATCH", &found.path, found.etag.as_deref(), body.as_bytes())?;
    let layer = answer.json()?;
    let (waiting, lines) = waiting_lines(client);
    let human = format!("{} {now} for `{}`{lines}", slot.module, slot.function);
    let json = json!({ "layer": layer, "etag": answer.etag(), "waiting": waiting });
    Ok(Shown::new(json, human))
}

fn compare(client: &Client, slot: &SlotArgs, selector: Option<String>) -> Result<Shown> {
    let selector = selector.map(|s| format!("&selector={}", segment(&s))).unwrap_or_default();
    let path = format!(
        "/v1/functions/{}/comparison?candidate={}{selector}",
        segment(&slot.function),
        segment(&slot.module)
    );
    let report = client.get_json(&path)?;
    let head = pairs(
        &report,
        &[
            ("candidate", "candidate"),
            ("active", "active"),
            ("devices", "devices"),
            ("ticks", "ticks"),
            ("coverage", "coverage"),
            ("mismatch rate", "mismatch_rate"),
            ("faults", "faults"),
            ("clamped", "clamped"),
            ("candidate fuel p50", "candidate_cost.fuel_p50"),
            ("candidate fuel max", "candidate_cost.fuel_max"),
            ("active fuel p50", "active_cost.fuel_p50"),
            ("active fuel max", "active_cost.fuel_max"),
        ],
    );
    let human = format!("{head}\n\n{}\n\n{}", outputs(&report), super::show::cell(&report, "note"));
    Ok(Shown::new(report, human))
}

fn outputs(report: &Value) -> String {
    const COLUMNS: &[(&str, &str)] = &[
        ("COMPARED", "compared"),
        ("MISMATCH RATE", "mismatch_rate"),
        ("MEAN DIFF", "mean_difference"),
        ("MEAN |DIFF|", "mean_abs_difference"),
        ("P50", "abs_difference_p50"),
        ("P95", "abs_difference_p95"),
        ("MAX", "abs_difference_max"),
    ];
    let rows = report["outputs"].as_object().into_iter().flatten().map(|(name, output)| {
        let cells = COLUMNS.iter().map(|(_, path)| super::show::cell(output, path));
        std::iter::once(name.clone()).chain(cells).collect()
    });
    let titles = std::iter::once("OUTPUT").chain(COLUMNS.iter().map(|(title, _)| *title));
    grid(titles.map(str::to_owned).collect(), rows.collect())
}
