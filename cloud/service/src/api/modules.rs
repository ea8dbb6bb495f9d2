//! Modules: upload, list, look at, download.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use gnomon_schemas::document::InlineBytes;
use gnomon_schemas::ids::Digest;
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::reason::Refusal;
use serde::Deserialize;
use std::sync::Arc;

use super::call::{self, Call, WASM};
use super::problem::Problem;
use super::types::ModuleView;
use super::{Body, EDITOR, Route, VIEWER};
use crate::app::App;
use crate::modules;
use crate::store;

/// What the upload does.
const NEW: &str = "Upload a module that its publisher signed: the bytes with a detached \
                   signature, or as application/vnd.gnomon.module+json `{bytes, evidence}` \
                   with a sigstore bundle";

/// A module with its evidence, both in JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewModule {
    bytes: InlineBytes,
    evidence: ModuleEvidence,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/v1/modules", EDITOR, NEW, add)
            .with(&[
                ("publisher", "query", "Who signed it; or header x-gnomon-publisher"),
                ("signature", "query", "Base64 of the signature; or header x-gnomon-signature"),
            ])
            .takes(Body::bytes(WASM))
            .gives(Body::json::<ModuleView>())
            .status(StatusCode::CREATED),
        Route::get("/v1/modules", VIEWER, "All modules", list)
            .gives(Body::json::<Vec<ModuleView>>()),
        Route::get(
            "/v1/modules/{module}",
            VIEWER,
            "A module by digest, the beginning of one, or name@version",
            get,
        )
        .gives(Body::json::<ModuleView>()),
        Route::get("/v1/modules/{module}/bytes", VIEWER, "A module's bytes", download)
            .gives(Body::bytes(WASM)),
    ]
}

async fn add(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let (bytes, evidence) = match call.module_json::<NewModule>() {
        Some(new) => new.map(|new| (new.bytes.0, new.evidence))?,
        None => {
            let bytes = call.wasm_bytes()?.to_vec();
            let publisher = call.query_or_header("publisher", "x-gnomon-publisher")?.parse()?;
            let signature = call.query_or_header("signature", "x-gnomon-signature")?.to_owned();
            (bytes, ModuleEvidence::Key { publisher, signature })
        }
    };
    let entry = call.entry("module.add", Digest::of(&bytes));
    let (info, is_new) = modules::upload(&app, bytes, evidence, entry).await?;
    call::json(call::created(is_new), &ModuleView::from(info))
}

async fn list(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    let all = app.store.read(|db| Ok::<_, Refusal>(store::modules::list(db)?)).await?;
    call::json(StatusCode::OK, &all.into_iter().map(ModuleView::from).collect::<Vec<_>>())
}

async fn get(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let key = call.path_text("module").to_owned();
    let info = app.store.read(move |db| modules::find(db, &key)).await?;
    call::json(StatusCode::OK, &ModuleView::from(info))
}

async fn download(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let key = call.path_text("module").to_owned();
    let bytes = app
        .store
        .read(move |db| {
            let info = modules::find(db, &key)?;
            Ok::<_, Refusal>(store::modules::bytes(db, &info.digest)?.unwrap_or_default())
        })
        .await?;
    Ok(call::bytes(StatusCode::OK, WASM, bytes))
}
