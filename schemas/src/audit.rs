//! The signed checkpoint of the cloud's audit log: how long it is and what its last
//! entry hashes to. Kept elsewhere, it shows that nothing before it was changed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Payload;
use crate::ids::{Digest, FleetId};
use crate::limits::AUDIT_CHECKPOINT_BYTES_MAX;

/// How the audit log stood at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditCheckpoint {
    /// Always `gnomon.audit-checkpoint.v1`.
    pub schema: AuditCheckpointSchema,
    /// The fleet.
    pub fleet: FleetId,
    /// How many entries there are; the last one has this sequence.
    #[schemars(range(min = 1))]
    #[serde(deserialize_with = "crate::strict::at_least_one")]
    pub size: u64,
    /// The hash of the last entry, which covers all before it.
    pub head: Digest,
    /// When it was signed (Unix time, ms).
    pub at_ms: u64,
}

/// The schema name of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuditCheckpointSchema {
    /// Version 1.
    #[serde(rename = "gnomon.audit-checkpoint.v1")]
    V1,
}

impl Payload for AuditCheckpoint {
    const PAYLOAD_TYPE: &'static str = "application/vnd.gnomon.audit-checkpoint.v1+json";
    const ENVELOPE_BYTES_MAX: usize = AUDIT_CHECKPOINT_BYTES_MAX;
}
