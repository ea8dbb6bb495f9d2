//! Counting: intervals, kept records, and numbers that add up.

use gnomon_agent_core::tally::{Cost, Tally};
use gnomon_schemas::document::Reporting;
use gnomon_schemas::results::{ClampCounts, Record, SlotRole, Source};
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Digest, Reason, SignalName};
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::fixture::{cases, setpoint, version};

fn reporting(summary_ticks: u32, record_every: u32, divergent_records_max: u32) -> Reporting {
    Reporting { summary_ticks, record_every, divergent_records_max, ..Reporting::default() }
}

fn tally(reporting: Reporting) -> Tally {
    let module = Some(Digest::of(b"module"));
    Tally::new(setpoint(), module, SlotRole::Candidate, Some(version(1)), reporting)
}

fn record(tick: u64, fault: Option<Reason>) -> Record {
    Record {
        at_ms: tick * 1_000,
        tick,
        function: setpoint(),
        module: Digest::of(b"module"),
        role: SlotRole::Candidate,
        inputs: Values::from([("hour".into(), Value::Float(1.0))]),
        params: Values::new(),
        state: None,
        outputs: None,
        actuated: None,
        fault,
        fuel: Some(100 + tick),
        time_us: tick,
    }
}

fn output() -> SignalName {
    "setpoint_c".parse().unwrap()
}

fn values(number: f64) -> Values {
    Values::from([("setpoint_c".into(), Value::Float(number))])
}

#[test]
fn an_interval_is_due_after_its_ticks_and_starts_again_from_zero() {
    let mut tally = tally(reporting(3, 0, 0));
    assert!(tally.is_empty() && !tally.is_due());
    for at_ms in [10, 20, 30] {
        assert!(!tally.is_due());
        tally.tick(at_ms);
    }
    tally.missed(4);
    assert!(tally.is_due());
    let (summary, records) = tally.take();
    assert_eq!((summary.from_ms, summary.to_ms, summary.ticks, summary.missed), (10, 30, 3, 4));
    assert_eq!((summary.version, summary.role), (Some(version(1)), SlotRole::Candidate));
    assert!(records.is_empty() && tally.is_empty() && !tally.is_due());
    tally.tick(40);
    let (next, _) = tally.take();
    assert_eq!((next.from_ms, next.ticks, next.missed), (40, 1, 0));
    assert_eq!(next.module, Some(Digest::of(b"module")), "still the same slot");
}

#[test]
fn one_record_in_so_many_is_sampled_by_the_number_of_the_tick() {
    let mut tally = tally(reporting(100, 10, 0));
    (1..=25).for_each(|tick| tally.evaluated(record(tick, None), Cost::default(), 0.0));
    let ticks: Vec<u64> = tally.take().1.iter().map(|record| record.tick).collect();
    assert_eq!(ticks, [10, 20]);
}

#[test]
fn records_that_fill_a_batch_end_the_interval_early_and_never_fill_the_memory() {
    let mut tally = tally(reporting(u32::MAX, 1, u32::MAX));
    let mut heavy = record(1, None);
    heavy.inputs.insert("list".into(), Value::from(vec![1.0; 4096]));
    tally.tick(1);
    tally.evaluated(heavy.clone(), Cost::default(), 0.0);
    assert!(tally.is_due());
    // Nobody takes them: a planner that stands still.
    (0..1_000).for_each(|_| tally.evaluated(heavy.clone(), Cost::default(), 1.0));
    let (summary, records) = tally.take();
    assert_eq!(summary.evaluations, 1_001, "counted nevertheless");
    assert!(records.len() < 40, "{} records kept", records.len());
}

#[test]
fn faults_and_evaluations_add_up() {
    let mut tally = tally(reporting(100, 0, 0));
    for tick in 1..=10 {
        tally.tick(tick);
        let fault = (tick % 3 == 0).then_some(Reason::OutOfFuel);
        let cost = Cost { time_us: tick, memory_bytes: tick * 10 };
        tally.evaluated(record(tick, fault), cost, 0.0);
    }
    tally.skip(11);
    tally.actuated(Source::HoldLast, &BTreeMap::new());
    let summary = tally.take().0;
    assert_eq!((summary.ticks, summary.evaluations, summary.skipped), (11, 7, 1));
    assert_eq!(summary.faults, BTreeMap::from([(Reason::OutOfFuel, 3)]));
    assert_eq!(summary.evaluations + summary.faults[&Reason::OutOfFuel] + summary.skipped, 11);
    assert_eq!((summary.fuel.count(), summary.time_us.max()), (10, 10));
    assert_eq!(summary.memory_bytes_max, 100);
    assert_eq!(summary.sources, BTreeMap::from([(Source::HoldLast, 1)]));
}

#[test]
fn clamps_are_merged_by_output() {
    let mut tally = tally(reporting(100, 0, 0));
    let counts = ClampCounts { range: 1, step: 2, not_finite: 3, interlock: 4 };
    for _ in 0..3 {
        tally.clamped(&BTreeMap::from([(output(), counts)]));
    }
    tally.tick(1);
    let merged = tally.take().0.clamped[&output()];
    assert_eq!(merged, ClampCounts { range: 3, step: 6, not_finite: 9, interlock: 12 });
    assert_eq!(merged.total(), 30);
}

#[test]
fn comparison_measures_in_tolerances_and_leaves_out_what_is_not_finite() {
    let mut tally = tally(reporting(100, 0, 0));
    let name = output();
    let mut compare = |active: f64, candidate: f64, tolerance: f64| {
        let tolerances = [(&name, tolerance)].into_iter();
        tally.compare(&values(active), &values(candidate), tolerances)
    };
    assert_eq!(compare(50.0, 50.5, 0.5), 0.0, "within the tolerance");
    assert_eq!(compare(50.0, 52.0, 0.5), 4.0);
    assert_eq!(compare(50.0, f64::NAN, 0.5), 0.0);
    assert_eq!(compare(f64::INFINITY, 50.0, 0.5), 0.0);
    assert!(compare(50.0, 50.1, 0.0) > 1e100, "no tolerance at all");
    tally.tick(1);
    let differences = &tally.take().0.differences[&output()];
    assert_eq!((differences.compared, differences.mismatches), (3, 2));
    assert_eq!(differences.max_abs, 2.0);
}

#[test]
fn values_without_a_number_differ_by_one_or_not_at_all() {
    let mut tally = tally(reporting(100, 0, 0));
    let (name, mode) =
        (output(), |case: &str| Values::from([("setpoint_c".into(), Value::Text(case.into()))]));
    let tolerances = || [(&name, 0.5)].into_iter();
    assert_eq!(tally.compare(&mode("eco"), &mode("eco"), tolerances()), 0.0);
    assert_eq!(tally.compare(&mode("eco"), &mode("off"), tolerances()), 2.0);
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_records_that_are_kept_are_the_most_divergent(
        divergences in prop::collection::vec(0.0..100.0_f64, 0..80),
        most in 0..8_u32,
    ) {
        let mut tally = tally(reporting(1_000, 0, most));
        for (tick, divergence) in divergences.iter().enumerate() {
            tally.evaluated(record(tick as u64, None), Cost::default(), *divergence);
        }
        tally.tick(1);
        let (summary, kept) = tally.take();
        prop_assert_eq!(summary.evaluations, divergences.len() as u64);
        let mut expected: Vec<f64> = divergences.iter().copied().filter(|d| *d > 0.0).collect();
        expected.sort_by(|a, b| b.total_cmp(a));
        expected.truncate(most as usize);
        let kept: Vec<f64> =
            kept.iter().map(|record| divergences[usize::try_from(record.tick).unwrap()]).collect();
        prop_assert_eq!(kept, expected);
    }

    #[test]
    fn intervals_merged_count_what_one_long_interval_counts(
        pairs in prop::collection::vec((30.0..70.0_f64, 30.0..70.0_f64), 1..60),
        cut in 0..60_usize,
    ) {
        let name = output();
        let cut = cut.min(pairs.len());
        let count = |pairs: &[(f64, f64)]| {
            let mut tally = tally(reporting(1_000, 0, 0));
            tally.tick(1);
            for (active, candidate) in pairs {
                let tolerances = [(&name, 0.5)].into_iter();
                tally.compare(&values(*active), &values(*candidate), tolerances);
            }
            tally.take().0.differences.remove(&name).unwrap_or_default()
        };
        let whole = count(&pairs);
        let mut merged = count(&pairs[..cut]);
        merged.merge(&count(&pairs[cut..]));
        prop_assert_eq!(merged.compared, whole.compared);
        prop_assert_eq!(merged.mismatches, whole.mismatches);
        prop_assert_eq!(merged.max_abs, whole.max_abs);
        prop_assert_eq!(merged.abs_milli, whole.abs_milli);
        prop_assert!((merged.sum_abs - whole.sum_abs).abs() < 1e-9);
    }
}
