//! What a trust root recalls is called no more: once a root is in force on a device that
//! denies a module, or finds its release too old, no keeper of this device calls it, in
//! control or beside it, whatever is cut, restarted, gone back to or replayed.
//!
//! A root is in force once it is durable and the planner has it. The keeper is another
//! process, so it is judged from the moment when it has taken the last message that its
//! planner had to say in that very step, and not a message later: until then it cannot
//! know. It goes on knowing while its planner is away. A keeper that starts anew knows
//! nothing and calls nothing; it is judged by the root that its planner starts with, which
//! is an older one only where the disk has lost the newer (then the device cannot know).
//!
//! A document that would bring such a module back is judged when it is put in force, not
//! only when a tick falls into the moment before it is stopped again. Names and releases
//! are those inside the modules, not what a document says of them.

use gnomon_schemas::document::Document;
use gnomon_schemas::ids::{Digest, ModuleName};
use gnomon_schemas::trust::TrustRoot;
use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, must};
use crate::swarm::facts::Fact;
use crate::swarm::library::Library;

/// What a root recalls.
#[derive(Debug, Clone, Default)]
struct Rules {
    version: u64,
    modules: BTreeSet<Digest>,
}

#[derive(Default)]
struct Device {
    /// Those of the root that its planner has.
    in_force: Rules,
    /// Those that its keeper must know.
    heard: Option<Rules>,
}

/// What the modules of the fleet say of themselves.
pub(super) struct Releases(BTreeMap<Digest, (ModuleName, u64)>);

impl Releases {
    pub(super) fn of(library: &Library) -> Releases {
        let of = |bytes: &[u8]| {
            let manifest = gnomon_host::manifest(bytes)?;
            Some((Digest::of(bytes), (manifest.name, manifest.release_counter)))
        };
        Releases(library.modules.iter().filter_map(|module| of(&module.bytes)).collect())
    }

    /// The modules that this root recalls.
    pub(super) fn recalled_by(&self, root: &TrustRoot) -> BTreeSet<Digest> {
        let is_old = |(name, counter): &(ModuleName, u64)| {
            root.release_counter_min.get(name).is_some_and(|min| counter < min)
        };
        let old = self.0.iter().filter(|(_, release)| is_old(release));
        old.map(|(digest, _)| digest).chain(&root.denied).cloned().collect()
    }
}

pub(super) struct Recall {
    releases: Releases,
    devices: Vec<Device>,
}

impl Recall {
    pub(super) fn new(library: &Library, devices: usize) -> Recall {
        let devices = (0..devices).map(|_| Device::default()).collect();
        Recall { releases: Releases::of(library), devices }
    }

    fn check(&self, device: usize, module: &Digest, what: &str) -> Result<(), String> {
        let Some(heard) = &self.devices[device].heard else { return Ok(()) };
        must(!heard.modules.contains(module), || {
            let (module, version) = (module.short(), heard.version);
            format!("device {device}: {module} {what}, which trust root {version} recalls")
        })
    }

    fn check_document(&self, device: usize, document: &Document) -> Result<(), String> {
        let slots = document.functions.values().flat_map(|plan| plan.slots());
        let what = format!("comes into force with version {}", document.version);
        slots.into_iter().try_for_each(|slot| self.check(device, &slot.module, &what))
    }
}

impl Checker for Recall {
    fn name(&self) -> &'static str {
        "recall"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::KeeperStarted { device } => self.devices[*device] = Device::default(),
            Fact::RootInForce { device, root } => {
                let modules = self.releases.recalled_by(root);
                self.devices[*device].in_force = Rules { version: root.version, modules };
            }
            Fact::RootHeard { device } => {
                let known = &mut self.devices[*device];
                known.heard = Some(known.in_force.clone());
            }
            Fact::InForce { device, document, .. } => {
                return self.check_document(*device, document);
            }
            Fact::Called { device, record } => {
                return self.check(*device, &record.module, "is called");
            }
            _ => {}
        }
        Ok(())
    }
}
