//! Results: rows of a device, and what shadow runs show over many.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use gnomon_cloud_core::{Comparison, Selector};
use gnomon_schemas::ids::{DeviceId, FunctionName};
use gnomon_schemas::reason::{Reason, Refusal};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::types::{Page, Row};
use super::{Body, Route, VIEWER, devices};
use crate::app::App;
use crate::modules;
use crate::store::results::{self, Rows};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
const PAGING: &[(&str, &str, &str)] = &[
    ("limit", "query", "At most this many rows, 1 to 1000; 100 unless given"),
    ("after", "query", "Rows after this one: `next_after` of the page before"),
];

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/devices/{device}/summaries", VIEWER, "A device's summaries", summaries)
            .with(PAGING)
            .gives(Body::json::<Page>()),
        Route::get(
            "/v1/devices/{device}/records",
            VIEWER,
            "A device's sampled evaluations",
            records,
        )
        .with(PAGING)
        .gives(Body::json::<Page>()),
        Route::get("/v1/devices/{device}/refusals", VIEWER, "What a device refused", refusals)
            .with(PAGING)
            .gives(Body::json::<Page>()),
        Route::get(
            "/v1/functions/{function}/comparison",
            VIEWER,
            "A candidate beside the active function, over all devices that ran it",
            comparison,
        )
        .with(&[
            ("candidate", "query", "The candidate: digest, the beginning of one, or name@version"),
            ("selector", "query", "Only devices with these labels"),
        ])
        .gives(Body::json::<Comparison>()),
    ]
}

async fn summaries(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    page(&app, &call, Rows::Summaries).await
}

async fn records(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    page(&app, &call, Rows::Records).await
}

async fn refusals(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    page(&app, &call, Rows::Refusals).await
}

async fn page(app: &App, call: &Call, rows: Rows) -> Result<Response, Problem> {
    let device: DeviceId = call.path("device")?;
    let limit = call.query("limit")?.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let after = call.query("after")?.unwrap_or(0);
    let found = app
        .store
        .read(move |db| {
            devices::known(db, &device)?;
            Ok::<_, Refusal>(results::page(db, rows, &device, after, limit)?)
        })
        .await?;
    let full = found.len() == limit;
    let next_after = found.last().filter(|_| full).map(|(id, _)| *id);
    let items = found.into_iter().map(|(id, row)| Row { id, row }).collect();
    call::json(StatusCode::OK, &Page { items, next_after })
}

async fn comparison(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let function: FunctionName = call.path("function")?;
    let selector: Selector = call.query("selector")?.unwrap_or_default();
    let candidate: String = call.query("candidate")?.ok_or_else(|| {
        Refusal::new(Reason::SchemaViolation, "give query `candidate`: a module's digest")
    })?;
    let comparison = app
        .store
        .read(move |db| {
            let candidate = modules::find(db, &candidate)?.digest;
            let chosen: BTreeSet<DeviceId> = crate::store::devices::list(db, &selector)?
                .into_iter()
                .map(|device| device.device)
                .collect();
            let mut rows = results::compared(db, &function, &candidate)?;
            rows.retain(|(device, _)| chosen.contains(device));
            Ok::<_, Refusal>(Comparison::of(&function, &candidate, &rows))
        })
        .await?;
    call::json(StatusCode::OK, &comparison)
}
