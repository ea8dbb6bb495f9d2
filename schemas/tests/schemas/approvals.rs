//! What an approval covers, held against what a document permits: every single thing that
//! a covered document lets happen, the approval lets happen too.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

use super::fixture::{Signer, approval, approve, cases, document, role, seal, trust_root};
use gnomon_schemas::approval::{Approval, FunctionGrant, Grant, check};
use gnomon_schemas::document::{Document, FunctionPlan, OnExpiry, Slot};
use gnomon_schemas::ids::{FunctionName, SignalName};
use gnomon_schemas::profile::{Budget, NarrowedBounds};
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Reason};

/// Something that can happen on a device in one function.
#[derive(Debug, Clone, Copy)]
enum Happens {
    /// A module is called, in control or beside.
    Runs { module: usize, in_control: bool },
    /// An output reaches a value by a step.
    Reaches { output: usize, value: i8, step: i8 },
    /// A call takes this much.
    Takes { fuel: u64, memory_bytes: u64 },
    /// The document expires, and what runs goes on.
    GoesOn,
}

const MODULES: usize = 4;
const OUTPUTS: usize = 2;

/// All that can be told apart: one more than any bound on each side.
fn everything() -> Vec<Happens> {
    let mut all = vec![Happens::GoesOn];
    for module in 0..MODULES {
        all.extend([true, false].map(|in_control| Happens::Runs { module, in_control }));
    }
    for output in 0..OUTPUTS {
        for value in -3..=3 {
            all.extend((0..=4).map(|step| Happens::Reaches { output, value, step }));
        }
    }
    for fuel in 0..=4 {
        all.extend((0..=4).map(|memory_bytes| Happens::Takes { fuel, memory_bytes }));
    }
    all
}

fn module(number: usize) -> Digest {
    Digest::of(&[u8::try_from(number).unwrap()])
}

fn output(number: usize) -> SignalName {
    format!("output_{}", ["a", "b"][number]).parse().unwrap()
}

fn function(number: usize) -> FunctionName {
    ["dim", "heat"][number].parse().unwrap()
}

/// Whether bounds and budget let it happen.
fn within(
    bounds: &BTreeMap<SignalName, NarrowedBounds>,
    budget: Option<Budget>,
    it: Happens,
) -> bool {
    match it {
        Happens::Reaches { output: number, value, step } => {
            let bounds = bounds.get(&output(number)).copied().unwrap_or_default();
            let (value, step) = (f64::from(value), f64::from(step));
            bounds.min.is_none_or(|min| min <= value)
                && bounds.max.is_none_or(|max| value <= max)
                && bounds.max_step.is_none_or(|max| step <= max)
        }
        Happens::Takes { fuel, memory_bytes } => {
            budget.is_none_or(|b| fuel <= b.fuel && memory_bytes <= b.memory_bytes)
        }
        Happens::Runs { .. } | Happens::GoesOn => true,
    }
}

fn document_permits(document: &Document, plan: &FunctionPlan, it: Happens) -> bool {
    match it {
        Happens::Runs { module: number, in_control } => {
            let is = |slot: &Slot| slot.module == module(number);
            let beside = plan.candidates.iter().any(is);
            // What is in control may be called beside in the same document.
            if in_control { plan.active.as_ref().is_some_and(is) } else { beside }
        }
        Happens::GoesOn => document.on_expiry == OnExpiry::Hold,
        it => within(&plan.bounds, plan.budget, it),
    }
}

fn grant_permits(grant: &Grant, plan: &FunctionGrant, it: Happens) -> bool {
    match it {
        Happens::Runs { module: number, in_control } => {
            let active = plan.active.as_ref() == Some(&module(number));
            active || (!in_control && plan.candidates.contains(&module(number)))
        }
        Happens::GoesOn => grant.on_expiry == OnExpiry::Hold,
        it => within(&plan.bounds, plan.budget, it),
    }
}

fn bounds() -> impl Strategy<Value = BTreeMap<SignalName, NarrowedBounds>> {
    // Never empty: a document with nothing left is refused before anybody approves.
    let low = || proptest::option::of((-2_i8..=0).prop_map(f64::from));
    let high = || proptest::option::of((0_i8..=2).prop_map(f64::from));
    let step = || proptest::option::of((1_i8..=3).prop_map(f64::from));
    let one = (low(), high(), step()).prop_map(|(min, max, max_step)| NarrowedBounds {
        min,
        max,
        max_step,
    });
    proptest::collection::btree_map((0..OUTPUTS).prop_map(output), one, 0..=OUTPUTS)
}

fn budget() -> impl Strategy<Value = Option<Budget>> {
    let some =
        (1_u64..=3, 1_u64..=3).prop_map(|(fuel, memory_bytes)| Budget { fuel, memory_bytes });
    proptest::option::of(some)
}

fn on_expiry() -> impl Strategy<Value = OnExpiry> {
    prop_oneof![Just(OnExpiry::Hold), Just(OnExpiry::Default)]
}

fn plan() -> impl Strategy<Value = FunctionPlan> {
    let slot = || (0..MODULES).prop_map(|n| Slot { module: module(n), params: Values::new() });
    let candidates = proptest::collection::vec(slot(), 0..3);
    (proptest::option::of(slot()), candidates, bounds(), budget()).prop_map(
        |(active, candidates, bounds, budget)| FunctionPlan {
            active,
            candidates,
            bounds,
            budget,
            ..FunctionPlan::default()
        },
    )
}

fn some_document() -> impl Strategy<Value = Document> {
    let plans = proptest::collection::btree_map((0..2_usize).prop_map(function), plan(), 0..=2);
    (plans, on_expiry()).prop_map(|(functions, on_expiry)| Document {
        functions,
        on_expiry,
        approvals: vec![],
        ..document()
    })
}

fn some_grant() -> impl Strategy<Value = Grant> {
    some_document().prop_map(|document| {
        let functions = document.functions.into_iter().map(|(name, plan)| {
            let candidates = plan.candidates.into_iter().map(|slot| slot.module).collect();
            let active = plan.active.map(|slot| slot.module);
            (name, FunctionGrant { active, candidates, bounds: plan.bounds, budget: plan.budget })
        });
        let functions = functions.collect();
        Grant { profile: document.profile, on_expiry: document.on_expiry, functions }
    })
}

/// Often close to the document's own grant, so that many are covered.
fn pair() -> impl Strategy<Value = (Document, Grant)> {
    (some_document(), some_grant(), any::<[bool; 4]>()).prop_map(|(document, other, take)| {
        let mut grant = Grant::of(&document);
        for (name, plan) in &mut grant.functions {
            let Some(from) = other.functions.get(name).cloned() else { continue };
            let [active, candidates, bounds, budget] = take;
            if active {
                plan.active = from.active;
            }
            if candidates {
                plan.candidates.extend(from.candidates);
            }
            if bounds {
                plan.bounds = from.bounds;
            }
            if budget {
                plan.budget = from.budget;
            }
        }
        grant.on_expiry = other.on_expiry;
        (document, grant)
    })
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn a_document_that_is_covered_is_never_freer_than_the_approval((document, grant) in pair()) {
        let wanted = Grant::of(&document);
        let approval = Approval { grant: grant.clone(), devices: None, ..approval(&document) };
        let granted = approval.grants(&wanted, &document.device, &trust_root());
        for name in wanted.functions.keys() {
            let plan = &document.functions[name];
            let freer = everything().into_iter().find(|it| {
                document_permits(&document, plan, *it)
                    && !grant.functions.get(name).is_some_and(|g| grant_permits(&grant, g, *it))
            });
            // Both ways: what is not freer needs nobody again.
            prop_assert_eq!(granted.contains(name), freer.is_none(), "{}: {:?}", name, freer);
        }
    }

    #[test]
    fn a_document_without_modules_needs_nobody(mut document in some_document()) {
        for plan in document.functions.values_mut() {
            plan.active = None;
            plan.candidates.clear();
        }
        prop_assert!(Grant::of(&document).is_empty());
        prop_assert_eq!(check(&document, &trust_root()), Ok(()));
    }
}

/// The example document under these approvals.
fn judged(approvals: Vec<gnomon_schemas::envelope::Envelope>) -> Result<(), Reason> {
    let document = Document { approvals, ..document() };
    check(&document, &trust_root()).map_err(|refusal| refusal.reason)
}

#[test]
fn an_approval_counts_for_its_fleet_devices_profile_and_time_only() {
    let good = approval(&document());
    assert_eq!(judged(vec![approve(&good)]), Ok(()));
    assert_eq!(judged(vec![]), Err(Reason::ApprovalMissing));
    let other_devices = BTreeSet::from(["other".parse().unwrap()]);
    let mut elsewhere = good.clone();
    elsewhere.grant.profile = Digest::of(b"another profile");
    let spoilt = [
        Approval { fleet: "other".parse().unwrap(), ..good.clone() },
        Approval { devices: Some(other_devices), ..good.clone() },
        elsewhere,
    ];
    for approval in spoilt {
        assert_eq!(judged(vec![approve(&approval)]), Err(Reason::ApprovalMissing), "{approval:?}");
    }
    let mut root = trust_root();
    root.approved_after_ms = good.approved_at_ms + 1;
    let document = Document { approvals: vec![approve(&good)], ..document() };
    let late = check(&document, &root).map_err(|refusal| refusal.reason);
    assert_eq!(late, Err(Reason::ApprovalMissing));
}

#[test]
fn an_approval_that_the_director_signed_spoils_the_document() {
    let payload = serde_json::to_vec(&approval(&document())).unwrap();
    for name in ["director", "publisher", "stranger"] {
        let forged = seal::<Approval>(&payload, &[&Signer::named(name)]);
        assert_eq!(judged(vec![forged]), Err(Reason::ThresholdNotMet), "{name}");
    }
    let mut root = trust_root();
    root.roles.approver = role(&[&Signer::named("approver"), &Signer::named("second")], 2);
    let one = Document { approvals: vec![approve(&approval(&document()))], ..document() };
    let refused = check(&one, &root).map_err(|refusal| refusal.reason);
    assert_eq!(refused, Err(Reason::ThresholdNotMet));
}
