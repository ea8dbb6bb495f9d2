//! The judge of all evidence for modules: detached signatures by `gnomon-schemas`,
//! bundles here, each only as the trust root takes it from that publisher.

use gnomon_schemas::ids::PublisherName;
use gnomon_schemas::module::{JudgeEvidence, KeySignatures, ModuleError, ModuleEvidence};
use gnomon_schemas::reason::{Coded, Reason};
use gnomon_schemas::trust::{Proof, TrustRoot};

use crate::verify::{Artifact, BundlePolicy, verify_bundle};

/// Judges detached signatures and sigstore bundles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Judge;

impl JudgeEvidence for Judge {
    fn judge(
        &self,
        bytes: &[u8],
        evidence: &ModuleEvidence,
        root: &TrustRoot,
        lowest_ms: u64,
    ) -> Result<(), ModuleError> {
        match evidence {
            ModuleEvidence::Key { .. } => KeySignatures.judge(bytes, evidence, root, lowest_ms),
            ModuleEvidence::Bundle { publisher, bundle } => {
                judge_bundle(bytes, publisher, &bundle.0, root, lowest_ms)
            }
        }
    }
}

fn judge_bundle(
    bytes: &[u8],
    publisher: &PublisherName,
    bundle: &[u8],
    root: &TrustRoot,
    lowest_ms: u64,
) -> Result<(), ModuleError> {
    let known = root
        .publishers
        .get(publisher)
        .ok_or_else(|| ModuleError::PublisherUnknown(publisher.clone()))?;
    let (policy, name) = match &known.proof {
        Proof::Certificate { identity, issuer, sigstore_root } => {
            (BundlePolicy::Certificate { identity, issuer }, sigstore_root)
        }
        Proof::Key { key, sigstore_root: Some(name) } => (BundlePolicy::Key(key), name),
        Proof::Key { sigstore_root: None, .. } => {
            let (wants, found) = ("a detached signature", "a bundle");
            return Err(ModuleError::Evidence { publisher: publisher.clone(), wants, found });
        }
    };
    let refused = |reason, detail: String| ModuleError::Bundle {
        publisher: publisher.clone(),
        reason,
        detail,
    };
    let pinned = root.sigstore_roots.get(name).ok_or_else(|| {
        refused(
            Reason::SigstoreRootInvalid,
            format!("the trust root pins no sigstore root `{name}`"),
        )
    })?;
    verify_bundle(bundle, Artifact::Bytes(bytes), policy, pinned, lowest_ms)
        .map_err(|error| refused(error.reason(), error.to_string()))
}
