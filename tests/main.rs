//! End to end, through public doors: the two programs as processes, foreign
//! clients, real brokers. And the house rules.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test panics to fail")]

mod attacks;
mod bad_input;
mod canary;
mod clock;
mod faults;
mod foreign_client;
mod identity;
mod keyless;
mod kills;
mod poison;
mod poisoned;
mod power_cuts;
mod restart;
mod stage;
mod survival;
mod theft;
mod tidy;
mod vectors;
