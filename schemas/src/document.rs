//! The desired document: the whole effective state of one device at one version.
//!
//! What makes a document acceptable to a device is decided in `agent/core`;
//! what makes one worth publishing, in `cloud/core`. Here is its form.

use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use std::collections::BTreeMap;

use crate::envelope::{Envelope, Payload};
use crate::ids::{DeviceId, Digest, FleetId, FunctionName, ModuleName, SignalName, Version};
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::module::ModuleEvidence;
use crate::profile::{Budget, NarrowedBounds};
use crate::value::Values;

/// The signed, effective state of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Always `gnomon.desired.v1`.
    pub schema: DocumentSchema,
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The digest of the profile that it was made for.
    pub profile: Digest,
    /// The trust root's epoch; documents are ordered by (epoch, version).
    pub epoch: u64,
    /// The version of this device's document.
    pub version: Version,
    /// When it was signed (Unix time, ms).
    pub issued_at_ms: u64,
    /// When it may no longer be accepted (Unix time, ms).
    pub expires_at_ms: u64,
    /// What happens when it expires while it is active.
    #[serde(default)]
    pub on_expiry: OnExpiry,
    /// Plain settings, of the form that the profile's config schema gives.
    #[serde(default)]
    pub config: Map<String, serde_json::Value>,
    /// Which modules fill which functions.
    #[serde(default)]
    pub functions: BTreeMap<FunctionName, FunctionPlan>,
    /// The modules that slots name.
    #[serde(default)]
    pub modules: BTreeMap<Digest, ModuleRef>,
    /// What the device reports, and how much.
    #[serde(default)]
    pub reporting: Reporting,
    /// What approvers have signed for: envelopes of approvals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Envelope>,
}

/// The schema name of a desired document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DocumentSchema {
    /// Version 1.
    #[serde(rename = "gnomon.desired.v1")]
    V1,
}

impl Payload for Document {
    const PAYLOAD_TYPE: &'static str = "application/vnd.gnomon.desired.v1+json";
    const ENVELOPE_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
}

/// What happens when an active document expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// Go on with what runs.
    #[default]
    Hold,
    /// The profile's default outputs.
    Default,
}

/// What fills one function.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionPlan {
    /// The module in control; none leaves the profile's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Slot>,
    /// Modules evaluated beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Slot>,
    /// Bounds narrower than the firmware's, by output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bounds: BTreeMap<SignalName, NarrowedBounds>,
    /// A budget below the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What the active module must return before it is put in control.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub golden: Vec<GoldenVector>,
    /// How the active module has to prove itself once it is in control; none for the
    /// usual way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probation: Option<Probation>,
}

/// One call whose result is known: run on the device, before the swap, on the active
/// module with its params.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoldenVector {
    /// What the module reads.
    pub inputs: Values,
    /// Its memory before the call, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Values>,
    /// What it must propose; outputs that are not named are not looked at.
    pub outputs: Values,
    /// How far a number may be off; 0 for the very same number.
    #[serde(default)]
    pub tolerance: f64,
}

/// How a module that was put in control has to prove itself: one fault too many in its
/// first ticks, and the device goes back to what it had before, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Probation {
    /// Its first ticks in control; 0 for no probation.
    pub ticks: u32,
    /// The most of them that may end without usable outputs: traps, missed deadlines,
    /// outputs that are not finite.
    pub faults_max: u32,
    /// The most of them at which an output may lie outside its bounds; none for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamps_max: Option<u32>,
}

impl Default for Probation {
    fn default() -> Probation {
        Probation { ticks: 20, faults_max: 2, clamps_max: None }
    }
}

impl FunctionPlan {
    /// The active slot, then the candidates.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.active.iter().chain(&self.candidates)
    }
}

/// A module and the params it runs with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The module.
    pub module: Digest,
    /// Its tunables, by name.
    #[serde(default)]
    pub params: Values,
}

/// What a document says of one module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleRef {
    /// Its name.
    pub name: ModuleName,
    /// Its release, for people.
    pub version: String,
    /// Its place in the line of its name's releases.
    pub release_counter: u64,
    /// Its size.
    pub size_bytes: u64,
    /// What proves who published it.
    pub evidence: ModuleEvidence,
    /// The bytes in base64 when they are small; else they come on the module's topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<InlineBytes>,
}

/// Bytes in base64 (RFC 4648, padded).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct InlineBytes(pub Vec<u8>);

impl TryFrom<String> for InlineBytes {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        STANDARD
            .decode(text)
            .map(InlineBytes)
            .map_err(|error| format!("not strict base64: {error}"))
    }
}

impl From<InlineBytes> for String {
    fn from(bytes: InlineBytes) -> String {
        STANDARD.encode(bytes.0)
    }
}

/// What the device reports, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reporting {
    /// One summary per function and module after this many ticks.
    #[schemars(range(min = 1))]
    #[serde(deserialize_with = "crate::strict::at_least_one")]
    pub summary_ticks: u32,
    /// One evaluation in this many is reported as a record; 0 for none.
    pub record_every: u32,
    /// Of each summary interval, this many of the most divergent evaluations too.
    pub divergent_records_max: u32,
    /// The most bytes of records per day of ticks; summaries always go.
    pub record_bytes_per_day_max: u64,
}

impl Default for Reporting {
    fn default() -> Reporting {
        Reporting {
            summary_ticks: 60,
            record_every: 60,
            divergent_records_max: 2,
            record_bytes_per_day_max: 256 * 1024,
        }
    }
}
