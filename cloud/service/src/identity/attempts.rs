//! Counts failed enrolments, so that nobody guesses at leisure: so many in a minute,
//! over all callers. The time is an argument.

use std::sync::{Mutex, PoisonError};

/// Failures in one minute before everybody waits for the next.
const FAILURES_MAX: u32 = 60;
const MINUTE_MS: u64 = 60 * 1000;

/// The failures of this minute.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<(u64, u32)>);

impl Attempts {
    /// Whether another attempt is heard.
    pub(super) fn is_open(&self, now_ms: u64) -> bool {
        let (minute, failures) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        minute != now_ms / MINUTE_MS || failures < FAILURES_MAX
    }

    /// Counts a failure.
    pub(super) fn failed(&self, now_ms: u64) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now_ms / MINUTE_MS;
        let before = if counted.0 == minute { counted.1 } else { 0 };
        *counted = (minute, before.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_failures_close_the_door_until_the_next_minute() {
        let attempts = Attempts::default();
        for _ in 0..FAILURES_MAX {
            assert!(attempts.is_open(1000));
            attempts.failed(1000);
        }
        assert!(!attempts.is_open(59_999));
        assert!(attempts.is_open(60_000));
        attempts.failed(60_000);
        assert!(attempts.is_open(60_000));
    }
}
