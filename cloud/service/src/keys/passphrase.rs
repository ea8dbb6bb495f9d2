//! Passphrases: where one comes from, and that it goes nowhere else. It is wiped when
//! it goes, and stands in no error, log or `Debug`.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use super::{KeysError, file};

/// The environment variable that may hold one.
const VARIABLE: &str = "GNOMON_PASSPHRASE";
/// The longest passphrase.
const PASSPHRASE_BYTES_MAX: usize = 1024;
/// The shortest that a new key is encrypted with.
const PASSPHRASE_CHARS_MIN: usize = 8;

/// A passphrase.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// The first line of `text`.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub fn new(text: &str) -> Result<Passphrase, KeysError> {
        let line = text.lines().next().unwrap_or_default();
        let wrong = |what: &str| Err(KeysError::Passphrase(what.to_owned()));
        match line.len() {
            0 => wrong("is empty"),
            length if length > PASSPHRASE_BYTES_MAX => wrong("is over 1024 bytes"),
            _ => Ok(Passphrase(Zeroizing::new(line.to_owned()))),
        }
    }

    pub(super) fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(hidden)")
    }
}

/// Where passphrases come from: a file, else the environment, else the terminal.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PassphraseSource {
    /// A file whose first line is the passphrase; else GNOMON_PASSPHRASE, else it is asked
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl PassphraseSource {
    /// The passphrase of a key that is there.
    ///
    /// # Errors
    /// [`KeysError::NoPassphrase`] when there is nobody to ask.
    pub fn get(&self, path: &Path) -> Result<Passphrase, KeysError> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        let nobody = || KeysError::NoPassphrase { path: path.to_owned() };
        let mut terminal = Terminal::open().ok_or_else(nobody)?;
        let asked = terminal.ask(&format!("Passphrase of {}: ", path.display()));
        Passphrase::new(&asked.ok_or_else(nobody)?)
    }

    /// A passphrase for a new key, asked for twice.
    ///
    /// # Errors
    /// [`KeysError::NoPassphrase`] when there is nobody to ask, or one that is too short.
    pub fn new_for(&self, path: &Path) -> Result<Passphrase, KeysError> {
        let passphrase = match self.given()? {
            Some(given) => given,
            None => Self::ask_twice(path)?,
        };
        if passphrase.0.chars().count() < PASSPHRASE_CHARS_MIN {
            let what = format!("is shorter than {PASSPHRASE_CHARS_MIN} characters");
            return Err(KeysError::Passphrase(what));
        }
        Ok(passphrase)
    }

    fn ask_twice(path: &Path) -> Result<Passphrase, KeysError> {
        let nobody = || KeysError::NoPassphrase { path: path.to_owned() };
        let mut terminal = Terminal::open().ok_or_else(nobody)?;
        let name = path.display();
        let first = terminal.ask(&format!("New passphrase for {name}: ")).ok_or_else(nobody)?;
        let again = terminal.ask("The same again: ").ok_or_else(nobody)?;
        if first != again {
            return Err(KeysError::Passphrase("was not the same twice".into()));
        }
        Passphrase::new(&first)
    }

    fn given(&self) -> Result<Option<Passphrase>, KeysError> {
        if let Some(path) = &self.passphrase_file {
            return Passphrase::new(&file::read_private(path)?).map(Some);
        }
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let text = text.into_string().map(Zeroizing::new);
        let text = text.map_err(|_| KeysError::Passphrase("is not UTF-8".into()))?;
        Passphrase::new(&text).map(Some)
    }
}

/// The controlling terminal, silent while it is held.
struct Terminal {
    file: File,
    before: Termios,
}

impl Terminal {
    fn open() -> Option<Terminal> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        let before = tcgetattr(&file).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ICANON | LocalModes::ECHONL);
        tcsetattr(&file, OptionalActions::Flush, &silent).ok()?;
        Some(Terminal { file, before })
    }

    fn ask(&mut self, prompt: &str) -> Option<Zeroizing<String>> {
        self.file.write_all(prompt.as_bytes()).ok()?;
        // A terminal in canonical mode gives whole lines; room for one, so that no
        // piece of it stays behind in a buffer that grew.
        let mut line = Zeroizing::new([0; PASSPHRASE_BYTES_MAX + 2]);
        let read = self.file.read(&mut *line).ok().filter(|read| *read > 0)?;
        let text = std::str::from_utf8(&line[..read]).ok()?;
        Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        tcsetattr(&self.file, OptionalActions::Flush, &self.before).unwrap_or_default();
    }
}
