//! Going back: what the device returns to, what it remembers of it, and that nothing
//! below the floor comes in by that way.

use gnomon_agent_core::agent::{AGAIN_AFTER_MS, FETCH_TIMEOUT_MS, KEEPER_TIMEOUT_MS};
use gnomon_agent_core::{Effect, Event, Monotonic};
use gnomon_schemas::document::{Document, OnExpiry};
use gnomon_schemas::reported::State;
use gnomon_schemas::trust::{Proof, Role};
use gnomon_schemas::{Digest, Reason, Refusal};

use super::bench::{Bench, digest_of, names, prepares, reasons, refused, reports};
use super::fixture::{DAY_MS, Fleet, Signer, seal_by, session, setpoint, version};

/// A device with a proven document in force, and one on trial over it.
pub(super) struct Trial {
    pub(super) fleet: Fleet,
    pub(super) good: Document,
    pub(super) new: Document,
    pub(super) bench: Bench,
}

pub(super) fn trial() -> Trial {
    let fleet = Fleet::new();
    let (good, new) = (fleet.document_inline(1, b"good"), fleet.document_inline(2, b"new"));
    let mut bench = fleet.bench();
    bench.prove(&fleet, &good);
    bench.run_document(&fleet, &new);
    Trial { fleet, good, new, bench }
}

/// The newer document with the very content of this one.
fn again(document: &Document, number: u64) -> Document {
    Document { version: version(number), ..document.clone() }
}

fn activations(effects: &[Effect]) -> Vec<String> {
    names(effects).into_iter().filter(|name| name.starts_with("activate")).collect()
}

#[test]
fn a_rollback_is_durable_and_reported_and_the_floor_stays() {
    let Trial { fleet, good, new, mut bench } = trial();
    let floor = bench.stored.floor.clone();
    let effects = bench.run(fleet.rolled_back(&new, Some(&good)));
    let expected = ["persist rollback", "append", "report Rejected", "send"];
    assert_eq!(names(&effects), expected, "nothing for the keeper to do");
    let [event] = &refused(&effects)[..] else { panic!("{effects:?}") };
    let told = (event.version, event.refusal.reason);
    assert_eq!(told, (Some(version(2)), Reason::ProbationFailed));
    let reported = reports(&effects).pop().unwrap();
    assert_eq!(reported.applied_digest, Some(fleet.digest(&good)));
    assert_eq!((reported.seen, reported.applied), (Some(version(2)), Some(version(1))));
    assert!(!reported.on_probation);
    let slots = &reported.functions[&setpoint()];
    assert_eq!((&slots.active, &slots.previous), (&Some(Digest::of(b"good")), &None));
    assert_eq!(bench.stored.floor, floor);
    assert_eq!(bench.stored.trial, None);
    assert_eq!(bench.stored.envelope.as_deref().map(digest_of), Some(fleet.digest(&good)));
    // Heard again, from this keeper or told to another planner, it is no news.
    assert_eq!(bench.run(fleet.rolled_back(&new, Some(&good))), []);
    let told_again = fleet.started(Some(fleet.gone_back(&new, Some(&good))));
    assert_eq!(bench.run(told_again), []);
}

#[test]
fn a_document_that_was_given_up_is_not_tried_again_but_a_newer_one_is() {
    let Trial { fleet, good, new, mut bench } = trial();
    bench.run(fleet.rolled_back(&new, Some(&good)));
    assert_eq!(bench.run_document(&fleet, &new), [], "refused last: no news");
    let expired = Document { expires_at_ms: 1, ..fleet.document(7) };
    assert_eq!(reasons(&bench.run_document(&fleet, &expired)), [Reason::Expired]);
    for _ in 0..2 {
        let effects = bench.run_document(&fleet, &new);
        assert!(prepares(&effects).is_empty());
        assert!(reasons(&effects).iter().all(|reason| *reason == Reason::ProbationFailed));
        assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
    }
    let mut bench = fleet.bench_in(&session(2), bench.stored);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
    let effects = bench.run_document(&fleet, &new);
    assert_eq!((reasons(&effects), prepares(&effects)), (vec![Reason::ProbationFailed], vec![]));
    let effects = bench.run_document(&fleet, &again(&new, 3));
    assert_eq!(activations(&effects), ["activate 3"]);
    assert!(prepares(&effects)[0].on_trial);
    assert_eq!(bench.state(), (State::InSync, Some(version(3))));
    assert_eq!(bench.stored.rolled_back_from, None);
}

#[test]
fn what_a_rollback_left_lets_nothing_in_below_the_floor() {
    let fleet = Fleet::new();
    let (good, new) = (fleet.document_inline(1, b"good"), fleet.document_inline(5, b"new"));
    let mut bench = fleet.bench();
    bench.prove(&fleet, &good);
    bench.run_document(&fleet, &new);
    bench.run(fleet.rolled_back(&new, Some(&good)));
    let between = fleet.document(3);
    assert_eq!(reasons(&bench.run_document(&fleet, &between)), [Reason::Rollback]);
    // Not while the older one is on its way to force either.
    let mut bench = Bench::idle(&fleet, &fleet.root, &session(2), bench.stored);
    bench.hear(Event::Started(bench.stored.clone()));
    assert_eq!(reasons(&bench.run_document(&fleet, &between)), [Reason::Rollback]);
    bench.run(fleet.prepared(&good));
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn with_nothing_before_it_a_rollback_ends_on_the_defaults() {
    let fleet = Fleet::new();
    let first = fleet.document_inline(1, b"new");
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &first);
    let effects = bench.run(fleet.rolled_back(&first, None));
    assert_eq!(reasons(&effects), [Reason::ProbationFailed]);
    assert_eq!(bench.state(), (State::Rejected, None));
    assert_eq!(bench.stored.floor.as_ref().unwrap().version, version(1));
    let mut bench = fleet.bench_in(&session(2), bench.stored);
    assert_eq!((prepares(&bench.started), bench.state()), (vec![], (State::Pending, None)));
    let effects = bench.run_document(&fleet, &first);
    assert_eq!((reasons(&effects), prepares(&effects)), (vec![Reason::ProbationFailed], vec![]));
    bench.run_document(&fleet, &again(&first, 2));
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
}

#[test]
fn a_rollback_that_is_heard_before_the_activation_takes_the_document_back() {
    let fleet = Fleet::new();
    let (good, new) = (fleet.document_inline(1, b"good"), fleet.document_inline(2, b"new"));
    let mut bench = fleet.bench();
    bench.prove(&fleet, &good);
    bench.hear_document(&fleet, &new);
    bench.hear(fleet.prepared(&new));
    assert_eq!(names(&bench.hear(fleet.persisted(&new))), ["activate 2"]);
    let effects = bench.run(fleet.rolled_back(&new, Some(&good)));
    assert_eq!(reasons(&effects), [Reason::ProbationFailed]);
    assert_eq!(bench.hear(fleet.activated(&new)), [], "too late");
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
    assert_eq!(bench.stored.envelope.as_deref().map(digest_of), Some(fleet.digest(&good)));
}

#[test]
fn a_planner_that_was_away_is_told_of_the_rollback_by_the_next_start() {
    let Trial { fleet, good, new, bench } = trial();
    for to in [Some(&good), None] {
        let mut bench = Bench::idle(&fleet, &fleet.root, &session(1), bench.stored.clone());
        let effects = bench.hear(Event::Started(bench.stored.clone()));
        assert_eq!(names(&effects)[0], "prepare 2", "it does not know yet");
        let effects = bench.run(fleet.started(Some(fleet.gone_back(&new, to))));
        assert_eq!(names(&effects)[0], "persist rollback");
        assert_eq!(reasons(&effects), [Reason::ProbationFailed]);
        assert_eq!(bench.hear(fleet.prepared(&new)), [], "an answer to nobody");
        // What the keeper does not have, it is given.
        let given = if to.is_none() { vec!["activate 1"] } else { vec![] };
        assert_eq!(activations(&effects), given);
        assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
    }
}

#[test]
fn a_document_that_failed_and_was_replaced_while_the_planner_was_away_is_still_told() {
    let Trial { fleet, good, new, mut bench } = trial();
    let third = fleet.document_inline(3, b"third");
    bench.hear_document(&fleet, &third);
    bench.hear(fleet.prepared(&third));
    bench.hear(fleet.persisted(&third));
    // The power of the planner goes here: the keeper has given up what it replaces.
    let mut bench = Bench::idle(&fleet, &fleet.root, &session(1), bench.stored);
    bench.hear(Event::Started(bench.stored.clone()));
    let what = fleet.gone_back(&new, Some(&good));
    let effects = bench.run(fleet.started(Some(what.clone())));
    assert_eq!(names(&effects)[0], "keep failure");
    assert_eq!(reasons(&effects), [Reason::ProbationFailed]);
    assert_eq!(bench.run(fleet.started(Some(what))), []);
    bench.run(fleet.prepared(&third));
    assert_eq!(bench.state(), (State::InSync, Some(version(3))));
    bench.run(fleet.rolled_back(&third, Some(&good)));
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn a_device_that_has_started_since_is_given_what_a_rollback_returns_to() {
    let Trial { fleet, good, new, bench } = trial();
    // The keeper begins with the document on trial: it has never had the one before.
    let mut bench = fleet.bench_in(&session(2), bench.stored);
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
    let effects = bench.run(fleet.rolled_back(&new, None));
    assert_eq!(names(&effects)[0], "persist rollback");
    let [prepare] = &prepares(&effects)[..] else { panic!("{:?}", names(&effects)) };
    assert_eq!((&prepare.digest, prepare.on_trial), (&fleet.digest(&good), false));
    assert_eq!(prepare.modules.len(), 1, "its modules are still at hand");
    assert_eq!(activations(&effects), ["activate 1"]);
    assert!(
        !names(&effects)
            .iter()
            .any(|name| name.starts_with("persist ") && name != "persist rollback")
    );
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn modules_that_were_fetched_are_at_hand_for_a_rollback_after_a_start() {
    let fleet = Fleet::new();
    let (good, new) = (fleet.document_with(1, b"good"), fleet.document_with(2, b"new"));
    let mut bench = fleet.bench();
    let came = |bytes: &[u8]| Event::Module(Digest::of(bytes), bytes.to_vec());
    bench.run_document(&fleet, &good);
    bench.run(came(b"good"));
    bench.run(fleet.proven(&good));
    bench.run_document(&fleet, &new);
    bench.run(came(b"new"));
    let mut bench = fleet.bench_in(&session(2), bench.stored);
    let effects = bench.run(fleet.rolled_back(&new, None));
    assert_eq!(activations(&effects), ["activate 1"], "without a network");
}

#[test]
fn a_newer_document_on_its_way_gives_way_to_what_a_rollback_returns_to() {
    let Trial { fleet, good, new, bench } = trial();
    let mut bench = fleet.bench_in(&session(2), bench.stored);
    let third = fleet.document_inline(3, b"third");
    bench.hear_document(&fleet, &third);
    let effects = bench.hear(fleet.rolled_back(&new, None));
    assert_eq!(prepares(&effects)[0].digest, fleet.digest(&good), "the sooner the better");
    let effects = bench.run(fleet.prepared(&good));
    assert_eq!(activations(&effects), ["activate 1", "activate 3"]);
    assert_eq!(bench.state(), (State::InSync, Some(version(3))));
}

#[test]
fn a_rollback_while_the_next_document_is_prepared_leaves_that_on_its_way() {
    let Trial { fleet, good, new, mut bench } = trial();
    let third = again(&new, 3);
    let effects = bench.hear_document(&fleet, &third);
    assert!(prepares(&effects)[0].on_trial, "the module has not proved itself");
    let effects = bench.run(fleet.rolled_back(&new, Some(&good)));
    assert_eq!(names(&effects)[0], "persist rollback");
    assert_eq!(bench.state(), (State::Pending, Some(version(1))));
    let effects = bench.run(fleet.prepared(&third));
    assert_eq!(activations(&effects), ["activate 3"]);
    assert_eq!(bench.state(), (State::InSync, Some(version(3))), "it is the newest");
    bench.run(fleet.rolled_back(&third, Some(&good)));
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn a_rollback_while_the_next_document_is_written_waits_for_the_store() {
    for is_kept in [true, false] {
        let Trial { fleet, good, new, mut bench } = trial();
        let third = fleet.document_inline(3, b"third");
        bench.hear_document(&fleet, &third);
        bench.hear(fleet.prepared(&third));
        assert_eq!(bench.hear(fleet.rolled_back(&new, Some(&good))), [], "of which document?");
        if is_kept {
            let effects = bench.run(fleet.persisted(&third));
            assert_eq!(reasons(&effects), [Reason::ProbationFailed]);
            assert_eq!(names(&effects)[..2], ["activate 3", "keep failure"]);
            assert_eq!(bench.state(), (State::InSync, Some(version(3))));
            bench.run(fleet.rolled_back(&third, Some(&good)));
        } else {
            let effects = bench.run(fleet.not_persisted(&third));
            assert_eq!(reasons(&effects), [Reason::StoreFailed, Reason::ProbationFailed]);
            assert!(names(&effects).contains(&"persist rollback".into()));
        }
        assert_eq!(bench.state(), (State::Rejected, Some(version(1))), "kept: {is_kept}");
        assert_eq!(bench.stored.envelope.as_deref().map(digest_of), Some(fleet.digest(&good)));
        assert_eq!(bench.stored.failures.len(), 1 + usize::from(is_kept));
    }
}

#[test]
fn a_rollback_while_the_next_document_is_put_in_force_is_no_rollback_of_that() {
    let Trial { fleet, good, new, mut bench } = trial();
    let third = fleet.document_inline(3, b"third");
    bench.hear_document(&fleet, &third);
    bench.hear(fleet.prepared(&third));
    bench.hear(fleet.persisted(&third));
    let effects = bench.run(fleet.rolled_back(&new, Some(&good)));
    assert!(!names(&effects).contains(&"persist rollback".into()), "{:?}", names(&effects));
    assert_eq!(bench.state(), (State::Pending, Some(version(1))));
    bench.run(fleet.activated(&third));
    assert_eq!(bench.state(), (State::InSync, Some(version(3))));
    assert!(bench.reported().on_probation, "its own trial goes on");
    bench.run(fleet.rolled_back(&third, Some(&good)));
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
    assert_eq!(bench.stored.envelope.as_deref().map(digest_of), Some(fleet.digest(&good)));
}

#[test]
fn a_document_that_waits_is_taken_after_a_rollback_and_not_in_the_place_of_another() {
    let Trial { fleet, good, new, mut bench } = trial();
    let (third, fourth) = (fleet.document_inline(3, b"third"), fleet.document(4));
    bench.hear_document(&fleet, &third);
    bench.hear(fleet.prepared(&third));
    bench.hear(fleet.persisted(&third));
    assert_eq!(bench.hear_document(&fleet, &fourth), [], "it waits");
    let effects = bench.hear(fleet.rolled_back(&new, Some(&good)));
    assert_eq!(prepares(&effects), [], "the third must run to its end");
    let effects = bench.run(fleet.rolled_back(&third, Some(&good)));
    assert_eq!(activations(&effects), ["activate 4"]);
    assert_eq!(bench.state(), (State::InSync, Some(version(4))));
}

#[test]
fn a_rollback_of_what_runs_on_after_expiry_goes_by_its_own_expiry() {
    let fleet = Fleet::new();
    let mut good = fleet.document_inline(1, b"good");
    good.on_expiry = OnExpiry::Default;
    let mut new = fleet.document_inline(2, b"new");
    new.expires_at_ms += 9 * DAY_MS;
    let mut bench = fleet.bench();
    bench.prove(&fleet, &good);
    bench.run_document(&fleet, &new);
    bench.now = Monotonic(DAY_MS);
    assert!(!names(&bench.run(Event::Clock)).contains(&"defaults".into()));
    let effects = bench.run(fleet.rolled_back(&new, Some(&good)));
    assert!(names(&effects).contains(&"defaults".into()), "{:?}", names(&effects));
    assert_eq!(bench.state(), (State::Expired, Some(version(1))));
}

#[test]
fn a_root_recalls_what_a_rollback_would_put_in_force_too() {
    let Trial { mut fleet, good, new, mut bench } = trial();
    fleet.root.version = 2;
    fleet.root.denied.insert(Digest::of(b"good"));
    let effects = bench.run(Event::TrustRoot(seal_by(&fleet.root_key, &fleet.root)));
    assert!(names(&effects).contains(&"stop 1".into()), "{:?}", names(&effects));
    assert_eq!(reasons(&effects), [], "what is in force is not recalled");
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
    let effects = bench.run(fleet.rolled_back(&new, Some(&good)));
    assert_eq!(reasons(&effects), [Reason::ModuleDenied, Reason::ProbationFailed]);
}

#[test]
fn what_is_gone_back_to_is_judged_by_the_root_that_it_was_accepted_under() {
    let mut fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.prove(&fleet, &fleet.document_inline(1, b"good"));
    let (director, publisher, approver) = (Signer::ed25519(), Signer::p256(), Signer::ed25519());
    let role = |key: &Signer| Role { keys: vec![key.public()], threshold: 1 };
    fleet.root.version = 2;
    fleet.root.roles.director = role(&director);
    fleet.root.roles.approver = role(&approver);
    fleet.root.publishers.values_mut().for_each(|known| {
        known.proof = Proof::Key { key: publisher.public(), sigstore_root: None };
    });
    bench.run(Event::TrustRoot(seal_by(&fleet.root_key, &fleet.root)));
    (fleet.director, fleet.publisher, fleet.approver) = (director, publisher, approver);
    let new = fleet.document_inline(2, b"new");
    bench.run_document(&fleet, &new);
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
    // All of it comes out of the store from now on.
    let mut bench = fleet.bench_in(&session(2), bench.stored);
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
    let effects = bench.run(fleet.rolled_back(&new, None));
    assert_eq!(reasons(&effects), [Reason::ProbationFailed]);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
    let mut bench = fleet.bench_in(&session(3), bench.stored);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn a_restored_document_that_is_not_admitted_any_more_gives_way_to_the_one_before() {
    let Trial { fleet, new, bench, .. } = trial();
    let mut bench = Bench::idle(&fleet, &fleet.root, &session(2), bench.stored);
    bench.hear(Event::Started(bench.stored.clone()));
    let refusal = Refusal::new(Reason::FeatureRefused, "simd");
    let effects = bench.run(fleet.not_prepared(&new, refusal));
    assert_eq!(names(&effects)[0], "persist rollback");
    assert_eq!(reasons(&effects), [Reason::FeatureRefused]);
    assert_eq!(activations(&effects), ["activate 1"]);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
    let mut bench = fleet.bench_in(&session(3), bench.stored);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn a_keeper_that_never_prepares_is_given_up_on_and_asked_again() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document_inline(1, b"module");
    bench.hear_document(&fleet, &document);
    bench.now = Monotonic(KEEPER_TIMEOUT_MS - 1);
    assert_eq!(reasons(&bench.hear(Event::Clock)), []);
    bench.now = Monotonic(KEEPER_TIMEOUT_MS);
    assert_eq!(reasons(&bench.hear(Event::Clock)), [Reason::Unavailable]);
    assert_eq!((bench.state(), bench.stored.failures.len()), ((State::Rejected, None), 0));
    bench.now = Monotonic(KEEPER_TIMEOUT_MS + AGAIN_AFTER_MS);
    let effects = bench.run(Event::Clock);
    assert_eq!(activations(&effects), ["activate 1"]);
}

#[test]
fn a_keeper_that_never_activates_is_asked_again_for_what_is_durable() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document_inline(1, b"module");
    bench.hear_document(&fleet, &document);
    bench.hear(fleet.prepared(&document));
    bench.hear(fleet.persisted(&document));
    bench.now = Monotonic(KEEPER_TIMEOUT_MS);
    let effects = bench.run(Event::Clock);
    assert!(prepares(&effects)[0].on_trial, "still");
    assert_eq!(activations(&effects), ["activate 1"]);
    assert!(!names(&effects).contains(&"persist 1".into()), "it is durable");
    assert_eq!(bench.state(), (State::InSync, Some(version(1))));
}

#[test]
fn what_cannot_be_activated_when_it_is_asked_for_again_gives_way_to_what_runs() {
    let fleet = Fleet::new();
    let (good, new) = (fleet.document_inline(1, b"good"), fleet.document_inline(2, b"new"));
    let mut bench = fleet.bench();
    bench.prove(&fleet, &good);
    bench.hear_document(&fleet, &new);
    bench.hear(fleet.prepared(&new));
    bench.hear(fleet.persisted(&new));
    bench.now = Monotonic(KEEPER_TIMEOUT_MS);
    bench.hear(Event::Clock);
    let refusal = Refusal::new(Reason::CompileFailed, "no");
    let effects = bench.run(fleet.not_prepared(&new, refusal));
    assert_eq!(names(&effects)[0], "persist rollback", "or the next start would try it again");
    assert_eq!(activations(&effects), Vec::<String>::new(), "it runs");
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn a_keeper_without_room_for_what_is_restored_is_asked_again_and_nothing_is_written() {
    let Trial { fleet, good, new, mut bench } = trial();
    bench.run(fleet.rolled_back(&new, Some(&good)));
    let mut bench = Bench::idle(&fleet, &fleet.root, &session(2), bench.stored);
    bench.hear(Event::Started(bench.stored.clone()));
    let busy = Refusal::new(Reason::Unavailable, "no room for another process");
    assert_eq!(reasons(&bench.hear(fleet.not_prepared(&good, busy))), [Reason::Unavailable]);
    bench.now = Monotonic(AGAIN_AFTER_MS);
    let effects = bench.run(Event::Clock);
    assert_eq!(names(&effects), ["prepare 1", "activate 1", "report Rejected"]);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn a_newer_document_waits_until_what_was_in_force_is_in_force_again() {
    let fleet = Fleet::new();
    let (good, bad) = (fleet.document_inline(1, b"good"), fleet.document_inline(2, b"bad"));
    let mut bench = fleet.bench();
    bench.prove(&fleet, &good);
    let mut bench = Bench::idle(&fleet, &fleet.root, &session(2), bench.stored);
    bench.hear(Event::Started(bench.stored.clone()));
    assert_eq!(bench.hear_document(&fleet, &bad), []);
    bench.hear(fleet.prepared(&good));
    let effects = bench.hear(fleet.activated(&good));
    assert_eq!(prepares(&effects)[0].digest, fleet.digest(&bad));
    let refusal = Refusal::new(Reason::GoldenMismatch, "no");
    bench.hear(fleet.not_prepared(&bad, refusal));
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))), "not the defaults");
}

#[test]
fn a_damaged_module_of_what_a_rollback_left_is_fetched_and_the_floor_stays() {
    let Trial { fleet, .. } = trial();
    let (good, new) = (fleet.document_with(1, b"good"), fleet.document_inline(2, b"new"));
    let mut bench = fleet.bench();
    let came = || Event::Module(Digest::of(b"good"), b"good".to_vec());
    bench.run_document(&fleet, &good);
    bench.run(came());
    bench.run(fleet.proven(&good));
    bench.run_document(&fleet, &new);
    bench.run(fleet.rolled_back(&new, Some(&good)));
    bench.stored.modules.insert(Digest::of(b"good"), b"evil".to_vec());
    let mut bench = fleet.bench_in(&session(2), bench.stored);
    assert_eq!(reasons(&bench.started), [Reason::ModuleDigestMismatch]);
    // As long as it takes: there is nothing else to do.
    bench.now = Monotonic(2 * FETCH_TIMEOUT_MS);
    assert_eq!(reasons(&bench.run(Event::Clock)), []);
    let effects = bench.run(came());
    assert_eq!(names(&effects), ["forget", "prepare 1", "activate 1", "report Rejected"]);
    assert_eq!(bench.stored.floor.as_ref().unwrap().version, version(2));
}
