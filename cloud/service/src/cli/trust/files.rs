//! The folder in which trust roots are kept and drafted: `trust-root.N.json` are signed,
//! `trust-root.N.draft.json` is what the next one would be, with the signatures that it
//! has so far. A draft is an envelope, so it can go from one holder's machine to another's.

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gnomon_cloud_core::roots::{self, Edit};
use gnomon_schemas::envelope::{Envelope, Payload as _};
use gnomon_schemas::reason::Refusal;
use gnomon_schemas::strict;
use gnomon_schemas::succession::{RootError, verify_first_root, verify_next_root};
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::VerifyError;
use std::fs;
use std::path::{Path, PathBuf};

use crate::keys::{self, PrivateKey, write_file};

/// A folder of trust roots.
pub(super) struct Folder(pub(super) PathBuf);

/// What would be the next root, with its signatures so far.
pub(super) struct Draft {
    pub(super) envelope: Envelope,
    pub(super) root: TrustRoot,
}

/// Where a signed draft stands.
pub(super) enum Signed {
    /// It is a trust root now, in this file.
    Done(PathBuf),
    /// More keys must sign, says this.
    Missing(String),
}

impl Folder {
    pub(super) fn path(&self, version: u64) -> PathBuf {
        self.0.join(format!("trust-root.{version}.json"))
    }

    pub(super) fn draft_path(&self, version: u64) -> PathBuf {
        self.0.join(format!("trust-root.{version}.draft.json"))
    }

    /// The newest signed root, if there is one.
    pub(super) fn newest(&self) -> Result<Option<TrustRoot>> {
        let mut newest: Option<u64> = None;
        let entries = fs::read_dir(&self.0)
            .with_context(|| format!("cannot read the folder {}", self.0.display()))?;
        for entry in entries {
            let name = entry?.file_name();
            let version = name.to_str().and_then(|name| {
                let number = name.strip_prefix("trust-root.")?.strip_suffix(".json")?;
                number.parse::<u64>().ok().filter(|version| version.to_string() == number)
            });
            newest = newest.max(version);
        }
        let Some(version) = newest else { return Ok(None) };
        let path = self.path(version);
        let root = verify_first_root(&read(&path)?)
            .map_err(|error| Refusal::from(error).at(path.display()))?
            .into_payload();
        ensure!(root.version == version, "{} is version {}", path.display(), root.version);
        Ok(Some(root))
    }

    /// The draft of what follows `newest`, if it was begun.
    pub(super) fn draft(&self, newest: Option<&TrustRoot>) -> Result<Option<Draft>> {
        let version = newest.map_or(1, |newest| newest.version.saturating_add(1));
        let path = self.draft_path(version);
        if !path.exists() {
            return Ok(None);
        }
        let draft = Draft::read(&path)?;
        ensure!(
            draft.root.version == version,
            "{} is version {}",
            path.display(),
            draft.root.version
        );
        Ok(Some(draft))
    }

    /// Edits the draft of the next root, begun from the newest if there is none; says
    /// what that did, and what still keeps it from being signed.
    pub(super) fn edit(&self, edit: Edit) -> Result<(TrustRoot, String)> {
        let newest = self.newest()?.with_context(|| {
            format!("no trust-root.N.json in {}; give --dir, or see `init`", self.0.display())
        })?;
        let begun = self.draft(Some(&newest))?;
        let had_signatures = begun.as_ref().is_some_and(|b| !b.envelope.signatures.is_empty());
        let mut root = begun.map_or_else(|| roots::next(&newest), |begun| begun.root);
        let mut told = roots::apply(&mut root, &newest, edit).map_err(Refusal::from)?;
        self.write_draft(&root)?;
        let path = self.draft_path(root.version);
        told.push_str(&format!("\nwrote {}", path.display()));
        if had_signatures {
            told.push_str("; the signatures that it had are void, have it signed again");
        }
        if let Err(error) = root.check() {
            told.push_str(&format!("\nnot ready to be signed: {error}"));
        }
        Ok((root, told))
    }

    pub(super) fn write_draft(&self, root: &TrustRoot) -> Result<()> {
        let payload = serde_json::to_vec(root)?;
        let envelope = Envelope::seal::<TrustRoot>(&payload, &[]);
        self.write(&self.draft_path(root.version), &envelope)
    }

    fn write(&self, path: &Path, envelope: &Envelope) -> Result<()> {
        let bytes = serde_json::to_vec(envelope)?;
        ensure!(
            bytes.len() <= TrustRoot::ENVELOPE_BYTES_MAX,
            "{} would be {} bytes, at most {} are taken",
            path.display(),
            bytes.len(),
            TrustRoot::ENVELOPE_BYTES_MAX
        );
        Ok(write_file(path, &bytes, 0o644)?)
    }

    /// Adds signatures to the draft; with enough of them it becomes the next root.
    pub(super) fn sign(
        &self,
        newest: Option<&TrustRoot>,
        mut draft: Draft,
        with: &[PrivateKey],
    ) -> Result<Signed> {
        draft.root.check().map_err(Refusal::from)?;
        for key in with {
            let public = key.public()?;
            let is_root_key = |root: &TrustRoot| root.roles.root.keys.contains(&public);
            if !is_root_key(&draft.root) && !newest.is_some_and(is_root_key) {
                bail!(
                    "{} is no root key, neither of the trust root before nor of this one: \
                     nothing is signed",
                    public.id().short()
                );
            }
        }
        with.iter().try_for_each(|key| keys::add_signature(&mut draft.envelope, key))?;
        let version = draft.root.version;
        self.write(&self.draft_path(version), &draft.envelope)?;
        let bytes = serde_json::to_vec(&draft.envelope)?;
        let verified = match newest {
            None => verify_first_root(&bytes),
            Some(newest) => verify_next_root(&bytes, newest),
        };
        match verified {
            Ok(_) => {
                let path = self.path(version);
                self.write(&path, &draft.envelope)?;
                fs::remove_file(self.draft_path(version)).context("cannot remove the draft")?;
                Ok(Signed::Done(path))
            }
            Err(RootError::Verify {
                keys,
                error: VerifyError::Threshold { valid, threshold, .. },
            }) => {
                let whose =
                    if keys == "the previous" { "the trust root before" } else { "its own" };
                Ok(Signed::Missing(format!(
                    "{valid} of the {threshold} root keys that {whose} wants have signed: have \
                     {} signed by more",
                    self.draft_path(version).display()
                )))
            }
            Err(error) => Err(Refusal::from(error).into()),
        }
    }
}

impl Draft {
    /// Reads an envelope whose signatures nobody has verified yet.
    pub(super) fn read(path: &Path) -> Result<Draft> {
        let at = |refusal: Refusal| refusal.at(path.display());
        let envelope: Envelope = strict::parse(&read(path)?, TrustRoot::ENVELOPE_BYTES_MAX)
            .map_err(|error| at(error.into()))?;
        ensure!(
            envelope.payload_type == TrustRoot::PAYLOAD_TYPE,
            "{} is no trust root but `{}`",
            path.display(),
            envelope.payload_type
        );
        let payload = STANDARD
            .decode(&envelope.payload)
            .with_context(|| format!("{}: the payload is not base64", path.display()))?;
        let root = strict::parse(&payload, TrustRoot::ENVELOPE_BYTES_MAX)
            .map_err(|error| at(error.into()))?;
        Ok(Draft { envelope, root })
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
