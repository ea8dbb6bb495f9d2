//! A device's disk: what the production store promises, and what a disk may do to it.
//! A transition is there whole or not at all; the floor's second copy lies beside it.
//! (That SQLite keeps that promise is shown elsewhere, cut by cut.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gnomon_agent_core::agent::{Append, Failure, Mirror, Stored, Transaction, Trial};
use gnomon_agent_core::canary::{self, Canary};
use gnomon_agent_core::message::FunctionState;
use gnomon_agent_core::{Floor, Monotonic};
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::ids::{BootId, Digest};
use gnomon_schemas::results::Results;
use gnomon_schemas::trust::TrustRoot;
use std::collections::{BTreeMap, BTreeSet};

use super::facts::Held;
use super::keys::read;

/// As many failures as the production store remembers.
const FAILURES_MAX: usize = 8;

/// The store's content.
#[derive(Debug, Clone, Default)]
pub struct Image {
    floor: Option<Floor>,
    roots: BTreeMap<u64, Vec<u8>>,
    current: Option<Document>,
    previous: Option<Document>,
    rolled_back_from: Option<Digest>,
    trial: Option<Trial>,
    failures: Vec<Failure>,
    time_floor_ms: u64,
    rows: BTreeMap<u64, Results>,
    next_row: u64,
    kept: BTreeMap<BootId, u64>,
    damaged: Option<String>,
}

/// A document as the store holds it.
#[derive(Debug, Clone, Default)]
struct Document {
    envelope: Vec<u8>,
    /// Of its payload.
    digest: Option<Digest>,
    trust_version: u64,
    modules: BTreeMap<Digest, Vec<u8>>,
    states: Vec<FunctionState>,
}

/// What the disk does when it is asked to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// It writes.
    #[default]
    Well,
    /// It is full, broken or read-only: it refuses.
    Refuses,
}

/// How much of a transition a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// The store, and not the floor's second copy.
    Store,
    /// All of it.
    All,
}

/// The disk of one device.
#[derive(Debug, Default)]
pub struct Disk {
    image: Image,
    mirror: Mirror,
    backup: Option<Image>,
    /// Since when it is full or broken, if it is.
    pub mood: Mood,
}

/// The digest of an envelope's payload.
fn digest_of(envelope: &[u8]) -> Option<Digest> {
    let envelope: Envelope = serde_json::from_slice(envelope).ok()?;
    Some(Digest::of(&STANDARD.decode(envelope.payload).ok()?))
}

impl Disk {
    /// What an agent starts from.
    pub fn stored(&self) -> Stored {
        let image = &self.image;
        let (current, previous) = (image.current.as_ref(), image.previous.as_ref());
        let modules = current.into_iter().chain(previous).flat_map(|d| d.modules.clone());
        Stored {
            floor: image.floor.clone(),
            mirror: self.mirror.clone(),
            roots: image.roots.clone(),
            offline_roots: vec![],
            envelope: current.map(|d| d.envelope.clone()),
            envelope_trust_version: current.map(|d| d.trust_version),
            previous: previous.map(|d| d.envelope.clone()),
            previous_trust_version: previous.map(|d| d.trust_version),
            rolled_back_from: image.rolled_back_from.clone(),
            trial: image.trial.clone(),
            failures: image.failures.clone(),
            states: current.map(|d| d.states.clone()).unwrap_or_default(),
            previous_states: previous.map(|d| d.states.clone()).unwrap_or_default(),
            modules: modules.collect(),
            damaged: image.damaged.clone(),
        }
    }

    /// What checkers judge.
    pub fn held(&self) -> Held {
        Held {
            floor: self.image.floor.clone(),
            mirror: self.mirror.floor.clone(),
            current: self.image.current.as_ref().and_then(|d| d.digest.clone()),
            previous: self.image.previous.as_ref().and_then(|d| d.digest.clone()),
            failures: self.image.failures.iter().map(|f| f.document.clone()).collect(),
            went_back: self.image.rolled_back_from.is_some(),
        }
    }

    /// The newest trust root that it holds.
    pub fn newest_root(&self) -> Option<TrustRoot> {
        let newest = self.image.roots.values().next_back()?;
        read(newest).map(|(root, _)| root)
    }

    /// The lowest possible time (Unix time, ms).
    pub fn time_floor_ms(&self) -> u64 {
        let newest = self.image.roots.keys().next_back().copied().unwrap_or(1);
        let is_behind = self.mirror.trust_version < newest && self.mirror.trust_version > 0;
        let stored = self.image.time_floor_ms;
        if is_behind { stored } else { stored.max(self.mirror.time_floor_ms) }
    }

    fn check(&self) -> Result<(), String> {
        match self.mood {
            Mood::Well => Ok(()),
            Mood::Refuses => Err("no space left on device".into()),
        }
    }

    fn write_mirror(&mut self) {
        let newest = self.image.roots.keys().next_back().copied().unwrap_or(1);
        self.mirror = Mirror {
            floor: Floor::higher(self.image.floor.clone(), self.mirror.floor.clone()),
            trust_version: newest.max(self.mirror.trust_version),
            time_floor_ms: self.time_floor_ms(),
        };
    }

    /// Keeps a document, as far as `left` says.
    ///
    /// # Errors
    /// The disk's.
    pub fn persist(&mut self, change: &Transaction, left: Left) -> Result<(), String> {
        self.check()?;
        if left == Left::Nothing {
            return Ok(());
        }
        let image = &mut self.image;
        let digest = digest_of(&change.envelope);
        let own = image.current.take();
        let is_same = own.as_ref().and_then(|d| d.digest.clone()) == digest;
        let states = own.as_ref().map(|d| d.states.clone()).unwrap_or_default();
        if !is_same && !change.keeps_previous {
            image.previous = own;
        }
        let modules = change.modules.iter().map(|(d, bytes)| (d.clone(), bytes.0.clone()));
        image.current = Some(Document {
            envelope: change.envelope.clone(),
            digest,
            trust_version: change.floor.trust_version,
            modules: modules.collect(),
            states,
        });
        image.floor = Some(change.floor.clone());
        image.time_floor_ms = image.time_floor_ms.max(change.time_floor_ms);
        image.trial = change.trial.clone();
        image.rolled_back_from = None;
        if left == Left::All {
            self.write_mirror();
        }
        Ok(())
    }

    /// Keeps a trust root.
    ///
    /// # Errors
    /// The disk's.
    pub fn persist_root(
        &mut self,
        version: u64,
        envelope: &[u8],
        time_floor_ms: Option<u64>,
        left: Left,
    ) -> Result<(), String> {
        self.check()?;
        if left == Left::Nothing {
            return Ok(());
        }
        self.image.roots.insert(version, envelope.to_vec());
        if let Some(time_floor_ms) = time_floor_ms {
            self.image.time_floor_ms = time_floor_ms;
            self.mirror.time_floor_ms = time_floor_ms;
        }
        if left == Left::All {
            self.write_mirror();
        }
        Ok(())
    }

    /// Goes back to the previous document.
    ///
    /// # Errors
    /// The disk's.
    pub fn go_back(&mut self, failure: &Failure) -> Result<(), String> {
        self.check()?;
        let image = &mut self.image;
        image.current = image.previous.take();
        image.rolled_back_from = Some(failure.document.clone());
        image.trial = None;
        self.keep_failure(failure)
    }

    /// Remembers that a document is not tried again.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep_failure(&mut self, failure: &Failure) -> Result<(), String> {
        self.check()?;
        let failures = &mut self.image.failures;
        failures.retain(|known| known.document != failure.document);
        failures.push(failure.clone());
        if failures.len() > FAILURES_MAX {
            failures.remove(0);
        }
        Ok(())
    }

    /// Keeps the trial of what is in force.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep_trial(&mut self, trial: Option<&Trial>) -> Result<(), String> {
        self.check()?;
        self.image.trial = trial.cloned();
        Ok(())
    }

    /// Keeps the lowest possible time.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep_time(&mut self, at_ms: u64) -> Result<(), String> {
        self.check()?;
        self.image.time_floor_ms = self.time_floor_ms().max(at_ms);
        self.write_mirror();
        Ok(())
    }

    /// Appends to the outbox; gives what came in new, and whether all up to the keeper's
    /// message is kept now.
    ///
    /// # Errors
    /// The disk's.
    pub fn append(&mut self, append: &Append) -> Result<(Vec<Results>, bool), String> {
        self.check()?;
        let image = &mut self.image;
        if let Some((session, number)) = &append.done {
            let kept = image.kept.entry(session.clone()).or_default();
            if *number <= *kept && !canary::is_out(Canary::KeptTwice) {
                return Ok((vec![], true));
            }
            if *number > *kept + 1 {
                return Ok((vec![], false));
            }
            *kept = *number;
        }
        for batch in &append.batches {
            image.rows.insert(image.next_row, batch.clone());
            image.next_row += 1;
            if batch.refusals.iter().any(|e| e.refusal.reason.code() == "store_damaged") {
                image.damaged = None;
            }
        }
        if let Some(current) = &mut image.current {
            current.states.retain(|known| append.states.iter().all(|new| !new.is_of(known)));
            current.states.extend_from_slice(&append.states);
        }
        Ok((append.batches.clone(), true))
    }

    /// Deletes batches; gives those that were there.
    ///
    /// # Errors
    /// The disk's.
    pub fn delete(&mut self, boot: &BootId, sequences: &[u64]) -> Result<Vec<u64>, String> {
        self.check()?;
        let mut gone = vec![];
        self.image.rows.retain(|_, row| {
            let is_it = row.boot == *boot && sequences.contains(&row.sequence);
            gone.extend(is_it.then_some(row.sequence));
            !is_it
        });
        Ok(gone)
    }

    /// What waits in the outbox, by place.
    pub fn rows(&self) -> &BTreeMap<u64, Results> {
        &self.image.rows
    }

    /// Boot and number of each.
    pub fn row_keys(&self) -> BTreeSet<(BootId, u64)> {
        self.image.rows.values().map(|row| (row.boot.clone(), row.sequence)).collect()
    }

    /// Puts a copy aside.
    pub fn back_up(&mut self) {
        self.backup = Some(self.image.clone());
    }

    /// Puts that copy back; false if there is none. The second copy of the floor lies
    /// elsewhere.
    pub fn restore(&mut self) -> bool {
        let Some(backup) = self.backup.clone() else { return false };
        self.image = backup;
        true
    }

    /// The store cannot be read: it is put aside and made anew.
    pub fn lose(&mut self) {
        self.image = Image {
            damaged: Some("the database is malformed".into()),
            time_floor_ms: self.mirror.time_floor_ms,
            ..Image::default()
        };
        self.backup = None;
    }

    /// Spoils a byte of a module of the document in force, if it has one.
    pub fn spoil_module(&mut self) -> bool {
        let modules = self.image.current.iter_mut().flat_map(|d| d.modules.values_mut());
        modules
            .into_iter()
            .next()
            .and_then(|bytes| bytes.last_mut())
            .map(|byte| *byte ^= 1)
            .is_some()
    }
}

/// A moment on a device whose clock runs fast or slow by so many parts in a million.
pub fn drifted(elapsed_ms: u64, drift_ppm: i64) -> Monotonic {
    let elapsed = i128::from(elapsed_ms);
    let drifted = elapsed + elapsed * i128::from(drift_ppm) / 1_000_000;
    Monotonic(u64::try_from(drifted).unwrap_or(0))
}
