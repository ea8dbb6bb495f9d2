//! Every decision of the cloud, pure: which layers make up a device's state, when
//! that is a new version, and what a shadow run shows.
//!
//! It knows no socket, no file, no clock, no thread and no engine: time and
//! versions are arguments, and what a module takes is asked elsewhere.

pub mod layer;
pub mod selector;

pub mod compose;

pub mod comparison;

pub mod access;
pub mod approvals;
pub mod audit_chain;
pub mod roots;

pub use comparison::Comparison;
pub use compose::{Content, Effective};
pub use layer::{Layer, Origin};
pub use selector::{Group, Labels, Selector};
