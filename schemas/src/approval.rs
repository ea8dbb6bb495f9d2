//! Approvals: what a second person has signed for. A document that brings a module
//! or loosens anything must lie within one; one that only changes config need not
//! be approved anew, since what was approved still covers it.
//!
//! An approval names what may run and how freely, not a document: one signature
//! serves all versions and devices of a change. Who approves, and when a person is
//! asked, is not known here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Document, FunctionPlan, OnExpiry};
use crate::envelope::Payload;
use crate::ids::{DeviceId, Digest, FleetId, FunctionName, SignalName};
use crate::limits::{APPROVAL_BYTES_MAX, APPROVAL_DEVICES_MAX, APPROVALS_MAX};
use crate::profile::{Budget, NarrowedBounds};
use crate::reason::{Reason, Refusal};
use crate::trust::TrustRoot;
use crate::verify::verify_envelope;

/// What an approver signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Always `gnomon.approval.v1`.
    pub schema: ApprovalSchema,
    /// The fleet.
    pub fleet: FleetId,
    /// The devices that it is for; absent for every device of the fleet that has
    /// the grant's profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub devices: Option<BTreeSet<DeviceId>>,
    /// When it was given (Unix time, ms).
    pub approved_at_ms: u64,
    /// What is approved.
    pub grant: Grant,
}

/// The schema name of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalSchema {
    /// Version 1.
    #[serde(rename = "gnomon.approval.v1")]
    V1,
}

impl Payload for Approval {
    const PAYLOAD_TYPE: &'static str = "application/vnd.gnomon.approval.v1+json";
    const ENVELOPE_BYTES_MAX: usize = APPROVAL_BYTES_MAX;
}

/// What may run, and how freely: the part of a document that needs a second person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The profile that the functions are of.
    pub profile: Digest,
    /// What happens on expiry: `default` grants documents that say so too, `hold` both.
    pub on_expiry: OnExpiry,
    /// By function: which modules, within which bounds and budget.
    pub functions: BTreeMap<FunctionName, FunctionGrant>,
}

/// What may run as one function, and how freely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionGrant {
    /// The module that may be in control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Digest>,
    /// The modules that may run beside it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub candidates: BTreeSet<Digest>,
    /// Bounds that documents must keep at least as narrow, by output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bounds: BTreeMap<SignalName, NarrowedBounds>,
    /// A budget that documents may not exceed; absent for the profile's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

impl Grant {
    /// What this document needs to be granted; no function if it needs nothing.
    pub fn of(document: &Document) -> Grant {
        let needs = document.functions.iter().filter(|(_, plan)| plan.slots().next().is_some());
        Grant {
            profile: document.profile.clone(),
            on_expiry: document.on_expiry,
            functions: needs.map(|(name, plan)| (name.clone(), FunctionGrant::of(plan))).collect(),
        }
    }

    /// Whether anything needs to be granted.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The digest by which people name it: of its JSON, keys in order.
    pub fn digest(&self) -> Digest {
        // Strings, numbers, maps and sets always have a JSON form.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether `wanted`, as this function on a device of this profile, lies within it.
    fn covers(&self, wanted: &Grant, function: &FunctionName) -> bool {
        let on_expiry = self.on_expiry == OnExpiry::Hold || wanted.on_expiry == OnExpiry::Default;
        let both = self.functions.get(function).zip(wanted.functions.get(function));
        self.profile == wanted.profile
            && on_expiry
            && both.is_some_and(|(granted, wanted)| granted.covers(wanted))
    }
}

impl FunctionGrant {
    fn of(plan: &FunctionPlan) -> FunctionGrant {
        FunctionGrant {
            active: plan.active.as_ref().map(|slot| slot.module.clone()),
            candidates: plan.candidates.iter().map(|slot| slot.module.clone()).collect(),
            bounds: plan.bounds.clone(),
            budget: plan.budget,
        }
    }

    fn covers(&self, wanted: &FunctionGrant) -> bool {
        let active = wanted.active.is_none() || wanted.active == self.active;
        // What may be in control may also run beside.
        let candidates = wanted
            .candidates
            .iter()
            .all(|module| self.candidates.contains(module) || self.active.as_ref() == Some(module));
        let bounds = self.bounds.iter().all(|(output, granted)| {
            let wanted = wanted.bounds.get(output).copied().unwrap_or_default();
            within(wanted, *granted)
        });
        let budget = self.budget.is_none_or(|granted| {
            wanted.budget.is_some_and(|wanted| {
                wanted.fuel <= granted.fuel && wanted.memory_bytes <= granted.memory_bytes
            })
        });
        active && candidates && bounds && budget
    }
}

/// Whether `wanted` narrows at least as much as `granted`, in each of the three.
fn within(wanted: NarrowedBounds, granted: NarrowedBounds) -> bool {
    let at_most = |granted: Option<f64>, wanted: Option<f64>| {
        granted.is_none_or(|granted| wanted.is_some_and(|wanted| wanted <= granted))
    };
    let at_least = granted.min.is_none_or(|min| wanted.min.is_some_and(|wanted| wanted >= min));
    at_least && at_most(granted.max, wanted.max) && at_most(granted.max_step, wanted.max_step)
}

impl Approval {
    /// Whether it is for this device of this fleet and counts under this root.
    fn is_for(&self, device: &DeviceId, root: &TrustRoot) -> bool {
        self.fleet == root.fleet
            && self.devices.as_ref().is_none_or(|devices| devices.contains(device))
            && self.approved_at_ms >= root.approved_after_ms
    }

    /// Which functions of `wanted` it grants to this device.
    pub fn grants<'a>(
        &self,
        wanted: &'a Grant,
        device: &DeviceId,
        root: &TrustRoot,
    ) -> BTreeSet<&'a FunctionName> {
        if !self.is_for(device, root) {
            return BTreeSet::new();
        }
        wanted.functions.keys().filter(|function| self.grant.covers(wanted, function)).collect()
    }

    /// Whether it keeps its own caps.
    ///
    /// # Errors
    /// [`Reason::TooLarge`], or [`Reason::SchemaViolation`] when it names no device.
    pub fn check(&self) -> Result<(), Refusal> {
        match self.devices.as_ref().map(BTreeSet::len) {
            Some(0) => Err(Refusal::new(Reason::SchemaViolation, "approval: names no device")),
            Some(named) if named > APPROVAL_DEVICES_MAX => {
                let detail = format!("approval: {named} devices, at most {APPROVAL_DEVICES_MAX}");
                Err(Refusal::new(Reason::TooLarge, detail))
            }
            _ => Ok(()),
        }
    }
}

/// Step 12 of verification: whether approvers have signed for what the document
/// brings and loosens.
///
/// # Errors
/// That of the first approval that does not verify; [`Reason::ApprovalMissing`]
/// naming what no approval covers.
pub fn check(document: &Document, root: &TrustRoot) -> Result<(), Refusal> {
    if document.approvals.len() > APPROVALS_MAX {
        let detail = format!("{} approvals, at most {APPROVALS_MAX}", document.approvals.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    let wanted = Grant::of(document);
    let mut granted = BTreeSet::new();
    for (index, envelope) in document.approvals.iter().enumerate() {
        let at = |refusal: Refusal| refusal.at(format!("approvals[{index}]"));
        let approval = verify_envelope::<Approval>(envelope, &root.roles.approver)
            .map_err(|error| at(error.into()))?;
        approval.payload().check().map_err(at)?;
        granted.extend(approval.payload().grants(&wanted, &document.device, root));
    }
    let Some(missing) = wanted.functions.keys().find(|name| !granted.contains(name)) else {
        return Ok(());
    };
    let plan = &wanted.functions[missing];
    let modules: Vec<&str> =
        plan.active.iter().chain(&plan.candidates).map(Digest::short).collect();
    let detail = format!(
        "functions.{missing}: {} with these bounds and budget on this device, in {} approvals",
        modules.join(", "),
        document.approvals.len()
    );
    Err(Refusal::new(Reason::ApprovalMissing, detail))
}
