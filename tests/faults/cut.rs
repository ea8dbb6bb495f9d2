//! Power cuts, played through: at every boundary between two operations of a log, the
//! disks that a cut may leave there, each given to a judge.
//!
//! Per boundary: nothing of what is pending, all of it, every prefix, each prefix with
//! its last write torn at sectors (512 B) and pages (4 KiB), and random choices of single
//! pages. What must hold on such a disk is not known here.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use super::disk::{Cached, Change, Disk, Pending, Piece};
use super::log::Operation;

const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;
/// Of a long list of tears of one kind so many are tried.
const TEARS_MAX: usize = 8;

/// How many cuts are tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cuts {
    /// Random choices per boundary.
    pub(crate) subsets: usize,
    /// Of the prefixes of what is pending, so many are tried.
    pub(crate) prefixes_max: usize,
    /// Of writes that follow each other, there is a cut after every how many.
    pub(crate) writes: usize,
    /// After so many violations no more is asked.
    pub(crate) violations_max: usize,
}

impl Cuts {
    /// All of them, with so many random choices per boundary.
    pub(crate) fn with(subsets: usize) -> Cuts {
        Cuts { subsets, prefixes_max: 48, writes: 1, violations_max: 1_000 }
    }
}

/// What the process had said before the cut, in order.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    all: Arc<Vec<String>>,
    count: usize,
}

impl Said {
    /// All that a log says.
    pub(crate) fn of(log: &[Operation]) -> Said {
        let marks = log.iter().filter_map(|operation| match operation {
            Operation::Mark(text) => Some(text.clone()),
            _ => None,
        });
        let all: Vec<String> = marks.collect();
        Said { count: all.len(), all: Arc::new(all) }
    }

    pub(crate) fn marks(&self) -> &[String] {
        &self.all[..self.count]
    }
}

/// One disk, and when it was left.
struct Case {
    disk: Disk,
    said: Said,
    operation: usize,
    how: String,
}

/// A disk of which the judge said that it must not be.
pub(crate) struct Violation {
    case: Case,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.case.said.marks().last().map_or("nothing", String::as_str);
        let Case { operation, how, .. } = &self.case;
        write!(f, "cut after operation {operation}, {how}, said last: {last}: {}", self.text)
    }
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) operations: usize,
    pub(crate) boundaries: usize,
    pub(crate) disks: usize,
    pub(crate) violations: Vec<Violation>,
}

impl Verdict {
    pub(crate) fn add(&mut self, other: Verdict) {
        self.operations += other.operations;
        self.boundaries += other.boundaries;
        self.disks += other.disks;
        self.violations.extend(other.violations);
    }

    /// Fails with the first violations, and leaves their disks to be looked at.
    #[track_caller]
    pub(crate) fn assert_none(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("power_cuts").join(name);
        // Those of an earlier run.
        let _ = std::fs::remove_dir_all(&folder);
        let first: Vec<String> = self.violations.iter().take(5).map(ToString::to_string).collect();
        for (index, violation) in self.violations.iter().take(first.len()).enumerate() {
            violation.case.disk.materialise(&folder.join(index.to_string())).unwrap();
        }
        let (count, folder) = (self.violations.len(), folder.display());
        assert!(first.is_empty(), "{count} violations, in {folder}:\n{}", first.join("\n"));
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { operations, boundaries, disks, violations } = self;
        let violations = violations.len();
        write!(f, "{operations} operations, {boundaries} boundaries, ")?;
        write!(f, "{disks} different disks, {violations} violations")
    }
}

/// Plays the cuts after these operations of a log through. The judge gets a folder with
/// the disk in it, and may do with it what it likes.
pub(crate) fn play(
    log: &[Operation],
    after: Range<usize>,
    cuts: Cuts,
    judge: impl Fn(&Path, &Said) -> Result<(), String> + Sync,
) -> Verdict {
    let (send, receive) = sync_channel(4);
    let (receive, found) = (Mutex::new(receive), Mutex::new(vec![]));
    let judges = std::thread::available_parallelism().map_or(1, usize::from);
    let mut verdict = std::thread::scope(|scope| {
        for _ in 0..judges {
            scope.spawn(|| sit(&receive, &found, &judge));
        }
        let is_enough = || found.lock().unwrap().len() >= cuts.violations_max;
        let verdict = enumerate(log, after, cuts, |case| {
            send.send(case).unwrap();
            !is_enough()
        });
        drop(send);
        verdict
    });
    verdict.violations = found.into_inner().unwrap();
    verdict.violations.sort_by_key(|violation| violation.case.operation);
    verdict
}

/// Memory, where there is a place for it: thousands of disks are no work for a disk.
pub(crate) fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// Judges disks as long as some come.
fn sit(
    cases: &Mutex<Receiver<Case>>,
    found: &Mutex<Vec<Violation>>,
    judge: impl Fn(&Path, &Said) -> Result<(), String>,
) {
    let folder = tempfile::Builder::new().prefix("gnomon-cut-").tempdir_in(place()).unwrap();
    let disk = folder.path().join("disk");
    let next = || cases.lock().unwrap().recv().ok();
    while let Some(case) = next() {
        let judged = catch_unwind(AssertUnwindSafe(|| {
            case.disk.materialise(&disk).map_err(|error| format!("no disk: {error}"))?;
            judge(&disk, &case.said)
        }));
        // One that stays is in the next one's way, which says so.
        let _ = std::fs::remove_dir_all(&disk);
        if let Err(text) = judged.unwrap_or_else(|_| Err("it panics".to_owned())) {
            found.lock().unwrap().push(Violation { case, text });
        }
    }
}

/// Every disk once per what had been said, until no more is wanted.
fn enumerate(
    log: &[Operation],
    after: Range<usize>,
    cuts: Cuts,
    mut wants_more: impl FnMut(Case) -> bool,
) -> Verdict {
    let mut verdict = Verdict { operations: log.len(), ..Verdict::default() };
    let mut cached = Cached::default();
    let mut said = Said { count: 0, ..Said::of(log) };
    let (mut chosen, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (index, operation) in log.iter().enumerate() {
        let is_mark = matches!(operation, Operation::Mark(_));
        said.count += usize::from(is_mark);
        if !(cached.take(operation) || is_mark) || !after.contains(&index) {
            continue;
        }
        let is_write = |index| matches!(log.get(index), Some(Operation::Write { .. }));
        if is_write(index) && is_write(index + 1) && !index.is_multiple_of(cuts.writes) {
            continue;
        }
        verdict.boundaries += 1;
        let mut random = Random(index as u64);
        let pending = cached.pending();
        for (how, pieces) in choices(pending, cuts, &mut random) {
            // The same choice between the same syncs gives the same disk: a cheap first look.
            let mut ids = DefaultHasher::new();
            pieces.iter().for_each(|piece| id(pending, piece).hash(&mut ids));
            if !chosen.insert((cached.syncs(), said.count, ids.finish())) {
                continue;
            }
            let disk = cached.disk(&pieces);
            if seen.insert((disk.fingerprint(), said.count)) {
                verdict.disks += 1;
                let case = Case { disk, said: said.clone(), operation: index, how };
                if !wants_more(case) {
                    return verdict;
                }
            }
        }
    }
    verdict
}

/// What names a piece over the whole run.
fn id(pending: &[Pending], piece: &Piece) -> (usize, usize, usize, bool) {
    match piece {
        Piece::Whole(index) => (pending[*index].id, 0, usize::MAX, true),
        Piece::Part(index, range) => (pending[*index].id, range.start, range.end, true),
        Piece::Room(index, range) => (pending[*index].id, range.start, range.end, false),
    }
}

/// What a cut may leave of what is pending.
fn choices(pending: &[Pending], cuts: Cuts, random: &mut Random) -> Vec<(String, Vec<Piece>)> {
    let mut choices = vec![];
    for kept in prefixes(pending.len(), cuts.prefixes_max, random) {
        let prefix = |last: Option<Piece>| -> Vec<Piece> {
            let stays = |index: &usize| *index < kept || pending[*index].certain;
            let mut pieces: Vec<Piece> =
                (0..pending.len()).filter(stays).map(Piece::Whole).collect();
            if let Some(last) = last {
                pieces[kept - 1] = last;
            }
            pieces
        };
        let of = pending.len();
        choices.push((format!("the first {kept} of {of} pending kept"), prefix(None)));
        let last = kept.checked_sub(1).map(|last| (last, &pending[last]));
        if let Some((index, Pending { change: Change::Write { at, bytes, .. }, certain, .. })) =
            last
            && !certain
        {
            for tear in tears(*at, bytes.len()) {
                let how = format!("the first {kept} of {of} pending kept, the last up to {tear} B");
                choices.push((how, prefix(Some(Piece::Part(index, 0..tear)))));
            }
        }
    }
    for subset in 0..cuts.subsets {
        choices.push((format!("choice {subset}"), choose(pending, random)));
    }
    choices
}

/// How many of the pending changes are kept: every number, or a good many.
fn prefixes(count: usize, prefixes_max: usize, random: &mut Random) -> BTreeSet<usize> {
    if count < prefixes_max {
        return (0..=count).collect();
    }
    let third = prefixes_max / 3;
    let some: Vec<usize> = (0..third).map(|_| random.below(count + 1)).collect();
    (0..third).chain(count - third + 1..=count).chain(some).collect()
}

/// Where a write may be torn: so many of its bytes are there.
fn tears(at: usize, length: usize) -> BTreeSet<usize> {
    let inside = |unit: usize| {
        let first = (at / unit + 1) * unit - at;
        let all: Vec<usize> = (first..length).step_by(unit).collect();
        let step = all.len().div_ceil(TEARS_MAX).max(1);
        all.into_iter().step_by(step)
    };
    inside(SECTOR_BYTES).chain(inside(PAGE_BYTES)).collect()
}

/// A random choice: each page of each write by itself, each other change as a whole; the
/// last page that is kept may be torn.
fn choose(pending: &[Pending], random: &mut Random) -> Vec<Piece> {
    let odds = [32, 128, 224][random.below(3)];
    let mut pieces = vec![];
    for (index, change) in pending.iter().enumerate() {
        let Change::Write { at, bytes, .. } = &change.change else {
            if change.certain || random.below(256) < odds {
                pieces.push(Piece::Whole(index));
            }
            continue;
        };
        if change.certain {
            pieces.push(Piece::Whole(index));
            continue;
        }
        for page in pages(*at, bytes.len()) {
            if random.below(256) < odds {
                pieces.push(Piece::Part(index, page));
            } else if random.below(16) == 0 {
                pieces.push(Piece::Room(index, page));
            }
        }
    }
    if let Some(Piece::Part(index, page)) = pieces.last_mut()
        && let Change::Write { at, .. } = &pending[*index].change
    {
        let tears: Vec<usize> = tears(at + page.start, page.len()).into_iter().collect();
        if !tears.is_empty() && random.below(2) == 0 {
            page.end = page.start + tears[random.below(tears.len())];
        }
    }
    pieces
}

/// The parts of a write that lie on one page each.
fn pages(at: usize, length: usize) -> Vec<Range<usize>> {
    let mut pages = vec![];
    let mut start = 0;
    while start < length {
        let end = (((at + start) / PAGE_BYTES + 1) * PAGE_BYTES - at).min(length);
        pages.push(start..end);
        start = end;
    }
    pages
}

/// SplitMix64: the same choices from the same seed, anywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
