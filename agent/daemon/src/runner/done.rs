//! How what was done travels: in batches that the cloud takes. What is counted,
//! and how much of it may go, is not known here.

use gnomon_agent_core::message::FromRunner;
use gnomon_agent_core::tally::Tally;
use gnomon_schemas::limits::RESULTS_BYTES_MAX;
use serde::Serialize;

/// Summaries and records of one batch: the rest of the cap is for the batch's head.
const BATCH_BYTES_MAX: usize = RESULTS_BYTES_MAX / 4 * 3;

/// Takes what some tallies have counted, in batches; none if they counted nothing.
pub(super) fn take<'a>(tallies: impl Iterator<Item = &'a mut Tally>) -> Vec<FromRunner> {
    let mut batches = vec![];
    let (mut summaries, mut records, mut bytes) = (vec![], vec![], 0);
    for tally in tallies.filter(|tally| !tally.is_empty()) {
        let (summary, sampled) = tally.take();
        let mut make_room = |wanted: usize, summaries: &mut Vec<_>, records: &mut Vec<_>| {
            if bytes > 0 && bytes + wanted > BATCH_BYTES_MAX {
                let (summaries, records) = (std::mem::take(summaries), std::mem::take(records));
                batches.push(FromRunner::Done { summaries, records });
                bytes = 0;
            }
            bytes += wanted;
        };
        make_room(json_bytes(&summary), &mut summaries, &mut records);
        summaries.push(summary);
        for record in sampled {
            make_room(json_bytes(&record), &mut summaries, &mut records);
            records.push(record);
        }
    }
    if bytes > 0 {
        batches.push(FromRunner::Done { summaries, records });
    }
    batches
}

fn json_bytes(item: &impl Serialize) -> usize {
    // Both have a JSON form; one that had none could not be sent.
    serde_json::to_vec(item).map_or(BATCH_BYTES_MAX, |json| json.len() + 1)
}
