//! `gnomon device` and `gnomon group`.

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

use super::client::{Client, segment};
use super::show::{Shown, pairs, table};

#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// Register a device
    Add {
        /// Its name
        device: String,
        /// The digest or name of its profile
        #[arg(long)]
        profile: String,
        /// A label; may be given several times
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
    /// Devices
    List {
        /// Labels that they must have: key=value,key!=value
        #[arg(long)]
        selector: Option<String>,
    },
    /// A device
    Show {
        /// Its name
        device: String,
    },
    /// Set labels, or take them away with KEY-
    Label {
        /// Its name
        device: String,
        /// KEY=VALUE or KEY-
        #[arg(required = true)]
        labels: Vec<String>,
    },
    /// Remove a device; its results stay
    Remove {
        /// Its name
        device: String,
    },
    /// End a conflict: publish above what the device has seen
    Resolve {
        /// Its name
        device: String,
    },
    /// Write what an agent needs: trust-root.json, profile.json, agent.json
    Bundle {
        /// Its name
        device: String,
        /// The folder to write
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
        /// The broker that the agent connects to, if not the service's own
        #[arg(long, value_name = "URL")]
        broker: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Make or change a group
    Set {
        /// Its name
        group: String,
        /// Labels that its devices have: key=value,key!=value
        #[arg(long)]
        selector: String,
        /// Higher priorities lie over lower ones
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        priority: i32,
    },
    /// All groups
    List,
    /// Remove a group and its layer
    Remove {
        /// Its name
        group: String,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("DEVICE", "device"),
    ("STATE", "state"),
    ("ONLINE", "online"),
    ("DESIRED", "desired.version"),
    ("APPLIED", "applied"),
    ("MS", "publish_to_applied_ms"),
    ("LABELS", "labels"),
];
const GROUP_COLUMNS: &[(&str, &str)] = &[
    ("GROUP", "name"),
    ("SELECTOR", "selector"),
    ("PRIORITY", "priority"),
    ("DEVICES", "devices"),
];

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn run(client: &Client, command: DeviceCommand) -> Result<Shown> {
    let path = |device: &str| format!("/v1/devices/{}", segment(device));
    match command {
        DeviceCommand::Add { device, profile, labels } => {
            let labels: Map<String, Value> =
                labels.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
            let body = json!({ "device": device, "profile": profile, "labels": labels });
            shown(client.send("POST", "/v1/devices", None, body.to_string().as_bytes())?.json()?)
        }
        DeviceCommand::List { selector } => {
            let query = selector.map(|selector| format!("?selector={}", segment(&selector)));
            let all = client.get_json(&format!("/v1/devices{}", query.unwrap_or_default()))?;
            let human = table(&all, COLUMNS);
            Ok(Shown::new(all, human))
        }
        DeviceCommand::Show { device } => show(client.get_json(&path(&device))?),
        DeviceCommand::Label { device, labels } => {
            let body = json!({ "labels": label_patch(&labels)? });
            let body = body.to_string();
            shown(client.send("PATCH", &path(&device), None, body.as_bytes())?.json()?)
        }
        DeviceCommand::Remove { device } => {
            client.delete(&path(&device))?;
            Ok(Shown::new(json!({ "removed": device }), format!("removed {device}")))
        }
        DeviceCommand::Resolve { device } => {
            let path = format!("{}/resolve", path(&device));
            shown(client.send("POST", &path, None, b"{}")?.json()?)
        }
        DeviceCommand::Bundle { device, out, broker } => bundle(client, &device, &out, broker),
    }
}

fn shown(device: Value) -> Result<Shown> {
    let human = table(&Value::Array(vec![device.clone()]), COLUMNS);
    Ok(Shown::new(device, human))
}

fn show(device: Value) -> Result<Shown> {
    let human = pairs(
        &device,
        &[
            ("device", "device"),
            ("state", "state"),
            ("online", "online"),
            ("profile", "profile"),
            ("labels", "labels"),
            ("desired version", "desired.version"),
            ("applied version", "applied"),
            ("publish to applied, ms", "publish_to_applied_ms"),
            ("conflict", "conflict"),
            ("last refusal", "reported.refusal"),
            ("functions", "reported.functions"),
            ("refused since boot", "reported.refused"),
            ("agent", "reported.agent_version"),
        ],
    );
    Ok(Shown::new(device, human))
}

fn label_patch(labels: &[String]) -> Result<Map<String, Value>> {
    labels
        .iter()
        .map(|text| match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) => Ok((key.to_owned(), Value::String(value.to_owned()))),
            (None, Some(key)) => Ok((key.to_owned(), Value::Null)),
            (None, None) => anyhow::bail!("`{text}` is not KEY=VALUE or KEY-"),
        })
        .collect()
}

/// A device must be able to reach it, and its agent to read it.
fn check_broker(url: &str) -> Result<()> {
    let address = url.strip_prefix("mqtt://").and_then(|rest| rest.rsplit_once(':'));
    let Some((host, port)) = address else {
        bail!("the broker is `{url}`: give --broker mqtt://HOST:PORT");
    };
    if host.is_empty() || port.parse::<u16>().is_err() {
        bail!("the broker is `{url}`: give --broker mqtt://HOST:PORT");
    }
    if matches!(host, "0.0.0.0" | "[::]") {
        bail!(
            "the broker listens on every address: say by which one the device finds it, with --broker mqtt://HOST:PORT"
        );
    }
    Ok(())
}

fn bundle(client: &Client, device: &str, out: &Path, broker: Option<String>) -> Result<Shown> {
    let known = client.get_json(&format!("/v1/devices/{}", segment(device)))?;
    let status = client.get_json("/v1/status")?;
    let profile = known["profile"].as_str().context("the device has no profile")?;
    let profile = client.get(&format!("/v1/profiles/{}", segment(profile)))?.body;
    let trust = client.get("/v1/trust")?.body;
    let broker = broker.map_or_else(|| status["broker_url"].clone(), Value::String);
    check_broker(broker.as_str().unwrap_or_default())?;
    let agent = json!({ "fleet": status["fleet"], "device": device, "broker": broker });
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let agent_text = format!("{}\n", serde_json::to_string_pretty(&agent)?);
    let files = [
        ("trust-root.json", trust),
        ("profile.json", profile),
        ("agent.json", agent_text.into_bytes()),
    ];
    for (name, bytes) in files {
        let path = out.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Shown::new(
        json!({ "folder": out, "agent": agent }),
        format!("wrote trust-root.json, profile.json and agent.json to {}", out.display()),
    ))
}

pub(super) fn run_group(client: &Client, command: GroupCommand) -> Result<Shown> {
    match command {
        GroupCommand::Set { group, selector, priority } => {
            let body = json!({ "selector": selector, "priority": priority }).to_string();
            let path = format!("/v1/groups/{}", segment(&group));
            let set = client.send("PUT", &path, None, body.as_bytes())?.json()?;
            let human = table(&Value::Array(vec![set.clone()]), GROUP_COLUMNS);
            Ok(Shown::new(set, human))
        }
        GroupCommand::List => {
            let all = client.get_json("/v1/groups")?;
            let human = table(&all, GROUP_COLUMNS);
            Ok(Shown::new(all, human))
        }
        GroupCommand::Remove { group } => {
            client.delete(&format!("/v1/groups/{}", segment(&group)))?;
            Ok(Shown::new(json!({ "removed": group }), format!("removed {group}")))
        }
    }
}
