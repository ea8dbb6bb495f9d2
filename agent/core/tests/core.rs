//! The tests of the agent's decisions: one binary, one module for each subject.
//! They know no clock and no engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    missing_docs,
    unreachable_pub,
    reason = "tests: a panic is the verdict, and a bound is a bound to the bit"
)]

mod core {
    mod bench;
    mod fixture;

    mod accept;
    mod approvals;
    mod clamp;
    mod clamp_exhaustive;
    mod clamp_random;
    mod expiry;
    mod modules;
    mod order;
    mod probation;
    mod random;
    mod recall;
    mod refusals;
    mod replay;
    mod restart;
    mod results;
    mod rollback;
    mod rollback_floor;
    mod roots;
    mod states;
    mod tally;
    mod together;
    mod trial;
}
