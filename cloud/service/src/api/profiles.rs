//! Profiles: register a file, list, read it back as it was, get a function's WIT.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::reason::{Reason, Refusal};
use rusqlite::Connection;
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::types::ProfileView;
use super::{Body, EDITOR, Route, VIEWER};
use crate::app::App;
use crate::store::audit;
use crate::store::profiles::{self, StoredProfile};
use crate::{clock, wit};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/v1/profiles",
            EDITOR,
            "Register a profile; its digest is that of the bytes",
            add,
        )
        .takes(Body::json::<Profile>())
        .gives(Body::json::<ProfileView>())
        .status(StatusCode::CREATED),
        Route::get("/v1/profiles", VIEWER, "All profiles", list)
            .gives(Body::json::<Vec<ProfileView>>()),
        Route::get("/v1/profiles/{profile}", VIEWER, "A profile's file by digest or name", get)
            .gives(Body::json::<Profile>()),
        Route::get(
            "/v1/profiles/{profile}/functions/{function}/wit",
            VIEWER,
            "The WIT world of a function, for authors",
            world,
        )
        .gives(Body::bytes("text/plain; charset=utf-8")),
    ]
}

/// The profile of a digest or name.
pub(super) fn known(db: &Connection, key: &str) -> Result<StoredProfile, Refusal> {
    profiles::find(db, key)?.ok_or_else(|| {
        let key: String = key.chars().take(80).collect();
        Refusal::new(Reason::UnknownProfile, format!("no profile `{key}` is registered"))
    })
}

fn view(stored: &StoredProfile) -> ProfileView {
    ProfileView {
        digest: stored.digest.clone(),
        name: stored.profile.name.to_string(),
        version: stored.profile.version.clone(),
        functions: stored.profile.functions.keys().cloned().collect(),
    }
}

async fn add(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let bytes = call.json_bytes()?.to_vec();
    let (profile, digest) = Profile::parse(&bytes)?;
    let stored = StoredProfile { digest, bytes, profile };
    let entry = call.entry("profile.add", &stored.profile.name);
    let (view, is_new) = app
        .store
        .write(move |db| {
            let (digest, name) = (&stored.digest, stored.profile.name.as_str());
            let is_new = profiles::insert(db, digest, name, &stored.bytes, clock::now_ms())?;
            audit::append(db, clock::now_ms(), &entry)?;
            Ok::<_, Refusal>((view(&stored), is_new))
        })
        .await?;
    call::json(call::created(is_new), &view)
}

async fn list(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    let all = app.store.read(|db| Ok::<_, Refusal>(profiles::list(db)?)).await?;
    call::json(StatusCode::OK, &all.iter().map(view).collect::<Vec<_>>())
}

async fn get(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let key = call.path_text("profile").to_owned();
    let stored = app.store.read(move |db| known(db, &key)).await?;
    let mut answer = call::bytes(StatusCode::OK, "application/json", stored.bytes);
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", stored.digest)) {
        answer.headers_mut().insert(header::ETAG, etag);
    }
    Ok(answer)
}

async fn world(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let key = call.path_text("profile").to_owned();
    let function: FunctionName = call.path("function")?;
    let stored = app.store.read(move |db| known(db, &key)).await?;
    let text = wit::world(&stored.profile, &function)
        .map_err(|refusal| Problem::with(StatusCode::NOT_FOUND, refusal))?;
    Ok(call::bytes(StatusCode::OK, "text/plain; charset=utf-8", text.into_bytes()))
}
