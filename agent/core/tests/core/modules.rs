//! Modules on their way: inline, out of the store, fetched; and those that are not
//! what was signed.

use gnomon_agent_core::agent::FETCH_TIMEOUT_MS;
use gnomon_agent_core::message::ToKeeper;
use gnomon_agent_core::{Effect, Event, Monotonic};
use gnomon_schemas::document::Document;
use gnomon_schemas::limits::MODULE_BYTES_MAX;
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::reported::State;
use gnomon_schemas::trust::Proof;
use gnomon_schemas::{Digest, Reason};

use super::bench::{names, reasons};
use super::fixture::{Fleet, Signer, setpoint, version};

const MODULE: &[u8] = b"module";

fn came(bytes: &[u8]) -> Event {
    Event::Module(Digest::of(bytes), bytes.to_vec())
}

#[test]
fn a_module_that_is_not_inline_is_fetched_once_and_then_left() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let effects = bench.run_document(&fleet, &fleet.document_with(1, MODULE));
    assert_eq!(names(&effects), ["fetch", "report Pending"]);
    assert_eq!(bench.state(), (State::Pending, None));
    let effects = bench.run(came(MODULE));
    let expected = ["forget", "prepare 1", "persist 1", "activate 1", "report InSync"];
    assert_eq!(names(&effects), expected);
    assert_eq!(names(&bench.run(came(MODULE))), ["forget"], "it comes again: nobody asked");
}

#[test]
fn the_keeper_and_the_store_get_the_very_bytes() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let effects = bench.run_document(&fleet, &fleet.document_inline(1, MODULE));
    let Some(Effect::Keeper(message)) = effects.first() else { panic!("{effects:?}") };
    let ToKeeper::Prepare(prepare) = message.as_ref() else { panic!("{message:?}") };
    assert_eq!(prepare.modules[&Digest::of(MODULE)].0, MODULE);
    assert_eq!(bench.stored.modules[&Digest::of(MODULE)], MODULE);
}

#[test]
fn a_module_of_the_document_in_force_is_not_fetched_again() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document_inline(1, MODULE));
    let effects = bench.run_document(&fleet, &fleet.document_with(2, MODULE));
    assert_eq!(names(&effects)[0], "prepare 2");
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
}

#[test]
fn wrong_bytes_on_a_modules_topic_do_not_abandon_the_document() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document_with(1, MODULE));
    let wrong = Event::Module(Digest::of(MODULE), b"something else".to_vec());
    assert_eq!(reasons(&bench.run(wrong)), [Reason::ModuleDigestMismatch]);
    let endless = Event::Module(Digest::of(MODULE), vec![0; MODULE_BYTES_MAX + 1]);
    assert_eq!(reasons(&bench.run(endless)), [Reason::TooLarge]);
    assert_eq!(bench.state(), (State::Pending, None));
    bench.run(came(MODULE));
    assert_eq!(bench.state(), (State::InSync, Some(version(1))));
}

#[test]
fn a_module_that_never_comes_times_out_and_the_next_delivery_tries_again() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let envelope = fleet.seal_document(&fleet.document_with(1, MODULE));
    bench.run(Event::Document(envelope.clone()));
    bench.now = Monotonic(FETCH_TIMEOUT_MS - 1);
    assert_eq!(names(&bench.run(Event::Clock)), ["send"]);
    bench.now = Monotonic(FETCH_TIMEOUT_MS);
    let effects = bench.run(Event::Clock);
    assert_eq!(names(&effects)[0], "forget");
    assert_eq!(reasons(&effects), [Reason::ModuleMissing]);
    assert_eq!(bench.state(), (State::Rejected, None));
    assert_eq!(names(&bench.run(Event::Document(envelope)))[0], "fetch");
}

#[test]
fn modules_that_would_not_fit_a_frame_together_are_refused_before_they_are_fetched() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let mut document = fleet.document_with(1, MODULE);
    let mut candidate = document.functions[&setpoint()].active.clone().unwrap();
    candidate.module = Digest::of(b"other");
    document.modules.insert(Digest::of(b"other"), fleet.listed(b"other"));
    document.modules.values_mut().for_each(|listed| listed.size_bytes = 4_000_000);
    document.functions.get_mut(&setpoint()).unwrap().candidates.push(candidate);
    let effects = bench.run_document(&fleet, &document);
    assert_eq!(reasons(&effects), [Reason::TooLarge]);
    assert!(!names(&effects).contains(&"fetch".into()));
}

/// The reason for which a fleet or a document changed like this refuses a module,
/// inline and fetched.
fn refusal_of(change: impl Fn(&mut Fleet, &mut Document)) -> Reason {
    let mut fleet = Fleet::new();
    let mut document = fleet.document_inline(1, MODULE);
    change(&mut fleet, &mut document);
    let mut bench = fleet.bench();
    let inline = reasons(&bench.run_document(&fleet, &document));
    assert_eq!(bench.state(), (State::Rejected, None));

    document.modules.values_mut().for_each(|listed| listed.inline = None);
    let mut bench = fleet.bench();
    assert_eq!(names(&bench.run_document(&fleet, &document)), ["fetch", "report Pending"]);
    let effects = bench.run(came(MODULE));
    assert_eq!(reasons(&effects), inline, "fetched as inline");
    assert_eq!(bench.state(), (State::Rejected, None));
    assert_eq!(bench.stored.floor, None);
    let [reason] = inline[..] else { panic!("{inline:?}") };
    reason
}

#[test]
fn a_module_that_its_publisher_did_not_sign_is_refused() {
    let reason = refusal_of(|fleet, _| {
        let publisher = fleet.root.publishers.values_mut().next().unwrap();
        publisher.proof = Proof::Key { key: Signer::p256().public(), sigstore_root: None };
    });
    assert_eq!(reason, Reason::ModuleSignatureInvalid);
    let reason = refusal_of(|fleet, _| {
        let publisher = fleet.root.publishers.values_mut().next().unwrap();
        publisher.proof = Proof::Key { key: Signer::ed25519().public(), sigstore_root: None };
    });
    assert_eq!(reason, Reason::ModuleSignatureInvalid);
}

#[test]
fn a_publisher_must_be_known_and_allowed_by_root_and_firmware() {
    assert_eq!(refusal_of(|fleet, _| fleet.root.publishers.clear()), Reason::PublisherUnknown);
    let reason = refusal_of(|fleet, _| {
        let publisher = fleet.root.publishers.values_mut().next().unwrap();
        publisher.functions.insert("valve".parse().unwrap());
    });
    assert_eq!(reason, Reason::PublisherNotAllowed);
    let reason = refusal_of(|fleet, _| {
        let role = fleet.identity.profile.functions.get_mut(&setpoint()).unwrap();
        role.publishers.insert("the-firmware-house".parse().unwrap());
    });
    assert_eq!(reason, Reason::PublisherNotAllowed);
}

#[test]
fn denied_modules_and_old_releases_are_refused() {
    let reason = refusal_of(|fleet, _| {
        fleet.root.denied.insert(Digest::of(MODULE));
    });
    assert_eq!(reason, Reason::ModuleDenied);
    let reason = refusal_of(|fleet, _| {
        fleet.root.release_counter_min.insert("some-module".parse().unwrap(), 2);
    });
    assert_eq!(reason, Reason::ReleaseCounterTooLow);
}

#[test]
fn evidence_of_another_module_or_a_size_that_is_not_its_own_is_refused() {
    let reason = refusal_of(|fleet, document| {
        let listed = document.modules.values_mut().next().unwrap();
        listed.evidence = fleet.listed(b"another").evidence;
    });
    assert_eq!(reason, Reason::ModuleSignatureInvalid);
    let reason = refusal_of(|_, document| {
        let listed = document.modules.values_mut().next().unwrap();
        let ModuleEvidence::Key { signature, .. } = &mut listed.evidence else { unreachable!() };
        *signature = "not base64".into();
    });
    assert_eq!(reason, Reason::ModuleSignatureInvalid);
    let reason = refusal_of(|_, document| {
        document.modules.values_mut().for_each(|listed| listed.size_bytes += 1);
    });
    assert_eq!(reason, Reason::ModuleDigestMismatch);
}
