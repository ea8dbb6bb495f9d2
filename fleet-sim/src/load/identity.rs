//! Certificates of light devices: each enrols as any device does, by a one-time token, with
//! a key that it made itself.

use anyhow::{Context as _, Result};
use gnomon_agent::config::Mutual;
use gnomon_agent::enrol::Office;
use gnomon_agent::post::Origin;
use gnomon_agent::tls::FloorClock;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::path::Path;
use std::sync::Arc;

use super::device::name;
use crate::cloud_api::Cloud;

/// Enrols so many devices one after the other; how each of them speaks TLS then.
///
/// # Errors
/// When one is refused.
pub(super) fn enrol(
    cloud: &Cloud,
    http: &str,
    folder: &Path,
    devices: usize,
) -> Result<Vec<Arc<ClientConfig>>> {
    let authority = cloud.bytes("/v1/ca")?;
    let roots = vec![CertificateDer::from_pem_slice(&authority).context("no fleet CA")?];
    let mutual = Mutual {
        roots: roots.clone(),
        certificate: "device.crt".to_owned(),
        key: "device.key".to_owned(),
        enrol: Some(Origin::parse(http).map_err(anyhow::Error::msg)?),
        enrol_roots: roots,
    };
    let clock = Arc::new(FloorClock::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let one = |index: usize| {
        let device = name(index);
        let token = cloud.post(&format!("/v1/devices/{device}/enrollment"), b"{}")?;
        let token = token["token"].as_str().context("an enrolment without a token")?;
        let data = folder.join("devices").join(&device);
        std::fs::create_dir_all(&data)?;
        let office = Office::new(mutual.clone(), device.parse()?, &data, Arc::clone(&clock))?;
        let pair = runtime.block_on(office.enrol(token))?;
        Ok(office.broker_tls(pair.own()?)?)
    };
    (0..devices).map(one).collect()
}
