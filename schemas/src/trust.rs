//! The trust root: which keys may direct, approve and publish.
//!
//! The first one comes with the firmware. How one follows another is decided
//! elsewhere; this file is the type and the questions that can be asked of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::envelope::Payload;
use crate::ids::{Digest, FleetId, FunctionName, ModuleName, PublisherName};
use crate::keys::PublicKey;
use crate::limits::TRUST_ROOT_BYTES_MAX;

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
    /// Raised to recover from a version that was burnt by a stolen key.
    pub epoch: u64,
    /// When no new document may be accepted under it any more (Unix time, ms).
    pub expires_at_ms: u64,
    /// Who may sign what.
    pub roles: Roles,
    /// Who may publish modules, by name.
    pub publishers: BTreeMap<PublisherName, Publisher>,
    /// Modules that must not run.
    #[serde(default)]
    pub denied: BTreeSet<Digest>,
    /// The lowest release counter still allowed, per module name.
    #[serde(default)]
    pub release_counter_min: BTreeMap<ModuleName, u64>,
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
    /// Signs beside the director where new code or a loosening is at stake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<Role>,
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
    /// The key that signs its modules.
    pub key: PublicKey,
    /// Names of the profiles that it may publish for; empty for all.
    #[serde(default)]
    pub profiles: BTreeSet<String>,
    /// Names of the functions that it may publish for; empty for all.
    #[serde(default)]
    pub functions: BTreeSet<FunctionName>,
}

impl Publisher {
    /// Whether it may publish for this function of this profile.
    pub fn may_publish(&self, profile: &str, function: &FunctionName) -> bool {
        (self.profiles.is_empty() || self.profiles.contains(profile))
            && (self.functions.is_empty() || self.functions.contains(function))
    }
}
