//! Starts and stops the cloud inside any process: opens keys and store, starts
//! broker, bus, ingest and HTTP, and takes them down again.

use anyhow::{Context as _, Result, bail};
use gnomon_host::{Host, HostOptions};
use gnomon_schemas::ids::FleetId;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admission::Admissions;
use crate::api::guard::Doors;
use crate::app::App;
use crate::audit::AuditKey;
use crate::bus::Bus;
use crate::identity::{Identities, IdentityOptions};
use crate::mqtt::{EmbeddedBroker, Mqtt, Place};
use crate::refused::Refused;
use crate::store::{Store, tokens};
use crate::trust::InForce;
use crate::{api, audit, clock, https, ingest, keys, mqtt, publish};

/// How often documents near their expiry are looked for.
const RENEW_EVERY: Duration = Duration::from_secs(600);
/// How long open HTTP requests may take once the service stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How to run the service.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where keys and store are; made if missing.
    pub data_dir: PathBuf,
    /// The fleet.
    pub fleet: FleetId,
    /// Where HTTP listens; port 0 takes any free one.
    pub http: SocketAddr,
    /// Whether HTTP speaks TLS.
    pub http_tls: HttpTls,
    /// Where the embedded broker listens; port 0 takes any free one.
    pub mqtt: SocketAddr,
    /// Another broker instead of the embedded one: `mqtts://host:port`, `mqtt://...`.
    pub broker: Option<String>,
    /// How devices, broker and service know each other.
    pub identity: IdentityOptions,
}

/// Whether HTTP speaks TLS, and with which certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HttpTls {
    /// It does not: on a loopback address only.
    #[default]
    Off,
    /// With these PEM files.
    Files {
        /// The certificate chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// With a certificate that the fleet's own authority issues.
    FleetCa,
}

/// A service that runs until it is shut down or dropped.
pub struct Running {
    app: Arc<App>,
    scheme: &'static str,
    http_addr: SocketAddr,
    mqtt_url: String,
    data_dir: PathBuf,
    stop_http: Option<oneshot::Sender<()>>,
    http: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
    broker: Option<EmbeddedBroker>,
}

impl Running {
    /// Where HTTP listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// The base of the HTTP API.
    pub fn http_url(&self) -> String {
        format!("{}://{}", self.scheme, self.http_addr)
    }

    /// Whether HTTP answers everybody on this machine, because no token exists yet.
    ///
    /// # Errors
    /// That of the store.
    pub async fn is_open(&self) -> Result<bool> {
        Ok(!self.app.store.read(tokens::any).await?)
    }

    /// Where devices connect, as `mqtts://host:port` or `mqtt://host:port`.
    pub fn mqtt_url(&self) -> &str {
        &self.mqtt_url
    }

    /// Where the embedded broker listens; none with another broker.
    pub fn mqtt_addr(&self) -> Option<SocketAddr> {
        #[cfg(feature = "embedded-broker")]
        return self.broker.as_ref().map(crate::broker::Broker::address);
        #[cfg(not(feature = "embedded-broker"))]
        return None;
    }

    /// Where keys and store are.
    pub fn data_dir(&self) -> &std::path::Path {
        &self.data_dir
    }

    /// Stops everything and frees the ports. What was acknowledged is stored.
    pub async fn shutdown(mut self) {
        // The receiver is gone when HTTP ended by itself.
        self.stop_http.take().map(|stop| stop.send(()));
        if tokio::time::timeout(STOP_GRACE, &mut self.http).await.is_err() {
            tracing::warn!("requests were still open after {STOP_GRACE:?}; they are cut");
        }
        if let Err(refusal) = audit::checkpoint(&self.app).await {
            tracing::error!(%refusal, "the last checkpoint of the audit log is missing");
        }
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            // Aborted is what it is meant to be.
            task.await.unwrap_or_default();
        }
        let broker = self.broker.take();
        // Dropping it joins the broker's thread.
        let join = move || {
            let _ended = broker;
        };
        tokio::task::spawn_blocking(join).await.unwrap_or_default();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.http.abort();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Starts the cloud.
///
/// # Errors
/// What could not be opened, read or listened on, and what to do about it.
pub async fn start(options: ServeOptions) -> Result<Running> {
    let ServeOptions { data_dir, fleet, http, http_tls, mqtt, broker, identity } = options;
    std::fs::create_dir_all(&data_dir)
        .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
    if keys::first_start(&data_dir, &fleet, clock::now_ms())? {
        tracing::warn!(
            "made all keys beside each other, for development; for production see `gnomon trust init`"
        );
    }
    let store = Store::open(&data_dir.join("gnomon.sqlite"))?;
    let trust = InForce::open(&data_dir, &fleet, &store).await?;
    let audit_key = AuditKey::open(&data_dir)?;
    check_exposure(http, http_tls != HttpTls::Off, store.read(tokens::any).await?, &data_dir)?;
    let host = Host::new(&HostOptions::default())?;
    let listener = TcpListener::bind(http)
        .await
        .with_context(|| format!("cannot listen on {http}; give another --http"))?;
    let http_addr = listener.local_addr().context("the HTTP listener has no address")?;
    let now_ms = clock::now_ms();
    let identities = Identities::open(&data_dir, &fleet, &store, &identity, now_ms).await?;
    let tls = match &http_tls {
        HttpTls::Off => None,
        HttpTls::Files { certificate, key } => Some(https::Tls::read(certificate, key)?),
        HttpTls::FleetCa => {
            let hosts = mqtt::hosts(&identity.broker_names, http_addr.ip());
            let (chain, key) = identities.ca().http(&data_dir, &hosts, now_ms)?.into_parts();
            Some(https::Tls::new(chain, key)?)
        }
    };
    let place = Place { data_dir: &data_dir, fleet: &fleet, now_ms };
    let Mqtt { embedded: broker, url: mqtt_url, own_url, tls: mqtt_tls } =
        mqtt::open(broker, mqtt, &identity, &identities, &place).await?;
    let (bus, handle) = Bus::new(&own_url, &fleet, mqtt_tls).map_err(anyhow::Error::msg)?;
    let app = Arc::new(App {
        fleet,
        data_dir: data_dir.clone(),
        mqtt_url: mqtt_url.clone(),
        identities: Arc::new(identities),
        store,
        trust,
        host,
        admissions: Admissions::default(),
        bus: handle,
        audit_key,
        doors: Doors::of(http_addr.ip()),
        refused: Refused::default(),
    });
    let (messages, bus_tasks) = bus.run(Arc::clone(&app));
    let mut tasks = Vec::from(bus_tasks);
    tasks.push(tokio::spawn(ingest::run(Arc::clone(&app), messages)));
    tasks.push(tokio::spawn(renew_for_ever(Arc::clone(&app))));
    tasks.push(tokio::spawn(audit::checkpoint_for_ever(Arc::clone(&app))));
    let (stop_http, stopped) = oneshot::channel::<()>();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let router = api::router(Arc::clone(&app));
    let http = tokio::spawn(https::serve(listener, tls, router, https::Limits::default(), stopped));
    let stop_http = Some(stop_http);
    Ok(Running { app, scheme, http_addr, mqtt_url, data_dir, stop_http, http, tasks, broker })
}

/// Beyond the loopback, nothing is told or taken without TLS and a token.
fn check_exposure(http: SocketAddr, has_tls: bool, any_token: bool, data: &Path) -> Result<()> {
    if http.ip().is_loopback() {
        return Ok(());
    }
    if !has_tls {
        bail!(
            "--http {http} is reachable from other machines and would speak without TLS; give \
             --https, or --http-cert and --http-key, or listen on 127.0.0.1"
        );
    }
    if !any_token {
        bail!(
            "--http {http} is reachable from other machines and no token exists; make one first \
             with `gnomon token create --data {} --name NAME --role admin`",
            data.display()
        );
    }
    Ok(())
}

async fn renew_for_ever(app: Arc<App>) {
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    loop {
        ticks.tick().await;
        match publish::renew(&app).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "renewed documents before they expire"),
            Err(refusal) => tracing::error!(%refusal, "could not renew documents"),
        }
    }
}
