//! TLS to the broker and to the place of enrolment: 1.3 only, the fleet's own roots
//! only, and the time is a floor that the caller gives, never the system's clock.
//!
//! A device may have no clock. It knows that it cannot be earlier than the floor, so a
//! certificate that ended before it is refused; one that begins after it may well be in
//! force by now, and is judged as at its beginning.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls' own.
    #[error("TLS: {0}")]
    Rustls(#[from] Error),
    /// The roots.
    #[error("the certificates to trust: {0}")]
    Roots(#[from] rustls::server::VerifierBuilderError),
}

/// The lowest possible time, shared with the network: the floor when the agent started,
/// what signed times raised it to, and what has passed since by the monotonic clock.
#[derive(Debug)]
pub struct FloorClock {
    start: Instant,
    at_start_ms: AtomicU64,
}

impl FloorClock {
    /// A clock that starts at this floor (Unix time, ms).
    pub fn new(floor_ms: u64) -> FloorClock {
        FloorClock { start: Instant::now(), at_start_ms: AtomicU64::new(floor_ms) }
    }

    /// The lowest time that it can be now (Unix time, ms).
    pub fn lowest_ms(&self) -> u64 {
        self.at_start_ms.load(Ordering::Relaxed).saturating_add(self.elapsed_ms())
    }

    /// Raises the floor to a time that is known to be past (Unix time, ms).
    pub fn raise(&self, to_ms: u64) {
        self.at_start_ms.fetch_max(to_ms.saturating_sub(self.elapsed_ms()), Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl TimeProvider for FloorClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(at(self.lowest_ms()))
    }
}

fn at(ms: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(ms))
}

/// Asks `verify` at the floor, and where it says "not yet", once more at the beginning.
fn at_floor<T>(floor: UnixTime, verify: impl Fn(UnixTime) -> Result<T, Error>) -> Result<T, Error> {
    match verify(floor) {
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        })) => verify(not_before),
        done => done,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn store(roots: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    Ok(Arc::new(store))
}

/// The configuration for connections to servers that these roots vouch for. With
/// `own`, the device shows its certificate.
///
/// # Errors
/// [`TlsError`] when there is no usable root.
pub fn client(
    roots: &[CertificateDer<'static>],
    clock: Arc<FloorClock>,
    own: Option<Arc<OwnCertificate>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let inner = WebPkiServerVerifier::builder_with_provider(store(roots)?, provider()).build()?;
    let builder = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(FloorVerifier(inner)));
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(own),
        None => builder.with_no_client_auth(),
    };
    // Each connection is judged anew, at the floor of its day.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Whether one of these roots issued the certificate to a client, and it has not
/// expired at the floor.
///
/// # Errors
/// What is wrong with it.
pub fn verify_own(
    roots: &[CertificateDer<'static>],
    certificate: &CertificateDer<'_>,
    clock: &FloorClock,
) -> Result<(), TlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(store(roots)?, provider()).build()?;
    let verify = |now| verifier.verify_client_cert(certificate, &[], now);
    Ok(at_floor(at(clock.lowest_ms()), verify).map(drop)?)
}

/// The usual verification, at the floor.
#[derive(Debug)]
struct FloorVerifier(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for FloorVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        // The floor: it is the configuration's own clock.
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        at_floor(now, |now| self.0.verify_server_cert(certificate, intermediates, name, ocsp, now))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The device's certificate and key, which a renewal exchanges under way.
pub struct OwnCertificate(RwLock<Arc<CertifiedKey>>);

impl OwnCertificate {
    /// This certificate, with the key to it.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn new(
        certificate: CertificateDer<'static>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<OwnCertificate, TlsError> {
        Ok(OwnCertificate(RwLock::new(certified(certificate, key)?)))
    }

    /// From the next connection on it is this one.
    ///
    /// # Errors
    /// When the key cannot sign; the old one stays.
    pub fn exchange(
        &self,
        certificate: CertificateDer<'static>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<(), TlsError> {
        let next = certified(certificate, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

fn certified(
    certificate: CertificateDer<'static>,
    key: &PrivateKeyDer<'_>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = rustls::crypto::ring::sign::any_ecdsa_type(key)?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
}

/// A key is not shown.
impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate").finish_non_exhaustive()
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
