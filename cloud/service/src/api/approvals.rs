//! Approvals: what waits for one, what was approved, and a new one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use gnomon_schemas::approval::Grant;
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::ids::{DeviceId, Digest};
use gnomon_schemas::reason::{Reason, Refusal};
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::{APPROVER, Body, Route, VIEWER};
use crate::app::App;
use crate::approvals::{self, Taken};
use crate::store::approvals::{self as store, StoredApproval};
use crate::store::{modules, profiles};
use crate::trust::Trust;

/// The fewest digits by which a request may be named.
const PREFIX_MIN: usize = 4;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/approvals", VIEWER, "What waits for an approval, and what was given", list)
            .gives(Body::json::<ApprovalsView>()),
        Route::get(
            "/v1/approvals/{digest}",
            VIEWER,
            "What waits for the approval of a grant, by its digest or the beginning of one",
            get,
        )
        .gives(Body::json::<WaitingView>()),
        Route::post("/v1/approvals", APPROVER, "Bring an approval; what waits goes out", add)
            .takes(Body::json::<Envelope>())
            .gives(Body::json::<Taken>())
            .status(StatusCode::CREATED),
    ]
}

/// What waits and what was given.
#[derive(Debug, Serialize, JsonSchema)]
struct ApprovalsView {
    /// What waits, the longest first.
    waiting: Vec<WaitingView>,
    /// What was given, the newest first.
    given: Vec<GivenView>,
}

/// A grant that devices wait for.
#[derive(Debug, Serialize, JsonSchema)]
struct WaitingView {
    /// The digest by which it is named.
    digest: Digest,
    /// What would be granted.
    grant: Grant,
    /// The profile that it is for.
    profile: String,
    /// The modules in it, as `name@version`.
    modules: BTreeMap<Digest, String>,
    /// The devices that wait for it.
    devices: BTreeSet<DeviceId>,
    /// Whose edits led to it; they may not approve it.
    asked_by: BTreeSet<String>,
    /// Since when (Unix time, ms).
    since_ms: u64,
}

/// An approval that was given.
#[derive(Debug, Serialize, JsonSchema)]
struct GivenView {
    /// The digest of what was signed.
    digest: Digest,
    /// The digest of what it grants.
    grant_digest: Digest,
    /// What it grants, for which devices and when; none if it counts no more under the
    /// trust root in force.
    approval: Option<gnomon_schemas::approval::Approval>,
    /// Who brought it.
    added_by: String,
    /// When (Unix time, ms).
    received_ms: u64,
}

fn waiting(db: &Connection) -> Result<Vec<WaitingView>, Refusal> {
    let mut views: BTreeMap<Digest, WaitingView> = BTreeMap::new();
    for row in store::waiting(db)? {
        if !views.contains_key(&row.digest) {
            let (profile, modules) = names(db, &row.grant)?;
            let view = WaitingView {
                digest: row.digest.clone(),
                grant: row.grant,
                profile,
                modules,
                devices: BTreeSet::new(),
                asked_by: BTreeSet::new(),
                since_ms: row.since_ms,
            };
            views.insert(row.digest.clone(), view);
        }
        if let Some(view) = views.get_mut(&row.digest) {
            view.devices.insert(row.device);
            view.asked_by.extend(row.asked_by);
            view.since_ms = view.since_ms.min(row.since_ms);
        }
    }
    let mut views: Vec<WaitingView> = views.into_values().collect();
    views.sort_by_key(|view| view.since_ms);
    Ok(views)
}

fn names(db: &Connection, grant: &Grant) -> Result<(String, BTreeMap<Digest, String>), Refusal> {
    let profile = profiles::find(db, grant.profile.as_str())?;
    let profile = profile.map_or_else(String::new, |stored| {
        format!("{} {}", stored.profile.name, stored.profile.version)
    });
    let used = grant.functions.values().flat_map(|f| f.active.iter().chain(&f.candidates));
    let mut named = BTreeMap::new();
    for digest in used {
        if let Some(module) = modules::find(db, digest)? {
            let name = format!("{}@{}", module.listed.name, module.listed.version);
            named.insert(digest.clone(), name);
        }
    }
    Ok((profile, named))
}

fn given(stored: StoredApproval, trust: &Trust) -> GivenView {
    let counts = approvals::open(&stored, &trust.root)
        .filter(|given| given.approval.approved_at_ms >= trust.root.approved_after_ms);
    GivenView {
        digest: stored.digest,
        grant_digest: stored.grant,
        approval: counts.map(|given| given.approval),
        added_by: stored.added_by,
        received_ms: stored.received_ms,
    }
}

async fn list(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    let trust = app.trust();
    let view = app
        .store
        .read(move |db| {
            let all = store::list(db)?;
            let given = all.into_iter().map(|stored| given(stored, &trust)).collect();
            Ok::<_, Refusal>(ApprovalsView { waiting: waiting(db)?, given })
        })
        .await?;
    call::json(StatusCode::OK, &view)
}

async fn get(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let key: String = call.path_text("digest").chars().take(80).collect();
    let view = app
        .store
        .read(move |db| {
            let hex = key.strip_prefix("sha256:").unwrap_or(&key).to_owned();
            let is =
                |view: &WaitingView| hex.len() >= PREFIX_MIN && view.digest.hex().starts_with(&hex);
            let mut found: Vec<WaitingView> = waiting(db)?.into_iter().filter(is).collect();
            let unknown = |detail| Refusal::new(Reason::UnknownApproval, detail);
            match (found.pop(), found.len()) {
                (Some(only), 0) => Ok(only),
                (Some(_), more) => {
                    Err(unknown(format!("`{key}` begins {} digests; give more", more + 1)))
                }
                (None, _) => Err(unknown(format!(
                    "nothing waits for `{key}`: it was approved, or an edit has replaced it; \
                     see `gnomon approval list`"
                ))),
            }
        })
        .await?;
    call::json(StatusCode::OK, &view)
}

async fn add(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let bytes = call.json_bytes()?.to_vec();
    let entry = call.entry("approval.add", "new");
    let taken = approvals::take(&app, entry, bytes).await.map_err(Problem::in_body)?;
    call::json(StatusCode::CREATED, &taken)
}
