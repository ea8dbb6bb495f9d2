//! The table of routes: what is described is served, and the committed
//! description is the one that the table makes.

use crate::fixture::Cloud;
use gnomon::api::{openapi, routes};
use serde_json::Value;
use std::collections::BTreeSet;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[test]
fn the_committed_description_is_that_of_the_table() {
    let text = format!("{}\n", serde_json::to_string_pretty(&openapi::document()).unwrap());
    if std::env::var_os("GNOMON_BLESS").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let committed = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(committed == text, "openapi.json is stale: run this test with GNOMON_BLESS=1");
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    fn references(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, into));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }
    let document = openapi::document();
    let mut found = vec![];
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_description_is_served_and_no_other() {
    let cloud = Cloud::start().await;
    let described: BTreeSet<(String, String)> = openapi::document()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| (path.clone(), method.to_ascii_uppercase()))
        })
        .collect();
    let table: BTreeSet<(String, String)> =
        routes().iter().map(|r| (r.path.to_owned(), r.method.to_owned())).collect();
    assert_eq!(described, table);
    let paths: BTreeSet<&String> = described.iter().map(|(path, _)| path).collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let url = path.replace(['{', '}'], "");
            let status = cloud.send(method, &url, &[], &[]).status;
            let is_described = described.contains(&(path.clone(), method.to_owned()));
            assert_eq!(status != 405, is_described, "{method} {path}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wit_for_authors_has_all_signals_and_is_wit() {
    let cloud = Cloud::with_device().await;
    let text = cloud.get("/v1/profiles/water-heater/functions/setpoint/wit").body;
    let text = String::from_utf8(text).unwrap();
    for line in ["tank-temp-c: f64,", "price-forecast: list<f64>,", "setpoint-c: f64,"] {
        assert!(text.contains(line), "{text}");
    }
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("profile.wit", &text).unwrap();
    assert!(resolve.select_world(&[package], Some("setpoint")).is_ok());
}
