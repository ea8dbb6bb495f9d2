//! Counts add up: what a keeper tells of a module is what it was called for, neither more
//! nor less, and each summary comes into an outbox once.

use gnomon_schemas::histogram::Histogram;
use gnomon_schemas::ids::{Digest, FunctionName};
use gnomon_schemas::reason::Reason;
use gnomon_schemas::results::{Record, SlotRole, Summary};
use std::collections::BTreeMap;

use super::{Checker, must};
use crate::swarm::facts::Fact;

type Slot = (FunctionName, Digest, SlotRole);

#[derive(Debug, Clone, Default, PartialEq)]
struct Count {
    evaluations: u64,
    faults: BTreeMap<Reason, u64>,
    fuel: Histogram,
}

impl Count {
    fn call(&mut self, record: &Record) {
        match record.fault {
            None => self.evaluations += 1,
            Some(reason) => *self.faults.entry(reason).or_default() += 1,
        }
        if let Some(fuel) = record.fuel {
            self.fuel.record(fuel);
        }
    }

    fn add(&mut self, summary: &Summary) {
        self.evaluations += summary.evaluations;
        for (reason, count) in &summary.faults {
            *self.faults.entry(*reason).or_default() += count;
        }
        self.fuel.merge(&summary.fuel);
    }
}

pub(super) struct Metering {
    called: Vec<BTreeMap<Slot, Count>>,
    /// Summaries that were told, and are in no outbox yet: how many of each.
    told: Vec<BTreeMap<String, u32>>,
}

impl Metering {
    pub(super) fn new(devices: usize) -> Metering {
        Metering { called: vec![BTreeMap::new(); devices], told: vec![BTreeMap::new(); devices] }
    }
}

fn text(summary: &Summary) -> String {
    serde_json::to_string(summary).unwrap_or_default()
}

impl Checker for Metering {
    fn name(&self) -> &'static str {
        "metering"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            // What it has counted is gone with it.
            Fact::KeeperStarted { device } => {
                self.called[*device].clear();
                self.told[*device].clear();
                Ok(())
            }
            Fact::Called { device, record } => {
                let slot = (record.function.clone(), record.module.clone(), record.role);
                self.called[*device].entry(slot).or_default().call(record);
                Ok(())
            }
            Fact::Told { device, done } => {
                let mut told: BTreeMap<Slot, Count> = BTreeMap::new();
                for summary in &done.summaries {
                    *self.told[*device].entry(text(summary)).or_default() += 1;
                    if let Some(module) = &summary.module {
                        let slot = (summary.function.clone(), module.clone(), summary.role);
                        told.entry(slot).or_default().add(summary);
                    }
                }
                for (slot, count) in told {
                    let called = self.called[*device].remove(&slot).unwrap_or_default();
                    must(called == count, || {
                        let module = slot.1.short();
                        format!(
                            "device {device}: {module} was called {called:?}, told is {count:?}"
                        )
                    })?;
                }
                Ok(())
            }
            Fact::Kept { device, results } => {
                for summary in &results.summaries {
                    let (told, text) = (&mut self.told[*device], text(summary));
                    let left = told.get(&text).copied().unwrap_or(0);
                    must(left > 0, || {
                        let ticks = summary.ticks;
                        format!("device {device}: a summary of {ticks} ticks is kept twice")
                    })?;
                    told.insert(text.clone(), left - 1);
                    told.retain(|_, left| *left > 0);
                }
                Ok(())
            }
            Fact::Settled { .. } => {
                for (device, told) in self.told.iter().enumerate() {
                    must(told.is_empty(), || {
                        format!("device {device}: {} summaries were told and not kept", told.len())
                    })?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
