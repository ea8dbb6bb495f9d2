//! Keys: made on first start, read with care, used to sign.
//!
//! A first start puts all three private keys beside each other, so that nobody
//! has to set anything up. In production they live elsewhere: the root key
//! offline, the publisher's with those who build modules; then `root.pem` and
//! `publisher.pem` are taken away from the data folder. The running service
//! reads `director.pem` only. Which roles a key has is the trust root's to say.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::envelope::{Envelope, Payload};
use gnomon_schemas::ids::{FleetId, PublisherName};
use gnomon_schemas::keys::{KeyError, PublicKey};
use gnomon_schemas::trust::{Publisher, Role, Roles, TrustRoot, TrustRootSchema};
use gnomon_schemas::verify::{Verified, VerifyError, verify_first_root};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How long the first trust root lives: ten years.
const TRUST_ROOT_LIFETIME_MS: u64 = 10 * 365 * 24 * 3600 * 1000;
/// RFC 8410 PKCS#8 header of an Ed25519 key; 32 bytes of seed follow. Version 1,
/// which openssl reads too; ring makes version 2.
const ED25519_PKCS8: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// The publisher that a first start makes.
pub const LOCAL_PUBLISHER: &str = "local";

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
    /// A private key that others can read.
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
    /// The trust root does not verify.
    #[error("trust-root.json: {0}")]
    TrustRoot(#[from] VerifyError),
    /// The trust root is for something else.
    #[error("trust-root.json {0}")]
    Mismatch(String),
    /// A public key could not be encoded.
    #[error(transparent)]
    Public(#[from] KeyError),
    /// The system gave no randomness, or a trust root could not be encoded.
    #[error("could not make or use a key: {0}")]
    Crypto(String),
}

/// A private key.
pub enum PrivateKey {
    /// Ed25519 (RFC 8032).
    Ed25519(Ed25519KeyPair),
    /// ECDSA P-256 with SHA-256; signatures in ASN.1 DER.
    P256(EcdsaKeyPair),
}

impl PrivateKey {
    /// Reads a key in PKCS#8 PEM form, if nobody else can.
    ///
    /// # Errors
    /// [`KeysError`] for a file that is exposed, or not such a key.
    pub fn read(path: &Path) -> Result<PrivateKey, KeysError> {
        let text = fs::read_to_string(path).map_err(|error| io_error(path, error))?;
        let mode = fs::metadata(path).map_err(|e| io_error(path, e))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeysError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
        }
        let unusable = |message: String| KeysError::Unusable { path: path.to_owned(), message };
        let parsed = pem::parse(text).map_err(|error| unusable(error.to_string()))?;
        let der = parsed.contents();
        let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
        if let Ok(key) = ed25519 {
            return Ok(PrivateKey::Ed25519(key));
        }
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new())
            .map(PrivateKey::P256)
            .map_err(|error| unusable(error.to_string()))
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

/// Seals payloads in the name of the cloud.
pub struct Director {
    key: PrivateKey,
    id: String,
}

impl Director {
    /// The envelope of a payload as bytes, signed by the director.
    ///
    /// # Errors
    /// [`KeysError::Crypto`] when it cannot be signed or encoded.
    pub fn seal<P: Payload>(&self, payload: &[u8]) -> Result<Vec<u8>, KeysError> {
        seal::<P>(payload, &self.key, &self.id)
    }
}

fn seal<P: Payload>(payload: &[u8], key: &PrivateKey, id: &str) -> Result<Vec<u8>, KeysError> {
    let message = gnomon_schemas::envelope::pre_authentication_encoding(P::PAYLOAD_TYPE, payload);
    let signature = key.sign(&message)?;
    let envelope = Envelope::seal::<P>(payload, &[(id.to_owned(), &|_| signature.clone())]);
    serde_json::to_vec(&envelope).map_err(|error| KeysError::Crypto(error.to_string()))
}

/// What the running service trusts and signs with.
pub struct Trust {
    /// The trust root's envelope, as devices get it.
    pub envelope: Vec<u8>,
    /// The trust root.
    pub root: TrustRoot,
    /// The director's key.
    pub director: Director,
}

/// Reads the trust root and the director's key; makes everything on first start.
///
/// # Errors
/// [`KeysError`], saying which file and what to do.
pub fn open(data_dir: &Path, fleet: &FleetId, now_ms: u64) -> Result<Trust, KeysError> {
    let path = data_dir.join("trust-root.json");
    if !path.exists() {
        first_start(data_dir, fleet, now_ms)?;
    }
    for exposed in ["root.pem", "publisher.pem"] {
        check_mode(&data_dir.join("keys").join(exposed))?;
    }
    let envelope = fs::read(&path).map_err(|error| io_error(&path, error))?;
    let root = verify_first_root(&envelope).map(Verified::into_payload)?;
    if root.fleet != *fleet {
        let message =
            format!("is for fleet `{}`, this is `{fleet}`; use another --data", root.fleet);
        return Err(KeysError::Mismatch(message));
    }
    let key = PrivateKey::read(&data_dir.join("keys/director.pem"))?;
    let public = key.public()?;
    if !root.roles.director.keys.contains(&public) {
        let message = "does not name keys/director.pem as a director; put the right key there";
        return Err(KeysError::Mismatch(message.into()));
    }
    let director = Director { key, id: public.id().to_string() };
    Ok(Trust { envelope, root, director })
}

fn first_start(data_dir: &Path, fleet: &FleetId, now_ms: u64) -> Result<(), KeysError> {
    let keys = data_dir.join("keys");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&keys)
        .map_err(|error| io_error(&keys, error))?;
    let random = SystemRandom::new();
    let lost = |_| KeysError::Crypto("no randomness".into());
    for name in ["root.pem", "director.pem"] {
        make_key(&keys.join(name), || {
            let mut seed = [0; 32];
            random.fill(&mut seed).map_err(lost)?;
            Ok([ED25519_PKCS8, &seed].concat())
        })?;
    }
    make_key(&keys.join("publisher.pem"), || {
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map(|document| document.as_ref().to_vec())
            .map_err(lost)
    })?;
    let read = |name: &str| PrivateKey::read(&keys.join(name));
    let (root, director, publisher) =
        (read("root.pem")?, read("director.pem")?, read("publisher.pem")?);
    write_new(&keys.join("publisher.pub"), publisher.public()?.to_pem().as_bytes(), 0o644)?;
    let trust_root = trust_root(fleet, [&root, &director, &publisher], now_ms)?;
    let payload =
        serde_json::to_vec(&trust_root).map_err(|error| KeysError::Crypto(error.to_string()))?;
    let envelope = seal::<TrustRoot>(&payload, &root, &root.public()?.id().to_string())?;
    // The trust root comes last and whole: while it is missing, the next start
    // goes on where this one stopped.
    let (new, path) = (data_dir.join("trust-root.json.new"), data_dir.join("trust-root.json"));
    write_new(&new, &envelope, 0o644)?;
    fs::rename(&new, &path).map_err(|error| io_error(&path, error))
}

fn trust_root(
    fleet: &FleetId,
    [root, director, publisher]: [&PrivateKey; 3],
    now_ms: u64,
) -> Result<TrustRoot, KeysError> {
    let role =
        |key: &PrivateKey| Ok::<_, KeyError>(Role { keys: vec![key.public()?], threshold: 1 });
    let name: PublisherName = LOCAL_PUBLISHER
        .parse()
        .map_err(|error| KeysError::Crypto(format!("publisher: {error}")))?;
    let policy = Publisher {
        key: publisher.public()?,
        profiles: BTreeSet::new(),
        functions: BTreeSet::new(),
    };
    Ok(TrustRoot {
        schema: TrustRootSchema::V1,
        fleet: fleet.clone(),
        version: 1,
        epoch: 1,
        expires_at_ms: now_ms.saturating_add(TRUST_ROOT_LIFETIME_MS),
        roles: Roles { root: role(root)?, director: role(director)?, approver: None },
        publishers: BTreeMap::from([(name, policy)]),
        denied: BTreeSet::new(),
        release_counter_min: BTreeMap::new(),
    })
}

fn make_key(
    path: &Path,
    generate: impl FnOnce() -> Result<Vec<u8>, KeysError>,
) -> Result<(), KeysError> {
    if path.exists() {
        return Ok(());
    }
    let text = pem::encode(&pem::Pem::new("PRIVATE KEY", generate()?));
    write_new(path, text.as_bytes(), 0o600)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeysError> {
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| io_error(path, error))
}

fn check_mode(path: &Path) -> Result<(), KeysError> {
    match fs::metadata(path) {
        Ok(data) if data.permissions().mode() & 0o077 != 0 => Err(KeysError::Exposed {
            path: path.to_owned(),
            mode: data.permissions().mode() & 0o777,
        }),
        _ => Ok(()),
    }
}

fn io_error(path: &Path, error: io::Error) -> KeysError {
    KeysError::Io { path: path.to_owned(), error }
}
