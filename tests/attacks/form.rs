//! The form of one attack on disk: a folder with `attack.json` and the bytes that
//! it names. Written when blessing, compared otherwise. Nothing runs here.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::Digest;
use gnomon_schemas::reason::Reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that describes an attack.
pub(crate) const DESCRIPTION: &str = "attack.json";

/// What stands in `attack.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attack {
    /// A title for people.
    pub(crate) title: String,
    /// What standards, test suites and advisories call it.
    pub(crate) named_by: Vec<String>,
    /// Its row in the table of attacks from which this list was made.
    pub(crate) row: u8,
    /// What it is aimed at.
    pub(crate) against: Against,
    /// The reason that every refused step earns.
    pub(crate) expected: Reason,
    /// One sentence: what the attacker does.
    pub(crate) says: String,
    /// Where the device departs from the usual one.
    #[serde(default, skip_serializing_if = "Given::is_usual")]
    pub(crate) given: Given,
    /// What the device hears, in this order; none for an attack on a running agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<Step>,
    /// The test that carries out an attack on a running agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) test: Option<String>,
}

/// What an attack is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Against {
    Document,
    TrustRoot,
    Module,
    Bundle,
    Agent,
}

/// The device's state before the first step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    /// The trust root in force: a file of the folder, else the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trust_root: Option<String>,
    /// The lowest time that it can be (Unix time, ms), else the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lowest_ms: Option<u64>,
}

impl Given {
    fn is_usual(&self) -> bool {
        *self == Given::default()
    }
}

/// One thing that the device hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// On which topic.
    pub(crate) hears: Hears,
    /// The file with the bytes; a module's are in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// Spaces are added until it is this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) padded_to_bytes: Option<usize>,
    /// For a module: the digest that its topic names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
    /// Another trust root in force for this step: a file of the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trust_root: Option<String>,
    /// Whether this is the attack, to be refused; else it prepares it and is taken.
    pub(crate) refused: bool,
}

/// Where the bytes of a step come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hears {
    Document,
    TrustRoot,
    Module,
    Ack,
    /// Nothing: two minutes go by.
    Silence,
}

/// An attack with its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) name: String,
    pub(crate) attack: Attack,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Folder {
    /// Reads one folder as it is committed.
    pub(crate) fn read(path: &Path) -> Folder {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(file, fs::read(&path).unwrap());
        }
        let description = files.remove(DESCRIPTION).unwrap_or_else(|| panic!("{name}: no file"));
        let attack = serde_json::from_slice(&description).unwrap_or_else(|e| panic!("{name}: {e}"));
        Folder { name, attack, files }
    }

    /// The bytes of a step, as the device hears them.
    pub(crate) fn bytes(&self, step: &Step) -> Vec<u8> {
        let mut bytes = step.file.as_ref().map(|file| self.files[file].clone()).unwrap_or_default();
        if step.hears == Hears::Module {
            bytes = STANDARD.decode(bytes).unwrap();
        }
        if let Some(length) = step.padded_to_bytes {
            assert!(bytes.len() < length, "{}: nothing to pad", self.name);
            bytes.resize(length, b' ');
        }
        bytes
    }

    /// `attack.json` as it is committed.
    pub(crate) fn description(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(&self.attack).unwrap();
        bytes.push(b'\n');
        bytes
    }

    /// Compares the committed folder with this one, or writes it when blessing.
    pub(crate) fn hold(&self) {
        let mut expected = self.files.clone();
        expected.insert(DESCRIPTION.to_owned(), self.description());
        let folder = here().join(&self.name);
        if blessing() {
            // What is no longer made must not stay.
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            for (file, bytes) in &expected {
                fs::write(folder.join(file), bytes).unwrap();
            }
        }
        assert!(folder.is_dir(), "tests/attacks/{} is not there: {ADVICE}", self.name);
        let mut found = Folder::read(&folder);
        found.files.insert(DESCRIPTION.to_owned(), fs::read(folder.join(DESCRIPTION)).unwrap());
        for file in found.files.keys().chain(expected.keys()) {
            let same = found.files.get(file) == expected.get(file);
            assert!(same, "tests/attacks/{}/{file} differs from what is made: {ADVICE}", self.name);
        }
    }
}

/// What to do about a file that differs.
pub(crate) const ADVICE: &str = "GNOMON_BLESS=1 cargo test --release -p gnomon-tests attacks";

/// Whether generated files are rewritten instead of compared.
pub(crate) fn blessing() -> bool {
    std::env::var_os("GNOMON_BLESS").is_some_and(|value| value == "1")
}

/// The folder of all attacks.
pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("attacks")
}

/// All folders that are there, by name.
pub(crate) fn read_all() -> Vec<Folder> {
    let entries = fs::read_dir(here()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.iter().map(|path| Folder::read(path)).collect()
}
