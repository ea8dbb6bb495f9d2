//! The floors in a file of their own, beside the store: a store that is lost,
//! damaged or set back does not take the device back with it.
//!
//! Written after the store, whole or not at all (new file, fsync, rename, fsync of
//! the folder), under a checksum. A file that cannot be read counts as none: what it
//! would raise is then the store's word alone. What floors mean is not known here.

use gnomon_agent_core::agent::Mirror;
use gnomon_schemas::{Digest, strict};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file beside the store.
pub const MIRROR_FILE: &str = "floor.json";
/// The largest mirror that is read.
const MIRROR_BYTES_MAX: usize = 4 * 1024;

/// Where the mirror lies.
pub(super) struct MirrorFile(PathBuf);

impl MirrorFile {
    pub(super) fn beside(store: &Path) -> MirrorFile {
        MirrorFile(store.with_file_name(MIRROR_FILE))
    }

    /// What it holds: a first line with the digest of the second, which is JSON.
    pub(super) fn read(&self) -> Mirror {
        match fs::read(&self.0) {
            Ok(bytes) => parse(&bytes).unwrap_or_else(|| {
                tracing::error!(path = %self.0.display(), "the mirror of the floor is damaged");
                Mirror::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Mirror::default(),
            Err(error) => {
                tracing::error!(%error, "the mirror of the floor cannot be read");
                Mirror::default()
            }
        }
    }

    pub(super) fn write(&self, mirror: &Mirror) -> io::Result<()> {
        if self.read() == *mirror {
            return Ok(());
        }
        let json = serde_json::to_string(mirror).map_err(io::Error::other)?;
        let text = format!("{}\n{json}\n", Digest::of(json.as_bytes()));
        let new = self.0.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn parse(bytes: &[u8]) -> Option<Mirror> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= MIRROR_BYTES_MAX)?;
    let (digest, json) = text.trim_end().split_once('\n')?;
    let is_whole = Digest::of(json.as_bytes()).as_str() == digest;
    is_whole.then(|| strict::parse(json.as_bytes(), MIRROR_BYTES_MAX).ok())?
}
