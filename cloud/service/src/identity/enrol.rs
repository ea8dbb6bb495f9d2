//! Enrolment, renewal and revocation: who gets a certificate, and who loses it. What
//! is decided is stored in the same transaction.

use gnomon_schemas::acl::Peer;
use gnomon_schemas::enrol::{EnrolRequest, RenewRequest, renewal_message};
use gnomon_schemas::ids::{DeviceId, FleetId};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::reason::Refusal;
use rusqlite::Connection;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attempts::Attempts;
use super::ca::{Ca, Issued};
use super::certificate::{Facts, peer_of};
use super::request::Request;
use super::revoked::Revocations;
use super::token::{self, Token, TokenRefusal};
use super::{IdentityError, tls};
use crate::store::audit::{self, Entry};
use crate::store::identity::{self as rows, Certificate};
use crate::store::{Store, StoreError, devices};

/// How long a device's certificate lives: 90 days.
const DEVICE_LIFE_MS: u64 = 90 * 24 * 3600 * 1000;
/// Certificates of one device that are valid at a time: one in force, one renewed, and
/// some whose answer was lost. A stolen key must not fill the store.
const LIVE_CERTIFICATES_MAX: usize = 8;

/// How devices, broker and service know each other.
#[derive(Debug, Clone)]
pub struct IdentityOptions {
    /// Plain MQTT without authentication, on the loopback only: for development.
    pub insecure_mqtt: bool,
    /// More names and addresses under which devices find the embedded broker.
    pub broker_names: Vec<String>,
    /// Whom to trust at another broker, in PEM form; the fleet CA if not given.
    pub broker_ca: Option<PathBuf>,
    /// The service's certificate and key for another broker; its own if not given.
    pub broker_pair: Option<(PathBuf, PathBuf)>,
    /// How long a device's certificate lives, in milliseconds.
    pub device_certificate_ms: u64,
}

impl Default for IdentityOptions {
    fn default() -> IdentityOptions {
        IdentityOptions {
            insecure_mqtt: false,
            broker_names: vec![],
            broker_ca: None,
            broker_pair: None,
            device_certificate_ms: DEVICE_LIFE_MS,
        }
    }
}

impl IdentityOptions {
    /// For development: see [`IdentityOptions::insecure_mqtt`].
    pub fn insecure() -> IdentityOptions {
        IdentityOptions { insecure_mqtt: true, ..IdentityOptions::default() }
    }
}

/// Why an enrolment was refused: what its caller hears, and what our own log does.
struct NotEnrolled {
    refusal: Refusal,
    cause: String,
}

impl From<Refusal> for NotEnrolled {
    fn from(refusal: Refusal) -> NotEnrolled {
        NotEnrolled { cause: refusal.reason.to_string(), refusal }
    }
}

impl From<StoreError> for NotEnrolled {
    fn from(error: StoreError) -> NotEnrolled {
        Refusal::from(error).into()
    }
}

impl From<IdentityError> for NotEnrolled {
    fn from(error: IdentityError) -> NotEnrolled {
        Refusal::from(error).into()
    }
}

/// A one-time token, to be shown once.
pub struct Offer {
    /// Its text. It has no `Debug`.
    pub token: String,
    /// Until when it can be used (Unix time, ms).
    pub expires_at_ms: u64,
}

/// All that gives and takes certificates.
pub struct Identities {
    ca: Arc<Ca>,
    fleet: FleetId,
    revoked: Revocations,
    attempts: Attempts,
    life_ms: u64,
}

impl Identities {
    /// Opens the authority of a data folder and what the store knows of its
    /// certificates.
    ///
    /// # Errors
    /// When a file or the store cannot be used.
    pub async fn open(
        data_dir: &Path,
        fleet: &FleetId,
        store: &Store,
        options: &IdentityOptions,
        now_ms: u64,
    ) -> anyhow::Result<Identities> {
        let ca = Arc::new(Ca::open(data_dir, fleet, now_ms)?);
        let revoked = store.read(rows::revoked).await?;
        let serials = revoked.into_iter().map(|(serial, _)| serial).collect();
        Ok(Identities {
            ca,
            fleet: fleet.clone(),
            revoked: Revocations::new(serials),
            attempts: Attempts::default(),
            life_ms: options.device_certificate_ms,
        })
    }

    /// The authority.
    pub fn ca(&self) -> &Arc<Ca> {
        &self.ca
    }

    /// The certificates that no longer open anything.
    pub fn revoked(&self) -> &Revocations {
        &self.revoked
    }

    /// Makes a one-time token for a device that is registered.
    ///
    /// # Errors
    /// When its life is out of bounds, or the store fails.
    pub fn offer(
        &self,
        db: &Connection,
        device: &DeviceId,
        life_ms: u64,
        now_ms: u64,
    ) -> Result<Offer, Refusal> {
        let (text, kept) = token::make(device, now_ms, life_ms)?;
        rows::insert_token(db, &kept, now_ms)?;
        Ok(Offer { token: text, expires_at_ms: kept.expires_at_ms })
    }

    /// A first certificate for the bearer of a token; the token is used up.
    ///
    /// # Errors
    /// The reason; a guesser learns nothing from it, our own log does.
    pub async fn enrol(
        self: &Arc<Self>,
        store: &Store,
        request: EnrolRequest,
        entry: Entry,
        now_ms: u64,
    ) -> Result<Certificate, Refusal> {
        if !self.attempts.is_open(now_ms) {
            return Err(IdentityError::TooMany.into());
        }
        let this = Arc::clone(self);
        let recorded = entry.clone();
        let done = store
            .write(move |db| {
                let certificate = this.enrol_in(db, &request, now_ms)?;
                audit::append(db, now_ms, &recorded.with("serial", &*certificate.serial))?;
                Ok::<_, NotEnrolled>(certificate)
            })
            .await;
        match done {
            Ok(certificate) => Ok(certificate),
            Err(NotEnrolled { refusal, cause }) => {
                self.attempts.failed(now_ms);
                let entry = entry.with("refused", cause);
                let record =
                    move |db: &Connection| Ok::<_, Refusal>(audit::append(db, now_ms, &entry)?);
                // The refusal stands, whether or not it could be recorded.
                if let Err(error) = store.write(record).await {
                    tracing::error!(%error, "the audit log could not be written");
                }
                Err(refusal)
            }
        }
    }

    fn enrol_in(
        &self,
        db: &Connection,
        request: &EnrolRequest,
        now_ms: u64,
    ) -> Result<Certificate, NotEnrolled> {
        let device = &request.device;
        let refuse = |cause: TokenRefusal| {
            tracing::warn!(%device, %cause, "refused an enrolment");
            NotEnrolled { refusal: IdentityError::Token.into(), cause: cause.to_string() }
        };
        let token = Token::read(&request.token).ok_or_else(|| refuse(TokenRefusal::Unknown))?;
        let kept = rows::find_token(db, &token.name)?;
        let judged = token.judge(kept.as_ref(), device, now_ms);
        // Only the bearer of a good token has its request looked at.
        if let Err(cause) = judged
            && cause != TokenRefusal::Used
        {
            return Err(refuse(cause));
        }
        let asked = Request::read(&request.request)?;
        if judged.is_err() {
            // The answer may have been lost on the way; the same key gets it again.
            let serial = kept.and_then(|kept| kept.used_for);
            return serial
                .map(|serial| rows::find(db, &serial))
                .transpose()?
                .flatten()
                .filter(|there| there.revoked_at_ms.is_none() && is_for(there, &asked))
                .ok_or_else(|| refuse(TokenRefusal::Used));
        }
        if devices::find(db, device)?.is_none() {
            return Err(refuse(TokenRefusal::Unknown));
        }
        let certificate = self.issue(db, device, &asked, now_ms)?;
        rows::use_token(db, &token.name, &certificate.serial)?;
        tracing::info!(%device, serial = %certificate.serial, "enrolled a device");
        Ok(certificate)
    }

    /// The next certificate for a device that has one, by the signature of its key.
    ///
    /// # Errors
    /// Why not: the certificate, the request or the signature.
    pub async fn renew(
        self: &Arc<Self>,
        store: &Store,
        request: RenewRequest,
        entry: Entry,
        now_ms: u64,
    ) -> Result<Certificate, Refusal> {
        let wrong = |message: &str| IdentityError::Certificate(message.into());
        let held = CertificateDer::from_pem_slice(request.certificate.as_bytes())
            .map_err(|_| wrong("is not in PEM form"))?;
        self.ca.verify(&held, now_ms)?;
        let facts = Facts::read(&held)?;
        let Peer::Device(device) = peer_of(&facts, &self.fleet)? else {
            return Err(wrong("is not a device's").into());
        };
        let asked = Request::read(&request.request)?;
        let key = PublicKey::from_spki(facts.spki).map_err(|_| wrong("has no usable key"))?;
        let signature = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            request.signature.as_bytes(),
        );
        let signature = signature.map_err(|_| wrong("comes with a signature that is no base64"))?;
        if !key.verifies(&renewal_message(&asked.der), &signature) {
            return Err(wrong("is not the signer's of this renewal").into());
        }
        let this = Arc::clone(self);
        store
            .write(move |db| {
                let held = rows::find(db, &facts.serial)?;
                if held.is_none_or(|held| held.revoked_at_ms.is_some()) {
                    tracing::warn!(%device, serial = %facts.serial, "refused a renewal: revoked");
                    return Err(wrong("was revoked; enrol the device again").into());
                }
                let certificate = this.issue(db, &device, &asked, now_ms)?;
                tracing::info!(%device, serial = %certificate.serial, "renewed a certificate");
                let entry = entry.of(&device).with("serial", &*certificate.serial);
                audit::append(db, now_ms, &entry)?;
                Ok(certificate)
            })
            .await
    }

    fn issue(
        &self,
        db: &Connection,
        device: &DeviceId,
        request: &Request,
        now_ms: u64,
    ) -> Result<Certificate, Refusal> {
        let live: Vec<Certificate> = rows::of_device(db, device)?
            .into_iter()
            .filter(|there| there.revoked_at_ms.is_none() && there.expires_at_ms > now_ms)
            .collect();
        if let Some(there) = live.iter().find(|there| is_for(there, request)) {
            return Ok(there.clone());
        }
        if live.len() >= LIVE_CERTIFICATES_MAX {
            let message =
                format!("is one too many: `{device}` has {LIVE_CERTIFICATES_MAX}; revoke them");
            return Err(IdentityError::Request(message).into());
        }
        let peer = Peer::Device(device.clone());
        let Issued { pem, facts } = self.ca.issue(&peer, request, now_ms, self.life_ms)?;
        let certificate = Certificate {
            serial: facts.serial,
            device: device.clone(),
            issued_at_ms: now_ms,
            expires_at_ms: facts.not_after_ms,
            revoked_at_ms: None,
            pem,
        };
        rows::insert(db, &certificate)?;
        Ok(certificate)
    }

    /// Takes back all certificates of a device and its unused tokens. Once the
    /// transaction is through, give what this returned to [`Identities::kick`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn revoke(
        &self,
        db: &Connection,
        device: &DeviceId,
        now_ms: u64,
    ) -> Result<Vec<String>, StoreError> {
        rows::remove_tokens(db, device)?;
        let serials = rows::revoke_device(db, device, now_ms)?;
        tracing::info!(%device, count = serials.len(), "revoked a device's certificates");
        Ok(serials)
    }

    /// Shuts out the bearers of these certificates, the connected ones too.
    pub fn kick(&self, serials: Vec<String>) {
        self.revoked.extend(serials);
    }

    /// The signed list of revoked certificates, for other brokers.
    ///
    /// # Errors
    /// When the store fails, or the list cannot be signed.
    pub fn list(&self, db: &Connection, now_ms: u64) -> Result<String, Refusal> {
        Ok(self.ca.list(&rows::revoked(db)?, now_ms)?)
    }
}

/// Whether a certificate is for the key of a request.
fn is_for(certificate: &Certificate, request: &Request) -> bool {
    let facts = tls::from_pem(certificate.pem.as_bytes())
        .and_then(|all| all.first().map_or(Err(IdentityError::Token), Facts::read));
    facts.is_ok_and(|facts| facts.spki == request.spki)
}
