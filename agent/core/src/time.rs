//! The lowest possible time: a floor that signed times raise and nothing lowers, but a
//! trust root that raises the epoch and so ends the word of who signed them.
//!
//! A device may have no clock. It knows that it cannot be earlier than any time
//! that it has seen signed, plus what has passed since by its monotonic clock.

use gnomon_schemas::limits::TIME_STEP_MS_MAX;

/// Milliseconds since the agent started, by a clock that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Monotonic(pub u64);

/// The floor under the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeFloor {
    at_ms: u64,
    seen: Monotonic,
}

impl TimeFloor {
    /// A floor of `at_ms` (Unix time) at the moment `now`.
    pub fn new(at_ms: u64, now: Monotonic) -> TimeFloor {
        TimeFloor { at_ms, seen: now }
    }

    /// The lowest time that it can be (Unix time, ms).
    pub fn lowest_ms(&self, now: Monotonic) -> u64 {
        self.at_ms.saturating_add(now.0.saturating_sub(self.seen.0))
    }

    /// Raises the floor to a signed time, by at most [`TIME_STEP_MS_MAX`]: one
    /// document cannot burn the clock.
    pub fn raise(&mut self, signed_ms: u64, now: Monotonic) {
        let low = self.lowest_ms(now);
        let raised = signed_ms.min(low.saturating_add(TIME_STEP_MS_MAX));
        *self = TimeFloor { at_ms: raised.max(low), seen: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_rises_with_signed_times_and_uptime_and_never_falls() {
        let mut floor = TimeFloor::new(1_000, Monotonic(0));
        floor.raise(5_000, Monotonic(10));
        assert_eq!(floor.lowest_ms(Monotonic(10)), 5_000);
        floor.raise(2_000, Monotonic(20));
        assert_eq!(floor.lowest_ms(Monotonic(20)), 5_010);
        floor.raise(u64::MAX, Monotonic(20));
        assert_eq!(floor.lowest_ms(Monotonic(20)), 5_010 + TIME_STEP_MS_MAX);
    }
}
