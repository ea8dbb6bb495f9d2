//! The manifest inside a module: read, not believed. The signature over the
//! module's bytes is what makes it true.

use gnomon_schemas::document::ModuleRef;
use gnomon_schemas::module::{MANIFEST_SECTION, Manifest};
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::strict;
use wasmparser::{Parser, Payload};

/// The most bytes of a manifest.
const MANIFEST_BYTES_MAX: usize = 4096;

/// What the director says of a module must be what its publisher signed into it: else an
/// old release could be passed off under a newer counter.
///
/// # Errors
/// [`Reason::ModuleManifestMismatch`].
pub fn check_manifest(bytes: &[u8], listed: &ModuleRef) -> Result<(), Refusal> {
    let wrong = |detail: String| Err(Refusal::new(Reason::ModuleManifestMismatch, detail));
    let Some(inside) = manifest(bytes) else { return wrong("it carries no manifest".into()) };
    let listed = (&listed.name, &listed.version, listed.release_counter);
    if (&inside.name, &inside.version, inside.release_counter) != listed {
        return wrong(format!(
            "the module says {} {} counter {}, the document {} {} counter {}",
            inside.name, inside.version, inside.release_counter, listed.0, listed.1, listed.2
        ));
    }
    Ok(())
}

/// The manifest in the outermost custom section of its name; none when it is
/// missing, doubled or not of its form.
pub fn manifest(bytes: &[u8]) -> Option<Manifest> {
    let mut found = None;
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == MANIFEST_SECTION => {
                if found.is_some() {
                    return None;
                }
                found = Some(strict::parse(section.data(), MANIFEST_BYTES_MAX).ok()?);
            }
            _ => {}
        }
    }
    found
}
