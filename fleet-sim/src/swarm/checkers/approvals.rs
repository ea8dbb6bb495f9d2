//! Nothing unapproved reaches a device: every module in a document in force was named by
//! an approver for that function and device, in control only where it was so named.

use gnomon_schemas::approval::Approval;
use gnomon_schemas::ids::{Digest, FunctionName};

use super::{Checker, must};
use crate::swarm::facts::Fact;

#[derive(Default)]
pub(super) struct Approvals {
    given: Vec<Approval>,
}

impl Approvals {
    fn names(&self, device: &str, function: &FunctionName, module: &Digest, active: bool) -> bool {
        self.given.iter().any(|approval| {
            let is_for = |devices: &std::collections::BTreeSet<_>| {
                devices.iter().any(|name: &gnomon_schemas::DeviceId| name.as_str() == device)
            };
            let functions = &approval.grant.functions;
            approval.devices.as_ref().is_none_or(is_for)
                && functions.get(function).is_some_and(|grant| {
                    grant.active.as_ref() == Some(module)
                        || (!active && grant.candidates.contains(module))
                })
        })
    }
}

impl Checker for Approvals {
    fn name(&self) -> &'static str {
        "approvals"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Approved(approval) => {
                self.given.push((*approval).clone());
                Ok(())
            }
            Fact::InForce { document, .. } => {
                for (function, plan) in &document.functions {
                    let active = plan.active.iter().map(|slot| (slot, true));
                    let beside = plan.candidates.iter().map(|slot| (slot, false));
                    for (slot, is_active) in active.chain(beside) {
                        let device = document.device.as_str();
                        must(self.names(device, function, &slot.module, is_active), || {
                            let module = slot.module.short();
                            format!("{device}: {module} is in force, nobody approved it")
                        })?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
