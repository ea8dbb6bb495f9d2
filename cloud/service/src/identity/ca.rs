//! The fleet's certificate authority: made on first start, it names brokers, the
//! service and devices, and says which names it takes back.
//!
//! Names are set here, never taken from a request.

use gnomon_schemas::acl::Peer;
use gnomon_schemas::ids::{FleetId, to_hex};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData, RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

use super::{IdentityError, certificate::Facts, files, names, tls};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// How long the CA lives: twenty years. A device's roots are replaced with its firmware.
const CA_LIFE_MS: u64 = 20 * 365 * DAY_MS;
/// How long brokers and the service keep their names; they get new ones on a start in
/// the last third.
const SERVER_LIFE_MS: u64 = 2 * 365 * DAY_MS;
/// How far certificates reach back at most: clocks of other programs differ.
const BACKDATE_MS_MAX: u64 = 5 * 60 * 1000;
/// How long a list of revoked certificates counts; brokers want a newer one then.
const LIST_LIFE_MS: u64 = 30 * DAY_MS;

/// The authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
    fleet: FleetId,
}

/// A certificate that was just issued.
pub(super) struct Issued {
    pub(super) pem: String,
    pub(super) facts: Facts,
}

impl Ca {
    /// Reads the authority, or makes it on first start.
    ///
    /// # Errors
    /// [`IdentityError`], saying which file and what to do.
    pub fn open(data_dir: &Path, fleet: &FleetId, now_ms: u64) -> Result<Ca, IdentityError> {
        let key = files::key(&data_dir.join(names::CA_KEY))?;
        let path = data_dir.join(names::CA);
        let unusable = |message: String| IdentityError::Unusable { path: path.clone(), message };
        let params = ca_params(fleet, now_ms)?;
        let certificate = match files::certificate(&path)? {
            Some(certificate) => certificate,
            None => {
                let made = params.self_signed(&key)?;
                files::write(&path, made.pem().as_bytes(), 0o644)?;
                made.der().clone()
            }
        };
        let facts = Facts::read(&certificate)?;
        if facts.spki != key.subject_public_key_info() {
            return Err(unusable("does not belong to keys/ca.pem; put the right one there".into()));
        }
        if facts.common_names != [ca_name(fleet)] {
            return Err(unusable(format!("is not of fleet `{fleet}`; use another --data")));
        }
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).map_err(|error| unusable(error.to_string()))?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
                .build()
                .map_err(|error| unusable(error.to_string()))?;
        let issuer = Issuer::new(params, key);
        Ok(Ca { issuer, certificate, verifier, fleet: fleet.clone() })
    }

    /// Its certificate in PEM form.
    pub fn pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.certificate.to_vec()))
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What checks clients' certificates in a handshake.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Whether the certificate is of this authority, for a client, and valid now.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`] when it is not.
    pub fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        now_ms: u64,
    ) -> Result<(), IdentityError> {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        let verified = self.verifier.verify_client_cert(certificate, &[], now);
        verified.map(drop).map_err(|error| {
            IdentityError::Certificate(format!("is not one of this fleet's devices: {error}"))
        })
    }

    /// A client's certificate.
    pub(super) fn issue(
        &self,
        peer: &Peer,
        key: &impl PublicKeyData,
        now_ms: u64,
        life_ms: u64,
    ) -> Result<Issued, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, peer.name());
        let uri = Ia5String::try_from(peer.urn(&self.fleet))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, key, now_ms, life_ms)
    }

    /// The broker's certificate and key in the data folder, renewed where they are
    /// near their end or lack a name.
    ///
    /// # Errors
    /// [`IdentityError`], saying which file and what to do.
    pub fn broker(
        &self,
        data_dir: &Path,
        hosts: &BTreeSet<String>,
        now_ms: u64,
    ) -> Result<tls::Pair, IdentityError> {
        let files = [names::BROKER, names::BROKER_KEY];
        self.server(data_dir, files, "gnomon broker", hosts, now_ms)
    }

    /// The HTTP API's certificate and key in the data folder, renewed likewise.
    ///
    /// # Errors
    /// [`IdentityError`], saying which file and what to do.
    pub fn http(
        &self,
        data_dir: &Path,
        hosts: &BTreeSet<String>,
        now_ms: u64,
    ) -> Result<tls::Pair, IdentityError> {
        self.server(data_dir, [names::HTTP, names::HTTP_KEY], "gnomon http", hosts, now_ms)
    }

    fn server(
        &self,
        data_dir: &Path,
        files: [&str; 2],
        name: &str,
        hosts: &BTreeSet<String>,
        now_ms: u64,
    ) -> Result<tls::Pair, IdentityError> {
        let fits = |facts: &Facts| facts.hosts == *hosts;
        self.keep(data_dir, files, now_ms, fits, |key| {
            let mut params = CertificateParams::new(hosts.iter().cloned().collect::<Vec<_>>())?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            self.sign(params, key, now_ms, SERVER_LIFE_MS)
        })
    }

    /// The service's own certificate and key, as a client of the broker.
    ///
    /// # Errors
    /// [`IdentityError`], saying which file and what to do.
    pub fn service(&self, data_dir: &Path, now_ms: u64) -> Result<tls::Pair, IdentityError> {
        let fits = |facts: &Facts| facts.uris == [Peer::Service.urn(&self.fleet)];
        self.keep(data_dir, [names::SERVICE, names::SERVICE_KEY], now_ms, fits, |key| {
            self.issue(&Peer::Service, key, now_ms, SERVER_LIFE_MS)
        })
    }

    /// A signed list of revoked certificates in PEM form: serial and when.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] when it cannot be signed.
    pub fn list(&self, revoked: &[(String, u64)], now_ms: u64) -> Result<String, IdentityError> {
        let revoked_certs = revoked
            .iter()
            .filter_map(|(serial, at_ms)| {
                Some(RevokedCertParams {
                    serial_number: SerialNumber::from(from_hex(serial)?),
                    revocation_time: at(*at_ms).ok()?,
                    reason_code: Some(RevocationReason::PrivilegeWithdrawn),
                    invalidity_date: None,
                })
            })
            .collect();
        let params = CertificateRevocationListParams {
            this_update: at(now_ms.saturating_sub(BACKDATE_MS_MAX))?,
            next_update: at(now_ms.saturating_add(LIST_LIFE_MS))?,
            crl_number: SerialNumber::from(now_ms),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    fn keep(
        &self,
        data_dir: &Path,
        [certificate, key]: [&str; 2],
        now_ms: u64,
        fits: impl Fn(&Facts) -> bool,
        issue: impl FnOnce(&KeyPair) -> Result<Issued, IdentityError>,
    ) -> Result<tls::Pair, IdentityError> {
        let path = data_dir.join(certificate);
        let key = files::key(&data_dir.join(key))?;
        let there = files::certificate(&path)?.filter(|there| {
            Facts::read(there).is_ok_and(|facts| {
                facts.spki == key.subject_public_key_info()
                    && facts.not_after_ms.saturating_sub(now_ms) > SERVER_LIFE_MS / 3
                    && fits(&facts)
            }) && self.signed(there)
        });
        let certificate = match there {
            Some(there) => there,
            None => {
                files::write(&path, issue(&key)?.pem.as_bytes(), 0o644)?;
                // Just written, so it is there.
                files::certificate(&path)?.unwrap_or_else(|| self.certificate.clone())
            }
        };
        Ok(tls::Pair::new(certificate, &key))
    }

    /// Whether the certificate is of this authority, for whatever use, at its start.
    fn signed(&self, certificate: &CertificateDer<'_>) -> bool {
        tls::is_signed_by(certificate, &self.certificate)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        now_ms: u64,
        life_ms: u64,
    ) -> Result<Issued, IdentityError> {
        let backdate = BACKDATE_MS_MAX.min(life_ms / 12);
        params.not_before = at(now_ms.saturating_sub(backdate))?;
        params.not_after = at(now_ms.saturating_add(life_ms))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(Issued { pem: certificate.pem(), facts: Facts::read(certificate.der())? })
    }
}

fn ca_name(fleet: &FleetId) -> String {
    format!("gnomon fleet {fleet}")
}

fn ca_params(fleet: &FleetId, now_ms: u64) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, ca_name(fleet));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = at(now_ms.saturating_sub(BACKDATE_MS_MAX))?;
    params.not_after = at(now_ms.saturating_add(CA_LIFE_MS))?;
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// 16 random bytes that are a positive number of that length in every encoding.
fn serial() -> Result<SerialNumber, IdentityError> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| IdentityError::Crypto("no randomness".into()))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from(bytes.to_vec()))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    let bytes: Option<Vec<u8>> =
        pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
    bytes.filter(|bytes| to_hex(bytes) == text)
}

fn at(ms: u64) -> Result<OffsetDateTime, IdentityError> {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_err(|_| IdentityError::Crypto("a time after the year 9999".into()))
}
