//! A disk of a few MiB that a test can fill: the test runs once more, alone, where a file
//! system in memory is mounted that nobody else sees.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the disk is, for the test that runs on it.
const PLACE: &str = "GNOMON_SMALL_DISK";
/// Its size.
pub const BYTES: u64 = 6 * 1024 * 1024;

/// Runs `body` on a small disk. `test` is the name of the test that calls this.
pub fn run(test: &str, body: impl FnOnce(&Path)) {
    if let Some(place) = std::env::var_os(PLACE) {
        body(Path::new(&place));
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let script = format!(
        r#"mount -t tmpfs -o size={BYTES} none "${PLACE}" && exec "$0" --exact "$1" --nocapture"#
    );
    // Root may mount by itself; others may as the root of a space of their own.
    let ways = [["--mount"].as_slice(), &["--mount", "--user", "--map-root-user"]];
    let can = |way: &&&[&str]| {
        Command::new("unshare").args(**way).arg("true").status().is_ok_and(|s| s.success())
    };
    let way = ways.iter().find(can).expect("no mount namespace can be made here");
    let output = Command::new("unshare")
        .args(*way)
        .args(["sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(PLACE, place.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let also = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{also}");
    assert!(said.contains("1 passed"), "no such test: {test}\n{said}");
}

/// Takes all that is free; gives the file that has it.
pub fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filling");
    let mut file = File::options().append(true).create(true).open(&path).unwrap();
    for chunk in [65_536, 4_096, 512, 1] {
        loop {
            match file.write(&vec![1; chunk]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    path
}

/// The bytes of all files in a folder.
pub fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files.map(|entry| entry.metadata().map_or(0, |file| file.len())).sum()
}
