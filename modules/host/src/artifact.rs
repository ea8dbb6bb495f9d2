//! Compiled artifacts: native code that the engine made, sealed so that another
//! process, or the same device after a restart, need not compile it again.
//!
//! The engine trusts native code: to load it is to run it. So an artifact is handed
//! to the engine only when its seal fits, under a key that never leaves the device,
//! and [`Host::compile`] is the one place that seals. This file refuses to know where
//! keys and artifacts are kept, and what a module does once it is loaded.
//!
//! The sealed form: `HEAD`, the module's digest, the engine config digest (both in
//! hexadecimal), the native code, and HMAC-SHA256 over all of it.

use gnomon_schemas::Digest;
use ring::hmac;
use std::sync::Arc;
use wasmtime::component::Component;

use crate::admit::AdmitError;
use crate::engine::Host;
use crate::shape;

/// What an artifact begins with; the last byte is the number of the form.
const HEAD: [u8; 8] = *b"gnomon\x00\x01";
const DIGEST_BYTES: usize = 64;
const SEAL_BYTES: usize = 32;

/// Seals and opens artifacts. Whoever has it can have native code run.
#[derive(Clone)]
pub struct ArtifactKey([u8; 32]);

impl ArtifactKey {
    /// A key of these random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> ArtifactKey {
        ArtifactKey(bytes)
    }

    /// The bytes, for the process that loads what another one compiled.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this is what the engine of these settings made of this module, under this
    /// key; to load it takes a host.
    pub fn fits(&self, module: &Digest, engine: &Digest, sealed: &[u8]) -> bool {
        open(sealed, module, engine, self).is_ok()
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl std::fmt::Debug for ArtifactKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ArtifactKey(..)")
    }
}

/// Why an artifact was not loaded. None is a disaster: the module is compiled anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// Of no form that this release writes.
    #[error("no compiled artifact of this form: compile the module anew")]
    NotOurs,
    /// Its module is another one.
    #[error("compiled from another module: compile this one")]
    OtherModule,
    /// The engine's settings or its release were others.
    #[error("compiled by another engine: compile the module anew")]
    OtherEngine,
    /// The seal does not fit: changed, cut short, or sealed under another key.
    #[error("changed after it was sealed, or sealed under another key: compile the module anew")]
    Tampered,
    /// The seal fits and the engine refuses the code, as on another processor.
    #[error("the engine does not load it: {0}: compile the module anew")]
    Engine(String),
}

impl Host {
    /// Compiles a module and seals the native code. Takes milliseconds or more, and
    /// memory, so never on the thread that ticks. The host then knows the module, too.
    ///
    /// # Errors
    /// What [`Host::admit`] refuses before a module's types are read.
    pub fn compile(&self, bytes: &[u8], key: &ArtifactKey) -> Result<Vec<u8>, AdmitError> {
        shape::check(bytes)?;
        let (module, component) = self.compiled(bytes).map_err(AdmitError::Compile)?;
        let native =
            component.serialize().map_err(|error| AdmitError::Compile(format!("{error:#}")))?;
        Ok(seal(&module, self.engine_digest(), &native, key))
    }

    /// Takes what [`Host::compile`] made of the module of this digest, here or in
    /// another process, so that admitting the module compiles nothing.
    ///
    /// # Errors
    /// [`ArtifactError`]; the engine has seen nothing of it before the seal fitted.
    pub fn learn(
        &self,
        module: &Digest,
        sealed: &[u8],
        key: &ArtifactKey,
    ) -> Result<(), ArtifactError> {
        let native = open(sealed, module, self.engine_digest(), key)?;
        let component = self.load(&native)?;
        self.remember(module, &Arc::new(component));
        Ok(())
    }

    /// Whether admitting the module of this digest would compile nothing.
    pub fn is_compiled(&self, module: &Digest) -> bool {
        self.remembered(module).is_some()
    }

    #[expect(unsafe_code, reason = "there is no safe way to load what was compiled before")]
    #[expect(clippy::disallowed_methods, reason = "`Native` is the proof that the seal fits")]
    fn load(&self, native: &Native<'_>) -> Result<Component, ArtifactError> {
        // SAFETY: the bytes must be what `Component::serialize` returned, unchanged. Only
        // `open` makes a `Native`, from bytes under a seal that fits, and only `compile`
        // seals, what `Component::serialize` returned. They are borrowed from memory, so
        // they stay as they were checked; the engine takes a copy. It compares its own
        // version, settings and the processor's features with those in the artifact.
        let component = unsafe { Component::deserialize(self.engine(), native.0) };
        component.map_err(|error| ArtifactError::Engine(format!("{error:#}")))
    }
}

/// Native code whose seal fits.
struct Native<'a>(&'a [u8]);

fn seal(module: &Digest, engine: &Digest, native: &[u8], key: &ArtifactKey) -> Vec<u8> {
    let digests = [module, engine].map(|digest| digest.hex().as_bytes());
    let mut sealed = [&HEAD[..], digests[0], digests[1], native].concat();
    let tag = hmac::sign(&key.hmac(), &sealed);
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

fn open<'a>(
    sealed: &'a [u8],
    module: &Digest,
    engine: &Digest,
    key: &ArtifactKey,
) -> Result<Native<'a>, ArtifactError> {
    let parts = || {
        let (body, tag) = sealed.split_last_chunk::<SEAL_BYTES>()?;
        let rest = body.strip_prefix(&HEAD)?;
        let (of_module, rest) = rest.split_at_checked(DIGEST_BYTES)?;
        let (of_engine, native) = rest.split_at_checked(DIGEST_BYTES)?;
        Some((body, tag, of_module, of_engine, native))
    };
    let (body, tag, of_module, of_engine, native) = parts().ok_or(ArtifactError::NotOurs)?;
    if of_module != module.hex().as_bytes() {
        return Err(ArtifactError::OtherModule);
    }
    if of_engine != engine.hex().as_bytes() {
        return Err(ArtifactError::OtherEngine);
    }
    // In constant time.
    hmac::verify(&key.hmac(), body, tag).map_err(|_| ArtifactError::Tampered)?;
    Ok(Native(native))
}
