//! What the store held is verified anew; what cannot be trusted does not act, and
//! what was damaged comes back from the cloud.

use gnomon_agent_core::agent::{AGAIN_AFTER_MS, KEEP_TIME_MS};
use gnomon_agent_core::{Effect, Event, Monotonic, Stored};
use gnomon_schemas::document::{Document, OnExpiry};
use gnomon_schemas::reported::State;
use gnomon_schemas::{Digest, Reason, Refusal};

use super::bench::{Bench, names, reasons};
use super::fixture::{DAY_MS, Fleet, NOW_MS, session, version};

const MODULE: &[u8] = b"module";

/// The store after version 1 with a module came into force.
fn store(fleet: &Fleet) -> Stored {
    store_of(fleet, &fleet.document_with(1, MODULE))
}

fn store_of(fleet: &Fleet, document: &Document) -> Stored {
    let mut bench = fleet.bench();
    bench.run_document(fleet, document);
    bench.run(Event::Module(Digest::of(MODULE), MODULE.to_vec()));
    assert_eq!(bench.state(), (State::InSync, Some(version(1))));
    bench.stored
}

#[test]
fn a_restart_goes_on_with_what_is_stored_and_writes_nothing() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench_from(store(&fleet));
    let expected = ["prepare 1", "report Pending", "activate 1", "report InSync"];
    assert_eq!(names(&bench.started), expected);
    assert_eq!(bench.state(), (State::InSync, Some(version(1))));
}

/// Found by the simulator: the older document, once it was in force again, made the newer
/// one be forgotten until the next connection.
#[test]
fn a_newer_document_that_the_keeper_had_no_time_for_is_tried_again_after_the_stored_one() {
    let fleet = Fleet::new();
    let mut bench = Bench::idle(&fleet, &fleet.root, &session(1), Stored::default());
    let (stored, newer) = (fleet.document_with(1, MODULE), fleet.document_inline(2, b"newer"));
    let busy = || Refusal::new(Reason::Unavailable, "no time");
    bench.hear(Event::Started(store_of(&fleet, &stored)));
    bench.hear_document(&fleet, &newer);
    let effects = bench.hear(fleet.not_prepared(&stored, busy()));
    assert!(names(&effects).contains(&"prepare 2".into()), "{:?}", names(&effects));
    let effects = bench.hear(fleet.not_prepared(&newer, busy()));
    assert!(names(&effects).contains(&"prepare 1".into()), "{:?}", names(&effects));
    bench.hear(fleet.prepared(&stored));
    bench.hear(fleet.activated(&stored));
    bench.now = Monotonic(AGAIN_AFTER_MS);
    let effects = bench.run(Event::Clock);
    assert!(names(&effects).contains(&"activate 2".into()), "{:?}", names(&effects));
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
}

/// Found by the simulator: planner and store disagreed about where a rollback leads, since
/// the store took what the planner had refused for what was in force.
#[test]
fn nothing_goes_back_to_a_stored_document_that_was_refused() {
    let fleet = Fleet::new();
    let documents = [1, 2, 3].map(|number| fleet.document_inline(number, &[number as u8]));
    let mut bench = fleet.bench();
    documents.iter().for_each(|document| bench.prove(&fleet, document));
    let mut stored = bench.stored;
    // The store was set back; the floor's second copy was not.
    stored.envelope = Some(fleet.seal_document(&documents[1]));
    stored.previous = Some(fleet.seal_document(&documents[0]));
    let mut bench = fleet.bench_from(stored);
    assert_eq!(reasons(&bench.started), [Reason::Rollback]);
    let effects = bench.run_document(&fleet, &documents[2]);
    let persisted = effects.iter().find_map(|effect| match effect {
        Effect::Persist(change) => Some(change.keeps_previous),
        _ => None,
    });
    assert_eq!(persisted, Some(true));
    let effects = bench.hear(fleet.rolled_back(&documents[2], None));
    assert!(names(&effects).contains(&"prepare 1".into()), "{:?}", names(&effects));
}

/// As with a stored one, where the older one comes late over the network.
#[test]
fn an_older_document_that_comes_late_does_not_make_the_newer_one_forgotten() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let (older, newer) = (fleet.document_inline(2, b"older"), fleet.document_inline(3, b"newer"));
    bench.hear_document(&fleet, &newer);
    bench.hear(fleet.not_prepared(&newer, Refusal::new(Reason::Unavailable, "no time")));
    bench.run_document(&fleet, &older);
    bench.now = Monotonic(AGAIN_AFTER_MS);
    let effects = bench.run(Event::Clock);
    assert!(names(&effects).contains(&"activate 3".into()), "{:?}", names(&effects));
    assert_eq!(bench.state(), (State::InSync, Some(version(3))));
}

#[test]
fn a_restart_needs_no_clock_an_expired_document_still_runs() {
    let fleet = Fleet::new();
    let stored = store(&fleet);
    let mut bench = fleet.bench_from(Stored::default());
    bench.now = Monotonic(30 * DAY_MS);
    let effects = bench.run(Event::Started(stored));
    assert!(names(&effects).contains(&"activate 1".into()), "{:?}", names(&effects));
    assert_eq!(bench.state(), (State::Expired, Some(version(1))));
}

#[test]
fn a_restart_keeps_the_floor() {
    let fleet = Fleet::new();
    let mut stored = store(&fleet);
    stored.floor.as_mut().unwrap().version = version(1);
    let mut bench = fleet.bench_from(stored);
    let mut other = fleet.document(1);
    other.issued_at_ms += 1;
    assert_eq!(reasons(&bench.run_document(&fleet, &other)), [Reason::Equivocation]);
}

#[test]
fn a_tampered_envelope_is_refused_and_the_very_document_from_the_cloud_heals_it() {
    let fleet = Fleet::new();
    let mut stored = store(&fleet);
    let healthy = stored.envelope.clone().unwrap();
    let envelope = stored.envelope.as_mut().unwrap();
    let at = envelope.len() / 2;
    envelope[at] = if envelope[at] == b'A' { b'B' } else { b'A' };
    let mut bench = fleet.bench_from(stored);
    assert_eq!(reasons(&bench.started).len(), 1);
    assert_eq!(bench.state(), (State::Rejected, None));

    let effects = bench.run(Event::Document(healthy));
    assert!(names(&effects).contains(&"persist 1".into()), "{:?}", names(&effects));
    assert_eq!(bench.state(), (State::InSync, Some(version(1))));
}

#[test]
fn a_tampered_module_is_refused_and_fetched_again() {
    let fleet = Fleet::new();
    let mut stored = store(&fleet);
    stored.modules.insert(Digest::of(MODULE), b"evil".to_vec());
    let mut bench = fleet.bench_from(stored);
    assert_eq!(reasons(&bench.started), [Reason::ModuleDigestMismatch]);
    assert!(!names(&bench.started).iter().any(|name| name.starts_with("prepare")));
    assert_eq!(bench.agent.applied_version(), None, "the defaults hold");

    let effects = bench.run(Event::Module(Digest::of(MODULE), MODULE.to_vec()));
    let expected = ["forget", "prepare 1", "persist 1", "activate 1", "report InSync"];
    assert_eq!(names(&effects), expected, "made durable again");
    assert_eq!(bench.stored.modules[&Digest::of(MODULE)], MODULE);
}

#[test]
fn an_older_document_put_back_into_the_store_does_not_act() {
    let fleet = Fleet::new();
    let old = store(&fleet);
    let mut bench = fleet.bench_from(old);
    let old = bench.stored.envelope.clone().or(store(&fleet).envelope);
    bench.run_document(&fleet, &fleet.document(2));
    let stored = Stored { envelope: old, ..bench.stored };
    let mut bench = fleet.bench_from(stored);
    assert_eq!(reasons(&bench.started), [Reason::Rollback]);
    assert_eq!(bench.state(), (State::Rejected, None));
}

#[test]
fn a_store_without_a_floor_takes_it_from_its_document() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(2));
    let stored = Stored { floor: None, ..bench.stored };
    let mut bench = fleet.bench_from(stored);
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
    assert_eq!(reasons(&bench.run_document(&fleet, &fleet.document(1))), [Reason::Rollback]);
}

#[test]
fn a_stored_document_whose_module_is_denied_by_now_is_refused() {
    let mut fleet = Fleet::new();
    let stored = store(&fleet);
    fleet.root.denied.insert(Digest::of(MODULE));
    let mut bench = fleet.bench_from(stored);
    assert_eq!(reasons(&bench.started), [Reason::ModuleDenied]);
    assert_eq!(bench.state(), (State::Rejected, None));
}

#[test]
fn a_stored_document_that_is_no_longer_admitted_leaves_the_device_rejected() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document_inline(1, MODULE);
    bench.run_document(&fleet, &document);
    let stored = bench.stored;
    let mut bench = fleet.bench();
    bench.hear(Event::Started(stored));
    let refusal = Refusal::new(Reason::FeatureRefused, "simd");
    let effects = bench.hear(fleet.not_prepared(&document, refusal));
    assert_eq!(reasons(&effects), [Reason::FeatureRefused]);
    assert_eq!(bench.state(), (State::Rejected, None));
}

#[test]
fn expiry_holds_what_runs_unless_the_document_says_default() {
    for (on_expiry, told) in [(OnExpiry::Hold, false), (OnExpiry::Default, true)] {
        let fleet = Fleet::new();
        let mut bench = fleet.bench();
        let mut document = fleet.document(1);
        document.on_expiry = on_expiry;
        bench.run_document(&fleet, &document);
        bench.now = Monotonic(DAY_MS - 1);
        assert_eq!(names(&bench.run(Event::Clock)), ["keep time", "send"], "not yet");
        bench.now = Monotonic(DAY_MS);
        let effects = bench.run(Event::Clock);
        assert_eq!(names(&effects).contains(&"defaults".into()), told, "{on_expiry:?}");
        assert!(names(&effects).contains(&"report Expired".into()));
        assert!(names(&effects).contains(&"keep time".into()), "no restart puts it off");
        assert_eq!(bench.state(), (State::Expired, Some(version(1))));
        assert_eq!(names(&bench.run(Event::Clock)), ["send"], "said once");

        let mut next = fleet.document(2);
        next.expires_at_ms += 9 * DAY_MS;
        bench.run_document(&fleet, &next);
        assert_eq!(bench.state(), (State::InSync, Some(version(2))));
    }
}

#[test]
fn the_time_floor_is_made_durable_now_and_then() {
    let mut bench = Fleet::new().bench();
    let mut kept = |now_ms: u64| {
        bench.now = Monotonic(now_ms);
        let effects = bench.run(Event::Clock);
        effects.iter().find_map(|effect| match effect {
            Effect::KeepTime(at_ms) => Some(*at_ms),
            _ => None,
        })
    };
    assert_eq!(kept(KEEP_TIME_MS - 1), None);
    assert_eq!(kept(KEEP_TIME_MS), Some(NOW_MS + KEEP_TIME_MS));
    assert_eq!(kept(KEEP_TIME_MS + 1), None);
    assert_eq!(kept(2 * KEEP_TIME_MS), Some(NOW_MS + 2 * KEEP_TIME_MS));
}
