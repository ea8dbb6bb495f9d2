//! `gnomon-store-under-test FOLDER SCRIPT`: the agent's store through a script of
//! transitions, without an agent. Before and after each step it says so in the folder's
//! file `MARK`, which the fault shim takes. A step that the store refuses is tried again
//! once a line comes on standard input. What must hold is not known here.

#![allow(clippy::unwrap_used, reason = "part of a test: it panics to fail")]

#[path = "../faults/script.rs"]
mod script;

use gnomon_agent::planner::store::{Store, StoreError};
use script::{LARGE, Mark, STORE_FILE, Step, append as request, boot, change, root};
use std::io::{BufRead as _, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// How often a step is tried; a store that still refuses will not recover.
const TRIES: usize = 5;
/// From this attempt on the store is opened anew first, as by a start of the agent: one
/// that was opened while the disk was read-only takes nothing afterwards.
const OPENED_ANEW: usize = 4;
/// So small that the last appends drop the oldest batches.
const OUTBOX_BYTES_MAX: usize = 1_100;

/// One by one: that is how the store takes them.
fn append(sequences: RangeInclusive<u64>) -> impl Iterator<Item = Step> {
    sequences.map(|sequence| Step::Append(vec![sequence]))
}

/// Modules as large as they may be: each fills the WAL, which is then moved into the
/// database while the store is in use.
fn large() -> Vec<Step> {
    let mut steps = vec![Step::Open, Step::Persist(1)];
    steps.extend(append(1..=2));
    steps.push(Step::Persist(LARGE));
    steps.extend(append(3..=4));
    steps.extend([Step::Persist(LARGE + 1), Step::Delete(vec![1, 3]), Step::KeepTime(2_000_000)]);
    steps
}

/// Every transition. After the last deletion the outbox overflows, so that what is
/// dropped is told by a batch that is still there.
fn small() -> Vec<Step> {
    let mut steps = vec![Step::Open, Step::Persist(1)];
    steps.extend(append(1..=3));
    steps.extend([Step::KeepTime(15_000), Step::Persist(2)]);
    steps.push(Step::Acknowledge(vec![1]));
    steps.extend(append(4..=5));
    steps.extend([Step::Delete(vec![2, 4]), Step::PersistRoot(2, None), Step::Open]);
    steps.extend([
        Step::Acknowledge(vec![3]),
        Step::Open,
        Step::Persist(3),
        Step::KeepTime(95_000),
        Step::PersistRoot(3, Some(32_000)),
    ]);
    steps.extend(append(6..=6));
    steps.extend([Step::Delete(vec![3, 6]), Step::KeepTime(36_000)]);
    steps.extend(append(7..=13));
    steps.push(Step::Open);
    steps.extend(append(14..=15));
    steps.push(Step::Acknowledge(vec![9]));
    steps.extend(append(16..=16));
    steps.extend([Step::Persist(4), Step::Open]);
    steps.extend(append(17..=17));
    steps
}

/// The one place that knows how the store is asked.
fn perform(store: &mut Option<Store>, path: &Path, step: &Step) -> Result<(), StoreError> {
    if *step == Step::Open {
        // The last connection's end empties the WAL.
        *store = None;
        *store = Some(Store::open(path)?.with_outbox_bytes_max(OUTBOX_BYTES_MAX));
        return Ok(());
    }
    let store = store.as_mut().unwrap();
    match step {
        Step::Open => Ok(()),
        Step::Persist(version) => store.persist(&change(*version)),
        Step::PersistRoot(version, time) => store.persist_root(*version, &root(*version), *time),
        Step::KeepTime(at_ms) => store.keep_time(*at_ms),
        Step::Append(sequences) => {
            sequences.iter().try_for_each(|sequence| store.append(&request(*sequence)).map(drop))
        }
        Step::Delete(sequences) => store.delete(&boot(), sequences).map(drop),
        Step::Acknowledge(sequences) => {
            store.acknowledge(&boot(), sequences, Instant::now()).map(drop)
        }
    }
}

fn say(folder: &Path, mark: &Mark) {
    std::fs::write(folder.join("MARK"), serde_json::to_string(mark).unwrap()).unwrap();
}

fn main() -> ExitCode {
    let [folder, script] = [1, 2].map(|index| std::env::args().nth(index).unwrap());
    let folder = PathBuf::from(folder);
    let steps = if script == "large" { large() } else { small() };
    let path = folder.join(STORE_FILE);
    let mut store = None;
    let mut lines = std::io::stdin().lock().lines();
    for step in steps {
        for attempt in 1.. {
            say(&folder, &Mark::Asked(step.clone()));
            let opened = if attempt >= OPENED_ANEW {
                perform(&mut store, &path, &Step::Open)
            } else {
                Ok(())
            };
            let done = opened.and_then(|()| perform(&mut store, &path, &step));
            let Err(error) = done else { break };
            say(&folder, &Mark::Refused(step.clone()));
            println!("{step:?} refused: {error}");
            std::io::stdout().flush().unwrap();
            if attempt == TRIES || lines.next().is_none() {
                return ExitCode::FAILURE;
            }
        }
        say(&folder, &Mark::Done(step));
    }
    ExitCode::SUCCESS
}
