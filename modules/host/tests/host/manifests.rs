//! The manifest inside a module.

use gnomon_host::manifest;
use serde_json::json;

use crate::support::bytes;

const GOOD: &str = r#"{"name":"a","version":"1.0.0","release_counter":3,"function":"setpoint"}"#;

fn section(text: &str) -> String {
    format!("(@custom \"gnomon.manifest\" \"{}\")", text.replace('"', "\\\""))
}

#[test]
fn the_examples_have_theirs() {
    for example in gnomon_examples::ALL {
        let manifest = manifest(example.component).unwrap();
        assert_eq!(manifest.name.as_str(), example.name);
        assert_eq!(manifest.function.as_str(), "setpoint");
        assert_eq!(manifest.release_counter, 1);
    }
}

#[test]
fn one_outermost_well_formed_section_counts() {
    let good = section(GOOD);
    let read = |text: &str| manifest(&bytes(text)).map(|manifest| json!(manifest));
    let whole: serde_json::Value = serde_json::from_str(GOOD).unwrap();
    assert_eq!(read(&format!("(component {good})")), Some(whole.clone()));
    assert_eq!(read(&format!("(component (core module) {good})")), Some(whole.clone()));
    assert_eq!(read(&format!("(component {good} (component (core module)))")), Some(whole));
    for (name, text) in [
        ("none", "(component)".to_owned()),
        ("doubled", format!("(component {good} {good})")),
        ("doubled, one of them malformed", format!("(component {good} {})", section("{"))),
        ("in the core module", format!("(component (core module {good}))")),
        ("in a component inside", format!("(component (component {good}))")),
        ("empty", format!("(component {})", section(""))),
        ("an unknown field", format!("(component {})", section(&GOOD.replace("{", "{\"a\":1,")))),
        (
            "a name doubled",
            format!("(component {})", section(&GOOD.replace("{", "{\"name\":\"b\","))),
        ),
        ("a field missing", format!("(component {})", section(r#"{"name":"a"}"#))),
        (
            "a name of no form",
            format!("(component {})", section(&GOOD.replace("\"a\"", "\"A b\""))),
        ),
        ("too long", format!("(component {})", section(&format!("{GOOD}{}", " ".repeat(4096))))),
        ("another section", format!("(component {})", good.replace("gnomon.", "gnomon"))),
    ] {
        assert_eq!(read(&text), None, "{name}");
    }
    let cut = bytes(&format!("(component {good})"));
    assert_eq!(manifest(&cut[..cut.len() - 1]), None);
    assert_eq!(manifest(b"no module"), None);
}
