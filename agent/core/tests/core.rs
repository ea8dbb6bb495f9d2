//! The tests of the agent's decisions: one binary, one module for each subject.
//! They know no clock, no thread and no engine.
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
    mod fixture;

    mod accept;
    mod approvals;
    mod clamp;
    mod clamp_random;
    mod modules;
    mod order;
    mod random;
    mod refusals;
    mod replay;
    mod restart;
    mod results;
    mod roots;
    mod tally;
}
