//! A thief with the director's key, and nobody else's: seals what it likes, and signs for
//! no module, no approval and no trust root.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gnomon_schemas::document::{Document, FunctionPlan, InlineBytes, ModuleRef};
use gnomon_schemas::ids::{Digest, Version};
use gnomon_schemas::limits::VERSION_STEP_MAX;
use gnomon_schemas::module::ModuleEvidence;

use super::facts::Fact;
use super::keys::{Key, seal, wire};
use super::network::ToDevice;
use super::world::World;

impl World<'_> {
    /// A thief with the director's key, and nobody else's: the approvals and modules that
    /// a document carries are those that it has read.
    pub(super) fn steal(&mut self, device: usize) -> bool {
        let Some(mut document) = self.newest(device) else { return false };
        let step = |document: &Document, by: u64| {
            Version::try_from(document.version.get().saturating_add(by)).ok()
        };
        match self.random.u64(0..7) {
            // The same version, with other content.
            0 => document.config.clear(),
            // The same content, or nearly so, as a newer version.
            1 => {
                document.version = step(&document, 1).unwrap_or(document.version);
                self.twist(&mut document);
            }
            // A version that leaves no room.
            2 => {
                document.version =
                    step(&document, VERSION_STEP_MAX + 1).unwrap_or(document.version);
            }
            3 => document.epoch += 1,
            // A module that somebody published and nobody approved here, or nobody published.
            4 | 5 => {
                document.version = step(&document, 1).unwrap_or(document.version);
                let index = self.random.usize(0..self.library.common);
                let bytes = self.library.modules[index].bytes.clone();
                let digest = Digest::of(&bytes);
                let Some(listed) = self.cloud.listed(&digest).cloned() else { return false };
                let slot = gnomon_schemas::document::Slot {
                    module: digest.clone(),
                    params: serde_json::from_value(self.library.modules[index].params.clone())
                        .unwrap_or_default(),
                };
                document.modules.insert(digest, listed);
                let plan = self.library.profile.functions.keys().next().cloned();
                let Some(function) = plan else { return false };
                document.functions.entry(function).or_default().active = Some(slot);
            }
            // From a time that has not come.
            _ => {
                document.version = step(&document, 1).unwrap_or(document.version);
                document.issued_at_ms += 300 * 24 * 3600 * 1000;
                document.expires_at_ms = document.issued_at_ms + 3_600_000;
            }
        }
        let key: &Key = self
            .old_directors
            .last()
            .filter(|_| self.now_ms.is_multiple_of(2))
            .unwrap_or(&self.keys.director);
        let (bytes, envelope) = seal(&[key], &document);
        self.tell(&Fact::Directed { document: &document, digest: &Digest::of(&bytes) });
        let wire = wire(&envelope);
        if self.random.bool() {
            self.network.desired.insert(device, wire.clone());
        }
        self.post(device, ToDevice::Document(wire));
        true
    }

    /// Says one thing in the document otherwise, or nothing.
    fn twist(&self, document: &mut Document) {
        let nothing = FunctionPlan::default;
        let (Ok(fleet), Ok(lamp), Ok(output)) = ("other".parse(), "dim".parse(), "level".parse())
        else {
            return;
        };
        let functions = &mut document.functions;
        // Which of them is not worth a draw of its own.
        match self.now_ms % 12 {
            0 => document.fleet = fleet,
            1 => document.profile = Digest::of(b"another profile"),
            2 => drop(functions.insert(lamp, nothing())),
            3 => {
                let plan = functions.values_mut().next();
                plan.map(|plan| plan.bounds.insert(output, Default::default()));
            }
            twist => document.modules.values_mut().for_each(|listed| misname(listed, twist)),
        }
    }
}

/// Says of a module what its publisher does not.
fn misname(listed: &mut ModuleRef, twist: u64) {
    let of = |publisher: &str, signature: &str| {
        let (publisher, signature) = (publisher.parse().ok()?, signature.to_owned());
        Some(ModuleEvidence::Key { publisher, signature })
    };
    let ModuleEvidence::Key { signature, .. } = listed.evidence.clone() else { return };
    let evidence = match twist {
        4 => of("nobody", &signature),
        5 => of("acme-lighting", &signature),
        6 => of("acme-controls", &STANDARD.encode([7; 64])),
        7 => "acme-controls".parse().ok().map(|publisher| ModuleEvidence::Bundle {
            publisher,
            bundle: InlineBytes(b"{}".to_vec()),
        }),
        8 => {
            listed.release_counter += 1;
            None
        }
        _ => None,
    };
    listed.evidence = evidence.unwrap_or_else(|| listed.evidence.clone());
}
