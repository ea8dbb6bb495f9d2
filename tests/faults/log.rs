//! What the shim wrote down (`record` in `faults/shim.h`): the operations on a folder
//! and the marks between them, in order. What they mean for a disk is not known here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// One operation that succeeded, but for a sync, which may have failed. Files are named
/// by their inode, paths are below the folder.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// A file or folder was opened, and `created` with it.
    Open { file: u64, path: String, created: bool, is_folder: bool },
    /// Bytes at a place.
    Write { file: u64, at: usize, bytes: Arc<[u8]> },
    /// The file was cut off, or grew with nothing in it.
    Size { file: u64, size: usize },
    /// A file or folder was to become durable.
    Sync { file: u64, failed: bool },
    /// A name was taken over.
    Rename { from: String, to: String },
    /// A name went.
    Unlink { path: String },
    /// A file got a further name.
    Link { from: String, to: String },
    /// A folder was made.
    Folder { path: String },
    /// What the process said.
    Mark(String),
    /// Some other call was made to fail: nothing was done.
    Refused,
}

/// The same log of a disk that lied about its syncs of these files.
pub(crate) fn without_syncs(log: &[Operation], of: impl Fn(&str) -> bool) -> Vec<Operation> {
    let mut paths = BTreeMap::new();
    let mut kept = vec![];
    for operation in log {
        if let Operation::Open { file, path, .. } = operation {
            paths.insert(*file, path.as_str());
        }
        let lies = matches!(operation, Operation::Sync { file, .. } if of(paths[file]));
        if !lies {
            kept.push(operation.clone());
        }
    }
    kept
}

/// `struct head`.
const HEAD_BYTES: usize = 40;

/// Reads a log; a torn end, which a killed process may leave, is left out.
pub(super) fn read(path: &Path) -> Vec<Operation> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let (mut operations, mut rest) = (vec![], &*bytes);
    while let Some((operation, after)) = parse(rest) {
        operations.push(operation);
        rest = after;
    }
    operations
}

fn parse(bytes: &[u8]) -> Option<(Operation, &[u8])> {
    let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let small = |index: usize| u32::from_ne_bytes(head[index..index + 4].try_into().unwrap());
    let large = |index: usize| u64::from_ne_bytes(head[index..index + 8].try_into().unwrap());
    let length = |number: u64| usize::try_from(number).unwrap();
    let (kind, flag) = (small(0), small(4));
    let (file, at, bytes) = (large(16), length(large(24)), length(large(32)));
    let mut take = |length: usize| {
        let (taken, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(taken)
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let path = text(take(length(small(8).into()))?);
    let other = text(take(length(small(12).into()))?);
    let operation = match kind {
        1 => Operation::Open { file, path, created: flag & 1 != 0, is_folder: flag & 2 != 0 },
        2 => Operation::Write { file, at, bytes: take(bytes)?.into() },
        3 => Operation::Size { file, size: at },
        4 => Operation::Sync { file, failed: flag != 0 },
        5 => Operation::Rename { from: path, to: other },
        6 => Operation::Unlink { path },
        7 => Operation::Link { from: path, to: other },
        8 => Operation::Folder { path },
        9 => Operation::Mark(text(take(bytes)?)),
        10 => Operation::Refused,
        kind => panic!("a record of kind {kind}"),
    };
    Some((operation, rest))
}
