//! Reads and writes the PEM files of the data folder: private keys for nobody else,
//! every file whole or not at all.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::IdentityError;

fn io_error(path: &Path, error: io::Error) -> IdentityError {
    IdentityError::Io { path: path.to_owned(), error }
}

/// Writes a file so that it is there whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IdentityError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| io_error(folder, error))?;
    }
    let new = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|error| io_error(path, error))
}

/// The private key in this file; made if there is none.
pub(super) fn key(path: &Path) -> Result<KeyPair, IdentityError> {
    if !path.exists() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        write(path, key.serialize_pem().as_bytes(), 0o600)?;
        return Ok(key);
    }
    let mode = fs::metadata(path).map_err(|error| io_error(path, error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
    }
    let text = fs::read_to_string(path).map_err(|error| io_error(path, error))?;
    KeyPair::from_pem_and_sign_algo(&text, &PKCS_ECDSA_P256_SHA256).map_err(|_| {
        let message = "is not an ECDSA P-256 private key in PKCS#8 PEM form".to_owned();
        IdentityError::Unusable { path: path.to_owned(), message }
    })
}

/// The first certificate of a PEM file; none without the file.
pub(super) fn certificate(path: &Path) -> Result<Option<CertificateDer<'static>>, IdentityError> {
    match fs::read(path) {
        Ok(bytes) => CertificateDer::from_pem_slice(&bytes).map(Some).map_err(|_| {
            let message = "is not a certificate in PEM form".to_owned();
            IdentityError::Unusable { path: path.to_owned(), message }
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, error)),
    }
}
