//! The service as a whole: real HTTP and a real broker on the loopback, one data
//! folder per test.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod fixture;

mod access;
mod api;
mod approvals;
mod audit;
mod broker_config;
mod command_line;
mod devices;
mod edits;
mod https;
mod identity;
mod keys;
mod modules;
mod refusals;
mod start;
mod trust;
