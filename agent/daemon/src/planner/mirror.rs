//! The floors in a file of their own, beside the store: a store that is lost,
//! damaged or set back does not take the device back with it.
//!
//! Written after the store, whole or not at all (new file, fsync, rename, fsync of
//! the folder), under a checksum. A file that cannot be read counts as none: what it
//! would raise is then the store's word alone. What floors mean is not known here.

use gnomon_agent_core::agent::Mirror;
use gnomon_schemas::{Digest, strict};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files;

/// The file beside the store.
pub const MIRROR_FILE: &str = "floor.json";
/// The largest mirror that is read.
const MIRROR_BYTES_MAX: usize = 4 * 1024;

/// The mirror: read once, then written where it changes.
pub(super) struct MirrorFile {
    path: PathBuf,
    held: Mirror,
}

impl MirrorFile {
    pub(super) fn beside(store: &Path) -> MirrorFile {
        let path = store.with_file_name(MIRROR_FILE);
        MirrorFile { held: read(&path), path }
    }

    /// What it holds.
    pub(super) fn held(&self) -> &Mirror {
        &self.held
    }

    pub(super) fn write(&mut self, mirror: Mirror) -> io::Result<()> {
        if self.held == mirror {
            return Ok(());
        }
        let json = serde_json::to_string(&mirror).map_err(io::Error::other)?;
        let text = format!("{}\n{json}\n", Digest::of(json.as_bytes()));
        let new = self.path.with_extension("new");
        let written = files::write_private(&new, text.as_bytes());
        if let Err(error) = written.and_then(|()| files::rename(&new, &self.path)) {
            // A full disk must not hold what is not even used.
            let _ = files::remove(&new);
            return Err(error);
        }
        self.held = mirror;
        Ok(())
    }
}

/// A first line with the digest of the second, which is JSON.
/// The lowest possible time (Unix time, ms) that is kept beside this store.
pub(crate) fn time_floor_ms(store: &Path) -> u64 {
    MirrorFile::beside(store).held().time_floor_ms
}

fn read(path: &Path) -> Mirror {
    match fs::read(path) {
        Ok(bytes) => parse(&bytes).unwrap_or_else(|| {
            tracing::error!(path = %path.display(), "the mirror of the floor is damaged");
            Mirror::default()
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Mirror::default(),
        Err(error) => {
            tracing::error!(%error, "the mirror of the floor cannot be read");
            Mirror::default()
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Mirror> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= MIRROR_BYTES_MAX)?;
    let (digest, json) = text.trim_end().split_once('\n')?;
    let is_whole = Digest::of(json.as_bytes()).as_str() == digest;
    is_whole.then(|| strict::parse(json.as_bytes(), MIRROR_BYTES_MAX).ok())?
}
