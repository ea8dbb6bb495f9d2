//! The manifest inside a module: read, not believed. The signature over the
//! module's bytes is what makes it true.

use gnomon_schemas::module::{MANIFEST_SECTION, Manifest};
use gnomon_schemas::strict;
use wasmparser::{Parser, Payload};

/// The most bytes of a manifest.
const MANIFEST_BYTES_MAX: usize = 4096;

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
