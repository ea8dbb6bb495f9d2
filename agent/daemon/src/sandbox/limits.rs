//! Resource limits, and what they are measured from. It decides no budget of a
//! module: the engine holds those long before a limit of the process is met.

use rustix::fs::{FileType, fstat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use super::{ENVIRONMENT, Purpose, SandboxError, kernel};

const MIB: u64 = 1024 * 1024;

/// Memory beyond what the process holds when it enters. Engine, pool and threads are
/// there by then; what they need differs by machine, so it is measured at each start
/// (on x86_64 a runner with four instances maps 102 MiB, of which 4 MiB can be written
/// to and 10 MiB are resident).
///
/// Evaluation makes the pool writable, 64 MiB of it, and keeps compiled code: twice
/// that suffices. A compiler may take tens of thousands of times a module's size (5 KB
/// of calls to a wide function took 250 MB): what takes more ends with its process.
fn headroom_bytes(purpose: Purpose) -> u64 {
    match purpose {
        Purpose::Active | Purpose::Candidates => 128 * MIB,
        Purpose::Compile => 512 * MIB,
    }
}

/// Addresses that glibc may yet reserve: 128 MiB for a moment, of which it keeps 64, when
/// a thread first allocates, unless the runner's environment says that there is one
/// arena. A thread that finds none left falls over, in one start of a hundred.
fn arenas_bytes(threads: u64) -> u64 {
    let [(name, value)] = ENVIRONMENT;
    let has_one = std::env::var_os(name).is_some_and(|found| found == value);
    if cfg!(target_env = "gnu") && !has_one { threads * 128 * MIB } else { 0 }
}

/// Processor time of a compilation; the soft limit ends it, the hard one a second later.
const COMPILE_CPU_SECONDS: u64 = 20;

/// The caps of a runner. Core dumps, locked memory, message queues and further
/// processes are capped at zero besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Addresses, reserved ones among them.
    pub address_space_bytes: u64,
    /// Memory that can be written to.
    pub data_bytes: u64,
    /// Processor time.
    pub cpu_seconds: Option<u64>,
    /// Descriptors: up to the highest that is open.
    pub open_files: u64,
    /// How far a file may grow: 0, or `None` where a standard stream is a file, since a
    /// line of the log would end the process.
    pub file_size_bytes: Option<u64>,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Addresses, reserved ones among them.
    pub address_space_bytes: u64,
    /// Memory that can be written to.
    pub data_bytes: u64,
    /// Memory that is there.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
}

/// `/proc/self/status`, opened before Landlock and read behind it.
#[derive(Debug)]
pub(super) struct UsageFile(File);

impl UsageFile {
    pub(super) fn open() -> Result<UsageFile, SandboxError> {
        File::open("/proc/self/status").map(UsageFile).map_err(SandboxError::Proc)
    }

    pub(super) fn is(&self, descriptor: u64) -> bool {
        u64::try_from(self.0.as_raw_fd()).is_ok_and(|own| own == descriptor)
    }

    pub(super) fn read(&self) -> Result<Usage, SandboxError> {
        let mut bytes = [0; 8 * 1024];
        let length = self.0.read_at(&mut bytes, 0).map_err(SandboxError::Proc)?;
        let text = String::from_utf8_lossy(&bytes[..length]);
        parse(&text).ok_or_else(|| SandboxError::Proc(io::ErrorKind::InvalidData.into()))
    }
}

fn parse(status: &str) -> Option<Usage> {
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    Some(Usage {
        address_space_bytes: figure("VmSize")? * 1024,
        data_bytes: figure("VmData")? * 1024,
        resident_bytes: figure("VmRSS")? * 1024,
        threads: figure("Threads")?,
    })
}

/// Sets the limits of the whole process; `highest` is its highest open descriptor.
pub(super) fn impose(
    purpose: Purpose,
    usage: &Usage,
    highest: u64,
) -> Result<Limits, SandboxError> {
    let headroom = headroom_bytes(purpose);
    for none in [Resource::Core, Resource::Memlock, Resource::Msgqueue, Resource::Nproc] {
        lower(none, 0, 0)?;
    }
    let cpu_seconds = (purpose == Purpose::Compile).then_some(COMPILE_CPU_SECONDS);
    if let Some(seconds) = cpu_seconds {
        lower(Resource::Cpu, seconds, seconds + 1)?;
    }
    let file_size_bytes = if any_stream_is_a_file()? { None } else { Some(0) };
    if let Some(bytes) = file_size_bytes {
        lower(Resource::Fsize, bytes, bytes)?;
    }
    let limits = Limits {
        address_space_bytes: usage.address_space_bytes + headroom + arenas_bytes(usage.threads),
        data_bytes: usage.data_bytes + headroom,
        cpu_seconds,
        open_files: highest + 1,
        file_size_bytes,
    };
    lower(Resource::Nofile, limits.open_files, limits.open_files)?;
    lower(Resource::As, limits.address_space_bytes, limits.address_space_bytes)?;
    lower(Resource::Data, limits.data_bytes, limits.data_bytes)?;
    Ok(limits)
}

/// Whoever started the agent may have set less; that stays.
fn lower(resource: Resource, soft: u64, hard: u64) -> Result<(), SandboxError> {
    let now = getrlimit(resource);
    let least = |wanted: u64, found: Option<u64>| Some(found.map_or(wanted, |f| f.min(wanted)));
    let limit = Rlimit { current: least(soft, now.current), maximum: least(hard, now.maximum) };
    kernel("resource limits", setrlimit(resource, limit))
}

fn any_stream_is_a_file() -> Result<bool, SandboxError> {
    let (output, errors) = (io::stdout(), io::stderr());
    for stream in [output.as_fd(), errors.as_fd()] {
        let mode = kernel("standard streams", fstat(stream))?.st_mode;
        if FileType::from_raw_mode(mode) == FileType::RegularFile {
            return Ok(true);
        }
    }
    Ok(false)
}
