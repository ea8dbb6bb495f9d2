//! All documents ever issued, replayed in any order: the floor never falls and
//! nothing is applied twice.

use gnomon_agent_core::{Effect, Event};
use gnomon_schemas::Version;
use proptest::prelude::*;
use std::sync::LazyLock;

use super::bench::{floor, names};
use super::fixture::{Fleet, cases};

/// A fleet and the envelopes of versions 1 to 12.
static HISTORY: LazyLock<(Fleet, Vec<Vec<u8>>)> = LazyLock::new(|| {
    let fleet = Fleet::new();
    let envelopes = (1..=12).map(|number| fleet.seal_document(&fleet.document(number))).collect();
    (fleet, envelopes)
});

fn activations(effects: &[Effect]) -> usize {
    names(effects).iter().filter(|name| name.starts_with("activate")).count()
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_shuffled_replay_never_lowers_the_floor_and_never_applies_again(
        first in 1..=12_usize,
        order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(),
        again in prop::collection::vec(0..12_usize, 0..20),
    ) {
        let (fleet, envelopes) = &*HISTORY;
        let mut bench = fleet.bench();
        bench.run(Event::Document(envelopes[first - 1].clone()));
        let mut highest = bench.agent.applied_version().map_or(0, Version::get);
        prop_assert_eq!(highest, first as u64);
        for index in order.into_iter().chain(again) {
            let number = index as u64 + 1;
            let effects = bench.run(Event::Document(envelopes[index].clone()));
            let is_newer = number > highest;
            prop_assert_eq!(activations(&effects), usize::from(is_newer), "{} on {}", number, highest);
            prop_assert_eq!(floor(&effects).is_some(), is_newer);
            highest = highest.max(number);
            prop_assert_eq!(bench.agent.applied_version().map(Version::get), Some(highest));
            prop_assert_eq!(bench.stored.floor.as_ref().unwrap().version.get(), highest);
        }
    }
}
