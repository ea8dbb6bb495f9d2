//! `gnomon status`.

use super::client::Client;
use super::show::{Shown, pairs};

pub(super) fn status(client: &Client) -> anyhow::Result<Shown> {
    let status = client.get_json("/v1/status")?;
    let human = pairs(
        &status,
        &[
            ("fleet", "fleet"),
            ("broker", "broker_url"),
            ("broker connected", "broker_connected"),
            ("devices", "devices"),
            ("by state", "devices_by_state"),
            ("batches stored", "batches_stored"),
            ("refused here", "refused"),
            ("refused by devices", "refused_by_devices"),
            ("release", "version"),
        ],
    );
    Ok(Shown::new(status, human))
}
