//! Files of the agent that power cuts must not tear: written for nobody else, durable
//! with their names; and files of others, read up to a cap. What is in them is not
//! known here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file for nobody else. It takes part once its name is changed.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_folder(path)
}

/// Gives a file its name, in the place of what had it, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(to)
}

/// Removes a file, durably: what it took is free then.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_folder(path)
}

/// What is free for this file; where that cannot be told, nothing.
pub(crate) fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(folder_of(path))
        .map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Where a file lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// At most one byte over the cap: the parser then says that it is too large.
pub(crate) fn read_capped(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    let cap = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}
