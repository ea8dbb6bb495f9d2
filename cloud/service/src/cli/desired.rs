//! `gnomon desired`: layers as they stand, and edits of them.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use gnomon_schemas::limits::HTTP_JSON_BYTES_MAX;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::PathBuf;

use super::Scope;
use super::approval::waiting_lines;
use super::client::{Answer, Client, segment};
use super::show::{Shown, grid};

#[derive(Debug, Subcommand)]
pub(super) enum DesiredCommand {
    /// A layer as it stands
    Get {
        #[command(flatten)]
        scope: Scope,
    },
    /// Replace a layer
    Set(EditArgs),
    /// Edit a layer by a merge patch (RFC 7396): null takes a value out
    Patch(EditArgs),
    /// What the layers together say of a device, and where each value came from
    Effective {
        /// The device
        #[arg(long)]
        device: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct EditArgs {
    #[command(flatten)]
    scope: Scope,
    /// The JSON; `-` reads it from standard input
    #[arg(long, default_value = "-", value_name = "FILE")]
    file: PathBuf,
    /// The ETag that was read: the edit is refused if the layer changed since
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

pub(super) fn run(client: &Client, command: DesiredCommand) -> Result<Shown> {
    match command {
        DesiredCommand::Get { scope } => layer(&client.get(&scope.path())?, None),
        DesiredCommand::Set(args) => edit(client, "PUT", &args),
        DesiredCommand::Patch(args) => edit(client, "PATCH", &args),
        DesiredCommand::Effective { device } => {
            let path = format!("/v1/devices/{}/effective", segment(&device));
            let effective = client.get_json(&path)?;
            let human = leaves(&effective);
            Ok(Shown::new(effective, human))
        }
    }
}

fn edit(client: &Client, method: &str, args: &EditArgs) -> Result<Shown> {
    let bytes = if args.file.as_os_str() == "-" {
        let mut bytes = vec![];
        // One byte more than is taken, so that too much is refused, not cut.
        let input = std::io::stdin().take(HTTP_JSON_BYTES_MAX as u64 + 1);
        { input }.read_to_end(&mut bytes).context("cannot read standard input")?;
        bytes
    } else {
        std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?
    };
    let answer = client.send(method, &args.scope.path(), args.if_match.as_deref(), &bytes)?;
    layer(&answer, Some(waiting_lines(client)))
}

fn layer(answer: &Answer, waiting: Option<(Vec<Value>, String)>) -> Result<Shown> {
    let layer = answer.json()?;
    let mut text = serde_json::to_string_pretty(&layer)?;
    let mut json = json!({ "layer": layer, "etag": answer.etag() });
    if let Some((waiting, lines)) = waiting {
        text.push_str(&lines);
        json["waiting"] = Value::Array(waiting);
    }
    Ok(Shown::new(json, text))
}

/// One line per leaf: pointer, value, origin.
fn leaves(effective: &Value) -> String {
    let origins = effective["origins"].as_object();
    let rows = origins.into_iter().flatten().map(|(pointer, origin)| {
        let value = effective["content"].pointer(pointer).unwrap_or(&Value::Null);
        let origin = origin.as_str().unwrap_or_default().to_owned();
        vec![pointer.clone(), value.to_string(), origin]
    });
    let titles = ["VALUE AT", "IS", "FROM"].map(str::to_owned).to_vec();
    grid(titles, rows.collect())
}
