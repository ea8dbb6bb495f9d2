//! Where TLS ends: asks for a certificate, knows its bearer by it, reads and rewrites
//! CONNECT, and then copies bytes between the client and the broker behind.
//!
//! A connection ends when its certificate is revoked or expires. What may be published
//! or subscribed to is not known here.

use gnomon_schemas::acl::Peer;
use gnomon_schemas::ids::FleetId;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connect::{CONNECT_BYTES_MAX, Connect, ConnectRefusal, Read};
use crate::clock;
use crate::identity::{Facts, Revocations, peer_of};

/// From the first byte to a CONNECT that is through.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Handshakes at a time; with more, new connections wait in the system's queue.
const HANDSHAKES_MAX: usize = 1024;
const BACKLOG: u32 = 1024;
/// Certificates that live longer than this are looked at again after it.
const TIMER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The listener on that address. A restart does not wait for old connections.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The outer side of the broker.
pub(super) struct Front {
    tls: TlsAcceptor,
    fleet: FleetId,
    revoked: Revocations,
    secret: String,
    inner: SocketAddr,
    handshakes: Arc<Semaphore>,
}

/// A client whose certificate and CONNECT were good, and the broker's side of it.
struct Joined {
    peer: Peer,
    facts: Facts,
    outer: TlsStream<TcpStream>,
    inner: TcpStream,
}

impl Front {
    pub(super) fn new(
        tls: Arc<ServerConfig>,
        fleet: FleetId,
        revoked: Revocations,
        secret: String,
        inner: SocketAddr,
    ) -> Front {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        Front { tls: TlsAcceptor::from(tls), fleet, revoked, secret, inner, handshakes }
    }

    /// Accepts for ever.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&self.handshakes).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, address)) => {
                    let this = Arc::clone(&self);
                    tokio::spawn(async move {
                        let joined = this.join(stream);
                        let joined = tokio::time::timeout(HANDSHAKE_DEADLINE, joined).await;
                        drop(permit);
                        match joined {
                            Ok(Ok(joined)) => this.carry(joined).await,
                            Ok(Err(cause)) => {
                                // Anybody can bring this about: it must not fill a disk.
                                tracing::debug!(%address, %cause, "refused a connection");
                            }
                            Err(_) => tracing::debug!(%address, "a handshake took too long"),
                        }
                    });
                }
                Err(error) => {
                    // Out of file handles, most likely: some will be closed.
                    tracing::error!(%error, "cannot accept connections");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn join(&self, stream: TcpStream) -> Result<Joined, String> {
        let text = |error: io::Error| error.to_string();
        stream.set_nodelay(true).map_err(text)?;
        let mut outer = self.tls.accept(stream).await.map_err(text)?;
        let facts = match outer.get_ref().1.peer_certificates() {
            Some([certificate, ..]) => Facts::read(certificate).map_err(|e| e.to_string())?,
            _ => return Err("no certificate".into()),
        };
        let peer = peer_of(&facts, &self.fleet).map_err(|error| error.to_string())?;
        if self.revoked.contains(&facts.serial) {
            tracing::warn!(%peer, serial = %facts.serial, "refused a revoked certificate");
            return Err("revoked".into());
        }
        let (connect, rest) = read_connect(&mut outer).await?;
        if let Err(refusal) = connect.check(&self.fleet, &peer) {
            answer(&mut outer, refusal).await;
            tracing::warn!(%peer, %refusal, "refused a CONNECT");
            return Err(refusal.to_string());
        }
        let mut inner = TcpStream::connect(self.inner).await.map_err(text)?;
        inner.set_nodelay(true).map_err(text)?;
        inner.write_all(&connect.write(&peer, &self.secret)).await.map_err(text)?;
        inner.write_all(&rest).await.map_err(text)?;
        Ok(Joined { peer, facts, outer, inner })
    }

    /// Copies until one side ends, or the certificate does.
    async fn carry(&self, joined: Joined) {
        let Joined { peer, facts, mut outer, mut inner } = joined;
        tokio::select! {
            // How a connection broke is of no interest: clients come again.
            _ = copy_bidirectional(&mut outer, &mut inner) => {}
            () = self.revoked.wait_for(&facts.serial) => {
                tracing::info!(%peer, serial = %facts.serial, "cut off: revoked");
            }
            () = expiry(facts.not_after_ms) => {
                tracing::info!(%peer, serial = %facts.serial, "cut off: the certificate expired");
            }
        }
    }
}

/// Waits for a time of the wall clock, whatever that does meanwhile.
async fn expiry(at_ms: u64) {
    while let Some(left) = at_ms.checked_sub(clock::now_ms()).filter(|left| *left > 0) {
        tokio::time::sleep(Duration::from_millis(left).min(TIMER_MAX)).await;
    }
}

/// Reads the first packet, and whatever came with it.
async fn read_connect(stream: &mut TlsStream<TcpStream>) -> Result<(Connect, Vec<u8>), String> {
    let mut bytes = vec![];
    loop {
        match Connect::read(&bytes) {
            Ok(Read::Whole(connect, length)) => return Ok((connect, bytes.split_off(length))),
            // What is read is bounded: a packet that announces more than its cap is refused.
            Ok(Read::More) => {
                let mut chunk = [0; CONNECT_BYTES_MAX];
                let count = stream.read(&mut chunk).await.map_err(|error| error.to_string())?;
                if count == 0 {
                    return Err("it ended before CONNECT".into());
                }
                bytes.extend_from_slice(&chunk[..count]);
            }
            Err(refusal) => {
                answer(stream, refusal).await;
                return Err(refusal.to_string());
            }
        }
    }
}

/// Says why, where MQTT has a word for it, and ends the connection.
async fn answer(stream: &mut TlsStream<TcpStream>, refusal: ConnectRefusal) {
    if let Some(packet) = refusal.answer() {
        // Whether the client hears it changes nothing.
        stream.write_all(&packet).await.unwrap_or_default();
    }
    stream.shutdown().await.unwrap_or_default();
}
