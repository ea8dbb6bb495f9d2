//! The agent's processes are killed (SIGKILL) at random, the keeper with all of them
//! too, while ticks, documents and results go on. An oracle outside judges: what the
//! firmware got, what the floor file says, and what the cloud has stored.
//!
//! 500 kills here; `GNOMON_KILLS=10000 cargo test --release --workspace --test end_to_end
//! random_kills -- --nocapture` for more, `GNOMON_KILL_SEED` for another order.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::stage::{Agent, Cloud, Firmware, signal_to, tou_params, until, waiting_batches};
use rustix::process::Signal;

/// What the device is asked to heat to, version after version.
const ASKED_C: [f64; 4] = [45.0, 52.0, 58.0, 60.0];
/// Of so many kills, one is of the keeper, and so of everything.
const KEEPER_IN: u64 = 25;
/// Between two ticks.
const PERIOD: Duration = Duration::from_millis(20);
/// A tick is answered within its profile's deadline, or the test says so.
const DEADLINE: Duration = Duration::from_secs(1);

fn number_from(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// What the firmware has seen, tick by tick.
#[derive(Default)]
struct Seen {
    answered: Vec<Answered>,
    sources: BTreeMap<String, u64>,
    offences: Vec<String>,
    slowest: Duration,
}

/// One answered tick.
struct Answered {
    mark: u64,
    /// In which life of the keeper.
    life: u64,
    /// A function was in control, so there is a record of it.
    has_record: bool,
}

/// The hour that marks a tick: it comes back in the record of its evaluation.
fn hour_of(mark: u64) -> f64 {
    mark as f64 / 1_000_000.0
}

fn mark_of(hour: f64) -> u64 {
    (hour * 1_000_000.0).round() as u64
}

/// Ticks until it is told to stop; a keeper that is gone is waited for.
fn play_firmware(socket: &Path, life: &Mutex<u64>, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut connection: Option<Firmware> = None;
    let mut mark = 0;
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(PERIOD);
        let Some(firmware) = &mut connection else {
            connection = Firmware::connect(socket);
            continue;
        };
        mark += 1;
        // The life is read before: a keeper that dies meanwhile has not answered.
        let now = *life.lock().unwrap();
        let start = Instant::now();
        let Some(answer) = firmware.try_tick(hour_of(mark)) else {
            connection = None;
            continue;
        };
        seen.slowest = seen.slowest.max(start.elapsed());
        let source = answer["source"].as_str().unwrap_or("none").to_owned();
        let value = answer["outputs"]["setpoint_c"].as_f64();
        let is_known = value
            .is_some_and(|value| ASKED_C.contains(&value) || (value - 50.0).abs() < f64::EPSILON);
        if !is_known {
            seen.offences.push(format!("tick {mark} got {answer}"));
        }
        seen.answered.push(Answered { mark, life: now, has_record: source != "default" });
        *seen.sources.entry(source).or_default() += 1;
    }
    seen
}

fn floor_in(folder: &Path) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(folder.join("agent").join("floor.json")).ok()?;
    let mirror: Value = serde_json::from_str(text.lines().nth(1)?).ok()?;
    let floor = mirror.get("floor")?;
    Some((floor["epoch"].as_u64()?, floor["version"].as_u64()?))
}

/// Damages a copy of native code and a stored module, as somebody with the disk in his
/// hands would: neither may ever run.
fn tamper(folder: &Path, random: &mut Random) {
    for entry in std::fs::read_dir(folder.join("agent/compiled")).into_iter().flatten() {
        let path: PathBuf = entry.unwrap().path();
        if path.extension().is_some_and(|of| of == "code")
            && let Ok(mut code) = std::fs::read(&path)
            && !code.is_empty()
        {
            let at = random.below(code.len() as u64) as usize;
            code[at] ^= 1 << random.below(8);
            std::fs::write(&path, code).unwrap();
        }
    }
}

#[test]
fn random_kills_lose_nothing_and_double_nothing() {
    let kills = number_from("GNOMON_KILLS", 500);
    let mut random = Random(number_from("GNOMON_KILL_SEED", 1));
    let cloud = Cloud::start();
    let reporting = json!({"summary_ticks": 4, "record_every": 1,
        "record_bytes_per_day_max": 1_u64 << 40});
    cloud.set_scene(&reporting);
    // A candidate, so that its runner can be killed.
    cloud.put_hot_beside(95);
    let mut agent = Agent::start(&cloud);
    cloud.wait_applied(cloud.device()["desired"]["version"].as_u64().unwrap());

    let (life, stop) = (Arc::new(Mutex::new(1)), Arc::new(AtomicBool::new(false)));
    let firmware = {
        let (socket, life, stop) = (agent.socket(), Arc::clone(&life), Arc::clone(&stop));
        thread::spawn(move || play_firmware(&socket, &life, &stop))
    };
    let mut killed: BTreeMap<String, u64> = BTreeMap::new();
    let mut floor = (0, 0);
    let mut rises = 0;
    let mut kill = 0;
    while kill < kills {
        thread::sleep(Duration::from_millis(30 + random.below(120)));
        if kill % 10 == 9 {
            let asked = ASKED_C[random.below(ASKED_C.len() as u64) as usize];
            cloud.put_in_control("water-heater-tou@1.0.0", &tou_params(asked), &reporting);
        }
        let family = agent.family();
        if family.len() == 1 {
            continue;
        }
        // The whole device goes down now and then; else one part of it.
        let (what, pid) = match random.below(KEEPER_IN) {
            0 => &family[0],
            _ => &family[random.below(family.len() as u64 - 1) as usize + 1],
        };
        kill += 1;
        *killed.entry(what.clone()).or_default() += 1;
        if what == "keeper" {
            agent.kill();
            tamper(cloud.folder.path(), &mut random);
            *life.lock().unwrap() += 1;
            agent.run();
        } else {
            signal_to(*pid, Signal::KILL);
        }
        let now = floor_in(cloud.folder.path()).unwrap_or((0, 0));
        assert!(now >= floor, "kill {kill}: the floor fell from {floor:?} to {now:?}");
        rises += u64::from(now > floor);
        floor = now;
    }
    // A document may have failed its probation under all this; a newer one does not.
    cloud.put_in_control("water-heater-tou@1.0.0", &tou_params(45.0), &reporting);
    cloud.put_in_control("water-heater-tou@1.0.0", &tou_params(52.0), &reporting);
    cloud.wait_applied(cloud.device()["desired"]["version"].as_u64().unwrap());
    stop.store(true, Ordering::SeqCst);
    let seen = firmware.join().unwrap();
    assert_eq!(seen.offences, Vec::<String>::new());
    until("the outbox is empty", || (waiting_batches(&agent.store()) == 0).then_some(()));
    judge(&cloud, &seen);
    println!("{kills} kills: {killed:?}; the floor rose {rises} times");
    println!("{} ticks: {:?}; slowest {:?}", seen.answered.len(), seen.sources, seen.slowest);
    assert!(seen.slowest < DEADLINE + DEADLINE, "a tick was kept waiting: {:?}", seen.slowest);
}

/// What the cloud has stored against what the firmware has seen.
fn judge(cloud: &Cloud, seen: &Seen) {
    let records = cloud.rows("records");
    let mut stored = BTreeSet::new();
    for record in records.iter().filter(|record| record["role"] == "active") {
        let mark = mark_of(record["inputs"]["hour"].as_f64().unwrap());
        assert!(stored.insert(mark), "tick {mark} is stored twice");
    }
    let modules = cloud.get("/v1/modules");
    let known: BTreeSet<&str> =
        modules.as_array().unwrap().iter().map(|m| m["digest"].as_str().unwrap()).collect();
    for record in &records {
        let digest = record["module"].as_str().unwrap();
        assert!(known.contains(digest), "{digest} ran and was never published");
    }
    // What is missing of a life of the keeper is its end: nothing that came after
    // something lost was kept.
    let mut lives: BTreeMap<u64, Vec<&Answered>> = BTreeMap::new();
    for tick in &seen.answered {
        lives.entry(tick.life).or_default().push(tick);
    }
    let mut ends = 0;
    for (life, ticks) in &lives {
        let kept = ticks.iter().rposition(|tick| stored.contains(&tick.mark));
        let kept = kept.map_or(0, |at| at + 1);
        let lost = |tick: &&&Answered| tick.has_record && !stored.contains(&tick.mark);
        let holes: Vec<u64> = ticks[..kept].iter().filter(lost).map(|tick| tick.mark).collect();
        assert!(holes.is_empty(), "life {life} of the keeper lost ticks in its middle: {holes:?}");
        ends += ticks[kept..].iter().filter(lost).count();
    }
    println!(
        "{} records stored, each once; {ends} untold when the keeper was killed",
        stored.len()
    );
}
