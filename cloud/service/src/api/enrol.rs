//! Certificates of devices: one-time tokens, enrolment, renewal, revocation.
//!
//! Enrolment and renewal ask for no token of the API: the one-time token, or the old
//! key's signature, is their proof.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use gnomon_schemas::enrol::{ENROL_PATH, EnrolAnswer, EnrolRequest, RENEW_PATH, RenewRequest};
use gnomon_schemas::ids::DeviceId;
use gnomon_schemas::limits::ENROL_BYTES_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::strict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::{Body, EDITOR, PUBLIC, Route, VIEWER, devices};
use crate::app::App;
use crate::clock;
use crate::store::identity::{self as rows, Certificate};
use crate::store::{self, audit};

/// How long a token lives unless it says otherwise: an hour.
const TOKEN_LIFE_S: u64 = 3600;
const PEM: &str = "application/x-pem-file";

/// How long a token is to live.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEnrolment {
    /// In seconds: 60 to 86,400; an hour if not given.
    #[serde(default)]
    pub ttl_s: Option<u64>,
}

/// A one-time token that was just made.
#[derive(Serialize, JsonSchema)]
pub(super) struct MadeEnrolment {
    /// The device that it is for.
    pub device: DeviceId,
    /// Its text, told this once.
    pub token: String,
    /// Until when it can be used (Unix time, ms).
    pub expires_at_ms: u64,
}

/// A certificate of a device.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct CertificateView {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// When it was issued (Unix time, ms).
    pub issued_at_ms: u64,
    /// Until when it is valid (Unix time, ms).
    pub expires_at_ms: u64,
    /// When it was revoked (Unix time, ms).
    pub revoked_at_ms: Option<u64>,
}

impl From<Certificate> for CertificateView {
    fn from(of: Certificate) -> CertificateView {
        CertificateView {
            serial: of.serial,
            issued_at_ms: of.issued_at_ms,
            expires_at_ms: of.expires_at_ms,
            revoked_at_ms: of.revoked_at_ms,
        }
    }
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(ENROL_PATH, PUBLIC, "A device's first certificate, by its token", enrol)
            .takes(Body::json::<EnrolRequest>())
            .gives(Body::json::<EnrolAnswer>()),
        Route::post(RENEW_PATH, PUBLIC, "A device's next certificate, by its key", renew)
            .takes(Body::json::<RenewRequest>())
            .gives(Body::json::<EnrolAnswer>()),
        Route::get("/v1/ca", PUBLIC, "The fleet's certificate authority, in PEM", ca)
            .gives(Body::bytes(PEM)),
        Route::get("/v1/crl", VIEWER, "The signed list of revoked certificates, in PEM", list)
            .gives(Body::bytes(PEM)),
        Route::post(
            "/v1/devices/{device}/enrollment",
            EDITOR,
            "Make a one-time token for a device; its text is told this once",
            offer,
        )
        .takes(Body::json::<NewEnrolment>())
        .gives(Body::json::<MadeEnrolment>())
        .status(StatusCode::CREATED),
        Route::get(
            "/v1/devices/{device}/certificates",
            VIEWER,
            "A device's certificates, newest first",
            certificates,
        )
        .gives(Body::json::<Vec<CertificateView>>()),
        Route::post(
            "/v1/devices/{device}/revoke",
            EDITOR,
            "Take back all certificates of a device, and cut it off",
            revoke,
        )
        .gives(Body::json::<Vec<CertificateView>>()),
    ]
}

fn answer(certificate: Certificate) -> Result<Response, Problem> {
    call::json(StatusCode::OK, &EnrolAnswer { certificate: certificate.pem })
}

async fn enrol(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let request: EnrolRequest = strict::parse(call.json_bytes()?, ENROL_BYTES_MAX)?;
    let entry = call.entry("device.enrol", &request.device);
    answer(app.identities.enrol(&app.store, request, entry, clock::now_ms()).await?)
}

async fn renew(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let request: RenewRequest = strict::parse(call.json_bytes()?, ENROL_BYTES_MAX)?;
    let entry = call.entry("device.renew", "");
    answer(app.identities.renew(&app.store, request, entry, clock::now_ms()).await?)
}

async fn ca(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    Ok(call::bytes(StatusCode::OK, PEM, app.identities.ca().pem().into_bytes()))
}

async fn list(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    let identities = Arc::clone(&app.identities);
    let list = app.store.read(move |db| identities.list(db, clock::now_ms())).await?;
    Ok(call::bytes(StatusCode::OK, PEM, list.into_bytes()))
}

async fn offer(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let device: DeviceId = call.path("device")?;
    let new: NewEnrolment = call.json()?;
    let life_ms = new.ttl_s.unwrap_or(TOKEN_LIFE_S).saturating_mul(1000);
    let entry = call.entry("device.enroll_token", &device);
    let (identities, name) = (Arc::clone(&app.identities), device.clone());
    let offer = app
        .store
        .write(move |db| {
            devices::known(db, &name)?;
            let now_ms = clock::now_ms();
            let offer = identities.offer(db, &name, life_ms, now_ms)?;
            audit::append(db, now_ms, &entry)?;
            Ok::<_, Refusal>(offer)
        })
        .await?;
    let made = MadeEnrolment { device, token: offer.token, expires_at_ms: offer.expires_at_ms };
    let mut answer = call::json(StatusCode::CREATED, &made)?;
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

async fn certificates(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    // A device that was removed has its certificates still, revoked.
    let device: DeviceId = call.path("device")?;
    views(&app, device).await
}

async fn views(app: &App, device: DeviceId) -> Result<Response, Problem> {
    let all = app.store.read(move |db| Ok::<_, Refusal>(rows::of_device(db, &device)?)).await?;
    call::json(StatusCode::OK, &all.into_iter().map(CertificateView::from).collect::<Vec<_>>())
}

async fn revoke(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    // A form on some web page cannot send this content type.
    call.json_bytes()?;
    let device: DeviceId = call.path("device")?;
    let entry = call.entry("device.revoke", &device);
    let (identities, name) = (Arc::clone(&app.identities), device.clone());
    let serials = app
        .store
        .write(move |db| {
            let now_ms = clock::now_ms();
            let serials = identities.revoke(db, &name, now_ms)?;
            if serials.is_empty() && store::devices::find(db, &name)?.is_none() {
                let detail = format!("no device `{name}` and no certificate of it");
                return Err(Refusal::new(Reason::UnknownDevice, detail));
            }
            audit::append(db, now_ms, &entry.with("certificates", serials.len()))?;
            Ok::<_, Refusal>(serials)
        })
        .await?;
    app.identities.kick(serials);
    views(&app, device).await
}
