//! The trust root: the newest, any of the chain, and the next one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::reason::{Reason, Refusal};
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::{ADMIN, Body, Route, VIEWER};
use crate::app::App;
use crate::store::roots;
use crate::trust::{self, Installed};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/trust", VIEWER, "The trust root in force, in its signed envelope", newest)
            .gives(Body::json::<Envelope>()),
        Route::get("/v1/trust/{version}", VIEWER, "A trust root of the chain", version)
            .gives(Body::json::<Envelope>()),
        Route::post("/v1/trust", ADMIN, "Take the next trust root in force and publish it", next)
            .takes(Body::json::<Envelope>())
            .gives(Body::json::<Installed>()),
    ]
}

async fn newest(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    Ok(call::bytes(StatusCode::OK, "application/json", app.trust().envelope.clone()))
}

async fn version(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let text: String = call.path_text("version").chars().take(20).collect();
    let envelope = app
        .store
        .read(move |db| {
            let found = text.parse().ok().map(|version| roots::find(db, version)).transpose()?;
            found.flatten().ok_or_else(|| {
                let detail = format!("the chain of trust roots has no version {text}");
                Refusal::new(Reason::UnknownVersion, detail)
            })
        })
        .await?;
    Ok(call::bytes(StatusCode::OK, "application/json", envelope))
}

async fn next(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let bytes = call.json_bytes()?.to_vec();
    let entry = call.entry("trust.publish", "next");
    let installed = trust::install(&app, entry, bytes).await.map_err(Problem::in_body)?;
    call::json(StatusCode::OK, &installed)
}
