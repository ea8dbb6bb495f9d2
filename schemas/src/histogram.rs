//! A histogram as it travels: sparse, mergeable, of whole numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts by value. Values are exact up to 127 and keep two significant
/// figures beyond (the lowest value of their bucket, after Gil Tene's
/// HdrHistogram: 64 sub-buckets for each power of two).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Histogram {
    buckets: BTreeMap<u64, u64>,
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        *self.buckets.entry(bucket_of(value)).or_default() += 1;
    }

    /// Adds all counts of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (&value, &count) in &other.buckets {
            let bucket = self.buckets.entry(bucket_of(value)).or_default();
            *bucket = bucket.saturating_add(count);
        }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.values().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The value at or below which a share `quantile` of the values lies; 0 when empty.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among counts; an error of one in 2^53 does not matter"
    )]
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = (quantile.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0_u64;
        for (&value, &count) in &self.buckets {
            seen = seen.saturating_add(count);
            if seen >= rank {
                return value;
            }
        }
        self.max()
    }

    /// The greatest value; 0 when empty.
    pub fn max(&self) -> u64 {
        self.buckets.keys().next_back().copied().unwrap_or(0)
    }
}

fn bucket_of(value: u64) -> u64 {
    let shift = (64 - value.leading_zeros()).saturating_sub(7);
    (value >> shift) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_are_exact_and_large_ones_keep_two_figures() {
        for value in [0, 1, 99, 127, 128, 1_000, 123_456, u64::MAX] {
            let bucket = bucket_of(value);
            assert!(bucket <= value && value - bucket <= value / 64, "{value} in {bucket}");
            assert_eq!(bucket_of(bucket), bucket);
        }
    }

    #[test]
    fn quantiles_count_ranks_and_merging_adds() {
        let mut low = Histogram::default();
        let mut high = Histogram::default();
        (1..=50).for_each(|value| low.record(value));
        (51..=100).for_each(|value| high.record(value));
        low.merge(&high);
        assert_eq!((low.count(), low.quantile(0.5), low.quantile(0.95)), (100, 50, 95));
        assert_eq!((low.max(), Histogram::default().quantile(0.5)), (100, 0));
    }
}
