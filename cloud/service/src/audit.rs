//! Signs checkpoints of the audit log, and checks a log against them, offline.
//!
//! A chain of hashes by itself shows an edit and a gap, not that its end was cut off or
//! that all of it was written anew: that is what checkpoints are for, as far as somebody
//! keeps them where whoever can write the store cannot.

use anyhow::{Context as _, Result, bail};
use gnomon_cloud_core::audit_chain::ChainFault;
use gnomon_schemas::audit::{AuditCheckpoint, AuditCheckpointSchema};
use gnomon_schemas::ids::Digest;
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::trust::Role;
use gnomon_schemas::verify::verify;
use rusqlite::Connection;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::clock;
use crate::keys::{self, Kind, PrivateKey};
use crate::store::StoreError;
use crate::store::audit as log;

/// How often a checkpoint is signed, if there is something new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// The checkpoints' file in the data folder, one envelope on each line.
pub const CHECKPOINTS_FILE: &str = "audit-checkpoints.jsonl";
/// The public half of the key that signs them, in the data folder.
pub const PUBLIC_KEY_FILE: &str = "keys/audit.pub";
const PRIVATE_KEY_FILE: &str = "keys/audit.pem";

/// The key that signs checkpoints, and nothing else.
#[derive(Debug)]
pub struct AuditKey(PrivateKey);

impl AuditKey {
    /// Reads the key; makes one if there never was one.
    ///
    /// # Errors
    /// For a key that is exposed, lost or not one.
    pub fn open(data_dir: &Path) -> Result<AuditKey> {
        let (path, public) = (data_dir.join(PRIVATE_KEY_FILE), data_dir.join(PUBLIC_KEY_FILE));
        if !path.exists() && public.exists() {
            bail!(
                "{} is missing, but audit.pub is there: put it back, or take audit.pub away to go \
                 on with a new key, by which older checkpoints do not verify",
                path.display()
            );
        }
        if !path.exists() {
            let folder = data_dir.join("keys");
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            keys::write_key(&path, &PrivateKey::generate(Kind::Ed25519)?, None)?;
        }
        let key = PrivateKey::read(&path)?;
        if !public.exists() {
            keys::write_file(&public, key.public()?.to_pem().as_bytes(), 0o644)?;
        }
        Ok(AuditKey(key))
    }
}

/// Signs a checkpoint over the log as it is, if there is something new; keeps it in the
/// store and in the file beside it.
///
/// # Errors
/// That of the store, the key or the file.
pub async fn checkpoint(app: &Arc<App>) -> Result<(), Refusal> {
    let shared = Arc::clone(app);
    app.store
        .write(move |db| {
            let (size, head) = log::head(db)?;
            let signed = log::newest_checkpoint(db)?.map_or(0, |(size, _)| size);
            if size <= signed {
                return Ok(());
            }
            let checkpoint = AuditCheckpoint {
                schema: AuditCheckpointSchema::V1,
                fleet: shared.fleet.clone(),
                size,
                head,
                at_ms: clock::now_ms(),
            };
            let unavailable = |message: String| Refusal::new(Reason::Unavailable, message);
            let payload =
                serde_json::to_vec(&checkpoint).map_err(|e| unavailable(e.to_string()))?;
            let envelope = keys::seal::<AuditCheckpoint>(&payload, &[&shared.audit_key.0])?;
            log::keep_checkpoint(db, size, &envelope)?;
            // Within the transaction: one checkpoint after the other, in both places.
            let path = shared.data_dir.join(CHECKPOINTS_FILE);
            append_line(&path, &envelope)
                .map_err(|error| unavailable(format!("{}: {error}", path.display())))
        })
        .await
}

/// Signs checkpoints for as long as the service runs.
pub async fn checkpoint_for_ever(app: Arc<App>) {
    let mut ticks = tokio::time::interval(CHECKPOINT_EVERY);
    loop {
        ticks.tick().await;
        if let Err(refusal) = checkpoint(&app).await {
            tracing::error!(%refusal, "no checkpoint of the audit log could be signed");
        }
    }
}

/// Appends a line; what a power cut left of one before it is cut off first.
fn append_line(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let whole = whole_lines(&mut file)?;
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    file.write_all(&[line, b"\n"].concat())?;
    file.sync_all()
}

/// Where the last whole line ends.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut byte = [0];
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        end -= 1;
    }
    Ok(end)
}

/// Why a log does not hold, or cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log itself.
    #[error("the audit log does not hold: {0}")]
    Chain(#[from] ChainFault),
    /// A checkpoint that does not verify.
    #[error("the audit log does not hold: checkpoint {line} of {place} {message}")]
    Checkpoint {
        /// Which, counted from 1.
        line: usize,
        /// Where it was.
        place: String,
        /// What is wrong with it.
        message: String,
    },
    /// Nothing could be checked.
    #[error("{place}: {message}")]
    Unreadable {
        /// What could not be read.
        place: String,
        /// Why.
        message: String,
    },
    /// Nothing could be checked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuditError {
    /// Whether something was found to be wrong, rather than not found out.
    pub fn is_fault(&self) -> bool {
        matches!(self, AuditError::Chain(_) | AuditError::Checkpoint { .. })
    }
}

/// What was checked of a log that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// How many entries there are.
    pub entries: u64,
    /// What the last one hashes to.
    pub head: Digest,
    /// How many entries the newest checkpoint is over; none when there is no checkpoint.
    pub signed_entries: Option<u64>,
    /// How many checkpoints were looked at.
    pub checkpoints: usize,
}

/// What to check a log with.
#[derive(Debug, Clone)]
pub struct Check {
    /// The data folder; the service may be running.
    pub data_dir: PathBuf,
    /// Checkpoints that were kept elsewhere, one on each line.
    pub checkpoints: Option<PathBuf>,
    /// The public key, if not the one in the data folder.
    pub key: Option<PathBuf>,
}

/// Checks a log against all checkpoints that can be found.
///
/// # Errors
/// [`AuditError`].
pub fn check(check: &Check) -> Result<Checked, AuditError> {
    let unreadable = |path: &Path, message: String| AuditError::Unreadable {
        place: path.display().to_string(),
        message,
    };
    let path = check.data_dir.join("gnomon.sqlite");
    let db = read_only(&path).map_err(|error| unreadable(&path, error.to_string()))?;
    let path = check.key.clone().unwrap_or_else(|| check.data_dir.join(PUBLIC_KEY_FILE));
    let stored = log::checkpoints(&db)?;
    let (beside, given) = (check.data_dir.join(CHECKPOINTS_FILE), check.checkpoints.as_ref());
    let mut signed = vec![];
    let lines = |path: &Path, ours| lines(path, ours).map_err(|e| unreadable(path, e.to_string()));
    let beside_lines = if beside.exists() { lines(&beside, true)? } else { vec![] };
    let given_lines = given.map_or(Ok(vec![]), |path| lines(path, false))?;
    let given_place = given.map_or(String::new(), |path| path.display().to_string());
    let all = [
        ("the store".to_owned(), stored),
        (beside.display().to_string(), beside_lines),
        (given_place, given_lines),
    ];
    if all.iter().any(|(_, envelopes)| !envelopes.is_empty()) {
        let text = fs::read_to_string(&path).map_err(|e| unreadable(&path, e.to_string()))?;
        let key = PublicKey::from_pem(&text).map_err(|e| unreadable(&path, e.to_string()))?;
        let role = Role { keys: vec![key], threshold: 1 };
        for (place, envelopes) in &all {
            for (envelope, line) in envelopes.iter().zip(1..) {
                let checkpoint = verify::<AuditCheckpoint>(envelope, &role).map_err(|error| {
                    let message =
                        format!("is not one that {} vouches for: {error}", path.display());
                    AuditError::Checkpoint { line, place: place.clone(), message }
                })?;
                let checkpoint = checkpoint.into_payload();
                signed.push((checkpoint.size, checkpoint.head));
            }
        }
    }
    let checkpoints = signed.len();
    let signed_entries = signed.iter().map(|(size, _)| *size).max();
    let (entries, head) = log::walk(&db, signed)??;
    Ok(Checked { entries, head, signed_entries, checkpoints })
}

/// The lines of a file. In our own, a last one without its end is what a power cut left
/// of a checkpoint; where somebody kept one, it is that checkpoint.
fn lines(path: &Path, is_ours: bool) -> io::Result<Vec<Vec<u8>>> {
    let bytes = fs::read(path)?;
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if is_ours {
        lines.pop();
    }
    Ok(lines.into_iter().filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
}

fn read_only(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}
