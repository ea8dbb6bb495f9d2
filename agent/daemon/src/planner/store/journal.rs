//! The journal that a cut leaves while a store is made: SQLite reads no file beside one
//! but plays it back first, and that writes to the file. So whose file it is has to be
//! told from the bytes alone. What is in the file is not known here.

use rusqlite::Connection;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::disk::with_suffix;
use super::error::StoreError;
use super::forms::{APPLICATION_ID, STORE_FORM};

/// Where SQLite has what is judged here, in the first page and in a journal's header.
const FORM_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;
const PAGES_BEFORE_AT: usize = 16;
const FIRST_RECORD_AT: usize = 20;
/// How many entries the first page's table of tables has: two bytes, after its kind.
const ENTRIES_AT: usize = 103;
/// What a journal begins with that is to be played back.
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// The longest of the headers.
const HEADER_BYTES: u64 = 105;

/// Has SQLite play back the journal of a file that is ours, or that was never anybody's.
/// Without a journal there is nothing to do.
///
/// # Errors
/// [`StoreError::Foreign`] and [`StoreError::Newer`] for a file that must stay as it is,
/// with its journal; and SQLite's.
pub(super) fn play_back(path: &Path) -> Result<(), StoreError> {
    let journal_path = with_suffix(path, "-journal");
    let (first_page, journal) = (bytes_at(path, 0)?, bytes_at(&journal_path, 0)?);
    if !journal.starts_with(&MAGIC) {
        return Ok(());
    }
    // A record is the page's number and what the page was.
    let record_at = number(&journal, FIRST_RECORD_AT).and_then(|at| at.try_into().ok());
    let record = bytes_at(&journal_path, record_at.unwrap_or(0))?;
    let before = match number(&record, 0) {
        Some(1) => record.get(4..).unwrap_or_default(),
        _ => first_page.as_slice(),
    };
    let was_empty = number(&journal, PAGES_BEFORE_AT) == Some(0) || holds_nothing(before);
    match number(&first_page, APPLICATION_ID_AT) {
        Some(APPLICATION_ID) => match number(&first_page, FORM_AT) {
            Some(form) if form > STORE_FORM => return Err(StoreError::Newer(form)),
            _ => {}
        },
        None | Some(0) if was_empty => {}
        _ => return Err(StoreError::Foreign(path.display().to_string())),
    }
    let connection = Connection::open(path)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(())
}

/// Whether this is the first page of a database without tables and without an owner.
fn holds_nothing(page: &[u8]) -> bool {
    let is_nobodys = [APPLICATION_ID_AT, FORM_AT].map(|at| number(page, at)) == [Some(0); 2];
    is_nobodys && page.get(ENTRIES_AT..ENTRIES_AT + 2) == Some(&[0, 0])
}

/// As many bytes of a file as a header has; none of one that is not there.
fn bytes_at(path: &Path, at: u64) -> Result<Vec<u8>, StoreError> {
    let mut start = vec![];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(at))?;
        file.take(HEADER_BYTES + 4).read_to_end(&mut start)
    });
    match read {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::File(path.to_owned(), error))
        }
        _ => Ok(start),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
