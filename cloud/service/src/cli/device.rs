//! `gnomon device` and `gnomon group`.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

use super::client::{Client, segment};
use super::device_identity::{self, BundleIdentity};
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
    /// Make a one-time token by which a device gets its certificate; shown this once
    Enroll {
        /// Its name
        device: String,
        /// How long the token lives: a number of s, m or h; 24h at most
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = device_identity::seconds)]
        ttl: u64,
    },
    /// A device's certificates, newest first
    Certificates {
        /// Its name
        device: String,
    },
    /// Take back all certificates of a device, and cut it off
    Revoke {
        /// Its name
        device: String,
    },
    /// Write the signed list of revoked certificates, for other brokers than the embedded
    Crl {
        /// The file to write, in PEM
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write what an agent needs: trust-root.json, profile.json, agent.json, broker-ca.pem
    Bundle {
        /// Its name
        device: String,
        /// The folder to write
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
        /// The broker that the agent connects to, if not the service's own
        #[arg(long, value_name = "URL")]
        broker: Option<String>,
        #[command(flatten)]
        identity: BundleIdentity,
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
    ("WAITS FOR", "awaiting_approval"),
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
        DeviceCommand::Enroll { device, ttl } => device_identity::enroll(client, &device, ttl),
        DeviceCommand::Certificates { device } => device_identity::certificates(client, &device),
        DeviceCommand::Revoke { device } => device_identity::revoke(client, &device),
        DeviceCommand::Crl { out } => device_identity::crl(client, &out),
        DeviceCommand::Bundle { device, out, broker, identity } => {
            bundle(client, &device, &out, broker, &identity)
        }
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
            ("waits for approval", "awaiting_approval"),
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

fn bundle(
    client: &Client,
    device: &str,
    out: &Path,
    broker: Option<String>,
    identity: &BundleIdentity,
) -> Result<Shown> {
    let known = client.get_json(&format!("/v1/devices/{}", segment(device)))?;
    let status = client.get_json("/v1/status")?;
    let profile = known["profile"].as_str().context("the device has no profile")?;
    let profile = client.get(&format!("/v1/profiles/{}", segment(profile)))?.body;
    let trust = client.get("/v1/trust")?.body;
    let broker = broker
        .or_else(|| status["broker_url"].as_str().map(str::to_owned))
        .context("the service does not say where its broker is; give --broker")?;
    let mut agent = json!({ "fleet": status["fleet"], "device": device, "broker": broker });
    let mut files = vec![("trust-root.json", trust), ("profile.json", profile)];
    files.extend(identity.complete(client, &broker, &mut agent)?);
    let agent_text = format!("{}\n", serde_json::to_string_pretty(&agent)?);
    files.push(("agent.json", agent_text.into_bytes()));
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for (name, bytes) in &files {
        let path = out.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let mut human = format!("wrote {} to {}", names.join(", "), out.display());
    if !agent["tls"].is_null() {
        human.push_str(&format!("\nnext: gnomon device enroll {device}"));
    }
    Ok(Shown::new(json!({ "folder": out, "agent": agent }), human))
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
