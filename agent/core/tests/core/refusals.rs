//! Every refusal yields exactly one reason, which reaches the cloud; a flood of
//! them does not fill the device's disk, nor do the words of whoever sends it.

use gnomon_agent_core::Event;
use gnomon_schemas::Reason;
use gnomon_schemas::limits::REPORTED_BYTES_MAX;
use gnomon_schemas::reported::State;

use super::bench::{names, reasons, refused, reports};
use super::fixture::{Fleet, Signer, seal_by, version};

#[test]
fn a_refusal_is_kept_reported_and_sent() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let mut expired = fleet.document(3);
    expired.expires_at_ms = 1;
    let effects = bench.run_document(&fleet, &expired);
    assert_eq!(names(&effects), ["append", "report Rejected", "send"]);
    let [event] = &refused(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!((event.version, event.refusal.reason), (Some(version(3)), Reason::Expired));
    let reported = reports(&effects).pop().unwrap();
    assert_eq!(reported.refusal.unwrap().reason, Reason::Expired);
    assert_eq!(reported.refused[&Reason::Expired], 1);
    assert_eq!(reported.seen, Some(version(3)));
}

#[test]
fn refused_twice_is_one_event() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(1));
    let mut refused = fleet.document(2);
    refused.expires_at_ms = 1;
    let envelope = fleet.seal_document(&refused);
    assert_eq!(reasons(&bench.run(Event::Document(envelope.clone()))), [Reason::Expired]);
    assert_eq!(bench.run(Event::Document(envelope.clone())), []);
    // Signatures are not part of the payload: sealed anew it is the same document.
    assert_eq!(bench.run(Event::Document(fleet.seal_document(&refused))), []);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn what_nobody_signed_changes_nothing_but_the_count() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(1));
    let stranger = seal_by(&Signer::ed25519(), &fleet.document(2));
    let effects = bench.run(Event::Document(stranger));
    assert_eq!(reasons(&effects), [Reason::ThresholdNotMet]);
    let reported = bench.reported();
    assert_eq!((reported.state, reported.seen), (State::InSync, Some(version(1))));
}

#[test]
fn a_document_for_another_device_is_refused_but_this_one_stays_in_sync() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(1));
    let mut stray = fleet.document(2);
    stray.device = "heater-002".parse().unwrap();
    assert_eq!(reasons(&bench.run_document(&fleet, &stray)), [Reason::WrongDevice]);
    assert_eq!(bench.state(), (State::InSync, Some(version(1))));
}

#[test]
fn one_for_another_profile_is_for_this_device_and_leaves_it_rejected() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(1));
    let mut other = fleet.document(2);
    other.profile = gnomon_schemas::Digest::of(b"other firmware");
    assert_eq!(reasons(&bench.run_document(&fleet, &other)), [Reason::WrongProfile]);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn an_older_document_is_refused_and_the_device_stays_in_sync() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(2));
    assert_eq!(reasons(&bench.run_document(&fleet, &fleet.document(1))), [Reason::Rollback]);
    let reported = bench.reported();
    assert_eq!((reported.state, reported.seen), (State::InSync, Some(version(2))));
}

#[test]
fn a_burnt_epoch_moves_neither_what_was_seen_nor_what_comes_next() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(1));
    let mut burnt = fleet.document(9_000_000_000);
    burnt.epoch = 9_000_000_000;
    assert_eq!(reasons(&bench.run_document(&fleet, &burnt)), [Reason::FastForward]);
    assert_eq!(bench.reported().seen, Some(version(1)));
    bench.run_document(&fleet, &fleet.document(2));
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
}

#[test]
fn a_flood_of_garbage_is_counted_whole_and_kept_in_part() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let kept = (0..1_000).map(|_| reasons(&bench.run(Event::Document(b"{".to_vec()))).len());
    assert_eq!(kept.sum::<usize>(), 32);
    assert_eq!(bench.reported().refused[&Reason::MalformedJson], 1_000);
}

#[test]
fn foreign_words_in_a_refusal_never_outgrow_the_report() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let flood = format!(r#"{{"{}": 1}}"#, "\u{1F525}".repeat(50_000));
    let effects = bench.run(Event::Document(flood.into_bytes()));
    assert_eq!(reasons(&effects), [Reason::SchemaViolation]);
    let reported = serde_json::to_vec(&bench.reported()).unwrap();
    assert!(reported.len() < REPORTED_BYTES_MAX / 8, "{} bytes", reported.len());
}
