//! TLS for the bus: 1.3 only, *ring* only, no roots but those given, and no session
//! that outlives its certificate's check.

use rcgen::KeyPair;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use x509_cert::der::{Decode as _, Encode as _};

use super::{Ca, IdentityError};
use crate::clock;

/// The one crypto provider.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The service's clock, for certificates.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(clock::now_ms())))
    }
}

/// A certificate and the private key to it.
pub struct Pair {
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Pair {
    pub(super) fn new(certificate: CertificateDer<'static>, key: &KeyPair) -> Pair {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Pair { certificates: vec![certificate], key }
    }

    /// The chain and the key.
    pub(crate) fn into_parts(self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.certificates, self.key)
    }

    /// Reads both from PEM.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] when they are not there.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Pair, IdentityError> {
        let certificates = from_pem(certificates)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| IdentityError::Crypto("not a private key in PEM form".into()))?;
        Ok(Pair { certificates, key })
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// [`IdentityError::Crypto`] when there is none.
pub fn from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    read.ok()
        .filter(|read| !read.is_empty())
        .ok_or_else(|| IdentityError::Crypto("no certificate in PEM form".into()))
}

/// The broker's side: every client shows a certificate of the fleet CA.
///
/// # Errors
/// [`IdentityError::Crypto`] when key and certificate do not fit.
pub fn broker_side(ca: &Ca, pair: Pair) -> Result<Arc<ServerConfig>, IdentityError> {
    let unusable = |error: rustls::Error| IdentityError::Crypto(error.to_string());
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(ca.verifier())
        .with_single_cert(pair.certificates, pair.key)
        .map_err(unusable)?;
    // Each connection shows its certificate anew, so that revocation cannot be slept over.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The service's side of its connection to a broker.
///
/// # Errors
/// [`IdentityError::Crypto`] when something does not fit.
pub fn service_side(
    roots: Vec<CertificateDer<'static>>,
    pair: Pair,
) -> Result<Arc<ClientConfig>, IdentityError> {
    let unusable = |error: rustls::Error| IdentityError::Crypto(error.to_string());
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root).map_err(unusable)?;
    }
    let config = ClientConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_root_certificates(store)
        .with_client_auth_cert(pair.certificates, pair.key)
        .map_err(unusable)?;
    Ok(Arc::new(config))
}

/// Whether `ca`'s key has signed `certificate`, whenever and for whatever use.
pub(super) fn is_signed_by(certificate: &CertificateDer<'_>, ca: &CertificateDer<'_>) -> bool {
    let signed = || {
        let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
        let ca = x509_cert::Certificate::from_der(ca).ok()?;
        let spki = ca.tbs_certificate.subject_public_key_info.to_der().ok()?;
        let key = gnomon_schemas::keys::PublicKey::from_spki(spki).ok()?;
        let body = certificate.tbs_certificate.to_der().ok()?;
        Some(key.verifies(&body, certificate.signature.raw_bytes()))
    };
    signed() == Some(true)
}
