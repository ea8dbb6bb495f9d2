//! Sigstore bundles as evidence for a module: who published it, by a short-lived
//! certificate or a managed key, proven without a network.
//!
//! One question, [`verify_bundle`], and its answer for the module pipeline, [`Judge`].
//! `sigstore-verify` judges; around it stand the exact shape that we take
//! ([`shape`]), the one clock that counts ([`times`], [`witness`]) and the one
//! crypto provider ([`provider`]).
//!
//! This crate knows no socket, no file, no clock of the system and no module's inside.

mod error;
mod judge;
mod provider;
mod shape;
mod times;
mod verify;
mod witness;

pub use error::BundleError;
pub use judge::Judge;
pub use verify::{Artifact, BundlePolicy, verify_bundle};
