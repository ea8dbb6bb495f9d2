//! A disk behind a cache, by the strict reading of POSIX: what a file holds is durable
//! once the file was synced, and a name once its folder was. All else may be there after
//! a power cut or not, piece by piece, in any choice.
//!
//! After a sync that failed, the file's bytes are in doubt for good, as on Linux, where
//! the pages then count as clean: no later sync saves them, unless they are written again.
//! There is one mercy. SQLite takes no notice of a folder's sync that failed; then alone
//! the name of a new file counts as durable by the file's own sync, as it is on ext4, XFS,
//! btrfs and F2FS. Which choices are tried is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::log::Operation;

/// SQLite's shared memory: made anew at every start, and not meant to last.
const MEMORY: &str = "-shm";

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Folder,
    File(usize),
}

/// One change that a cache holds back.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { file: usize, at: usize, bytes: Arc<[u8]> },
    Size { file: usize, size: usize },
    Name { path: String, node: Node },
    Moved { from: String, to: String, node: Node },
    Gone { path: String, node: Node },
}

impl Change {
    fn file(&self) -> Option<usize> {
        match self {
            Change::Write { file, .. } | Change::Size { file, .. } => Some(*file),
            _ => None,
        }
    }

    /// The folder that is to be synced for it. A name that moved is durable with its new
    /// folder, and then gone from its old one, as a journal has it.
    fn folder(&self) -> Option<&str> {
        match self {
            Change::Name { path, .. }
            | Change::Moved { to: path, .. }
            | Change::Gone { path, .. } => {
                Some(path.rsplit_once('/').map_or("", |(folder, _)| folder))
            }
            _ => None,
        }
    }

    fn node(&self) -> Option<Node> {
        match self {
            Change::Name { node, .. } | Change::Moved { node, .. } | Change::Gone { node, .. } => {
                Some(*node)
            }
            _ => None,
        }
    }
}

/// A change that is not durable yet.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) change: Change,
    /// Its place in the run.
    pub(super) id: usize,
    /// Synced, but after others that are in doubt: there in any case.
    pub(super) certain: bool,
    in_doubt: bool,
}

/// A pending change of which a power cut left something, by its index.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Whole(usize),
    /// Of a write, these bytes.
    Part(usize, Range<usize>),
    /// Of a write, these bytes' room, with zeros in it where the file grew.
    Room(usize, Range<usize>),
}

/// What is on a disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    names: BTreeMap<String, Node>,
    files: Vec<Arc<Vec<u8>>>,
}

impl Disk {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { file, at, bytes } => self.write(*file, *at, bytes),
            Change::Size { file, size } => Arc::make_mut(&mut self.files[*file]).resize(*size, 0),
            Change::Name { path, node } => {
                self.names.insert(path.clone(), *node);
            }
            Change::Moved { from, to, node } => {
                self.forget(from, *node);
                self.names.insert(to.clone(), *node);
            }
            Change::Gone { path, node } => self.forget(path, *node),
        }
    }

    fn write(&mut self, file: usize, at: usize, bytes: &[u8]) {
        let held = Arc::make_mut(&mut self.files[file]);
        held.resize(held.len().max(at + bytes.len()), 0);
        held[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn forget(&mut self, path: &str, node: Node) {
        if self.names.get(path) == Some(&node) {
            self.names.remove(path);
        }
    }

    /// What can be reached from the top: files with their bytes, folders without.
    pub(crate) fn tree(&self) -> BTreeMap<&str, Option<&[u8]>> {
        let mut tree = BTreeMap::new();
        for (path, node) in &self.names {
            // A folder comes before what is in it.
            let folder = path.rsplit_once('/').map(|(folder, _)| folder);
            if folder.is_none_or(|folder| tree.get(folder) == Some(&None)) {
                let bytes = match node {
                    Node::Folder => None,
                    Node::File(file) => Some(self.files[*file].as_slice()),
                };
                tree.insert(path.as_str(), bytes);
            }
        }
        tree
    }

    /// Equal for equal disks.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.tree().hash(&mut hasher);
        hasher.finish()
    }

    /// Puts it into a folder that is empty or not there.
    pub(crate) fn materialise(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        for (path, bytes) in self.tree() {
            match bytes {
                None => std::fs::create_dir(folder.join(path))?,
                Some(bytes) => std::fs::write(folder.join(path), bytes)?,
            }
        }
        Ok(())
    }
}

/// What an inode of the log is.
enum Known {
    Memory,
    Folder(String),
    File(usize),
}

/// A disk and what its cache holds back, operation by operation.
#[derive(Default)]
pub(crate) struct Cached {
    durable: Disk,
    /// The names as the process sees them.
    names: BTreeMap<String, Node>,
    inodes: BTreeMap<u64, Known>,
    /// Files that were synced.
    synced: BTreeSet<usize>,
    pending: Vec<Pending>,
    changes: usize,
    /// How often something became durable.
    syncs: usize,
}

impl Cached {
    /// What is pending, in order.
    pub(super) fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// Two disks of the same pieces differ only between two of these.
    pub(super) fn syncs(&self) -> usize {
        self.syncs
    }

    /// The disk with these pieces of what is pending.
    pub(super) fn disk(&self, pieces: &[Piece]) -> Disk {
        let mut disk = self.durable.clone();
        for piece in pieces {
            let (Piece::Whole(index) | Piece::Part(index, _) | Piece::Room(index, _)) = piece;
            match (piece, &self.pending[*index].change) {
                (Piece::Part(_, range), Change::Write { file, at, bytes }) => {
                    disk.write(*file, at + range.start, &bytes[range.clone()]);
                }
                (Piece::Room(_, range), Change::Write { file, at, .. }) => {
                    let held = Arc::make_mut(&mut disk.files[*file]);
                    held.resize(held.len().max(at + range.end), 0);
                }
                (_, change) => disk.apply(change),
            }
        }
        disk
    }

    /// The disk with all that is pending: what a process finds that was killed.
    pub(crate) fn all(&self) -> Disk {
        let all: Vec<Piece> = (0..self.pending.len()).map(Piece::Whole).collect();
        self.disk(&all)
    }

    /// Takes the next operation. Says whether a power cut after it can leave another disk.
    pub(crate) fn take(&mut self, operation: &Operation) -> bool {
        match operation {
            Operation::Open { file, path, created, is_folder } => {
                self.open(*file, path, *created, *is_folder)
            }
            Operation::Write { file, at, bytes } => {
                let bytes = bytes.clone();
                self.change_file(*file, |file| Change::Write { file, at: *at, bytes })
            }
            Operation::Size { file, size } => {
                self.change_file(*file, |file| Change::Size { file, size: *size })
            }
            Operation::Sync { file, failed } => self.sync(*file, *failed),
            Operation::Rename { from, to } => {
                let node = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), node);
                self.hold_back(Change::Moved { from: from.clone(), to: to.clone(), node })
            }
            Operation::Unlink { path } => {
                let Some(node) = self.names.remove(path) else {
                    return self.memory(path);
                };
                self.hold_back(Change::Gone { path: path.clone(), node })
            }
            Operation::Link { from, to } => self.name(to, self.names[from]),
            Operation::Folder { path } => self.name(path, Node::Folder),
            Operation::Mark(_) | Operation::Refused => false,
        }
    }

    /// Only memory may be unknown.
    fn memory(&self, path: &str) -> bool {
        assert!(path.ends_with(MEMORY), "{path} was there before the log");
        false
    }

    fn open(&mut self, inode: u64, path: &str, created: bool, is_folder: bool) -> bool {
        let known = if is_folder {
            Known::Folder(path.to_owned())
        } else if path.ends_with(MEMORY) {
            Known::Memory
        } else if created {
            self.durable.files.push(Arc::default());
            Known::File(self.durable.files.len() - 1)
        } else {
            match self.names.get(path) {
                Some(Node::File(file)) => Known::File(*file),
                _ => panic!("{path} was there before the log"),
            }
        };
        let new =
            if let (true, Known::File(file)) = (created, &known) { Some(*file) } else { None };
        self.inodes.insert(inode, known);
        new.is_some_and(|file| self.name(path, Node::File(file)))
    }

    fn name(&mut self, path: &str, node: Node) -> bool {
        self.names.insert(path.to_owned(), node);
        self.hold_back(Change::Name { path: path.to_owned(), node })
    }

    fn change_file(&mut self, inode: u64, change: impl FnOnce(usize) -> Change) -> bool {
        match &self.inodes[&inode] {
            Known::Memory => false,
            Known::File(file) => {
                let change = change(*file);
                self.hold_back(change)
            }
            Known::Folder(path) => panic!("{path} is a folder, and was written to"),
        }
    }

    fn hold_back(&mut self, change: Change) -> bool {
        self.changes += 1;
        self.pending.push(Pending { change, id: self.changes, certain: false, in_doubt: false });
        true
    }

    fn sync(&mut self, inode: u64, failed: bool) -> bool {
        match &self.inodes[&inode] {
            Known::Memory => return false,
            Known::File(file) => {
                let file = *file;
                self.sync_file(file, failed);
            }
            Known::Folder(path) => {
                let (path, synced) = (path.clone(), std::mem::take(&mut self.synced));
                let is_new = |change: &Change| match change {
                    Change::Name { node: Node::File(file), .. } => synced.contains(file),
                    _ => false,
                };
                self.settle(|Pending { change, .. }| {
                    change.folder() == Some(path.as_str()) && (!failed || is_new(change))
                });
                self.synced = synced;
                self.forget_unnamed();
            }
        }
        self.syncs += 1;
        true
    }

    fn sync_file(&mut self, file: usize, failed: bool) {
        let of_it = |pending: &Pending| pending.change.file() == Some(file);
        let unsettled = self.pending.iter_mut().filter(|pending| of_it(pending));
        if failed {
            unsettled
                .filter(|pending| !pending.certain)
                .for_each(|pending| pending.in_doubt = true);
        } else if self.pending.iter().any(|pending| of_it(pending) && pending.in_doubt) {
            // They stay, so that they come after what is in doubt below them.
            let sure = self.pending.iter_mut().filter(|p| of_it(p) && !p.in_doubt);
            sure.for_each(|pending| pending.certain = true);
        } else {
            self.settle(of_it);
            self.synced.insert(file);
        }
    }

    /// Makes these changes durable.
    fn settle(&mut self, which: impl Fn(&Pending) -> bool) {
        let (settled, rest) = std::mem::take(&mut self.pending).into_iter().partition(which);
        self.pending = rest;
        let settled: Vec<Pending> = settled;
        settled.iter().for_each(|pending| self.durable.apply(&pending.change));
    }

    /// What no name leads to, nor may lead to, is never seen again.
    fn forget_unnamed(&mut self) {
        let held_back = self.pending.iter().filter_map(|pending| pending.change.node());
        let named = self.durable.names.values().chain(self.names.values()).copied();
        let named: BTreeSet<Node> = named.chain(held_back).collect();
        let is_named = |file| named.contains(&Node::File(file));
        self.pending.retain(|pending| pending.change.file().is_none_or(is_named));
    }
}
