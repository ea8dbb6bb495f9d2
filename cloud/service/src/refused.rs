//! Counts what came over MQTT and was refused: by reason, logged once per kind.

use gnomon_schemas::{Reason, Refusal};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Refused messages since the start, by reason.
#[derive(Debug, Default)]
pub struct Refused(Mutex<BTreeMap<Reason, u64>>);

impl Refused {
    /// Counts one. The first of its kind is logged; garbage must not fill a disk.
    pub fn count(&self, refusal: &Refusal, topic: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(refusal.reason).or_default();
        *count = count.saturating_add(1);
        if *count == 1 {
            let topic: String = topic.chars().take(160).collect();
            tracing::warn!(reason = %refusal.reason, %topic, detail = %refusal.detail,
                "refused a message; further ones of this reason are only counted");
        }
    }

    /// The counts.
    pub fn counts(&self) -> BTreeMap<Reason, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
