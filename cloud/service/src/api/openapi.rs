//! The OpenAPI 3.1 document, made from the table of routes and the types' own
//! JSON Schemas, so that nothing is described twice.

use gnomon_cloud_core::access::Needs;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::{Body, Route, routes};

/// The document.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(&route, &mut generator);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gnomon",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Code as configuration for device fleets. Every error is a problem \
                            (RFC 9457) with a stable `reason`.",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "http://127.0.0.1:8480" }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "`gnm_...`, made by `gnomon token create`. While no token \
                                    exists, whoever is on the service's own machine is answered.",
                },
            },
            "schemas": generator.take_definitions(true),
            "responses": {
                "Problem": {
                    "description": "Refused; `reason` is the stable code.",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut success = json!({ "description": route.summary });
    if let Some(body) = &route.answer {
        success["content"] = content(body, generator);
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": {
            route.status.as_str(): success,
            "default": { "$ref": "#/components/responses/Problem" },
        },
    });
    match route.needs {
        Needs::Public => operation["security"] = json!([]),
        Needs::Role(role) | Needs::WholeFleet(role) => {
            operation["security"] = json!([{ "token": [] }]);
            operation["x-gnomon-role"] = json!(role);
            operation["x-gnomon-whole-fleet"] = json!(is_whole_fleet(route));
        }
    }
    if let Some(body) = &route.request {
        operation["requestBody"] = json!({ "required": true, "content": content(body, generator) });
    }
    operation
}

/// Whether a token with a scope is refused, whatever it names.
fn is_whole_fleet(route: &Route) -> bool {
    let names = ["{group}", "{device}"].iter().any(|name| route.path.contains(name));
    matches!(route.needs, Needs::WholeFleet(_)) || !names
}

fn content(body: &Body, generator: &mut SchemaGenerator) -> Value {
    let media = match body.schema {
        Some(schema) => json!({ "schema": schema(generator) }),
        None => json!({}),
    };
    json!({ body.media_type: media })
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }))
    });
    let given = route.parameters.iter().map(|(name, place, about)| {
        json!({
            "name": name, "in": place, "description": about, "schema": { "type": "string" },
        })
    });
    in_path.chain(given).collect()
}

/// `GET /v1/devices/{device}/versions` is `get_devices_device_versions`.
fn operation_id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/v1/").replace(['{', '}'], "");
    let path = path.trim_end_matches(".json").replace('/', "_");
    format!("{}_{path}", route.method.to_ascii_lowercase())
}
