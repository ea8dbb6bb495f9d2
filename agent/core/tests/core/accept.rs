//! Steps 7 to 11 of verification, each by a document that fails it alone.

use gnomon_agent_core::Floor;
use gnomon_agent_core::accept::{Order, accept};
use gnomon_schemas::document::Document;
use gnomon_schemas::limits::VERSION_STEP_MAX;
use gnomon_schemas::profile::NarrowedBounds;
use gnomon_schemas::{Digest, Reason};
use serde_json::json;

use super::fixture::{DAY_MS, Fleet, NOW_MS, setpoint, version};

const NEWER: Result<Order, Reason> = Ok(Order::Newer);

fn judge(fleet: &Fleet, document: &Document, floor: Option<&Floor>) -> Result<Order, Reason> {
    let verified = fleet.verified(document);
    accept(&verified, &fleet.identity, &fleet.root, floor, NOW_MS).map_err(|error| error.reason)
}

/// What a change to an acceptable document leads to.
fn changed(change: impl Fn(&mut Document)) -> Result<Order, Reason> {
    let fleet = Fleet::new();
    let mut document = fleet.document_inline(5, b"module");
    assert_eq!(judge(&fleet, &document, None), NEWER, "acceptable before the change");
    change(&mut document);
    judge(&fleet, &document, None)
}

#[test]
fn the_address_must_be_this_device_of_this_fleet_with_this_profile() {
    let wrong_fleet = changed(|document| document.fleet = "other".parse().unwrap());
    assert_eq!(wrong_fleet, Err(Reason::WrongFleet));
    let wrong_device = changed(|document| document.device = "heater-002".parse().unwrap());
    assert_eq!(wrong_device, Err(Reason::WrongDevice));
    let wrong_profile = changed(|document| document.profile = Digest::of(b"other"));
    assert_eq!(wrong_profile, Err(Reason::WrongProfile));
}

#[test]
fn a_document_must_be_above_the_floor_but_the_accepted_one_is_idempotent() {
    let fleet = Fleet::new();
    let accepted = fleet.document(5);
    let floor = Floor::of(&fleet.verified(&accepted), 1);
    let at = |number| judge(&fleet, &fleet.document(number), Some(&floor));
    assert_eq!(at(6), NEWER);
    assert_eq!(at(5), Ok(Order::Same));
    assert_eq!(at(4), Err(Reason::Rollback));
    assert_eq!(at(1), Err(Reason::Rollback));
    let mut other = fleet.document(5);
    other.issued_at_ms += 1;
    assert_eq!(judge(&fleet, &other, Some(&floor)), Err(Reason::Equivocation));
}

#[test]
fn one_document_moves_the_version_only_so_far() {
    let fleet = Fleet::new();
    let floor = Floor::of(&fleet.verified(&fleet.document(5)), 1);
    let at = |number| judge(&fleet, &fleet.document(number), Some(&floor));
    assert_eq!(at(5 + VERSION_STEP_MAX), NEWER);
    assert_eq!(at(6 + VERSION_STEP_MAX), Err(Reason::FastForward));
}

#[test]
fn documents_are_ordered_by_epoch_before_version() {
    let mut fleet = Fleet::new();
    let floor = Floor::of(&fleet.verified(&fleet.document(5_000_000)), 1);
    let mut recovered = fleet.document(1);
    recovered.epoch = 2;
    // The director alone cannot raise the epoch: that would burn every version.
    assert_eq!(judge(&fleet, &recovered, Some(&floor)), Err(Reason::FastForward));
    fleet.root.epoch = 2;
    assert_eq!(judge(&fleet, &recovered, Some(&floor)), NEWER);
    assert_eq!(judge(&fleet, &fleet.document(5_000_001), Some(&floor)), Err(Reason::Rollback));
    let recovered = Floor::of(&fleet.verified(&recovered), 1);
    assert_eq!(judge(&fleet, &fleet.document(9), Some(&recovered)), Err(Reason::Rollback));
}

#[test]
fn an_expired_document_and_one_under_an_expired_root_are_refused() {
    assert_eq!(changed(|document| document.expires_at_ms = NOW_MS), Err(Reason::Expired));
    assert_eq!(changed(|document| document.expires_at_ms = NOW_MS + 1), NEWER);
    let mut fleet = Fleet::new();
    fleet.root.expires_at_ms = NOW_MS;
    assert_eq!(judge(&fleet, &fleet.document(1), None), Err(Reason::Expired));
}

#[test]
fn an_accepted_document_that_has_expired_since_is_still_the_same() {
    let fleet = Fleet::new();
    let document = fleet.document(5);
    let verified = fleet.verified(&document);
    let floor = Floor::of(&verified, 1);
    let late_ms = NOW_MS + 2 * DAY_MS;
    let order = accept(&verified, &fleet.identity, &fleet.root, Some(&floor), late_ms);
    assert_eq!(order, Ok(Order::Same));
}

#[test]
fn the_content_must_fit_the_profile() {
    let unknown = changed(|document| {
        let plan = document.functions[&setpoint()].clone();
        document.functions.insert("valve".parse().unwrap(), plan);
    });
    assert_eq!(unknown, Err(Reason::UnknownFunction));
    assert_eq!(changed(|document| document.modules.clear()), Err(Reason::ModuleMissing));
    let widened = changed(|document| {
        let plan = document.functions.get_mut(&setpoint()).unwrap();
        let bounds = NarrowedBounds { max: Some(71.0), ..NarrowedBounds::default() };
        plan.bounds.insert("setpoint_c".parse().unwrap(), bounds);
    });
    assert_eq!(widened, Err(Reason::BoundsWidened));
    let config = changed(|document| {
        document.config.insert("comfort_min_c".into(), json!(99));
    });
    assert_eq!(config, Err(Reason::ConfigInvalid));
    assert_eq!(changed(|document| document.version = version(6)), NEWER);
}
