//! Open descriptors: those that were inherited are closed, and before the walls
//! close every one that is left is held against 0, 1 and 2. It reads none of them.

use std::ffi::OsStr;
use std::fs::{self, ReadDir};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::SandboxError;
use super::limits::UsageFile;

const FOLDER: &str = "/proc/self/fd";
/// The first number that is no standard stream.
const FIRST: u64 = 3;

/// Closes all from 3 on. Whoever calls it has opened none yet.
pub(super) fn close_inherited() -> Result<(), SandboxError> {
    let listed = fs::read_dir(FOLDER).map_err(SandboxError::Proc)?;
    let numbers = listed.map(|entry| number(&entry?.file_name())).collect::<io::Result<Vec<_>>>();
    for descriptor in numbers.map_err(SandboxError::Proc)? {
        if let Ok(inherited @ 3..) = i32::try_from(descriptor) {
            // The listing's own is among them, and closed already.
            let _ = nix::unistd::close(inherited);
        }
    }
    Ok(())
}

fn number(name: &OsStr) -> io::Result<u64> {
    let parsed = name.to_str().and_then(|name| name.parse().ok());
    parsed.ok_or_else(|| io::Error::other("a descriptor that is no number"))
}

/// What a descriptor leads to, as the kernel tells two files apart.
fn target(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

fn path(descriptor: u64) -> PathBuf {
    Path::new(FOLDER).join(descriptor.to_string())
}

/// The list of open descriptors, opened before Landlock and read behind it.
#[derive(Debug)]
pub(super) struct Listing(ReadDir);

impl Listing {
    pub(super) fn open() -> Result<Listing, SandboxError> {
        fs::read_dir(FOLDER).map(Listing).map_err(SandboxError::Proc)
    }

    /// Refuses every descriptor but duplicates of the standard streams, and gives the
    /// highest number there is. This listing and `usage` close before the walls do.
    pub(super) fn prove_closed(self, usage: &UsageFile) -> Result<u64, SandboxError> {
        let itself = target(Path::new(FOLDER)).map_err(SandboxError::Proc)?;
        let streams = (0..FIRST).map(|stream| target(&path(stream)));
        let streams = streams.collect::<io::Result<Vec<_>>>().map_err(SandboxError::Proc)?;
        let mut highest = FIRST - 1;
        for entry in self.0 {
            let entry = entry.map_err(SandboxError::Proc)?;
            let descriptor = number(&entry.file_name()).map_err(SandboxError::Proc)?;
            let leads_to = target(&entry.path()).map_err(SandboxError::Proc)?;
            if leads_to == itself || usage.is(descriptor) {
                continue;
            }
            if !streams.contains(&leads_to) {
                let name = fs::read_link(entry.path()).map_err(SandboxError::Proc)?;
                let target = name.display().to_string();
                return Err(SandboxError::Open { descriptor, target });
            }
            highest = highest.max(descriptor);
        }
        Ok(highest)
    }
}

#[cfg(test)]
mod tests {
    use super::{Listing, SandboxError, UsageFile};
    use std::fs::File;

    /// The harness may hold others; at least this one is open.
    #[test]
    fn a_descriptor_that_leads_elsewhere_is_named() {
        let (listing, usage) = (Listing::open().unwrap(), UsageFile::open().unwrap());
        let _elsewhere = File::open("/dev/zero").unwrap();
        let refused = listing.prove_closed(&usage).unwrap_err();
        assert!(matches!(refused, SandboxError::Open { descriptor: 3.., .. }), "{refused}");
    }
}
