//! The system's clock, which may be wrong by decades: a label on results, and the time
//! at which `verify-document` judges unless it is told another. Nothing that acts is
//! judged by it.

use std::time::{SystemTime, UNIX_EPOCH};

/// What the system says the time is (Unix time, ms); 0 before 1970.
pub(crate) fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
