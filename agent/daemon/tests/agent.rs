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
    mod small_disk;

    mod candidates;
    mod config;
    mod frames;
    mod golden;
    mod keeper;
    mod offline;
    mod planner;
    mod planners;
    mod probation;
    mod sandbox;
    mod socket;
    mod states;
    mod store;
    mod store_faults;
    mod store_forms;
    mod store_outbox;
    mod store_rollback;
    mod swap;
    mod trust;
    mod year;
}
