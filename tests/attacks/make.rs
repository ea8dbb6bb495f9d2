//! How a catalogue states an attack: what it is, then what the device hears.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::Digest;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::trust::TrustRoot;
use std::collections::BTreeMap;

use super::form::{Against, Attack, Folder, Given, Hears, Step};
use super::world::rooted;

/// What an attack is, in the order of the table's columns.
pub(crate) struct What {
    pub(crate) name: &'static str,
    pub(crate) row: u8,
    pub(crate) against: Against,
    pub(crate) expected: Reason,
    pub(crate) named_by: &'static [&'static str],
    pub(crate) title: &'static str,
    pub(crate) says: &'static str,
}

impl What {
    /// The attack, of which nothing is heard yet.
    pub(crate) fn attack(self) -> Folder {
        Folder {
            name: self.name.to_owned(),
            attack: Attack {
                title: self.title.to_owned(),
                named_by: self.named_by.iter().map(|&name| name.to_owned()).collect(),
                row: self.row,
                against: self.against,
                expected: self.expected,
                says: self.says.to_owned(),
                given: Given::default(),
                steps: vec![],
                test: None,
            },
            files: BTreeMap::new(),
        }
    }

    /// An attack on a running agent, carried out by a test.
    pub(crate) fn by_test(self, test: &str) -> Folder {
        let mut folder = self.attack();
        folder.attack.test = Some(test.to_owned());
        folder
    }
}

impl Folder {
    /// The device starts under this trust root.
    pub(crate) fn under(mut self, root: &TrustRoot) -> Folder {
        self.files.insert("trust-root.json".into(), rooted(root));
        self.attack.given.trust_root = Some("trust-root.json".into());
        self
    }

    /// It cannot be earlier than this.
    pub(crate) fn not_before(mut self, lowest_ms: u64) -> Folder {
        self.attack.given.lowest_ms = Some(lowest_ms);
        self
    }

    fn step(mut self, hears: Hears, file: &str, bytes: Vec<u8>, refused: bool) -> Folder {
        self.files.insert(file.to_owned(), bytes);
        let file = Some(file.to_owned());
        self.attack.steps.push(Step { file, refused, ..silence(hears) });
        self
    }

    /// The device hears this, and takes it.
    pub(crate) fn takes(self, hears: Hears, file: &str, bytes: Vec<u8>) -> Folder {
        self.step(hears, file, bytes, false)
    }

    /// The device hears this, and refuses it.
    pub(crate) fn refuses(self, hears: Hears, file: &str, bytes: Vec<u8>) -> Folder {
        self.step(hears, file, bytes, true)
    }

    /// The device hears this document, and refuses it.
    pub(crate) fn refuses_document(self, bytes: Vec<u8>) -> Folder {
        self.refuses(Hears::Document, "document.json", bytes)
    }

    /// The device hears this trust root, and refuses it.
    pub(crate) fn refuses_root(self, bytes: Vec<u8>) -> Folder {
        self.refuses(Hears::TrustRoot, "next-trust-root.json", bytes)
    }

    /// The device hears these bytes on the topic of this digest, and refuses them.
    pub(crate) fn refuses_module(self, file: &str, digest: &Digest, bytes: &[u8]) -> Folder {
        let mut folder = self.step(Hears::Module, file, STANDARD.encode(bytes).into(), true);
        folder.attack.steps.last_mut().unwrap().digest = Some(digest.clone());
        folder
    }

    /// Two minutes go by, and the device says what it misses.
    pub(crate) fn refuses_silence(mut self) -> Folder {
        self.attack.steps.push(silence(Hears::Silence));
        self
    }

    /// The device starts under this trust root for the last step.
    pub(crate) fn while_under(mut self, file: &str, root: &TrustRoot) -> Folder {
        self.files.insert(file.to_owned(), rooted(root));
        self.attack.steps.last_mut().unwrap().trust_root = Some(file.to_owned());
        self
    }

    /// The last step comes with spaces until it is this long.
    pub(crate) fn padded_to(mut self, bytes: usize) -> Folder {
        self.attack.steps.last_mut().unwrap().padded_to_bytes = Some(bytes);
        self
    }
}

/// A step of which nothing is known yet but where it comes in.
fn silence(hears: Hears) -> Step {
    Step { hears, file: None, padded_to_bytes: None, digest: None, trust_root: None, refused: true }
}
