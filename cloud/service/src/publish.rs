//! The one way in which anything changes: an edit and all documents that follow
//! from it are stored in one transaction, or nothing is. After the commit the
//! bus is told.
//!
//! A device whose document brings or loosens something that no approval covers gets no
//! new version: it waits, with its last document, until somebody approves.

use gnomon_cloud_core::Selector;
use gnomon_schemas::approval;
use gnomon_schemas::document::Document;
use gnomon_schemas::ids::{DeviceId, Digest, Version};
use gnomon_schemas::limits::DOCUMENT_BYTES_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::verify::verify;
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::app::App;
use crate::approvals::Attached;
use crate::bus::Command;
use crate::clock;
use crate::render::Renderer;
use crate::store::audit::{self, Entry};
use crate::store::devices::{self, Device};
use crate::store::versions::{self, StoredVersion};
use crate::store::{StoreError, approvals};

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
    /// These devices.
    These(Vec<DeviceId>),
}

impl Affected {
    /// Every device.
    pub fn all() -> Affected {
        Affected::Matching(vec![Selector::default()])
    }

    fn devices(&self, db: &Connection) -> Result<Vec<Device>, StoreError> {
        let find = |device: &DeviceId| devices::find(db, device).transpose();
        match self {
            Affected::None => Ok(vec![]),
            Affected::One(device) => find(device).into_iter().collect(),
            Affected::These(devices) => devices.iter().filter_map(find).collect(),
            Affected::Matching(selectors) => Ok(devices::list(db, &Selector::default())?
                .into_iter()
                .filter(|device| selectors.iter().any(|s| s.matches(&device.labels)))
                .collect()),
        }
    }
}

/// A device whose document cannot be made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RefusedDevice {
    /// The device.
    pub device: DeviceId,
    /// Why.
    pub refusal: Refusal,
}

/// What happens when a device's document cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusals {
    /// Nothing of the edit is stored.
    Fatal,
    /// The device keeps what it has, and that is told.
    Told,
}

/// What became of the devices that an edit concerns.
#[derive(Debug, Default)]
pub struct Recomputed {
    /// They have a new version.
    pub published: Vec<DeviceId>,
    /// They wait for an approval.
    pub waiting: Vec<DeviceId>,
    /// Their documents cannot be made.
    pub refused: Vec<RefusedDevice>,
}

/// Runs an edit, then composes, checks, signs and stores the documents of all devices
/// that it concerns and records who edited what, all in one transaction; then has them
/// published.
///
/// # Errors
/// The edit's own, or why a device's document would be invalid: then nothing is stored.
pub async fn edit<T, F>(app: &Arc<App>, entry: Entry, work: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<(T, Affected), Refusal> + Send + 'static,
{
    let shared = Arc::clone(app);
    let (done, recomputed) = app
        .store
        .write(move |db| {
            let trust = shared.trust.to_sign()?;
            let (done, affected) = work(db)?;
            let renderer = Renderer::under(&shared, trust, db)?;
            let by = entry.actor().person();
            let recomputed = recompute(renderer, &by, &affected, Refusals::Fatal)?;
            audit::append(db, clock::now_ms(), &entry)?;
            Ok::<_, Refusal>((done, recomputed))
        })
        .await?;
    for device in recomputed.published {
        app.bus.send(Command::Desired(device));
    }
    Ok(done)
}

/// Signs again what is past half of its life, so that a device that comes back finds a
/// document that it may accept, and what another director or epoch has signed. What
/// waits for an approval is renewed as it was.
///
/// # Errors
/// That of the store; a device that cannot be rendered is logged and passed over.
pub async fn renew(app: &Arc<App>) -> Result<usize, Refusal> {
    let shared = Arc::clone(app);
    let renewed = app
        .store
        .write(move |db| {
            let now_ms = clock::now_ms();
            let mut renderer = Renderer::under(&shared, shared.trust.to_sign()?, db)?;
            let mut renewed = vec![];
            for device in Affected::all().devices(db)? {
                let Some(latest) = versions::latest(db, &device.device)? else { continue };
                let half = latest.expires_at_ms.saturating_sub(latest.issued_at_ms) / 2;
                let is_young = now_ms < latest.issued_at_ms.saturating_add(half);
                if device.conflict.is_some() || (is_young && is_current(&renderer, &latest)?) {
                    continue;
                }
                match renew_one(&mut renderer, &device, &latest) {
                    Ok(true) => renewed.push(device.device),
                    Ok(false) => {}
                    Err(refusal) => {
                        let device = &device.device;
                        tracing::warn!(%device, %refusal, "cannot renew a document");
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

/// Whether the director and epoch in force are those of a version.
fn is_current(renderer: &Renderer<'_>, latest: &StoredVersion) -> Result<bool, Refusal> {
    let trust = renderer.trust();
    Ok(latest.director == trust.director()?.id() && latest.epoch == trust.root.epoch)
}

fn renew_one(
    renderer: &mut Renderer<'_>,
    device: &Device,
    latest: &StoredVersion,
) -> Result<bool, Refusal> {
    let rendered = renderer.render(device)?;
    match renderer.attach(&rendered, &latest.approvals)? {
        Attached::All(attached) => sign_next(
            renderer,
            (device, Some(latest)),
            &rendered.content_digest,
            |version, inline| renderer.document(&rendered, version, inline, &attached),
            attached.iter().map(|given| given.digest.clone()).collect(),
        )?,
        Attached::Missing => return sign_as_it_was(renderer, device, latest),
    }
    Ok(true)
}

/// The last document again, with new times, while what would follow it waits. It must
/// verify as it would on the device: a row that somebody forged is not signed.
fn sign_as_it_was(
    renderer: &Renderer<'_>,
    device: &Device,
    latest: &StoredVersion,
) -> Result<bool, Refusal> {
    let root = &renderer.trust().root;
    if latest.epoch != root.epoch {
        return Ok(false);
    }
    let envelope = versions::envelope(renderer.db(), &device.device, latest)?;
    let last = verify::<Document>(&envelope, &root.roles.director)?.into_payload();
    approval::check(&last, root)?;
    if last.device != device.device || last.version != latest.version {
        let detail = format!("version {} is stored as version {}", last.version, latest.version);
        return Err(Refusal::new(Reason::StoreFailed, detail));
    }
    let lifetime = last.expires_at_ms.saturating_sub(last.issued_at_ms);
    let again = |(version, now_ms): (Version, u64), _: bool| {
        let expires_at_ms = now_ms.saturating_add(lifetime);
        Ok(Document { version, issued_at_ms: now_ms, expires_at_ms, ..last.clone() })
    };
    let approvals = latest.approvals.clone();
    sign_next(renderer, (device, Some(latest)), &latest.content_digest, again, approvals)?;
    Ok(true)
}

/// Composes the documents of the devices that an edit concerns; signs and stores those
/// that differ from their last and are approved.
///
/// # Errors
/// The store's, and with [`Refusals::Fatal`] why a document cannot be made.
pub(crate) fn recompute(
    mut renderer: Renderer<'_>,
    by: &str,
    affected: &Affected,
    refusals: Refusals,
) -> Result<Recomputed, Refusal> {
    let mut done = Recomputed::default();
    for device in affected.devices(renderer.db())? {
        // One refusal is enough to store nothing; the others are named with it.
        let only_check = refusals == Refusals::Fatal && !done.refused.is_empty();
        match recompute_one(&mut renderer, by, &device, only_check) {
            Ok(Next::Same) => {}
            Ok(Next::Signed) => done.published.push(device.device),
            Ok(Next::Waits) => done.waiting.push(device.device),
            Err(refusal) => {
                done.refused.push(RefusedDevice { device: device.device, refusal });
            }
        }
    }
    match refusals {
        Refusals::Fatal => refusal_of(&done.refused).map_or(Ok(done), Err),
        Refusals::Told => Ok(done),
    }
}

/// What follows a device's last version.
enum Next {
    Same,
    Signed,
    Waits,
}

fn recompute_one(
    renderer: &mut Renderer<'_>,
    by: &str,
    device: &Device,
    only_check: bool,
) -> Result<Next, Refusal> {
    let rendered = renderer.render(device)?;
    // A device that is ahead of the cloud gets nothing until a person decides.
    if only_check || device.conflict.is_some() {
        return Ok(Next::Same);
    }
    let db = renderer.db();
    let latest = versions::latest(db, &device.device)?;
    let before = latest.as_ref().map_or(&[][..], |latest| &latest.approvals);
    let Attached::All(attached) = renderer.attach(&rendered, before)? else {
        approvals::wait(db, &device.device, &rendered.grant, by, clock::now_ms())?;
        return Ok(Next::Waits);
    };
    approvals::done(db, &device.device)?;
    let attached_digests: Vec<Digest> = attached.iter().map(|given| given.digest.clone()).collect();
    if let Some(latest) = &latest
        && latest.content_digest == rendered.content_digest
        && latest.version.get() > device.version_floor
        && latest.approvals == attached_digests
        && is_current(renderer, latest)?
    {
        return Ok(Next::Same);
    }
    let of = (device, latest.as_ref());
    sign_next(
        renderer,
        of,
        &rendered.content_digest,
        |version, inline| renderer.document(&rendered, version, inline, &attached),
        attached_digests,
    )?;
    Ok(Next::Signed)
}

/// One refusal that tells the first device's story and names the others.
fn refusal_of(refused: &[RefusedDevice]) -> Option<Refusal> {
    let (first, others) = refused.split_first()?;
    let mut refusal = first.refusal.clone().at(format!("device {}", first.device));
    if !others.is_empty() {
        let named = others.iter().take(DEVICES_NAMED_MAX).map(|other| other.device.as_str());
        let named = named.collect::<Vec<_>>().join(", ");
        let more = if others.len() > DEVICES_NAMED_MAX { ", ..." } else { "" };
        let also = format!("; {} more devices refuse: {named}{more}", others.len());
        refusal.detail.push_str(&also);
    }
    Some(refusal)
}

/// Gives a device its next version: makes the document for it, signs and stores it. One
/// that grew too large with inline modules goes without.
fn sign_next(
    renderer: &Renderer<'_>,
    (device, latest): (&Device, Option<&StoredVersion>),
    content_digest: &Digest,
    document: impl Fn((Version, u64), bool) -> Result<Document, Refusal>,
    approvals: Vec<Digest>,
) -> Result<(), Refusal> {
    let trust = renderer.trust();
    // Versions go on counting under a new epoch: a device orders by both, people by one.
    let last = latest.map_or(0, |latest| latest.version.get()).max(device.version_floor);
    let version = Version::try_from(last.saturating_add(1))
        .map_err(|_| Refusal::new(Reason::DeviceAhead, "no version is left"))?;
    let director = trust.director()?;
    for inline in [true, false] {
        let document = document((version, clock::now_ms()), inline)?;
        let payload = serde_json::to_vec(&document)
            .map_err(|error| Refusal::new(Reason::SchemaViolation, error.to_string()))?;
        let envelope = director.seal::<Document>(&payload)?;
        if envelope.len() > DOCUMENT_BYTES_MAX {
            continue;
        }
        let external = document.modules.iter().filter(|(_, module)| module.inline.is_none());
        let stored = StoredVersion {
            epoch: document.epoch,
            version,
            content_digest: content_digest.clone(),
            payload_digest: Digest::of(&payload),
            external_modules: external.map(|(digest, _)| digest.clone()).collect(),
            issued_at_ms: document.issued_at_ms,
            expires_at_ms: document.expires_at_ms,
            published_at_ms: None,
            applied_at_ms: None,
            director: director.id().to_owned(),
            approvals,
        };
        return Ok(versions::insert(renderer.db(), &device.device, &stored, &envelope)?);
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
