//! Layers: read, replace and patch what the fleet, a group or a device should
//! have. An edit holds as a whole, or nothing changes.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use gnomon_cloud_core::layer::LayerForm;
use gnomon_cloud_core::{Layer, Origin};
use gnomon_schemas::ids::{DeviceId, GroupId};
use gnomon_schemas::limits::HTTP_JSON_BYTES_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use rusqlite::Connection;
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::{Body, EDITOR, Route, VIEWER, devices, groups};
use crate::app::App;
use crate::publish::{self, Affected};
use crate::store::layers::{self, StoredLayer};

const IF_MATCH: &[(&str, &str, &str)] =
    &[("if-match", "header", "The ETag that was read: the edit is refused if it changed since")];

pub(super) fn routes() -> Vec<Route> {
    let paths = ["/v1/fleet/desired", "/v1/groups/{group}/desired", "/v1/devices/{device}/desired"];
    let of = |path| {
        [
            Route::get(path, VIEWER, "A layer, with its ETag", get)
                .gives(Body::json::<LayerForm>()),
            Route::put(path, EDITOR, "Replace a layer", put)
                .with(IF_MATCH)
                .takes(Body::json::<LayerForm>())
                .gives(Body::json::<LayerForm>()),
            Route::patch(path, EDITOR, "Edit a layer by a merge patch (RFC 7396)", patch)
                .with(IF_MATCH)
                .takes(Body::json::<LayerForm>())
                .gives(Body::json::<LayerForm>()),
        ]
    };
    paths.into_iter().flat_map(of).collect()
}

/// Whose layer a path names.
fn scope(call: &Call) -> Result<Origin, Refusal> {
    Ok(match (call.path_text("group"), call.path_text("device")) {
        ("", "") => Origin::Fleet,
        ("", _) => Origin::Device(call.path::<DeviceId>("device")?),
        _ => Origin::Group(call.path::<GroupId>("group")?),
    })
}

/// The devices that a scope concerns; refuses a group or device that is not there.
fn affected(db: &Connection, scope: &Origin) -> Result<Affected, Refusal> {
    Ok(match scope {
        Origin::Default | Origin::Fleet => Affected::all(),
        Origin::Group(name) => Affected::Matching(vec![groups::known(db, name)?.selector]),
        Origin::Device(name) => Affected::One(devices::known(db, name)?.device),
    })
}

fn etag(layer: &StoredLayer) -> String {
    format!("\"r{}\"", layer.revision)
}

fn check_if_match(if_match: Option<&str>, layer: &StoredLayer) -> Result<(), Refusal> {
    let Some(if_match) = if_match else { return Ok(()) };
    let is = etag(layer);
    let any = if_match.trim() == "*" && layer.revision > 0;
    if any || if_match.split(',').any(|tag| tag.trim() == is) {
        return Ok(());
    }
    let detail = format!("the layer has ETag {is}; read it again and repeat the edit");
    Err(Refusal::new(Reason::PreconditionFailed, detail))
}

fn answer(layer: &StoredLayer) -> Result<Response, Problem> {
    let mut answer = call::json(StatusCode::OK, layer.layer.as_map())?;
    if let Ok(value) = HeaderValue::from_str(&etag(layer)) {
        answer.headers_mut().insert(header::ETAG, value);
    }
    Ok(answer)
}

async fn get(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let scope = scope(&call)?;
    let layer = app
        .store
        .read(move |db| {
            affected(db, &scope)?;
            Ok::<_, Refusal>(layers::find(db, &scope.to_string())?)
        })
        .await?;
    answer(&layer)
}

async fn put(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    edit(&app, &call, "layer.put", |_, new| Ok(new)).await
}

async fn patch(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    edit(&app, &call, "layer.patch", |old, patch| {
        let patched = old.patched(&patch);
        // Patches add up: the sum is held to the cap, and to the form, again.
        let text = patched.to_json();
        if text.len() > HTTP_JSON_BYTES_MAX {
            let detail = format!("the layer would have {} bytes", text.len());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        Ok(Layer::parse(text.as_bytes())?)
    })
    .await
}

async fn edit(
    app: &Arc<App>,
    call: &Call,
    action: &str,
    change: impl FnOnce(&Layer, Layer) -> Result<Layer, Refusal> + Send + 'static,
) -> Result<Response, Problem> {
    let scope = scope(call)?;
    let given = Layer::parse(call.json_bytes()?)?;
    let if_match = call.header(header::IF_MATCH).map(str::to_owned);
    let missing = |reason| matches!(reason, Reason::UnknownGroup | Reason::UnknownDevice);
    let entry = call.entry(action, &scope);
    let layer = publish::edit(app, entry, move |db| {
        let affected = affected(db, &scope)?;
        let scope = scope.to_string();
        let old = layers::find(db, &scope)?;
        check_if_match(if_match.as_deref(), &old)?;
        let layer = change(&old.layer, given)?;
        if layer == old.layer && old.revision > 0 {
            return Ok((old, Affected::None));
        }
        let new = StoredLayer { layer, revision: old.revision.saturating_add(1) };
        layers::put(db, &scope, &new)?;
        Ok((new, affected))
    })
    .await
    .map_err(|refusal| {
        if missing(refusal.reason) { Problem::new(refusal) } else { Problem::in_body(refusal) }
    })?;
    answer(&layer)
}
