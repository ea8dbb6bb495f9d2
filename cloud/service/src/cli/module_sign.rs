//! `gnomon module sign` and `verify`: a publisher's word for a module, made and judged
//! without the service.

use anyhow::{Context as _, Result};
use clap::{ArgGroup, Args};
use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::ids::{Digest, PublisherName};
use gnomon_schemas::module::{JudgeEvidence as _, ModuleEvidence, check_denied, check_release};
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::succession::verify_first_root;
use gnomon_schemas::trust::TrustRoot;
use serde_json::json;
use std::path::{Path, PathBuf};

use super::module::read;
use super::show::Shown;
use super::{DataDir, Exit};
use crate::admission::JUDGE;
use crate::clock;
use crate::keyless;
use crate::keys::{KeyFile, LOCAL_PUBLISHER, PassphraseSource, PrivateKey};

/// The exit code of arguments that name nothing usable.
const USAGE: u8 = 2;
/// The largest bundle that is read; the service takes less.
const BUNDLE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// The module
    file: PathBuf,
    /// The publisher's private key, PKCS#8 PEM, P-256 or Ed25519
    #[arg(long, conflicts_with = "keyless")]
    key: Option<PathBuf>,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// Sign as an identity instead: a short-lived certificate and a log entry
    #[arg(long, requires_all = ["fulcio", "rekor", "identity_token"])]
    keyless: bool,
    /// The certificate authority
    #[arg(long, value_name = "URL", requires = "keyless")]
    fulcio: Option<String>,
    /// The transparency log
    #[arg(long, value_name = "URL", requires = "keyless")]
    rekor: Option<String>,
    /// A timestamp authority
    #[arg(long, value_name = "URL", requires = "keyless")]
    tsa: Option<String>,
    /// A file with the OIDC token that proves the identity
    #[arg(long, value_name = "FILE", requires = "keyless")]
    identity_token: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("evidence").required(true).args(["signature", "bundle"]))]
pub(super) struct VerifyArgs {
    /// The module
    file: PathBuf,
    /// A file with its signature
    #[arg(long)]
    signature: Option<PathBuf>,
    /// A file with its sigstore bundle
    #[arg(long)]
    bundle: Option<PathBuf>,
    /// The trust root that says who may publish; whoever gives it trusts it
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// The publisher's name in it
    #[arg(long, default_value = LOCAL_PUBLISHER)]
    publisher: PublisherName,
}

pub(super) fn sign(args: &SignArgs) -> Result<Shown> {
    let bytes = read(&args.file)?;
    let mut path = args.file.clone().into_os_string();
    let made = match (&args.fulcio, &args.rekor, &args.identity_token) {
        (Some(fulcio), Some(rekor), Some(token)) => {
            path.push(".sigstore.json");
            let token = std::fs::read_to_string(token)
                .with_context(|| format!("cannot read {}", token.display()))?;
            keyless::sign(&bytes, fulcio, rekor, args.tsa.as_deref(), &token)?
        }
        _ => {
            path.push(".sig");
            let key = publisher_key(args.key.as_deref(), &args.data, &args.passphrase)?;
            key.sign_blob(&bytes)?.into_bytes()
        }
    };
    let path = PathBuf::from(path);
    std::fs::write(&path, &made).with_context(|| format!("cannot write {}", path.display()))?;
    let text = String::from_utf8_lossy(&made);
    let human = format!("wrote {}", path.display());
    Ok(Shown::new(json!({ "file": path, "signature": text }), human))
}

pub(super) fn publisher_key(
    key: Option<&Path>,
    data: &DataDir,
    passphrase: &PassphraseSource,
) -> Result<PrivateKey> {
    let default = data.data.join("keys/publisher.pem");
    let path = key.unwrap_or(&default);
    let file = KeyFile::read(path).context("cannot sign; give --key, or --data of the service")?;
    Ok(file.open(|| passphrase.get(path))?)
}

/// The evidence in a file of `module sign` or cosign.
pub(super) fn signature(publisher: PublisherName, path: &Path) -> Result<ModuleEvidence> {
    let signature = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .trim()
        .to_owned();
    Ok(ModuleEvidence::Key { publisher, signature })
}

/// The evidence in a file of a sigstore client.
pub(super) fn bundle(publisher: PublisherName, path: &Path) -> Result<ModuleEvidence> {
    let about = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(about)?.len();
    if size > BUNDLE_BYTES_MAX {
        let detail = format!("{}: {size} bytes, at most {BUNDLE_BYTES_MAX}", path.display());
        return Err(Refusal::new(Reason::TooLarge, detail).into());
    }
    let bundle = InlineBytes(std::fs::read(path).with_context(about)?);
    Ok(ModuleEvidence::Bundle { publisher, bundle })
}

pub(super) fn verify(args: &VerifyArgs) -> Result<Shown> {
    let usage = |error: anyhow::Error| Exit { code: USAGE, message: format!("{error:#}") };
    let (bytes, evidence, root) = given(args).map_err(usage)?;
    let digest = Digest::of(&bytes);
    judge(&bytes, &digest, &evidence, &root)?;
    let human = format!(
        "good: {} is module {digest}, published by `{}`",
        args.file.display(),
        args.publisher
    );
    Ok(Shown::new(json!({ "digest": digest, "publisher": args.publisher }), human))
}

fn given(args: &VerifyArgs) -> Result<(Vec<u8>, ModuleEvidence, TrustRoot)> {
    let bytes = read(&args.file)?;
    let evidence = match (&args.bundle, &args.signature) {
        (Some(path), _) => bundle(args.publisher.clone(), path)?,
        (None, Some(path)) => signature(args.publisher.clone(), path)?,
        (None, None) => anyhow::bail!("give --signature or --bundle"),
    };
    let root = std::fs::read(&args.root)
        .with_context(|| format!("cannot read {}", args.root.display()))?;
    let root =
        verify_first_root(&root).with_context(|| args.root.display().to_string())?.into_payload();
    Ok((bytes, evidence, root))
}

/// What the trust root has against it, then whose it is.
fn judge(
    bytes: &[u8],
    digest: &Digest,
    evidence: &ModuleEvidence,
    root: &TrustRoot,
) -> Result<(), Refusal> {
    check_denied(digest, root)?;
    JUDGE.judge(bytes, evidence, root, clock::now_ms())?;
    let Some(manifest) = gnomon_host::manifest(bytes) else {
        let detail = "no readable `gnomon.manifest` section";
        return Err(Refusal::new(Reason::ModuleManifestMismatch, detail));
    };
    Ok(check_release(&manifest.name, manifest.release_counter, root)?)
}
