//! Starts and stops the cloud inside any process: opens keys and store, starts
//! broker, bus, ingest and HTTP, and takes them down again.

use anyhow::{Context as _, Result};
use gnomon_host::{Host, HostOptions};
use gnomon_schemas::ids::FleetId;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admission::Admissions;
use crate::app::App;
use crate::bus::Bus;
use crate::refused::Refused;
use crate::store::Store;
use crate::{api, clock, ingest, keys, publish};

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
    /// Where the embedded broker listens; port 0 takes any free one.
    pub mqtt: SocketAddr,
    /// Another broker instead of the embedded one, as `mqtt://host:port`.
    pub broker: Option<String>,
}

/// A service that runs until it is shut down or dropped.
pub struct Running {
    http_addr: SocketAddr,
    mqtt_url: String,
    data_dir: PathBuf,
    stop_http: Option<oneshot::Sender<()>>,
    http: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
    broker: Option<EmbeddedBroker>,
}

#[cfg(feature = "embedded-broker")]
type EmbeddedBroker = crate::broker::Broker;
#[cfg(not(feature = "embedded-broker"))]
type EmbeddedBroker = std::convert::Infallible;

impl Running {
    /// Where HTTP listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// The base of the HTTP API.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http_addr)
    }

    /// Where devices connect, as `mqtt://host:port`.
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
    let ServeOptions { data_dir, fleet, http, mqtt, broker } = options;
    std::fs::create_dir_all(&data_dir)
        .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
    let trust = keys::open(&data_dir, &fleet, clock::now_ms())?;
    let store = Store::open(&data_dir.join("gnomon.sqlite"))?;
    let host = Host::new(&HostOptions::default())?;
    let listener = TcpListener::bind(http)
        .await
        .with_context(|| format!("cannot listen on {http}; give another --http"))?;
    let http_addr = listener.local_addr().context("the HTTP listener has no address")?;
    let (broker, mqtt_url) = start_broker(broker, mqtt).await?;
    let (bus, handle) = Bus::new(&mqtt_url, &fleet).map_err(anyhow::Error::msg)?;
    let app = Arc::new(App {
        fleet,
        data_dir: data_dir.clone(),
        mqtt_url: mqtt_url.clone(),
        store,
        trust,
        host,
        admissions: Admissions::default(),
        bus: handle,
        refused: Refused::default(),
    });
    let (messages, bus_tasks) = bus.run(Arc::clone(&app));
    let mut tasks = Vec::from(bus_tasks);
    tasks.push(tokio::spawn(ingest::run(Arc::clone(&app), messages)));
    tasks.push(tokio::spawn(renew_for_ever(Arc::clone(&app))));
    let (stop_http, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, api::router(app)).with_graceful_shutdown(async {
        // Dropped or told: both mean stop.
        stopped.await.unwrap_or_default();
    });
    let http = tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "HTTP ended");
        }
    });
    let stop_http = Some(stop_http);
    Ok(Running { http_addr, mqtt_url, data_dir, stop_http, http, tasks, broker })
}

#[cfg(feature = "embedded-broker")]
async fn start_broker(
    url: Option<String>,
    mqtt: SocketAddr,
) -> Result<(Option<EmbeddedBroker>, String)> {
    if let Some(url) = url {
        return Ok((None, url));
    }
    let started = tokio::task::spawn_blocking(move || crate::broker::Broker::start(mqtt));
    let broker = started.await.context("the broker's starter ended")??;
    let url = format!("mqtt://{}", broker.address());
    Ok((Some(broker), url))
}

#[cfg(not(feature = "embedded-broker"))]
async fn start_broker(
    url: Option<String>,
    _: SocketAddr,
) -> Result<(Option<EmbeddedBroker>, String)> {
    let url = url.context("this build has no embedded broker; give --broker mqtt://HOST:PORT")?;
    Ok((None, url))
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
