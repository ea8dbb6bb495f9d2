//! How much it matters that a batch arrives: by the first thing in it that matters most.

use super::fixture;
use gnomon_schemas::Reason;
use gnomon_schemas::results::{Class, Results};

/// The example batch with one change.
fn class_of(change: impl FnOnce(&mut Results)) -> Class {
    let mut results = fixture::results();
    change(&mut results);
    results.class()
}

#[test]
fn refusals_and_faults_matter_most_and_samples_least() {
    assert_eq!(class_of(|_| {}), Class::Faults, "the example has both");
    let calm = |results: &mut Results| {
        results.refusals.clear();
        results.summaries.iter_mut().for_each(|summary| summary.faults.clear());
    };
    assert_eq!(class_of(calm), Class::Summaries);
    let only_samples = |results: &mut Results| {
        calm(results);
        results.summaries.clear();
    };
    assert_eq!(class_of(only_samples), Class::Samples);
    let one_fault = |results: &mut Results| {
        calm(results);
        results.summaries[1].faults.insert(Reason::OutOfFuel, 1);
    };
    assert_eq!(class_of(one_fault), Class::Faults);
    let only_refusals = |results: &mut Results| {
        results.summaries.clear();
        results.records.clear();
    };
    assert_eq!(class_of(only_refusals), Class::Faults);
    assert!(Class::Faults < Class::Summaries && Class::Summaries < Class::Samples);
}

#[test]
fn what_was_dropped_is_told_by_class_and_by_nothing_where_nothing_was() {
    let mut results = fixture::results();
    let text = serde_json::to_string(&results).unwrap();
    assert!(!text.contains("dropped_by_class"), "{text}");
    results.dropped_by_class.insert(Class::Samples, 7);
    let text = serde_json::to_string(&results).unwrap();
    assert!(text.contains(r#""dropped_by_class":{"samples":7}"#), "{text}");
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
}
