//! Faults for processes under test: a library that stands before the C library
//! (`faults/shim.c`), and the page by which a test tells it what to do. With what was
//! written down of a run, power cuts are played through ([`cut`]).
//!
//! It injects and never judges: what must hold afterwards is in [`oracle`].

pub(crate) mod cut;
pub(crate) mod disk;
pub(crate) mod log;
pub(crate) mod oracle;
pub(crate) mod script;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use log::Operation;

/// What fails from now on, in the calls that change something below the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Nothing new finds room (ENOSPC): writes that do not grow a file go on, and what
    /// is truncated or deleted gives room back.
    Full,
    /// As [`Fault::Full`], with so many bytes left.
    Nearly(i64),
    /// Every call (EIO), syncs as well.
    Io,
    /// Every call, and to open for writing (EROFS).
    ReadOnly,
    /// The nth call from now on (1 is the next one), and no other.
    Nth(i64, Errno),
}

/// What a failed call says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errno {
    /// EIO.
    Io = 5,
    /// ENOSPC.
    NoSpace = 28,
}

/// The library, built once per test process.
pub(crate) struct Shim {
    library: PathBuf,
}

impl Shim {
    /// Builds it, if this process has not.
    pub(crate) fn build() -> &'static Shim {
        static BUILT: OnceLock<Shim> = OnceLock::new();
        BUILT.get_or_init(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let new = folder.join(format!("faults-{}.so", std::process::id()));
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/shim.c");
            let built = Command::new("cc")
                .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
                .args([&new, &source])
                .arg("-ldl")
                .status()
                .expect("cc (Debian: gcc)");
            assert!(built.success());
            // Whole under its name, whoever else builds it at the same time.
            let library = folder.join("faults.so");
            std::fs::rename(new, &library).unwrap();
            Shim { library }
        })
    }

    /// Puts the library before a program, and its children.
    pub(crate) fn apply(&self, command: &mut Command, control: &Control) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS_FOLDER", &control.folder)
            .env("FAULTS_CONTROL", control.page_path())
            .env("FAULTS_LOG", control.log_path());
    }
}

/// The page's fields, in the order of `struct control`.
#[derive(Clone, Copy)]
enum Field {
    Fault,
    Spared,
    Error,
    FreeBytes,
    ClockSeconds,
    Swallows,
    Calls,
    Struck,
}

/// Says at run time what fails below a folder, and knows what was done there. It
/// outlives the processes: those that come later go on with its page and its log.
pub(crate) struct Control {
    folder: PathBuf,
    page: File,
    own: tempfile::TempDir,
}

impl Control {
    /// No faults below this folder, which must be there; only what is done from now on
    /// is known, so that power cuts ask for an empty one.
    pub(crate) fn over(folder: &Path) -> Control {
        let own = tempfile::tempdir().unwrap();
        let path = own.path().join("page");
        let mut options = OpenOptions::new();
        let page = options.read(true).write(true).create_new(true).open(path).unwrap();
        page.set_len(8 * (Field::Struck as u64 + 1)).unwrap();
        Control { folder: folder.canonicalize().unwrap(), page, own }
    }

    fn page_path(&self) -> PathBuf {
        self.own.path().join("page")
    }

    fn log_path(&self) -> PathBuf {
        self.own.path().join("log")
    }

    fn write(&self, field: Field, value: i64) {
        self.page.write_all_at(&value.to_ne_bytes(), 8 * field as u64).unwrap();
    }

    fn read(&self, field: Field) -> i64 {
        let mut value = [0; 8];
        self.page.read_exact_at(&mut value, 8 * field as u64).unwrap();
        i64::from_ne_bytes(value)
    }

    /// What fails from the next call on.
    pub(crate) fn set(&self, fault: Fault) {
        self.set_after(fault, 0);
    }

    /// What fails once so many more calls have succeeded.
    pub(crate) fn set_after(&self, fault: Fault, spared: i64) {
        let (number, spared, error, free_bytes) = match fault {
            Fault::None => (0, 0, 0, 0),
            Fault::Full => (1, spared, 0, 0),
            Fault::Nearly(free_bytes) => (1, spared, 0, free_bytes),
            Fault::Io => (2, spared, Errno::Io as i64, 0),
            Fault::ReadOnly => (3, spared, 0, 0),
            Fault::Nth(n, errno) => (4, spared + n - 1, errno as i64, 0),
        };
        // None while the fields do not belong together.
        self.write(Field::Fault, 0);
        self.write(Field::Spared, spared);
        self.write(Field::Error, error);
        self.write(Field::FreeBytes, free_bytes);
        self.write(Field::Fault, number);
    }

    /// Shifts the wall clock (seconds against the right time); other clocks go on.
    pub(crate) fn clock_offset(&self, seconds: i64) {
        self.write(Field::ClockSeconds, seconds);
    }

    /// Whether syncs are swallowed: they succeed, and nothing becomes durable.
    pub(crate) fn swallow_syncs(&self, swallows: bool) {
        self.write(Field::Swallows, i64::from(swallows));
    }

    /// How many calls wanted to change something.
    pub(crate) fn calls(&self) -> i64 {
        self.read(Field::Calls)
    }

    /// How many calls failed by a fault.
    pub(crate) fn struck(&self) -> i64 {
        self.read(Field::Struck)
    }

    /// What was done and said so far, in order.
    pub(crate) fn log(&self) -> Vec<Operation> {
        log::read(&self.log_path())
    }
}
