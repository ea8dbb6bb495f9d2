//! The one crypto provider of the process for sigstore's crates: `ring`.
//!
//! `ring` has no public "verify over a digest", so ECDSA over a digest goes
//! through RustCrypto. No RSA over a digest and no ML-DSA: refused.

use gnomon_schemas::reason::Reason;
use ring::digest;
use ring::signature as algorithms;
use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};
use sigstore_verify::crypto::{
    CryptoProvider, Error, HashContext, Result, SigningScheme, install_default_provider,
    try_default_provider,
};
use sigstore_verify::types::HashAlgorithm;

use crate::error::BundleError;

/// Sets the provider, whichever thread comes first; later calls find it there.
///
/// # Errors
/// When other code of this process set another provider before.
pub(crate) fn install() -> std::result::Result<(), BundleError> {
    // Losing the race to another thread of ours is as good as winning it.
    let _ = install_default_provider(&RING);
    let ours = try_default_provider()
        .is_some_and(|set| std::ptr::addr_eq(std::ptr::from_ref(set), &raw const RING));
    if ours {
        return Ok(());
    }
    let detail = "another crypto provider is installed in this process; build without it";
    Err(BundleError::new(Reason::Unavailable, detail))
}

/// `ring`, as sigstore's crates want to see it. Not of size zero, so that it has
/// an address of its own by which [`install`] knows it.
#[derive(Debug)]
struct Ring(#[expect(dead_code, reason = "gives it an address")] u8);

static RING: Ring = Ring(0);

struct Hash(digest::Context);

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

fn invalid() -> Error {
    Error::Verification("the signature is not this key's over these bytes".to_owned())
}

fn unsupported(scheme: SigningScheme) -> Error {
    Error::UnsupportedAlgorithm(scheme.name().to_owned())
}

impl CryptoProvider for Ring {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        let algorithm = match algorithm {
            HashAlgorithm::Sha2256 => &digest::SHA256,
            HashAlgorithm::Sha2384 => &digest::SHA384,
            HashAlgorithm::Sha2512 => &digest::SHA512,
            other => return Err(Error::UnsupportedAlgorithm(other.to_string())),
        };
        Ok(Box::new(Hash(digest::Context::new(algorithm))))
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let algorithm: &dyn VerificationAlgorithm = match scheme {
            SigningScheme::EcdsaP256Sha256 => &algorithms::ECDSA_P256_SHA256_ASN1,
            SigningScheme::EcdsaP256Sha384 => &algorithms::ECDSA_P256_SHA384_ASN1,
            SigningScheme::EcdsaP384Sha256 => &algorithms::ECDSA_P384_SHA256_ASN1,
            SigningScheme::EcdsaP384Sha384 => &algorithms::ECDSA_P384_SHA384_ASN1,
            SigningScheme::Ed25519 => &algorithms::ED25519,
            SigningScheme::RsaPkcs1Sha256 => &algorithms::RSA_PKCS1_2048_8192_SHA256,
            SigningScheme::RsaPkcs1Sha384 => &algorithms::RSA_PKCS1_2048_8192_SHA384,
            SigningScheme::RsaPkcs1Sha512 => &algorithms::RSA_PKCS1_2048_8192_SHA512,
            SigningScheme::RsaPssSha256 => &algorithms::RSA_PSS_2048_8192_SHA256,
            SigningScheme::RsaPssSha384 => &algorithms::RSA_PSS_2048_8192_SHA384,
            SigningScheme::RsaPssSha512 => &algorithms::RSA_PSS_2048_8192_SHA512,
            other => return Err(unsupported(other)),
        };
        UnparsedPublicKey::new(algorithm, key).verify(data, signature).map_err(|_| invalid())
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let valid = match scheme {
            SigningScheme::EcdsaP256Sha256 | SigningScheme::EcdsaP256Sha384 => {
                p256_holds(key, digest, signature)
            }
            SigningScheme::EcdsaP384Sha256 | SigningScheme::EcdsaP384Sha384 => {
                p384_holds(key, digest, signature)
            }
            other => return Err(unsupported(other)),
        };
        if valid { Ok(()) } else { Err(invalid()) }
    }
}

fn p256_holds(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    use p256::ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier};
    match (VerifyingKey::from_sec1_bytes(key), DerSignature::try_from(signature)) {
        (Ok(key), Ok(signature)) => key.verify_prehash(digest, &signature).is_ok(),
        _ => false,
    }
}

fn p384_holds(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    use p384::ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier};
    match (VerifyingKey::from_sec1_bytes(key), DerSignature::try_from(signature)) {
        (Ok(key), Ok(signature)) => key.verify_prehash(digest, &signature).is_ok(),
        _ => false,
    }
}
