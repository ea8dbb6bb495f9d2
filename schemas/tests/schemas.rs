//! The tests of the wire contract: one binary, one module for each subject.
//!
//! `GNOMON_BLESS=1` rewrites what is generated (see `schemas/README.md`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests: a panic is the verdict, and blessing is asked for by the environment"
)]

mod schemas {
    mod fixture;

    mod approvals;
    mod classes;
    mod content;
    mod envelopes;
    mod examples;
    mod generated;
    mod invalid;
    mod json;
    mod keys;
    mod modules;
    mod names;
    mod profiles;
    mod values;
}
