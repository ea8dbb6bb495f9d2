//! The byte budget of records: so many bytes a day go, the rest is counted.
//! Summaries are never in its way.

use alloc::vec::Vec;
use gnomon_schemas::limits::RESULTS_BYTES_MAX;
use gnomon_schemas::results::Record;

/// A record beyond this would not leave room for the batch around it.
const RECORD_BYTES_MAX: u64 = RESULTS_BYTES_MAX as u64 / 2;
/// A day of device time.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// What the day has cost so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordBudget {
    day: u64,
    bytes: u64,
}

impl RecordBudget {
    /// The records that fit the budgets of their days, and how many do not.
    pub fn admit(
        &mut self,
        mut records: Vec<Record>,
        bytes_per_day_max: u64,
    ) -> (Vec<Record>, u64) {
        let all = records.len();
        records.retain(|record| self.fits(record, bytes_per_day_max));
        let dropped = all - records.len();
        (records, dropped as u64)
    }

    fn fits(&mut self, record: &Record, bytes_per_day_max: u64) -> bool {
        // A clock that jumps back does not open the budget again.
        let day = record.at_ms / DAY_MS;
        if day > self.day {
            *self = RecordBudget { day, bytes: 0 };
        }
        let bytes = serde_json::to_vec(record).map_or(u64::MAX, |json| json.len() as u64);
        let spent = self.bytes.saturating_add(bytes);
        if spent > bytes_per_day_max || bytes > RECORD_BYTES_MAX {
            return false;
        }
        self.bytes = spent;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnomon_schemas::Digest;
    use gnomon_schemas::results::SlotRole;
    use gnomon_schemas::value::Values;

    fn record(at_ms: u64) -> Record {
        Record {
            at_ms,
            tick: 0,
            function: "setpoint".parse().unwrap(),
            module: Digest::of(b""),
            role: SlotRole::Active,
            inputs: Values::new(),
            params: Values::new(),
            state: None,
            outputs: None,
            actuated: None,
            fault: None,
            fuel: None,
            time_us: 1,
        }
    }

    #[test]
    fn a_day_holds_its_budget_and_the_next_day_begins_anew() {
        let size = serde_json::to_vec(&record(0)).unwrap().len() as u64;
        let mut budget = RecordBudget::default();
        let (kept, dropped) = budget.admit((0..5).map(record).collect(), 3 * size);
        assert_eq!((kept.len(), dropped), (3, 2));
        assert_eq!(budget.admit(alloc::vec![record(1)], 3 * size).1, 1, "the day is spent");
        let tomorrow = record(DAY_MS);
        assert_eq!(budget.admit(alloc::vec![tomorrow], 4 * size).1, 0);
        assert_eq!(budget.admit(alloc::vec![record(2); 4], 3 * size).1, 4 - 1, "no way back");
    }
}
