//! What the API takes and gives beside the wire types of `gnomon-schemas`.

use gnomon_cloud_core::{Content, Group, Labels};
use gnomon_schemas::ids::{DeviceId, Digest, FleetId, FunctionName, GroupId, Version};
use gnomon_schemas::reason::Reason;
use gnomon_schemas::reported::{Reported, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::store::devices::Device;
use crate::store::modules::ModuleInfo;
use crate::store::versions::StoredVersion;

/// That the service answers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
    /// The service's release.
    pub version: String,
}

/// How the service stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServiceStatus {
    /// The fleet.
    pub fleet: FleetId,
    /// The service's release.
    pub version: String,
    /// Where devices connect.
    pub broker_url: String,
    /// Whether the service is connected to the broker.
    pub broker_connected: bool,
    /// All devices.
    pub devices: u64,
    /// Devices by state.
    pub devices_by_state: BTreeMap<DeviceState, u64>,
    /// Batches of results that are stored.
    pub batches_stored: u64,
    /// Messages over MQTT that the service refused since it started, by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// What devices said that they refused, by reason.
    pub refused_by_devices: BTreeMap<String, u64>,
    /// The version of the trust root.
    pub trust_version: u64,
    /// The engine config digest of the service's Wasm host.
    pub engine: Digest,
}

/// How a device stands to the newest document that the cloud signed for it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// It is in force.
    InSync,
    /// It is on its way.
    Pending,
    /// It was refused; what ran before still runs.
    Rejected,
    /// It is in force but expired.
    Expired,
    /// The device is ahead of the cloud; a person must resolve it.
    Conflict,
    /// The device has not been heard of.
    Unknown,
}

fn is_recalled(reported: &Reported) -> bool {
    let refusal = reported.refusal.as_ref();
    refusal.is_some_and(|refusal| refusal.reason == Reason::ModuleDenied)
}

impl DeviceState {
    /// The state of a device.
    pub fn of(
        device: &Device,
        latest: Option<&StoredVersion>,
        reported: Option<&Reported>,
    ) -> DeviceState {
        let Some(reported) = reported else {
            return if device.conflict.is_some() {
                DeviceState::Conflict
            } else {
                DeviceState::Unknown
            };
        };
        let newest = latest.map(|latest| latest.version);
        match reported.state {
            _ if device.conflict.is_some() => DeviceState::Conflict,
            // The newest document is in force, but a trust root has recalled what is in it.
            State::Rejected if reported.applied == newest && is_recalled(reported) => {
                DeviceState::Rejected
            }
            // A device that refused something else than our newest, which is in force,
            // has refused what this cloud never signed.
            State::InSync | State::Rejected if reported.applied == newest => DeviceState::InSync,
            State::Expired if reported.applied == newest => DeviceState::Expired,
            // A document that could not even be read has no version to be seen.
            State::Rejected if reported.seen == newest || reported.seen.is_none() => {
                DeviceState::Rejected
            }
            State::Conflict => DeviceState::Conflict,
            _ => DeviceState::Pending,
        }
    }
}

/// A profile that is registered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProfileView {
    /// Its digest.
    pub digest: Digest,
    /// Its name.
    pub name: String,
    /// Its release.
    pub version: String,
    /// Its functions.
    pub functions: Vec<FunctionName>,
}

/// A device to register.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// Its name.
    pub device: DeviceId,
    /// The digest of its profile, or a name: then the newest of that name.
    pub profile: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

/// A change to a device.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DevicePatch {
    /// Labels to set, or with null to take away.
    #[serde(default)]
    pub labels: BTreeMap<String, Option<String>>,
    /// Another profile: the device got other firmware.
    #[serde(default)]
    pub profile: Option<String>,
}

/// A device.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeviceView {
    /// Its name.
    pub device: DeviceId,
    /// The digest of its profile.
    pub profile: Digest,
    /// Its labels.
    pub labels: Labels,
    /// When it was registered (Unix time, ms).
    pub created_ms: u64,
    /// How it stands to the newest document.
    pub state: DeviceState,
    /// Whether it is connected; none when it never said.
    pub online: Option<bool>,
    /// The newest document that was signed for it.
    pub desired: Option<VersionView>,
    /// The digest of what must be approved before it gets a newer one.
    pub awaiting_approval: Option<Digest>,
    /// The version that is in force on it.
    pub applied: Option<Version>,
    /// From the broker to its word that the newest version is in force.
    pub publish_to_applied_ms: Option<u64>,
    /// What it has seen beyond what the cloud signed, if there is a conflict.
    pub conflict: Option<Version>,
    /// What it said last.
    pub reported: Option<Reported>,
    /// When it said so (Unix time, ms).
    pub reported_at_ms: Option<u64>,
}

/// A version of a device's document.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct VersionView {
    /// The trust root's epoch.
    pub epoch: u64,
    /// The version.
    pub version: Version,
    /// The digest of all but version and times.
    pub content_digest: Digest,
    /// The digest of the signed payload.
    pub payload_digest: Digest,
    /// When it was signed (Unix time, ms).
    pub issued_at_ms: u64,
    /// When it may no longer be accepted (Unix time, ms).
    pub expires_at_ms: u64,
    /// When it was first handed to the broker.
    pub published_at_ms: Option<u64>,
    /// When the device first said that it is in force.
    pub applied_at_ms: Option<u64>,
}

impl From<StoredVersion> for VersionView {
    fn from(of: StoredVersion) -> VersionView {
        VersionView {
            epoch: of.epoch,
            version: of.version,
            content_digest: of.content_digest,
            payload_digest: of.payload_digest,
            issued_at_ms: of.issued_at_ms,
            expires_at_ms: of.expires_at_ms,
            published_at_ms: of.published_at_ms,
            applied_at_ms: of.applied_at_ms,
        }
    }
}

/// What the layers together say of a device.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EffectiveView {
    /// The content.
    pub content: Content,
    /// Where each leaf came from, by JSON pointer: `default`, `fleet`, `group:NAME`
    /// or `device:NAME`.
    pub origins: BTreeMap<String, String>,
}

/// A group by name.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GroupView {
    /// Its name.
    pub name: GroupId,
    /// What it holds.
    #[serde(flatten)]
    pub group: Group,
    /// How many devices it holds now.
    pub devices: u64,
}

/// A module.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ModuleView {
    /// Its digest.
    pub digest: Digest,
    /// Its name.
    pub name: String,
    /// Its release.
    pub version: String,
    /// Its place in the line of its name's releases.
    pub release_counter: u64,
    /// The function that it was written for.
    pub function: FunctionName,
    /// Who published it.
    pub publisher: String,
    /// Its size.
    pub size_bytes: u64,
    /// What it reads, is tuned by, proposes and remembers.
    pub interface: Value,
    /// Profiles that it fits, and for the others why not, as of its upload.
    pub fits: Value,
    /// When it came (Unix time, ms).
    pub created_ms: u64,
}

impl From<ModuleInfo> for ModuleView {
    fn from(of: ModuleInfo) -> ModuleView {
        ModuleView {
            digest: of.digest,
            name: of.listed.name.to_string(),
            version: of.listed.version,
            release_counter: of.listed.release_counter,
            function: of.function,
            publisher: of.listed.evidence.publisher().to_string(),
            size_bytes: of.listed.size_bytes,
            interface: of.interface,
            fits: of.fits,
            created_ms: of.created_ms,
        }
    }
}

/// Rows of results, oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Page {
    /// The rows.
    pub items: Vec<Row>,
    /// Ask again with `after` set to this; none at the end.
    pub next_after: Option<i64>,
}

/// One row of results.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Row {
    /// Its number.
    pub id: i64,
    /// What the device sent.
    #[serde(flatten)]
    pub row: Value,
}
