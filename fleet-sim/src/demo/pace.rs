//! Simulated time against the wall clock: when a tick may run.
//!
//! A device that is late runs its next tick at once and skips none, so simulated
//! time can lag behind its pace but no tick is lost to a slow machine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The pace of a fleet.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u32,
    limit: AtomicU64,
}

impl Pace {
    /// A pace at which no tick may run yet.
    pub(super) fn new(per_second: u32) -> Pace {
        Pace { per_second: per_second.max(1), limit: AtomicU64::new(0) }
    }

    /// Lets every device run up to this tick, and not beyond.
    pub(super) fn run_to(&self, tick: u64) {
        self.limit.store(tick, Ordering::SeqCst);
    }

    /// The tick up to which devices may run.
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::SeqCst)
    }

    /// The wall-clock length of a tick.
    pub(super) fn tick_length(&self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }
}

/// One device's place in time.
#[derive(Debug)]
pub(super) struct Metronome {
    next_at: Option<Instant>,
}

impl Metronome {
    pub(super) fn new() -> Metronome {
        Metronome { next_at: None }
    }

    /// Waits until tick `tick` may run, but not longer than `patience`; whether it may.
    pub(super) fn wait(&mut self, tick: u64, pace: &Pace, patience: Duration) -> bool {
        if tick >= pace.limit() {
            // Standing still: the rhythm starts anew afterwards.
            self.next_at = None;
            std::thread::sleep(patience.min(Duration::from_millis(5)));
            return false;
        }
        let now = Instant::now();
        let at = *self.next_at.get_or_insert(now);
        let wait = at.saturating_duration_since(now);
        std::thread::sleep(wait.min(patience));
        if wait > patience {
            return false;
        }
        // Late ticks are caught up with, but not a whole second of them in a burst.
        let earliest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        self.next_at = Some(at.max(earliest) + pace.tick_length());
        true
    }
}
