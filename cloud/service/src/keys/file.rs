//! Key files: PKCS#8 PEM, plain or encrypted with a passphrase (PBES2 of RFC 8018:
//! scrypt, then AES-256 in CBC mode), readable by their owner only.

use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::{EncryptionScheme, pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo, SecretDocument};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use super::{KeysError, PrivateKey, io_error};
use crate::keys::Passphrase;

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// The largest key file that is read; ours are below one KiB.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;
/// scrypt (RFC 7914) with N = 2^14, r = 8, p = 5: 16 MiB, below the 32 MiB beyond which
/// openssl reads no file, and as dear to guess as N = 2^17, r = 8, p = 1.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);
/// The most memory that somebody else's key file may ask for, in bytes.
const SCRYPT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A key file whose form was checked.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    is_encrypted: bool,
    der: SecretDocument,
}

impl KeyFile {
    /// Reads a key file, if nobody else can.
    ///
    /// # Errors
    /// [`KeysError`] for a file that is exposed or of another form.
    pub fn read(path: &Path) -> Result<KeyFile, KeysError> {
        let text = read_private(path)?;
        let unusable = |message: String| KeysError::Unusable { path: path.to_owned(), message };
        let label = text
            .lines()
            .find_map(|line| line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
        let is_encrypted = match label {
            Some(PLAIN) => false,
            Some(ENCRYPTED) => true,
            Some(other) => {
                let label: String = other.chars().take(60).collect();
                return Err(unusable(format!("found `BEGIN {label}`")));
            }
            None => return Err(unusable("found no `BEGIN` line".into())),
        };
        let (_, der) =
            SecretDocument::from_pem(&text).map_err(|error| unusable(error.to_string()))?;
        Ok(KeyFile { path: path.to_owned(), is_encrypted, der })
    }

    /// The key; asks for its passphrase if it has one.
    ///
    /// # Errors
    /// [`KeysError`]: those of asking, a wrong passphrase, or not a key of ours.
    pub fn open(
        &self,
        passphrase: impl FnOnce() -> Result<Passphrase, KeysError>,
    ) -> Result<PrivateKey, KeysError> {
        let unusable = |message| KeysError::Unusable { path: self.path.clone(), message };
        if !self.is_encrypted {
            return PrivateKey::from_pkcs8(self.der.as_bytes()).map_err(unusable);
        }
        let info = EncryptedPrivateKeyInfo::try_from(self.der.as_bytes())
            .map_err(|error| unusable(error.to_string()))?;
        check_cost(&info).map_err(unusable)?;
        let opened = info
            .decrypt(passphrase()?.reveal())
            .map_err(|_| KeysError::WrongPassphrase { path: self.path.clone() })?;
        PrivateKey::from_pkcs8(opened.as_bytes()).map_err(unusable)
    }
}

fn check_cost(info: &EncryptedPrivateKeyInfo<'_>) -> Result<(), String> {
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Err("encrypted by PBES1, which is broken; encrypt it again".into());
    };
    let Some(scrypt) = parameters.kdf.scrypt() else { return Ok(()) };
    let bytes = scrypt
        .cost_parameter
        .saturating_mul(u64::from(scrypt.block_size))
        .saturating_mul(128)
        .saturating_mul(u64::from(scrypt.parallelization).max(1));
    if bytes > SCRYPT_BYTES_MAX {
        return Err(format!("opening it takes {bytes} bytes of work, at most {SCRYPT_BYTES_MAX}"));
    }
    Ok(())
}

/// Writes a new key file; with a passphrase it is encrypted.
///
/// # Errors
/// [`KeysError`]; a file that is there is never overwritten.
pub fn write_key(
    path: &Path,
    der: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<(), KeysError> {
    let crypto = |what: &str| KeysError::Crypto(what.to_owned());
    let (label, document) = match passphrase {
        None => (PLAIN, SecretDocument::try_from(der).map_err(|e| crypto(&e.to_string()))?),
        Some(passphrase) => (ENCRYPTED, encrypt(der, passphrase)?),
    };
    let text =
        document.to_pem(label, LineEnding::LF).map_err(|error| crypto(&error.to_string()))?;
    write_new(path, text.as_bytes())
}

fn encrypt(der: &[u8], passphrase: &Passphrase) -> Result<SecretDocument, KeysError> {
    let crypto = |error: &dyn std::fmt::Display| KeysError::Crypto(error.to_string());
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    let random = SystemRandom::new();
    random.fill(&mut salt).and_then(|()| random.fill(&mut iv)).map_err(|error| crypto(&error))?;
    let (log_n, r, p) = SCRYPT;
    let scrypt = scrypt::Params::new(log_n, r, p, 32).map_err(|error| crypto(&error))?;
    let parameters =
        pbes2::Parameters::scrypt_aes256cbc(scrypt, &salt, &iv).map_err(|error| crypto(&error))?;
    PrivateKeyInfo::try_from(der)
        .and_then(|info| info.encrypt_with_params(parameters, passphrase.reveal()))
        .map_err(|error| crypto(&error))
}

/// A file's text, if nobody but its owner can read it; wiped when it goes.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeysError> {
    let file = fs::File::open(path).map_err(|error| io_error(path, error))?;
    let mode = file.metadata().map_err(|error| io_error(path, error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeysError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX as usize + 1));
    file.take(KEY_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| io_error(path, error))?;
    let unusable =
        |message: &str| KeysError::Unusable { path: path.to_owned(), message: message.to_owned() };
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(unusable("it is too large to be one"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("it is not text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeysError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeysError::Exists { path: path.to_owned() },
        _ => io_error(path, error),
    })
}

/// Puts a file that is no secret in its place, whole, whatever was there.
///
/// # Errors
/// What the system says.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeysError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!("{name}.new"));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path))
        .map_err(|error| io_error(path, error))
}

/// Refuses a private key that others can read; one that is not there is fine.
///
/// # Errors
/// [`KeysError::Exposed`].
pub(crate) fn check_mode(path: &Path) -> Result<(), KeysError> {
    match fs::metadata(path) {
        Ok(data) if data.permissions().mode() & 0o077 != 0 => Err(KeysError::Exposed {
            path: path.to_owned(),
            mode: data.permissions().mode() & 0o777,
        }),
        _ => Ok(()),
    }
}
