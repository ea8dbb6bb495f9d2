//! Documents that have yet to prove themselves: which those are, how they do, and how
//! often the device may start with them.

use gnomon_agent_core::agent::{Effect, Event, TRIAL_STARTS_MAX};
use gnomon_agent_core::{Monotonic, Stored};
use gnomon_schemas::document::{Document, Probation, Slot};
use gnomon_schemas::reported::State;
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Digest, Reason, Refusal};

use super::bench::{Bench, names, prepares, reasons};
use super::fixture::{Fleet, session, setpoint, version};

/// Whether the keeper is told that a document is on trial.
fn is_on_trial(bench: &mut Bench, fleet: &Fleet, document: &Document) -> bool {
    let effects = bench.run_document(fleet, document);
    let [prepare] = &prepares(&effects)[..] else { panic!("{:?}", names(&effects)) };
    let written = effects.iter().find_map(|effect| match effect {
        Effect::Persist(change) => Some(change.trial.clone()),
        _ => None,
    });
    let trial = written.unwrap();
    assert_eq!(trial.is_some(), prepare.on_trial, "durable with the document");
    if let Some(trial) = trial {
        assert_eq!((trial.document, trial.starts), (fleet.digest(document), 1));
        assert_eq!(trial.session, session(1));
    }
    assert_eq!(bench.reported().on_probation, prepare.on_trial);
    prepare.on_trial
}

fn slot_of(document: &mut Document) -> &mut Slot {
    let plan = document.functions.get_mut(&setpoint()).unwrap();
    plan.active.as_mut().unwrap()
}

#[test]
fn a_document_that_changes_an_active_slot_is_on_trial_and_another_is_not() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let mut on_trial = |document: &Document| {
        let on_trial = is_on_trial(&mut bench, &fleet, document);
        bench.run(fleet.proven(document));
        on_trial
    };
    assert!(!on_trial(&fleet.document(1)), "nothing in control");
    let first = fleet.document_inline(2, b"module");
    assert!(on_trial(&first));
    let mut next = first.clone();
    let mut changed = |change: &dyn Fn(&mut Document)| {
        next.version = version(next.version.get() + 1);
        change(&mut next);
        on_trial(&next)
    };
    assert!(!changed(&|document| {
        document.config.insert("comfort_min_c".into(), 44.into());
    }));
    assert!(!changed(&|document| {
        let other = fleet.document_inline(1, b"beside");
        document.modules.extend(other.modules);
        let slot = other.functions[&setpoint()].active.clone().unwrap();
        document.functions.get_mut(&setpoint()).unwrap().candidates.push(slot);
    }));
    assert!(changed(&|document| {
        slot_of(document).params = Values::from([("high_c".into(), Value::Float(60.0))]);
    }));
    assert!(changed(&|document| {
        let plan = document.functions.get_mut(&setpoint()).unwrap();
        std::mem::swap(plan.active.as_mut().unwrap(), &mut plan.candidates[0]);
    }));
    assert!(!changed(&|document| {
        document.functions.get_mut(&setpoint()).unwrap().active = None;
    }));
    let mut trusted = fleet.document_inline(20, b"trusted");
    let none = Probation { ticks: 0, ..Probation::default() };
    trusted.functions.get_mut(&setpoint()).unwrap().probation = Some(none);
    assert!(!on_trial(&trusted), "the document asks for none");
}

#[test]
fn a_document_that_has_proved_itself_is_not_on_trial_any_more() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let (first, other) = (fleet.document_inline(1, b"module"), fleet.document(2));
    bench.run_document(&fleet, &first);
    assert_eq!(bench.hear(fleet.proven(&other)), [], "another document's");
    assert!(bench.reported().on_probation);
    let effects = bench.hear(fleet.proven(&first));
    assert_eq!(names(&effects), ["end trial", "report InSync", "send"]);
    assert!(!bench.reported().on_probation);
    assert_eq!(bench.hear(fleet.proven(&first)), [], "said once");
    let restarted = fleet.bench_in(&session(2), bench.stored);
    assert!(!prepares(&restarted.started)[0].on_trial);
}

/// The same device in its next start: planner and keeper.
fn restart(fleet: &Fleet, bench: Bench, start: u8) -> Bench {
    fleet.bench_in(&session(start), bench.stored)
}

#[test]
fn a_document_on_trial_goes_on_with_it_after_a_restart() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.prove(&fleet, &fleet.document_inline(1, b"good"));
    bench.run_document(&fleet, &fleet.document_inline(2, b"new"));
    let mut bench = restart(&fleet, bench, 2);
    let expected = ["trial 2", "prepare 2", "report Pending", "activate 2", "report InSync"];
    assert_eq!(names(&bench.started), expected);
    assert!(prepares(&bench.started)[0].on_trial);
    assert!(bench.reported().on_probation);
}

#[test]
fn too_many_starts_without_doing_well_take_the_device_back_by_itself() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.prove(&fleet, &fleet.document_inline(1, b"good"));
    bench.run_document(&fleet, &fleet.document_inline(2, b"new"));
    for start in 2..=TRIAL_STARTS_MAX {
        bench = restart(&fleet, bench, u8::try_from(start).unwrap());
        assert_eq!(names(&bench.started)[0], format!("trial {start}"));
        assert_eq!(bench.state(), (State::InSync, Some(version(2))));
    }
    let floor = bench.stored.floor.clone();
    let mut bench = restart(&fleet, bench, 99);
    assert_eq!(names(&bench.started)[0], "persist rollback");
    assert_eq!(reasons(&bench.started), [Reason::ProbationFailed]);
    assert!(!prepares(&bench.started)[0].on_trial, "what was before has proved itself");
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
    assert_eq!(bench.reported().seen, Some(version(2)));
    assert_eq!(bench.stored.floor, floor, "the floor stays");
    // Nothing of that changes with the next start.
    let mut bench = restart(&fleet, bench, 100);
    assert_eq!(reasons(&bench.started), []);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn too_many_starts_of_the_first_document_end_on_the_defaults() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document_inline(1, b"new"));
    for start in 2..=TRIAL_STARTS_MAX + 1 {
        bench = restart(&fleet, bench, u8::try_from(start).unwrap());
    }
    assert_eq!(reasons(&bench.started), [Reason::ProbationFailed]);
    assert_eq!(bench.state(), (State::Rejected, None));
    assert_eq!(bench.stored.envelope, None);
    let mut bench = restart(&fleet, bench, 99);
    assert_eq!(prepares(&bench.started), []);
    bench.run_document(&fleet, &fleet.document_inline(2, b"new"));
    assert_eq!(bench.state(), (State::InSync, Some(version(2))), "a newer one is tried");
}

#[test]
fn a_planner_that_starts_again_beside_its_keeper_does_not_count() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.prove(&fleet, &fleet.document_inline(1, b"good"));
    bench.run_document(&fleet, &fleet.document_inline(2, b"new"));
    for _ in 0..10 {
        bench = fleet.bench_in(&session(1), bench.stored);
        assert_eq!(names(&bench.started)[0], "prepare 2");
    }
    assert_eq!(bench.stored.trial.as_ref().unwrap().starts, 1);
}

#[test]
fn a_document_that_does_well_for_a_while_may_start_as_often_as_before() {
    let fleet = Fleet::new();
    let second = fleet.document_inline(2, b"new");
    let mut bench = fleet.bench();
    bench.prove(&fleet, &fleet.document_inline(1, b"good"));
    bench.run_document(&fleet, &second);
    for start in 2..=20 {
        bench = restart(&fleet, bench, start);
        assert_eq!(bench.state(), (State::InSync, Some(version(2))));
        assert_eq!(bench.hear(fleet.healthy(&fleet.document(9))), [], "another document's");
        assert_eq!(names(&bench.hear(fleet.healthy(&second))), ["trial 0"]);
    }
}

#[test]
fn a_document_that_takes_the_place_of_an_unproven_one_is_measured_by_what_was_proven() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let good = fleet.document_inline(1, b"good");
    bench.prove(&fleet, &good);
    let second = fleet.document_inline(2, b"new");
    bench.run_document(&fleet, &second);
    // The same module with another setting: it has as much to prove as before.
    let mut third = second.clone();
    third.version = version(3);
    third.config.insert("comfort_min_c".into(), 44.into());
    assert!(is_on_trial(&mut bench, &fleet, &third));
    let report = bench.reported().functions[&setpoint()].clone();
    assert_eq!(report.previous, Some(Digest::of(b"good")), "what a rollback returns to");
    bench.run(fleet.rolled_back(&third, Some(&good)));
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))), "past the unproven one");
    let mut bench = restart(&fleet, bench, 2);
    assert_eq!(bench.state(), (State::Rejected, Some(version(1))));
}

#[test]
fn what_was_proven_before_need_not_prove_itself_again() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let good = fleet.document_inline(1, b"good");
    bench.prove(&fleet, &good);
    bench.run_document(&fleet, &fleet.document_inline(2, b"new"));
    // An operator goes back before the trial is over.
    let mut back = good.clone();
    back.version = version(3);
    assert!(!is_on_trial(&mut bench, &fleet, &back));
    assert_eq!(bench.reported().functions[&setpoint()].previous, None);
    assert_eq!(bench.state(), (State::InSync, Some(version(3))));
}

#[test]
fn a_preparation_that_fails_is_kept_unless_it_was_not_the_documents_fault() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let (first, second) = (fleet.document_inline(1, b"one"), fleet.document_inline(2, b"two"));
    bench.hear_document(&fleet, &first);
    let busy = Refusal::new(Reason::Unavailable, "no room for another process");
    let effects = bench.hear(fleet.not_prepared(&first, busy));
    assert_eq!((reasons(&effects), bench.stored.failures.len()), (vec![Reason::Unavailable], 0));
    bench.now = Monotonic(60_000);
    assert_eq!(prepares(&bench.hear(Event::Clock)).len(), 1, "tried again by itself");
    let mismatch = Refusal::new(Reason::GoldenMismatch, "outputs.setpoint_c is 1, expected 2");
    let effects = bench.hear(fleet.not_prepared(&first, mismatch.clone()));
    assert!(names(&effects).contains(&"keep failure".into()), "{:?}", names(&effects));
    let [failure] = &bench.stored.failures[..] else { panic!("{:?}", bench.stored.failures) };
    assert_eq!((&failure.document, &failure.refusal), (&fleet.digest(&first), &mismatch));
    assert_eq!(bench.stored.floor, None, "it was never accepted");
    // Not again in this start, whatever was heard meanwhile, and not in the next.
    bench.hear(Event::Document(b"garbage".to_vec()));
    assert_eq!(bench.run_document(&fleet, &first), [], "hearing it again is no news");
    let mut bench = restart(&fleet, bench, 2);
    let effects = bench.run_document(&fleet, &first);
    assert_eq!((reasons(&effects), prepares(&effects)), (vec![Reason::GoldenMismatch], vec![]));
    assert_eq!(bench.state(), (State::Rejected, None));
    bench.run_document(&fleet, &second);
    assert_eq!(bench.state(), (State::InSync, Some(version(2))));
}

#[test]
fn failures_are_remembered_up_to_a_number_the_oldest_goes() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench();
    let documents: Vec<_> = (1..=9).map(|number| fleet.document(number)).collect();
    let refusal = Refusal::new(Reason::CompileFailed, "no");
    for document in &documents {
        bench.hear_document(&fleet, document);
        bench.hear(fleet.not_prepared(document, refusal.clone()));
    }
    assert_eq!(prepares(&bench.hear_document(&fleet, &documents[1])), [], "the second is known");
    assert_eq!(prepares(&bench.hear_document(&fleet, &documents[0])).len(), 1);
}

#[test]
fn an_empty_store_has_nothing_on_trial() {
    let fleet = Fleet::new();
    let mut bench = fleet.bench_from(Stored::default());
    assert!(!bench.reported().on_probation);
    assert_eq!(bench.started, []);
}
