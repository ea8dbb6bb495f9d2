//! The runner's walls, from both sides: what the command tells of the inside, and
//! what the kernel tells of the process.

use gnomon_agent::sandbox::{self, Attempt, Purpose, SandboxError, SelfTest, Walls};
use gnomon_schemas::Reason;
use gnomon_schemas::value::{Value, Values};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use tempfile::TempDir;

use super::fixture::PROFILE;

const AGENT: &str = env!("CARGO_BIN_EXE_gnomon-agent");
/// More than any of these guests uses up before its deadline.
const MUCH_FUEL: u64 = 1 << 50;
/// The streams, one of them again, and what was open meanwhile.
const OPEN_MAX: u64 = 8;
/// Ends a runner of which the test has failed.
const LONG_MS: u64 = 20_000;

/// What the command prints.
#[derive(Debug, Deserialize)]
struct Report {
    walls: Walls,
    self_test: SelfTest,
    self_test_of_thread: SelfTest,
    modules: Vec<Outcome>,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    outputs: Option<Values>,
    refusal: Option<gnomon_schemas::Refusal>,
}

/// Modules in a folder of their own, and the profile that they are for.
struct Trial {
    folder: TempDir,
    modules: Vec<PathBuf>,
}

impl Trial {
    fn new(fuel: u64, deadline_ms: u64) -> Trial {
        let folder = TempDir::new().unwrap();
        let mut profile: serde_json::Value = serde_json::from_slice(PROFILE).unwrap();
        let function = &mut profile["functions"]["setpoint"];
        function["budget"] = json!({"fuel": fuel, "memory_bytes": 2 * 1024 * 1024});
        function["deadline_ms"] = json!(deadline_ms);
        std::fs::write(folder.path().join("profile.json"), profile.to_string()).unwrap();
        Trial { folder, modules: vec![] }
    }

    /// A guest whose core module has these fields.
    fn add(&mut self, fields: &str) {
        let text = format!(
            r#"(component
            (type $i-of (record (field "hour" f64)))
            (import "inputs" (type $i (eq $i-of)))
            (type $o-of (record (field "setpoint-c" f64)))
            (import "outputs" (type $o (eq $o-of)))
            (core module $m {fields})
            (core instance $c (instantiate $m))
            (type $evaluate (func (param "in" $i) (result $o)))
            (func $f (type $evaluate) (canon lift (core func $c "f")))
            (export "evaluate" (func $f)))"#
        );
        let path = self.folder.path().join(format!("{}.wasm", self.modules.len()));
        std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        self.modules.push(path);
    }

    fn add_body(&mut self, body: &str) {
        self.add(&format!(r#"(func (export "f") (param f64) (result f64) {body})"#));
    }

    fn command(&self, program: &str, purpose: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["sandbox", "--purpose", purpose, "--function", "setpoint"]);
        command.args(["--inputs", r#"{"hour": 7.0}"#, "--profile"]);
        command.arg(self.folder.path().join("profile.json"));
        for path in &self.modules {
            command.arg("--module").arg(path);
        }
        command.env_clear().envs(sandbox::ENVIRONMENT).stdin(Stdio::null());
        command
    }

    fn run(&self, purpose: &str) -> Report {
        let output = self.command(AGENT, purpose).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        report(&output)
    }
}

fn report(output: &Output) -> Report {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Waits until the command says that it has entered.
fn wait_inside(child: &mut Child) -> BufReader<ChildStderr> {
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("inside the walls") {
        line.clear();
        assert_ne!(told.read_line(&mut line).unwrap(), 0, "it ended before it entered");
    }
    told
}

fn number(outcome: &Outcome) -> Option<f64> {
    match outcome.outputs.as_ref()?.get("setpoint_c") {
        Some(Value::Float(number)) => Some(*number),
        _ => None,
    }
}

#[test]
fn behind_the_walls_nothing_is_possible_and_the_engine_works() {
    let mut trial = Trial::new(1_000_000, LONG_MS / 2);
    let recursion = r#"(func $f (export "f") (param f64) (result f64)
        (f64.add (call $f (local.get 0)) (f64.const 1)))"#;
    let memory = |does: &str| {
        format!(
            r#"(memory 1 20) (data (i32.const 16) "\00\00\00\00\00\00\45\40")
               (func (export "f") (param f64) (result f64) {does})"#
        )
    };
    trial.add_body("(local.get 0)");
    trial.add(&memory("(f64.load (i32.const 16))"));
    trial.add(&memory("(f64.convert_i32_s (memory.grow (i32.const 10)))"));
    trial.add(&memory("(f64.load (i32.const 65536))"));
    trial.add(&memory("(f64.load offset=4294967280 (i32.const -1))"));
    trial.add_body("unreachable");
    trial.add_body("(f64.convert_i32_s (i32.div_s (i32.const 1) (i32.const 0)))");
    trial.add_body("(f64.convert_i32_s (i32.trunc_f64_s (f64.const nan)))");
    trial.add(
        r#"(type $t (func (param f64) (result f64))) (table 1 funcref)
           (func (export "f") (type $t) (call_indirect (type $t) (local.get 0) (i32.const 0)))"#,
    );
    trial.add(recursion);
    trial.add_body("(loop (br 0)) unreachable");
    // The walls did not take the engine's stack, handlers or memory with them.
    trial.add(recursion);
    trial.add(&memory("(f64.load (i32.const 16))"));
    let expected: [Result<f64, Reason>; 13] = [
        Ok(7.0),
        Ok(42.0),
        Ok(1.0),
        Err(Reason::TrapMemory),
        Err(Reason::TrapMemory),
        Err(Reason::TrapUnreachable),
        Err(Reason::TrapInteger),
        Err(Reason::TrapConversion),
        Err(Reason::TrapTable),
        Err(Reason::TrapStack),
        Err(Reason::OutOfFuel),
        Err(Reason::TrapStack),
        Ok(42.0),
    ];
    for (name, purpose) in [
        ("active", Purpose::Active),
        ("candidates", Purpose::Candidates),
        ("compile", Purpose::Compile),
    ] {
        let report = trial.run(name);
        for test in [&report.self_test, &report.self_test_of_thread] {
            let possible: Vec<&Attempt> = test.possible().collect();
            assert!(test.all_refused() && test.attempts.len() > 20, "{name}: {possible:?}");
        }
        let walls = &report.walls;
        assert!(walls.seccomp && walls.no_new_privs && walls.dies_with_parent, "{walls:?}");
        assert_eq!(walls.purpose, purpose);
        assert_eq!(walls.limits.file_size_bytes, Some(0));
        assert!(walls.limits.open_files < OPEN_MAX, "{walls:?}");
        assert_eq!(walls.limits.cpu_seconds.is_some(), purpose == Purpose::Compile);
        assert!(walls.limits.address_space_bytes > walls.usage.address_space_bytes);
        let found = report.modules.iter().map(|outcome| match &outcome.refusal {
            None => Ok(number(outcome).unwrap()),
            Some(refusal) => Err(refusal.reason),
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn a_deadline_ends_a_call_behind_the_walls() {
    let mut trial = Trial::new(MUCH_FUEL, 20);
    trial.add_body("(loop (br 0)) unreachable");
    let report = trial.run("candidates");
    let refusal = report.modules[0].refusal.as_ref().unwrap();
    assert_eq!(refusal.reason, Reason::DeadlineMissed, "{refusal}");
}

#[test]
fn the_kernel_tells_the_same_of_every_thread() {
    let mut trial = Trial::new(MUCH_FUEL, LONG_MS);
    trial.add_body("(loop (br 0)) unreachable");
    let mut command = trial.command(AGENT, "compile");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let _told = wait_inside(&mut child);
    let process = Path::new("/proc").join(child.id().to_string());
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let threads = std::fs::read_dir(process.join("task")).unwrap();
    let threads: Vec<String> =
        threads.map(|thread| read(&thread.unwrap().path().join("status"))).collect();
    assert_eq!(threads.len(), 3, "the first one, the deadlines', the evaluating one");
    let limits = read(&process.join("limits"));
    child.kill().unwrap();
    child.wait().unwrap();

    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    for status in &threads {
        assert_eq!(field(status, "Seccomp:"), "2", "a filter: {status}");
        assert_eq!(field(status, "NoNewPrivs:"), "1");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            let held = u64::from_str_radix(&field(status, set), 16).unwrap();
            assert_eq!(held & !CapabilitySet::SYS_NICE.bits(), 0, "{set} {status}");
        }
    }
    for (name, soft_and_hard) in [
        ("Max cpu time", "20 21 seconds"),
        ("Max file size", "0 0 bytes"),
        ("Max core file size", "0 0 bytes"),
        ("Max processes", "0 0 processes"),
        ("Max locked memory", "0 0 bytes"),
        ("Max msgqueue size", "0 0 bytes"),
    ] {
        assert_eq!(field(&limits, name), soft_and_hard, "{name}");
    }
    let open: u64 = field(&limits, "Max open files").split(' ').next().unwrap().parse().unwrap();
    assert!(open < OPEN_MAX);
    for name in ["Max address space", "Max data size"] {
        assert!(!field(&limits, name).contains("unlimited"), "{name}");
    }
}

/// Within the shape caps, though a compiler keeps each result of each call: a
/// megabyte for a call of this one.
#[test]
fn memory_beyond_the_cap_ends_the_runner_alone() {
    let mut trial = Trial::new(1_000_000, LONG_MS / 2);
    // One loop with a thousand ways back, over a thousand locals: half a gigabyte.
    let back = |n: usize| {
        let (written, read) = (n % 990, (n + 1) % 990);
        format!("(local.set {written} (i32.const {n})) (br_if 0 (local.get {read}))")
    };
    let back: String = (0..1_000).map(back).collect();
    let uses: String = (0..990).map(|n| format!("(global.set 0 (local.get {n}))")).collect();
    trial.add(&format!(
        r#"(global (mut i32) (i32.const 0))
           (func (local {}) loop {back} end {uses})
           (func (export "f") (param f64) (result f64) (local.get 0))"#,
        "i32 ".repeat(990)
    ));
    let output = trial.command(AGENT, "active").output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("memory allocation of"), "{told}");
}

#[test]
fn a_call_that_only_an_intruder_makes_ends_the_runner() {
    let output = Trial::new(1, 1).command(AGENT, "active").arg("--break-out").output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{output:?}");
}

#[test]
fn a_runner_dies_with_its_parent() {
    let mut trial = Trial::new(MUCH_FUEL, LONG_MS);
    trial.add_body("(loop (br 0)) unreachable");
    let inner = trial.command(AGENT, "active");
    let mut parent = Command::new("/bin/sh");
    parent.args(["-c", r#""$@" & wait"#, "sh"]).arg(inner.get_program()).args(inner.get_args());
    let mut parent = parent.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _told = wait_inside(&mut parent);
    parent.kill().unwrap();
    parent.wait().unwrap();
    // The runner holds the other end: it is closed once the runner is gone, and by then
    // the runner would have printed had it come to its deadline.
    let mut printed = String::new();
    parent.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "");
}

#[test]
fn a_runner_whose_parent_is_gone_does_not_start() {
    let (gone, stdin) = UnixStream::pair().unwrap();
    drop(gone);
    let trial = Trial::new(1, 1);
    let output = trial.command(AGENT, "active").stdin(OwnedFd::from(stdin)).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the parent is gone"), "{told}");
}

#[test]
fn what_a_runner_inherits_is_closed_and_its_log_may_be_a_file() {
    let trial = Trial::new(1, 1);
    let inner = trial.command(AGENT, "active");
    let log = trial.folder.path().join("log");
    let script = r#"log=$1; shift; exec "$@" 7</dev/null 9>&1 2>"$log""#;
    let output = Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .arg(&log)
        .arg(inner.get_program())
        .args(inner.get_args())
        .output()
        .unwrap();
    let limits = report(&output).walls.limits;
    assert!(limits.open_files < OPEN_MAX, "{limits:?}");
    assert_eq!(limits.file_size_bytes, None, "else a line of the log would end the process");
    assert!(std::fs::read_to_string(log).unwrap().contains("inside the walls"));
}

#[test]
fn walls_are_not_approached_with_threads_that_they_would_not_bind() {
    // The harness runs tests on threads.
    let refused = sandbox::approach().unwrap_err();
    assert!(matches!(refused, SandboxError::Threads(2..)), "{refused}");
}

/// What a thread of its own does with its priority.
fn on_a_thread<T: Send + 'static>(does: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(does).join().unwrap()
}

fn nice_and_policy() -> (i32, String) {
    let thread = rustix::thread::gettid();
    let niceness = rustix::process::getpriority_process(Some(thread)).unwrap();
    let path = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
    let stat = std::fs::read_to_string(path).unwrap();
    // Field 41 of proc(5), counted behind the name in brackets, which is field 2.
    let policy = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().to_owned();
    (niceness, policy)
}

#[test]
fn a_thread_can_give_way() {
    let idle = on_a_thread(|| {
        sandbox::priority::idle().unwrap();
        // What it starts gives way, too.
        on_a_thread(nice_and_policy)
    });
    assert_eq!(idle, (19, "5".to_owned()), "SCHED_IDLE");
    let below = on_a_thread(|| {
        sandbox::priority::below_normal().unwrap();
        nice_and_policy()
    });
    assert!(below.0 >= 10 && below.1 == "0", "SCHED_OTHER: {below:?}");
}

#[test]
fn real_time_without_permission_says_what_is_missing() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Rtprio, none).unwrap();
    let refused = on_a_thread(|| {
        let empty = CapabilitySet::empty();
        let none = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
        rustix::thread::set_capabilities(None, none).unwrap();
        let refused = sandbox::priority::realtime(10).unwrap_err().to_string();
        assert_eq!(nice_and_policy().1, "0", "SCHED_OTHER");
        refused
    });
    assert!(refused.contains("CAP_SYS_NICE") && refused.contains("RLIMIT_RTPRIO"), "{refused}");
    for outside in [0, 100] {
        let refused = on_a_thread(move || sandbox::priority::realtime(outside).unwrap_err());
        assert!(refused.to_string().contains("no real-time priority"), "{refused}");
    }
}
