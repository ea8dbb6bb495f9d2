//! The system calls of a runner: a short list, and nothing else.
//!
//! Two filters besides, of which the kernel takes the sternest answer: what no
//! library ever calls by itself ends the process, and what the engine does without
//! where the kernel has none is said to be missing. The rest is refused with EPERM,
//! so that a self-test can look.

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// What an engine, its threads, the allocator and streams that are open need.
const ALLOWED: &[c_long] = &[
    // Streams that are open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_ppoll,
    libc::SYS_shutdown,
    libc::SYS_close,
    // Memory. Executable pages stay possible, since the engine compiles.
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads that run already, or are about to: glibc ends the process where a thread
    // that was started just before cannot register itself.
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    // Traps.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    // The end.
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Left to the filter that says it is missing.
    libc::SYS_memfd_create,
];

#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[libc::SYS_poll];
/// Other cores learn of fresh code by a barrier.
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[libc::SYS_membarrier];

/// The engine keeps a module's initial memory in a `memfd` where there is one, and
/// copies it where not. A file in memory could be mapped, grown and handed on.
const MISSING: &[c_long] = &[libc::SYS_memfd_create];

/// Whoever calls one of these has broken out of the engine.
const DEADLY: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Puts the filters on every thread of the process, for good.
pub(super) fn filter_all_threads() -> Result<(), Error> {
    let missing = SeccompAction::Errno(errno(libc::ENOSYS));
    let refused = SeccompAction::Errno(errno(libc::EPERM));
    let programs = [
        program(whole(DEADLY), SeccompAction::Allow, SeccompAction::KillProcess)?,
        program(whole(MISSING), SeccompAction::Allow, missing)?,
        // The last one: it refuses to put on another.
        program(allowed()?, refused, SeccompAction::Allow)?,
    ];
    programs.iter().try_for_each(|program| seccompiler::apply_filter_all_threads(program))
}

fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}

fn program(rules: Rules, other: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, Error> {
    let architecture = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, other, listed, architecture)?.try_into()?)
}

/// Whatever the arguments.
fn whole(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, vec![])).collect()
}

fn allowed() -> Result<Rules, Error> {
    let mut rules = whole(ALLOWED);
    rules.extend(whole(ALLOWED_HERE));
    let anonymous = u64::from(libc::MAP_ANONYMOUS.unsigned_abs());
    let own = u64::from(std::process::id());
    let (int, pointer) = (SeccompCmpArgLen::Dword, SeccompCmpArgLen::Qword);
    for (call, argument, length, comparison, value) in [
        // Memory, never a file.
        (libc::SYS_mmap, 3, int.clone(), SeccompCmpOp::MaskedEq(anonymous), anonymous),
        // To whom the socket is connected, and nobody else.
        (libc::SYS_sendto, 4, pointer, SeccompCmpOp::Eq, 0),
        // A thread's name, as it starts.
        (
            libc::SYS_prctl,
            0,
            int.clone(),
            SeccompCmpOp::Eq,
            u64::from(libc::PR_SET_NAME.unsigned_abs()),
        ),
        // An abort of its own.
        (libc::SYS_tgkill, 0, int, SeccompCmpOp::Eq, own),
    ] {
        let condition = SeccompCondition::new(argument, length, comparison, value)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    Ok(rules)
}
