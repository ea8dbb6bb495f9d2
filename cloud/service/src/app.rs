//! What the parts of a running service share. No behaviour of its own.

use gnomon_host::Host;
use gnomon_schemas::ids::FleetId;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admission::Admissions;
use crate::api::guard::Doors;
use crate::audit::AuditKey;
use crate::bus::BusHandle;
use crate::identity::Identities;
use crate::refused::Refused;
use crate::store::Store;
use crate::trust::{InForce, Trust};

/// A running service, without its network.
pub struct App {
    /// The fleet.
    pub fleet: FleetId,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where devices connect.
    pub mqtt_url: String,
    /// Certificates of devices.
    pub identities: Arc<Identities>,
    /// The store.
    pub store: Store,
    /// The trust root in force, and the director under it.
    pub trust: InForce,
    /// The Wasm host.
    pub host: Host,
    /// Modules that were checked for a profile's function.
    pub admissions: Admissions,
    /// The way to the broker.
    pub bus: BusHandle,
    /// Signs checkpoints of the audit log.
    pub audit_key: AuditKey,
    /// Who is let in over HTTP.
    pub doors: Doors,
    /// What came over MQTT and was refused.
    pub refused: Refused,
}

impl App {
    /// The trust root in force now.
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.get()
    }
}
