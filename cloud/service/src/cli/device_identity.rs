//! `gnomon device enroll`, `certificates`, `revoke` and `crl`: a device's right to be
//! on the bus.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::client::{Client, segment};
use super::show::{Shown, table};

const COLUMNS: &[(&str, &str)] = &[
    ("SERIAL", "serial"),
    ("ISSUED_AT_MS", "issued_at_ms"),
    ("EXPIRES_AT_MS", "expires_at_ms"),
    ("REVOKED_AT_MS", "revoked_at_ms"),
];

/// How the device of a bundle gets its certificate.
#[derive(Debug, clap::Args)]
pub(super) struct BundleIdentity {
    /// Where the device reaches this service to enrol, if not where this command does
    #[arg(long, value_name = "URL")]
    enroll: Option<String>,
    /// The authority of that place's certificate, in PEM, if not the fleet's own
    #[arg(long, value_name = "FILE")]
    enroll_ca: Option<PathBuf>,
    /// The authority of the broker's certificate, in PEM, if not the fleet's own
    #[arg(long, value_name = "FILE")]
    broker_ca: Option<PathBuf>,
}

impl BundleIdentity {
    /// Adds to `agent` what TLS to this broker needs; the files that it names.
    pub(super) fn complete(
        &self,
        client: &Client,
        broker: &str,
        agent: &mut Value,
    ) -> Result<Vec<(&'static str, Vec<u8>)>> {
        if !check_broker(broker)? {
            return Ok(vec![]);
        }
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let broker_ca = match &self.broker_ca {
            Some(path) => {
                // The device's own certificate is judged by these roots, too.
                [read(path)?, client.get("/v1/ca")?.body].concat()
            }
            None => client.get("/v1/ca")?.body,
        };
        let mut files = vec![("broker-ca.pem", broker_ca)];
        agent["tls"] =
            json!({ "ca": "broker-ca.pem", "certificate": "device.crt", "key": "device.key" });
        agent["enroll"] = json!({ "url": self.enroll.as_deref().unwrap_or(client.url()) });
        if let Some(path) = &self.enroll_ca {
            files.push(("enroll-ca.pem", read(path)?));
            agent["enroll"]["ca"] = json!("enroll-ca.pem");
        }
        Ok(files)
    }
}

/// Whether it speaks TLS. A device must be able to reach it, and its agent to read it.
fn check_broker(url: &str) -> Result<bool> {
    let wrong = || format!("the broker is `{url}`: give --broker mqtts://HOST:PORT");
    let (scheme, address) = url.split_once("://").with_context(wrong)?;
    let (host, port) = address.rsplit_once(':').with_context(wrong)?;
    let is_tls = scheme == "mqtts";
    if host.is_empty() || port.parse::<u16>().is_err() || !(is_tls || scheme == "mqtt") {
        bail!(wrong());
    }
    if matches!(host, "0.0.0.0" | "[::]") {
        bail!(
            "the broker listens on every address: say by which one the device finds it, with \
             --broker {scheme}://HOST:{port}"
        );
    }
    Ok(is_tls)
}

/// A number of seconds, minutes or hours, as `90s`, `30m` or `1h`.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a number of s, m or h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

pub(super) fn enroll(client: &Client, device: &str, ttl_s: u64) -> Result<Shown> {
    let path = format!("/v1/devices/{}/enrollment", segment(device));
    let body = json!({ "ttl_s": ttl_s }).to_string();
    let made = client.send("POST", &path, None, body.as_bytes())?.json()?;
    let token = made["token"].as_str().unwrap_or_default();
    let human = format!(
        "{token}\n\nIt is shown this once, for one enrolment of `{device}` within {ttl_s} s. On \
         the device, beside the folder of `gnomon device bundle {device}`:\n\
         \x20 GNOMON_ENROLL_TOKEN={token} gnomon-agent enroll --config BUNDLE --data DATA\n"
    );
    Ok(Shown::new(made, human))
}

pub(super) fn certificates(client: &Client, device: &str) -> Result<Shown> {
    let path = format!("/v1/devices/{}/certificates", segment(device));
    Ok(shown(client.get_json(&path)?))
}

pub(super) fn revoke(client: &Client, device: &str) -> Result<Shown> {
    let path = format!("/v1/devices/{}/revoke", segment(device));
    Ok(shown(client.send("POST", &path, None, b"{}")?.json()?))
}

fn shown(certificates: Value) -> Shown {
    let human = table(&certificates, COLUMNS);
    Shown::new(certificates, human)
}

pub(super) fn crl(client: &Client, out: &Path) -> Result<Shown> {
    let list = client.get("/v1/crl")?.body;
    // Brokers may read it at any time: it is there whole or not at all.
    let new = out.with_extension("new");
    std::fs::write(&new, list)
        .and_then(|()| std::fs::rename(&new, out))
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(Shown::new(json!({ "file": out }), format!("wrote {}", out.display())))
}
