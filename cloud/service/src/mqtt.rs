//! Which broker, and how the service gets to it: starts the embedded one if no other
//! is named, with the certificates that belong to it.

use anyhow::{Context as _, Result, bail};
use gnomon_schemas::ids::FleetId;
use rustls::ClientConfig;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::bus;
use crate::identity::{Identities, IdentityOptions, tls};

#[cfg(feature = "embedded-broker")]
pub(crate) type EmbeddedBroker = crate::broker::Broker;
#[cfg(not(feature = "embedded-broker"))]
pub(crate) type EmbeddedBroker = std::convert::Infallible;

/// A broker and the way to it.
pub(crate) struct Mqtt {
    /// The embedded broker, while it lives.
    pub(crate) embedded: Option<EmbeddedBroker>,
    /// Where devices connect.
    pub(crate) url: String,
    /// Where the service connects.
    pub(crate) own_url: String,
    /// How it does, for `mqtts://`.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Where everything is.
pub(crate) struct Place<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) fleet: &'a FleetId,
    pub(crate) now_ms: u64,
}

/// Uses the broker at `url`, or starts the embedded one at `address`.
pub(crate) async fn open(
    url: Option<String>,
    address: SocketAddr,
    options: &IdentityOptions,
    identities: &Identities,
    place: &Place<'_>,
) -> Result<Mqtt> {
    match url {
        Some(url) => external(url, options, identities, place),
        None => embedded(address, options, identities, place).await,
    }
}

/// The service's side of TLS to some broker: by default it trusts the fleet CA and
/// shows its own certificate.
fn client(
    options: &IdentityOptions,
    identities: &Identities,
    place: &Place<'_>,
) -> Result<Arc<ClientConfig>> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let roots = match &options.broker_ca {
        Some(path) => tls::from_pem(&read(path)?).with_context(|| path.display().to_string())?,
        None => vec![identities.ca().certificate().clone()],
    };
    let pair = match &options.broker_pair {
        Some((certificate, key)) => tls::Pair::from_pem(&read(certificate)?, &read(key)?)
            .with_context(|| format!("{} and {}", certificate.display(), key.display()))?,
        None => identities.ca().service(place.data_dir, place.now_ms)?,
    };
    Ok(tls::service_side(roots, pair)?)
}

fn external(
    url: String,
    options: &IdentityOptions,
    identities: &Identities,
    place: &Place<'_>,
) -> Result<Mqtt> {
    let parsed = bus::parse_url(&url).map_err(anyhow::Error::msg)?;
    if !parsed.is_tls && (options.broker_ca.is_some() || options.broker_pair.is_some()) {
        bail!("`{url}` has no use for certificates; give --broker mqtts://HOST:PORT");
    }
    let tls = parsed.is_tls.then(|| client(options, identities, place)).transpose()?;
    Ok(Mqtt { embedded: None, own_url: url.clone(), url, tls })
}

#[cfg(feature = "embedded-broker")]
async fn embedded(
    address: SocketAddr,
    options: &IdentityOptions,
    identities: &Identities,
    place: &Place<'_>,
) -> Result<Mqtt> {
    use crate::broker::{Broker, Security};

    let (security, tls) = if options.insecure_mqtt {
        tracing::warn!("MQTT runs without TLS, authentication and ACL: for development only");
        (Security::Open, None)
    } else {
        let hosts = hosts(&options.broker_names, address.ip());
        let pair = identities.ca().broker(place.data_dir, &hosts, place.now_ms)?;
        let security = Security::Mutual {
            tls: tls::broker_side(identities.ca(), pair)?,
            fleet: place.fleet.clone(),
            revoked: identities.revoked().clone(),
        };
        (security, Some(client(options, identities, place)?))
    };
    let started = tokio::task::spawn_blocking(move || Broker::start(address, security));
    let broker = started.await.context("the broker's starter ended")??;
    let scheme = if options.insecure_mqtt { "mqtt" } else { "mqtts" };
    let (url, own_url) = (
        format!("{scheme}://{}", broker.address()),
        format!("{scheme}://{}", reachable(broker.address())),
    );
    Ok(Mqtt { embedded: Some(broker), url, own_url, tls })
}

#[cfg(not(feature = "embedded-broker"))]
async fn embedded(
    _: SocketAddr,
    _: &IdentityOptions,
    _: &Identities,
    _: &Place<'_>,
) -> Result<Mqtt> {
    bail!("this build has no embedded broker; give --broker mqtts://HOST:PORT")
}

/// An address to connect to, of one to listen on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Names by which devices may know the broker: those of this machine, the address that
/// it listens on, and what else was given.
pub(crate) fn hosts(given: &[String], listens: IpAddr) -> std::collections::BTreeSet<String> {
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut hosts: std::collections::BTreeSet<String> =
        ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    hosts.extend(Some(own.trim().to_ascii_lowercase()).filter(|own| is_host(own)));
    hosts.extend((!listens.is_unspecified()).then(|| listens.to_string()));
    hosts.extend(given.iter().cloned());
    hosts
}

fn is_host(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
}
