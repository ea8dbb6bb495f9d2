//! Errors of the HTTP API: problem details (RFC 9457) with a stable reason.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use gnomon_cloud_core::access::AccessError;
use gnomon_cloud_core::selector::SelectorError;
use gnomon_schemas::ids::IdError;
use gnomon_schemas::profile::ProfileError;
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::strict::ParseError;
use schemars::JsonSchema;
use serde::Serialize;

/// How a client may prove itself (RFC 6750).
const CHALLENGE: &str = "Bearer realm=\"gnomon\"";

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// A URN of the reason.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the reason means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong here, with names and figures.
    pub detail: String,
    /// The stable code.
    pub reason: Reason,
}

impl Problem {
    /// A problem with the status that its reason usually has.
    pub fn new(refusal: Refusal) -> Problem {
        let status = usual_status(refusal.reason);
        Problem::with(status, refusal)
    }

    /// A problem with another status.
    pub fn with(status: StatusCode, Refusal { reason, detail }: Refusal) -> Problem {
        Problem {
            kind: format!("urn:gnomon:reason:{reason}"),
            title: reason.meaning().to_owned(),
            status: status.as_u16(),
            detail,
            reason,
        }
    }

    /// A problem with what a body says: nothing is missing at the path itself, and
    /// the body as such was not too large.
    pub fn in_body(refusal: Refusal) -> Problem {
        match usual_status(refusal.reason) {
            StatusCode::NOT_FOUND | StatusCode::PAYLOAD_TOO_LARGE => {
                Problem::with(StatusCode::UNPROCESSABLE_ENTITY, refusal)
            }
            _ => Problem::new(refusal),
        }
    }
}

fn usual_status(reason: Reason) -> StatusCode {
    match reason {
        Reason::MalformedJson
        | Reason::DuplicateKey
        | Reason::TooDeep
        | Reason::NumberOutOfRange
        | Reason::InvalidId => StatusCode::BAD_REQUEST,
        Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
        Reason::Forbidden => StatusCode::FORBIDDEN,
        Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::UnknownDevice
        | Reason::UnknownProfile
        | Reason::UnknownModule
        | Reason::UnknownGroup
        | Reason::UnknownVersion
        | Reason::UnknownApproval
        | Reason::UnknownToken
        | Reason::UnknownRoute => StatusCode::NOT_FOUND,
        Reason::AlreadyExists | Reason::DeviceAhead => StatusCode::CONFLICT,
        Reason::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::StoreFailed => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

macro_rules! from_coded {
    ($($error:ty),*) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Problem {
                Problem::new(error.into())
            }
        }
    )*};
}

from_coded!(AccessError, IdError, ParseError, ProfileError, SelectorError);

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::new(refusal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.status >= 500 {
            tracing::error!(reason = %self.reason, detail = %self.detail, "a request failed");
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        if status == StatusCode::UNAUTHORIZED {
            return (status, kind, [(header::WWW_AUTHENTICATE, CHALLENGE)], body).into_response();
        }
        (status, kind, body).into_response()
    }
}
