//! Who is who on the bus: the fleet's certificate authority, device certificates,
//! one-time tokens, renewal and revocation. A table of contents.
//!
//! What somebody may do with a topic is `gnomon_schemas::acl`'s to say.

mod attempts;
mod ca;
mod certificate;
mod enrol;
mod error;
mod files;
mod request;
mod revoked;
mod token;

pub mod tls;

pub use ca::Ca;
pub use certificate::{Facts, peer_of};
pub use enrol::{Identities, IdentityOptions, Offer};
pub use error::IdentityError;
pub use revoked::Revocations;
pub(crate) use token::is_equal;
pub use token::{KeptToken, TOKEN_LIFE_MS_MAX};

/// Files of the data folder that other programs read too.
pub mod names {
    /// The fleet CA's certificate: what everybody on the bus trusts.
    pub const CA: &str = "ca.crt";
    /// The broker's certificate.
    pub const BROKER: &str = "broker.crt";
    /// The broker's private key.
    pub const BROKER_KEY: &str = "keys/broker.pem";
    /// The HTTP API's certificate.
    pub const HTTP: &str = "http.crt";
    /// The private key to it.
    pub const HTTP_KEY: &str = "keys/http.pem";
    /// The service's own certificate, as a client of the broker.
    pub const SERVICE: &str = "service.crt";
    /// The private key to it.
    pub const SERVICE_KEY: &str = "keys/service.pem";
    /// The fleet CA's private key.
    pub const CA_KEY: &str = "keys/ca.pem";
}
