//! Nothing unverified runs: what is in force was sealed by a director for this very
//! device, and what is called is in that document and was signed by the publisher.

use gnomon_schemas::document::Document;
use gnomon_schemas::ids::Digest;
use gnomon_schemas::results::SlotRole;
use std::collections::BTreeSet;

use super::{Checker, must};
use crate::swarm::facts::Fact;

pub(super) struct Trust {
    published: BTreeSet<Digest>,
    directed: BTreeSet<(String, Digest)>,
    /// By device, what may be called: every document that its keeper had in force, since a
    /// rollback leads back to one of them.
    in_force: Vec<Vec<Document>>,
}

impl Trust {
    pub(super) fn new(devices: usize) -> Trust {
        let (published, directed) = (BTreeSet::new(), BTreeSet::new());
        Trust { published, directed, in_force: vec![vec![]; devices] }
    }
}

impl Checker for Trust {
    fn name(&self) -> &'static str {
        "trust"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Published(module) => {
                self.published.insert((*module).clone());
                Ok(())
            }
            Fact::Directed { document, digest } => {
                self.directed.insert((document.device.to_string(), (*digest).clone()));
                Ok(())
            }
            Fact::InForce { device, document, digest } => {
                let own = format!("device-{device}");
                must(self.directed.contains(&(own, (*digest).clone())), || {
                    format!(
                        "device {device}: {} is in force, no director sealed it",
                        digest.short()
                    )
                })?;
                self.in_force[*device].push((*document).clone());
                Ok(())
            }
            Fact::KeeperStarted { device } => {
                self.in_force[*device].clear();
                Ok(())
            }
            Fact::Called { device, record } => {
                let module = &record.module;
                must(self.published.contains(module), || {
                    format!("device {device}: {} runs, no publisher signed it", module.short())
                })?;
                let names = |document: &Document| {
                    document.functions.get(&record.function).is_some_and(|plan| match record.role {
                        SlotRole::Active => {
                            plan.active.as_ref().is_some_and(|slot| slot.module == *module)
                        }
                        SlotRole::Candidate => {
                            plan.candidates.iter().any(|slot| slot.module == *module)
                        }
                    })
                };
                must(self.in_force[*device].iter().any(names), || {
                    format!("device {device}: {} runs, no document says so", module.short())
                })
            }
            _ => Ok(()),
        }
    }
}
