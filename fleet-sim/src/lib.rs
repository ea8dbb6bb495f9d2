//! A fleet of simulated devices: a plant to judge functions by, a world of real
//! prices and draws, and the demo that runs the whole product on them.
//!
//! It runs the production agent and the production cloud as libraries; what it
//! adds is the world around them, and the accounts that neither of them keeps.

pub mod bench;
pub mod closed_loop;
mod cloud_api;
pub mod demo;
mod functions;
pub mod load;
mod percentiles;
pub mod plant;
pub mod scenario;
pub mod swarm;
pub mod world;
