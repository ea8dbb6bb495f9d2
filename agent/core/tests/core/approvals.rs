//! Two signatures for new code: what a document brings or loosens must lie within
//! what an approver has signed; config alone is the director's.

use super::bench::{Bench, reasons};
use super::fixture::{Fleet, Signer, seal_by, setpoint, version};
use gnomon_agent_core::Event;
use gnomon_schemas::approval::Approval;
use gnomon_schemas::document::{Document, OnExpiry, Slot};
use gnomon_schemas::profile::{Budget, NarrowedBounds};
use gnomon_schemas::reported::State;
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Reason};

const MODULE: &[u8] = b"a module";
const OTHER: &[u8] = b"another module";

fn give(fleet: &Fleet, document: &Document) -> (Vec<Reason>, State) {
    let mut bench: Bench = fleet.bench();
    let effects = bench.run(Event::Document(fleet.seal(document)));
    (reasons(&effects), bench.state().0)
}

/// A document with a module, narrowed bounds and budget, and on_expiry default.
fn narrow(fleet: &Fleet, number: u64) -> Document {
    let mut document = fleet.document_inline(number, MODULE);
    document.on_expiry = OnExpiry::Default;
    let plan = document.functions.get_mut(&setpoint()).unwrap();
    let bounds = NarrowedBounds { min: Some(45.0), max: Some(60.0), max_step: None };
    plan.bounds.insert("setpoint_c".parse().unwrap(), bounds);
    plan.budget = Some(Budget { fuel: 1000, memory_bytes: 65_536 });
    document
}

#[test]
fn the_director_alone_brings_no_module_and_the_approver_alone_nothing_at_all() {
    let fleet = Fleet::new();
    let document = fleet.document_inline(1, MODULE);
    assert_eq!(give(&fleet, &document).0, [Reason::ApprovalMissing]);
    assert_eq!(give(&fleet, &fleet.approved(&document)), (vec![], State::InSync));
    let by_approver = seal_by(&fleet.approver, &fleet.approved(&document));
    let effects = fleet.bench().run(Event::Document(by_approver));
    assert_eq!(reasons(&effects), [Reason::ThresholdNotMet]);
}

#[test]
fn a_document_without_modules_needs_the_director_alone() {
    let fleet = Fleet::new();
    let mut document = fleet.document(1);
    document.config.insert("comfort_min_c".into(), 44.into());
    assert_eq!(give(&fleet, &document), (vec![], State::InSync));
}

#[test]
fn a_change_of_config_or_params_goes_on_under_the_approval_that_there_is() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let first = fleet.approved(&fleet.document_inline(1, MODULE));
    bench.run(Event::Document(fleet.seal(&first)));
    let mut second = first.clone();
    second.version = version(2);
    second.config.insert("comfort_min_c".into(), 44.into());
    assert_eq!(reasons(&bench.run(Event::Document(fleet.seal(&second)))), []);
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
}

#[test]
fn an_approval_is_bound_to_what_was_approved() {
    let fleet = Fleet::new();
    let base = fleet.approved(&narrow(&fleet, 1));
    assert_eq!(give(&fleet, &base), (vec![], State::InSync));
    let refused = |change: &dyn Fn(&mut Document)| {
        let mut document = base.clone();
        change(&mut document);
        let (reasons, _) = give(&fleet, &document);
        assert_eq!(reasons, [Reason::ApprovalMissing]);
    };
    let output = || "setpoint_c".parse().unwrap();
    let plan = |document: &mut Document| document.functions.remove(&setpoint()).unwrap();
    let listed = fleet.document_inline(1, OTHER).modules;
    let slot = || Slot { module: Digest::of(OTHER), params: Values::new() };
    // Another module in control, and another one beside it.
    refused(&|document| {
        let mut next = plan(document);
        next.active = Some(slot());
        document.functions.insert(setpoint(), next);
        document.modules.extend(listed.clone());
    });
    refused(&|document| {
        let mut next = plan(document);
        next.candidates.push(slot());
        document.functions.insert(setpoint(), next);
        document.modules.extend(listed.clone());
    });
    // Wider bounds, none, a greater budget, none, and running on after expiry.
    refused(&|document| {
        let mut next = plan(document);
        next.bounds.get_mut(&output()).unwrap().max = Some(61.0);
        document.functions.insert(setpoint(), next);
    });
    refused(&|document| {
        let mut next = plan(document);
        next.bounds.clear();
        document.functions.insert(setpoint(), next);
    });
    refused(&|document| {
        let mut next = plan(document);
        next.budget = Some(Budget { fuel: 1001, memory_bytes: 65_536 });
        document.functions.insert(setpoint(), next);
    });
    refused(&|document| {
        let mut next = plan(document);
        next.budget = None;
        document.functions.insert(setpoint(), next);
    });
    refused(&|document| document.on_expiry = OnExpiry::Hold);
}

#[test]
fn tightening_needs_nobody_else() {
    let fleet = Fleet::new();
    let approved = fleet.approved(&narrow(&fleet, 1));
    let mut tighter = approved.clone();
    let plan = tighter.functions.get_mut(&setpoint()).unwrap();
    let bounds = plan.bounds.get_mut(&"setpoint_c".parse().unwrap()).unwrap();
    (bounds.max, bounds.max_step) = (Some(55.0), Some(1.0));
    assert_eq!(give(&fleet, &tighter), (vec![], State::InSync));
    // Out of control and beside: less than what was granted.
    let plan = tighter.functions.get_mut(&setpoint()).unwrap();
    plan.candidates = plan.active.take().into_iter().collect();
    assert_eq!(give(&fleet, &tighter), (vec![], State::InSync));
}

#[test]
fn an_approval_is_for_its_fleet_its_devices_its_profile_and_its_time() {
    let fleet = Fleet::new();
    let document = fleet.document_inline(1, MODULE);
    let with = |change: &dyn Fn(&mut Approval)| {
        let mut approval = fleet.approval(&document);
        change(&mut approval);
        let mut document = document.clone();
        document.approvals = vec![fleet.approve(&approval)];
        give(&fleet, &document).0
    };
    let named = |name: &str| Some([name.parse().unwrap()].into());
    assert_eq!(with(&|approval| approval.devices = named("heater-001")), []);
    let missing = [Reason::ApprovalMissing];
    assert_eq!(with(&|approval| approval.devices = named("heater-002")), missing);
    assert_eq!(with(&|approval| approval.fleet = "other".parse().unwrap()), missing);
    assert_eq!(with(&|approval| approval.grant.profile = Digest::of(b"other")), missing);
    assert_eq!(
        with(&|approval| approval.devices = Some([].into())),
        [Reason::SchemaViolation],
        "an approval that names no device is not one for all"
    );
    let mut later = Fleet { root: fleet.root.clone(), ..Fleet::new() };
    later.root.approved_after_ms = super::fixture::NOW_MS + 1;
    let effects = later.bench().run(Event::Document(fleet.seal(&fleet.approved(&document))));
    assert_eq!(reasons(&effects), missing, "approvals before a recall count no more");
}

#[test]
fn an_approval_by_another_key_of_another_kind_or_changed_is_refused() {
    let fleet = Fleet::new();
    let document = fleet.document_inline(1, MODULE);
    let approval = fleet.approval(&document);
    for signer in [&fleet.director, &fleet.publisher, &fleet.root_key, &Signer::ed25519()] {
        let mut document = document.clone();
        let envelope = serde_json::from_slice(&seal_by(signer, &approval)).unwrap();
        document.approvals = vec![envelope];
        assert_eq!(give(&fleet, &document).0, [Reason::ThresholdNotMet]);
    }
    let mut document = document.clone();
    // The approver's signature over something else than an approval.
    let other = serde_json::from_slice(&seal_by(&fleet.approver, &fleet.document(1))).unwrap();
    document.approvals = vec![other];
    assert_eq!(give(&fleet, &document).0, [Reason::WrongPayloadType]);
    let mut stripped = fleet.approve(&approval);
    stripped.signatures.clear();
    document.approvals = vec![stripped];
    assert_eq!(give(&fleet, &document).0, [Reason::ThresholdNotMet]);
    document.approvals = vec![fleet.approve(&approval); 17];
    assert_eq!(give(&fleet, &document).0, [Reason::TooLarge]);
}
