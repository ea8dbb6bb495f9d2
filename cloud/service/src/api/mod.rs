//! REST under `/v1`: one table of routes, from which the router and the OpenAPI
//! document are made. A table of contents: handlers are in the files beside it.
//!
//! Handlers parse, call what the crate offers, and answer; no decision is theirs.

pub mod call;
pub mod openapi;
pub mod problem;
pub mod types;

mod devices;
mod groups;
mod layers;
mod modules;
mod profiles;
mod results;
mod status;

use axum::Router;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, MethodRouter, on};
use gnomon_schemas::reason::{Reason, Refusal};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::sync::Arc;

use crate::app::App;
use problem::Problem;

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
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("GET", MethodFilter::GET, path, summary, handler)
    }

    fn post<H: Handler<T, Arc<App>>, T: 'static>(
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("POST", MethodFilter::POST, path, summary, handler)
    }

    fn put<H: Handler<T, Arc<App>>, T: 'static>(
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("PUT", MethodFilter::PUT, path, summary, handler)
    }

    fn patch<H: Handler<T, Arc<App>>, T: 'static>(
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("PATCH", MethodFilter::PATCH, path, summary, handler)
    }

    fn delete<H: Handler<T, Arc<App>>, T: 'static>(
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Route {
        Route::new("DELETE", MethodFilter::DELETE, path, summary, handler)
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
        groups::routes(),
        layers::routes(),
        modules::routes(),
        results::routes(),
    ];
    parts.into_iter().flatten().collect()
}

/// The router: what stands in the table, and problems for everything else.
pub fn router(app: Arc<App>) -> Router {
    let router = routes()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.handler));
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
