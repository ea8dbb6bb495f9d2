//! One request, read whole and capped, and one answer. Every handler takes and
//! gives these, so that every refusal is a problem of ours, not the framework's.

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts as _, Query, RawPathParams, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use gnomon_cloud_core::access::{AccessError, Actor};
use gnomon_schemas::ids::Digest;
use gnomon_schemas::limits::{ENROL_BYTES_MAX, HTTP_JSON_BYTES_MAX, MODULE_BYTES_MAX};
use gnomon_schemas::reason::{Coded, Reason, Refusal};
use gnomon_schemas::strict;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::problem::Problem;
use crate::store::audit::{Entry, Trail};

/// How much of an oversized body is read to its end: a client that is cut off while
/// it still writes never hears why.
const OVERSIZE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a body may take: a client that trickles holds no request for ever.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// The media type of modules.
pub const WASM: &str = "application/wasm";
/// The media type of modules with their evidence, both in JSON.
pub const MODULE_JSON: &str = "application/vnd.gnomon.module+json";
/// The media types of JSON bodies.
const JSON: [&str; 2] = ["application/json", "application/merge-patch+json"];

/// A module in base64, and room for its evidence.
const MODULE_JSON_BYTES_MAX: usize = MODULE_BYTES_MAX / 3 * 4 + HTTP_JSON_BYTES_MAX;

/// Who calls, as the guard in front of every route found out.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) trail: Trail,
    /// Whether the route answers anybody: then little is read.
    pub(super) is_anybody: bool,
}

/// A request.
pub struct Call {
    caller: Caller,
    path: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Call, Problem> {
        let (mut parts, body) = request.into_parts();
        // Without a guard in front there is no caller: such a route answers nobody.
        let caller = parts.extensions.remove::<Caller>().ok_or(AccessError::NoToken)?;
        let bad = |message: String| Problem::new(Refusal::new(Reason::InvalidId, message));
        let path = RawPathParams::from_request_parts(&mut parts, state)
            .await
            .map_err(|error| bad(error.to_string()))?;
        let path = path.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let query = Query::<BTreeMap<String, String>>::from_request_parts(&mut parts, state)
            .await
            .map_err(|error| bad(error.to_string()))?;
        let (oversize_max, anybody_max) =
            if caller.is_anybody { (0, ENROL_BYTES_MAX) } else { (OVERSIZE_BYTES_MAX, usize::MAX) };
        let bytes_max = match media_type(&parts.headers) {
            Some(WASM) => MODULE_BYTES_MAX,
            Some(MODULE_JSON) => MODULE_JSON_BYTES_MAX,
            _ => HTTP_JSON_BYTES_MAX,
        }
        .min(anybody_max);
        let too_large = || {
            let detail = format!("the body is over {bytes_max} bytes; send less");
            Problem::new(Refusal::new(Reason::TooLarge, detail))
        };
        let too_slow = || {
            let detail = format!("the body did not come within {BODY_DEADLINE:?}");
            let refusal = Refusal::new(Reason::Unavailable, detail);
            Problem::with(StatusCode::REQUEST_TIMEOUT, refusal)
        };
        let body = to_bytes(body, bytes_max + oversize_max);
        let body = tokio::time::timeout(BODY_DEADLINE, body).await.map_err(|_| too_slow())?;
        let body = body.map_err(|_| too_large())?;
        if body.len() > bytes_max {
            return Err(too_large());
        }
        Ok(Call { caller, path, query: query.0, headers: parts.headers, body: body.to_vec() })
    }
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

impl Call {
    /// Who calls: for layers, approvals and whatever else remembers that.
    pub fn actor(&self) -> &Actor {
        &self.caller.actor
    }

    /// What to record of this call, appended in the transaction of what it changes
    /// ([`crate::store::audit::append`]). The body's digest goes in, not the body: it may
    /// hold what not everybody who reads the log may read.
    pub fn entry(&self, action: &str, subject: impl Display) -> Entry {
        let entry = Entry::new(self.caller.actor.clone(), action, subject).told(&self.caller.trail);
        if self.body.is_empty() {
            return entry;
        }
        entry.with("body", Digest::of(&self.body).to_string())
    }

    /// A part of the path, parsed.
    ///
    /// # Errors
    /// Why it is not of its form.
    pub fn path<T: FromStr<Err: Coded>>(&self, name: &str) -> Result<T, Refusal> {
        Ok(self.path_text(name).parse()?)
    }

    /// A part of the path as it stands.
    pub fn path_text(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// A parameter of the query, parsed; none when it is absent.
    ///
    /// # Errors
    /// Why it is not of its form.
    pub fn query<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let parse = |text: &String| {
            text.parse().map_err(|error: T::Err| {
                Refusal::new(Reason::InvalidId, format!("query `{name}`: {error}"))
            })
        };
        self.query.get(name).map(parse).transpose()
    }

    /// A parameter of the query, or else a header.
    ///
    /// # Errors
    /// When neither is there.
    pub fn query_or_header(&self, name: &str, header: &str) -> Result<&str, Refusal> {
        let from_header = || self.headers.get(header).and_then(|value| value.to_str().ok());
        self.query.get(name).map(String::as_str).or_else(from_header).ok_or_else(|| {
            let detail = format!("give query `{name}` or header `{header}`");
            Refusal::new(Reason::SchemaViolation, detail)
        })
    }

    /// A header's text.
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, which must be declared to be JSON: a page of another origin
    /// cannot send that without being asked first.
    ///
    /// # Errors
    /// [`Reason::UnsupportedMediaType`].
    pub fn json_bytes(&self) -> Result<&[u8], Refusal> {
        self.bytes_of(&JSON)
    }

    /// The body, which must be declared to be a module.
    ///
    /// # Errors
    /// [`Reason::UnsupportedMediaType`].
    pub fn wasm_bytes(&self) -> Result<&[u8], Refusal> {
        self.bytes_of(&[WASM])
    }

    /// The body, if it is declared to be a module with its evidence.
    pub fn module_json<T: DeserializeOwned>(&self) -> Option<Result<T, Refusal>> {
        let body = self.bytes_of(&[MODULE_JSON]).ok()?;
        Some(strict::parse(body, MODULE_JSON_BYTES_MAX).map_err(Refusal::from))
    }

    fn bytes_of(&self, taken: &[&str]) -> Result<&[u8], Refusal> {
        let found = media_type(&self.headers);
        if found.is_some_and(|found| taken.contains(&found)) {
            return Ok(&self.body);
        }
        let found = found.map_or("nothing".to_owned(), |found| format!("`{found}`"));
        let detail = format!("content-type is {found}; send {}", taken.join(" or "));
        Err(Refusal::new(Reason::UnsupportedMediaType, detail))
    }

    /// The body as `T`, strictly.
    ///
    /// # Errors
    /// Why it is not.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        Ok(strict::parse(self.json_bytes()?, HTTP_JSON_BYTES_MAX)?)
    }
}

/// An answer in JSON.
///
/// # Errors
/// When the value cannot be encoded, which none of ours cannot.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Problem::new(Refusal::new(Reason::Unavailable, error.to_string())))?;
    Ok(bytes(status, "application/json", body))
}

/// An answer of bytes.
pub fn bytes(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, media_type)], body).into_response()
}

/// 201 for what is new, 200 for what was there.
pub fn created(is_new: bool) -> StatusCode {
    if is_new { StatusCode::CREATED } else { StatusCode::OK }
}
