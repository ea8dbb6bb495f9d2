//! The one place of the service that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds.
#[allow(clippy::disallowed_methods, reason = "the shell is where time comes in")]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
