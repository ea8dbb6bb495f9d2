//! Planners come and go, the keeper goes on: what was done is said again until it is
//! kept, and each planner is told what it must know.

use gnomon_agent::keeper::WithoutPlanner;
use gnomon_agent_core::message::{FromKeeper, ToKeeper};
use gnomon_schemas::results::{SlotRole, Source};
use serde_json::json;
use std::collections::BTreeMap;

use super::bench::{Bench, digest_of};
use super::fixture::{Plan, counting_from, hot, profile, spin, tou};

fn bench() -> Bench {
    Bench::start(profile(), WithoutPlanner::GoOn)
}

/// Waits until the keeper has taken all that it was told so far: frames are in order.
fn obeyed(bench: &mut Bench) {
    let other = tou();
    assert_eq!(bench.reason_of(&other.document(99), &other.modules), None);
}

#[test]
fn a_keeper_goes_on_without_its_planner_and_speaks_with_the_next_one() {
    let mut bench = bench();
    bench.put_in_force(1, &tou());
    bench.hang_up();
    for _ in 0..5 {
        assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
    }
    assert_eq!(bench.attach(), None);
    bench.put_in_force(2, &hot(66.0));
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 66.0);
    let (summaries, _) = bench.close();
    assert_eq!(summaries.iter().map(|summary| summary.ticks).sum::<u64>(), 6);
}

#[test]
fn what_was_done_is_said_again_to_the_next_planner_until_it_is_kept() {
    let mut bench = bench();
    bench.keeps = false;
    bench.put_in_force(1, &tou().summary_ticks(1));
    bench.hands.ticks(5);
    bench.wait_until(|bench| bench.numbers.len() == 5);
    assert_eq!(bench.numbers, [1, 2, 3, 4, 5]);
    bench.hang_up();
    bench.hands.ticks(2);
    bench.attach();
    bench.wait_until(|bench| bench.numbers.len() == 5 + 7);
    assert_eq!(bench.numbers[5..], [1, 2, 3, 4, 5, 6, 7], "without a gap");
    bench.tell(&ToKeeper::Kept { number: 4 });
    obeyed(&mut bench);
    bench.attach();
    bench.wait_until(|bench| bench.numbers.len() == 12 + 3);
    assert_eq!(bench.numbers[12..], [5, 6, 7]);
    bench.tell(&ToKeeper::Kept { number: 7 });
    obeyed(&mut bench);
    bench.attach();
    bench.hands.ticks(1);
    bench.wait_until(|bench| bench.numbers.len() == 15 + 1);
    assert_eq!(bench.numbers[15..], [8], "the numbers go on");
}

#[test]
fn what_is_not_kept_is_held_up_to_a_number_and_the_counts_go_on() {
    let mut bench = bench();
    bench.keeps = false;
    bench.put_in_force(1, &tou().summary_ticks(1));
    bench.hands.ticks(200);
    obeyed(&mut bench);
    let held = bench.numbers.len() as u64;
    assert!(held < 64, "{held} messages");
    bench.tell(&ToKeeper::Kept { number: held });
    obeyed(&mut bench);
    bench.hands.ticks(1);
    bench.wait_until(|bench| bench.numbers.len() as u64 > held);
    let ticks = bench.of(SlotRole::Active).map(|summary| summary.ticks).sum::<u64>();
    assert_eq!(ticks, 201, "not one was forgotten");
}

#[test]
fn a_rollback_that_no_planner_heard_of_is_the_next_ones_first_news() {
    let mut bench = bench();
    let good = tou().probation(2, 0);
    bench.put_in_force(1, &good);
    bench.hands.ticks(2);
    let bad = Plan::active(&spin(), json!({})).probation(20, 0);
    bench.put_in_force(2, &bad);
    bench.hang_up();
    assert_eq!(bench.hands.tick(1.0).source, Source::HoldLast);
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
    for _ in 0..2 {
        let what = bench.attach().expect("nobody has said that it was heard");
        assert_eq!(what.from, digest_of(&bad.document(2)));
        assert_eq!(what.to, Some(digest_of(&good.document(1))));
    }
    bench.put_in_force(3, &hot(66.0));
    assert_eq!(bench.attach(), None, "past");
}

#[test]
fn another_planner_that_asks_for_what_is_in_force_changes_nothing() {
    let mut bench = bench();
    let plan = Plan::active(&counting_from("counting", 40), json!({})).probation(12, 0);
    let document = plan.document(1);
    bench.put_in_force(1, &plan);
    bench.hands.ticks(3);
    bench.attach();
    // It is at hand: no module has to come with it.
    let ask = |bench: &mut Bench| {
        assert_eq!(bench.reason_of(&document, &BTreeMap::new()), None);
        bench.send_activate(1);
        let activated = bench.next_word();
        let FromKeeper::Activated { document: of, from_tick, .. } = activated else {
            panic!("{activated:?}")
        };
        assert_eq!((of, from_tick), (digest_of(&document), BTreeMap::new()), "no swap");
    };
    ask(&mut bench);
    assert!(bench.view().on_trial, "its trial goes on");
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 43.0);
    bench.hands.ticks(7);
    let of_it = digest_of(&document);
    assert_eq!(bench.next_word(), FromKeeper::Healthy { document: of_it.clone() });
    // What the one before was told, this one is told, too.
    bench.attach();
    ask(&mut bench);
    assert_eq!(bench.next_word(), FromKeeper::Healthy { document: of_it.clone() });
    bench.hands.ticks(1);
    assert_eq!(bench.next_word(), FromKeeper::Proven { document: of_it.clone() });
    bench.attach();
    ask(&mut bench);
    assert_eq!(bench.next_word(), FromKeeper::Proven { document: of_it });
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 52.0, "one call after the other");
}

#[test]
fn a_planner_that_is_replaced_is_not_listened_to_any_more() {
    let mut bench = bench();
    bench.put_in_force(1, &tou());
    let mut before = bench.attach_and_keep();
    let old = hot(66.0).document(2);
    let document = digest_of(&old);
    let told = ToKeeper::Activate { document, version: 2.try_into().unwrap() };
    assert!(gnomon_agent::frames::write_frame(&mut before.to, &told).is_err());
    assert_eq!(bench.hands.tick(1.0).setpoint_c, 60.0);
}
