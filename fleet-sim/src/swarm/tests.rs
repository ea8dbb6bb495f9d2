//! The simulator itself: the same seed makes the same trace, what once failed holds, and
//! what is asked for on the command line is said clearly when it is wrong.

use super::*;

/// Runs on a thread whose stack is large enough for guests.
fn with_library<T: Send>(work: impl FnOnce(&Library) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = || work(&Library::new().unwrap());
        thread().spawn_scoped(scope, run).unwrap().join().unwrap()
    })
}

#[test]
fn the_same_seed_makes_the_same_trace_byte_for_byte() {
    let traced = |seed| {
        let path = tempfile::NamedTempFile::new().unwrap();
        let out = Box::new(path.reopen().unwrap());
        let outcome = with_library(|library| run_seed(library, seed, Trace::to(out)));
        (outcome, std::fs::read(path.path()).unwrap())
    };
    for seed in [3, 7, 20] {
        let (first, lines) = traced(seed);
        assert_eq!((first, lines), traced(seed), "seed {seed}");
    }
    assert_ne!(traced(3).1, traced(7).1);
}

#[test]
fn what_once_failed_holds() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds.txt");
    let seeds = report::regressions(&path).unwrap();
    assert!(seeds.len() > 3);
    with_library(|library| {
        for seed in seeds {
            let outcome = run_seed(library, seed, Trace::silent());
            assert_eq!(outcome.verdict(), Verdict::Held, "{}", outcome.tell());
        }
    });
}

#[test]
fn some_seeds_hold_and_reach_many_faults_and_reasons() {
    let (outcomes, took) = run_all(&(0..20).collect::<Vec<_>>(), 2, |_| false).unwrap();
    let swarm = Swarm::of(&outcomes, took);
    assert!(swarm.failed.is_empty(), "{swarm}");
    assert!(swarm.faults.len() > 15 && swarm.reasons.len() > 15, "{swarm}");
}

#[test]
fn a_range_of_seeds_and_a_file_of_them_say_what_is_wrong() {
    assert_eq!(seeds("5..7").unwrap(), 5..7);
    for wrong in ["5", "7..5", "a..b", "5..5"] {
        assert!(seeds(wrong).unwrap_err().contains("0..1000"), "{wrong}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# seeds\n12 # why\n13\n").unwrap();
    let error = report::regressions(file.path()).unwrap_err().to_string();
    assert!(error.contains(":3: write `SEED # why it is here`"), "{error}");
}

#[test]
fn each_end_has_an_exit_code_of_its_own() {
    let all = [Verdict::Held, Verdict::Safety, Verdict::Liveness, Verdict::Crash, Verdict::Missed];
    let codes: BTreeSet<u8> = all.into_iter().map(Verdict::exit_code).collect();
    assert_eq!(codes.len(), all.len());
    assert!(!codes.contains(&2), "that is for the command line");
}
