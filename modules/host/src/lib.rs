//! The one Wasm host: type-check, admit, call, meter.
//!
//! The same crate runs on the device, in the cloud and in the simulator: the
//! same bytes and inputs give the same outputs and the same fuel. In the order
//! in which a module passes: [`shape`] caps, [`artifact`] when it was compiled before,
//! [`interface`] types, [`admit`], `migrate` of its state, `arguments`, [`evaluate`].
//!
//! It knows no signature, no network and no actuator: what it returns is a
//! proposal.

pub mod engine;

pub mod manifest;
pub mod shape;

pub mod artifact;

pub mod convert;
pub mod interface;

pub mod admit;
mod arguments;
pub mod evaluate;
mod migrate;

pub use admit::{AdmitError, Admitted, Params};
pub use artifact::{ArtifactError, ArtifactKey};
pub use engine::{Host, HostError, HostOptions};
pub use evaluate::{Evaluation, Outputs};
pub use interface::Interface;
pub use manifest::{check_manifest, manifest};

/// Stack that a thread which evaluates must have: four times what a guest may
/// use, since an exhausted host stack aborts the process.
pub const THREAD_STACK_BYTES: usize = 4 * engine::WASM_STACK_BYTES + 512 * 1024;
