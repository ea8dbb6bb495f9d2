//! How urgent a thread is to the kernel. A thread hands its class on to those that it
//! starts; behind the walls none of this can be changed.

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use std::io;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};
use thread_priority::{Error, ThreadPriority, ThreadPriorityValue};

/// The nice value of [`below_normal`]: about a tenth of a normal thread's share.
const BELOW_NORMAL_NICENESS: i32 = 10;
/// The lowest there is.
const IDLE_NICENESS: i32 = 19;
/// What SCHED_FIFO knows.
const REALTIME: std::ops::RangeInclusive<u8> = 1..=99;

/// Why a thread keeps the priority that it has.
#[derive(Debug, thiserror::Error)]
pub enum PriorityError {
    /// Out of range.
    #[error("{0} is no real-time priority: 1 (low) to 99 (high)")]
    OutOfRange(u8),
    /// Neither the capability nor the limit.
    #[error(
        "priority {wanted} needs CAP_SYS_NICE, or an RLIMIT_RTPRIO of {wanted} and not {limit} \
         (LimitRTPRIO={wanted} in a systemd unit)"
    )]
    NotPermitted {
        /// What was asked for.
        wanted: u8,
        /// The limit as it is.
        limit: u64,
    },
    /// The permission is there.
    #[error(
        "priority {0} is permitted and refused: its control group has no real-time share \
         (cpu.rt_runtime_us)"
    )]
    NoShare(u8),
    /// Anything else.
    #[error("the kernel refuses the priority: {0}")]
    Kernel(#[from] io::Error),
}

/// The calling thread runs when nothing else wants to (SCHED_IDLE, nice 19; the
/// kernel takes the idle class of disks from that).
///
/// # Errors
/// [`PriorityError::Kernel`].
pub fn idle() -> Result<(), PriorityError> {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let set = set(ThreadPriority::Min, policy);
    // The crate sets a nice value of 0 besides, which a process that was started with a
    // higher one may not: the class counts.
    if !thread_schedule_policy().is_ok_and(|now| now == policy) {
        set.map_err(io::Error::from_raw_os_error)?;
    }
    let set = rustix::process::setpriority_process(None, IDLE_NICENESS);
    Ok(set.map_err(io::Error::from)?)
}

/// The calling thread gives way to normal ones, and still moves on beside them.
///
/// # Errors
/// [`PriorityError::Kernel`].
pub fn below_normal() -> Result<(), PriorityError> {
    let now = rustix::process::getpriority_process(None).map_err(io::Error::from)?;
    // One that gives way already may not be allowed back.
    let niceness = now.max(BELOW_NORMAL_NICENESS);
    Ok(rustix::process::setpriority_process(None, niceness).map_err(io::Error::from)?)
}

/// The calling thread runs before every normal one (SCHED_FIFO), from 1 (low) to 99.
///
/// # Errors
/// [`PriorityError`], which says what is missing.
pub fn realtime(priority: u8) -> Result<(), PriorityError> {
    let value = ThreadPriorityValue::try_from(priority);
    let (true, Ok(value)) = (REALTIME.contains(&priority), value) else {
        return Err(PriorityError::OutOfRange(priority));
    };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let Err(code) = set(ThreadPriority::Crossplatform(value), policy) else { return Ok(()) };
    if code != libc::EPERM {
        return Err(io::Error::from_raw_os_error(code).into());
    }
    let held = capabilities(None).map_err(io::Error::from)?.effective;
    let limit = getrlimit(Resource::Rtprio).current.unwrap_or(u64::MAX);
    if held.contains(CapabilitySet::SYS_NICE) || limit >= u64::from(priority) {
        return Err(PriorityError::NoShare(priority));
    }
    Err(PriorityError::NotPermitted { wanted: priority, limit })
}

/// The kernel's number for what went wrong.
fn set(priority: ThreadPriority, policy: ThreadSchedulePolicy) -> Result<(), i32> {
    set_thread_priority_and_policy(thread_native_id(), priority, policy).map_err(
        |error| match error {
            Error::OS(code) => code,
            _ => libc::EINVAL,
        },
    )
}
