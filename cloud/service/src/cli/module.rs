//! `gnomon module`: from bytes to a signed module in the cloud.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use gnomon_schemas::limits::MODULE_BYTES_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::DataDir;
use super::client::{Client, segment};
use super::module_build::{self, BuildArgs};
use super::show::{Shown, pairs, table};
use crate::keys::{LOCAL_PUBLISHER, PrivateKey};

#[derive(Debug, Subcommand)]
pub(super) enum ModuleCommand {
    /// Make a module of a core module or component: adds what it says of itself
    Build(BuildArgs),
    /// Sign a module as `cosign sign-blob` does; writes FILE.sig
    Sign {
        /// The module
        file: PathBuf,
        /// The publisher's private key, PKCS#8 PEM, P-256 or Ed25519
        #[arg(long)]
        key: Option<PathBuf>,
        #[command(flatten)]
        data: DataDir,
    },
    /// Upload a module, signing it first unless there is a signature
    Add {
        /// The module
        file: PathBuf,
        /// The publisher's private key
        #[arg(long, conflicts_with = "signature")]
        key: Option<PathBuf>,
        /// A file with the signature, as `module sign` or cosign wrote it
        #[arg(long)]
        signature: Option<PathBuf>,
        /// The publisher's name in the trust root
        #[arg(long, default_value = LOCAL_PUBLISHER)]
        publisher: String,
        #[command(flatten)]
        data: DataDir,
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
        ModuleCommand::Sign { file, key, data } => {
            let signature = sign(&read(&file)?, key.as_deref(), &data)?;
            let mut path = file.into_os_string();
            path.push(".sig");
            std::fs::write(&path, &signature)
                .with_context(|| format!("cannot write {}", Path::new(&path).display()))?;
            let human = format!("wrote {}", Path::new(&path).display());
            Ok(Shown::new(json!({ "signature": signature }), human))
        }
        ModuleCommand::Add { file, key, signature, publisher, data } => {
            let bytes = read(&file)?;
            let signature = match signature {
                Some(path) => std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?
                    .trim()
                    .to_owned(),
                None => sign(&bytes, key.as_deref(), &data)?,
            };
            let headers = [
                ("content-type", "application/wasm"),
                ("x-gnomon-publisher", publisher.as_str()),
                ("x-gnomon-signature", signature.as_str()),
            ];
            let added = client.send_bytes("POST", "/v1/modules", &headers, &bytes)?.json()?;
            let human = table(&Value::Array(vec![added.clone()]), COLUMNS);
            Ok(Shown::new(added, human))
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

fn sign(bytes: &[u8], key: Option<&Path>, data: &DataDir) -> Result<String> {
    let default = data.data.join("keys/publisher.pem");
    let path = key.unwrap_or(&default);
    let key =
        PrivateKey::read(path).context("cannot sign; give --key, or --data of the service")?;
    Ok(key.sign_blob(bytes)?)
}
