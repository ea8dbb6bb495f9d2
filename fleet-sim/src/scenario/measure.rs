//! What is kept of a quantity over a run: sums and extremes, a curve to plot.
//!
//! Owns the aggregates that assertions name. A year of minutes of a fleet does not fit in
//! memory, so nothing is kept of single ticks but what `p95` cannot do without. Refuses to know
//! what the quantities mean.

/// Points of a plotted curve.
pub(super) const BUCKETS: usize = 600;

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

impl Comparison {
    /// Whether it holds; never with NaN.
    #[expect(clippy::float_cmp, reason = "`==` in a scenario means the very number")]
    pub(super) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Below => left < right,
            Comparison::AtMost => left <= right,
            Comparison::Above => left > right,
            Comparison::AtLeast => left >= right,
            Comparison::Equal => left == right,
        }
    }

    /// As a scenario writes it.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
            Comparison::Equal => "==",
        }
    }
}

/// Which ticks `count` counts: those with such a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Threshold {
    pub(super) comparison: Comparison,
    pub(super) number: f64,
}

/// How a quantity becomes one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Aggregate {
    Min,
    Max,
    Mean,
    Sum,
    Last,
    P95,
    /// Ticks with a value, or with one beyond a threshold.
    Count(Option<Threshold>),
}

/// One point of a curve: what the ticks of its stretch of time had.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub(super) sum: f64,
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) max: f64,
}

const EMPTY: Bucket = Bucket { sum: 0.0, count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY };

impl Bucket {
    #[inline]
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
        // `f64::min` must heed NaN; none comes here.
        self.min = if value < self.min { value } else { self.min };
        self.max = if value > self.max { value } else { self.max };
    }

    fn merge(&mut self, other: &Bucket) {
        self.sum += other.sum;
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// One quantity of one variant over all ticks, and all devices once merged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tracker {
    /// Place of the quantity in the scenario's list.
    pub(super) quantity: usize,
    pub(super) curve: Vec<Bucket>,
    /// The value of each device at its end.
    last_sum: f64,
    last_devices: u64,
    last: f64,
    thresholds: Vec<(Threshold, u64)>,
    samples: Option<Vec<f64>>,
}

impl Tracker {
    pub(super) fn new(quantity: usize) -> Tracker {
        Tracker {
            quantity,
            curve: vec![EMPTY; BUCKETS],
            last_sum: 0.0,
            last_devices: 0,
            last: f64::NAN,
            thresholds: vec![],
            samples: None,
        }
    }

    /// Prepares for an aggregate that needs more than sums and extremes.
    pub(super) fn wants(&mut self, aggregate: Aggregate) {
        match aggregate {
            Aggregate::P95 => self.samples = Some(vec![]),
            Aggregate::Count(Some(threshold))
                if !self.thresholds.iter().any(|(known, _)| *known == threshold) =>
            {
                self.thresholds.push((threshold, 0));
            }
            _ => {}
        }
    }

    /// Whether each single value is kept.
    pub(super) fn keeps_samples(&self) -> bool {
        self.samples.is_some()
    }

    /// Adds the value of one tick; NaN is none.
    #[inline]
    pub(super) fn add(&mut self, value: f64, bucket: usize) {
        if value.is_nan() {
            return;
        }
        self.last = value;
        if let Some(bucket) = self.curve.get_mut(bucket) {
            bucket.add(value);
        }
        for (threshold, count) in &mut self.thresholds {
            *count += u64::from(threshold.comparison.holds(value, threshold.number));
        }
        if let Some(samples) = &mut self.samples {
            samples.push(value);
        }
    }

    /// Adds another device, or closes the account of the first.
    pub(super) fn merge(&mut self, other: &Tracker) {
        for (mine, others) in self.curve.iter_mut().zip(&other.curve) {
            mine.merge(others);
        }
        if !other.last.is_nan() {
            self.last_sum += other.last;
            self.last_devices += 1;
        }
        for ((_, mine), (_, others)) in self.thresholds.iter_mut().zip(&other.thresholds) {
            *mine += others;
        }
        if let (Some(mine), Some(others)) = (&mut self.samples, &other.samples) {
            mine.extend_from_slice(others);
        }
    }

    /// The number that an assertion asks for; NaN if no tick had a value.
    pub(super) fn value(&self, aggregate: Aggregate) -> f64 {
        let mut all = EMPTY;
        self.curve.iter().for_each(|bucket| all.merge(bucket));
        if all.count == 0 {
            return match aggregate {
                Aggregate::Count(_) | Aggregate::Sum => 0.0,
                _ => f64::NAN,
            };
        }
        match aggregate {
            Aggregate::Min => all.min,
            Aggregate::Max => all.max,
            Aggregate::Mean => all.mean(),
            Aggregate::Sum => all.sum,
            Aggregate::Last => self.last_sum / self.last_devices as f64,
            Aggregate::P95 => percentile(self.samples.as_deref().unwrap_or(&[]), 95),
            Aggregate::Count(None) => all.count as f64,
            Aggregate::Count(Some(threshold)) => {
                let known = self.thresholds.iter().find(|(known, _)| *known == threshold);
                known.map_or(f64::NAN, |(_, count)| *count as f64)
            }
        }
    }
}

/// The smallest value that at least this share of the values does not exceed.
fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut samples = samples.to_vec();
    let index = (samples.len() * percent).div_ceil(100).saturating_sub(1);
    if index >= samples.len() {
        return f64::NAN;
    }
    *samples.select_nth_unstable_by(index, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(values: &[f64], wanted: &[Aggregate]) -> Tracker {
        let mut tracker = Tracker::new(0);
        wanted.iter().for_each(|aggregate| tracker.wants(*aggregate));
        for (index, value) in values.iter().enumerate() {
            tracker.add(*value, index * BUCKETS / values.len());
        }
        tracker
    }

    #[test]
    fn aggregates_are_over_all_ticks_of_all_devices() {
        let above = Threshold { comparison: Comparison::Above, number: 2.0 };
        let wanted = [Aggregate::P95, Aggregate::Count(Some(above))];
        let mut all = device(&[], &wanted);
        all.merge(&device(&[1.0, f64::NAN, 3.0], &wanted));
        all.merge(&device(&[5.0, 2.0], &wanted));
        let value = |aggregate| all.value(aggregate);
        assert_eq!(value(Aggregate::Min), 1.0);
        assert_eq!(value(Aggregate::Max), 5.0);
        assert_eq!(value(Aggregate::Sum), 11.0);
        assert_eq!(value(Aggregate::Mean), 2.75);
        assert_eq!(value(Aggregate::Last), 2.5);
        assert_eq!(value(Aggregate::P95), 5.0);
        assert_eq!(value(Aggregate::Count(None)), 4.0);
        assert_eq!(value(Aggregate::Count(Some(above))), 2.0);
    }

    #[test]
    fn the_95th_percentile_is_the_95th_of_a_hundred() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&samples, 95), 95.0);
        assert_eq!(percentile(&[7.0], 95), 7.0);
    }

    #[test]
    fn without_a_value_there_is_no_number() {
        let tracker = device(&[f64::NAN], &[]);
        assert!(tracker.value(Aggregate::Max).is_nan());
        assert_eq!(tracker.value(Aggregate::Count(None)), 0.0);
        assert!(!Comparison::AtMost.holds(f64::NAN, 1.0));
    }
}
