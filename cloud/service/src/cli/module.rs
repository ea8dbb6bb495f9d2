//! `gnomon module`: from bytes to a signed module in the cloud.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::ids::PublisherName;
use gnomon_schemas::limits::MODULE_BYTES_MAX;
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::reason::{Reason, Refusal};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::DataDir;
use super::client::{Client, segment};
use super::module_build::{self, BuildArgs};
use super::module_sign;
use super::show::{Shown, pairs, table};
use crate::keys::{LOCAL_PUBLISHER, PassphraseSource};

#[derive(Debug, Subcommand)]
pub(super) enum ModuleCommand {
    /// Make a module of a core module or component: adds what it says of itself
    Build(BuildArgs),
    /// Sign a module: as `cosign sign-blob` does, to FILE.sig, or keyless, to
    /// FILE.sigstore.json
    Sign(module_sign::SignArgs),
    /// Whether a publisher published a module, offline; exit code 0, or 1 with the reason
    Verify(module_sign::VerifyArgs),
    /// Upload a module, signing it first unless there is a signature or a bundle
    Add {
        /// The module
        file: PathBuf,
        /// The publisher's private key
        #[arg(long, conflicts_with_all = ["signature", "bundle"])]
        key: Option<PathBuf>,
        /// A file with the signature, as `module sign` or cosign wrote it
        #[arg(long, conflicts_with = "bundle")]
        signature: Option<PathBuf>,
        /// A sigstore bundle, as `module sign --keyless` or any sigstore client wrote it
        #[arg(long)]
        bundle: Option<PathBuf>,
        /// The publisher's name in the trust root
        #[arg(long, default_value = LOCAL_PUBLISHER)]
        publisher: PublisherName,
        #[command(flatten)]
        data: DataDir,
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
    /// Upload a module with a sigstore bundle, or give one to a module that is there
    AttachBundle {
        /// The module
        file: PathBuf,
        /// The bundle
        bundle: PathBuf,
        /// The publisher's name in the trust root
        #[arg(long, default_value = LOCAL_PUBLISHER)]
        publisher: PublisherName,
    },
    /// All modules
    List,
    /// A module
    Show {
        /// Digest, the beginning of one, or name@version
        module: String,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("VERSION", "version"),
    ("DIGEST", "digest"),
    ("FUNCTION", "function"),
    ("BYTES", "size_bytes"),
    ("PUBLISHER", "publisher"),
];

pub(super) fn run(client: &Client, command: ModuleCommand) -> Result<Shown> {
    match command {
        ModuleCommand::Build(args) => module_build::build(&args),
        ModuleCommand::Sign(args) => module_sign::sign(&args),
        ModuleCommand::Verify(args) => module_sign::verify(&args),
        ModuleCommand::Add { file, key, signature, bundle, publisher, data, passphrase } => {
            let bytes = read(&file)?;
            let evidence = match (bundle, signature) {
                (Some(path), _) => module_sign::bundle(publisher, &path)?,
                (None, Some(path)) => module_sign::signature(publisher, &path)?,
                (None, None) => {
                    let key = module_sign::publisher_key(key.as_deref(), &data, &passphrase)?;
                    ModuleEvidence::Key { publisher, signature: key.sign_blob(&bytes)? }
                }
            };
            upload(client, &bytes, &evidence)
        }
        ModuleCommand::AttachBundle { file, bundle, publisher } => {
            upload(client, &read(&file)?, &module_sign::bundle(publisher, &bundle)?)
        }
        ModuleCommand::List => {
            let all = client.get_json("/v1/modules")?;
            let human = table(&all, COLUMNS);
            Ok(Shown::new(all, human))
        }
        ModuleCommand::Show { module } => {
            let module = find(client, &module)?;
            let human = pairs(
                &module,
                &[
                    ("name", "name"),
                    ("version", "version"),
                    ("release counter", "release_counter"),
                    ("digest", "digest"),
                    ("function", "function"),
                    ("bytes", "size_bytes"),
                    ("publisher", "publisher"),
                    ("inputs", "interface.inputs"),
                    ("params", "interface.params"),
                    ("outputs", "interface.outputs"),
                    ("state", "interface.state"),
                    ("fits", "fits"),
                ],
            );
            Ok(Shown::new(module, human))
        }
    }
}

/// The module of a digest, the beginning of one, or `name@version`.
pub(super) fn find(client: &Client, module: &str) -> Result<Value, Refusal> {
    client.get_json(&format!("/v1/modules/{}", segment(module)))
}

/// A module's bytes; what no service would take is not read.
pub(super) fn read(file: &Path) -> Result<Vec<u8>> {
    let about = || format!("cannot read {}", file.display());
    let size = std::fs::metadata(file).with_context(about)?.len();
    if size > MODULE_BYTES_MAX as u64 {
        let detail = format!("{}: {size} bytes, at most {MODULE_BYTES_MAX}", file.display());
        return Err(Refusal::new(Reason::TooLarge, detail).into());
    }
    std::fs::read(file).with_context(about)
}

fn upload(client: &Client, bytes: &[u8], evidence: &ModuleEvidence) -> Result<Shown> {
    let body = json!({ "bytes": InlineBytes(bytes.to_vec()), "evidence": evidence }).to_string();
    let headers = [("content-type", "application/vnd.gnomon.module+json")];
    let added = client.send_bytes("POST", "/v1/modules", &headers, body.as_bytes())?.json()?;
    let human = table(&Value::Array(vec![added.clone()]), COLUMNS);
    Ok(Shown::new(added, human))
}
