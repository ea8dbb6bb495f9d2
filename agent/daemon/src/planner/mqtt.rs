//! The agent's MQTT connection: what comes becomes events, what goes never waits.
//!
//! MQTT 3.1.1 semantics, QoS 1, clean sessions: order, deduplication and
//! acknowledgement are ours, so nothing depends on what a broker remembers. What
//! the bytes mean is not known here.

use gnomon_agent_core::Event;
use gnomon_schemas::limits::MQTT_PACKET_BYTES_MAX;
use gnomon_schemas::reported::{Status, StatusSchema};
use gnomon_schemas::topics::{Channel, Topic};
use gnomon_schemas::{BootId, DeviceId, Digest, FleetId};
use rumqttc::{
    AsyncClient, Broker, EventLoop, LastWill, MqttOptions, Outgoing, Packet, PublishOptions, QoS,
    TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::tls::FloorClock;

/// Requests that may wait for the network; with more, the caller comes again.
const REQUESTS_MAX: usize = 256;
/// How often each side makes sure that the other is there.
const KEEP_ALIVE_S: u16 = 30;
/// The first and the longest pause before a reconnection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// How long the last messages may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// How the broker is reached.
pub struct Way {
    /// Its host and port.
    pub broker: (String, u16),
    /// TLS, with the device's certificate.
    pub tls: Option<Arc<ClientConfig>>,
    /// The time by which certificates are judged.
    pub clock: Arc<FloorClock>,
    /// Changes when there is another certificate: then the connection is made anew.
    pub renewed: watch::Receiver<u64>,
}

/// The sending side of the connection.
pub struct Bus {
    client: AsyncClient,
    fleet: FleetId,
    device: DeviceId,
    boot: BootId,
    fetching: BTreeSet<Digest>,
    /// The trust root that is waited for.
    next_root: Option<u64>,
    clock: Arc<FloorClock>,
    listener: JoinHandle<()>,
}

impl Bus {
    /// Starts to connect, and goes on doing so for ever; events go to `events`.
    ///
    /// # Errors
    /// When the client refuses its own options.
    pub fn start(
        way: Way,
        (fleet, device, boot): (FleetId, DeviceId, BootId),
        events: mpsc::Sender<Event>,
    ) -> Result<Bus, rumqttc::ClientBuildError> {
        let status = Topic::Device(fleet.clone(), device.clone(), Channel::Status).to_string();
        let gone = status_bytes(&device, &boot, false);
        let Way { broker: (host, port), tls, clock, mut renewed } = way;
        let mut options = MqttOptions::builder(device.as_str(), Broker::tcp(host, port))
            .keep_alive(KEEP_ALIVE_S)
            .clean_session(true)
            .max_packet_size(MQTT_PACKET_BYTES_MAX, MQTT_PACKET_BYTES_MAX)
            .build();
        if let Some(tls) = tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
        }
        options.set_last_will(LastWill::new(status, gone, QoS::AtLeastOnce, true));
        let (client, connection) =
            AsyncClient::builder(options).capacity(REQUESTS_MAX).try_build()?;
        let desired = Topic::Device(fleet.clone(), device.clone(), Channel::Desired).to_string();
        let ack = Topic::Device(fleet.clone(), device.clone(), Channel::Ack).to_string();
        let subscriber = client.clone();
        renewed.mark_unchanged();
        let listener = tokio::spawn(listen(connection, renewed, events, move || {
            // Subscribe first: the retained document follows.
            [&desired, &ack]
                .into_iter()
                .all(|topic| subscriber.try_subscribe(topic.as_str(), QoS::AtLeastOnce).is_ok())
        }));
        Ok(Bus {
            client,
            fleet,
            device,
            boot,
            fetching: BTreeSet::new(),
            next_root: None,
            clock,
            listener,
        })
    }

    /// Publishes on one of the device's own topics; `false` when there is no room.
    pub fn publish(&self, channel: Channel, retained: bool, payload: Vec<u8>) -> bool {
        let topic = Topic::Device(self.fleet.clone(), self.device.clone(), channel).to_string();
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retained);
        self.client.try_publish(topic, payload, options).is_ok()
    }

    /// Certificates are judged at this time (Unix time, ms) or later.
    pub fn raise_time_floor(&self, to_ms: u64) {
        self.clock.raise(to_ms);
    }

    /// Says that the device is there, and asks again for what it was fetching.
    pub fn greet(&self) {
        let hello = status_bytes(&self.device, &self.boot, true);
        self.publish(Channel::Status, true, hello);
        self.fetching.iter().for_each(|digest| self.subscribe(digest));
    }

    /// Asks for a module's retained bytes.
    pub fn fetch(&mut self, digest: Digest) {
        self.subscribe(&digest);
        self.fetching.insert(digest);
    }

    /// Asks for the retained trust root of this version, and for none before it.
    pub fn fetch_root(&mut self, version: u64) {
        let topic = |version| Topic::Trust(self.fleet.clone(), version).to_string();
        if let Some(before) = self.next_root.replace(version).filter(|before| *before != version) {
            // Without room the broker goes on sending what is refused then.
            let _ = self.client.try_unsubscribe(topic(before));
        }
        // Without room the next connection asks again.
        let _ = self.client.try_subscribe(topic(version), QoS::AtLeastOnce);
    }

    /// Has the broker repeat the retained document.
    pub fn fetch_document(&self) {
        let topic = Topic::Device(self.fleet.clone(), self.device.clone(), Channel::Desired);
        let _ = self.client.try_subscribe(topic.to_string(), QoS::AtLeastOnce);
    }

    /// Leaves a module's topic.
    pub fn forget(&mut self, digest: &Digest) {
        if self.fetching.remove(digest) {
            // Without room the broker goes on sending what is ignored then.
            let _ = self.client.try_unsubscribe(self.module_topic(digest));
        }
    }

    fn subscribe(&self, digest: &Digest) {
        // Without room the next connection asks again.
        let _ = self.client.try_subscribe(self.module_topic(digest), QoS::AtLeastOnce);
    }

    fn module_topic(&self, digest: &Digest) -> String {
        Topic::Module(self.fleet.clone(), digest.clone()).to_string()
    }

    /// Says goodbye where there is a connection, so that the broker need not send
    /// the last will; then the connection is closed in any case.
    pub async fn leave(mut self, connected: bool) {
        self.publish(Channel::Status, true, status_bytes(&self.device, &self.boot, false));
        if connected && self.client.try_disconnect_with_timeout(GOODBYE).is_ok() {
            // It ends with the disconnection; a broker that does not answer is left.
            let _ = tokio::time::timeout(2 * GOODBYE, &mut self.listener).await;
        }
        self.listener.abort();
    }
}

fn status_bytes(device: &DeviceId, boot: &BootId, online: bool) -> Vec<u8> {
    let status =
        Status { schema: StatusSchema::V1, device: device.clone(), boot: boot.clone(), online };
    // A struct of strings and a bool has a JSON form.
    serde_json::to_vec(&status).unwrap_or_default()
}

async fn listen(
    mut connection: EventLoop,
    mut renewed: watch::Receiver<u64>,
    events: mpsc::Sender<Event>,
    subscribe: impl Fn() -> bool,
) {
    let mut pause = BACKOFF.0;
    let mut connected = false;
    let mut subscribed = false;
    loop {
        let polled = tokio::select! {
            polled = connection.poll() => polled,
            // While nobody renews, this never comes.
            () = changed(&mut renewed) => {
                connection.clean();
                if std::mem::take(&mut connected)
                    && events.send(Event::Disconnected).await.is_err()
                {
                    return;
                }
                continue;
            }
        };
        let event = match polled {
            Ok(rumqttc::Event::Incoming(Packet::ConnAck(_))) => {
                pause = BACKOFF.0;
                (connected, subscribed) = (true, false);
                Some(Event::Connected)
            }
            // Only `leave` asks for it.
            Ok(rumqttc::Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(rumqttc::Event::Incoming(Packet::Publish(message))) => {
                event_of(&String::from_utf8_lossy(&message.topic), message.payload.to_vec())
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, ?pause, "no connection to the broker");
                let lost = std::mem::take(&mut connected).then_some(Event::Disconnected);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACKOFF.1);
                lost
            }
        };
        if events.is_closed() {
            return;
        }
        // Without room the next turn asks again: each takes something from the queue.
        if connected && !subscribed {
            subscribed = subscribe();
        }
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

async fn changed(renewed: &mut watch::Receiver<u64>) {
    if renewed.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn event_of(topic: &str, payload: Vec<u8>) -> Option<Event> {
    match Topic::parse(topic)? {
        // An empty retained message is a topic that was cleared.
        _ if payload.is_empty() => None,
        Topic::Device(_, _, Channel::Desired) => Some(Event::Document(payload)),
        Topic::Device(_, _, Channel::Ack) => Some(Event::Ack(payload)),
        Topic::Trust(..) => Some(Event::TrustRoot(payload)),
        Topic::Module(_, digest) => Some(Event::Module(digest, payload)),
        _ => None,
    }
}
