//! Certificate requests (PKCS#10): proof that somebody has a private key. All that
//! is taken from one is the public key.

use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::limits::ENROL_BYTES_MAX;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use x509_cert::der::{Decode as _, Encode as _, oid::ObjectIdentifier};
use x509_cert::request::CertReq;

use super::IdentityError;

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// An uncompressed point of P-256.
const POINT_BYTES: usize = 65;

/// A public key whose private half has signed a request.
pub(super) struct Request {
    /// The request, as it came.
    pub(super) der: Vec<u8>,
    /// The key, as SubjectPublicKeyInfo.
    pub(super) spki: Vec<u8>,
    point: Vec<u8>,
}

impl Request {
    /// Reads a request in PEM form and checks its signature.
    pub(super) fn read(text: &str) -> Result<Request, IdentityError> {
        let wrong = |message: &str| IdentityError::Request(message.into());
        if text.len() > ENROL_BYTES_MAX {
            return Err(wrong("is too large"));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
            .map_err(|_| wrong("is not in PEM form (`BEGIN CERTIFICATE REQUEST`)"))?;
        let request = CertReq::from_der(&der).map_err(|_| wrong("cannot be read"))?;
        let spki = request.info.public_key.to_der().map_err(|_| wrong("has no usable key"))?;
        let point = request.info.public_key.subject_public_key.raw_bytes().to_vec();
        let key = PublicKey::from_spki(spki.clone())
            .ok()
            .filter(|_| point.len() == POINT_BYTES)
            .ok_or_else(|| wrong("is not for an ECDSA P-256 key"))?;
        let signed = request.info.to_der().map_err(|_| wrong("cannot be read"))?;
        if request.algorithm.oid != ECDSA_WITH_SHA256
            || !key.verifies(&signed, request.signature.raw_bytes())
        {
            return Err(wrong("is not signed by its own key"));
        }
        Ok(Request { der: der.to_vec(), spki, point })
    }
}

impl PublicKeyData for Request {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
