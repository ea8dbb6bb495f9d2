//! The production verifier against the committed fixtures: no Node, no network, no
//! clock. `tests/keyless.rs` runs the same cases on bundles that it has just made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test panics to fail")]

#[path = "../../../../tests/keyless/cases.rs"]
mod cases;
mod clock;
mod flips;
mod judge;
mod verify;
