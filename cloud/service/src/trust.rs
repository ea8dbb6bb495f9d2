//! The trust root in force and the director's key under it: read at start, replaced
//! while the service runs, used to sign.
//!
//! How one root follows another is `gnomon_schemas::succession`'s to say, what a fleet's
//! documents look like under a new one is [`publish`]'s.

use gnomon_schemas::envelope::Payload;
use gnomon_schemas::ids::FleetId;
use gnomon_schemas::reason::{Coded, Reason, Refusal};
use gnomon_schemas::succession::{RootError, verify_first_root, verify_next_root};
use gnomon_schemas::trust::TrustRoot;
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::app::App;
use crate::bus::Command;
use crate::keys::{self, KeysError, PrivateKey};
use crate::publish::{self, Affected};
use crate::store::audit::{self, Entry};
use crate::store::{Store, StoreError, devices, roots};
use crate::{clock, render};

/// Why the chain of trust roots could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The first root cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A root does not verify.
    #[error("trust root {version}: {error}")]
    Root {
        /// Which.
        version: u64,
        /// Why.
        error: RootError,
    },
    /// The first root is another fleet's.
    #[error("trust-root.json is for fleet `{0}`, this is `{1}`; use another --data")]
    Fleet(FleetId, FleetId),
    /// The store began with another first root.
    #[error("trust-root.json is not the root that this store began with; put that one back")]
    Replaced,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Seals payloads in the name of the cloud.
#[derive(Debug)]
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
        keys::seal::<P>(payload, &[&self.key])
    }

    /// The id of its key.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn read(data_dir: &Path, root: &TrustRoot) -> Result<Director, String> {
        let role = &root.roles.director;
        if role.threshold > 1 {
            return Err(format!(
                "the trust root wants {} director keys to sign, this service holds one",
                role.threshold
            ));
        }
        let path = data_dir.join("keys/director.pem");
        let key = PrivateKey::read(&path).map_err(|error| error.to_string())?;
        let public = key.public().map_err(|error| error.to_string())?;
        if !role.keys.contains(&public) {
            return Err(format!(
                "trust root {} does not name {} as a director: put a key there that it names",
                root.version,
                path.display()
            ));
        }
        Ok(Director { key, id: public.id().to_string() })
    }
}

/// A trust root in force, and what the service can sign under it.
#[derive(Debug)]
pub struct Trust {
    /// The trust root's envelope, as devices get it.
    pub envelope: Vec<u8>,
    /// The trust root.
    pub root: TrustRoot,
    director: Result<Director, String>,
}

impl Trust {
    fn new(data_dir: &Path, root: TrustRoot, envelope: Vec<u8>) -> Trust {
        let director = Director::read(data_dir, &root);
        if let Err(error) = &director {
            tracing::error!(%error, "nothing can be signed: the service reads, and edits nothing");
        }
        Trust { envelope, root, director }
    }

    /// The director.
    ///
    /// # Errors
    /// [`Reason::Unavailable`], saying what to do about it.
    pub fn director(&self) -> Result<&Director, Refusal> {
        self.director.as_ref().map_err(|error| {
            let detail = format!("no director's key: {error}; then repeat this");
            Refusal::new(Reason::Unavailable, detail)
        })
    }

    /// Whether devices take anything new under it.
    ///
    /// # Errors
    /// [`Reason::Expired`].
    pub fn check_time(&self, now_ms: u64) -> Result<(), Refusal> {
        if now_ms < self.root.expires_at_ms {
            return Ok(());
        }
        let detail = format!(
            "trust root {} has expired and devices take nothing new under it: sign and publish \
             the next one (`gnomon trust expires`, `sign`, `publish`)",
            self.root.version
        );
        Err(Refusal::new(Reason::Expired, detail))
    }
}

/// The trust root in force, which another may follow at any time.
#[derive(Debug)]
pub struct InForce {
    data_dir: PathBuf,
    current: RwLock<Arc<Trust>>,
}

impl InForce {
    /// Verifies the chain of roots: the first from the data folder, the others from the
    /// store.
    ///
    /// # Errors
    /// [`TrustError`], saying which root and why.
    pub async fn open(
        data_dir: &Path,
        fleet: &FleetId,
        store: &Store,
    ) -> Result<InForce, TrustError> {
        let path = data_dir.join("trust-root.json");
        let first = std::fs::read(&path).map_err(|error| TrustError::Io { path, error })?;
        let mut root = verify_first_root(&first)
            .map_err(|error| TrustError::Root { version: 1, error })?
            .into_payload();
        if root.fleet != *fleet {
            return Err(TrustError::Fleet(root.fleet, fleet.clone()));
        }
        let (version, bytes) = (root.version, first.clone());
        let chain = store
            .write(move |db| {
                let known = roots::chain(db)?;
                if known.is_empty() {
                    roots::insert(db, version, &bytes, clock::now_ms())?;
                    return Ok(vec![(version, bytes)]);
                }
                Ok::<_, StoreError>(known)
            })
            .await?;
        let mut envelope = first;
        for (index, (version, bytes)) in chain.into_iter().enumerate() {
            if index == 0 {
                if bytes != envelope {
                    return Err(TrustError::Replaced);
                }
                continue;
            }
            root = verify_next_root(&bytes, &root)
                .map_err(|error| TrustError::Root { version, error })?
                .into_payload();
            envelope = bytes;
        }
        let trust = Trust::new(data_dir, root, envelope);
        Ok(InForce { data_dir: data_dir.to_owned(), current: RwLock::new(Arc::new(trust)) })
    }

    /// The root in force now.
    pub fn get(&self) -> Arc<Trust> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, trust: Arc<Trust>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = trust;
    }

    /// The root in force, able to sign now. A director's key that was missing is looked
    /// for again. Only within a write transaction, so that no root comes in between.
    ///
    /// # Errors
    /// [`Trust::director`]'s and [`Trust::check_time`]'s.
    pub fn to_sign(&self) -> Result<Arc<Trust>, Refusal> {
        let mut trust = self.get();
        if trust.director.is_err() {
            let (root, envelope) = (trust.root.clone(), trust.envelope.clone());
            trust = Arc::new(Trust::new(&self.data_dir, root, envelope));
            self.set(Arc::clone(&trust));
        }
        trust.director()?;
        trust.check_time(clock::now_ms())?;
        Ok(trust)
    }
}

/// What a new trust root led to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Installed {
    /// Its version.
    pub version: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Whether it was in force already.
    pub known: bool,
    /// Devices whose documents were signed again.
    pub signed_again: u64,
    /// Devices that wait for an approval under it.
    pub waiting: u64,
    /// Devices for which nothing can be signed under it as their layers stand, and why.
    pub refused: Vec<publish::RefusedDevice>,
    /// Why the service can sign nothing under it, and what to do.
    pub cannot_sign: Option<String>,
}

/// Verifies the next trust root, stores it, takes it in force and signs again what must
/// be, all in one transaction; then has it published before the documents.
///
/// # Errors
/// Why it may not follow the one in force.
pub async fn install(app: &Arc<App>, entry: Entry, bytes: Vec<u8>) -> Result<Installed, Refusal> {
    let (shared, after) = (Arc::clone(app), Arc::clone(app));
    let work = move |db: &Connection| install_in(&shared, db, entry, bytes);
    // In force with the commit, while no other transaction can begin.
    let done = app.store.write_then(work, move |done: &Done| {
        after.trust.set(Arc::clone(&done.trust));
    });
    let Done { installed, devices, .. } = done.await?;
    if !installed.known {
        app.bus.send(Command::Root(installed.version));
    }
    devices.into_iter().for_each(|device| app.bus.send(Command::Desired(device)));
    Ok(installed)
}

struct Done {
    trust: Arc<Trust>,
    installed: Installed,
    devices: Vec<gnomon_schemas::DeviceId>,
}

fn install_in(app: &App, db: &Connection, entry: Entry, bytes: Vec<u8>) -> Result<Done, Refusal> {
    let current = app.trust();
    let known = bytes == current.envelope;
    let trust = if known {
        // Again, after the director's key came: what it could not sign it signs now.
        Trust::new(&app.data_dir, current.root.clone(), bytes)
    } else {
        let root = verify_next_root(&bytes, &current.root)?.into_payload();
        roots::insert(db, root.version, &bytes, clock::now_ms())?;
        Trust::new(&app.data_dir, root, bytes)
    };
    if trust.root.epoch > current.root.epoch {
        devices::end_conflicts(db)?;
    }
    let trust = Arc::new(trust);
    let by = entry.actor().person();
    audit::append(db, clock::now_ms(), &entry.of(trust.root.version))?;
    let (recomputed, cannot_sign) = match trust.director() {
        Ok(_) => {
            let renderer = render::Renderer::under(app, Arc::clone(&trust), db)?;
            (publish::recompute(renderer, &by, &Affected::all(), publish::Refusals::Told)?, None)
        }
        Err(refusal) => (publish::Recomputed::default(), Some(refusal.detail)),
    };
    let installed = Installed {
        version: trust.root.version,
        epoch: trust.root.epoch,
        known,
        signed_again: recomputed.published.len() as u64,
        waiting: recomputed.waiting.len() as u64,
        refused: recomputed.refused,
        cannot_sign,
    };
    Ok(Done { trust, installed, devices: recomputed.published })
}

impl Coded for TrustError {
    fn reason(&self) -> Reason {
        match self {
            TrustError::Root { error, .. } => error.reason(),
            TrustError::Fleet(..) => Reason::WrongFleet,
            TrustError::Io { .. } | TrustError::Replaced => Reason::Unavailable,
            TrustError::Store(error) => error.reason(),
        }
    }
}
