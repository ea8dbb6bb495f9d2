//! The store under power cuts and failing calls: a run is written down call by call, and
//! each disk that a cut may leave is opened by the production store.
//!
//! `GNOMON_CUT_SUBSETS=400` asks for a campaign: so many random disks per boundary, and
//! cuts after every call that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;

use crate::faults::cut::{Cuts, Said, Verdict, place, play};
use crate::faults::disk::Cached;
use crate::faults::log::{Operation, without_syncs};
use crate::faults::oracle::judge;
use crate::faults::{Control, Errno, Fault, Shim};

/// Random disks per boundary, in the gate.
const SUBSETS: usize = 24;

/// A store in a folder of its own, and the faults below it.
struct Bench {
    folder: tempfile::TempDir,
    control: Control,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir_in(place()).unwrap();
        Bench { control: Control::over(folder.path()), folder }
    }

    /// Runs a script. What it does when the store refuses a step, before the step is
    /// tried again, is up to the test; it is told for which time that is.
    fn run(&self, script: &str, mut refused: impl FnMut(&Control, usize)) -> ExitStatus {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnomon-store-under-test"));
        command.arg(self.folder.path()).arg(script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Shim::build().apply(&mut command, &self.control);
        let mut process = command.spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        for (refusal, line) in output.lines().enumerate() {
            line.unwrap();
            refused(&self.control, refusal + 1);
            // It may have ended.
            let _ = input.write_all(b"\n");
        }
        process.wait().unwrap()
    }

    /// What the run did, once it is sure that all of it was seen.
    fn log(&self) -> Vec<Operation> {
        let log = self.control.log();
        let mut cached = Cached::default();
        for operation in &log {
            cached.take(operation);
        }
        let disk = cached.all();
        let played: BTreeMap<&str, &[u8]> =
            disk.tree().into_iter().filter_map(|(path, bytes)| Some((path, bytes?))).collect();
        let found = std::fs::read_dir(self.folder.path()).unwrap().map(Result::unwrap);
        let found: BTreeMap<String, Vec<u8>> = found
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .filter(|(name, _)| !name.ends_with("-shm"))
            .map(|(name, path)| (name, std::fs::read(path).unwrap()))
            .collect();
        assert!(played.keys().eq(found.keys()), "{:?}, not {:?}", played.keys(), found.keys());
        for (name, bytes) in found {
            assert!(played[&*name] == bytes, "a change of {name} was not seen");
        }
        log
    }

    /// The log of a run that was to get over its faults: what is there in the end keeps
    /// all promises.
    fn recovered(&self, status: ExitStatus, what: &str) -> Vec<Operation> {
        assert!(status.success(), "{what}: {status}");
        let log = self.log();
        let judged = judge(self.folder.path(), &Said::of(&log));
        judged.unwrap_or_else(|text| panic!("{what}: in the end {text}"));
        log
    }
}

/// A run without faults.
fn recorded(script: &str) -> Vec<Operation> {
    let bench = Bench::new();
    let status = bench.run(script, |_, _| panic!("refused without a fault"));
    bench.recovered(status, "without a fault")
}

/// What a campaign asks for.
fn campaign() -> Option<usize> {
    let asked = std::env::var("GNOMON_CUT_SUBSETS").ok()?;
    Some(asked.parse().expect("GNOMON_CUT_SUBSETS is a number"))
}

#[test]
fn no_power_cut_takes_what_the_store_has_promised() {
    let log = recorded("small");
    let cuts = Cuts::with(campaign().unwrap_or(SUBSETS));
    let verdict = play(&log, 0..log.len(), cuts, judge);
    println!("power cuts: {verdict}");
    verdict.assert_none("promises");
    assert!(verdict.disks > verdict.boundaries && verdict.boundaries > 100, "{verdict}");
}

#[test]
fn no_power_cut_takes_a_document_whose_modules_are_large() {
    let log = recorded("large");
    // Thousands of pages: only some of the places to cut are tried.
    let (writes, subsets) = campaign().map_or((199, 1), |_| (11, 2));
    let cuts = Cuts { prefixes_max: 3, writes, ..Cuts::with(subsets) };
    let verdict = play(&log, 0..log.len(), cuts, judge);
    println!("power cuts, large modules: {verdict}");
    verdict.assert_none("large");
    assert!(verdict.disks > verdict.boundaries && verdict.boundaries > 100, "{verdict}");
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let bench = Bench::new();
    bench.control.swallow_syncs(true);
    assert!(bench.run("small", |_, _| panic!("refused without a fault")).success());
    let log = bench.log();
    let cuts = Cuts { violations_max: 10, ..Cuts::with(1) };
    let verdict = play(&log, 0..log.len(), cuts, judge);
    println!("no sync at all: {verdict}");
    assert!(!verdict.violations.is_empty(), "{verdict}");

    let log = recorded("small");
    for lie in ["agent.db", "agent.db-wal", "floor.new", ""] {
        let log = without_syncs(&log, |path| path == lie);
        let verdict = play(&log, 0..log.len(), cuts, judge);
        println!("no sync of {lie:?}: {verdict}");
        assert!(!verdict.violations.is_empty(), "{lie:?}: {verdict}");
    }
}

/// Every call of the script fails once, each in a run of its own. After some, the cuts
/// from there to the end of the next step are played through.
fn fail_every_call(errno: Errno) -> Verdict {
    let (mut verdict, mut refusals) = (Verdict::default(), 0);
    for n in 1.. {
        let bench = Bench::new();
        bench.control.set(Fault::Nth(n, errno));
        let status = bench.run("small", |_, _| refusals += 1);
        if bench.control.struck() == 0 {
            println!("{errno:?} for each of {} calls, {refusals} refusals; {verdict}", n - 1);
            break;
        }
        let log = bench.recovered(status, &format!("{errno:?} in call {n}"));
        // In the gate other calls with one errno than with the other.
        if campaign().is_some() || (n + errno as i64) % 24 == 0 {
            let is_struck = |operation: &Operation| {
                matches!(operation, Operation::Refused | Operation::Sync { failed: true, .. })
            };
            let struck = log.iter().position(is_struck).unwrap();
            let is_mark = |index: &usize| matches!(log[*index], Operation::Mark(_));
            let end = (struck..log.len()).filter(is_mark).nth(3).unwrap_or(log.len() - 1);
            verdict.add(play(&log, struck..end + 1, Cuts::with(1), judge));
        }
    }
    verdict
}

#[test]
fn whichever_call_fails_what_was_promised_is_kept() {
    let verdicts = std::thread::scope(|scope| {
        let errnos = [Errno::Io, Errno::NoSpace];
        let runs = errnos.map(|errno| scope.spawn(move || fail_every_call(errno)));
        runs.map(|run| run.join().unwrap())
    });
    for verdict in verdicts {
        assert!(verdict.disks > 100, "{verdict}");
        verdict.assert_none("failed_calls");
    }
}

#[test]
fn a_disk_that_is_full_broken_or_read_only_for_a_while_takes_nothing_with_it() {
    for fault in [Fault::Full, Fault::Nearly(6_000), Fault::Io, Fault::ReadOnly] {
        let (mut runs, mut refusals) = (0, 0);
        for spared in (0..).step_by(23) {
            let bench = Bench::new();
            bench.control.set_after(fault, spared);
            let status = bench.run("small", |control, refusal| {
                refusals += 1;
                // It lasts for more than one attempt.
                if refusal == 2 {
                    control.set(Fault::None);
                }
            });
            if bench.control.calls() <= spared {
                break;
            }
            bench.recovered(status, &format!("{fault:?} after {spared} calls"));
            runs += 1;
        }
        println!("{fault:?}: {runs} runs, {refusals} refusals");
        assert!(refusals >= runs, "{fault:?}: hardly any refusals in {runs} runs");
    }
}

/// Runs a line of the shell in a folder under the shim; says whether it succeeded.
fn shell(folder: &Path, control: &Control, line: &str) -> Option<String> {
    let mut command = Command::new("sh");
    command.args(["-ec", line]).current_dir(folder).stderr(Stdio::null());
    Shim::build().apply(&mut command, control);
    let output = command.output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_fault_is_what_the_test_asked_for() {
    let bench = Bench::new();
    let does = |line: &str| shell(bench.folder.path(), &bench.control, line).is_some();
    assert!(does("printf 0123456789 > ten; printf 0123456789 > other"));

    bench.control.set(Fault::Full);
    assert!(!does("printf 0 > new") && !does("printf 0 >> ten"), "nothing new finds room");
    assert!(does("printf 98765 1<> ten"), "what does not grow is written");
    assert!(does("rm other; printf 0123456789 >> ten"), "what goes gives its room back");
    assert!(!does("printf 0 >> ten"), "and no more than that");
    assert_eq!(std::fs::read(bench.folder.path().join("ten")).unwrap(), b"98765567890123456789");

    bench.control.set(Fault::ReadOnly);
    assert!(does("cat ten"));
    assert!(!does("printf 0 1<> ten") && !does("rm ten") && !does("mkdir folder"));

    bench.control.set_after(Fault::Io, 1);
    assert!(!does("rm ten; printf 0 > new"), "every call but the first");
    assert!(!does("mkdir folder"));
    bench.control.set(Fault::Nth(2, Errno::Io));
    assert!(does("mkdir one") && !does("mkdir two") && does("mkdir two"));
    bench.control.set(Fault::None);
    assert!(does("rmdir one two"));
}

#[test]
fn the_wall_clock_is_where_the_test_put_it() {
    let bench = Bench::new();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    // The middle of a year, each; forwards and back again.
    for (year, seconds) in [("2106", 4_306_000_000), ("1970", 13_000_000), ("2038", 2_160_000_000)]
    {
        bench.control.clock_offset(seconds - i64::try_from(now).unwrap());
        let told = shell(bench.folder.path(), &bench.control, "date -u +%Y").unwrap();
        assert_eq!(told.trim(), year);
    }
}

#[test]
fn bytes_are_durable_with_their_file_and_names_with_their_folder() {
    let open = |file, path: &str, created| Operation::Open {
        file,
        path: path.to_owned(),
        created,
        is_folder: path.is_empty(),
    };
    let write = |bytes: &[u8]| Operation::Write { file: 2, at: 0, bytes: bytes.into() };
    let sync = |file, failed| Operation::Sync { file, failed };
    let start = [open(1, "", false), open(2, "new", true), write(b"first")];
    let to_final = Operation::Rename { from: "new".to_owned(), to: "final".to_owned() };
    let cases = [
        (vec![], &["", "new=", "new=first"][..]),
        (vec![sync(2, false)], &["", "new=first"]),
        (vec![sync(1, false)], &["new=", "new=\0\0\0\0\0", "new=first"]),
        (vec![sync(1, false), sync(2, false), to_final], &["final=first", "new=first"]),
        (
            vec![sync(1, false), sync(2, true), sync(2, false), write(b"again")],
            &["new=", "new=\0\0\0\0\0", "new=again", "new=first"],
        ),
        (vec![sync(1, false), sync(2, true), write(b"again"), sync(2, false)], &["new=again"]),
    ];
    for (rest, expected) in cases {
        let log: Vec<Operation> = start.iter().cloned().chain(rest).collect();
        let seen = Mutex::new(BTreeSet::new());
        let look = |folder: &Path, _: &Said| {
            let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let texts = files.map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                format!("{name}={}", std::fs::read_to_string(&path).unwrap())
            });
            seen.lock().unwrap().insert(texts.collect::<Vec<_>>().join(" "));
            Ok(())
        };
        play(&log, log.len() - 1..log.len(), Cuts::with(64), look);
        let seen: Vec<String> = seen.into_inner().unwrap().into_iter().collect();
        assert_eq!(seen, expected, "{log:?}");
    }
}
