//! What a trust root recalls stays stopped: whatever the planner was about, and whatever
//! became of the planner before it.

use super::bench::{Bench, names, reasons};
use super::fixture::{Fleet, seal_by, session};
use gnomon_agent_core::{Effect, Event};
use gnomon_schemas::{Digest, Reason};

const MODULE: &[u8] = b"a module";

/// The root that denies the module comes, and the planner hears that it is durable.
fn recall(fleet: &mut Fleet, bench: &mut Bench) -> Vec<Effect> {
    fleet.root.version = 2;
    fleet.root.denied.insert(Digest::of(MODULE));
    bench.hear(Event::TrustRoot(seal_by(&fleet.root_key, &fleet.root)));
    bench.hear(Event::RootPersisted(2, Ok(())))
}

fn has(effects: &[Effect], name: &str) -> bool {
    names(effects).iter().any(|known| known == name)
}

#[test]
fn a_planner_that_ends_before_it_could_say_stop_leaves_it_to_the_next_one() {
    let mut fleet = Fleet::new();
    let mut bench = fleet.bench();
    bench.run_document(&fleet, &fleet.document_inline(1, MODULE));
    fleet.root.version = 2;
    fleet.root.denied.insert(Digest::of(MODULE));
    // The root is durable, and nobody hears of it. The keeper goes on.
    bench.hear(Event::TrustRoot(seal_by(&fleet.root_key, &fleet.root)));
    let next = fleet.bench_with_first_root(bench.stored);
    assert!(has(&next.started, "stop 1"), "{:?}", names(&next.started));
    assert!(has(&next.started, "defaults"), "nobody would look after the rest of it");
    assert_eq!(reasons(&next.started), [Reason::ModuleDenied]);
}

#[test]
fn what_the_keeper_is_putting_in_force_is_stopped_right_behind_it() {
    let mut fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document_inline(1, MODULE);
    bench.hear_document(&fleet, &document);
    bench.hear(fleet.prepared(&document));
    assert!(has(&bench.hear(fleet.persisted(&document)), "activate 1"));
    assert!(has(&recall(&mut fleet, &mut bench), "stop 1"));
}

#[test]
fn what_the_store_held_is_not_put_in_force_once_it_is_recalled() {
    let mut fleet = Fleet::new();
    let mut bench = fleet.bench();
    let document = fleet.document_inline(1, MODULE);
    bench.run_document(&fleet, &document);
    let first = fleet.first_root.clone();
    let mut next = Bench::idle(&fleet, &first, &session(2), bench.stored);
    let stored = next.stored.clone();
    assert!(has(&next.hear(Event::Started(stored)), "prepare 1"));
    assert_eq!(reasons(&recall(&mut fleet, &mut next)), [Reason::ModuleDenied]);
    assert_eq!(next.hear(fleet.prepared(&document)), [], "the answer comes too late");
}
