//! The on-device agent: a shell around `gnomon-agent-core`, in parts that share nothing
//! and speak by frames alone.
//!
//! The [`planner`] has the network, the keys and the store; the [`keeper`] has the
//! [`device`], the tick loop and the clamp; a [`runner`] has an engine, behind the walls
//! of its [`sandbox`], and nothing else. On a device each is a process of its own. For
//! firmware that links the agent, [`start`] joins them in one.
//!
//! It decides nothing: decisions are the core's.

pub mod cell;
pub mod cli;
mod clock;
pub mod config;
pub mod credentials;
pub mod device;
pub mod enrol;
mod files;
pub mod footprint;
pub mod frames;
pub mod keeper;
pub mod planner;
pub mod post;
pub mod runner;
pub mod sandbox;
pub mod socket;
pub mod status;
mod supervise;
pub mod tls;
pub mod verify;

mod start;

pub use config::{AgentConfig, ConfigError};
pub use start::{AgentHandle, StartError, Swapped, enrol, start};
