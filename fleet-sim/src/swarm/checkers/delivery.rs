//! Each batch that a device has kept is stored by the cloud, once and as it was, and is
//! deleted on the device only after that.

use gnomon_schemas::ids::{BootId, Digest};
use gnomon_schemas::results::Results;
use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, must};
use crate::swarm::facts::Fact;

type Key = (usize, BootId, u64);

#[derive(Default)]
pub(super) struct Delivery {
    /// What was kept, and neither lost with its disk nor stored yet.
    owed: BTreeMap<Key, Digest>,
    stored: BTreeSet<Key>,
    /// What was stored, in a store that was set back since.
    forgotten: BTreeSet<Key>,
}

fn digest(results: &Results) -> Digest {
    // What was dropped before it is told by whoever sends it.
    let plain =
        Results { dropped_batches: 0, dropped_by_class: BTreeMap::new(), ..results.clone() };
    Digest::of(&serde_json::to_vec(&plain).unwrap_or_default())
}

impl Checker for Delivery {
    fn name(&self) -> &'static str {
        "delivery"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Kept { device, results } => {
                let key = (*device, results.boot.clone(), results.sequence);
                let sequence = results.sequence;
                must(self.owed.insert(key, digest(results)).is_none(), || {
                    format!("device {device}: two batches have number {sequence}")
                })
            }
            Fact::Stored { device, results } => {
                let key = (*device, results.boot.clone(), results.sequence);
                let sequence = results.sequence;
                must(self.stored.insert(key.clone()), || {
                    format!("device {device}: batch {sequence} is stored twice")
                })?;
                match self.owed.remove(&key) {
                    Some(kept) => must(kept == digest(results), || {
                        format!("device {device}: batch {sequence} is stored as another")
                    }),
                    // Sent again after the cloud had forgotten it, or by a disk set back.
                    None => Ok(()),
                }
            }
            Fact::Deleted { device, boot, sequence } => {
                let key = (*device, (*boot).clone(), *sequence);
                must(self.stored.contains(&key) || self.forgotten.contains(&key), || {
                    format!("device {device}: batch {sequence} is deleted, and stored nowhere")
                })
            }
            Fact::OutboxLost { device, left } => {
                self.owed.retain(|(of, boot, number), _| {
                    of != device || left.contains(&(boot.clone(), *number))
                });
                Ok(())
            }
            Fact::CloudRestored { left } => {
                let gone = self.stored.iter().filter(|key| !left.contains(*key)).cloned();
                self.forgotten.extend(gone.collect::<Vec<_>>());
                self.stored.retain(|key| left.contains(key));
                Ok(())
            }
            Fact::Settled { .. } => must(self.owed.is_empty(), || {
                let first = self.owed.keys().next();
                format!("{} batches were kept and never stored: {first:?}", self.owed.len())
            }),
            _ => Ok(()),
        }
    }
}
