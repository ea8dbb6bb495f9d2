//! Attempts to leave the walls, each harmless should it succeed. It builds no wall,
//! and it takes nothing but the kernel's refusal for one.

use nix::sys::ptrace;
use nix::unistd::Pid;
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{PidfdFlags, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::thread::Builder;

/// A program that nobody has: to start it fails in any case, and how it fails tells
/// whether somebody looked for it.
const NOWHERE: &CStr = c"/gnomon/no/such/program";

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried.
    pub what: String,
    /// The kernel refused.
    pub refused: bool,
    /// What it said.
    pub answer: String,
}

/// All attempts of one thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// In the order in which they were made.
    pub attempts: Vec<Attempt>,
}

impl SelfTest {
    /// Nothing was possible.
    pub fn all_refused(&self) -> bool {
        self.possible().next().is_none()
    }

    /// What was possible and must not be.
    pub fn possible(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| !attempt.refused)
    }

    fn attempt<T>(&mut self, what: &str, result: io::Result<T>) {
        let (refused, answer) = match result {
            Ok(_) => (false, "it was possible".to_owned()),
            // Permission denied, or a call that the filter says is missing: any other
            // error means that the kernel went and looked.
            Err(error) => {
                let kinds = [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported];
                (kinds.contains(&error.kind()), error.to_string())
            }
        };
        self.attempts.push(Attempt { what: what.to_owned(), refused, answer });
    }
}

/// Tries, on the calling thread, what a runner must not be able to do. To be called
/// behind the walls: outside, the process ends up traced by its parent.
pub fn self_test() -> SelfTest {
    let mut test = SelfTest { attempts: vec![] };
    files(&mut test);
    sockets(&mut test);
    processes(&mut test);
    own_limits(&mut test);
    test
}

fn files(test: &mut SelfTest) {
    test.attempt("read a file", File::open("/dev/null"));
    test.attempt("write to a file", OpenOptions::new().write(true).open("/dev/null"));
    test.attempt("list a folder", fs::read_dir("/"));
    test.attempt("ask about a file", fs::metadata("/"));
    let memory = rustix::fs::memfd_create(c"self-test", MemfdFlags::CLOEXEC);
    test.attempt("make a file in memory", memory.map_err(Into::into));
    test.attempt("make a pipe", rustix::pipe::pipe().map_err(Into::into));
}

fn sockets(test: &mut SelfTest) {
    for (what, family) in [
        ("make a TCP socket", AddressFamily::INET),
        ("make a Unix socket", AddressFamily::UNIX),
        ("make a netlink socket", AddressFamily::NETLINK),
    ] {
        let kind =
            if family == AddressFamily::NETLINK { SocketType::RAW } else { SocketType::STREAM };
        test.attempt(what, rustix::net::socket(family, kind, None).map_err(Into::into));
    }
    // The one socket that it may have is its standard input.
    let stdin = io::stdin();
    let tcp = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    test.attempt("connect over TCP", rustix::net::connect(&stdin, &tcp).map_err(Into::into));
    let unix =
        SocketAddrUnix::new(NOWHERE).and_then(|address| rustix::net::connect(&stdin, &address));
    test.attempt("connect to a Unix socket", unix.map_err(Into::into));
}

fn processes(test: &mut SelfTest) {
    let parent = rustix::process::getppid();
    if let Some(parent) = parent {
        let traced =
            ptrace::seize(Pid::from_raw(parent.as_raw_nonzero().get()), ptrace::Options::empty());
        test.attempt("trace the parent", traced.map_err(Into::into));
        let asked = rustix::process::test_kill_process(parent);
        test.attempt("signal the parent", asked.map_err(Into::into));
        let held = rustix::process::pidfd_open(parent, PidfdFlags::empty());
        test.attempt("take hold of the parent", held.map_err(Into::into));
    }
    test.attempt("be traced", ptrace::traceme().map_err(Into::into));
    let nowhere = NOWHERE.to_str().unwrap_or_default();
    test.attempt("start a process", Command::new(nowhere).spawn());
    let none: [&CStr; 0] = [];
    let became = nix::unistd::execve(NOWHERE, &none, &none);
    test.attempt("become another program", became.map_err(Into::into));
    test.attempt("start a thread", Builder::new().spawn(|| ()).map(|thread| thread.join()));
}

fn own_limits(test: &mut SelfTest) {
    // As they are: what counts is who may ask.
    let core = Rlimit { current: Some(0), maximum: Some(0) };
    test.attempt(
        "set a limit",
        rustix::process::setrlimit(Resource::Core, core).map_err(Into::into),
    );
    let outlive = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    test.attempt("choose how it ends", outlive.map_err(Into::into));
    let nicer = rustix::process::nice(0).map(drop);
    test.attempt("set a priority", nicer.map_err(Into::into));
}
