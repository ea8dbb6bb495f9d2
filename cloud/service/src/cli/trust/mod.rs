//! `gnomon trust`: trust roots on files, offline; only `publish` talks to a service. A
//! table of contents: each edit is `gnomon_cloud_core::roots`'s, and how one root follows
//! another is `gnomon_schemas::succession`'s.

mod edits;
mod files;
mod init;
mod words;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use gnomon_cloud_core::roots::Edit;
use gnomon_schemas::reason::Refusal;
use gnomon_schemas::succession::{verify_first_root, verify_next_root};
use gnomon_schemas::trust::TrustRoot;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::ask::confirm;
use super::client::Client;
use super::show::Shown;
use crate::clock;
use crate::keys::{KeyFile, PassphraseSource};
use edits::{Added, Removed, Revoked, RoleArg};
use files::{Draft, Folder, Signed};
use words::in_words;

const DAY_MS: u64 = 24 * 3600 * 1000;

#[derive(Debug, Subcommand)]
pub(super) enum TrustCommand {
    /// Make a fleet's first trust root and its keys
    Init(init::InitArgs),
    /// A trust root or draft in words
    Show {
        /// The file
        file: PathBuf,
    },
    /// Draft the next root with one thing more
    Add {
        #[command(subcommand)]
        what: Added,
        #[command(flatten)]
        dir: DirArg,
    },
    /// Draft the next root with one thing less
    Remove {
        #[command(subcommand)]
        what: Removed,
        #[command(flatten)]
        dir: DirArg,
    },
    /// Draft the next root so that something counts no more
    Revoke {
        #[command(subcommand)]
        what: Revoked,
        #[command(flatten)]
        dir: DirArg,
    },
    /// Draft the next root with the next epoch: every document is signed again
    BumpEpoch {
        #[command(flatten)]
        dir: DirArg,
    },
    /// Draft the next root with another number of keys that must sign
    Threshold {
        /// Which role
        #[arg(value_enum)]
        role: RoleArg,
        /// How many keys
        keys: usize,
        #[command(flatten)]
        dir: DirArg,
    },
    /// Draft the next root with another life
    Expires {
        /// From now: 365d
        #[arg(value_parser = days)]
        life: u64,
        #[command(flatten)]
        dir: DirArg,
    },
    /// Sign the draft; with enough signatures it becomes the next root
    Sign {
        /// A root key; may be given several times
        #[arg(long = "key", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        passphrase: PassphraseSource,
        #[command(flatten)]
        dir: DirArg,
    },
    /// Whether each root may follow the one before it; exit code 0 or 1
    Verify {
        /// The roots, the first one first
        #[arg(required = true)]
        chain: Vec<PathBuf>,
    },
    /// Send a signed root to the service, which takes it in force and hands it on
    Publish {
        /// The file
        file: PathBuf,
    },
}

/// Where trust roots and drafts are.
#[derive(Debug, Clone, Args)]
pub(super) struct DirArg {
    /// The folder with trust-root.N.json
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
}

impl DirArg {
    fn edit(self, edit: Edit) -> Result<Shown> {
        let (root, told) = Folder(self.dir).edit(edit)?;
        Ok(Shown::new(json!({ "root": root, "told": told }), told))
    }
}

pub(super) fn run(client: &Client, command: TrustCommand) -> Result<Shown> {
    match command {
        TrustCommand::Init(args) => init::init(&args),
        TrustCommand::Show { file } => show(&file),
        TrustCommand::Add { what, dir } => dir.edit(what.edit()?),
        TrustCommand::Remove { what, dir } => dir.edit(what.edit()),
        TrustCommand::Revoke { what, dir } => dir.edit(what.edit()),
        TrustCommand::BumpEpoch { dir } => dir.edit(Edit::BumpEpoch),
        TrustCommand::Threshold { role, keys, dir } => dir.edit(Edit::Threshold(role.into(), keys)),
        TrustCommand::Expires { life, dir } => dir.edit(Edit::Expires(after(life))),
        TrustCommand::Sign { keys, yes, passphrase, dir } => {
            sign(&Folder(dir.dir), &keys, yes, &passphrase)
        }
        TrustCommand::Verify { chain } => verify(&chain),
        TrustCommand::Publish { file } => publish(client, &file),
    }
}

/// `365d`, in milliseconds.
fn days(text: &str) -> Result<u64, String> {
    let days = text.strip_suffix('d').and_then(|number| number.parse::<u64>().ok());
    days.filter(|days| (1..=36_500).contains(days))
        .map(|days| days * DAY_MS)
        .ok_or_else(|| "expected a number of days, such as 365d".to_owned())
}

fn after(life_ms: u64) -> u64 {
    clock::now_ms().saturating_add(life_ms)
}

fn show(file: &Path) -> Result<Shown> {
    let Draft { envelope, root } = Draft::read(file)?;
    let mut human = in_words(&root, None);
    human.push_str(&match verify_first_root(&files::read(file)?) {
        Ok(_) => "signed by enough of its own root keys".to_owned(),
        Err(error) => format!("not a trust root yet: {error}"),
    });
    let ids: Vec<&Option<String>> = envelope.signatures.iter().map(|s| &s.keyid).collect();
    Ok(Shown::new(json!({ "root": root, "signatures": ids }), human))
}

fn sign(
    folder: &Folder,
    keys: &[PathBuf],
    yes: bool,
    passphrase: &PassphraseSource,
) -> Result<Shown> {
    let newest = folder.newest()?;
    let Some(draft) = folder.draft(newest.as_ref())? else {
        bail!("no draft in {}; make one with `gnomon trust add` and the like", folder.0.display());
    };
    confirm(yes, &in_words(&draft.root, newest.as_ref()))?;
    let open = |path: &PathBuf| Ok(KeyFile::read(path)?.open(|| passphrase.get(path))?);
    let keys = keys.iter().map(open).collect::<Result<Vec<_>>>()?;
    let (file, human) = match folder.sign(newest.as_ref(), draft, &keys)? {
        Signed::Done(path) => {
            let human =
                format!("wrote {0}; hand it on with `gnomon trust publish {0}`", path.display());
            (Some(path), human)
        }
        Signed::Missing(what) => (None, what),
    };
    Ok(Shown::new(json!({ "file": file, "told": human }), human))
}

fn verify(chain: &[PathBuf]) -> Result<Shown> {
    let mut current: Option<TrustRoot> = None;
    for path in chain {
        let bytes = files::read(path)?;
        let verified = match &current {
            None => verify_first_root(&bytes),
            Some(current) => verify_next_root(&bytes, current),
        };
        let verified = verified.map_err(|error| Refusal::from(error).at(path.display()))?;
        current = Some(verified.into_payload());
    }
    let last = current.context("no trust root was given")?;
    let human = format!(
        "good: {} roots, version {} of fleet `{}`, epoch {}",
        chain.len(),
        last.version,
        last.fleet,
        last.epoch
    );
    Ok(Shown::new(json!({ "version": last.version, "epoch": last.epoch }), human))
}

fn publish(client: &Client, file: &Path) -> Result<Shown> {
    let installed = client.send("POST", "/v1/trust", None, &files::read(file)?)?.json()?;
    let mut human = format!(
        "trust root {} is in force, epoch {}: {} documents signed again, {} devices wait for an \
         approval",
        installed["version"], installed["epoch"], installed["signed_again"], installed["waiting"]
    );
    for refused in installed["refused"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (device, refusal) = (text(&refused["device"]), &refused["refusal"]);
        let (reason, detail) = (text(&refusal["reason"]), text(&refusal["detail"]));
        human.push_str(&format!("\n{device} gets no new document: {reason}: {detail}"));
    }
    if let Some(cannot) = installed["cannot_sign"].as_str() {
        human.push_str(&format!("\nthe service signs nothing under it: {cannot}"));
    }
    Ok(Shown::new(installed, human))
}
