//! What has failed is not tried again: a document that the device has durably given up
//! is never put in force once more.

use gnomon_schemas::ids::Digest;
use std::collections::BTreeSet;

use super::{Checker, must};
use crate::swarm::facts::Fact;

pub(super) struct Failures {
    devices: Vec<BTreeSet<Digest>>,
}

impl Failures {
    pub(super) fn new(devices: usize) -> Failures {
        Failures { devices: vec![BTreeSet::new(); devices] }
    }
}

impl Checker for Failures {
    fn name(&self) -> &'static str {
        "failures"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            // A store that was lost has forgotten; one that holds eight forgets the oldest.
            Fact::Held { device, held } => {
                self.devices[*device] = held.failures.iter().cloned().collect();
                Ok(())
            }
            Fact::InForce { device, digest, .. } => {
                must(!self.devices[*device].contains(*digest), || {
                    format!("device {device}: {} is tried again after it failed", digest.short())
                })
            }
            _ => Ok(()),
        }
    }
}
