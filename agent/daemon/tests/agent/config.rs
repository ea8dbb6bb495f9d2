//! A provisioning folder: each file missing or wrong gives one clear error that names it.

use gnomon_agent::AgentConfig;
use gnomon_agent::config::{AGENT_FILE, PROFILE_FILE, TRUST_FILE};
use serde_json::json;
use tempfile::TempDir;

use super::fixture::{Fleet, PROFILE};

fn folder(fleet: &Fleet) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, AGENT_FILE, agent("mqtt://broker.example:1883").as_bytes());
    write(&folder, PROFILE_FILE, PROFILE);
    write(&folder, TRUST_FILE, &fleet.first_root());
    folder
}

fn agent(broker: &str) -> String {
    json!({"fleet": "acme", "device": "heater-001", "broker": broker}).to_string()
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) {
    std::fs::write(folder.path().join(name), bytes).unwrap();
}

/// The error of a folder in which one file is replaced.
fn error_with(name: &str, bytes: &[u8]) -> String {
    let folder = folder(&Fleet::new());
    write(&folder, name, bytes);
    let error = AgentConfig::read(folder.path()).err();
    error.unwrap_or_else(|| panic!("{name} is wrong")).to_string()
}

#[test]
fn a_whole_folder_is_read() {
    let fleet = Fleet::new();
    let config = AgentConfig::read(folder(&fleet).path()).unwrap();
    assert_eq!(config.identity.device.as_str(), "heater-001");
    assert_eq!(config.broker, ("broker.example".into(), 1883));
    assert_eq!(config.root, fleet.root);
    assert_eq!(config.identity.profile_digest, gnomon_schemas::Digest::of(PROFILE));
}

#[test]
fn an_enrolment_leaves_a_store_that_was_closed_in_order() {
    let (folder, data) = (folder(&Fleet::new()), tempfile::tempdir().unwrap());
    let config = AgentConfig::read(folder.path()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(gnomon_agent::enrol(&config, data.path(), "token")).unwrap_err();
    assert!(error.to_string().contains("gnomon device bundle"), "{error}");
    assert!(data.path().join("agent.db.clean").is_file());
}

#[test]
fn a_missing_file_is_named_and_so_is_what_writes_it() {
    for name in [AGENT_FILE, PROFILE_FILE, TRUST_FILE] {
        let folder = folder(&Fleet::new());
        std::fs::remove_file(folder.path().join(name)).unwrap();
        let error = AgentConfig::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("gnomon device bundle"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_json_is_named() {
    for name in [AGENT_FILE, PROFILE_FILE, TRUST_FILE] {
        let error = error_with(name, b"{\"fleet\": ");
        assert!(error.starts_with(name) && error.contains("not JSON"), "{error}");
    }
}

#[test]
fn the_agents_settings_are_strict() {
    for (text, part) in [
        (agent("broker.example:1883"), "is not mqtts://HOST:PORT or mqtt://HOST:PORT"),
        (agent("mqtt://broker.example"), "is not mqtts://HOST:PORT or mqtt://HOST:PORT"),
        (agent("mqtt://broker.example:port"), "is not mqtts://HOST:PORT or mqtt://HOST:PORT"),
        (agent("mqtt://:1883"), "is not mqtts://HOST:PORT or mqtt://HOST:PORT"),
        (agent("mqtt://h:1").replace("heater-001", "Heater 1"), "device"),
        (agent("mqtt://h:1").replace("broker", "brokre"), "brokre"),
        (agent("mqtt://h:1").replace("\"device\"", "\"fleet\""), "stands twice"),
    ] {
        let error = error_with(AGENT_FILE, text.as_bytes());
        assert!(error.starts_with(AGENT_FILE) && error.contains(part), "{error}");
    }
}

#[test]
fn a_profile_that_contradicts_itself_is_refused() {
    let mut profile: serde_json::Value = serde_json::from_slice(PROFILE).unwrap();
    profile["outputs"]["setpoint_c"]["bounds"]["max"] = json!(10);
    let error = error_with(PROFILE_FILE, profile.to_string().as_bytes());
    assert!(error.starts_with(PROFILE_FILE) && error.contains("outputs.setpoint_c"), "{error}");
}

#[test]
fn a_trust_root_must_be_signed_by_itself_and_of_this_fleet() {
    let (fleet, stranger) = (Fleet::new(), Fleet::new());
    let error = error_with(TRUST_FILE, &stranger.seal(&fleet.root));
    assert!(error.starts_with(TRUST_FILE) && error.contains("signatures"), "{error}");
    let mut other = Fleet::new();
    other.root.fleet = "other".parse().unwrap();
    let error = error_with(TRUST_FILE, &other.first_root());
    assert!(error.starts_with(TRUST_FILE) && error.contains("`other`"), "{error}");
}
