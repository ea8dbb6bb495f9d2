//! The reported document: what a device says it has. Unknown fields are
//! tolerated, since devices of another version send it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{BootId, DeviceId, Digest, FleetId, FunctionName, Version};
use crate::reason::{Reason, Refusal};

/// What a device says it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reported {
    /// Always `gnomon.reported.v1`.
    pub schema: ReportedSchema,
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The agent's start that says so.
    pub boot: BootId,
    /// Counts the reports of this boot.
    pub sequence: u64,
    /// The device's lowest possible time (Unix time, ms).
    pub at_ms: u64,
    /// The firmware's profile.
    pub profile: Digest,
    /// All that could change a result besides module and inputs.
    pub engine: Digest,
    /// The agent's release.
    pub agent_version: String,
    /// The version of the trust root in force.
    pub trust_version: u64,
    /// How the device stands to the newest document it has seen.
    pub state: State,
    /// The newest version it has seen a valid signature on.
    #[serde(default)]
    pub seen: Option<Version>,
    /// The version that is in force.
    #[serde(default)]
    pub applied: Option<Version>,
    /// The digest of that document's payload.
    #[serde(default)]
    pub applied_digest: Option<Digest>,
    /// The highest document that it has accepted. It is in force, unless the device went
    /// back from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// The document in force has yet to prove itself.
    #[serde(default)]
    pub on_probation: bool,
    /// Why the last refused document or module was refused.
    #[serde(default)]
    pub refusal: Option<Refusal>,
    /// Refusals since the boot, by reason.
    #[serde(default)]
    pub refused: BTreeMap<Reason, u64>,
    /// What fills each function.
    #[serde(default)]
    pub functions: BTreeMap<FunctionName, FunctionReport>,
}

/// The highest document that a device has accepted: it takes nothing at or below it any
/// more, but the very same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The trust root's epoch under which it was signed.
    pub epoch: u64,
    /// Its version.
    pub version: Version,
    /// The digest of its payload.
    pub digest: Digest,
}

/// The schema name of a reported document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReportedSchema {
    /// Version 1.
    #[serde(rename = "gnomon.reported.v1")]
    V1,
}

/// How a device stands to the newest document it has seen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In force.
    InSync,
    /// On its way: fetching or admitting modules.
    Pending,
    /// Refused; what ran before still runs.
    Rejected,
    /// In force but expired.
    Expired,
    /// The device is ahead of what the cloud publishes.
    Conflict,
}

/// What fills one function on a device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FunctionReport {
    /// The module in control.
    #[serde(default)]
    pub active: Option<Digest>,
    /// What a rollback would return to.
    #[serde(default)]
    pub previous: Option<Digest>,
    /// Modules beside it.
    #[serde(default)]
    pub candidates: BTreeSet<Digest>,
    /// The digests that were really executed since the last report, in any slot.
    #[serde(default)]
    pub executed: BTreeSet<Digest>,
}

/// Whether a device is connected: published by it, or by the broker as its last will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Always `gnomon.status.v1`.
    pub schema: StatusSchema,
    /// The device.
    pub device: DeviceId,
    /// The agent's start.
    pub boot: BootId,
    /// Connected or not.
    pub online: bool,
}

/// The schema name of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StatusSchema {
    /// Version 1.
    #[serde(rename = "gnomon.status.v1")]
    V1,
}
