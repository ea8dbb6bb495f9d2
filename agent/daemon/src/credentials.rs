//! The device's own key and certificate on its disk: made here, for nobody else to read.
//!
//! Power may go at any instant. A new pair is written beside the old one and takes its
//! place file by file; whatever is there afterwards, one of the pairs fits together.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_cert::der::{Decode as _, Encode as _};

use crate::enrol::EnrolError;
use crate::files;
use crate::tls::{OwnCertificate, TlsError};

/// Where the pair is kept.
#[derive(Debug, Clone)]
pub struct Credentials {
    certificate: PathBuf,
    key: PathBuf,
}

/// A certificate and the key to it.
pub struct Pair {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// From when it is valid (Unix time, ms).
    pub not_before_ms: u64,
    /// Until when it is valid (Unix time, ms).
    pub not_after_ms: u64,
    pub(crate) key: KeyPair,
}

impl Pair {
    /// What TLS shows.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn own(&self) -> Result<Arc<OwnCertificate>, TlsError> {
        Ok(Arc::new(OwnCertificate::new(self.certificate.clone(), &self.private())?))
    }

    pub(crate) fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub(crate) fn pem(&self) -> String {
        let body = STANDARD.encode(&self.certificate);
        let mut lines = vec!["-----BEGIN CERTIFICATE-----"];
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            lines.push(line);
            rest = after;
        }
        lines.push("-----END CERTIFICATE-----\n");
        lines.join("\n")
    }
}

impl Credentials {
    /// The files of these names in the data folder.
    pub fn new(data: &Path, certificate: &str, key: &str) -> Credentials {
        Credentials { certificate: data.join(certificate), key: data.join(key) }
    }

    /// The pair that is there, if there is one. A change that was interrupted is brought
    /// to its end.
    ///
    /// # Errors
    /// [`EnrolError`] for files that cannot be read, or do not fit together.
    pub fn load(&self) -> Result<Option<Pair>, EnrolError> {
        let (new_certificate, new_key) = (beside(&self.certificate), beside(&self.key));
        if let Ok(Some(certificate)) = read(&new_certificate)
            && let Some(pair) = pair_of(&certificate, &new_key)?
        {
            rename(&new_key, &self.key)?;
            rename(&new_certificate, &self.certificate)?;
            return Ok(Some(pair));
        }
        if let Ok(Some(certificate)) = read(&new_certificate)
            && let Some(pair) = pair_of(&certificate, &self.key)?
        {
            rename(&new_certificate, &self.certificate)?;
            return Ok(Some(pair));
        }
        let Some(certificate) = read(&self.certificate)? else { return Ok(None) };
        pair_of(&certificate, &self.key)?
            .map(Some)
            .ok_or_else(|| EnrolError::Unusable(self.certificate.clone()))
    }

    /// The key of the next certificate: kept before it is asked for, so that an answer
    /// that is lost can be asked for again.
    pub(crate) fn next_key(&self) -> Result<KeyPair, EnrolError> {
        let path = beside(&self.key);
        if let Some(key) = read_key(&path)? {
            return Ok(key);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        write(&path, key.serialize_pem().as_bytes())?;
        Ok(key)
    }

    /// Whether the certificate is for the key that was made for it.
    pub(crate) fn is_for_next(&self, certificate_pem: &str) -> Result<bool, EnrolError> {
        Ok(pair_of(certificate_pem.as_bytes(), &beside(&self.key))?.is_some())
    }

    /// Puts the certificate, and the key that was made for it, in the old pair's place.
    pub(crate) fn keep(&self, certificate_pem: &str) -> Result<Pair, EnrolError> {
        write(&beside(&self.certificate), certificate_pem.as_bytes())?;
        self.load()?.ok_or(EnrolError::NotEnrolled)
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn io_error(path: &Path, error: io::Error) -> EnrolError {
    EnrolError::Io(path.to_owned(), error)
}

fn rename(from: &Path, to: &Path) -> Result<(), EnrolError> {
    files::rename(from, to).map_err(|error| io_error(to, error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), EnrolError> {
    files::write_private(path, bytes).map_err(|error| io_error(path, error))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, EnrolError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, error)),
    }
}

/// The key in this file; none where there is none, or half of one.
fn read_key(path: &Path) -> Result<Option<KeyPair>, EnrolError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let mode = fs::metadata(path).map_err(|error| io_error(path, error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(EnrolError::Exposed(path.to_owned()));
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    Ok(KeyPair::from_pem_and_sign_algo(&text, &PKCS_ECDSA_P256_SHA256).ok())
}

/// Certificate and key, if they belong together.
fn pair_of(certificate: &[u8], key: &Path) -> Result<Option<Pair>, EnrolError> {
    let Some(key) = read_key(key)? else { return Ok(None) };
    let Ok(certificate) = CertificateDer::from_pem_slice(certificate) else { return Ok(None) };
    let Ok(parsed) = x509_cert::Certificate::from_der(&certificate) else { return Ok(None) };
    let body = parsed.tbs_certificate;
    if body.subject_public_key_info.to_der().ok() != Some(key.subject_public_key_info()) {
        return Ok(None);
    }
    let ms = |time: x509_cert::time::Time| {
        u64::try_from(time.to_unix_duration().as_millis()).unwrap_or(u64::MAX)
    };
    let (not_before_ms, not_after_ms) = (ms(body.validity.not_before), ms(body.validity.not_after));
    Ok(Some(Pair { certificate, not_before_ms, not_after_ms, key }))
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
