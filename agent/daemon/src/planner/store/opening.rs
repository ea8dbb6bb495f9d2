//! How the store is opened: judged before it is touched, made where there is none, and
//! put aside and made anew where it is damaged. What is in it is other files' business.

use gnomon_agent_core::agent::Mirror;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

use super::disk::Disk;
use super::error::StoreError;
use super::{forms, journal, outbox_rows};

/// Many of a store's rows are small: on small pages, a transition writes less.
const PAGE_BYTES: i64 = 1024;
/// The log is written back to the database at this size.
const LOG_PAGES: i64 = 2 * 1024 * 1024 / PAGE_BYTES;
/// And cut to this size then.
const LOG_BYTES_KEPT: i64 = 2 * 1024 * 1024;
/// A log beyond this could not be written back: nothing more is put into it. The largest
/// document with its modules is in it twice at most.
pub(super) const LOG_BYTES_MAX: u64 = 12 * 1024 * 1024;
/// The most that the database itself may take: the outbox at its cap, two documents with
/// all their modules, and what is free between.
pub(super) const DATABASE_BYTES_MAX: i64 = 36 * 1024 * 1024;
/// How long a transition waits for whoever looks at the store.
const PATIENCE: Duration = Duration::from_secs(1);
/// Starts in a row at which the disk may fail to give the database. It may recover, and
/// all that the device has is in there.
const FAILED_READS_MAX: u32 = 3;

/// A database that is whole: as it was, or new.
pub(super) fn open(
    path: &Path,
    disk: &mut Disk,
    mirror: &Mirror,
) -> Result<Connection, StoreError> {
    let mut opened = open_whole(path, disk, mirror);
    if opened.as_ref().is_err_and(StoreError::is_read_only) {
        // A cut while the store was made leaves a journal, and to judge the file is only
        // to read it.
        journal::play_back(path)?;
        opened = open_whole(path, disk, mirror);
    }
    if opened.as_ref().is_err_and(StoreError::is_for_want_of_room) && disk.make_room() {
        opened = open_whole(path, disk, mirror);
    }
    let Err(error) = opened else {
        disk.forget_failed_reads();
        return opened;
    };
    let is_lost = error.is_damage()
        || (error.is_failed_read() && disk.count_failed_read()? >= FAILED_READS_MAX);
    if !is_lost {
        return Err(error);
    }
    let name = disk.put_aside()?;
    tracing::error!(%error, %name, "the store is put aside and made anew");
    let made = make(path, disk, Some(&format!("{error}; it lies in {name}")))?;
    disk.forget_failed_reads();
    Ok(made)
}

fn open_whole(path: &Path, disk: &Disk, mirror: &Mirror) -> Result<Connection, StoreError> {
    let is_clean = disk.is_clean();
    let form = forms::judge(path, is_clean)?;
    if form == 0 {
        return make(path, disk, forms::loss(mirror).as_deref());
    }
    disk.mark_open()?;
    let mut connection = open_alone(path)?;
    set_up(&connection)?;
    if form < forms::STORE_FORM {
        // What cannot be taken over is of no use, and must not keep the device from the cloud.
        forms::take_over(&mut connection, form, None).map_err(|error| match error {
            error if error.is_of_content() => StoreError::Damaged(error.to_string()),
            error => error,
        })?;
    } else if !is_clean {
        outbox_rows::settle_books(&mut connection)?;
    }
    Ok(connection)
}

fn make(path: &Path, disk: &Disk, rebuilt: Option<&str>) -> Result<Connection, StoreError> {
    disk.mark_open()?;
    let mut connection = open_alone(path)?;
    // These two are for a file without tables only.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    set_up(&connection)?;
    forms::take_over(&mut connection, 0, rebuilt)?;
    Ok(connection)
}

/// No other process looks into the database then, and SQLite has its index of the log in
/// memory: as a file, it would be written to with each transition.
fn open_alone(path: &Path) -> Result<Connection, StoreError> {
    Ok(Connection::open_with_flags_and_vfs(path, OpenFlags::default(), "unix-excl")?)
}

fn set_up(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    let page_bytes: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let pages_max = DATABASE_BYTES_MAX / page_bytes.max(1);
    connection.pragma_update(None, "max_page_count", pages_max)?;
    Ok(())
}
