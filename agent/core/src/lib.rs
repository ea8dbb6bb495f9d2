//! Every decision of the agent, pure: an [`Event`] in, [`Effect`]s out, time is
//! an argument.
//!
//! In the order of the pipeline: [`accept`] judges a document, [`agent`] plans
//! and drives it to activation by [`event`]s and effects, [`clamp`] makes the
//! only values that reach an actuator by the arithmetic of [`permitted`], [`tally`]
//! counts what was done.
//! [`message`] is what the agent's two halves say to each other.
//!
//! This crate knows no socket, file, clock, thread, database or engine.

#![no_std]

extern crate alloc;

pub mod accept;
pub mod agent;
pub mod canary;
pub mod clamp;
pub mod event;
pub mod message;
pub mod permitted;
pub mod probation;
pub mod record_budget;
pub mod refusals;
pub mod tally;
pub mod time;

mod pending;

pub use accept::{Floor, Identity};
pub use agent::{Agent, Effect, Event, Stored};
pub use clamp::{Clamped, Guard};
pub use permitted::Permitted;
pub use time::Monotonic;
