//! The cloud of Gnomon: HTTP API, MQTT, store, embedded broker and the `gnomon`
//! command line.
//!
//! [`serve::start`] runs it inside any process: no global state, no exit, no log
//! of its own making. Data flows one way: an edit comes in by [`api`],
//! [`publish`] composes, checks and signs, [`bus`] hands it to the broker;
//! devices answer through [`bus`] to [`ingest`]. The store is the truth, the
//! broker a cache.

pub mod api;
pub mod cli;
pub mod serve;

pub mod admission;
pub mod app;
pub mod approvals;
pub mod audit;
#[cfg(feature = "embedded-broker")]
pub mod broker;
pub mod broker_config;
pub mod bus;
pub mod clock;
pub mod https;
pub mod identity;
pub mod ingest;
pub mod keyless;
pub mod keys;
pub mod modules;
pub(crate) mod mqtt;
pub mod publish;
pub mod refused;
pub mod render;
pub mod store;
pub mod tokens;
pub mod trust;
pub mod wit;
