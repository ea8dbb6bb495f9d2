//! The trust root: which keys may direct, approve and publish.
//!
//! The first one comes with the firmware. How one follows another is in
//! [`succession`](crate::succession); this file is the type, what makes it
//! consistent, and the questions that can be asked of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::envelope::Payload;
use crate::ids::{Digest, FleetId, FunctionName, ModuleName, PublisherName, SigstoreRootName};
use crate::keys::PublicKey;
use crate::limits::{SIGNATURES_MAX, TRUST_ROOT_BYTES_MAX};
use crate::reason::{Coded, Reason};

/// The signed list of keys and publishers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustRoot {
    /// Always `gnomon.trust-root.v1`.
    pub schema: TrustRootSchema,
    /// The fleet that it is for.
    pub fleet: FleetId,
    /// One higher with each root.
    #[schemars(range(min = 1))]
    #[serde(deserialize_with = "crate::strict::at_least_one")]
    pub version: u64,
    /// Raised, by one at a time, to recover from a version that was burnt by a
    /// stolen key: documents are ordered by (epoch, version).
    pub epoch: u64,
    /// When no new document may be accepted under it any more (Unix time, ms).
    pub expires_at_ms: u64,
    /// Who may sign what.
    pub roles: Roles,
    /// Who may publish modules, by name.
    pub publishers: BTreeMap<PublisherName, Publisher>,
    /// Pinned sigstore trusted roots, by name: each the text of a `trusted_root.json`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sigstore_roots: BTreeMap<SigstoreRootName, String>,
    /// Modules that must not run.
    #[serde(default)]
    pub denied: BTreeSet<Digest>,
    /// The lowest release counter still allowed, per module name; never lowered
    /// by a later root.
    #[serde(default)]
    pub release_counter_min: BTreeMap<ModuleName, u64>,
    /// Approvals given before this moment count no more (Unix time, ms).
    #[serde(default)]
    pub approved_after_ms: u64,
}

/// The schema name of a trust root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrustRootSchema {
    /// Version 1.
    #[serde(rename = "gnomon.trust-root.v1")]
    V1,
}

impl Payload for TrustRoot {
    const PAYLOAD_TYPE: &'static str = "application/vnd.gnomon.trust-root.v1+json";
    const ENVELOPE_BYTES_MAX: usize = TRUST_ROOT_BYTES_MAX;
}

/// The roles of a trust root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Signs trust roots.
    pub root: Role,
    /// Signs desired documents and acknowledgements.
    pub director: Role,
    /// Signs approvals: without one, no document brings code or loosens anything.
    pub approver: Role,
}

impl Roles {
    /// Every role with its name.
    pub fn all(&self) -> [(&'static str, &Role); 3] {
        [("root", &self.root), ("director", &self.director), ("approver", &self.approver)]
    }
}

/// Keys and how many distinct ones must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// The keys, each in PEM form.
    pub keys: Vec<PublicKey>,
    /// How many distinct keys must have signed; at least 1.
    #[schemars(range(min = 1, max = 16))]
    #[serde(deserialize_with = "crate::strict::at_least_one")]
    pub threshold: usize,
}

/// A publisher and what it may publish for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publisher {
    /// What proves that a module is its own.
    pub proof: Proof,
    /// Names of the profiles that it may publish for; empty for all.
    #[serde(default)]
    pub profiles: BTreeSet<String>,
    /// Names of the functions that it may publish for; empty for all.
    #[serde(default)]
    pub functions: BTreeSet<FunctionName>,
}

/// What proves that a publisher published a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Proof {
    /// A detached signature by this key over the module's bytes.
    Key {
        /// The key.
        key: PublicKey,
        /// With it, a sigstore bundle by this key is taken, too: its log entry or
        /// timestamp is judged by this pinned root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sigstore_root: Option<SigstoreRootName>,
    },
    /// A sigstore bundle whose certificate names exactly this identity and issuer.
    Certificate {
        /// Whom the certificate must name.
        identity: CertificateIdentity,
        /// Who must have vouched for the identity: the OIDC issuer, to the letter.
        issuer: String,
        /// The pinned root that judges certificate, log entry and signed time.
        sigstore_root: SigstoreRootName,
    },
}

impl Proof {
    /// The pinned sigstore root that it names.
    pub fn sigstore_root(&self) -> Option<&SigstoreRootName> {
        match self {
            Proof::Key { sigstore_root, .. } => sigstore_root.as_ref(),
            Proof::Certificate { sigstore_root, .. } => Some(sigstore_root),
        }
    }

    /// The key, where there is one.
    pub fn key(&self) -> Option<&PublicKey> {
        match self {
            Proof::Key { key, .. } => Some(key),
            Proof::Certificate { .. } => None,
        }
    }
}

/// The subject alternative name of a signing certificate, with its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CertificateIdentity {
    /// An e-mail address.
    Email {
        /// The address, to the letter.
        value: String,
    },
    /// A URI, such as that of a CI workflow.
    Uri {
        /// The URI, to the letter.
        value: String,
    },
}

/// A trust root that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the trust root {0}")]
pub struct TrustRootError(pub String);

impl Coded for TrustRootError {
    fn reason(&self) -> Reason {
        Reason::TrustRootInvalid
    }
}

impl TrustRoot {
    /// Whether it says one thing only: thresholds that can be met, no key in two
    /// roles or standing for a publisher beside one, and no name without its root.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), TrustRootError> {
        let wrong = |text: String| Err(TrustRootError(text));
        let mut owners: BTreeMap<Digest, String> = BTreeMap::new();
        for (name, role) in self.roles.all() {
            let distinct: BTreeSet<Digest> = role.keys.iter().map(PublicKey::id).collect();
            if distinct.len() != role.keys.len() || role.keys.len() > SIGNATURES_MAX {
                return wrong(format!(
                    "names a key of role {name} twice, or more than {SIGNATURES_MAX}"
                ));
            }
            if role.threshold < 1 || role.threshold > distinct.len() {
                let (threshold, keys) = (role.threshold, distinct.len());
                return wrong(format!("wants {threshold} of {keys} keys for role {name}"));
            }
            for id in distinct {
                if let Some(other) = owners.insert(id.clone(), name.to_owned()) {
                    let id = id.short();
                    return wrong(format!("gives key {id} to {other} and to {name}: one person"));
                }
            }
        }
        for (name, publisher) in &self.publishers {
            if let Some(other) = publisher.proof.key().and_then(|key| owners.get(&key.id())) {
                return wrong(format!("gives publisher `{name}` the key of role {other}"));
            }
            if let Some(root) = publisher.proof.sigstore_root()
                && !self.sigstore_roots.contains_key(root)
            {
                return wrong(format!("has no sigstore root `{root}`, publisher `{name}` asks it"));
            }
        }
        Ok(())
    }
}

impl Publisher {
    /// Whether it may publish for this function of this profile.
    pub fn may_publish(&self, profile: &str, function: &FunctionName) -> bool {
        (self.profiles.is_empty() || self.profiles.contains(profile))
            && (self.functions.is_empty() || self.functions.contains(function))
    }
}
