//! REST under `/v1`: one table of routes, from which the router and the OpenAPI
//! document are made. A table of contents: handlers are in the files beside it.
//!
//! Handlers parse, call what the crate offers, and answer; no decision is theirs.

pub mod call;
pub mod guard;
pub mod openapi;
pub mod problem;
pub mod types;

mod approvals;
mod audit;
mod devices;
mod enrol;
mod groups;
mod layers;
mod modules;
mod profiles;
mod results;
mod status;
mod tokens;
mod trust;

use axum::Router;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use gnomon_cloud_core::access::{Needs, Role};
use gnomon_schemas::reason::{Reason, Refusal};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::sync::Arc;

use crate::app::App;
use problem::Problem;

/// What proves its caller by other means, or tells nothing.
const PUBLIC: Needs = Needs::Public;
/// Reads.
const VIEWER: Needs = Needs::Role(Role::Viewer);
/// Changes what devices should have.
const EDITOR: Needs = Needs::Role(Role::Editor);
/// Changes it beyond the name in the path.
const FLEET_EDITOR: Needs = Needs::WholeFleet(Role::Editor);
/// Approves what others changed.
const APPROVER: Needs = Needs::Role(Role::Approver);
/// Governs who may do what.
const ADMIN: Needs = Needs::Role(Role::Admin);

/// What makes the schema of a body.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A body: media type and schema.
#[derive(Clone, Copy)]
pub struct Body {
    /// The media type.
    pub media_type: &'static str,
    /// The schema; none for bytes.
    pub schema: Option<SchemaOf>,
}

impl Body {
    fn json<T: JsonSchema>() -> Body {
        Body { media_type: "application/json", schema: Some(|to| to.subschema_for::<T>()) }
    }

    fn bytes(media_type: &'static str) -> Body {
        Body { media_type, schema: None }
    }
}

/// One method of one path.
pub struct Route {
    /// The method in upper case.
    pub method: &'static str,
    /// The path, parameters in braces.
    pub path: &'static str,
    /// What whoever calls it must be; a route that names nothing here is none.
    pub needs: Needs,
    /// What it does.
    pub summary: &'static str,
    /// Query parameters and headers: name, where, what.
    pub parameters: &'static [(&'static str, &'static str, &'static str)],
    /// The request's body.
    pub request: Option<Body>,
    /// The answer's body; none for an empty one.
    pub answer: Option<Body>,
    /// The status of success, when there is something new: 201.
    pub status: StatusCode,
    handler: MethodRouter<Arc<App>>,
}

impl Route {
    fn new<H, T>(
        method: &'static str,
        filter: MethodFilter,
        path: &'static str,
        needs: Needs,
        summary: &'static str,
        handler: H,
    ) -> Route
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        Route {
            method,
            path,
            needs,
            summary,
            parameters: &[],
            request: None,
            answer: None,
            status: StatusCode::OK,
            handler: on(filter, handler),
        }
    }

    fn get<H: Handler<T, Arc<App>>, T: 'static>(
        path: &'static str,
        needs: Needs,
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("GET", MethodFilter::GET, path, needs, summary, handler)
    }

    fn post<H: Handler<T, Arc<App>>, T: 'static>(
        path: &'static str,
        needs: Needs,
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("POST", MethodFilter::POST, path, needs, summary, handler)
    }

    fn put<H: Handler<T, Arc<App>>, T: 'static>(
        path: &'static str,
        needs: Needs,
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("PUT", MethodFilter::PUT, path, needs, summary, handler)
    }

    fn patch<H: Handler<T, Arc<App>>, T: 'static>(
        path: &'static str,
        needs: Needs,
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("PATCH", MethodFilter::PATCH, path, needs, summary, handler)
    }

    fn delete<H: Handler<T, Arc<App>>, T: 'static>(
        path: &'static str,
        needs: Needs,
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("DELETE", MethodFilter::DELETE, path, needs, summary, handler)
            .status(StatusCode::NO_CONTENT)
    }

    fn takes(mut self, body: Body) -> Route {
        self.request = Some(body);
        self
    }

    fn gives(mut self, body: Body) -> Route {
        self.answer = Some(body);
        self
    }

    fn status(mut self, status: StatusCode) -> Route {
        self.status = status;
        self
    }

    fn with(mut self, parameters: &'static [(&'static str, &'static str, &'static str)]) -> Route {
        self.parameters = parameters;
        self
    }
}

/// Every route.
pub fn routes() -> Vec<Route> {
    let parts = [
        status::routes(),
        profiles::routes(),
        devices::routes(),
        enrol::routes(),
        groups::routes(),
        layers::routes(),
        modules::routes(),
        approvals::routes(),
        trust::routes(),
        results::routes(),
        tokens::routes(),
        audit::routes(),
    ];
    parts.into_iter().flatten().collect()
}

/// The router: what stands in the table, each route behind its guard, and problems for
/// everything else.
pub fn router(app: Arc<App>) -> Router {
    let router = routes().into_iter().fold(Router::new(), |router, route| {
        let guard = guard::Guard::new(&app, &route);
        let handler = route.handler.route_layer(from_fn_with_state(guard, guard::guard));
        router.route(route.path, handler)
    });
    router.fallback(unknown_path).method_not_allowed_fallback(wrong_method).with_state(app)
}

async fn unknown_path(uri: axum::http::Uri) -> Problem {
    let path: String = uri.path().chars().take(160).collect();
    Problem::new(Refusal::new(Reason::UnknownRoute, format!("no path `{path}`")))
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    let path: String = uri.path().chars().take(160).collect();
    let refusal = Refusal::new(Reason::UnknownRoute, format!("`{path}` has no method {method}"));
    Problem::with(StatusCode::METHOD_NOT_ALLOWED, refusal)
}
