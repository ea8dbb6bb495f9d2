//! What the agent costs a device: memory of each of its processes, the program's size,
//! idle traffic, and bytes written at one record per second, each against its budget
//! (SECURITY.md of the design: R16).
//!
//! Active function and candidate are each ticked once a second and each record every
//! second tick: together that is one record per second, summed up once a minute.
//!
//! `cargo bench --workspace --bench footprint`; `GNOMON_FOOTPRINT_SECONDS` (60) is how
//! long each of the two phases lasts. With `-- --json` it is for a program to read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a program that measures"
)]

#[path = "../stage.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod stage;

use serde_json::json;
use stage::{Agent, Cloud, free_port, until};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

/// A figure of `/proc/PID/FILE`, in the unit of the file.
fn figure(pid: u32, file: &str, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0.0)
}

/// Passes bytes on, both ways, and counts them.
fn counted(listener: TcpListener, to: u16) -> Arc<AtomicU64> {
    let total = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&total);
    thread::spawn(move || {
        for near in listener.incoming().filter_map(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            for (from, into) in [(&near, &far), (&far, &near)] {
                let (mut from, mut into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                let counter = Arc::clone(&counter);
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(read) = from.read(&mut buffer) {
                        counter.fetch_add(read as u64, Ordering::SeqCst);
                        if read == 0 || into.write_all(&buffer[..read]).is_err() {
                            break;
                        }
                    }
                    // The other direction sees the end and ends, too.
                    let _ = (from.shutdown(Shutdown::Both), into.shutdown(Shutdown::Both));
                });
            }
        }
    });
    total
}

/// A figure and its budget.
struct Line {
    what: &'static str,
    found: f64,
    unit: &'static str,
    budget: f64,
}

fn print(lines: &[Line]) {
    for Line { what, found, unit, budget } in lines {
        let share = found / budget;
        println!("{what:<44} {found:>10.1} {unit:<10} budget {budget:>6.0}   {share:>5.2}");
    }
}

fn json(lines: &[Line]) {
    let figures: Vec<serde_json::Value> = lines
        .iter()
        .map(|Line { what, found, unit, budget }| {
            json!({"what": what, "value": found, "unit": unit, "reference": "its budget",
                "reference_value": budget})
        })
        .collect();
    println!("{}", json!({ "figures": figures }));
}

fn main() {
    let seconds = std::env::var("GNOMON_FOOTPRINT_SECONDS");
    let phase = Duration::from_secs(seconds.map_or(60, |text| text.parse().unwrap()));
    let cloud = Cloud::start();
    // Two functions record: each of them every second tick.
    cloud.set_scene(&json!({"summary_ticks": 60, "record_every": 2,
        "record_bytes_per_day_max": 1_u64 << 40}));
    cloud.put_hot_beside(95);
    cloud.does(&["device", "bundle", stage::DEVICE, "--out", "bundle"]);
    let port = free_port();
    let traffic = counted(TcpListener::bind(("127.0.0.1", port)).unwrap(), cloud.mqtt);
    let path = cloud.folder.path().join("bundle/agent.json");
    let config = std::fs::read_to_string(&path).unwrap();
    let (from, to) = (format!(":{}", cloud.mqtt), format!(":{port}"));
    std::fs::write(&path, config.replace(&from, &to)).unwrap();
    let agent = Agent::provisioned(cloud.folder.path());
    cloud.wait_applied(cloud.device()["desired"]["version"].as_u64().unwrap());
    let mut firmware = agent.firmware();
    (0..300).for_each(|_| drop(firmware.tick(50.0)));
    until("these ticks are told", || {
        let summaries = cloud.rows("summaries");
        let active = summaries.iter().filter(|row| row["role"] == "active");
        (active.map(|row| row["ticks"].as_u64().unwrap()).sum::<u64>() == 300).then_some(())
    });
    // What the candidate did follows at once.
    thread::sleep(Duration::from_secs(2));
    until("the outbox is empty", || (stage::waiting_batches(&agent.store()) == 0).then_some(()));

    let before = traffic.load(Ordering::SeqCst);
    thread::sleep(phase);
    let idle = (traffic.load(Ordering::SeqCst) - before) as f64 / phase.as_secs_f64() * 60.0;

    let family = agent.family();
    let written = || family.iter().map(|(_, pid)| figure(*pid, "io", "write_bytes:")).sum::<f64>();
    let before = written();
    let records_before = cloud.rows("records").len();
    let start = Instant::now();
    while start.elapsed() < phase {
        firmware.tick(50.0);
        thread::sleep(Duration::from_secs(1));
    }
    let per_day = (written() - before) / start.elapsed().as_secs_f64() * 86_400.0;
    let lasted = start.elapsed();
    let records = cloud.rows("records").split_off(records_before);
    let by = |role: &str| records.iter().filter(|record| record["role"] == role).count();

    let (mut resident, mut proportional) = (0.0, 0.0);
    let mut processes = vec![];
    for (what, pid) in &family {
        let rss = figure(*pid, "smaps_rollup", "Rss:");
        let pss = figure(*pid, "smaps_rollup", "Pss:");
        processes.push(format!("{what:<26} {rss:>13.0} {pss:>17.0}"));
        if what == "planner" || what == "runner, active" {
            resident += rss;
        }
        proportional += pss;
    }
    let program = env!("CARGO_BIN_EXE_gnomon-agent-under-test");
    let stripped = cloud.folder.path().join("stripped");
    let strip = Command::new("strip").arg("-o").arg(&stripped).arg(program).status();
    let size = strip.ok().and_then(|_| std::fs::metadata(&stripped).ok()).map_or(0, |m| m.len());
    let disk: u64 = std::fs::read_dir(cloud.folder.path().join("agent"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    let line = |what, found, unit, budget| Line { what, found, unit, budget };
    let lines = [
        line("planner and active runner, resident", resident / KIB, "MiB", 48.0),
        line("all four processes, proportional", proportional / KIB, "MiB", 48.0),
        line("the program, stripped", size as f64 / MIB, "MiB", 48.0),
        line("data folder", disk as f64 / MIB, "MiB", 64.0),
        line("idle traffic", idle / KIB, "KiB/min", 1.0),
        line("written at one record per second", per_day / MIB, "MiB/day", 50.0),
    ];
    if std::env::args().any(|argument| argument == "--json") {
        return json(&lines);
    }
    println!("process                     resident KiB  proportional KiB");
    processes.iter().for_each(|line| println!("{line}"));
    println!();
    print(&lines);
    println!(
        "one record per second in total: {} of the active function and {} of the candidate came \
         in {} s",
        by("active"),
        by("candidate"),
        lasted.as_secs(),
    );
}
