//! The wire contract of Gnomon: everything that crosses a network, a disk or a
//! socket, and the checks that turn its bytes into types.
//!
//! Modules stand in the order in which data passes them: bytes are capped and
//! parsed ([`strict`]), an [`envelope`] is opened against a [`trust`] root
//! ([`verify`]), what it holds is a [`document`]; results flow back as
//! [`reported`] and [`results`].
//!
//! This crate knows no socket, no file, no clock, no thread and no engine.

pub mod limits;
pub mod reason;

pub mod acl;
pub mod ids;
pub mod strict;
pub mod topics;
pub mod value;

pub mod envelope;
pub mod keys;
pub mod succession;
pub mod trust;
pub mod verify;

pub mod approval;

pub mod content;
pub mod document;
pub mod module;
pub mod profile;

pub mod ack;
pub mod audit;
pub mod device;
pub mod enrol;
pub mod histogram;
pub mod reported;
pub mod results;

pub mod generate;

pub use ids::{
    BootId, DeviceId, Digest, FleetId, FunctionName, GroupId, ModuleName, PublisherName,
    SignalName, SigstoreRootName, Version,
};
pub use reason::{Coded, Reason, Refusal};
pub use value::{Value, ValueType};
