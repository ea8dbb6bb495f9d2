//! The on-device agent: a shell around `gnomon-agent-core`, in two halves that
//! share nothing and speak by [`frames`] alone.
//!
//! The [`planner`] has the network, the keys and the store; the [`runner`] has
//! the engine and the [`device`]. [`start`] joins them in one process.
//!
//! It decides nothing: decisions are the core's.

pub mod cli;
pub mod config;
pub mod credentials;
pub mod device;
pub mod enrol;
pub mod footprint;
pub mod frames;
pub mod planner;
pub mod post;
pub mod runner;
pub mod socket;
pub mod tls;
pub mod verify;

mod start;

pub use config::{AgentConfig, ConfigError};
pub use start::{AgentHandle, StartError, Swapped, enrol, start};
