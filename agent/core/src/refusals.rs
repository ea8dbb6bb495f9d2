//! Which refusals are kept for the cloud: each counts, but a flood of the same
//! garbage must not fill the device's disk.

use alloc::collections::BTreeMap;
use gnomon_schemas::{Reason, Refusal};

/// Refusals kept whole in each window.
const KEPT_PER_WINDOW: u32 = 32;
/// The window, in milliseconds.
const WINDOW_MS: u64 = 60_000;

/// Counts refusals by reason and limits how many are kept whole.
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    counts: BTreeMap<Reason, u64>,
    last: Option<Refusal>,
    window_start_ms: u64,
    kept: u32,
}

impl Refusals {
    /// Counts a refusal; says whether it is to be kept whole.
    pub fn note(&mut self, refusal: &Refusal, uptime_ms: u64) -> bool {
        *self.counts.entry(refusal.reason).or_default() += 1;
        self.last = Some(refusal.clone());
        if uptime_ms.saturating_sub(self.window_start_ms) >= WINDOW_MS {
            self.window_start_ms = uptime_ms;
            self.kept = 0;
        }
        self.kept += 1;
        self.kept <= KEPT_PER_WINDOW
    }

    /// How many there were of each reason since the boot.
    pub fn counts(&self) -> &BTreeMap<Reason, u64> {
        &self.counts
    }

    /// The last one.
    pub fn last(&self) -> Option<&Refusal> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_counts_but_a_flood_is_kept_only_in_part() {
        let mut refusals = Refusals::default();
        let garbage = Refusal::new(Reason::MalformedJson, "garbage");
        let kept = (0..1_000).filter(|_| refusals.note(&garbage, 0)).count();
        assert_eq!((kept, refusals.counts()[&Reason::MalformedJson]), (32, 1_000));
        assert!(refusals.note(&garbage, WINDOW_MS), "a new window keeps again");
    }
}
