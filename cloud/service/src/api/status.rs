//! Health, status and the OpenAPI document.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use gnomon_cloud_core::Selector;
use gnomon_schemas::reason::Refusal;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::types::{DeviceState, Health, ServiceStatus};
use super::{Body, PUBLIC, Route, VIEWER, openapi};
use crate::app::App;
use crate::store::{devices, reported, results, versions};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/health", VIEWER, "Whether the service answers", health)
            .gives(Body::json::<Health>()),
        Route::get("/v1/status", VIEWER, "How the service and its devices stand", status)
            .gives(Body::json::<ServiceStatus>()),
        Route::get("/v1/openapi.json", PUBLIC, "This description", describe)
            .gives(Body::json::<BTreeMap<String, serde_json::Value>>()),
    ]
}

async fn health(_: Call) -> Result<Response, Problem> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    call::json(StatusCode::OK, &Health { status: "ok".into(), version })
}

async fn status(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    let (by_state, (batches_stored, refused_by_devices)) = app
        .store
        .read(|db| {
            let mut by_state: BTreeMap<DeviceState, u64> = BTreeMap::new();
            for device in devices::list(db, &Selector::default())? {
                let latest = versions::latest(db, &device.device)?;
                let reported = reported::find(db, &device.device)?.map(|(reported, _)| reported);
                let state = DeviceState::of(&device, latest.as_ref(), reported.as_ref());
                *by_state.entry(state).or_default() += 1;
            }
            Ok::<_, Refusal>((by_state, results::counts(db)?))
        })
        .await?;
    let status = ServiceStatus {
        fleet: app.fleet.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        broker_url: app.mqtt_url.clone(),
        broker_connected: app.bus.is_connected(),
        devices: by_state.values().sum(),
        devices_by_state: by_state,
        batches_stored,
        refused: app.refused.counts(),
        refused_by_devices: refused_by_devices.into_iter().collect(),
        trust_version: app.trust().root.version,
        engine: app.host.engine_digest().clone(),
    };
    call::json(StatusCode::OK, &status)
}

async fn describe(_: Call) -> Result<Response, Problem> {
    call::json(StatusCode::OK, &openapi::document())
}
