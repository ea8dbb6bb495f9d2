//! Cells in processes: modules compiled by a short-lived runner under its own caps, kept
//! as sealed native code, loaded by runners that compile nothing.
//!
//! The folder of sealed code is a cache of this device: what is lost or does not fit its
//! seal is compiled again. The seal's key never leaves the device.

use gnomon_schemas::{Digest, Reason, Refusal};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::link::{ProcessCell, Runner, Spawner};
use super::wire::{ATTACHED_BYTES_MAX, Answer, Ask, HEAD_BYTES_MAX};
use crate::cell::{self, Cell, CellSpec, SlotFacts, Workshop};
use crate::files;
use crate::sandbox::{Purpose, Walls};

/// How long a runner may take from its start until it stands behind its walls.
const START: Duration = Duration::from_secs(10);
/// How long the admission of compiled modules may take.
const LOAD: Duration = Duration::from_secs(30);
/// How long the compilation of one module may take, on a machine that has other work:
/// its processor time is capped apart.
const COMPILE: Duration = Duration::from_secs(120);
/// The largest native code of one module that is kept.
const CODE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most bytes that the folder may hold.
const FOLDER_BYTES_MAX: u64 = 24 * 1024 * 1024;
const KEY_FILE: &str = "key";

/// Makes cells in processes of their own.
pub(crate) struct ProcessWorkshop {
    spawner: Spawner,
    folder: PathBuf,
    key: [u8; 32],
    realtime: Option<u8>,
    /// Native code of what is in force: a dead runner is replaced without a disk.
    held: Mutex<BTreeMap<Digest, Arc<[u8]>>>,
    walls: Mutex<Option<Walls>>,
}

impl ProcessWorkshop {
    /// A workshop that starts `exe`, and keeps native code in `folder`.
    pub(crate) fn open(
        exe: PathBuf,
        folder: PathBuf,
        realtime: Option<u8>,
    ) -> io::Result<ProcessWorkshop> {
        fs::create_dir_all(&folder)?;
        let key = key(&folder.join(KEY_FILE))?;
        let (held, walls) = (Mutex::default(), Mutex::default());
        let spawner = Spawner::start(exe)?;
        Ok(ProcessWorkshop { spawner, folder, key, realtime, held, walls })
    }

    /// The walls of the runner that was started last.
    pub(crate) fn walls(&self) -> Option<Walls> {
        self.walls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn start(&self, purpose: Purpose) -> Result<Runner, Refusal> {
        let realtime = self.realtime.filter(|_| purpose == Purpose::Active);
        let mut runner = self.spawner.spawn(purpose, realtime).map_err(unavailable)?;
        let answer = runner.answer(Instant::now() + START, HEAD_BYTES_MAX).map_err(unavailable)?;
        match answer {
            Some((Answer::Ready { walls, engine }, _)) if engine == self.engine() => {
                *self.walls.lock().unwrap_or_else(PoisonError::into_inner) = Some(walls);
                Ok(runner)
            }
            // The program on disk is another one by now.
            Some((Answer::Ready { .. }, _)) => Err(Refusal::new(
                Reason::Unavailable,
                "the runner's engine is another one than the keeper's: start the agent again",
            )),
            _ => Err(Refusal::new(Reason::Unavailable, "a runner did not start")),
        }
    }

    /// The module's native code: from memory, from the folder, or made by a runner that
    /// does nothing else.
    fn code(&self, digest: &Digest, bytes: &[u8]) -> Result<Arc<[u8]>, Refusal> {
        let held = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = held().get(digest) {
            return Ok(Arc::clone(code));
        }
        let path = self.path(digest);
        let code = match files::read_capped(&path, CODE_BYTES_MAX) {
            Ok(code) if self.key().fits(digest, &self.engine(), &code) => code,
            _ => {
                let code = self
                    .compile(bytes)
                    .map_err(|refusal| refusal.at(format!("module {}", digest.short())))?;
                let new = path.with_extension("new");
                let written = files::write_private(&new, &code);
                if let Err(error) = written.and_then(|()| files::rename(&new, &path)) {
                    // A full disk costs a compilation at the next start, and no more.
                    let _ = fs::remove_file(&new);
                    tracing::warn!(%error, "compiled code is not kept");
                }
                code
            }
        };
        let code: Arc<[u8]> = code.into();
        held().insert(digest.clone(), Arc::clone(&code));
        Ok(code)
    }

    fn compile(&self, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut runner = self.start(Purpose::Compile)?;
        runner.ask(&Ask::Compile { key: self.key }, &[bytes]).map_err(unavailable)?;
        match runner.answer(Instant::now() + COMPILE, ATTACHED_BYTES_MAX) {
            Ok(Some((Answer::Compiled(outcome), code))) => outcome.map(|()| code),
            Ok(Some(_)) => Err(Refusal::new(Reason::CompileFailed, "no answer to a compilation")),
            Ok(None) => {
                let detail = format!("it takes longer than {} s", COMPILE.as_secs());
                Err(Refusal::new(Reason::CompileFailed, detail))
            }
            // Its processor time or its memory was used up, or the compiler crashed.
            Err(_) => Err(Refusal::new(
                Reason::CompileFailed,
                "the compiler's process ended: more time or memory than one module may take",
            )),
        }
    }

    fn key(&self) -> gnomon_host::ArtifactKey {
        gnomon_host::ArtifactKey::from_bytes(self.key)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.{}.code", digest.hex(), self.engine().short()))
    }
}

impl Workshop for ProcessWorkshop {
    fn engine(&self) -> Digest {
        gnomon_host::engine::digest()
    }

    fn build(
        &self,
        spec: &CellSpec,
        purpose: cell::Purpose,
    ) -> Result<(Box<dyn Cell>, Vec<SlotFacts>), Refusal> {
        let named: BTreeSet<&Digest> = spec.slots.iter().map(|slot| &slot.module).collect();
        let modules = spec.modules.iter().filter(|(digest, _)| named.contains(digest));
        let mut parts = vec![];
        for (digest, bytes) in modules {
            parts.push((digest.clone(), Arc::clone(bytes), self.code(digest, bytes)?));
        }
        let purpose = match purpose {
            cell::Purpose::Active => Purpose::Active,
            cell::Purpose::Candidates => Purpose::Candidates,
        };
        let mut runner = self.start(purpose)?;
        let listed =
            parts.iter().map(|(digest, bytes, code)| (digest.clone(), bytes.len(), code.len()));
        let ask = Ask::Load {
            profile: Box::new(spec.profile.as_ref().clone()),
            slots: spec.slots.clone(),
            modules: listed.collect(),
            key: self.key,
        };
        let attached: Vec<&[u8]> =
            parts.iter().flat_map(|(_, bytes, code)| [bytes.as_ref(), code.as_ref()]).collect();
        runner.ask(&ask, &attached).map_err(unavailable)?;
        match runner.answer(Instant::now() + LOAD, HEAD_BYTES_MAX).map_err(unavailable)? {
            Some((Answer::Loaded(facts), _)) => {
                let facts = facts?;
                if facts.len() != spec.slots.len() {
                    return Err(Refusal::new(Reason::Unavailable, "a runner lost some slots"));
                }
                Ok((Box::new(ProcessCell::new(runner, facts.clone())), facts))
            }
            _ => Err(Refusal::new(Reason::Unavailable, "a runner did not load its modules")),
        }
    }

    fn keep_only(&self, modules: &BTreeSet<Digest>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|digest, _| modules.contains(digest));
        drop(held);
        if let Err(error) = prune(&self.folder, modules) {
            tracing::warn!(%error, "old compiled code stays");
        }
    }
}

fn unavailable(error: io::Error) -> Refusal {
    Refusal::new(Reason::Unavailable, format!("a runner: {error}"))
}

/// Removes what no module of the list needs, the oldest first, until the folder is small
/// enough: a rollback may want some of it yet.
fn prune(folder: &Path, modules: &BTreeSet<Digest>) -> io::Result<()> {
    let mut others = vec![];
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == KEY_FILE {
            continue;
        }
        let data = entry.metadata()?;
        total += data.len();
        let is_needed = modules.iter().any(|digest| name.starts_with(digest.hex()));
        if !is_needed {
            others.push((data.modified()?, data.len(), entry.path()));
        }
    }
    others.sort();
    for (_, bytes, path) in others {
        if total <= FOLDER_BYTES_MAX {
            break;
        }
        fs::remove_file(path)?;
        total -= bytes;
    }
    Ok(())
}

/// The device's own key, made at the first start. A lost one costs compilations.
fn key(path: &Path) -> io::Result<[u8; 32]> {
    if let Ok(bytes) = files::read_capped(path, 32)
        && let Ok(key) = <[u8; 32]>::try_from(bytes)
    {
        return Ok(key);
    }
    let mut key = [0; 32];
    let no_random = |_| io::Error::other("the system gives no random numbers");
    SystemRandom::new().fill(&mut key).map_err(no_random)?;
    let new = path.with_extension("new");
    let written = files::write_private(&new, &key).and_then(|()| files::rename(&new, path));
    if let Err(error) = written {
        tracing::warn!(%error, "the key of compiled code is not kept");
    }
    Ok(key)
}
