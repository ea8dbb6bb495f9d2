//! The service as a whole: real HTTP and a real broker on the loopback, one data
//! folder per test.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it fails")]

mod fixture;

mod api;
mod command_line;
mod devices;
mod edits;
mod refusals;
mod start;
