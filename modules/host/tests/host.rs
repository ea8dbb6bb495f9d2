//! The host against guests of every kind: hostile ones, each ending in its own
//! closed reason, the examples, and the reference functions whose fuel is golden.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by it")]

#[path = "host/abi.rs"]
mod abi;
#[path = "host/artifacts.rs"]
mod artifacts;
#[path = "host/budgets.rs"]
mod budgets;
#[path = "host/engine.rs"]
mod engine;
#[path = "host/examples.rs"]
mod examples;
#[path = "host/features.rs"]
mod features;
#[path = "host/fuel.rs"]
mod fuel;
#[path = "host/inputs.rs"]
mod inputs;
#[path = "host/interfaces.rs"]
mod interfaces;
#[path = "host/manifests.rs"]
mod manifests;
#[path = "host/migrate.rs"]
mod migrate;
#[path = "host/pool.rs"]
mod pool;
#[path = "host/purity.rs"]
mod purity;
#[path = "host/shapes.rs"]
mod shapes;
#[path = "host/state.rs"]
mod state;
#[path = "host/support.rs"]
mod support;
#[path = "host/traps.rs"]
mod traps;
#[path = "host/values.rs"]
mod values;
