//! Approvals in the service: taking one that an approver signed, and finding those that
//! a document goes out with.
//!
//! No approval is believed because it is stored: each is verified again under the root
//! in force before it is attached.

use gnomon_cloud_core::approvals::{Given, check_author, choose};
use gnomon_schemas::approval::{Approval, Grant};
use gnomon_schemas::envelope::Payload as _;
use gnomon_schemas::ids::{DeviceId, Digest};
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::strict;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::verify;
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::app::App;
use crate::bus::Command;
use crate::clock;
use crate::publish::{self, Affected, Refusals, RefusedDevice};
use crate::render::Renderer;
use crate::store::StoreError;
use crate::store::approvals::{self, StoredApproval, Waiting};
use crate::store::audit::{self, Entry};
use crate::trust::Trust;

/// How far an approver's clock may be ahead of the service's. Without it an approval
/// could be dated beyond every later line that revokes it.
const AHEAD_MS_MAX: u64 = 10 * 60 * 1000;

/// What a document goes out with.
pub enum Attached {
    /// These cover all of it, if anything must be covered.
    All(Vec<Rc<Given>>),
    /// Something is not covered.
    Missing,
}

/// The approvals that are stored and verify under a root, read once per transaction.
pub struct Known<'a> {
    db: &'a Connection,
    trust: Arc<Trust>,
    by_profile: BTreeMap<Digest, Vec<Rc<Given>>>,
}

impl<'a> Known<'a> {
    /// None read yet.
    pub fn new(db: &'a Connection, trust: Arc<Trust>) -> Known<'a> {
        Known { db, trust, by_profile: BTreeMap::new() }
    }

    /// The approvals for a document of this grant: those of `before` if they cover it,
    /// else the fewest, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn attach(
        &mut self,
        wanted: &Grant,
        device: &DeviceId,
        before: &[Digest],
    ) -> Result<Attached, StoreError> {
        if wanted.is_empty() {
            return Ok(Attached::All(vec![]));
        }
        let trust = Arc::clone(&self.trust);
        let root = &trust.root;
        let all = self.of_profile(&wanted.profile)?;
        let chosen = |among: Vec<&Given>| {
            let chosen = choose(wanted, device, root, &among)?;
            let is = |given: &&Rc<Given>| chosen.iter().any(|c| c.digest == given.digest);
            Some(all.iter().filter(is).cloned().collect())
        };
        let had = |given: &&Rc<Given>| before.contains(&given.digest);
        let as_before = chosen(all.iter().filter(had).map(Rc::as_ref).collect());
        let found = as_before.or_else(|| chosen(all.iter().map(Rc::as_ref).collect()));
        Ok(found.map_or(Attached::Missing, Attached::All))
    }

    fn of_profile(&mut self, profile: &Digest) -> Result<&[Rc<Given>], StoreError> {
        if !self.by_profile.contains_key(profile) {
            let stored = approvals::of_profile(self.db, profile)?;
            let given = stored.iter().filter_map(|stored| open(stored, &self.trust.root));
            self.by_profile.insert(profile.clone(), given.map(Rc::new).collect());
        }
        Ok(self.by_profile.get(profile).map_or(&[], Vec::as_slice))
    }
}

/// A stored approval, if it verifies under this root.
pub fn open(stored: &StoredApproval, root: &TrustRoot) -> Option<Given> {
    let envelope = strict::parse(&stored.envelope, Approval::ENVELOPE_BYTES_MAX).ok()?;
    let verified = verify::<Approval>(&stored.envelope, &root.roles.approver).ok()?;
    let digest = verified.digest().clone();
    let approval = verified.into_payload();
    approval.check().ok()?;
    Some(Given { digest, approval, envelope })
}

/// What an approval led to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    /// The digest of what was signed.
    pub digest: Digest,
    /// The digest of what it grants.
    pub grant_digest: Digest,
    /// Devices that have a new version because of it.
    pub published: Vec<DeviceId>,
    /// Devices that wait for another one still.
    pub waiting: Vec<DeviceId>,
    /// Devices whose document cannot be made, and why.
    pub refused: Vec<RefusedDevice>,
}

/// Verifies an approval, stores it, and publishes what waited for it, all in one
/// transaction.
///
/// # Errors
/// Why it counts for nothing, or why whoever brings it may not.
pub async fn take(app: &Arc<App>, entry: Entry, bytes: Vec<u8>) -> Result<Taken, Refusal> {
    let shared = Arc::clone(app);
    let taken = app.store.write(move |db| take_in(&shared, db, entry, bytes)).await?;
    for device in &taken.published {
        app.bus.send(Command::Desired(device.clone()));
    }
    Ok(taken)
}

fn take_in(
    app: &Arc<App>,
    db: &Connection,
    entry: Entry,
    bytes: Vec<u8>,
) -> Result<Taken, Refusal> {
    let trust = app.trust.to_sign()?;
    let now_ms = clock::now_ms();
    let (digest, approval) = check(&bytes, &trust.root, now_ms)?;
    let is_granted = |waiting: &Waiting| {
        !approval.grants(&waiting.grant, &waiting.device, &trust.root).is_empty()
    };
    let granted: Vec<Waiting> = approvals::waiting(db)?.into_iter().filter(is_granted).collect();
    let authors: BTreeSet<String> = granted.iter().flat_map(|w| w.asked_by.clone()).collect();
    check_author(entry.actor(), &authors)?;
    let by = entry.actor().person();
    let stored = StoredApproval {
        digest: digest.clone(),
        grant: approval.grant.digest(),
        envelope: bytes,
        added_by: by.clone(),
        received_ms: now_ms,
    };
    approvals::insert(db, &stored, &approval)?;
    audit::append(db, now_ms, &entry.of(&digest).with("grant", stored.grant.as_str()))?;
    let renderer = Renderer::under(app, trust, db)?;
    let devices = granted.into_iter().map(|waiting| waiting.device).collect();
    let done = publish::recompute(renderer, &by, &Affected::These(devices), Refusals::Told)?;
    Ok(Taken {
        digest,
        grant_digest: stored.grant,
        published: done.published,
        waiting: done.waiting,
        refused: done.refused,
    })
}

/// Whether an approval counts under this root now.
///
/// # Errors
/// Why it does not.
pub fn check(bytes: &[u8], root: &TrustRoot, now_ms: u64) -> Result<(Digest, Approval), Refusal> {
    let verified = verify::<Approval>(bytes, &root.roles.approver)?;
    let (digest, approval) = (verified.digest().clone(), verified.into_payload());
    approval.check()?;
    if approval.fleet != root.fleet {
        let detail = format!("the approval is for fleet `{}`", approval.fleet);
        return Err(Refusal::new(Reason::WrongFleet, detail));
    }
    if approval.approved_at_ms < root.approved_after_ms {
        let detail = "the approval was given before the moment from which the trust root \
                      counts them; sign it again";
        return Err(Refusal::new(Reason::Expired, detail));
    }
    if approval.approved_at_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
        let detail = "the approval was given in the future; set the approver's clock and sign \
                      it again";
        return Err(Refusal::new(Reason::FastForward, detail));
    }
    Ok((digest, approval))
}
