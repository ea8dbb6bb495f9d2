//! How what was done travels: batches that the cloud takes, and a byte budget per
//! day for records. Summaries always go. What they count is not known here.

use gnomon_agent_core::message::FromRunner;
use gnomon_agent_core::tally::Tally;
use gnomon_schemas::limits::RESULTS_BYTES_MAX;
use gnomon_schemas::results::Record;
use std::sync::{Mutex, PoisonError};

/// Records of one batch: the rest of the cap is for summaries and the batch's head.
const BATCH_RECORDS_BYTES_MAX: usize = RESULTS_BYTES_MAX / 2;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// The bytes of records that were sent on the current day of ticks.
#[derive(Debug, Default)]
pub(super) struct RecordBudget(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    day: u64,
    bytes: u64,
}

impl RecordBudget {
    /// Whether a record of this size may go.
    fn spend(&self, at_ms: u64, bytes: u64, bytes_max: u64) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.day != at_ms / DAY_MS {
            *spent = Spent { day: at_ms / DAY_MS, bytes: 0 };
        }
        let after = spent.bytes.saturating_add(bytes);
        if after > bytes_max {
            return false;
        }
        spent.bytes = after;
        true
    }
}

/// Takes what some tallies have counted, in batches; none if they counted nothing.
pub(super) fn take<'a>(
    tallies: impl Iterator<Item = &'a mut Tally>,
    budget: &RecordBudget,
) -> Vec<FromRunner> {
    let mut summaries = vec![];
    let mut records = vec![];
    for tally in tallies.filter(|tally| !tally.is_empty()) {
        let bytes_max = tally.record_bytes_per_day_max();
        let (summary, kept) = tally.take();
        summaries.push(summary);
        let sized = kept.into_iter().map(|record| (json_bytes(&record), record));
        records.extend(sized.filter(|(bytes, record)| {
            *bytes <= BATCH_RECORDS_BYTES_MAX
                && budget.spend(record.at_ms, *bytes as u64, bytes_max)
        }));
    }
    if summaries.is_empty() {
        return vec![];
    }
    let mut batches = vec![];
    let (mut batch, mut batch_bytes) = (vec![], 0);
    for (bytes, record) in records {
        if batch_bytes + bytes > BATCH_RECORDS_BYTES_MAX {
            let (summaries, records) = (std::mem::take(&mut summaries), std::mem::take(&mut batch));
            batches.push(FromRunner::Done { summaries, records });
            batch_bytes = 0;
        }
        batch_bytes += bytes + 1;
        batch.push(record);
    }
    batches.push(FromRunner::Done { summaries, records: batch });
    batches
}

fn json_bytes(record: &Record) -> usize {
    // A record has a JSON form; one that had none could not be sent.
    serde_json::to_vec(record).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_days_budget_is_spent_once_and_comes_back_the_next_day() {
        let budget = RecordBudget::default();
        assert!(budget.spend(0, 60, 100));
        assert!(!budget.spend(DAY_MS - 1, 60, 100), "60 of 100 are gone");
        assert!(budget.spend(DAY_MS - 1, 40, 100), "a smaller one still fits");
        assert!(budget.spend(DAY_MS, 60, 100), "a new day");
    }
}
