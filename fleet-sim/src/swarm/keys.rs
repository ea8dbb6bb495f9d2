//! The keys of a simulated fleet, all made from the seed. Ed25519 throughout, whose
//! signatures are the same for the same bytes. Who may use which key is others' business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gnomon_schemas::envelope::{Envelope, Payload, Sign};
use gnomon_schemas::ids::Digest;
use gnomon_schemas::keys::PublicKey;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One key.
pub struct Key {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Key {
    /// The key of the next 32 bytes of the seed.
    ///
    /// # Panics
    /// Never: every 32 bytes are the seed of a key (RFC 8032).
    #[expect(clippy::unwrap_used, reason = "32 bytes are always a seed")]
    pub fn new(random: &mut fastrand::Rng) -> Key {
        let mut seed = [0; 32];
        random.fill(&mut seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let public = PublicKey::from_ed25519(pair.public_key().as_ref()).unwrap();
        Key { pair, public }
    }

    /// The key that others know.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// A payload's bytes, and the envelope in which these keys sign them.
pub fn seal<P: Payload + Serialize>(keys: &[&Key], payload: &P) -> (Vec<u8>, Envelope) {
    // What is sealed here has been parsed or composed: it has a JSON form.
    let bytes = serde_json::to_vec(payload).unwrap_or_default();
    let sign: Vec<_> = keys.iter().map(|key| |message: &[u8]| key.sign(message)).collect();
    let signers: Vec<(String, Sign<'_>)> = keys
        .iter()
        .zip(&sign)
        .map(|(key, sign)| (key.public.id().to_string(), sign as Sign<'_>))
        .collect();
    let envelope = Envelope::seal::<P>(&bytes, &signers);
    (bytes, envelope)
}

/// An envelope as it goes over the wire.
pub fn wire(envelope: &Envelope) -> Vec<u8> {
    serde_json::to_vec(envelope).unwrap_or_default()
}

/// What an envelope carries, whoever signed it, and the digest of its payload.
pub fn read<P: DeserializeOwned>(envelope: &[u8]) -> Option<(P, Digest)> {
    let envelope: Envelope = serde_json::from_slice(envelope).ok()?;
    let payload = STANDARD.decode(envelope.payload).ok()?;
    Some((serde_json::from_slice(&payload).ok()?, Digest::of(&payload)))
}

/// The keys of the rightful, and one of a stranger.
pub struct Keys {
    /// Signs trust roots.
    pub root: Key,
    /// Signs documents and acknowledgements.
    pub director: Key,
    /// Signs approvals.
    pub approver: Key,
    /// Signs modules.
    pub publisher: Key,
    /// No trust root knows it.
    pub stranger: Key,
}

impl Keys {
    /// Fresh ones.
    pub fn new(random: &mut fastrand::Rng) -> Keys {
        Keys {
            root: Key::new(random),
            director: Key::new(random),
            approver: Key::new(random),
            publisher: Key::new(random),
            stranger: Key::new(random),
        }
    }
}
