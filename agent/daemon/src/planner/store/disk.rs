//! The files beside the database: a ballast that is given up when the disk is full, the
//! mark of a clean end, and damaged databases that were put aside. What is in the
//! database is not known here.

use ring::rand::{SecureRandom, SystemRandom};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use crate::files;

/// The file that is given up when the disk is full, so that the store can go back,
/// delete what is acknowledged, and take what makes the device safe.
pub const BALLAST_FILE: &str = "ballast";
/// Its size: a document without modules, and what SQLite needs around it.
pub const BALLAST_BYTES: usize = 256 * 1024;
/// The ballast is made where this much is free: it must not fill the disk itself.
const ROOM_FOR_BALLAST: u64 = 4 * BALLAST_BYTES as u64;
/// Damaged databases that are kept, for whoever wants to know why.
const DAMAGED_MAX: usize = 2;
/// The most that is kept of each file of a damaged database.
const DAMAGED_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// What SQLite has beside its database.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// Where the files lie.
pub(super) struct Disk {
    database: PathBuf,
    ballast: PathBuf,
    has_ballast: bool,
}

impl Disk {
    pub(super) fn around(database: &Path) -> Disk {
        let ballast = database.with_file_name(BALLAST_FILE);
        let has_ballast =
            fs::metadata(&ballast).is_ok_and(|file| file.len() == BALLAST_BYTES as u64);
        Disk { database: database.to_owned(), ballast, has_ballast }
    }

    pub(super) fn has_ballast(&self) -> bool {
        self.has_ballast
    }

    /// The database, its log and its index, in bytes.
    pub(super) fn database_bytes(&self) -> u64 {
        PARTS.iter().map(|part| length(&with_suffix(&self.database, part))).sum()
    }

    pub(super) fn log_bytes(&self) -> u64 {
        length(&with_suffix(&self.database, "-wal"))
    }

    /// Gives up what is only there to be given up. Says whether there was anything.
    pub(super) fn make_room(&mut self) -> bool {
        let mut given_up = self.give_up_ballast();
        for number in self.damaged() {
            given_up |= self.remove_damaged(number);
        }
        given_up
    }

    fn give_up_ballast(&mut self) -> bool {
        self.has_ballast = false;
        match files::remove(&self.ballast) {
            Ok(()) => {
                tracing::warn!("there is no room on the disk: the ballast is given up");
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::error!(%error, "the ballast could not be given up");
                false
            }
        }
    }

    /// Makes the ballast where there is none and there is room.
    pub(super) fn make_ballast(&mut self) {
        if self.has_ballast || files::free_bytes(&self.ballast) < ROOM_FOR_BALLAST {
            return;
        }
        // Noise, where there is any: a file system that compresses must not make nothing
        // of it.
        let mut noise = vec![0; BALLAST_BYTES];
        let _ = SystemRandom::new().fill(&mut noise);
        match files::write_private(&self.ballast, &noise) {
            Ok(()) => self.has_ballast = true,
            Err(error) => {
                tracing::debug!(%error, "the ballast could not be made");
                // What there is of it takes room and gives none.
                let _ = files::remove(&self.ballast);
            }
        }
    }

    /// Whether the store was closed in order when it was open last.
    pub(super) fn is_clean(&self) -> bool {
        self.mark().exists()
    }

    pub(super) fn mark_clean(&self) -> Result<(), StoreError> {
        files::write_private(&self.mark(), b"")
            .map_err(|error| StoreError::File(self.mark(), error))
    }

    /// From now on the power may go at any moment.
    pub(super) fn mark_open(&self) -> Result<(), StoreError> {
        match files::remove(&self.mark()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::File(self.mark(), error))
            }
            _ => Ok(()),
        }
    }

    /// Counts a start at which the disk did not give the database; gives how many there
    /// were in a row.
    pub(super) fn count_failed_read(&self) -> Result<u32, StoreError> {
        let file = self.failed_reads();
        let before = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok());
        let count = before.unwrap_or(0_u32).saturating_add(1);
        let written = files::write_private(&file, count.to_string().as_bytes());
        written.map(|()| count).map_err(|error| StoreError::File(file, error))
    }

    pub(super) fn forget_failed_reads(&self) {
        // There rarely is anything to forget.
        let _ = files::remove(&self.failed_reads());
    }

    fn failed_reads(&self) -> PathBuf {
        with_suffix(&self.database, ".unread")
    }

    fn mark(&self) -> PathBuf {
        with_suffix(&self.database, ".clean")
    }

    /// Puts the database aside, the file itself first: SQLite takes no log into a
    /// database that is not there. Gives its new name.
    pub(super) fn put_aside(&self) -> Result<String, StoreError> {
        let known = self.damaged();
        let number = known.last().map_or(1, |last| last.saturating_add(1));
        for old in known.iter().rev().skip(DAMAGED_MAX - 1) {
            self.remove_damaged(*old);
        }
        for part in PARTS {
            let (from, to) = (with_suffix(&self.database, part), self.damaged_file(number, part));
            match files::rename(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                renamed => renamed.map_err(|error| StoreError::File(from, error))?,
            }
            cut(&to);
        }
        let name = self.damaged_file(number, "");
        Ok(name.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    fn damaged_file(&self, number: u64, part: &str) -> PathBuf {
        with_suffix(&self.database, &format!(".damaged-{number}{part}"))
    }

    /// The numbers of the databases that were put aside, in their order.
    fn damaged(&self) -> Vec<u64> {
        let prefix = with_suffix(&self.database, ".damaged-");
        let prefix = prefix.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = files::folder_of(&self.database);
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let number = |name: OsString| name.to_str()?.strip_prefix(&prefix)?.parse().ok();
        let mut numbers: Vec<u64> = names.filter_map(|entry| number(entry.file_name())).collect();
        numbers.sort_unstable();
        numbers
    }

    fn remove_damaged(&self, number: u64) -> bool {
        // The database itself last: it is by its name that the rest is found.
        let removed = |part: &&&str| files::remove(&self.damaged_file(number, part)).is_ok();
        PARTS.iter().rev().filter(removed).count() > 0
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// What is kept of a damaged file is for reading only: a large one loses its end.
fn cut(path: &Path) {
    if length(path) > DAMAGED_BYTES_MAX {
        let file = fs::OpenOptions::new().write(true).open(path);
        // If it cannot be cut, it goes when the disk is full.
        let _ = file.and_then(|file| file.set_len(DAMAGED_BYTES_MAX));
    }
}
