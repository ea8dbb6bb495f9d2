//! Asks the cloud for the device's certificates: the first by a one-time token, each
//! next one by the key in force, in time. The key never leaves.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gnomon_schemas::DeviceId;
use gnomon_schemas::enrol::{
    ENROL_PATH, EnrolAnswer, EnrolRequest, RENEW_PATH, RenewRequest, renew_at_ms, renewal_message,
};
use gnomon_schemas::limits::ENROL_BYTES_MAX;
use gnomon_schemas::strict;
use rcgen::{
    CertificateParams, CertificateSigningRequest, DistinguishedName, DnType, SigningKey as _,
};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

use crate::config::Mutual;
use crate::credentials::{Credentials, Pair};
use crate::post::{PostError, post};
use crate::start::RELEASED_AT_MS;
use crate::tls::{self, FloorClock, OwnCertificate, TlsError};

/// How often a renewal that is not due yet is thought of again: the floor may jump.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// The shortest and the longest pause after a renewal that failed.
const RETRY: (u64, u64) = (1_000, 6 * 3600 * 1000);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A file.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// A private key that others can read.
    #[error("{0} can be read by others: run `chmod 600`")]
    Exposed(PathBuf),
    /// A file that is not what its name says.
    #[error("{0} cannot be used: remove it, and enrol the device again")]
    Unusable(PathBuf),
    /// There is no certificate yet.
    #[error("the device has no certificate: make a token with `gnomon device enroll`, and give it")]
    NotEnrolled,
    /// The folder says nothing of certificates.
    #[error("agent.json has no `tls` and `enroll`: write it with `gnomon device bundle`")]
    NothingToDo,
    /// The cloud could not be asked.
    #[error("cannot ask for a certificate: {0}")]
    Post(#[from] PostError),
    /// The cloud said no.
    #[error("the cloud refused ({0}): {1}")]
    Refused(String, String),
    /// The cloud's answer is no certificate for this device.
    #[error("the cloud's answer is not a certificate for this device: {0}")]
    Answer(String),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A key could not be made or used.
    #[error("cannot make or use a key: {0}")]
    Key(#[from] rcgen::Error),
}

/// Where and how certificates are asked for.
pub struct Office {
    mutual: Mutual,
    device: DeviceId,
    credentials: Credentials,
    /// By which renewal is due: signed times count.
    clock: Arc<FloorClock>,
    /// By which certificates are judged: the agent's release and what has passed since.
    /// No signed time counts: whoever stole the director's key could else lie a device
    /// off its broker, and so away from the trust root that ends the theft.
    release: Arc<FloorClock>,
    tls: Arc<ClientConfig>,
}

impl Office {
    /// The office of a device whose data is in `data`.
    ///
    /// # Errors
    /// When there is no usable root to trust.
    pub fn new(
        mutual: Mutual,
        device: DeviceId,
        data: &Path,
        clock: Arc<FloorClock>,
    ) -> Result<Office, EnrolError> {
        let credentials = Credentials::new(data, &mutual.certificate, &mutual.key);
        let release = Arc::new(FloorClock::new(RELEASED_AT_MS));
        let tls = tls::client(&mutual.enrol_roots, Arc::clone(&release), None)?;
        Ok(Office { mutual, device, credentials, clock, release, tls })
    }

    /// The pair that is there.
    ///
    /// # Errors
    /// As [`Credentials::load`].
    pub fn load(&self) -> Result<Option<Pair>, EnrolError> {
        self.credentials.load()
    }

    /// TLS to the broker, with this certificate.
    ///
    /// # Errors
    /// When something does not fit.
    pub fn broker_tls(&self, own: Arc<OwnCertificate>) -> Result<Arc<ClientConfig>, TlsError> {
        tls::client(&self.mutual.roots, Arc::clone(&self.release), Some(own))
    }

    /// Gets the first certificate by a one-time token.
    ///
    /// # Errors
    /// [`EnrolError`]; asking again with the same token is right where the cloud could
    /// not be reached.
    pub async fn enrol(&self, token: &str) -> Result<Pair, EnrolError> {
        let request = self.request()?;
        let request = EnrolRequest {
            device: self.device.clone(),
            token: token.trim().to_owned(),
            request: request.pem()?,
        };
        self.ask(ENROL_PATH, &request).await
    }

    /// Gets the next certificate by the one in force.
    ///
    /// # Errors
    /// [`EnrolError`]; the old pair stays.
    pub async fn renew(&self, held: &Pair) -> Result<Pair, EnrolError> {
        let request = self.request()?;
        let signature = held.key.sign(&renewal_message(request.der()))?;
        let request = RenewRequest {
            certificate: held.pem(),
            request: request.pem()?,
            signature: STANDARD.encode(signature),
        };
        self.ask(RENEW_PATH, &request).await
    }

    fn request(&self) -> Result<CertificateSigningRequest, EnrolError> {
        let key = self.credentials.next_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.device.as_str());
        Ok(params.serialize_request(&key)?)
    }

    async fn ask(&self, path: &str, request: &impl serde::Serialize) -> Result<Pair, EnrolError> {
        let to = self.mutual.enrol.as_ref().ok_or(EnrolError::NothingToDo)?;
        let wrong = |message: String| EnrolError::Answer(message);
        let body = serde_json::to_vec(request).map_err(|error| wrong(error.to_string()))?;
        let (status, answer) = post(to, Arc::clone(&self.tls), path, &body).await?;
        if status != 200 {
            return Err(refused(status, &answer));
        }
        let answer: EnrolAnswer =
            strict::parse(&answer, ENROL_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(answer.certificate.as_bytes())
            .map_err(|_| wrong("not in PEM form".into()))?;
        tls::verify_own(&self.mutual.roots, &certificate, &self.release)
            .map_err(|error| wrong(error.to_string()))?;
        if !self.credentials.is_for_next(&answer.certificate)? {
            return Err(wrong("it is for another key".into()));
        }
        self.credentials.keep(&answer.certificate)
    }

    /// Renews in time, for ever. Each new certificate is in `own` before `renewed` says
    /// so.
    pub async fn keep_renewed(
        self,
        mut held: Pair,
        own: Arc<OwnCertificate>,
        renewed: watch::Sender<u64>,
    ) {
        let mut failures = 0;
        loop {
            let due_ms = renew_at_ms(held.not_before_ms, held.not_after_ms);
            // The fleet's own authority says that it is no earlier than this.
            let now_ms = self.clock.lowest_ms().max(held.not_before_ms);
            if let Some(left) = due_ms.checked_sub(now_ms).filter(|left| *left > 0) {
                tokio::time::sleep(Duration::from_millis(left).min(LOOK_AGAIN)).await;
                continue;
            }
            match self.renew(&held).await {
                Ok(next) => {
                    failures = 0;
                    match own.exchange(next.certificate.clone(), &next.private()) {
                        Ok(()) => renewed.send_modify(|count| *count = count.saturating_add(1)),
                        Err(error) => tracing::error!(%error, "the new certificate is of no use"),
                    }
                    tracing::info!("renewed the device's certificate");
                    held = next;
                    // A floor that lies far ahead would have it renewed without end.
                    if renew_at_ms(held.not_before_ms, held.not_after_ms) <= self.clock.lowest_ms()
                    {
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                }
                Err(error) => {
                    let life_ms = held.not_after_ms.saturating_sub(held.not_before_ms);
                    let pause = Duration::from_millis(retry_after_ms(failures, life_ms));
                    tracing::warn!(%error, ?pause, "could not renew the device's certificate");
                    failures = failures.saturating_add(1);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// The pause after so many failures in a row: it doubles, and leaves room for many more
/// attempts in the last third of a certificate's life.
fn retry_after_ms(failures: u32, life_ms: u64) -> u64 {
    let first = (life_ms / 10_000).clamp(RETRY.0, 60 * RETRY.0);
    let longest = (life_ms / 100).clamp(RETRY.0, RETRY.1);
    first.saturating_mul(1_u64.checked_shl(failures).unwrap_or(u64::MAX)).min(longest)
}

fn refused(status: u16, answer: &[u8]) -> EnrolError {
    #[derive(serde::Deserialize)]
    struct Problem {
        reason: String,
        detail: String,
    }
    match strict::parse::<Problem>(answer, ENROL_BYTES_MAX) {
        Ok(problem) => EnrolError::Refused(problem.reason, problem.detail),
        Err(_) => EnrolError::Refused(status.to_string(), "it did not say why".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3600 * 1000;

    #[test]
    fn retries_of_a_renewal_grow_slower_and_leave_room_for_many() {
        for life_ms in [20_000, DAY_MS, 90 * DAY_MS] {
            let pauses: Vec<u64> =
                (0..80).map(|failures| retry_after_ms(failures, life_ms)).collect();
            assert!(pauses.is_sorted(), "{life_ms}");
            let fits = |pause: &u64| (1_000..=life_ms / 20).contains(pause);
            assert!(pauses.iter().all(fits), "{pauses:?}");
        }
        assert_eq!(retry_after_ms(0, 90 * DAY_MS), 60_000);
        assert_eq!(retry_after_ms(79, 90 * DAY_MS), 6 * 3600 * 1000);
    }
}
