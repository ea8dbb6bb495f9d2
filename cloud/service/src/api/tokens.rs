//! Tokens: make, list, take back.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use gnomon_cloud_core::access::{Role, Scope, TokenName};
use gnomon_schemas::reason::Refusal;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

use super::call::{self, Call};
use super::problem::Problem;
use super::{ADMIN, Body, Route};
use crate::app::App;
use crate::store::tokens::StoredToken;
use crate::tokens::NewToken;
use crate::{clock, store, tokens};

/// A token without its text.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TokenView {
    /// Its id.
    pub id: String,
    /// Whom it was made for.
    pub name: TokenName,
    /// What it may do.
    pub role: Role,
    /// What it reaches; nothing named is the whole fleet.
    pub scope: Scope,
    /// When it was made (Unix time, ms).
    pub created_ms: u64,
    /// When it ends (Unix time, ms).
    pub expires_at_ms: u64,
    /// When it was taken back.
    pub revoked_at_ms: Option<u64>,
}

impl From<StoredToken> for TokenView {
    fn from(of: StoredToken) -> TokenView {
        TokenView {
            id: of.id,
            name: of.name,
            role: of.grant.role,
            scope: of.grant.scope,
            created_ms: of.created_ms,
            expires_at_ms: of.grant.expires_at_ms,
            revoked_at_ms: of.revoked_at_ms,
        }
    }
}

/// A token that was just made.
#[derive(Serialize, JsonSchema)]
pub(super) struct MadeToken {
    /// What is kept of it.
    #[serde(flatten)]
    pub view: TokenView,
    /// Its text, told this once.
    pub token: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/v1/tokens", ADMIN, "Make a token; its text is told this once", add)
            .takes(Body::json::<NewToken>())
            .gives(Body::json::<MadeToken>())
            .status(StatusCode::CREATED),
        Route::get("/v1/tokens", ADMIN, "All tokens, without their texts", list)
            .gives(Body::json::<Vec<TokenView>>()),
        Route::delete("/v1/tokens/{token}", ADMIN, "Take a token back", revoke),
    ]
}

async fn add(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let new: NewToken = call.json()?;
    let entry = call.entry("token.create", "");
    let (token, text) =
        app.store.write(move |db| tokens::create(db, entry, new, clock::now_ms())).await?;
    let made = MadeToken { view: token.into(), token: text.reveal().to_owned() };
    let mut answer = call::json(StatusCode::CREATED, &made)?;
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

async fn list(State(app): State<Arc<App>>, _: Call) -> Result<Response, Problem> {
    let all = app.store.read(|db| Ok::<_, Refusal>(store::tokens::list(db)?)).await?;
    call::json(StatusCode::OK, &all.into_iter().map(TokenView::from).collect::<Vec<_>>())
}

async fn revoke(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    let id = call.path_text("token").to_owned();
    let entry = call.entry("token.revoke", &id);
    app.store.write(move |db| tokens::revoke(db, entry, &id, clock::now_ms())).await?;
    Ok(call::bytes(StatusCode::NO_CONTENT, "application/json", vec![]))
}
