//! The audit log over HTTP: its entries for admins, its newest checkpoint for everybody
//! who reads, so that many keep one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use gnomon_cloud_core::access::{Needs, Role};
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::limits::JSON_INTEGER_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::{ADMIN, Body, Route};
use crate::app::App;
use crate::audit;
use crate::store::audit::{self as log, Recorded};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Entries of the audit log, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AuditPage {
    /// The entries.
    pub items: Vec<Recorded>,
    /// Ask again with `before` set to this; none at the beginning of the log.
    pub next_before: Option<u64>,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/audit", ADMIN, "Entries of the audit log, newest first", list)
            .with(&[
                ("limit", "query", "At most this many entries, 1 to 1000; 100 unless given"),
                ("before", "query", "Entries before this one: `next_before` of the page before"),
            ])
            .gives(Body::json::<AuditPage>()),
        Route::get(
            "/v1/audit/checkpoint",
            Needs::Role(Role::Viewer),
            "A signed checkpoint over the audit log as it is now; keep it elsewhere",
            checkpoint,
        )
        .gives(Body::json::<Envelope>()),
    ]
}

async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let limit = call.query("limit")?.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let newest = JSON_INTEGER_MAX.unsigned_abs();
    let before = call.query("before")?.unwrap_or(newest).min(newest);
    let items = app.store.read(move |db| Ok::<_, Refusal>(log::page(db, before, limit)?)).await?;
    let next_before = items.last().map(|item| item.sequence).filter(|first| *first > 1);
    call::json(StatusCode::OK, &AuditPage { items, next_before })
}

async fn checkpoint(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    audit::checkpoint(&app).await?;
    let newest = app.store.read(|db| Ok::<_, Refusal>(log::newest_checkpoint(db)?)).await?;
    let (_, envelope) = newest.ok_or_else(|| {
        let detail = "nothing was recorded yet, so there is nothing to sign";
        Problem::with(StatusCode::NOT_FOUND, Refusal::new(Reason::Unavailable, detail))
    })?;
    Ok(call::bytes(StatusCode::OK, "application/json", envelope))
}
