//! `gnomon key`: private key files, made and looked at.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use gnomon_schemas::keys::PublicKey;
use serde_json::json;
use std::path::{Path, PathBuf};

use super::show::Shown;
use crate::keys::{KeyFile, Kind, PassphraseSource, PrivateKey, write_file, write_key};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key: FILE, encrypted, and FILE.pub
    New {
        /// The file to write; one that is there is never overwritten
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
        /// Which kind
        #[arg(long, value_enum, default_value = "ed25519")]
        kind: Kind,
        /// Without a passphrase, for a program that reads it by itself
        #[arg(long)]
        plain: bool,
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
    /// The public half of a key, as the trust root takes it
    Public {
        /// The private key
        file: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
}

pub(super) fn run(command: KeyCommand) -> Result<Shown> {
    match command {
        KeyCommand::New { out, kind, plain, passphrase } => {
            let source = (!plain).then_some(&passphrase);
            let public = make(&out, kind, source)?;
            let id = public.id();
            let human =
                format!("wrote {} and {}.pub: key {}", out.display(), out.display(), id.short());
            Ok(Shown::new(json!({ "file": out, "id": id, "public": public }), human))
        }
        KeyCommand::Public { file, passphrase } => {
            let public = KeyFile::read(&file)?.open(|| passphrase.get(&file))?.public()?;
            Ok(Shown::new(json!({ "id": public.id(), "public": public }), public.to_pem()))
        }
    }
}

/// Makes a key file and the file of its public half; encrypted unless there is no source
/// for a passphrase.
pub(super) fn make(
    path: &Path,
    kind: Kind,
    passphrase: Option<&PassphraseSource>,
) -> Result<PublicKey> {
    anyhow::ensure!(!path.exists(), "{} is there already", path.display());
    let der = PrivateKey::generate(kind)?;
    let passphrase = passphrase.map(|source| source.new_for(path)).transpose()?;
    write_key(path, &der, passphrase.as_ref())?;
    let key = PrivateKey::from_pkcs8(&der).map_err(anyhow::Error::msg)?;
    let public = key.public()?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    write_file(Path::new(&beside), public.to_pem().as_bytes(), 0o644)?;
    Ok(public)
}

/// Reads a public key in PEM form.
pub(super) fn read_public(path: &Path) -> Result<PublicKey> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    PublicKey::from_pem(&text).with_context(|| path.display().to_string())
}
