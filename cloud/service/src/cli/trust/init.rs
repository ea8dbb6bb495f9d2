//! `gnomon trust init`: a fleet's first trust root, its keys for different hands.

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use gnomon_cloud_core::roots;
use gnomon_schemas::ids::FleetId;
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::trust::{Proof, Publisher, Role, Roles};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::files::{Folder, Signed};
use super::words::in_words;
use super::{after, days};
use crate::cli::key::{make, read_public};
use crate::cli::show::Shown;
use crate::keys::{KeyFile, Kind, LOCAL_PUBLISHER, PassphraseSource, write_file};

#[derive(Debug, Args)]
pub(in crate::cli) struct InitArgs {
    /// The fleet's name
    #[arg(long)]
    fleet: FleetId,
    /// The folder to write
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// How many root keys to make
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=16))]
    keys: u64,
    /// How many of them must sign
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=16))]
    threshold: u64,
    /// Root keys that their holders made themselves (`gnomon key new`), instead; each of
    /// them then signs the draft
    #[arg(long = "root", value_name = "PUB", conflicts_with = "keys")]
    roots: Vec<PathBuf>,
    /// The director's public key, if it is kept elsewhere
    #[arg(long, value_name = "PUB")]
    director: Option<PathBuf>,
    /// Approvers' public keys, if they made them themselves
    #[arg(long = "approver", value_name = "PUB")]
    approvers: Vec<PathBuf>,
    /// The first publisher's public key, if it is made already; its name is `local`
    #[arg(long, value_name = "PUB")]
    publisher: Option<PathBuf>,
    /// How long the trust root lives
    #[arg(long, default_value = "365d", value_parser = days)]
    expires: u64,
    /// Put the director's key and the trust root into this data folder of a service
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

pub(super) fn init(args: &InitArgs) -> Result<Shown> {
    let folder = Folder(args.out.clone());
    for path in [folder.path(1), folder.draft_path(1)] {
        ensure!(!path.exists(), "{} is there already", path.display());
    }
    let in_data = args.data.as_ref().map(|data| data.join("trust-root.json"));
    if let Some(path) = &in_data {
        ensure!(!path.exists(), "{} is there already: that fleet has begun", path.display());
        ensure!(args.roots.is_empty(), "sign the draft first, then put it into --data yourself");
    }
    make_folder(&args.out)?;
    let (roots, signers) = root_keys(args)?;
    let root = Role { keys: roots, threshold: usize::try_from(args.threshold)? };
    let director = director(args)?;
    let approvers = given_or_made(args, &args.approvers, "approver.pem", Kind::Ed25519)?;
    let publisher: Vec<PathBuf> = args.publisher.iter().cloned().collect();
    let publisher = given_or_made(args, &publisher, "publisher.pem", Kind::P256)?;
    let roles = Roles {
        root,
        director: Role { keys: vec![director], threshold: 1 },
        approver: Role { keys: approvers, threshold: 1 },
    };
    let publishers = publisher.into_iter().map(|key| {
        let proof = Proof::Key { key, sigstore_root: None };
        let policy = Publisher { proof, profiles: BTreeSet::new(), functions: BTreeSet::new() };
        Ok((LOCAL_PUBLISHER.parse()?, policy))
    });
    let publishers = publishers.collect::<Result<BTreeMap<_, _>>>()?;
    let first = roots::first(args.fleet.clone(), roles, publishers, after(args.expires));
    first.check()?;
    folder.write_draft(&first)?;
    let draft = folder.draft(None)?.context("the draft is gone")?;
    let words = in_words(&first, None);
    let told = match folder.sign(None, draft, &signers)? {
        Signed::Done(path) => {
            if let Some(in_data) = &in_data {
                write_file(in_data, &super::files::read(&path)?, 0o644)?;
            }
            done(args, &path)
        }
        Signed::Missing(what) => what,
    };
    Ok(Shown::new(json!({ "folder": args.out, "root": first }), format!("{words}\n{told}")))
}

fn done(args: &InitArgs, path: &Path) -> String {
    let service = match &args.data {
        Some(data) => format!("start the service with --data {}", data.display()),
        None => format!(
            "put {0}/director.pem into the service's data folder as keys/director.pem, and {1} \
             as trust-root.json",
            args.out.display(),
            path.display()
        ),
    };
    format!(
        "wrote {}. Now give each private key to its holder and keep none of them here: the root \
         keys offline, apart from each other; approver.pem to whoever approves, publisher.pem to \
         whoever builds modules; {service}",
        path.display()
    )
}

fn make_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

/// The root keys, and those of them that sign here and now.
fn root_keys(args: &InitArgs) -> Result<(Vec<PublicKey>, Vec<crate::keys::PrivateKey>)> {
    if !args.roots.is_empty() {
        let keys = args.roots.iter().map(|path| read_public(path)).collect::<Result<_>>()?;
        return Ok((keys, vec![]));
    }
    let (mut public, mut signers) = (vec![], vec![]);
    for number in 1..=args.keys {
        let path = args.out.join(format!("root-{number}.pem"));
        // Asked once for each: every file has its own holder.
        let passphrase = args.passphrase.new_for(&path)?;
        let der = crate::keys::PrivateKey::generate(Kind::Ed25519)?;
        crate::keys::write_key(&path, &der, Some(&passphrase))?;
        let key = KeyFile::read(&path)?.open(|| Ok(passphrase))?;
        let beside = args.out.join(format!("root-{number}.pem.pub"));
        write_file(&beside, key.public()?.to_pem().as_bytes(), 0o644)?;
        public.push(key.public()?);
        signers.push(key);
    }
    Ok((public, signers))
}

fn director(args: &InitArgs) -> Result<PublicKey> {
    if let Some(path) = &args.director {
        return read_public(path);
    }
    let folder = match &args.data {
        Some(data) => data.join("keys"),
        None => args.out.clone(),
    };
    make_folder(&folder)?;
    make(&folder.join("director.pem"), Kind::Ed25519, None)
}

fn given_or_made(
    args: &InitArgs,
    given: &[PathBuf],
    name: &str,
    kind: Kind,
) -> Result<Vec<PublicKey>> {
    if given.is_empty() {
        return Ok(vec![make(&args.out.join(name), kind, Some(&args.passphrase))?]);
    }
    given.iter().map(|path| read_public(path)).collect()
}
