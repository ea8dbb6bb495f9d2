//! Reads certificates: who they say their bearer is, and for how long.
//!
//! Whether a certificate is the fleet CA's was checked before, by TLS or by
//! [`Ca::verify`](super::Ca::verify).

use gnomon_schemas::acl::Peer;
use gnomon_schemas::ids::{FleetId, to_hex};
use rustls::pki_types::CertificateDer;
use std::collections::BTreeSet;
use std::net::IpAddr;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode as _, Encode as _, oid::ObjectIdentifier};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::IdentityError;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// The subject's common names.
    pub common_names: Vec<String>,
    /// The URIs among its names.
    pub uris: Vec<String>,
    /// The host names and addresses among its names.
    pub hosts: BTreeSet<String>,
    /// From when it is valid (Unix time, ms).
    pub not_before_ms: u64,
    /// Until when it is valid (Unix time, ms).
    pub not_after_ms: u64,
    /// The public key, as SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`] when it cannot be parsed.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Facts, IdentityError> {
        let wrong = |_| IdentityError::Certificate("cannot be read".into());
        let certificate = x509_cert::Certificate::from_der(certificate).map_err(wrong)?;
        let body = certificate.tbs_certificate;
        let alternative = body.get::<SubjectAltName>().map_err(wrong)?;
        let (mut uris, mut hosts) = (vec![], BTreeSet::new());
        for name in alternative.into_iter().flat_map(|(_, names)| names.0) {
            match name {
                GeneralName::UniformResourceIdentifier(uri) => uris.push(uri.to_string()),
                GeneralName::DnsName(name) => drop(hosts.insert(name.to_string())),
                GeneralName::IpAddress(bytes) => hosts.extend(address(bytes.as_bytes())),
                _ => {}
            }
        }
        let common_names = body
            .subject
            .0
            .iter()
            .flat_map(|part| part.0.iter())
            .filter(|part| part.oid == COMMON_NAME)
            .map(|part| {
                let utf8 = part.value.decode_as::<Utf8StringRef<'_>>().map(|text| text.to_string());
                utf8.or_else(|_| {
                    part.value.decode_as::<PrintableStringRef<'_>>().map(|text| text.to_string())
                })
            })
            .collect::<Result<_, _>>()
            .map_err(wrong)?;
        let ms = |time: x509_cert::time::Time| {
            u64::try_from(time.to_unix_duration().as_millis()).unwrap_or(u64::MAX)
        };
        Ok(Facts {
            serial: to_hex(body.serial_number.as_bytes()),
            common_names,
            uris,
            hosts,
            not_before_ms: ms(body.validity.not_before),
            not_after_ms: ms(body.validity.not_after),
            spki: body.subject_public_key_info.to_der().map_err(wrong)?,
        })
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(v6).map(|address| address.to_string())
}

/// Whom a certificate of the fleet CA names: its one common name and its one URI must
/// agree.
///
/// # Errors
/// [`IdentityError::Certificate`] when they do not, or name nobody of this fleet.
pub fn peer_of(facts: &Facts, fleet: &FleetId) -> Result<Peer, IdentityError> {
    let wrong = |message: &str| IdentityError::Certificate(message.into());
    let ([name], [uri]) = (facts.common_names.as_slice(), facts.uris.as_slice()) else {
        return Err(wrong("does not have one common name and one URI"));
    };
    let peer: Peer = name.parse().map_err(|_| wrong("does not name a device"))?;
    if *uri != peer.urn(fleet) {
        return Err(wrong("names two, or another fleet's"));
    }
    Ok(peer)
}
