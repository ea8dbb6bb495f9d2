//! The embedded MQTT broker: rmqtt as a library, on a thread and a runtime of its
//! own, so that stopping it frees the port whatever tasks it still has.
//!
//! It keeps retained messages in memory only: the store is the truth, and the bus
//! publishes everything again whenever it connects. Several brokers can live in
//! one process.
//!
//! rmqtt's own TLS would bring a second crypto provider, so TLS ends in [`front`]: it
//! knows who connects by the certificate, reads and rewrites the CONNECT packet, and
//! hands the rest on to rmqtt, which listens on the loopback and takes nobody else
//! ([`hooks`]). Every payload is still checked as if anybody could have sent it.

mod connect;
mod front;
mod hooks;

use gnomon_schemas::ids::{FleetId, to_hex};
use gnomon_schemas::limits::MQTT_PACKET_BYTES_MAX;
use ring::rand::{SecureRandom as _, SystemRandom};
use rmqtt::context::ServerContext;
use rmqtt::net::{Builder, Listener};
use rmqtt::node::Node;
use rmqtt::server::MqttServer;
use rustls::ServerConfig;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::identity::Revocations;
use front::Front;
use hooks::Hooks;

/// Messages that wait for one client, at most: results of a large fleet come in bursts.
const QUEUE_MESSAGES_MAX: usize = 200_000;
/// Messages on their way to one client without its acknowledgement.
const INFLIGHT_MAX: u16 = 1024;

/// The broker could not start.
#[derive(Debug, thiserror::Error)]
#[error("the embedded broker could not listen on {address}: {message}")]
pub struct BrokerError {
    address: SocketAddr,
    message: String,
}

/// Who may connect.
#[derive(Clone)]
pub enum Security {
    /// Anybody, without TLS and without an ACL: for development, on the loopback only.
    Open,
    /// Who has a certificate of the fleet CA, to do what the ACL says.
    Mutual {
        /// The broker's side of TLS; it asks every client for a certificate.
        tls: Arc<ServerConfig>,
        /// The fleet.
        fleet: FleetId,
        /// Certificates that no longer open anything.
        revoked: Revocations,
    },
}

/// A broker that runs until it is dropped.
pub struct Broker {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker; port 0 takes any free one. Blocks until it listens.
    ///
    /// # Errors
    /// [`BrokerError`] when the address is not free, or one that others can reach
    /// without [`Security::Mutual`].
    pub fn start(address: SocketAddr, security: Security) -> Result<Broker, BrokerError> {
        let failed = |message: String| BrokerError { address, message };
        if matches!(security, Security::Open) && !address.ip().is_loopback() {
            let message = "without TLS and authentication (--insecure-mqtt) it listens on a \
                           loopback address only; give --mqtt 127.0.0.1:PORT";
            return Err(failed(message.into()));
        }
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("gnomon-broker".into())
            .spawn(move || run(address, security, stopped, &ready))
            .map_err(|error| failed(error.to_string()))?;
        match started.recv() {
            Ok(Ok(address)) => Ok(Broker { address, stop: Some(stop), thread: Some(thread) }),
            Ok(Err(message)) => Err(failed(message)),
            Err(_) => Err(failed("its thread ended".into())),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The thread may be gone already; then there is nobody to tell.
        self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the embedded broker's thread panicked");
        }
    }
}

fn run(
    address: SocketAddr,
    security: Security,
    stopped: oneshot::Receiver<()>,
    ready: &mpsc::SyncSender<Result<SocketAddr, String>>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gnomon-broker-worker")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            ready.send(Err(error.to_string())).unwrap_or_default();
            return;
        }
    };
    runtime.block_on(async {
        let (parts, address) = match parts(address, security).await {
            Ok(parts) => parts,
            Err(message) => {
                ready.send(Err(message)).unwrap_or_default();
                return;
            }
        };
        // Nobody waits when the starting thread is gone; `stopped` then ends it at once.
        ready.send(Ok(address)).unwrap_or_default();
        tokio::select! {
            ended = parts.server.run() => {
                tracing::error!(?ended, "the embedded broker ended");
            }
            () = accept(parts.front) => {}
            _ = stopped => {}
        }
    });
    // Drops every connection and the listener with it.
    runtime.shutdown_timeout(Duration::from_secs(2));
}

/// What runs together.
struct Parts {
    server: MqttServer,
    front: Option<(Arc<Front>, TcpListener)>,
}

async fn accept(front: Option<(Arc<Front>, TcpListener)>) {
    match front {
        Some((front, listener)) => front.accept(listener).await,
        None => std::future::pending().await,
    }
}

async fn parts(address: SocketAddr, security: Security) -> Result<(Parts, SocketAddr), String> {
    let Security::Mutual { tls, fleet, revoked } = security else {
        let (server, bound) = server(address, None).await?;
        return Ok((Parts { server, front: None }, bound));
    };
    let outer = front::listen(address).map_err(|error| error.to_string())?;
    let bound = outer.local_addr().map_err(|error| error.to_string())?;
    let mut secret = [0; 32];
    let filled = SystemRandom::new().fill(&mut secret);
    filled.map_err(|_| "the system gives no random numbers")?;
    let secret = to_hex(&secret);
    let inner = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let hooks = Hooks { fleet: fleet.clone(), secret: secret.clone() };
    let (server, inner) = server(inner, Some(hooks)).await?;
    let front = Front::new(tls, fleet, revoked, secret, inner);
    Ok((Parts { server, front: Some((Arc::new(front), outer)) }, bound))
}

async fn server(
    address: SocketAddr,
    hooks: Option<Hooks>,
) -> Result<(MqttServer, SocketAddr), String> {
    let listener = listen(address, hooks.is_none()).map_err(|error| format!("{error:#}"))?;
    let bound = listener.local_addr().map_err(|error| format!("{error:#}"))?;
    // Without a lifetime of its own a retained message would go after five minutes,
    // like any message that waits.
    let retainer = format!(
        "storage.type=\"ram\"\nmax_payload_size=\"{MQTT_PACKET_BYTES_MAX}B\"\n\
         retained_message_ttl=\"0s\"\n"
    );
    let context = ServerContext::new()
        .node(Node::default())
        .busy_check_enable(false)
        .mqtt_max_sessions(0)
        .plugins_config_map_add("rmqtt-retainer", retainer)
        .build()
        .await;
    if let Some(hooks) = hooks {
        hooks.register(&context).await;
    }
    rmqtt_retainer::register(&context, true, false).await.map_err(|error| format!("{error:#}"))?;
    Ok((MqttServer::new(context).listener_by_id(listener, 1).build(), bound))
}

fn listen(address: SocketAddr, allow_anonymous: bool) -> rmqtt::net::Result<Listener> {
    let packet_bytes_max = u32::try_from(MQTT_PACKET_BYTES_MAX).unwrap_or(u32::MAX);
    Builder::new()
        .name("gnomon")
        .laddr(address)
        // Its default lets in whoever gives no user name, and asks no hook.
        .allow_anonymous(allow_anonymous)
        // A restart must not wait for the last connections' TIME_WAIT.
        .reuseaddr(Some(true))
        .nodelay(true)
        .max_packet_size(packet_bytes_max)
        .max_mqueue_len(QUEUE_MESSAGES_MAX)
        .max_inflight(NonZeroU16::new(INFLIGHT_MAX).unwrap_or(NonZeroU16::MIN))
        .max_handshaking_limit(20_000)
        .bind()?
        .tcp()
}
