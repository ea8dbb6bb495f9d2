//! What must hold of a store, whatever cut it off: told by what the process had said,
//! and by what a fresh start of the production store finds. It injects nothing.
//!
//! A step that was asked for is all there or not at all; one that was done is there.

use gnomon_agent::planner::outbox::{Room, Sent};
use gnomon_agent::planner::store::{Store, Waiting};
use gnomon_agent_core::Floor;
use gnomon_schemas::Digest;
use gnomon_schemas::results::Results;
use std::collections::BTreeSet;
use std::path::Path;

use super::cut::Said;
use super::script::{Mark, STORE_FILE, Step, append, batch, change, root};

/// A batch that no script appends: it tells what was dropped before it.
const LAST_BATCH: u64 = 1_000_000;

/// What a store may hold, apart from its outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    /// The version of the document in force, which is the floor, and of the one before.
    current: Option<u64>,
    previous: Option<u64>,
    /// The versions of the trust roots.
    roots: BTreeSet<u64>,
    time_floor_ms: u64,
}

impl Kept {
    fn after(&self, step: &Step) -> Kept {
        let mut kept = self.clone();
        match step {
            Step::Persist(version) => {
                kept.previous = kept.current.replace(*version);
                kept.time_floor_ms = kept.time_floor_ms.max(change(*version).time_floor_ms);
            }
            Step::PersistRoot(version, time_floor_ms) => {
                kept.roots.insert(*version);
                kept.time_floor_ms = time_floor_ms.unwrap_or(kept.time_floor_ms);
            }
            Step::KeepTime(at_ms) => kept.time_floor_ms = kept.time_floor_ms.max(*at_ms),
            Step::Open | Step::Append(_) | Step::Delete(_) | Step::Acknowledge(_) => {}
        }
        kept
    }
}

/// What follows from what was said.
#[derive(Default)]
struct Expected {
    /// One of these; more than one while a step is under way or was refused.
    kept: BTreeSet<Kept>,
    /// What was possible before the last step that was asked for.
    before: BTreeSet<Kept>,
    /// Batches that must be there, but for those that were dropped and counted.
    sure: BTreeSet<u64>,
    /// Batches that may be there.
    maybe: BTreeSet<u64>,
    /// Those of them that the next deletion or append that is done takes out.
    acknowledged: BTreeSet<u64>,
}

impl Expected {
    fn from(said: &Said) -> Expected {
        let mut expected = Expected { kept: [Kept::default()].into(), ..Expected::default() };
        for mark in said.marks() {
            match serde_json::from_str(mark).unwrap() {
                Mark::Asked(step) => expected.asked(&step),
                Mark::Done(step) => expected.done(&step),
                // What was possible stays possible; the store may be opened anew now.
                Mark::Refused(_) => expected.acknowledged.clear(),
            }
        }
        expected
    }

    fn asked(&mut self, step: &Step) {
        self.before = self.kept.clone();
        self.kept.extend(self.before.iter().map(|kept| kept.after(step)));
        if *step == Step::Open {
            self.acknowledged.clear();
        }
        if let Step::Append(sequences) | Step::Delete(sequences) | Step::Acknowledge(sequences) =
            step
        {
            self.sure.retain(|sequence| !sequences.contains(sequence));
            self.maybe.extend(sequences);
        }
    }

    fn done(&mut self, step: &Step) {
        self.kept = self.before.iter().map(|kept| kept.after(step)).collect();
        if let Step::Append(sequences) | Step::Delete(sequences) = step {
            let taken_out = std::mem::take(&mut self.acknowledged);
            self.maybe
                .retain(|sequence| !sequences.contains(sequence) && !taken_out.contains(sequence));
        }
        match step {
            Step::Append(sequences) => self.sure.extend(sequences),
            Step::Acknowledge(sequences) => self.acknowledged.extend(sequences),
            _ => {}
        }
    }
}

/// Judges the store in this folder, and changes it: it is opened, and appended to.
pub(crate) fn judge(folder: &Path, said: &Said) -> Result<(), String> {
    let expected = Expected::from(said);
    let path = folder.join(STORE_FILE);
    let mut store = Store::open(&path).map_err(|error| format!("it does not open: {error}"))?;
    judge_kept(&store, &expected)?;
    judge_outbox(&mut store, &expected)?;
    drop(store);
    judge_file(&path)
}

/// What the store holds must be one of the states that may be, and the floor's second
/// copy must not be behind all of them.
fn judge_kept(store: &Store, expected: &Expected) -> Result<(), String> {
    let stored = store.stored().map_err(|error| format!("it cannot be read: {error}"))?;
    let time_floor_ms = store.time_floor_ms().map_err(|error| format!("no time: {error}"))?;
    let mirror = &stored.mirror;
    let floor = Floor::higher(stored.floor.clone(), mirror.floor.clone());
    for (digest, bytes) in &stored.modules {
        ensure(Digest::of(bytes) == *digest, || format!("the bytes of {digest} are others"))?;
    }
    let fits = |kept: &&Kept| {
        let document = kept.current.map(change);
        let modules: BTreeSet<Digest> = [kept.current, kept.previous]
            .into_iter()
            .flatten()
            .flat_map(|version| change(version).modules.keys().cloned().collect::<Vec<_>>())
            .collect();
        floor == document.as_ref().map(|document| document.floor.clone())
            && stored.envelope == document.map(|document| document.envelope.clone())
            && stored.modules.keys().eq(&modules)
            && stored.roots.keys().eq(&kept.roots)
            && stored.roots.iter().all(|(version, bytes)| *bytes == root(*version))
            && time_floor_ms == kept.time_floor_ms
    };
    ensure(expected.kept.iter().any(|kept| fits(&kept)), || {
        let envelope = stored.envelope.as_deref().map(|bytes| &bytes[..bytes.len().min(12)]);
        format!(
            "floor {:?}, {} modules, roots {:?}, time {time_floor_ms}, envelope {:?}: none of {:?}",
            floor.map(|floor| floor.version),
            stored.modules.len(),
            stored.roots.keys(),
            envelope.map(String::from_utf8_lossy),
            expected.kept,
        )
    })?;
    let in_mirror = mirror.floor.as_ref().map(|floor| floor.version.get());
    let is_behind = |kept: &Kept| {
        in_mirror < kept.current || mirror.trust_version < kept.roots.last().copied().unwrap_or(0)
    };
    ensure(!expected.kept.iter().all(is_behind), || {
        format!("the mirror is behind: {mirror:?}, where {:?} may be", expected.kept)
    })
}

/// Each batch is there once and with its bytes, in order; what is missing is counted.
fn judge_outbox(store: &mut Store, expected: &Expected) -> Result<(), String> {
    // It tells what the store has counted, and that the store still takes something.
    store.append(&append(LAST_BATCH)).map_err(|error| format!("it takes nothing: {error}"))?;
    let waiting = store
        .waiting(&Sent::default(), Room::UNLIMITED)
        .map_err(|error| format!("no outbox: {error}"))?;
    let found: Vec<Results> = waiting.iter().map(whole).collect::<Result<_, _>>()?;
    let told: u64 = found.iter().map(|results| results.dropped_batches).sum();
    let found: Vec<u64> = found.iter().map(|results| results.sequence).collect();
    // Refusals first, then by age.
    let place = |sequence: &u64| (batch(*sequence).class(), *sequence);
    let is_in_order = found.is_sorted_by(|one, next| place(one) < place(next));
    ensure(is_in_order, || format!("not in order: {found:?}"))?;
    let Expected { sure, maybe, .. } = expected;
    let is_asked = |sequence: &u64| {
        *sequence == LAST_BATCH || sure.contains(sequence) || maybe.contains(sequence)
    };
    ensure(found.iter().all(is_asked), || {
        format!("batches {found:?}, but only {sure:?} and perhaps {maybe:?} were appended")
    })?;
    let missing = |of: &BTreeSet<u64>| of.iter().filter(|s| !found.contains(s)).count() as u64;
    let dropped = missing(sure)..=missing(sure) + missing(maybe);
    ensure(dropped.contains(&told), || {
        format!("batches {found:?} of {sure:?} and perhaps {maybe:?}, {told} told as dropped")
    })
}

/// The batch, if its bytes are those that were appended.
fn whole(waiting: &Waiting) -> Result<Results, String> {
    let found: Results = serde_json::from_slice(&waiting.bytes)
        .map_err(|error| format!("batch {} cannot be read: {error}", waiting.id))?;
    let (dropped_batches, dropped_by_class) =
        (found.dropped_batches, found.dropped_by_class.clone());
    let appended = Results { dropped_batches, dropped_by_class, ..batch(found.sequence) };
    let bytes = serde_json::to_vec(&appended).map_err(|error| error.to_string())?;
    ensure(bytes == waiting.bytes, || format!("batch {} has other bytes", found.sequence))?;
    Ok(found)
}

/// SQLite itself finds nothing wrong with the file.
fn judge_file(path: &Path) -> Result<(), String> {
    let check = |connection: rusqlite::Connection| -> rusqlite::Result<String> {
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))
    };
    let checked = rusqlite::Connection::open(path).and_then(check);
    let checked = checked.map_err(|error| format!("no check: {error}"))?;
    ensure(checked == "ok", || format!("integrity: {checked}"))
}

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}
