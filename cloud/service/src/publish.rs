//! The one way in which anything changes: an edit and all documents that follow
//! from it are stored in one transaction, or nothing is. After the commit the
//! bus is told.

use gnomon_cloud_core::Selector;
use gnomon_schemas::document::Document;
use gnomon_schemas::ids::{DeviceId, Digest, Version};
use gnomon_schemas::limits::DOCUMENT_BYTES_MAX;
use gnomon_schemas::reason::{Coded, Reason, Refusal};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::app::App;
use crate::bus::Command;
use crate::keys::KeysError;
use crate::render::{Rendered, Renderer};
use crate::store::devices::{self, Device};
use crate::store::versions::{self, StoredVersion};
use crate::{clock, store::StoreError};

/// Devices named in one refusal, at most.
const DEVICES_NAMED_MAX: usize = 5;

/// Which devices an edit may concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affected {
    /// None.
    None,
    /// Those that any of these selectors takes.
    Matching(Vec<Selector>),
    /// One device.
    One(DeviceId),
}

impl Affected {
    /// Every device.
    pub fn all() -> Affected {
        Affected::Matching(vec![Selector::default()])
    }

    fn devices(&self, db: &Connection) -> Result<Vec<Device>, StoreError> {
        match self {
            Affected::None => Ok(vec![]),
            Affected::One(device) => Ok(devices::find(db, device)?.into_iter().collect()),
            Affected::Matching(selectors) => Ok(devices::list(db, &Selector::default())?
                .into_iter()
                .filter(|device| selectors.iter().any(|s| s.matches(&device.labels)))
                .collect()),
        }
    }
}

impl Coded for KeysError {
    fn reason(&self) -> Reason {
        Reason::Unavailable
    }
}

/// Runs an edit, then composes, checks, signs and stores the documents of all
/// devices that it concerns, all in one transaction; then has them published.
///
/// # Errors
/// The edit's own, or why a device's document would be invalid: then nothing is stored.
pub async fn edit<T, F>(app: &Arc<App>, work: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<(T, Affected), Refusal> + Send + 'static,
{
    let shared = Arc::clone(app);
    let (done, published) = app
        .store
        .write(move |db| {
            let (done, affected) = work(db)?;
            let published = recompute(&shared, db, &affected)?;
            Ok::<_, Refusal>((done, published))
        })
        .await?;
    for device in published {
        app.bus.send(Command::Desired(device));
    }
    Ok(done)
}

/// Signs again what is past half of its life, so that a device that comes back
/// finds a document that it may accept.
///
/// # Errors
/// That of the store; a device that cannot be rendered is logged and passed over.
pub async fn renew(app: &Arc<App>) -> Result<usize, Refusal> {
    let shared = Arc::clone(app);
    let renewed = app
        .store
        .write(move |db| {
            let now_ms = clock::now_ms();
            let mut renderer = Renderer::new(&shared, db)?;
            let mut renewed = vec![];
            for device in Affected::all().devices(db)? {
                let Some(latest) = versions::latest(db, &device.device)? else { continue };
                let half = latest.expires_at_ms.saturating_sub(latest.issued_at_ms) / 2;
                if device.conflict.is_some() || now_ms < latest.issued_at_ms.saturating_add(half) {
                    continue;
                }
                match renderer.render(&device) {
                    Ok(rendered) => {
                        sign_next(&shared, db, &renderer, (&device, &rendered), Some(&latest))?;
                        renewed.push(device.device);
                    }
                    Err(refusal) => {
                        tracing::warn!(device = %device.device, %refusal, "cannot renew a document");
                    }
                }
            }
            Ok::<_, Refusal>(renewed)
        })
        .await?;
    let count = renewed.len();
    for device in renewed {
        app.bus.send(Command::Desired(device));
    }
    Ok(count)
}

fn recompute(app: &App, db: &Connection, affected: &Affected) -> Result<Vec<DeviceId>, Refusal> {
    let devices = affected.devices(db)?;
    if devices.is_empty() {
        return Ok(vec![]);
    }
    let mut renderer = Renderer::new(app, db)?;
    let (mut published, mut refused) = (vec![], vec![]);
    for device in devices {
        let rendered = match renderer.render(&device) {
            Ok(rendered) => rendered,
            Err(refusal) => {
                refused.push((device.device, refusal));
                continue;
            }
        };
        // A device that is ahead of the cloud gets nothing until a person decides.
        if device.conflict.is_some() || !refused.is_empty() {
            continue;
        }
        let latest = versions::latest(db, &device.device)?;
        let unchanged = latest.as_ref().is_some_and(|latest| {
            latest.content_digest == rendered.content_digest
                && latest.version.get() > device.version_floor
        });
        if !unchanged {
            match sign_next(app, db, &renderer, (&device, &rendered), latest.as_ref()) {
                Ok(()) => published.push(device.device),
                Err(refusal) => refused.push((device.device, refusal)),
            }
        }
    }
    refusal_of(refused).map_or(Ok(published), Err)
}

/// One refusal that tells the first device's story and names the others.
fn refusal_of(refused: Vec<(DeviceId, Refusal)>) -> Option<Refusal> {
    let mut refused = refused.into_iter();
    let (device, refusal) = refused.next()?;
    let mut refusal = refusal.at(format!("device {device}"));
    let others: Vec<DeviceId> = refused.map(|(device, _)| device).collect();
    if !others.is_empty() {
        let named: Vec<&str> =
            others.iter().take(DEVICES_NAMED_MAX).map(DeviceId::as_str).collect();
        let more = if others.len() > named.len() { ", ..." } else { "" };
        let also = format!("; {} more devices refuse: {}{more}", others.len(), named.join(", "));
        refusal.detail.push_str(&also);
    }
    Some(refusal)
}

/// Gives a rendered device its next version, signs and stores it.
fn sign_next(
    app: &App,
    db: &Connection,
    renderer: &Renderer<'_>,
    (device, rendered): (&Device, &Rendered),
    latest: Option<&StoredVersion>,
) -> Result<(), Refusal> {
    let same_epoch = latest.filter(|latest| latest.epoch == rendered.identity.epoch);
    let last = same_epoch.map_or(0, |latest| latest.version.get()).max(device.version_floor);
    let version = Version::try_from(last.saturating_add(1))
        .map_err(|_| Refusal::new(Reason::DeviceAhead, "no version is left; raise the epoch"))?;
    let now_ms = clock::now_ms();
    let (document, envelope, payload_digest) = seal(app, renderer, rendered, (version, now_ms))?;
    let external = document.modules.iter().filter(|(_, module)| module.inline.is_none());
    let stored = StoredVersion {
        epoch: document.epoch,
        version,
        content_digest: rendered.content_digest.clone(),
        payload_digest,
        external_modules: external.map(|(digest, _)| digest.clone()).collect(),
        issued_at_ms: document.issued_at_ms,
        expires_at_ms: document.expires_at_ms,
        published_at_ms: None,
        applied_at_ms: None,
    };
    Ok(versions::insert(db, &device.device, &stored, &envelope)?)
}

/// Seals the document; one that grew too large with inline modules goes without.
fn seal(
    app: &App,
    renderer: &Renderer<'_>,
    rendered: &Rendered,
    version_and_time: (Version, u64),
) -> Result<(Document, Vec<u8>, Digest), Refusal> {
    for inline in [true, false] {
        let document = renderer.document(rendered, version_and_time, inline)?;
        let payload = serde_json::to_vec(&document)
            .map_err(|error| Refusal::new(Reason::SchemaViolation, error.to_string()))?;
        let envelope = app.trust.director.seal::<Document>(&payload)?;
        if envelope.len() <= DOCUMENT_BYTES_MAX {
            return Ok((document, envelope, Digest::of(&payload)));
        }
    }
    let detail = format!("the signed document is over {DOCUMENT_BYTES_MAX} bytes");
    Err(Refusal::new(Reason::TooLarge, detail))
}

/// Modules that must be on their own topics for the devices' newest documents.
///
/// # Errors
/// [`StoreError`].
pub fn external_modules(db: &Connection) -> Result<BTreeSet<Digest>, StoreError> {
    let mut external = BTreeSet::new();
    for device in devices::list(db, &Selector::default())? {
        if let Some(latest) = versions::latest(db, &device.device)? {
            external.extend(latest.external_modules);
        }
    }
    Ok(external)
}
