//! The arguments of the edits of a draft.

use anyhow::{Context as _, Result};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use gnomon_cloud_core::roots::{Edit, RoleName};
use gnomon_schemas::ids::{Digest, FunctionName, ModuleName, PublisherName, SigstoreRootName};
use gnomon_schemas::limits::TRUST_ROOT_BYTES_MAX;
use gnomon_schemas::trust::{CertificateIdentity, Proof, Publisher};
use std::path::PathBuf;

use crate::cli::key::read_public;
use crate::clock;

/// A role, as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum RoleArg {
    Root,
    Director,
    Approver,
}

impl From<RoleArg> for RoleName {
    fn from(role: RoleArg) -> RoleName {
        match role {
            RoleArg::Root => RoleName::Root,
            RoleArg::Director => RoleName::Director,
            RoleArg::Approver => RoleName::Approver,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Added {
    /// One more key that signs documents
    Director {
        /// Its public key
        key: PathBuf,
    },
    /// One more key that approves
    Approver {
        /// Its public key
        key: PathBuf,
    },
    /// One more root key
    Root {
        /// Its public key
        key: PathBuf,
    },
    /// A publisher, or another proof of one
    Publisher(Box<PublisherArgs>),
    /// A pinned sigstore trusted root, or a newer one in its place
    SigstoreRoot {
        /// Its name
        name: SigstoreRootName,
        /// The trusted_root.json
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("proof").required(true)
    .args(["key", "certificate_identity_uri", "certificate_identity_email"]))]
pub(in crate::cli) struct PublisherArgs {
    /// Its name
    #[arg(long)]
    name: PublisherName,
    /// Its public key
    #[arg(long, value_name = "PUB")]
    key: Option<PathBuf>,
    /// The URI that its certificates name, to the letter
    #[arg(long, value_name = "URI", requires_all = ["certificate_oidc_issuer", "sigstore_root"])]
    certificate_identity_uri: Option<String>,
    /// The e-mail address that its certificates name, to the letter
    #[arg(long, value_name = "ADDRESS",
        requires_all = ["certificate_oidc_issuer", "sigstore_root"])]
    certificate_identity_email: Option<String>,
    /// Who vouched for the identity, to the letter
    #[arg(long, value_name = "URL", conflicts_with = "key")]
    certificate_oidc_issuer: Option<String>,
    /// The pinned sigstore root that judges its bundles
    #[arg(long, value_name = "NAME")]
    sigstore_root: Option<SigstoreRootName>,
    /// A profile that it may publish for, by name; all unless given
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    /// A function that it may publish for; all unless given
    #[arg(long = "function", value_name = "NAME")]
    functions: Vec<FunctionName>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Removed {
    /// A key less that signs documents
    Director {
        /// The beginning of its id
        key: String,
    },
    /// A key less that approves
    Approver {
        /// The beginning of its id
        key: String,
    },
    /// A root key less
    Root {
        /// The beginning of its id
        key: String,
    },
    /// A publisher less
    Publisher {
        /// Its name
        name: PublisherName,
    },
    /// A pinned sigstore root less
    SigstoreRoot {
        /// Its name
        name: SigstoreRootName,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Revoked {
    /// A stolen director's key: it goes, and the epoch rises
    Director {
        /// The beginning of its id
        key: String,
    },
    /// A publisher: its modules are taken no more
    Publisher {
        /// Its name
        name: PublisherName,
    },
    /// A module: it must not run
    Module {
        /// Its digest
        digest: Digest,
    },
    /// All releases of a module up to this one
    Release {
        /// The module's name
        name: ModuleName,
        /// The release counter of the last one that must not run
        counter: u64,
    },
    /// All approvals that were given before
    ApprovalsBefore {
        /// `now`, a day such as 2026-01-31 (UTC), or Unix time in milliseconds
        #[arg(value_parser = moment)]
        at: u64,
    },
}

impl Added {
    pub(super) fn edit(self) -> Result<Edit> {
        let key = |role, path: PathBuf| Ok(Edit::AddKey(role, read_public(&path)?));
        match self {
            Added::Director { key: path } => key(RoleName::Director, path),
            Added::Approver { key: path } => key(RoleName::Approver, path),
            Added::Root { key: path } => key(RoleName::Root, path),
            Added::Publisher(args) => args.edit(),
            Added::SigstoreRoot { name, file } => {
                let about = || format!("cannot read {}", file.display());
                let size = std::fs::metadata(&file).with_context(about)?.len();
                anyhow::ensure!(
                    size <= TRUST_ROOT_BYTES_MAX as u64,
                    "{} is {size} bytes and would not fit a trust root of {TRUST_ROOT_BYTES_MAX}",
                    file.display()
                );
                let text = std::fs::read_to_string(&file).with_context(about)?;
                // Its form is judged where bundles are; that it is JSON can be told here.
                serde_json::from_str::<serde_json::Value>(&text).with_context(about)?;
                Ok(Edit::AddSigstoreRoot(name, text))
            }
        }
    }
}

impl PublisherArgs {
    fn edit(self) -> Result<Edit> {
        let uri = self.certificate_identity_uri.map(|value| CertificateIdentity::Uri { value });
        let email =
            self.certificate_identity_email.map(|value| CertificateIdentity::Email { value });
        let proof = match (&self.key, uri.or(email)) {
            (Some(path), _) => {
                Proof::Key { key: read_public(path)?, sigstore_root: self.sigstore_root }
            }
            (None, identity) => Proof::Certificate {
                identity: identity.context("give --key or --certificate-identity-uri")?,
                issuer: self.certificate_oidc_issuer.context("give --certificate-oidc-issuer")?,
                sigstore_root: self.sigstore_root.context("give --sigstore-root")?,
            },
        };
        let (profiles, functions) =
            (self.profiles.into_iter().collect(), self.functions.into_iter().collect());
        let publisher = Publisher { proof, profiles, functions };
        Ok(Edit::AddPublisher(self.name, Box::new(publisher)))
    }
}

impl Removed {
    pub(super) fn edit(self) -> Edit {
        match self {
            Removed::Director { key } => Edit::RemoveKey(RoleName::Director, key),
            Removed::Approver { key } => Edit::RemoveKey(RoleName::Approver, key),
            Removed::Root { key } => Edit::RemoveKey(RoleName::Root, key),
            Removed::Publisher { name } => Edit::RemovePublisher(name),
            Removed::SigstoreRoot { name } => Edit::RemoveSigstoreRoot(name),
        }
    }
}

impl Revoked {
    pub(super) fn edit(self) -> Edit {
        match self {
            Revoked::Director { key } => Edit::RevokeDirector(key),
            Revoked::Publisher { name } => Edit::RemovePublisher(name),
            Revoked::Module { digest } => Edit::DenyModule(digest),
            Revoked::Release { name, counter } => Edit::DenyReleases(name, counter),
            Revoked::ApprovalsBefore { at } => Edit::DenyApprovalsBefore(at),
        }
    }
}

/// 2020-01-01: what lies before it was meant in seconds.
const EARLIEST_MS: u64 = 1_577_836_800_000;

/// A moment that is past: the line can be moved on later, never back.
fn moment(text: &str) -> Result<u64, String> {
    let at_ms = any_moment(text)?;
    if at_ms > clock::now_ms() {
        return Err("it lies in the future, and the line can never be moved back: until then \
                    nobody could approve anything"
            .to_owned());
    }
    if at_ms < EARLIEST_MS {
        return Err("it lies before 2020: give milliseconds, a day, or `now`".to_owned());
    }
    Ok(at_ms)
}

fn any_moment(text: &str) -> Result<u64, String> {
    let wrong = || "expected `now`, a day such as 2026-01-31, or milliseconds".to_owned();
    if text == "now" {
        return Ok(clock::now_ms());
    }
    if let Ok(at_ms) = text.parse() {
        return Ok(at_ms);
    }
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return Err(wrong()) };
    let month = month.parse::<u8>().ok().and_then(|number| time::Month::try_from(number).ok());
    let date = year.parse().ok().zip(month).zip(day.parse().ok());
    let ((year, month), day) = date.ok_or_else(wrong)?;
    let date = time::Date::from_calendar_date(year, month, day).map_err(|_| wrong())?;
    let seconds = date.midnight().assume_utc().unix_timestamp();
    u64::try_from(seconds).map(|seconds| seconds * 1000).map_err(|_| wrong())
}
