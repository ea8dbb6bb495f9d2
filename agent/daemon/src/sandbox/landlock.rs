//! Landlock without a single rule: no file, no TCP, no signal and no abstract socket
//! outside, as far as the kernel knows these rights. It binds the calling thread and
//! those that it starts from then on.

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetError, Scope,
};

/// The newest interface that the crate knows; an older kernel takes what it can.
const NEWEST: ABI = ABI::V9;

/// The version of the interface that is in force, or `None` where the kernel has none.
pub(super) fn deny_all() -> Result<Option<u32>, RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as u32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    })
}

#[cfg(test)]
mod tests {
    use super::deny_all;
    use std::fs::{File, OpenOptions};
    use std::net::{TcpListener, TcpStream};

    /// Without the filter of system calls, which would refuse before Landlock is asked.
    #[test]
    fn landlock_alone_refuses_files_and_tcp_where_the_kernel_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (version, read, write, connect) = std::thread::spawn(move || {
            let version = deny_all().unwrap();
            let read = File::open("/proc/self/status").is_err();
            let write = OpenOptions::new().write(true).open("/dev/null").is_err();
            (version, read, write, TcpStream::connect(address).is_err())
        })
        .join()
        .unwrap();
        assert_eq!((read, write), (version.is_some(), version.is_some()));
        assert_eq!(connect, version.is_some_and(|version| version >= 4));
        assert!(File::open("/proc/self/status").is_ok(), "this thread was not restricted");
    }
}
