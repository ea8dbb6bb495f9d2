//! Connections of the HTTP API: the loop that accepts them, TLS, and caps and deadlines
//! on everything that a peer does before it has proved anything.
//!
//! It knows no route and no token.

use anyhow::{Context as _, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version::TLS13};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::keys;

/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long to wait after the system could not accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a peer may take before it has proved anything.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at one time; more wait in the system's queue.
    pub connections_max: usize,
    /// TLS handshakes at one time: each costs a signature.
    pub handshakes_max: usize,
    /// How long a handshake may take, its wait for a place included.
    pub handshake: Duration,
    /// How long a request's head may take, and how long a connection may be idle.
    pub head: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 512,
            handshakes_max: 64,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(20),
        }
    }
}

/// What a server needs to speak TLS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// TLS 1.3 with this certificate chain and private key. Older versions are not
    /// spoken: every client that we know of has had 1.3 for years.
    ///
    /// # Errors
    /// When key and certificate do not fit each other.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Tls> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("certificate and key do not fit each other")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls(TlsAcceptor::from(Arc::new(config))))
    }

    /// From PEM files.
    ///
    /// # Errors
    /// When a file cannot be read, or others can read the key.
    pub fn read(certificate: &Path, key: &Path) -> Result<Tls> {
        keys::check_mode(key)?;
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("{} has no certificates in PEM", certificate.display()))?;
        let private = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("{} has no private key in PEM", key.display()))?;
        Tls::new(chain, private)
            .with_context(|| format!("{} and {}", certificate.display(), key.display()))
    }
}

/// Serves until `stopped` is told or dropped; then ends open requests and returns.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    limits: Limits,
    mut stopped: oneshot::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let handshakes = Arc::new(Semaphore::new(limits.handshakes_max));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            _ = &mut stopped => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (tls, router) = (tls.clone(), router.clone());
                let (handshakes, closed) = (Arc::clone(&handshakes), closed.clone());
                connections.spawn(async move {
                    let _place = place;
                    let handshakes = (&*handshakes, limits.handshake);
                    connection(stream, tls, handshakes, (router, limits.head), closed).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    // Nobody may be listening.
    closing.send(true).unwrap_or_default();
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    tls: Option<Tls>,
    (handshakes, deadline): (&Semaphore, Duration),
    service: (Router, Duration),
    closed: watch::Receiver<bool>,
) {
    // Small answers are not held back; a socket that refuses this still works.
    stream.set_nodelay(true).unwrap_or_default();
    let Some(Tls(acceptor)) = tls else {
        return requests(stream, service, closed).await;
    };
    let handshake = async {
        let _place = handshakes.acquire().await;
        acceptor.accept(stream).await
    };
    match tokio::time::timeout(deadline, handshake).await {
        Ok(Ok(stream)) => requests(stream, service, closed).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn requests<S>(
    stream: S,
    (router, head): (Router, Duration),
    mut closed: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let done = tokio::select! {
        done = connection.as_mut() => done,
        _ = closed.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        // A peer that went away, or did not keep to HTTP: nothing to do about it here.
        tracing::debug!(%error, "a connection ended");
    }
}
