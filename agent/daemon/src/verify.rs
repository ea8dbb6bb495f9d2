//! The pipeline of verification as two commands, for suites that know nothing of an
//! agent's inside: the same functions that the agent calls, on files.
//!
//! Exit 0: verified. Exit 1: refused, with one reason, as JSON on standard output and
//! for people on standard error. Exit 2: a file or an argument that cannot be used.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use gnomon_agent_core::Identity;
use gnomon_agent_core::accept::{Floor, accept, accept_without_profile};
use gnomon_schemas::document::Document;
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::limits::{
    BUNDLE_BYTES_MAX, DOCUMENT_BYTES_MAX, MODULE_BYTES_MAX, PROFILE_BYTES_MAX, TRUST_ROOT_BYTES_MAX,
};
use gnomon_schemas::module::verify_module;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::succession::{verify_first_root, verify_next_root};
use gnomon_schemas::trust::{CertificateIdentity, TrustRoot};
use gnomon_schemas::verify::{Verified, verify};
use gnomon_schemas::{DeviceId, Digest, Reason, Refusal, Version};
use gnomon_sigstore::{Artifact, BundlePolicy, Judge, verify_bundle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::clock::system_ms;
use crate::files;

/// The largest `trusted_root.json` that is read.
const SIGSTORE_ROOT_BYTES_MAX: usize = 1024 * 1024;
/// The largest artifact that is read whole; a larger one is named by its digest.
const ARTIFACT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// `gnomon-agent verify-bundle`.
#[derive(Debug, Args)]
pub struct VerifyBundle {
    /// The sigstore bundle, v0.3.
    #[arg(long)]
    bundle: PathBuf,
    /// Whom the certificate must name, to the letter: a URI, or an e-mail address.
    #[arg(long, required_unless_present = "key", conflicts_with = "key")]
    certificate_identity: Option<String>,
    /// Who must have vouched for the identity, to the letter.
    #[arg(long, required_unless_present = "key", conflicts_with = "key")]
    certificate_oidc_issuer: Option<String>,
    /// A public key in PEM form, in place of a certificate.
    #[arg(long)]
    key: Option<PathBuf>,
    /// The pinned `trusted_root.json`; there is no built-in one.
    #[arg(long)]
    trusted_root: Option<PathBuf>,
    /// The lowest time that it can be (Unix time, ms), in place of the system's clock.
    #[arg(long)]
    lowest_time_ms: Option<u64>,
    /// The artifact's file, or its digest as sha256:HEX.
    artifact: String,
}

/// `gnomon-agent verify-document`.
#[derive(Debug, Args)]
pub struct VerifyDocument {
    /// A trust root: the first one, then, given again, each that follows.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    /// The document's envelope.
    #[arg(long)]
    document: PathBuf,
    /// The device that it is given to.
    #[arg(long)]
    device: DeviceId,
    /// The highest version that the device has accepted, in the trust root's epoch.
    #[arg(long, value_parser = version)]
    floor: Option<Version>,
    /// The firmware's profile; without it, what needs it is not checked, and told.
    #[arg(long)]
    profile: Option<PathBuf>,
    /// A module that is not inline; may be given again. Wants --profile.
    #[arg(long = "module", requires = "profile")]
    modules: Vec<PathBuf>,
    /// The lowest time that it can be (Unix time, ms), in place of the system's clock.
    #[arg(long)]
    lowest_time_ms: Option<u64>,
}

fn version(text: &str) -> Result<Version, String> {
    let number: u64 = text.parse().map_err(|_| format!("`{text}` is not a version"))?;
    Version::try_from(number).map_err(|error| error.to_string())
}

/// What was found: what is verified, or why not.
pub type Verdict = Result<Value, Refusal>;

impl VerifyBundle {
    /// Judges the bundle.
    ///
    /// # Errors
    /// A file or argument that cannot be used; a refusal is a verdict.
    pub fn run(&self) -> Result<Verdict> {
        let bundle = read(&self.bundle, BUNDLE_BYTES_MAX)?;
        let trusted_root = self.trusted_root.as_ref().context(
            "give --trusted-root FILE: which authorities and logs count is pinned, not built in",
        )?;
        let trusted_root = String::from_utf8(read(trusted_root, SIGSTORE_ROOT_BYTES_MAX)?)
            .context("--trusted-root is not text")?;
        let key = self.key.as_ref().map(|path| public_key(path)).transpose()?;
        let identity = self.certificate_identity.clone().map(identity);
        let policy = match (&key, &identity, &self.certificate_oidc_issuer) {
            (Some(key), ..) => BundlePolicy::Key(key),
            (None, Some(identity), Some(issuer)) => BundlePolicy::Certificate { identity, issuer },
            _ => bail!("give --certificate-identity and --certificate-oidc-issuer, or --key"),
        };
        let lowest_ms = self.lowest_time_ms.unwrap_or_else(system_ms);
        let digest: Option<Digest> = match self.artifact.strip_prefix("sha256:") {
            Some(_) => Some(self.artifact.parse()?),
            None => None,
        };
        let bytes = match digest {
            Some(_) => vec![],
            None => read(Path::new(&self.artifact), ARTIFACT_BYTES_MAX)?,
        };
        let artifact = digest.as_ref().map_or(Artifact::Bytes(&bytes), Artifact::Digest);
        let verdict = verify_bundle(&bundle, artifact, policy, &trusted_root, lowest_ms);
        let digest = digest.clone().unwrap_or_else(|| Digest::of(&bytes));
        Ok(verdict.map(|()| json!({ "verified": digest })).map_err(Refusal::from))
    }
}

impl VerifyDocument {
    /// Judges the document as the device would that has accepted `floor`.
    ///
    /// # Errors
    /// A file or argument that cannot be used; a refusal is a verdict.
    pub fn run(&self) -> Result<Verdict> {
        let roots: Vec<Vec<u8>> = self
            .roots
            .iter()
            .map(|path| read(path, TRUST_ROOT_BYTES_MAX))
            .collect::<Result<_>>()?;
        let document = read(&self.document, DOCUMENT_BYTES_MAX)?;
        let profile = self.profile.as_ref().map(|path| profile(path)).transpose()?;
        let mut modules = BTreeMap::new();
        for path in &self.modules {
            let bytes = read(path, MODULE_BYTES_MAX)?;
            modules.insert(Digest::of(&bytes), bytes);
        }
        let root = match chain(&roots) {
            Ok(root) => root,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(self.judge(&document, &root, profile.as_ref(), modules))
    }

    fn judge(
        &self,
        bytes: &[u8],
        root: &TrustRoot,
        profile: Option<&(Profile, Digest)>,
        mut modules: BTreeMap<Digest, Vec<u8>>,
    ) -> Verdict {
        let document = verify::<Document>(bytes, &root.roles.director)?;
        let lowest_ms = self.lowest_time_ms.unwrap_or_else(system_ms);
        let floor = self.floor.map(|version| Floor {
            epoch: root.epoch,
            version,
            digest: document.digest().clone(),
            trust_version: root.version,
        });
        if self.floor == Some(document.payload().version) && document.payload().epoch == root.epoch
        {
            let detail = format!("version {} is not above itself", document.payload().version);
            return Err(Refusal::new(Reason::Rollback, detail));
        }
        let mut unchecked = vec![];
        if let Some((profile, profile_digest)) = profile {
            let identity = Identity {
                fleet: root.fleet.clone(),
                device: self.device.clone(),
                profile: profile.clone(),
                profile_digest: profile_digest.clone(),
            };
            accept(&document, &identity, root, floor.as_ref(), lowest_ms)?;
            unchecked = judge_modules(&document, profile, root, lowest_ms, &mut modules)?;
        } else {
            let addressee = (&root.fleet, &self.device);
            accept_without_profile(&document, addressee, root, floor.as_ref(), lowest_ms)?;
            unchecked.extend(["profile".to_owned(), "modules".to_owned()]);
        }
        let payload = document.payload();
        Ok(json!({
            "verified": document.digest(), "device": payload.device, "epoch": payload.epoch,
            "version": payload.version, "not_checked": unchecked,
        }))
    }
}

/// Verifies every module whose bytes are at hand; tells which are not.
fn judge_modules(
    document: &Verified<Document>,
    profile: &Profile,
    root: &TrustRoot,
    lowest_ms: u64,
    modules: &mut BTreeMap<Digest, Vec<u8>>,
) -> Result<Vec<String>, Refusal> {
    let document = document.payload();
    let inline = document
        .modules
        .iter()
        .filter_map(|(digest, listed)| Some((digest.clone(), listed.inline.as_ref()?.0.clone())));
    modules.extend(inline);
    let mut unchecked = vec![];
    for (function, plan) in &document.functions {
        for slot in plan.slots() {
            let Some(listed) = document.modules.get(&slot.module) else { continue };
            let Some(bytes) = modules.get(&slot.module) else {
                unchecked.push(format!("module {}", slot.module));
                continue;
            };
            let trust = (root, &Judge as &dyn gnomon_schemas::module::JudgeEvidence, lowest_ms);
            verify_module(bytes.clone(), &slot.module, listed, (profile, function), trust)?;
        }
    }
    Ok(unchecked)
}

/// The newest root of a chain, each verified by the one before it.
fn chain(envelopes: &[Vec<u8>]) -> Result<TrustRoot, Refusal> {
    let (first, later) = envelopes
        .split_first()
        .ok_or_else(|| Refusal::new(Reason::TrustRootInvalid, "no trust root was given"))?;
    let mut root = verify_first_root(first)?.into_payload();
    for envelope in later {
        root = verify_next_root(envelope, &root)?.into_payload();
    }
    Ok(root)
}

/// An address has no scheme: what is not one is a URI.
fn identity(value: String) -> CertificateIdentity {
    if value.contains('@') && !value.contains("://") {
        CertificateIdentity::Email { value }
    } else {
        CertificateIdentity::Uri { value }
    }
}

fn public_key(path: &Path) -> Result<PublicKey> {
    let text = String::from_utf8(read(path, 16 * 1024)?).context("--key is not text")?;
    Ok(PublicKey::from_pem(&text)?)
}

fn profile(path: &Path) -> Result<(Profile, Digest)> {
    Ok(Profile::parse(&read(path, PROFILE_BYTES_MAX)?)?)
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    files::read_capped(path, bytes_max).with_context(|| format!("cannot read {}", path.display()))
}
