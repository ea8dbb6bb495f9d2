//! The cloud's own MQTT client. Two tasks: one drives the connection and hands
//! what comes in to the ingest, one publishes what it is told to.
//!
//! Commands name things, not bytes: what is published is read from the store at
//! that moment, so a broker that forgot everything, or a connection that was
//! away, ends up with the newest state. Meaning is not known here.

use gnomon_cloud_core::Selector;
use gnomon_schemas::acl::SERVICE_NAME;
use gnomon_schemas::ids::{DeviceId, Digest, FleetId};
use gnomon_schemas::limits::MQTT_PACKET_BYTES_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::topics::{Channel, Topic};
use rumqttc::{
    AsyncClient, Event, EventLoop, Incoming, MqttOptions, PublishOptions, QoS,
    SubscribeFilterInput, TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

use crate::app::App;
use crate::store::{devices, modules, roots, versions};
use crate::{clock, publish};

/// Documents that are read and handed on at a time.
const PUBLISH_BATCH: usize = 200;
/// Messages between connection and ingest; beyond, TCP holds the broker back.
const INCOMING_MAX: usize = 4096;
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// What the publishing task is told.
#[derive(Debug)]
pub enum Command {
    /// Publish a device's newest document.
    Desired(DeviceId),
    /// Clear what is retained for a device that was removed.
    Clear(DeviceId),
    /// Publish a trust root; what is told after it goes after it.
    Root(u64),
    /// Publish these bytes, not retained.
    Ack(DeviceId, Vec<u8>),
    /// Publish everything that is retained: the connection is new.
    Everything,
}

/// A message from the broker.
#[derive(Debug)]
pub struct Message {
    /// Its topic, as the broker gave it.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// The way to the bus. Sending never blocks.
#[derive(Clone)]
pub struct BusHandle {
    commands: mpsc::UnboundedSender<Command>,
    connected: Arc<AtomicBool>,
}

impl BusHandle {
    /// Tells the bus. While it is not connected this is forgotten: on the next
    /// connection everything is published, and devices send results again.
    pub fn send(&self, command: Command) {
        if self.is_connected() || matches!(command, Command::Clear(_)) {
            // The receiver is gone only when the service stops.
            self.commands.send(command).unwrap_or_default();
        }
    }

    /// Whether the broker is there.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }
}

/// The other ends, before the tasks run.
pub struct Bus {
    client: AsyncClient,
    events: EventLoop,
    commands: mpsc::UnboundedReceiver<Command>,
    handle: BusHandle,
    fleet: FleetId,
}

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Reads `mqtt://HOST:PORT` or `mqtts://HOST:PORT`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_url(url: &str) -> Result<BrokerUrl, String> {
    if url.contains('@') {
        // Not quoted: what stands before the sign may be a password.
        return Err("a broker is given without name and password, as mqtts://HOST:PORT: it \
                    knows the service by its certificate"
            .into());
    }
    let wrong = || format!("`{url}` is not of the form mqtts://HOST:PORT or mqtt://HOST:PORT");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (is_tls, usual_port) = match scheme {
        "mqtts" => (true, 8883),
        "mqtt" => (false, 1883),
        _ => return Err(wrong()),
    };
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        // The colons of a bare IPv6 address are none before a port.
        Some((host, port)) if !rest.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (rest, usual_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains('/') {
        return Err(wrong());
    }
    Ok(BrokerUrl { is_tls, host: host.to_owned(), port })
}

impl Bus {
    /// Prepares a client; it connects once its tasks run. `tls` is for `mqtts://`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the URL.
    pub fn new(
        url: &str,
        fleet: &FleetId,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<(Bus, BusHandle), String> {
        let BrokerUrl { is_tls, host, port } = parse_url(url)?;
        let mut options = MqttOptions::new(SERVICE_NAME, (host, port));
        match tls.filter(|_| is_tls) {
            Some(tls) => {
                let tls = TlsConfiguration::Rustls(tls);
                options.set_transport(Transport::tls_with_config(tls));
            }
            None if is_tls => return Err(format!("`{url}` needs certificates")),
            None => {}
        }
        options
            .set_keep_alive(30)
            .set_clean_session(true)
            .set_max_packet_size(MQTT_PACKET_BYTES_MAX, MQTT_PACKET_BYTES_MAX)
            .set_max_request_batch(64)
            .set_inflight(1000);
        let client = AsyncClient::builder(options).capacity(1000);
        let (client, events) = client.try_build().map_err(|error| error.to_string())?;
        let (sender, commands) = mpsc::unbounded_channel();
        let handle = BusHandle { commands: sender, connected: Arc::default() };
        let bus = Bus { client, events, commands, handle: handle.clone(), fleet: fleet.clone() };
        Ok((bus, handle))
    }

    /// Starts both tasks; incoming messages arrive at the receiver.
    pub fn run(self, app: Arc<App>) -> (mpsc::Receiver<Message>, [tokio::task::JoinHandle<()>; 2]) {
        let (incoming, messages) = mpsc::channel(INCOMING_MAX);
        let drive = drive(self.events, self.client.clone(), self.handle, self.fleet, incoming);
        let publish = publish_all(app, self.client, self.commands);
        (messages, [tokio::spawn(drive), tokio::spawn(publish)])
    }
}

/// Drives the connection for ever: every error is followed by another try.
async fn drive(
    mut events: EventLoop,
    client: AsyncClient,
    handle: BusHandle,
    fleet: FleetId,
    incoming: mpsc::Sender<Message>,
) {
    let mut back_off = BACK_OFF_MIN;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                back_off = BACK_OFF_MIN;
                tokio::spawn(subscribe(client.clone(), fleet.clone()));
            }
            // Connected is who hears: what comes before the subscription is lost.
            Ok(Event::Incoming(Incoming::SubAck(_))) => {
                handle.connected.store(true, Ordering::Release);
                handle.send(Command::Everything);
                tracing::info!("connected to the broker");
            }
            Ok(Event::Incoming(Incoming::Publish(message))) => {
                let topic = String::from_utf8_lossy(&message.topic).into_owned();
                let message = Message { topic, payload: message.payload.to_vec() };
                if incoming.send(message).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                if handle.connected.swap(false, Ordering::AcqRel) {
                    tracing::warn!(%error, "lost the broker; connecting again");
                }
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

async fn subscribe(client: AsyncClient, fleet: FleetId) {
    let filters = [Channel::Reported, Channel::Status, Channel::Results].map(|channel| {
        SubscribeFilterInput::new(Topic::all_devices(&fleet, channel), QoS::AtLeastOnce)
    });
    if let Err(error) = client.subscribe_many(filters).await {
        tracing::error!(%error, "cannot subscribe");
    }
}

/// Publishes what it is told, reading the store at that moment.
async fn publish_all(
    app: Arc<App>,
    client: AsyncClient,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let mut batch = Vec::new();
    while commands.recv_many(&mut batch, PUBLISH_BATCH).await > 0 {
        let mut devices = BTreeSet::new();
        for command in batch.drain(..) {
            let done = match command {
                Command::Desired(device) => {
                    devices.insert(device);
                    Ok(())
                }
                Command::Ack(device, bytes) => {
                    let topic = Topic::Device(app.fleet.clone(), device, Channel::Ack);
                    send(&client, &topic, bytes, false).await
                }
                Command::Root(version) => root(&app, &client, version).await,
                Command::Clear(device) => clear(&app, &client, &device).await,
                Command::Everything => everything(&app, &client).await,
            };
            log(done);
        }
        log(desired(&app, &client, devices.into_iter().collect()).await);
    }
}

fn log(done: Result<(), Refusal>) {
    if let Err(refusal) = done {
        tracing::error!(%refusal, "cannot publish");
    }
}

async fn clear(app: &App, client: &AsyncClient, device: &DeviceId) -> Result<(), Refusal> {
    // What the device itself retained goes too: the broker would repeat it to us.
    for channel in [Channel::Desired, Channel::Reported, Channel::Status] {
        let topic = Topic::Device(app.fleet.clone(), device.clone(), channel);
        send(client, &topic, vec![], true).await?;
    }
    Ok(())
}

async fn root(app: &App, client: &AsyncClient, version: u64) -> Result<(), Refusal> {
    let envelope = app.store.read(move |db| Ok::<_, Refusal>(roots::find(db, version)?)).await?;
    let Some(envelope) = envelope else { return Ok(()) };
    send(client, &Topic::Trust(app.fleet.clone(), version), envelope, true).await
}

async fn everything(app: &App, client: &AsyncClient) -> Result<(), Refusal> {
    // Roots before documents, the oldest first: a device takes one after the other.
    for (version, envelope) in app.store.read(|db| Ok::<_, Refusal>(roots::chain(db)?)).await? {
        send(client, &Topic::Trust(app.fleet.clone(), version), envelope, true).await?;
    }
    let all =
        app.store.read(|db| Ok::<_, Refusal>(devices::list(db, &Selector::default())?)).await?;
    let external = app.store.read(|db| Ok::<_, Refusal>(publish::external_modules(db)?)).await?;
    module_bytes(app, client, external).await?;
    let names: Vec<DeviceId> = all.into_iter().map(|device| device.device).collect();
    for page in names.chunks(PUBLISH_BATCH) {
        desired(app, client, page.to_vec()).await?;
    }
    Ok(())
}

/// Publishes modules before the documents that name them.
async fn module_bytes(
    app: &App,
    client: &AsyncClient,
    digests: BTreeSet<Digest>,
) -> Result<(), Refusal> {
    for digest in digests {
        let topic = Topic::Module(app.fleet.clone(), digest.clone());
        let bytes =
            app.store.read(move |db| Ok::<_, Refusal>(modules::bytes(db, &digest)?)).await?;
        if let Some(bytes) = bytes {
            send(client, &topic, bytes, true).await?;
        }
    }
    Ok(())
}

async fn desired(app: &App, client: &AsyncClient, names: Vec<DeviceId>) -> Result<(), Refusal> {
    if names.is_empty() {
        return Ok(());
    }
    // Marked before it is sent, so that no device can apply it earlier.
    let (documents, external) = app
        .store
        .write(move |db| {
            let (mut documents, mut external) = (vec![], BTreeSet::new());
            let now_ms = clock::now_ms();
            for name in names {
                let known = devices::find(db, &name)?.filter(|device| device.conflict.is_none());
                let Some(device) = known else { continue };
                let Some(latest) = versions::latest(db, &device.device)? else { continue };
                documents.push((name.clone(), versions::envelope(db, &name, &latest)?));
                if latest.published_at_ms.is_none() {
                    versions::mark_published(db, &name, &latest, now_ms)?;
                    external.extend(latest.external_modules);
                }
            }
            Ok::<_, Refusal>((documents, external))
        })
        .await?;
    module_bytes(app, client, external).await?;
    for (device, envelope) in documents {
        let topic = Topic::Device(app.fleet.clone(), device, Channel::Desired);
        send(client, &topic, envelope, true).await?;
    }
    Ok(())
}

async fn send(
    client: &AsyncClient,
    topic: &Topic,
    bytes: Vec<u8>,
    retain: bool,
) -> Result<(), Refusal> {
    let options = PublishOptions::at_least_once().retain(retain);
    client
        .publish(topic.to_string(), bytes, options)
        .await
        .map_err(|error| Refusal::new(Reason::Unavailable, format!("{topic}: {error}")))
}
