//! Groups: devices by label selector, with a priority among layers.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use gnomon_cloud_core::Group;
use gnomon_schemas::ids::GroupId;
use gnomon_schemas::reason::{Reason, Refusal};
use rusqlite::Connection;
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::types::GroupView;
use super::{Body, FLEET_EDITOR, Route, VIEWER};
use crate::app::App;
use crate::publish::{self, Affected};
use crate::store::{devices, layers};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/groups", VIEWER, "All groups", list).gives(Body::json::<Vec<GroupView>>()),
        Route::get("/v1/groups/{group}", VIEWER, "A group", get).gives(Body::json::<GroupView>()),
        Route::put("/v1/groups/{group}", FLEET_EDITOR, "Make or change a group", put)
            .takes(Body::json::<Group>())
            .gives(Body::json::<GroupView>()),
        Route::delete("/v1/groups/{group}", FLEET_EDITOR, "Remove a group and its layer", remove),
    ]
}

/// The group of this name.
pub(super) fn known(db: &Connection, name: &GroupId) -> Result<Group, Refusal> {
    layers::groups(db)?
        .remove(name)
        .ok_or_else(|| Refusal::new(Reason::UnknownGroup, format!("no group `{name}`")))
}

fn view(db: &Connection, name: GroupId, group: Group) -> Result<GroupView, Refusal> {
    let devices = devices::list(db, &group.selector)?.len() as u64;
    Ok(GroupView { name, group, devices })
}

async fn list(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    let views = app
        .store
        .read(|db| {
            let groups = layers::groups(db)?.into_iter();
            groups.map(|(name, group)| view(db, name, group)).collect::<Result<Vec<_>, Refusal>>()
        })
        .await?;
    call::json(StatusCode::OK, &views)
}

async fn get(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let name: GroupId = call.path("group")?;
    let view = app
        .store
        .read(move |db| {
            let group = known(db, &name)?;
            view(db, name, group)
        })
        .await?;
    call::json(StatusCode::OK, &view)
}

async fn put(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let name: GroupId = call.path("group")?;
    let group: Group = call.json()?;
    let entry = call.entry("group.put", &name);
    let (view, is_new) = publish::edit(&app, entry, move |db| {
        let before = layers::groups(db)?.remove(&name);
        layers::put_group(db, &name, &group)?;
        // Devices that leave the group change as much as those that join it.
        let old = before.as_ref().map(|before| before.selector.clone());
        let selectors = old.into_iter().chain([group.selector.clone()]).collect();
        let view = view(db, name, group)?;
        Ok(((view, before.is_none()), Affected::Matching(selectors)))
    })
    .await
    .map_err(Problem::in_body)?;
    call::json(call::created(is_new), &view)
}

async fn remove(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let name: GroupId = call.path("group")?;
    let entry = call.entry("group.remove", &name);
    publish::edit(&app, entry, move |db| {
        let group = known(db, &name)?;
        layers::remove_group(db, &name)?;
        Ok(((), Affected::Matching(vec![group.selector])))
    })
    .await?;
    Ok(call::bytes(StatusCode::NO_CONTENT, "application/json", vec![]))
}
