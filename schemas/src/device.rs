//! What firmware and agent say to each other on the device's Unix socket: one JSON
//! object per line, one answer per request, in order.
//!
//! `{"function":"setpoint","inputs":{"tank_temp_c":51.5}}` is answered by
//! `{"outputs":{"setpoint_c":60.0},"source":"active","clamped":[]}`. A request that
//! cannot be read is answered by a [`Refusal`](crate::Refusal) and moves nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::ids::{FunctionName, SignalName};
use crate::results::Source;
use crate::value::Values;

/// One request: a tick of one function is due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TickRequest {
    /// The function that is due.
    pub function: FunctionName,
    /// What the device measures, by signal. A signal that cannot be read is left out.
    pub inputs: Values,
}

/// The answer: safe values, always. Firmware gives them to its actuators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TickAnswer {
    /// The values for the actuators: finite, inside the firmware's bounds.
    pub outputs: Values,
    /// Where they come from.
    pub source: Source,
    /// Outputs that differ from what the function proposed.
    pub clamped: BTreeSet<SignalName>,
}
