//! Trust roots: one after the other, durable before they are in force; what they
//! replace, recover and recall.

use super::bench::{names, reasons, refused};
use super::fixture::{Fleet, Signer, seal_by, seal_by_all};
use gnomon_agent_core::{Effect, Event, Floor, Stored};
use gnomon_schemas::document::Document;
use gnomon_schemas::reported::State;
use gnomon_schemas::trust::{Role, TrustRoot};
use gnomon_schemas::verify::verify;
use gnomon_schemas::{Digest, Reason};

const MODULE: &[u8] = b"a module";
const DAY_MS: u64 = 24 * 3600 * 1000;

fn role(key: &Signer) -> Role {
    Role { keys: vec![key.public()], threshold: 1 }
}

/// The root after the fleet's, changed, under the fleet's root key.
fn next(fleet: &Fleet, change: impl FnOnce(&mut TrustRoot)) -> (TrustRoot, Vec<u8>) {
    let mut root = fleet.root.clone();
    root.version += 1;
    change(&mut root);
    let envelope = seal_by(&fleet.root_key, &root);
    (root, envelope)
}

#[test]
fn a_root_is_durable_before_it_is_in_force_and_the_next_one_is_asked_for() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    assert!(names(&bench.hear(Event::Connected)).contains(&"fetch root 2".to_owned()));
    let (_, envelope) = next(&fleet, |_| {});
    let effects = bench.hear(Event::TrustRoot(envelope));
    assert_eq!(names(&effects), ["persist root 2"]);
    assert_eq!(bench.reported().trust_version, 1);
    let effects = names(&bench.hear(Event::RootPersisted(2, Ok(()))));
    assert!(effects.contains(&"fetch root 3".to_owned()));
    assert!(effects.contains(&"fetch document".to_owned()), "what was refused may be right now");
    assert_eq!(bench.reported().trust_version, 2);
}

#[test]
fn a_root_that_the_store_could_not_keep_is_not_in_force_and_is_asked_for_again() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let (_, envelope) = next(&fleet, |_| {});
    bench.hear(Event::TrustRoot(envelope.clone()));
    let effects = bench.hear(Event::RootPersisted(2, Err("disk full".into())));
    assert_eq!(reasons(&effects), [Reason::StoreFailed]);
    assert_eq!(bench.reported().trust_version, 1);
    bench.now.0 += 61_000;
    assert!(names(&bench.hear(Event::Clock)).contains(&"fetch root 2".to_owned()));
    bench.run(Event::TrustRoot(envelope));
    assert_eq!(bench.reported().trust_version, 2);
}

#[test]
fn a_root_must_be_the_next_of_this_fleet_and_signed_by_the_old_keys_and_its_own() {
    let fleet = Fleet::new();
    let stranger = Signer::ed25519();
    let mut cases = vec![];
    let mut case = |reason, change: &dyn Fn(&mut TrustRoot), signers: &[&Signer]| {
        let (root, _) = next(&fleet, change);
        cases.push((reason, seal_by_all(signers, &root)));
    };
    let old = &fleet.root_key;
    case(Reason::TrustRootSkipped, &|root| root.version = 3, &[old]);
    case(Reason::Rollback, &|root| root.version = 1, &[old]);
    case(Reason::WrongFleet, &|root| root.fleet = "other".parse().unwrap(), &[old]);
    case(Reason::FastForward, &|root| root.epoch = 9, &[old]);
    case(Reason::Rollback, &|root| root.epoch = 0, &[old]);
    case(Reason::ThresholdNotMet, &|_| {}, &[&stranger]);
    case(Reason::ThresholdNotMet, &|_| {}, &[&fleet.director]);
    // Only the new key, then only the old one, where the key changes.
    case(Reason::ThresholdNotMet, &|root| root.roles.root = role(&stranger), &[&stranger]);
    case(Reason::ThresholdNotMet, &|root| root.roles.root = role(&stranger), &[old]);
    case(Reason::TrustRootInvalid, &|root| root.roles.approver = role(&fleet.director), &[old]);
    case(Reason::TrustRootInvalid, &|root| root.roles.director.threshold = 2, &[old]);
    for (index, (reason, envelope)) in cases.into_iter().enumerate() {
        let mut bench = fleet.bench();
        assert_eq!(reasons(&bench.run(Event::TrustRoot(envelope))), [reason], "case {index}");
        assert_eq!(bench.reported().trust_version, 1);
    }
    let (_, both) = next(&fleet, |root| root.roles.root = role(&stranger));
    let root: TrustRoot = verify(&both, &fleet.root.roles.root).unwrap().into_payload();
    let mut bench = fleet.bench();
    bench.run(Event::TrustRoot(seal_by_all(&[old, &stranger], &root)));
    assert_eq!(bench.reported().trust_version, 2);
}

#[test]
fn fifty_rotations_are_applied_offline_one_after_the_other() {
    let mut fleet = Fleet::new();
    let mut stored = Stored::default();
    let mut offline = vec![];
    for _ in 0..50 {
        let (key, director) = (Signer::ed25519(), Signer::ed25519());
        let mut root = fleet.root.clone();
        root.version += 1;
        root.roles.root = role(&key);
        root.roles.director = role(&director);
        let envelope = seal_by_all(&[&fleet.root_key, &key], &root);
        offline.push(envelope);
        (fleet.root_key, fleet.director, fleet.root) = (key, director, root);
    }
    // The first half was kept by the store, the second was brought on a stick; the
    // firmware's own root is still the first.
    stored.roots = (2..).zip(offline[..25].to_vec()).collect();
    stored.offline_roots = offline;
    let mut bench = fleet.bench_with_first_root(stored);
    assert_eq!(bench.reported().trust_version, 51);
    assert_eq!(bench.stored.roots.len(), 50, "those that were brought are kept from now on");
    bench.run_document(&fleet, &fleet.document(1));
    assert_eq!(bench.state().0, State::InSync);
}

#[test]
fn a_gap_or_a_forgery_among_stored_roots_stops_the_chain_there() {
    let mut fleet = Fleet::new();
    let (two, envelope_two) = next(&fleet, |_| {});
    fleet.root = two;
    let (_, envelope_three) = next(&fleet, |_| {});
    let mut gap = fleet.bench_with_first_root(Stored {
        roots: [(3, envelope_three.clone())].into(),
        ..Stored::default()
    });
    assert_eq!(reasons(&gap.started), [Reason::TrustRootSkipped]);
    assert_eq!(gap.reported().trust_version, 1);
    let mut forged = envelope_three;
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    let roots = [(2, envelope_two), (3, forged)].into();
    let mut bench = fleet.bench_with_first_root(Stored { roots, ..Stored::default() });
    assert_eq!(reasons(&bench.started).len(), 1);
    assert_eq!(bench.reported().trust_version, 2);
}

#[test]
fn a_stolen_director_key_is_recovered_from_by_one_root() {
    let mut fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(1));
    // The thief burns all versions that one document may burn.
    let mut burnt = fleet.document(1_000_000);
    burnt.config.insert("comfort_min_c".into(), 44.into());
    bench.run_document(&fleet, &burnt);
    assert_eq!(bench.state().1.unwrap().get(), 1_000_000);

    let fresh = Signer::ed25519();
    let (root, envelope) = next(&fleet, |root| {
        root.roles.director = role(&fresh);
        root.epoch = 2;
    });
    let thief = std::mem::replace(&mut fleet.director, fresh);
    let mut recovered = fleet.document(2);
    recovered.epoch = 2;
    // The document overtakes the root: refused, and right once the root is there.
    assert_eq!(reasons(&bench.run_document(&fleet, &recovered)), [Reason::ThresholdNotMet]);
    bench.run(Event::TrustRoot(envelope));
    fleet.root = root;
    bench.run_document(&fleet, &recovered);
    assert_eq!(bench.state(), (State::InSync, Some(recovered.version)));
    let mut again = fleet.document(2_000_000);
    again.epoch = 2;
    let effects = bench.run(Event::Document(seal_by(&thief, &again)));
    assert_eq!(reasons(&effects), [Reason::ThresholdNotMet]);
}

#[test]
fn what_was_accepted_under_old_keys_runs_on_after_a_restart_under_new_ones() {
    let mut fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document_inline(1, MODULE));
    let (director, publisher, approver) = (Signer::ed25519(), Signer::p256(), Signer::ed25519());
    let (_, envelope) = next(&fleet, |root| {
        root.roles.director = role(&director);
        root.roles.approver = role(&approver);
        root.publishers.values_mut().for_each(|known| {
            known.proof =
                gnomon_schemas::trust::Proof::Key { key: publisher.public(), sigstore_root: None };
        });
    });
    bench.run(Event::TrustRoot(envelope));
    let stored = std::mem::take(&mut bench.stored);
    let mut restarted = fleet.bench_with_first_root(stored);
    assert_eq!(restarted.state(), (State::InSync, Some(fleet.document(1).version)));
    assert_eq!(restarted.reported().trust_version, 2);
    // But nothing new comes in under the old keys.
    let effects = restarted.run_document(&fleet, &fleet.document(2));
    assert_eq!(reasons(&effects), [Reason::ThresholdNotMet]);
    fleet.director = director;
    restarted.run_document(&fleet, &fleet.document(2));
    assert_eq!(restarted.state().0, State::InSync);
}

#[test]
fn a_root_that_denies_a_module_stops_it_at_once_and_after_every_restart() {
    let fleet = Fleet::new();
    let recalls: [&dyn Fn(&mut TrustRoot); 2] = [
        &|root| {
            root.denied.insert(Digest::of(MODULE));
        },
        &|root| {
            root.release_counter_min.insert("some-module".parse().unwrap(), 2);
        },
    ];
    for recall in recalls {
        let mut bench = fleet.bench();
        bench.run_document(&fleet, &fleet.document_inline(1, MODULE));
        let (_, envelope) = next(&fleet, recall);
        let effects = bench.run(Event::TrustRoot(envelope));
        assert!(names(&effects).contains(&"stop 1".to_owned()), "{:?}", names(&effects));
        assert_eq!(reasons(&effects), [Reason::ModuleDenied]);
        assert_eq!(bench.state().0, State::Rejected);
        let mut restarted = fleet.bench_with_first_root(std::mem::take(&mut bench.stored));
        assert_eq!(restarted.state(), (State::Rejected, None));
        let effects = restarted.run_document(&fleet, &fleet.document_inline(2, MODULE));
        assert_eq!(refused(&effects).len(), 1);
        restarted.run_document(&fleet, &fleet.document(3));
        assert_eq!(restarted.state().0, State::InSync);
    }
}

#[test]
fn the_lowest_release_of_a_module_never_falls() {
    let mut fleet = Fleet::new();
    fleet.root.release_counter_min.insert("some-module".parse().unwrap(), 3);
    let mut bench = fleet.bench();
    let (_, lower) = next(&fleet, |root| root.release_counter_min.clear());
    assert_eq!(reasons(&bench.run(Event::TrustRoot(lower))), [Reason::Rollback]);
}

#[test]
fn a_store_set_back_does_not_take_the_device_back() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document(1));
    let old = Stored { mirror: Default::default(), ..bench.stored.clone() };
    bench.run_document(&fleet, &fleet.document(2));
    // The database of yesterday, the mirror of today.
    let mirror = bench.stored.mirror.clone();
    let mut restored = fleet.bench_from(Stored { mirror, ..old });
    assert_eq!(reasons(&restored.started), [Reason::Rollback]);
    assert_eq!(restored.state(), (State::Rejected, None));
    let replay = restored.run_document(&fleet, &fleet.document(1));
    assert_eq!(reasons(&replay), [Reason::Rollback]);
    // The very document that the floor names heals it.
    restored.run_document(&fleet, &fleet.document(2));
    assert_eq!(restored.state().0, State::InSync);
}

#[test]
fn a_device_that_lost_its_roots_takes_nothing_until_it_has_them_again() {
    let mut fleet = Fleet::new();
    let (two, envelope) = next(&fleet, |_| {});
    let mut stored = Stored::default();
    stored.mirror.trust_version = 2;
    let mut bench = fleet.bench_from(stored);
    assert_eq!(reasons(&bench.run_document(&fleet, &fleet.document(1))), [Reason::Rollback]);
    bench.run(Event::TrustRoot(envelope));
    fleet.root = two;
    bench.run_document(&fleet, &fleet.document(1));
    assert_eq!(bench.state().0, State::InSync);
}

#[test]
fn an_expired_root_lets_nothing_new_in_but_may_be_followed() {
    let mut fleet = Fleet::new();
    fleet.root.expires_at_ms = super::fixture::NOW_MS;
    let mut bench = fleet.bench();
    assert_eq!(reasons(&bench.run_document(&fleet, &fleet.document(1))), [Reason::Expired]);
    let (root, envelope) = next(&fleet, |root| root.expires_at_ms += 1000 * DAY_MS);
    bench.run(Event::TrustRoot(envelope));
    fleet.root = root;
    bench.run_document(&fleet, &fleet.document(1));
    assert_eq!(bench.state().0, State::InSync);
}

#[test]
fn a_document_on_its_way_is_judged_anew_by_a_new_root() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.hear(Event::Document(fleet.seal_document(&fleet.document_with(1, MODULE))));
    let director = Signer::ed25519();
    let (_, envelope) = next(&fleet, |root| root.roles.director = role(&director));
    let effects = bench.run(Event::TrustRoot(envelope));
    assert_eq!(reasons(&effects), [Reason::ThresholdNotMet]);
    let effects = bench.run(Event::Module(Digest::of(MODULE), MODULE.to_vec()));
    assert!(!names(&effects).iter().any(|name| name.starts_with("prepare")));
}

#[test]
fn the_floor_names_the_root_under_which_a_document_was_accepted() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let (_, envelope) = next(&fleet, |_| {});
    bench.run(Event::TrustRoot(envelope));
    bench.run_document(&fleet, &fleet.document(1));
    let document = verify::<Document>(&fleet.seal(&fleet.document(1)), &role(&fleet.director));
    assert_eq!(bench.stored.floor, Some(Floor::of(&document.unwrap(), 2)));
}

#[test]
fn a_clock_that_a_thief_has_burnt_is_recovered_by_the_root_that_ends_the_theft() {
    let mut fleet = Fleet::new();
    let mut bench = fleet.bench();
    for number in 1..=4 {
        let mut lie = fleet.document(number);
        lie.issued_at_ms = u64::MAX >> 12;
        lie.expires_at_ms = lie.issued_at_ms + DAY_MS;
        bench.run_document(&fleet, &lie);
    }
    // By now all that the rightful director signs has expired.
    assert_eq!(reasons(&bench.run_document(&fleet, &fleet.document(5))), [Reason::Expired]);
    let fresh = Signer::ed25519();
    let (root, envelope) = next(&fleet, |root| {
        root.roles.director = role(&fresh);
        root.epoch = 2;
    });
    bench.run(Event::TrustRoot(envelope));
    (fleet.director, fleet.root) = (fresh, root);
    let mut rightful = fleet.document(2);
    rightful.epoch = 2;
    assert_eq!(reasons(&bench.run_document(&fleet, &rightful)), []);
    assert_eq!(bench.state(), (State::InSync, Some(rightful.version)));
}

#[test]
fn a_root_of_the_same_epoch_leaves_the_time_as_it_is() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let mut later = fleet.document(1);
    later.issued_at_ms += 100 * DAY_MS;
    later.expires_at_ms += 200 * DAY_MS;
    bench.run_document(&fleet, &later);
    let (_, envelope) = next(&fleet, |_| {});
    bench.run(Event::TrustRoot(envelope));
    assert_eq!(reasons(&bench.run_document(&fleet, &fleet.document(2))), [Reason::Expired]);
}

#[test]
fn a_document_that_the_keeper_is_admitting_is_judged_anew_at_once() {
    let mut fleet = Fleet::new();
    let mut bench = fleet.bench();
    let thiefs = fleet.document_inline(1, MODULE);
    let effects = bench.hear(Event::Document(fleet.seal_document(&thiefs)));
    assert!(names(&effects).contains(&"prepare 1".to_owned()));
    let answer = fleet.prepared(&thiefs);
    let fresh = Signer::ed25519();
    let (root, envelope) = next(&fleet, |root| {
        root.roles.director = role(&fresh);
        root.epoch = 2;
    });
    bench.hear(Event::TrustRoot(envelope));
    let effects = bench.hear(Event::RootPersisted(2, Ok(())));
    assert_eq!(reasons(&effects), [Reason::ThresholdNotMet], "of the thief's own");
    (fleet.director, fleet.root) = (fresh, root);
    // The rightful one has the same number, and the answer is not taken for it.
    let mut rightful = fleet.document(1);
    rightful.epoch = 2;
    bench.hear(Event::Document(fleet.seal_document(&rightful)));
    assert_eq!(bench.hear(answer), []);
    bench.run(fleet.prepared(&rightful));
    assert_eq!(bench.state(), (State::InSync, Some(rightful.version)));
}

#[test]
fn a_root_that_comes_back_does_not_take_the_time_back_again() {
    let mut fleet = Fleet::new();
    let (two, envelope) = next(&fleet, |root| root.epoch = 2);
    let mut stored = Stored::default();
    // The store is lost; the mirror has seen this root.
    stored.mirror.trust_version = 2;
    let mut bench = fleet.bench_from(stored);
    bench.now.0 += 2 * DAY_MS;
    let effects = bench.hear(Event::TrustRoot(envelope));
    let [Effect::PersistRoot { time_floor_ms, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(*time_floor_ms, None);
    bench.hear(Event::RootPersisted(2, Ok(())));
    fleet.root = two;
    let mut expired = fleet.document(1);
    expired.epoch = 2;
    assert_eq!(reasons(&bench.run_document(&fleet, &expired)), [Reason::Expired]);
}
