//! Devices: register, look at, label, resolve, remove; their documents.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use gnomon_cloud_core::Selector;
use gnomon_cloud_core::selector::check_labels;
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::ids::{DeviceId, Version};
use gnomon_schemas::limits::JSON_INTEGER_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use rusqlite::Connection;
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::types::{DevicePatch, DeviceState, DeviceView, EffectiveView, NewDevice, VersionView};
use super::{Body, EDITOR, Route, VIEWER, profiles};
use crate::app::App;
use crate::bus::Command;
use crate::clock;
use crate::publish::{self, Affected};
use crate::render::Renderer;
use crate::store::devices::{self, Device};
use crate::store::{approvals, audit, reported, versions};

/// Versions in one list, at most.
const VERSIONS_MAX: usize = 1000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/v1/devices",
            EDITOR,
            "Register a device; its first document is published",
            add,
        )
        .takes(Body::json::<NewDevice>())
        .gives(Body::json::<DeviceView>())
        .status(StatusCode::CREATED),
        Route::get("/v1/devices", VIEWER, "Devices", list)
            .with(&[("selector", "query", "Labels that they must have: key=value,key!=value")])
            .gives(Body::json::<Vec<DeviceView>>()),
        Route::get("/v1/devices/{device}", VIEWER, "A device", get)
            .gives(Body::json::<DeviceView>()),
        Route::patch("/v1/devices/{device}", EDITOR, "Change a device's labels or profile", patch)
            .takes(Body::json::<DevicePatch>())
            .gives(Body::json::<DeviceView>()),
        Route::delete("/v1/devices/{device}", EDITOR, "Remove a device; its results stay", remove),
        Route::post(
            "/v1/devices/{device}/resolve",
            EDITOR,
            "End a conflict: the next version is above what the device has seen",
            resolve,
        )
        .gives(Body::json::<DeviceView>()),
        Route::get(
            "/v1/devices/{device}/effective",
            VIEWER,
            "What the layers together say of a device, and where each value came from",
            effective,
        )
        .gives(Body::json::<EffectiveView>()),
        Route::get(
            "/v1/devices/{device}/versions",
            VIEWER,
            "A device's versions, newest first",
            list_versions,
        )
        .gives(Body::json::<Vec<VersionView>>()),
        Route::get(
            "/v1/devices/{device}/versions/{version}",
            VIEWER,
            "The signed document of a version",
            version,
        )
        .gives(Body::json::<Envelope>()),
    ]
}

/// The device of this name.
pub(super) fn known(db: &Connection, device: &DeviceId) -> Result<Device, Refusal> {
    devices::find(db, device)?.ok_or_else(|| {
        Refusal::new(Reason::UnknownDevice, format!("no device `{device}` is registered"))
    })
}

fn view(db: &Connection, device: Device) -> Result<DeviceView, Refusal> {
    let latest = versions::latest(db, &device.device)?;
    let (reported, reported_at_ms) = reported::find(db, &device.device)?.unzip();
    let publish_to_applied_ms = latest
        .as_ref()
        .and_then(|latest| latest.applied_at_ms?.checked_sub(latest.published_at_ms?));
    Ok(DeviceView {
        state: DeviceState::of(&device, latest.as_ref(), reported.as_ref()),
        online: reported::online(db, &device.device)?,
        desired: latest.map(VersionView::from),
        awaiting_approval: approvals::waiting_of(db, &device.device)?.map(|row| row.digest),
        applied: reported.as_ref().and_then(|reported| reported.applied),
        publish_to_applied_ms,
        conflict: device.conflict,
        reported,
        reported_at_ms,
        created_ms: device.created_ms,
        labels: device.labels,
        profile: device.profile,
        device: device.device,
    })
}

async fn answer(app: &App, device: DeviceId, status: StatusCode) -> Result<Response, Problem> {
    let view = app.store.read(move |db| view(db, known(db, &device)?)).await?;
    call::json(status, &view)
}

async fn add(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let new: NewDevice = call.json()?;
    check_labels(&new.labels)?;
    let name = new.device.clone();
    let entry = call.entry("device.add", &name);
    let is_new = publish::edit(&app, entry, move |db| {
        let profile = profiles::known(db, &new.profile)?.digest;
        if let Some(there) = devices::find(db, &new.device)? {
            if there.profile == profile && there.labels == new.labels {
                return Ok((false, Affected::None));
            }
            let detail = format!("device `{}` has another profile or other labels", new.device);
            return Err(Refusal::new(Reason::AlreadyExists, detail));
        }
        let device = Device {
            device: new.device.clone(),
            profile,
            labels: new.labels,
            created_ms: clock::now_ms(),
            conflict: None,
            version_floor: 0,
        };
        devices::insert(db, &device)?;
        Ok((true, Affected::One(new.device)))
    })
    .await
    .map_err(Problem::in_body)?;
    answer(&app, name, call::created(is_new)).await
}

async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let selector: Selector = call.query("selector")?.unwrap_or_default();
    let views = app
        .store
        .read(move |db| {
            let devices = devices::list(db, &selector)?;
            devices.into_iter().map(|device| view(db, device)).collect::<Result<Vec<_>, Refusal>>()
        })
        .await?;
    call::json(StatusCode::OK, &views)
}

async fn get(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    answer(&app, call.path("device")?, StatusCode::OK).await
}

async fn patch(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let name: DeviceId = call.path("device")?;
    let change: DevicePatch = call.json()?;
    let device = name.clone();
    let entry = call.entry("device.change", &name);
    publish::edit(&app, entry, move |db| {
        let mut device = known(db, &device)?;
        for (key, value) in change.labels {
            match value {
                Some(value) => device.labels.insert(key, value),
                None => device.labels.remove(&key),
            };
        }
        check_labels(&device.labels)?;
        if let Some(profile) = change.profile {
            device.profile = profiles::known(db, &profile)?.digest;
        }
        devices::update(db, &device)?;
        Ok(((), Affected::One(device.device)))
    })
    .await?;
    answer(&app, name, StatusCode::OK).await
}

async fn remove(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let name: DeviceId = call.path("device")?;
    let device = name.clone();
    let entry = call.entry("device.remove", &name);
    let identities = Arc::clone(&app.identities);
    let serials = app
        .store
        .write(move |db| {
            known(db, &device)?;
            devices::remove(db, &device)?;
            let serials = identities.revoke(db, &device, clock::now_ms())?;
            audit::append(db, clock::now_ms(), &entry)?;
            Ok::<_, Refusal>(serials)
        })
        .await?;
    app.identities.kick(serials);
    app.bus.send(Command::Clear(name));
    Ok(call::bytes(StatusCode::NO_CONTENT, "application/json", vec![]))
}

async fn resolve(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    // A form on some web page cannot send this content type: a person must resolve.
    call.json_bytes()?;
    let name: DeviceId = call.path("device")?;
    let device = name.clone();
    let entry = call.entry("device.resolve", &name);
    publish::edit(&app, entry, move |db| {
        let mut device = known(db, &device)?;
        let Some(seen) = device.conflict.take() else {
            return Ok(((), Affected::None));
        };
        if seen.get() >= JSON_INTEGER_MAX.unsigned_abs() {
            let detail = "the device has seen the last version there is; raise the epoch";
            return Err(Refusal::new(Reason::DeviceAhead, detail));
        }
        let latest = versions::latest(db, &device.device)?.map_or(0, |v| v.version.get());
        device.version_floor = seen.get().max(latest).max(device.version_floor);
        devices::update(db, &device)?;
        Ok(((), Affected::One(device.device)))
    })
    .await?;
    answer(&app, name, StatusCode::OK).await
}

async fn effective(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let name: DeviceId = call.path("device")?;
    let shared = Arc::clone(&app);
    let effective =
        app.store.read(move |db| Renderer::new(&shared, db)?.effective(&known(db, &name)?)).await?;
    let origins = effective.origins.into_iter();
    let origins = origins.map(|(pointer, origin)| (pointer, origin.to_string())).collect();
    call::json(StatusCode::OK, &EffectiveView { content: effective.content, origins })
}

async fn list_versions(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let name: DeviceId = call.path("device")?;
    let versions = app
        .store
        .read(move |db| {
            known(db, &name)?;
            Ok::<_, Refusal>(versions::list(db, &name, VERSIONS_MAX)?)
        })
        .await?;
    call::json(StatusCode::OK, &versions.into_iter().map(VersionView::from).collect::<Vec<_>>())
}

async fn version(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let name: DeviceId = call.path("device")?;
    let text = call.path_text("version").to_owned();
    let envelope = app
        .store
        .read(move |db| {
            known(db, &name)?;
            let version = text.parse().ok().and_then(|number: u64| Version::try_from(number).ok());
            let found = version.map(|version| versions::find(db, &name, version)).transpose()?;
            let found = found.flatten().ok_or_else(|| {
                let text: String = text.chars().take(20).collect();
                Refusal::new(Reason::UnknownVersion, format!("`{name}` has no version {text}"))
            })?;
            Ok::<_, Refusal>(versions::envelope(db, &name, &found)?)
        })
        .await?;
    Ok(call::bytes(StatusCode::OK, "application/json", envelope))
}
