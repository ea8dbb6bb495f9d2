//! The system's clock plays no part: this very binary runs again under clocks that
//! stand at 1970 and beyond 2106, and all verdicts are the same.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The tests that run again.
const AGAIN: [&str; 3] = [
    "clock::the_system_has_the_clock_that_the_test_gave_it",
    "verify::good_bundles_are_taken",
    "verify::every_spoilt_bundle_earns_its_reason",
];

fn system_clock() -> Option<u64> {
    std::env::var("SYSTEM_CLOCK").ok().map(|seconds| seconds.parse().unwrap())
}

#[test]
fn the_system_has_the_clock_that_the_test_gave_it() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    if let Some(given) = system_clock() {
        assert_eq!(now, given);
    }
}

#[test]
fn verdicts_do_not_depend_on_the_systems_clock() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let clock = folder.join("clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sigstore/clock.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&clock, &source])
        .status()
        .expect("cc (Debian: gcc)");
    assert!(built.success());
    for seconds in [0_u64, 1, (1 << 32) + 1, 9_000_000_000] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(AGAIN)
            .args(["--exact", "--test-threads=1"])
            .env("LD_PRELOAD", &clock)
            .env("SYSTEM_CLOCK", seconds.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "at {seconds}\n{said}");
        assert!(said.contains("3 passed"), "at {seconds}\n{said}");
    }
}
