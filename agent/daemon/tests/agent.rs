//! The tests of the agent's shell: one binary, one module for each subject. They
//! know no broker: the agent on real brokers is tested in `tests/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests: a panic is the verdict"
)]

mod agent {
    mod bench;
    mod fixture;

    mod candidates;
    mod config;
    mod frames;
    mod offline;
    mod runner;
    mod socket;
    mod store;
    mod swap;
    mod trust;
}
