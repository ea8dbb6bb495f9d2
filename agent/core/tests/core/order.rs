//! In which order a document comes into force, and what may not cut in.

use gnomon_agent_core::agent::AGAIN_AFTER_MS;
use gnomon_agent_core::{Effect, Event, Monotonic};
use gnomon_schemas::reported::State;
use gnomon_schemas::{Reason, Refusal};

use super::bench::{floor, names, reasons};
use super::fixture::{Fleet, version};

#[test]
fn the_happy_path_prepares_persists_activates_and_reports_in_this_order() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document_inline(1, b"module");
    let effects = bench.run_document(&fleet, &document);
    let expected = ["prepare 1", "report Pending", "persist 1", "activate 1", "report InSync"];
    assert_eq!(names(&effects), expected);
    assert_eq!(floor(&effects).unwrap().digest, *fleet.verified(&document).digest());
    assert_eq!(bench.agent.applied_version(), Some(version(1)));
    let reported = bench.reported();
    assert_eq!((reported.seen, reported.applied), (Some(version(1)), Some(version(1))));
    assert_eq!(reported.applied_digest.as_ref(), Some(fleet.verified(&document).digest()));
}

#[test]
fn the_same_document_again_does_nothing() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let envelope = fleet.seal_document(&fleet.document(1));
    assert!(!bench.run(Event::Document(envelope.clone())).is_empty());
    assert_eq!(bench.run(Event::Document(envelope)), []);
}

#[test]
fn nothing_is_activated_before_its_own_floor_is_durable() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let (other, document) = (fleet.document(1), fleet.document(2));
    bench.hear(Event::Document(fleet.seal_document(&document)));
    for early in [
        fleet.persisted(&document),
        fleet.activated(&document),
        fleet.prepared(&other),
        fleet.persisted(&other),
    ] {
        assert_eq!(bench.hear(early), []);
    }
    assert_eq!(names(&bench.hear(fleet.prepared(&document))), ["persist 2"]);
    assert_eq!(bench.hear(fleet.persisted(&other)), [], "another document's");
    assert_eq!(bench.hear(fleet.activated(&document)), [], "not asked for yet");
    assert_eq!(bench.agent.applied_version(), None);
    assert_eq!(names(&bench.hear(fleet.persisted(&document))), ["activate 2"]);
    assert_eq!(bench.hear(fleet.activated(&other)), [], "another document's");
    assert_eq!(names(&bench.hear(fleet.activated(&document))), ["report InSync"]);
}

#[test]
fn an_answer_for_another_document_of_the_same_version_is_not_taken() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document(2);
    let mut namesake = document.clone();
    namesake.issued_at_ms += 1;
    bench.hear(Event::Document(fleet.seal_document(&document)));
    assert_eq!(bench.hear(fleet.prepared(&namesake)), []);
    bench.hear(fleet.prepared(&document));
    assert_eq!(bench.hear(fleet.persisted(&namesake)), []);
    bench.hear(fleet.persisted(&document));
    assert_eq!(bench.hear(fleet.activated(&namesake)), []);
    assert_eq!(bench.agent.applied_version(), None);
}

#[test]
fn a_newer_document_takes_the_place_of_one_that_is_not_past_recall() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.hear(Event::Document(fleet.seal_document(&fleet.document_with(1, b"slow to come"))));
    let effects = bench.run_document(&fleet, &fleet.document(2));
    let expected =
        ["forget", "prepare 2", "report Pending", "persist 2", "activate 2", "report InSync"];
    assert_eq!(names(&effects), expected);
}

#[test]
fn an_older_document_never_takes_the_place_of_a_newer_one_on_its_way() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(1));
    bench.hear(Event::Document(fleet.seal_document(&fleet.document_with(3, b"slow to come"))));
    let effects = bench.hear(Event::Document(fleet.seal_document(&fleet.document(2))));
    assert_eq!(reasons(&effects), [Reason::Rollback]);
    let effects = bench
        .run(Event::Module(gnomon_schemas::Digest::of(b"slow to come"), b"slow to come".to_vec()));
    assert!(names(&effects).contains(&"activate 3".into()), "{:?}", names(&effects));
    assert_eq!(bench.state(), (State::InSync, Some(version(3))));
}

#[test]
fn a_document_that_comes_during_persisting_waits_and_is_taken_afterwards() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let first = fleet.document(1);
    bench.hear(Event::Document(fleet.seal_document(&first)));
    bench.hear(fleet.prepared(&first));
    for number in [2, 3] {
        let newer = Event::Document(fleet.seal_document(&fleet.document(number)));
        assert_eq!(bench.hear(newer), [], "{number} waits");
    }
    // Neither garbage nor an older document takes the place of what waits.
    let effects = bench.hear(Event::Document(b"garbage".to_vec()));
    assert_eq!(reasons(&effects), [Reason::MalformedJson]);
    let mut other = fleet.document(2);
    other.issued_at_ms += 1;
    let effects = bench.hear(Event::Document(fleet.seal_document(&other)));
    assert_eq!(reasons(&effects), [Reason::Rollback]);

    let effects = bench.run(fleet.persisted(&first));
    let expected = [
        "activate 1",
        "report InSync",
        "prepare 3",
        "report Pending",
        "persist 3",
        "activate 3",
        "report InSync",
    ];
    assert_eq!(names(&effects), expected);
}

#[test]
fn a_waiting_document_is_taken_after_the_one_before_it_failed() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let first = fleet.document(1);
    bench.hear(Event::Document(fleet.seal_document(&first)));
    bench.hear(fleet.prepared(&first));
    bench.hear(Event::Document(fleet.seal_document(&fleet.document(2))));
    let effects = bench.run(fleet.not_persisted(&first));
    assert_eq!(reasons(&effects), [Reason::StoreFailed]);
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
}

#[test]
fn a_module_that_is_not_admitted_leaves_what_runs_and_says_why() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(1));
    let second = fleet.document(2);
    let envelope = fleet.seal_document(&second);
    bench.hear(Event::Document(envelope.clone()));
    let refusal = Refusal::new(Reason::HasImports, "imports `env`");
    let effects = bench.hear(fleet.not_prepared(&second, refusal));
    assert_eq!(reasons(&effects), [Reason::HasImports]);
    assert!(!names(&effects).iter().any(|name| name.starts_with("activate")));
    let reported = bench.reported();
    assert_eq!((reported.state, reported.applied), (State::Rejected, Some(version(1))));
    assert_eq!(reported.seen, Some(version(2)));
    assert_eq!(bench.hear(Event::Document(envelope)), [], "hearing it again is no news");
    bench.run_document(&fleet, &fleet.document(3));
    assert_eq!(bench.state(), (State::InSync, Some(version(3))));
}

#[test]
fn a_store_failure_rejects_and_the_next_delivery_tries_again() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document(1);
    let envelope = fleet.seal_document(&document);
    bench.hear(Event::Document(envelope.clone()));
    bench.hear(fleet.prepared(&document));
    let effects = bench.hear(fleet.not_persisted(&document));
    assert_eq!(reasons(&effects), [Reason::StoreFailed]);
    assert_eq!(bench.state(), (State::Rejected, None));
    bench.run(Event::Document(envelope));
    assert_eq!(bench.state(), (State::InSync, Some(version(1))));
}

#[test]
fn what_was_not_the_documents_fault_is_tried_again_by_itself_after_a_while() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document(1);
    bench.hear(Event::Document(fleet.seal_document(&document)));
    bench.hear(fleet.prepared(&document));
    bench.hear(fleet.not_persisted(&document));
    bench.now = Monotonic(AGAIN_AFTER_MS - 1);
    bench.run(Event::Clock);
    assert_eq!(bench.state(), (State::Rejected, None), "not at once");
    bench.now = Monotonic(AGAIN_AFTER_MS);
    bench.run(Event::Clock);
    assert_eq!(bench.state(), (State::InSync, Some(version(1))));
}

#[test]
fn a_newer_document_refused_on_the_way_leaves_the_device_rejected() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document(1);
    bench.hear(Event::Document(fleet.seal_document(&document)));
    let mut expired = fleet.document(2);
    expired.expires_at_ms = 1;
    let effects = bench.hear(Event::Document(fleet.seal_document(&expired)));
    assert_eq!(reasons(&effects), [Reason::Expired]);
    let effects = bench.run(fleet.prepared(&document));
    assert_eq!(names(&effects), ["persist 1", "activate 1", "report Rejected"]);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn a_document_of_another_epoch_with_the_same_version_waits_for_its_own_answer() {
    let mut fleet = Fleet::new();
    let first = fleet.document(1);
    let stored = {
        let mut bench = fleet.bench();
        bench.run_document(&fleet, &first);
        bench.stored
    };
    fleet.root.epoch = 2;
    let mut agent = fleet.agent();
    let now = gnomon_agent_core::Monotonic(0);
    agent.apply(now, Event::Started(stored));
    let mut recovered = fleet.document(1);
    recovered.epoch = 2;
    let effects = agent.apply(now, Event::Document(fleet.seal_document(&recovered)));
    assert_eq!(effects, [], "what was in force is put in force first");
    assert_eq!(agent.apply(now, fleet.prepared(&recovered)), [], "nobody has asked for it");
    agent.apply(now, fleet.prepared(&first));
    let effects = agent.apply(now, fleet.activated(&first));
    assert!(matches!(effects.last(), Some(Effect::Report(_))));
    assert!(names(&effects).contains(&"prepare 1".into()), "{:?}", names(&effects));
}
