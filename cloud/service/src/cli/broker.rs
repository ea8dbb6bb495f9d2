//! `gnomon broker`: what another broker needs for this fleet.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use gnomon_schemas::ids::{DeviceId, FleetId};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::DataDir;
use super::client::Client;
use super::show::Shown;
use crate::broker_config::{self, BrokerKind};
use crate::identity::{Ca, names};
use crate::{clock, mqtt};

/// The list of revoked certificates, as the configurations name it.
const REVOKED: &str = "crl.pem";

#[derive(Debug, Subcommand)]
pub(super) enum BrokerCommand {
    /// A ready configuration for another broker: TLS, names from certificates, ACL
    Config {
        /// Which broker
        kind: BrokerKind,
        /// The fleet, instead of asking the service
        #[arg(long, value_name = "NAME")]
        fleet: Option<FleetId>,
        /// Write the files into this folder instead of printing them
        #[arg(short, long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Where the files and certificates will lie [default: --out, or /etc/gnomon]
        #[arg(long, value_name = "DIR")]
        folder: Option<String>,
    },
    /// A certificate and key for another broker, by the fleet's own authority: ca.crt,
    /// broker.crt, keys/broker.pem, and crl.pem if there is none
    Certificate {
        #[command(flatten)]
        data: DataDir,
        /// The fleet's name
        #[arg(long, default_value = "home", value_name = "NAME")]
        fleet: FleetId,
        /// A name or address by which devices know it, beside this machine's; may be given
        /// several times
        #[arg(long = "name", value_name = "HOST")]
        names: Vec<String>,
        /// The folder to write
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
}

pub(super) fn run(client: &Client, command: BrokerCommand) -> Result<Shown> {
    match command {
        BrokerCommand::Config { kind, fleet, out, folder } => {
            config(client, kind, fleet, out.as_deref(), folder)
        }
        BrokerCommand::Certificate { data, fleet, names, out } => {
            certificate(&data.data, &fleet, &names, &out)
        }
    }
}

fn config(
    client: &Client,
    kind: BrokerKind,
    fleet: Option<FleetId>,
    out: Option<&Path>,
    folder: Option<String>,
) -> Result<Shown> {
    let fleet = match fleet {
        Some(fleet) => fleet,
        None => serde_json::from_value(client.get_json("/v1/status")?["fleet"].clone())?,
    };
    let devices: Vec<DeviceId> = if kind.names_devices() {
        let all = client.get_json("/v1/devices")?;
        let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
        let names = all.iter().map(|device| serde_json::from_value(device["device"].clone()));
        names.collect::<Result<_, _>>()?
    } else {
        vec![]
    };
    let out_text = out.map(|out| std::path::absolute(out).map(|out| out.display().to_string()));
    let folder = folder.map_or(out_text.transpose()?, Some).unwrap_or("/etc/gnomon".into());
    let files = broker_config::files(kind, &fleet, &folder, &devices);
    let Some(out) = out else {
        let texts: Vec<String> =
            files.iter().map(|file| format!("# ---- {} ----\n{}", file.name, file.text)).collect();
        let all = files.iter().map(|file| (file.name, file.text.as_str()));
        let all: std::collections::BTreeMap<&str, &str> = all.collect();
        return Ok(Shown::new(json!(all), texts.join("\n")));
    };
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for file in &files {
        let path = out.join(file.name);
        std::fs::write(&path, &file.text)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let names: Vec<&str> = files.iter().map(|file| file.name).collect();
    let human = format!("wrote {} to {}", names.join(" and "), out.display());
    Ok(Shown::new(json!({ "folder": out, "files": names }), human))
}

fn certificate(data: &Path, fleet: &FleetId, given: &[String], out: &Path) -> Result<Shown> {
    let now_ms = clock::now_ms();
    let ca = Ca::open(data, fleet, now_ms)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let hosts = mqtt::hosts(given, IpAddr::from(Ipv4Addr::LOCALHOST));
    ca.broker(out, &hosts, now_ms)?;
    let path = out.join(names::CA);
    std::fs::write(&path, ca.pem()).with_context(|| format!("cannot write {}", path.display()))?;
    // A broker does not start without the list that its configuration names.
    let path = out.join(REVOKED);
    if !path.exists() {
        std::fs::write(&path, ca.list(&[], now_ms)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let written = [names::CA, names::BROKER, names::BROKER_KEY, REVOKED];
    let human = format!("wrote {} to {}", written.join(", "), out.display());
    Ok(Shown::new(json!({ "folder": out, "files": written, "names": hosts }), human))
}
