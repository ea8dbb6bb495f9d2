//! `gnomon approval`: look at what waits, sign it with an approver's key, bring it.
//!
//! What is signed is what is shown: the grant comes from the service, its digest is
//! computed here, and the words are made from the very value that goes under the key.

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand, ValueEnum};
use gnomon_schemas::approval::{Approval, ApprovalSchema, Grant};
use gnomon_schemas::document::OnExpiry;
use gnomon_schemas::envelope::{Envelope, Payload as _};
use gnomon_schemas::ids::{DeviceId, Digest, FleetId};
use gnomon_schemas::limits::APPROVAL_DEVICES_MAX;
use gnomon_schemas::strict;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::DataDir;
use super::ask::confirm;
use super::client::{Client, segment};
use super::show::{Shown, printable, table};
use crate::clock;
use crate::keys::{self, KeyFile, PassphraseSource, PrivateKey};

#[derive(Debug, Subcommand)]
pub(super) enum ApprovalCommand {
    /// What waits for an approval, and what was approved
    List,
    /// What would be approved, in words
    Show {
        /// The digest, or the beginning of one
        digest: String,
    },
    /// Sign what waits, and bring it
    Sign(SignArgs),
    /// Bring an approval that was signed elsewhere
    Add {
        /// The file, as `approval sign --out` wrote it
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// The digest, or the beginning of one
    #[arg(required_unless_present_any = ["all", "envelope"])]
    digest: Option<String>,
    /// Sign everything that waits
    #[arg(long, conflicts_with_all = ["digest", "envelope", "out"])]
    all: bool,
    /// An approver's key; may be given several times
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// For which devices: those that wait now, or every one that has the profile. Those
    /// that wait if they are 256 at most
    #[arg(long, value_enum)]
    devices: Option<Devices>,
    /// Add a signature to an approval that another approver began
    #[arg(long, value_name = "FILE", conflicts_with = "devices")]
    envelope: Option<PathBuf>,
    /// Write the signed approval to a file instead of bringing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Devices {
    /// Every device of the fleet that has the profile, later ones too
    All,
    /// The devices that wait now
    Named,
}

/// What the service says of a request.
#[derive(Debug, Deserialize)]
struct Request {
    digest: Digest,
    grant: Grant,
    profile: String,
    modules: BTreeMap<Digest, String>,
    devices: BTreeSet<DeviceId>,
}

const WAITING: &[(&str, &str)] = &[
    ("WAITS", "digest"),
    ("PROFILE", "profile"),
    ("MODULES", "modules"),
    ("DEVICES", "devices"),
    ("ASKED BY", "asked_by"),
];
const GIVEN: &[(&str, &str)] = &[
    ("APPROVED", "grant_digest"),
    ("AT MS", "approval.approved_at_ms"),
    ("DEVICES", "approval.devices"),
    ("BROUGHT BY", "added_by"),
];

pub(super) fn run(client: &Client, command: ApprovalCommand) -> Result<Shown> {
    match command {
        ApprovalCommand::List => {
            let all = client.get_json("/v1/approvals")?;
            let mut human = table(&all["waiting"], WAITING);
            write!(human, "\n\n{}", table(&all["given"], GIVEN))?;
            Ok(Shown::new(all, human))
        }
        ApprovalCommand::Show { digest } => {
            let view = client.get_json(&path_of(&digest))?;
            let request: Request = serde_json::from_value(view.clone())?;
            let human = request.words(Some(&request.devices));
            Ok(Shown::new(view, human))
        }
        ApprovalCommand::Sign(args) => sign(client, &args),
        ApprovalCommand::Add { file } => {
            let bytes =
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let taken = bring(client, &bytes)?;
            let human = outcome(&taken);
            Ok(Shown::new(taken, human))
        }
    }
}

/// What an edit left waiting, told after it; nothing where that cannot be read.
pub(super) fn waiting_lines(client: &Client) -> (Vec<Value>, String) {
    let all = client.get_json("/v1/approvals").unwrap_or_default();
    let waiting = all["waiting"].as_array().cloned().unwrap_or_default();
    let digests: Vec<Value> = waiting.iter().map(|request| request["digest"].clone()).collect();
    let lines = digests.iter().filter_map(Value::as_str).fold(String::new(), |mut to, digest| {
        let short: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
        // Writing to a string does not fail.
        let _ = write!(
            to,
            "\nwaits for approval {short}: gnomon approval sign {short} --key approver.pem"
        );
        to
    });
    (digests, lines)
}

fn path_of(digest: &str) -> String {
    format!("/v1/approvals/{}", segment(digest))
}

impl Request {
    fn words(&self, devices: Option<&BTreeSet<DeviceId>>) -> String {
        in_words(&self.digest, &self.grant, &self.profile, &self.modules, devices)
    }
}

/// What a signature would be over, for the one who signs.
fn in_words(
    digest: &Digest,
    grant: &Grant,
    profile: &str,
    names: &BTreeMap<Digest, String>,
    devices: Option<&BTreeSet<DeviceId>>,
) -> String {
    let module = |digest: &Digest| {
        // The name is the cloud's word; the digest is what is signed.
        let name = names.get(digest).map_or("a module".to_owned(), |name| printable(name));
        format!("{digest}  ({name})")
    };
    let profile = printable(profile);
    let mut text = format!("approval {digest}\n  profile       {}  ({profile})\n", grant.profile);
    let mut line = |what: &str, is: String| text.push_str(&format!("  {what:<14}{is}\n"));
    for (name, function) in &grant.functions {
        line(name.as_str(), "may run".into());
        if let Some(active) = &function.active {
            line("  in control", module(active));
        }
        for candidate in &function.candidates {
            line("  beside it", module(candidate));
        }
        for (output, bounds) in &function.bounds {
            let part = |name: &str, value: Option<f64>| value.map(|v| format!(" {name} {v}"));
            let parts = [
                part("min", bounds.min),
                part("max", bounds.max),
                part("max_step", bounds.max_step),
            ];
            let parts: String = parts.into_iter().flatten().collect();
            line("  within", format!("{output}:{parts}, or narrower"));
        }
        if function.bounds.is_empty() {
            line("  within", "the firmware's bounds".into());
        }
        line(
            "  budget",
            function.budget.map_or("the profile's".into(), |budget| {
                format!("fuel {}, memory {} bytes, or less", budget.fuel, budget.memory_bytes)
            }),
        );
    }
    line(
        "on expiry",
        match grant.on_expiry {
            OnExpiry::Hold => "it goes on running".into(),
            OnExpiry::Default => "the profile's defaults".into(),
        },
    );
    line(
        "devices",
        devices.map_or("every device that has the profile, later ones too".into(), |devices| {
            let names: Vec<&str> = devices.iter().take(20).map(DeviceId::as_str).collect();
            let more = if devices.len() > 20 { ", ..." } else { "" };
            format!("{}: {}{more}", devices.len(), names.join(", "))
        }),
    );
    text
}

fn sign(client: &Client, args: &SignArgs) -> Result<Shown> {
    if let Some(path) = &args.envelope {
        return finish(client, args, &[sign_further(path, args)?]);
    }
    let digests: Vec<String> = match &args.digest {
        Some(digest) => vec![digest.clone()],
        None => {
            let all = client.get_json("/v1/approvals")?;
            let waiting = all["waiting"].as_array().into_iter().flatten();
            waiting.filter_map(|request| request["digest"].as_str()).map(str::to_owned).collect()
        }
    };
    if digests.is_empty() {
        return Ok(Shown::new(json!([]), "nothing waits"));
    }
    let status = client.get_json("/v1/status")?;
    let fleet: FleetId = serde_json::from_value(status["fleet"].clone())?;
    let mut signed = vec![];
    for digest in &digests {
        let request: Request = serde_json::from_value(client.get_json(&path_of(digest))?)?;
        let hex = digest.trim_start_matches("sha256:");
        let found = request.grant.digest();
        ensure!(
            found == request.digest && found.hex().starts_with(hex),
            "the service shows a grant of digest {found} for {digest}: nothing is signed"
        );
        signed.push(sign_new(args, &fleet, &request)?);
    }
    finish(client, args, &signed)
}

fn sign_new(args: &SignArgs, fleet: &FleetId, request: &Request) -> Result<Vec<u8>> {
    let few = request.devices.len() <= APPROVAL_DEVICES_MAX;
    let named = match args.devices {
        Some(Devices::Named) if !few => bail!(
            "{} devices wait and an approval names {APPROVAL_DEVICES_MAX} at most; give \
             --devices all",
            request.devices.len()
        ),
        Some(which) => which == Devices::Named,
        None => few,
    };
    let devices = named.then(|| request.devices.clone());
    confirm(args.yes, &request.words(devices.as_ref()))?;
    let approval = Approval {
        schema: ApprovalSchema::V1,
        fleet: fleet.clone(),
        devices,
        approved_at_ms: clock::now_ms(),
        grant: request.grant.clone(),
    };
    let payload = serde_json::to_vec(&approval)?;
    let keys = open_keys(args)?;
    Ok(keys::seal::<Approval>(&payload, &keys.iter().collect::<Vec<_>>())?)
}

fn sign_further(path: &Path, args: &SignArgs) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut envelope: Envelope = strict::parse(&bytes, Approval::ENVELOPE_BYTES_MAX)?;
    ensure!(
        envelope.payload_type == Approval::PAYLOAD_TYPE,
        "{} is no approval but `{}`",
        path.display(),
        envelope.payload_type
    );
    let payload = STANDARD.decode(&envelope.payload).context("the payload is not base64")?;
    let approval: Approval = strict::parse(&payload, Approval::ENVELOPE_BYTES_MAX)?;
    let digest = approval.grant.digest();
    let asked = args.digest.as_deref().unwrap_or_default().trim_start_matches("sha256:");
    ensure!(digest.hex().starts_with(asked), "{} is for {digest}", path.display());
    let devices = approval.devices.as_ref();
    confirm(args.yes, &in_words(&digest, &approval.grant, "", &BTreeMap::new(), devices))?;
    for key in open_keys(args)? {
        keys::add_signature(&mut envelope, &key)?;
    }
    Ok(serde_json::to_vec(&envelope)?)
}

fn open_keys(args: &SignArgs) -> Result<Vec<PrivateKey>> {
    let default = [args.data.data.join("keys/approver.pem")];
    let paths = if args.keys.is_empty() { &default[..] } else { &args.keys };
    paths
        .iter()
        .map(|path| {
            let file = KeyFile::read(path)
                .context("cannot sign; give --key, or --data of a service for development")?;
            Ok(file.open(|| args.passphrase.get(path))?)
        })
        .collect()
}

fn finish(client: &Client, args: &SignArgs, signed: &[Vec<u8>]) -> Result<Shown> {
    if let (Some(out), [one]) = (&args.out, signed) {
        std::fs::write(out, one).with_context(|| format!("cannot write {}", out.display()))?;
        let human = format!("wrote {}; bring it with `gnomon approval add`", out.display());
        return Ok(Shown::new(json!({ "file": out }), human));
    }
    let taken: Vec<Value> =
        signed.iter().map(|bytes| bring(client, bytes)).collect::<Result<_>>()?;
    let human: Vec<String> = taken.iter().map(outcome).collect();
    Ok(Shown::new(Value::Array(taken), human.join("\n")))
}

fn bring(client: &Client, bytes: &[u8]) -> Result<Value> {
    Ok(client.send("POST", "/v1/approvals", None, bytes)?.json()?)
}

fn outcome(taken: &Value) -> String {
    let count = |name: &str| taken[name].as_array().map_or(0, Vec::len);
    let digest = super::show::cell(taken, "grant_digest");
    let mut text = format!("approved {digest}: {} devices get it now", count("published"));
    for refused in taken["refused"].as_array().into_iter().flatten() {
        let (device, reason) = (&refused["device"], &refused["refusal"]["detail"]);
        text.push_str(&format!("\nnot {}: {reason}", device.as_str().unwrap_or_default()));
    }
    if count("waiting") > 0 {
        text.push_str(&format!("; {} wait for another approval still", count("waiting")));
    }
    text
}
