//! The walls of a runner: what a process that runs foreign code gives up, in the
//! one order that works, and the proof that it is gone.
//!
//! Two steps, since Landlock and capabilities bind one thread and those that it
//! starts: [`approach`] first thing in the process, then the engine and every
//! thread, then [`Threshold::enter`], then [`self_test()`]. Behind the walls there
//! are the descriptors that are open, memory up to a cap, clocks, and the end.
//!
//! It knows no engine, no frames and no modules.

mod descriptors;
mod landlock;
mod limits;
pub mod priority;
mod seccomp;
mod self_test;
pub mod trial;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;

pub use limits::{Limits, Usage};
pub use self_test::{Attempt, SelfTest, self_test};

/// What the parent puts into a runner's environment, and nothing else: its own may hold
/// tokens. One arena, since glibc reserves addresses for each thread's, and the cap of
/// addresses must leave room for that where there may be several.
pub const ENVIRONMENT: [(&str, &str); 1] = [("MALLOC_ARENA_MAX", "1")];

/// What a runner is for; its caps depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Evaluates the active functions.
    Active,
    /// Evaluates candidates.
    Candidates,
    /// Compiles one document's modules, and ends.
    Compile,
}

/// What is in force, for the status view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// What the caps are for.
    pub purpose: Purpose,
    /// System calls are refused but for a list, on every thread.
    pub seccomp: bool,
    /// The version of Landlock's interface that holds; `None` where the kernel has none.
    pub landlock: Option<u32>,
    /// No program that it could start would gain rights.
    pub no_new_privs: bool,
    /// The kernel ends it with its parent.
    pub dies_with_parent: bool,
    /// The caps.
    pub limits: Limits,
    /// What it held when it entered.
    pub usage: Usage,
}

/// Why the walls do not stand.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Landlock would hold for one thread alone.
    #[error("{0} threads run already: approach the walls before any thread is started")]
    Threads(usize),
    /// The process that started this one.
    #[error("the parent is gone: nobody is left to work for")]
    ParentGone,
    /// A way out that was opened between the two steps.
    #[error("descriptor {descriptor} leads to {target}: close it before entering")]
    Open {
        /// Its number.
        descriptor: u64,
        /// What the kernel calls it.
        target: String,
    },
    /// `/proc` is missing, or not as Linux writes it.
    #[error("/proc cannot be read ({0}): mount it")]
    Proc(io::Error),
    /// A call to the kernel.
    #[error("{step}: {source}")]
    Kernel {
        /// What was to be done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Landlock is there and refused.
    #[error("landlock: {0}")]
    Landlock(#[from] ::landlock::RulesetError),
    /// The filter of system calls.
    #[error("seccomp: {0}; the kernel needs CONFIG_SECCOMP_FILTER")]
    Seccomp(#[from] seccompiler::Error),
}

fn kernel<T>(step: &'static str, result: rustix::io::Result<T>) -> Result<T, SandboxError> {
    result.map_err(|error| SandboxError::Kernel { step, source: error.into() })
}

/// A process that gave up its files and its rights and has yet to start its threads.
#[derive(Debug)]
pub struct Threshold {
    landlock: Option<u32>,
    // Opened while that was possible.
    descriptors: descriptors::Listing,
    usage: limits::UsageFile,
}

/// The first step, before the process has opened anything or started a thread:
/// closes what it inherited but for descriptors 0, 1 and 2, asks to die with its
/// parent, gives up capabilities and, by Landlock, files, TCP and signals.
///
/// The kernel counts as parent the *thread* that started this process: the runner
/// ends with it.
///
/// # Errors
/// [`SandboxError`]; the process is then of no use.
pub fn approach() -> Result<Threshold, SandboxError> {
    let threads = fs::read_dir("/proc/self/task").map_err(SandboxError::Proc)?.count();
    if threads != 1 {
        return Err(SandboxError::Threads(threads));
    }
    descriptors::close_inherited()?;
    let descriptors = descriptors::Listing::open()?;
    let usage = limits::UsageFile::open()?;
    drop_capabilities()?;
    die_with_parent()?;
    kernel("no dumps", rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
    kernel("no new privileges", rustix::thread::set_no_new_privs(true))?;
    let landlock = landlock::deny_all()?;
    Ok(Threshold { landlock, descriptors, usage })
}

impl Threshold {
    /// The second step, once the engine and every thread are there and before the
    /// first foreign byte is read: proves that no descriptor leads elsewhere, caps
    /// memory and the rest, and filters the system calls of all threads.
    ///
    /// No thread can be started, no priority changed and no descriptor opened or
    /// duplicated from here on; a thread that sets its own priority has done so before.
    ///
    /// # Errors
    /// [`SandboxError`]; the process must then end.
    pub fn enter(self, purpose: Purpose) -> Result<Walls, SandboxError> {
        let Threshold { landlock, descriptors, usage } = self;
        let highest = descriptors.prove_closed(&usage)?;
        let usage = usage.read()?;
        let limits = limits::impose(purpose, &usage, highest)?;
        seccomp::filter_all_threads()?;
        Ok(Walls {
            purpose,
            seccomp: true,
            landlock,
            no_new_privs: true,
            dies_with_parent: true,
            limits,
            usage,
        })
    }
}

/// All but the right to set priorities, which a thread of the runner may need before
/// it enters; behind the walls the call for it is refused.
fn drop_capabilities() -> Result<(), SandboxError> {
    let step = "capabilities";
    let held = kernel(step, rustix::thread::capabilities(None))?;
    let kept = CapabilitySets {
        effective: held.effective & CapabilitySet::SYS_NICE,
        permitted: held.permitted & CapabilitySet::SYS_NICE,
        inheritable: CapabilitySet::empty(),
    };
    kernel(step, rustix::thread::set_capabilities(None, kept))
}

fn die_with_parent() -> Result<(), SandboxError> {
    let step = "death with the parent";
    kernel(step, rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    // A parent that died before that call is told by the socket that it held.
    let stdin = io::stdin();
    let mode = kernel(step, fstat(&stdin))?.st_mode;
    if FileType::from_raw_mode(mode) == FileType::Socket {
        let mut ends = [PollFd::new(&stdin, PollFlags::empty())];
        kernel(step, poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))?;
        if ends[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(SandboxError::ParentGone);
        }
    }
    Ok(())
}
