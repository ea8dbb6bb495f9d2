//! The cloud's word that results are stored: signed, because it makes a device delete.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Payload;
use crate::ids::{BootId, DeviceId, FleetId};
use crate::limits::ACK_BYTES_MAX;

/// Which batches of one boot of a device are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ack {
    /// Always `gnomon.ack.v1`.
    pub schema: AckSchema,
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The boot that numbered the batches.
    pub boot: BootId,
    /// The sequences that are stored.
    pub sequences: Vec<u64>,
}

/// The schema name of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AckSchema {
    /// Version 1.
    #[serde(rename = "gnomon.ack.v1")]
    V1,
}

impl Payload for Ack {
    const PAYLOAD_TYPE: &'static str = "application/vnd.gnomon.ack.v1+json";
    const ENVELOPE_BYTES_MAX: usize = ACK_BYTES_MAX;
}
