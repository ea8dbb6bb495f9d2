//! Expiry where two documents meet: each goes by its own, and by nothing else.

use super::bench::{Bench, names};
use super::fixture::{DAY_MS, Fleet, session};
use gnomon_agent_core::{Event, Monotonic};
use gnomon_schemas::document::{Document, OnExpiry};
use gnomon_schemas::{Reason, Refusal};

/// A document that expires after a day and says `default`.
fn mortal(fleet: &Fleet, number: u64, bytes: &[u8]) -> Document {
    Document { on_expiry: OnExpiry::Default, ..fleet.document_inline(number, bytes) }
}

fn are_defaults_told(bench: &mut Bench, event: Event) -> bool {
    names(&bench.hear(event)).contains(&"defaults".into())
}

#[test]
fn the_expiry_of_one_document_does_not_stop_the_next() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.prove(&fleet, &mortal(&fleet, 1, b"old"));
    let mut next = fleet.document_inline(2, b"new");
    next.expires_at_ms += DAY_MS;
    bench.hear_document(&fleet, &next);
    bench.hear(fleet.prepared(&next));
    bench.hear(fleet.persisted(&next));
    // The keeper has been told to put it in force, and may have done so.
    bench.now = Monotonic(DAY_MS);
    assert!(!are_defaults_told(&mut bench, Event::Clock), "they would meet the next one");
    assert!(!are_defaults_told(&mut bench, fleet.activated(&next)));
}

#[test]
fn what_the_store_holds_expires_before_the_keeper_has_answered_for_it() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = mortal(&fleet, 1, b"old");
    bench.prove(&fleet, &document);
    // Another planner, before the same keeper, which goes on and has no time for it.
    let root = fleet.first_root.clone();
    let mut next = Bench::idle(&fleet, &root, &session(1), bench.stored);
    let stored = next.stored.clone();
    next.hear(Event::Started(stored));
    let busy = Refusal::new(Reason::Unavailable, "busy");
    next.hear(fleet.not_prepared(&document, busy));
    next.now = Monotonic(DAY_MS - 1);
    assert!(!are_defaults_told(&mut next, Event::Clock), "not yet");
    next.hear(fleet.not_prepared(&document, Refusal::new(Reason::Unavailable, "busy")));
    next.now = Monotonic(DAY_MS);
    assert!(are_defaults_told(&mut next, Event::Clock));
    assert!(!are_defaults_told(&mut next, Event::Clock), "said once");
}

#[test]
fn what_is_gone_back_to_goes_by_its_own_expiry_with_another_on_its_way() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let good = mortal(&fleet, 1, b"good");
    bench.prove(&fleet, &good);
    let held = fleet.document_inline(2, b"new");
    bench.run_document(&fleet, &held);
    let mut third = fleet.document_with(3, b"third");
    third.expires_at_ms += DAY_MS;
    bench.hear_document(&fleet, &third);
    bench.now = Monotonic(DAY_MS);
    // It says hold. (The first look is at the third, whose module has never come.)
    assert!(!are_defaults_told(&mut bench, Event::Clock));
    bench.hear_document(&fleet, &third);
    assert!(!are_defaults_told(&mut bench, Event::Clock));
    assert!(are_defaults_told(&mut bench, fleet.rolled_back(&held, Some(&good))));
}
