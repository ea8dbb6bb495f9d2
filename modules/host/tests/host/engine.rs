//! The engine config digest says all that could change a result.

use gnomon_host::engine::{WASMTIME_VERSION, engine_description};
use gnomon_host::{Host, HostOptions};
use gnomon_schemas::Digest;

/// The engine's name for the fixed set of settings. A change here is a change of
/// results on every device: read what changed, then `GNOMON_BLESS=1`.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine.golden");

#[test]
fn the_version_is_that_of_the_lock_file() {
    let lock = include_str!("../../../../Cargo.lock");
    let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
    assert!(lock.contains(&entry), "Cargo.lock has another wasmtime than {WASMTIME_VERSION}");
    assert_eq!(lock.matches("name = \"wasmtime\"\n").count(), 1, "one engine");
}

#[test]
fn the_digest_is_golden() {
    let digest = Digest::of(engine_description().as_bytes());
    let found = format!("{digest}\n{}\n", engine_description());
    if std::env::var_os("GNOMON_BLESS").is_some() {
        std::fs::write(GOLDEN, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(GOLDEN).unwrap());
}

#[test]
fn the_digest_is_of_the_settings_not_of_the_host() {
    let small = Host::new(&HostOptions { instances: 1 }).unwrap();
    let large = Host::new(&HostOptions { instances: 3 }).unwrap();
    assert_eq!(small.engine_digest(), large.engine_digest());
    assert_eq!(*small.engine_digest(), Digest::of(engine_description().as_bytes()));
}
