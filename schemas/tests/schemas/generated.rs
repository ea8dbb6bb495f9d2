//! Files made from the types equal what is committed.

use std::collections::BTreeSet;
use std::fs;

use super::fixture::{hold, path, pretty};
use gnomon_schemas::{Reason, generate};

#[test]
fn json_schemas_are_up_to_date() {
    let mut stems = BTreeSet::new();
    for (stem, schema) in generate::json_schemas() {
        let mut value = schema.to_value();
        // The same text, whether or not a build turns on serde_json's `preserve_order`.
        value.sort_all_objects();
        hold(&format!("json/{stem}.json"), &pretty(&value));
        stems.insert(format!("{stem}.json"));
    }
    let committed: BTreeSet<String> = fs::read_dir(path("json"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(committed, stems, "a schema without a type, or a type without a schema");
}

#[test]
fn json_schemas_are_valid_and_have_titles() {
    for (stem, schema) in generate::json_schemas() {
        let value = schema.to_value();
        jsonschema::draft202012::meta::validate(&value).unwrap();
        assert!(value["title"].is_string() && value["description"].is_string(), "{stem}");
    }
}

#[test]
fn the_table_of_reasons_is_up_to_date() {
    let text = generate::reasons_markdown();
    hold("REASONS.md", text.as_bytes());
    assert_eq!(text.matches("\n| `").count(), Reason::ALL.len());
}
