//! What the parts of a running service share. No behaviour of its own.

use gnomon_host::Host;
use gnomon_schemas::ids::FleetId;
use std::path::PathBuf;

use crate::admission::Admissions;
use crate::bus::BusHandle;
use crate::keys::Trust;
use crate::refused::Refused;
use crate::store::Store;

/// A running service, without its network.
pub struct App {
    /// The fleet.
    pub fleet: FleetId,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where devices connect.
    pub mqtt_url: String,
    /// The store.
    pub store: Store,
    /// Trust root and director.
    pub trust: Trust,
    /// The Wasm host.
    pub host: Host,
    /// Modules that were checked for a profile's function.
    pub admissions: Admissions,
    /// The way to the broker.
    pub bus: BusHandle,
    /// What came over MQTT and was refused.
    pub refused: Refused,
}
