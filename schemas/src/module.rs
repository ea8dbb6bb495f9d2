//! Step 12 of verification: from module bytes to [`VerifiedModule`].
//!
//! A module is taken when its digest and size are those that the director
//! signed, the trust root does not deny it, and a publisher that may publish for
//! the function signed the very bytes. What the bytes do is not known here.

use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{InlineBytes, ModuleRef};
use crate::ids::{Digest, FunctionName, ModuleName, PublisherName};
use crate::limits::MODULE_BYTES_MAX;
use crate::profile::Profile;
use crate::reason::{Coded, Reason};
use crate::trust::{Proof, TrustRoot};

/// The name of the custom section that carries a module's [`Manifest`].
pub const MANIFEST_SECTION: &str = "gnomon.manifest";

/// What a module says of itself, inside the bytes that its publisher signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name, the same over its releases.
    pub name: ModuleName,
    /// Its release, for people.
    pub version: String,
    /// Its place in the line of its name's releases.
    pub release_counter: u64,
    /// The function that it was written for.
    pub function: FunctionName,
}

/// What proves who published a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModuleEvidence {
    /// A detached signature as `cosign sign-blob --key` makes it: base64 of an
    /// ECDSA (ASN.1) or Ed25519 signature over the module's bytes.
    Key {
        /// The publisher whose key made it.
        publisher: PublisherName,
        /// The signature in base64.
        signature: String,
    },
    /// A sigstore bundle v0.3: certificate or key, log entry, signed time, signature.
    Bundle {
        /// The publisher whose identity or key made it.
        publisher: PublisherName,
        /// The bytes of the bundle, which are JSON.
        bundle: InlineBytes,
    },
}

/// Why a module was refused before anything looked inside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum ModuleError {
    #[error("module {0} is {1} bytes where at most {MODULE_BYTES_MAX} are taken")]
    TooLarge(String, u64),
    #[error(
        "module {expected} has {size} bytes with digest {found}, {size_expected} bytes were signed"
    )]
    Digest { expected: String, found: String, size: usize, size_expected: u64 },
    #[error("the trust root denies module {0}")]
    Denied(String),
    #[error("release counter {counter} of `{name}` is below the lowest allowed, {min}")]
    ReleaseCounter { name: ModuleName, counter: u64, min: u64 },
    #[error("the trust root has no publisher `{0}`")]
    PublisherUnknown(PublisherName),
    #[error(
        "publisher `{publisher}` may not publish for function `{function}` of profile `{profile}`"
    )]
    PublisherNotAllowed { publisher: PublisherName, function: FunctionName, profile: String },
    #[error("no valid signature of publisher `{0}` over the module's bytes")]
    Signature(PublisherName),
    #[error("the trust root takes {wants} from publisher `{publisher}`, this is {found}")]
    Evidence { publisher: PublisherName, wants: &'static str, found: &'static str },
    #[error("bundle of publisher `{publisher}`: {detail}")]
    Bundle { publisher: PublisherName, reason: Reason, detail: String },
}

impl Coded for ModuleError {
    fn reason(&self) -> Reason {
        match self {
            ModuleError::TooLarge(..) => Reason::TooLarge,
            ModuleError::Digest { .. } => Reason::ModuleDigestMismatch,
            ModuleError::Denied(_) => Reason::ModuleDenied,
            ModuleError::ReleaseCounter { .. } => Reason::ReleaseCounterTooLow,
            ModuleError::PublisherUnknown(_) => Reason::PublisherUnknown,
            ModuleError::PublisherNotAllowed { .. } => Reason::PublisherNotAllowed,
            ModuleError::Signature(_) => Reason::ModuleSignatureInvalid,
            ModuleError::Evidence { .. } => Reason::EvidenceMismatch,
            ModuleError::Bundle { reason, .. } => *reason,
        }
    }
}

/// Module bytes whose origin was verified. The one constructor is [`verify_module`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedModule {
    bytes: Vec<u8>,
    digest: Digest,
}

impl VerifiedModule {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Judges one kind of evidence over a module's bytes. Key signatures are judged
/// here; another kind, such as a sigstore bundle, is another implementation.
pub trait JudgeEvidence {
    /// Whether `evidence` proves that its publisher published `bytes`. `lowest_ms` is
    /// the lowest time that it can be (Unix time, ms): the only clock that counts.
    ///
    /// # Errors
    /// [`ModuleError`]: the publisher is unknown, or the evidence proves nothing.
    fn judge(
        &self,
        bytes: &[u8],
        evidence: &ModuleEvidence,
        root: &TrustRoot,
        lowest_ms: u64,
    ) -> Result<(), ModuleError>;
}

/// Judges detached key signatures with `ring`.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeySignatures;

impl JudgeEvidence for KeySignatures {
    fn judge(
        &self,
        bytes: &[u8],
        evidence: &ModuleEvidence,
        root: &TrustRoot,
        _: u64,
    ) -> Result<(), ModuleError> {
        let publisher = evidence.publisher();
        let known = root
            .publishers
            .get(publisher)
            .ok_or_else(|| ModuleError::PublisherUnknown(publisher.clone()))?;
        let mismatch = |wants, found| {
            let publisher = publisher.clone();
            Err(ModuleError::Evidence { publisher, wants, found })
        };
        match (evidence, &known.proof) {
            (ModuleEvidence::Key { signature, .. }, Proof::Key { key, .. }) => {
                match STANDARD.decode(signature.trim_end()) {
                    Ok(signature) if key.verifies(bytes, &signature) => Ok(()),
                    _ => Err(ModuleError::Signature(publisher.clone())),
                }
            }
            (ModuleEvidence::Key { .. }, Proof::Certificate { .. }) => {
                mismatch("a bundle with a certificate", "a detached signature")
            }
            (ModuleEvidence::Bundle { .. }, _) => {
                mismatch("what this program judges, a detached signature", "a bundle")
            }
        }
    }
}

impl ModuleEvidence {
    /// The publisher that it names.
    pub fn publisher(&self) -> &PublisherName {
        match self {
            ModuleEvidence::Key { publisher, .. } | ModuleEvidence::Bundle { publisher, .. } => {
                publisher
            }
        }
    }
}

/// Verifies a module for one function: size and digest, the trust root's denials
/// and counters, who may publish, the signature. One buffer throughout.
///
/// # Errors
/// The first check that fails.
pub fn verify_module(
    bytes: Vec<u8>,
    digest: &Digest,
    listed: &ModuleRef,
    (profile, function): (&Profile, &FunctionName),
    (root, judge, lowest_ms): (&TrustRoot, &dyn JudgeEvidence, u64),
) -> Result<VerifiedModule, ModuleError> {
    let short = || digest.short().to_owned();
    if bytes.len() > MODULE_BYTES_MAX || listed.size_bytes > MODULE_BYTES_MAX as u64 {
        return Err(ModuleError::TooLarge(short(), listed.size_bytes.max(bytes.len() as u64)));
    }
    let found = Digest::of(&bytes);
    if found != *digest || bytes.len() as u64 != listed.size_bytes {
        return Err(ModuleError::Digest {
            expected: short(),
            found: found.short().to_owned(),
            size: bytes.len(),
            size_expected: listed.size_bytes,
        });
    }
    check_denied(digest, root)?;
    check_release(&listed.name, listed.release_counter, root)?;
    check_publisher(listed.evidence.publisher(), profile, function, root)?;
    judge.judge(&bytes, &listed.evidence, root, lowest_ms)?;
    Ok(VerifiedModule { bytes, digest: found })
}

/// Whether the trust root denies this digest.
///
/// # Errors
/// [`ModuleError::Denied`].
pub fn check_denied(digest: &Digest, root: &TrustRoot) -> Result<(), ModuleError> {
    if root.denied.contains(digest) {
        return Err(ModuleError::Denied(digest.short().to_owned()));
    }
    Ok(())
}

/// Whether the trust root finds this release of a module too old.
///
/// # Errors
/// [`ModuleError::ReleaseCounter`].
pub fn check_release(name: &ModuleName, counter: u64, root: &TrustRoot) -> Result<(), ModuleError> {
    match root.release_counter_min.get(name) {
        Some(&min) if counter < min => {
            Err(ModuleError::ReleaseCounter { name: name.clone(), counter, min })
        }
        _ => Ok(()),
    }
}

fn check_publisher(
    publisher: &PublisherName,
    profile: &Profile,
    function: &FunctionName,
    root: &TrustRoot,
) -> Result<(), ModuleError> {
    let policy = root
        .publishers
        .get(publisher)
        .ok_or_else(|| ModuleError::PublisherUnknown(publisher.clone()))?;
    let firmware_allows = profile
        .functions
        .get(function)
        .is_some_and(|f| f.publishers.is_empty() || f.publishers.contains(publisher));
    if !firmware_allows || !policy.may_publish(profile.name.as_str(), function) {
        return Err(ModuleError::PublisherNotAllowed {
            publisher: publisher.clone(),
            function: function.clone(),
            profile: profile.name.to_string(),
        });
    }
    Ok(())
}
