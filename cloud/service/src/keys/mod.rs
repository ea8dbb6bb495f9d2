//! Private keys: Ed25519 and ECDSA P-256, made, kept in files and used to sign.
//! Which roles a key has is the trust root's to say.
//!
//! A key file is PKCS#8 PEM, plain or encrypted, so that openssl reads it too. What
//! goes through memory on the way is wiped; the key itself lives in `ring`.

mod file;
mod first_start;
mod passphrase;

pub use file::{KeyFile, write_file, write_key};
pub use first_start::{LOCAL_PUBLISHER, first_start};
pub use passphrase::{Passphrase, PassphraseSource};

pub(crate) use file::check_mode;

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::ValueEnum;
use gnomon_schemas::envelope::{Envelope, Payload, Signature, pre_authentication_encoding};
use gnomon_schemas::keys::{KeyError, PublicKey};
use gnomon_schemas::reason::{Coded, Reason};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// RFC 8410 PKCS#8 header of an Ed25519 key; 32 bytes of seed follow. Version 1,
/// which openssl reads too; ring makes version 2.
const ED25519_PKCS8: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why keys could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file or folder.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A private key or passphrase that others can read.
    #[error("{path} can be read by others (mode {mode:03o}); run `chmod 600 {path}`")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a private key that can be used here.
    #[error("{path} is not an Ed25519 or ECDSA P-256 private key in PKCS#8 PEM form: {message}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// An encrypted key, and another passphrase than it was encrypted with.
    #[error("{path}: the passphrase does not open this key")]
    WrongPassphrase {
        /// Which.
        path: PathBuf,
    },
    /// An encrypted key, and no passphrase.
    #[error(
        "{path} needs a passphrase: give --passphrase-file or GNOMON_PASSPHRASE, or run this \
         on a terminal"
    )]
    NoPassphrase {
        /// Which.
        path: PathBuf,
    },
    /// A passphrase that cannot be one.
    #[error("the passphrase {0}")]
    Passphrase(String),
    /// The file is there and is not overwritten.
    #[error("{path} is there already; a key is never overwritten")]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A public key could not be encoded.
    #[error(transparent)]
    Public(#[from] KeyError),
    /// The system gave no randomness, or something could not be encoded.
    #[error("could not make or use a key: {0}")]
    Crypto(String),
}

impl Coded for KeysError {
    fn reason(&self) -> Reason {
        Reason::Unavailable
    }
}

/// Which kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA P-256 with SHA-256.
    P256,
}

/// A private key.
pub enum PrivateKey {
    /// Ed25519 (RFC 8032).
    Ed25519(Ed25519KeyPair),
    /// ECDSA P-256 with SHA-256; signatures in ASN.1 DER.
    P256(EcdsaKeyPair),
}

/// A private key as it is kept: DER of PKCS#8, wiped when it goes.
pub type Pkcs8 = Zeroizing<Vec<u8>>;

impl PrivateKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`KeysError::Crypto`] when the system gives no randomness.
    pub fn generate(kind: Kind) -> Result<Pkcs8, KeysError> {
        let random = SystemRandom::new();
        let lost = |_| KeysError::Crypto("no randomness".into());
        match kind {
            Kind::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                random.fill(&mut *seed).map_err(lost)?;
                Ok(Zeroizing::new([ED25519_PKCS8, &*seed].concat()))
            }
            Kind::P256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
                .map(|document| Zeroizing::new(document.as_ref().to_vec()))
                .map_err(lost),
        }
    }

    /// The key with this PKCS#8 DER.
    ///
    /// # Errors
    /// Why it is none, in words that tell nothing of its bytes.
    pub fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, String> {
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(PrivateKey::Ed25519(key));
        }
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new())
            .map(PrivateKey::P256)
            .map_err(|error| error.to_string())
    }

    /// Reads a plain key file, as [`KeyFile::open`] does.
    ///
    /// # Errors
    /// [`KeysError`] for a file that is exposed, encrypted, or not such a key.
    pub fn read(path: &Path) -> Result<PrivateKey, KeysError> {
        KeyFile::read(path)?.open(|| Err(KeysError::NoPassphrase { path: path.to_owned() }))
    }

    /// The public half.
    ///
    /// # Errors
    /// [`KeyError`], which does not happen for keys that were read.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        match self {
            PrivateKey::Ed25519(key) => PublicKey::from_ed25519(key.public_key().as_ref()),
            PrivateKey::P256(key) => PublicKey::from_p256(key.public_key().as_ref()),
        }
    }

    /// A signature over `message`.
    ///
    /// # Errors
    /// [`KeysError::Crypto`] when the system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeysError> {
        match self {
            PrivateKey::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            PrivateKey::P256(key) => key
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeysError::Crypto("no randomness".into())),
        }
    }

    /// A detached signature over a module's bytes as `cosign sign-blob` writes
    /// it: base64 of the raw signature.
    ///
    /// # Errors
    /// As [`PrivateKey::sign`].
    pub fn sign_blob(&self, bytes: &[u8]) -> Result<String, KeysError> {
        self.sign(bytes).map(|signature| STANDARD.encode(signature))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

/// The envelope of a payload as bytes, signed by each of the keys.
///
/// # Errors
/// [`KeysError::Crypto`] when it cannot be signed or encoded.
pub fn seal<P: Payload>(payload: &[u8], keys: &[&PrivateKey]) -> Result<Vec<u8>, KeysError> {
    let mut envelope = Envelope::seal::<P>(payload, &[]);
    keys.iter().try_for_each(|key| add_signature(&mut envelope, key))?;
    serde_json::to_vec(&envelope).map_err(|error| KeysError::Crypto(error.to_string()))
}

/// Adds a key's signature to an envelope, in the place of one that it made before.
///
/// # Errors
/// [`KeysError::Crypto`] when the payload is not base64 or cannot be signed.
pub fn add_signature(envelope: &mut Envelope, key: &PrivateKey) -> Result<(), KeysError> {
    let payload = STANDARD.decode(&envelope.payload);
    let payload = payload.map_err(|_| KeysError::Crypto("the payload is not base64".into()))?;
    let message = pre_authentication_encoding(&envelope.payload_type, &payload);
    let (public, sig) = (key.public()?, STANDARD.encode(key.sign(&message)?));
    envelope.signatures.retain(|known| {
        STANDARD.decode(&known.sig).is_ok_and(|made| !public.verifies(&message, &made))
    });
    envelope.signatures.push(Signature { keyid: Some(public.id().to_string()), sig });
    Ok(())
}

fn io_error(path: &Path, error: io::Error) -> KeysError {
    KeysError::Io { path: path.to_owned(), error }
}
