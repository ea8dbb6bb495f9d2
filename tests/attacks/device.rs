//! Attacks that need a running agent: poisoned topics, replays, withheld and swapped
//! bytes, files edited on its disk, data without end.

use gnomon_schemas::Digest;
use gnomon_schemas::reason::Reason;
use rusqlite::Connection;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use super::form::{Against, Folder};
use super::make::What;
use super::rig::{Broker, Device, hot, module_topic, scene, tou};
use super::world::*;
use crate::stage::{free_port, until};

fn what(
    row: u8,
    expected: Reason,
    name: &'static str,
    named_by: &'static [&'static str],
    title: &'static str,
    says: &'static str,
) -> What {
    What { name, row, against: Against::Agent, expected, named_by, title, says }
}

/// Every attack on a running agent.
pub(super) fn all() -> Vec<Folder> {
    [on_topics(), on_disk()].concat()
}

fn on_topics() -> Vec<Folder> {
    vec![
        what(
            41,
            Reason::ThresholdNotMet,
            "retained-poisoning",
            &["CVE-2018-12546", "SUIT THREAT.IMG.NON_AUTH"],
            "Poison retained on every topic of a device",
            "Leaves forged documents, roots, modules and acks on a broker, where every new connection finds them.",
        )
        .by_test("poison_that_a_broker_retains_is_refused_at_every_connection"),
        what(
            3,
            Reason::Rollback,
            "replay-of-a-whole-run",
            &["TUF 5.4.3: rollback", "SUIT THREAT.IMG.EXPIRED"],
            "Every document of a run, replayed in any order",
            "Records all that a director ever signed and publishes it again in random order.",
        )
        .by_test("all_documents_of_a_run_replayed_in_any_order_change_nothing"),
        what(
            6,
            Reason::Expired,
            "freeze-by-the-broker",
            &["TUF 5.4.4: freeze", "Uptane: freeze"],
            "A broker that serves one old document for ever",
            "Keeps a document retained until long after its expiry, for a device that comes late.",
        )
        .by_test("a_broker_that_serves_an_old_document_for_ever_brings_nothing_in"),
        what(
            20,
            Reason::ModuleDigestMismatch,
            "module-swapped-on-its-topic",
            &["SUIT THREAT.IMG.REPLACE", "SUIT THREAT.MFST.TOCTOU"],
            "A module exchanged after its document was verified",
            "Waits for the right document and then puts other bytes on the module's topic.",
        )
        .by_test("a_module_swapped_after_its_document_came_is_refused_and_the_right_one_taken"),
        what(
            26,
            Reason::ModuleManifestMismatch,
            "old-release-under-a-newer-counter",
            &["Uptane: release counter", "SUIT REQ.SEC.SEQUENCE"],
            "A document that says more of a module than its publisher signed",
            "Lists an old release under a newer counter, so that it passes the lowest allowed.",
        )
        .by_test("a_release_is_what_its_publisher_signed_into_it"),
        what(
            9,
            Reason::TooLarge,
            "endless-data",
            &["TUF 5.x.1: endless data", "Uptane: endless data"],
            "A broker that sends without end",
            "Sends a document over the cap, then one message whose end never comes.",
        )
        .by_test("data_without_end_neither_fills_the_device_nor_stops_control"),
    ]
}

fn on_disk() -> Vec<Folder> {
    let disk: &[&str] = &["SUIT THREAT.IMG.REPLACE", "SUIT THREAT.MFST.TOCTOU", "CWE-367"];
    let back: &[&str] = &["SUIT THREAT.IMG.EXPIRED", "CVE-2022-29173"];
    let test = "a_store_edited_on_disk_acts_on_nothing_that_was_edited";
    vec![
        what(
            20,
            Reason::ModuleDigestMismatch,
            "store-with-another-module",
            disk,
            "A module exchanged in the device's store",
            "Writes other bytes into the row of a verified module while the device is off.",
        )
        .by_test(test),
        what(
            27,
            Reason::ModuleDigestMismatch,
            "store-with-compiled-code",
            &["wasmtime: deserialize may run any code", "CWE-502"],
            "Compiled code in the place of a module",
            "Plants machine code where a cache of compiled modules would lie.",
        )
        .by_test(test),
        what(
            20,
            Reason::ThresholdNotMet,
            "store-with-a-forged-document",
            disk,
            "A forged document in the device's store",
            "Writes a document of its own into the row of the one in force.",
        )
        .by_test(test),
        what(
            3,
            Reason::Rollback,
            "store-with-the-document-of-yesterday",
            back,
            "An older document in the device's store",
            "Writes a rightly signed, older document into the row of the one in force.",
        )
        .by_test(test),
        what(
            50,
            Reason::Rollback,
            "store-of-yesterday",
            back,
            "The store of yesterday",
            "Copies the device's database, and puts it back after an update.",
        )
        .by_test("a_store_set_back_or_a_floor_lowered_lets_no_old_document_in"),
        what(
            3,
            Reason::Rollback,
            "store-with-a-lower-floor",
            back,
            "A floor lowered in the store",
            "Lowers the floor in the database and replays an old document.",
        )
        .by_test("a_store_set_back_or_a_floor_lowered_lets_no_old_document_in"),
        what(
            3,
            Reason::Rollback,
            "mirror-deleted",
            back,
            "The floor's second copy deleted",
            "Deletes the mirror of the floor and replays an old document.",
        )
        .by_test("a_store_set_back_or_a_floor_lowered_lets_no_old_document_in"),
    ]
}

#[test]
fn poison_that_a_broker_retains_is_refused_at_every_connection() {
    let broker = Broker::start();
    let mut device = scene(&broker, "poisoned");
    let mut own_root = next_root(|root| root.roles.director = role(&[stranger()], 1));
    own_root.roles.root = role(&[Signer::named("root of the stranger")], 1);
    let evil = device.addressed(&approved(hot(2)));
    let base = format!("gnomon/acme/d/{}", device.name);
    let hot_module = gnomon_examples::WATER_HEATER_HOT;
    broker.retain(&module_topic(hot_module), hot_module);
    broker.retain(&device.desired(), &json(&seal(&evil, &[&stranger()])));
    broker.retain("gnomon/acme/trust/2", &json(&seal(&own_root, &[&stranger()])));
    broker.retain(&format!("{base}/ack"), b"{\"payload\":");
    device.wait_refused(&broker, Reason::ThresholdNotMet, 2);
    device.wait_refused(&broker, Reason::MalformedJson, 1);
    device.holds(60.0);
    // A new connection finds all of it again.
    device.restart(&broker, |_| {});
    device.wait_refused(&broker, Reason::ThresholdNotMet, 2);
    device.wait_output("active", 60.0);
    device.holds(60.0);
    assert_eq!(broker.reported(&device.name).unwrap()["trust_version"], 1);
    // And the rightful document still comes through.
    device.direct(&broker, &approved(tou(2, 55.0)));
    device.wait_applied(&broker, 2);
    device.wait_output("active", 55.0);
}

#[test]
fn all_documents_of_a_run_replayed_in_any_order_change_nothing() {
    let broker = Broker::start();
    let device = scene(&broker, "replayed");
    let last = 24;
    let mut run: Vec<Vec<u8>> = (2..=last)
        .map(|number| {
            directed(&device.addressed(&approved(tou(number, 50.0 + number as f64 / 2.0))))
        })
        .collect();
    for (number, document) in (2..).zip(&run) {
        broker.retain(&device.desired(), document);
        if number % 8 == 0 {
            device.wait_applied(&broker, number);
        }
    }
    device.wait_applied(&broker, last);
    run.insert(0, directed(&device.addressed(&approved(tou(1, 60.0)))));
    run.pop();
    // Twice, each time in another order that is the same in every run of this test.
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..2 {
        for at in (1..run.len()).rev() {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            run.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
        }
        run.iter().for_each(|document| broker.retain(&device.desired(), document));
    }
    device.holds(62.0);
    device.direct(&broker, &approved(tou(last + 1, 53.0)));
    device.wait_applied(&broker, last + 1);
    let reports = broker.all_reported(&device.name);
    let applied: Vec<u64> =
        reports.iter().filter_map(|report| report["applied"].as_u64()).collect();
    assert!(applied.is_sorted(), "a version came back: {applied:?}");
    // One that stands twice in a row is no news the second time.
    let refused = reports.last().unwrap()["refused"][Reason::Rollback.code()].as_u64().unwrap();
    let replayed = 2 * run.len() as u64;
    assert!((replayed - 1..=replayed).contains(&refused), "{refused} of {replayed} are refused");
}

#[test]
fn a_broker_that_serves_an_old_document_for_ever_brings_nothing_in() {
    let broker = Broker::start();
    let mut old = config(1);
    old.device = "late".parse().unwrap();
    // Over on the day on which this agent was released: it cannot be earlier.
    old.expires_at_ms = 1_793_491_200_000;
    broker.retain("gnomon/acme/d/late/desired", &directed(&old));
    let device = Device::start(&broker, "late");
    let reported = device.wait_refused(&broker, Reason::Expired, 1);
    assert_eq!(reported["applied"], serde_json::Value::Null);
    device.wait_output("default", 50.0);
    device.direct(&broker, &config(2));
    device.wait_applied(&broker, 2);
}

#[test]
fn a_module_swapped_after_its_document_came_is_refused_and_the_right_one_taken() {
    let broker = Broker::start();
    let device = Device::start(&broker, "swapped");
    let module = gnomon_examples::WATER_HEATER_TOU;
    device.direct(&broker, &approved(tou(1, 60.0)));
    device.wait(&broker, "waits for its module", |reported| reported["state"] == "pending");
    let mut changed = module.to_vec();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let evil = [gnomon_examples::WATER_HEATER_HOT, &changed, &module[..100], b"x"];
    for (times, evil) in (1..).zip(evil) {
        broker.retain(&module_topic(module), evil);
        device.wait_refused(&broker, Reason::ModuleDigestMismatch, times);
    }
    let reported = broker.reported(&device.name).unwrap();
    assert_eq!(reported["applied"], serde_json::Value::Null);
    device.wait_output("default", 50.0);
    broker.retain(&module_topic(module), module);
    device.wait_applied(&broker, 1);
    device.wait_output("active", 60.0);
}

#[test]
fn a_release_is_what_its_publisher_signed_into_it() {
    let broker = Broker::start();
    let device = scene(&broker, "released");
    let mut lie = tou(2, 50.0);
    lie.modules.values_mut().for_each(|listed| listed.release_counter = 9);
    device.direct(&broker, &approved(lie));
    device.wait_refused(&broker, Reason::ModuleManifestMismatch, 1);
    device.holds(60.0);
}

#[test]
fn data_without_end_neither_fills_the_device_nor_stops_control() {
    let broker = Broker::start();
    let mut device = scene(&broker, "flooded");
    broker.retain(&device.desired(), &vec![b' '; 300 * 1024]);
    device.wait_refused(&broker, Reason::TooLarge, 1);
    device.holds(60.0);

    // From now on the device finds a broker that says it sends 256 MiB, and goes on.
    let port = free_port();
    let settings = device.folder.path().join("bundle/agent.json");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace(&broker.port.to_string(), &port.to_string())).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    device.agent.kill();
    device.agent.run();
    let before_kib = device.agent.resident_kib();
    let mut sent = 0;
    for _ in 0..2 {
        let (mut peer, _) = listener.accept().unwrap();
        // CONNACK, then the head of a PUBLISH of the largest length that MQTT has.
        let mut hello = [0; 256];
        let _ = peer.read(&mut hello).unwrap();
        let topic = device.desired();
        let head = [&[0x20, 2, 0, 0][..], &[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 31], topic.as_bytes()];
        peer.write_all(&head.concat()).unwrap();
        let sender = thread::spawn(move || {
            let block = [b'x'; 64 * 1024];
            let mut sent = 0;
            while sent < 256 * 1024 * 1024 && peer.write_all(&block).is_ok() {
                sent += block.len();
            }
            sent
        });
        sent = sender.join().unwrap();
        device.wait_output("active", 60.0);
    }
    let grown_kib = device.agent.resident_kib().saturating_sub(before_kib);
    println!("a message without end: cut off after {} KiB, {grown_kib} KiB grown", sent / 1024);
    assert!(sent < 16 * 1024 * 1024, "the device read {sent} bytes");
    // The module's first compilation is within it, too.
    assert!(grown_kib < 24 * 1024, "{grown_kib} KiB");
}

fn edit(store: &Path, sql: &str, parameters: impl rusqlite::Params) {
    let changed = Connection::open(store).unwrap().execute(sql, parameters).unwrap();
    assert!(changed > 0, "{sql}");
}

#[test]
fn a_store_edited_on_disk_acts_on_nothing_that_was_edited() {
    let broker = Broker::start();
    let mut device = scene(&broker, "edited");
    device.direct(&broker, &approved(tou(2, 58.0)));
    device.wait_applied(&broker, 2);
    // One that had not proved itself would not be restarted with for ever, and what was
    // healed is on probation anew.
    device.proves_itself(&broker);
    let module = gnomon_examples::WATER_HEATER_TOU;
    let digest = Digest::of(module);
    let machine_code = [b"\x7fELF\x02\x01\x01".to_vec(), vec![0x90; 4096]].concat();
    for bytes in [gnomon_examples::WATER_HEATER_HOT, &machine_code] {
        device.restart(&broker, |store| {
            let cached = store.with_file_name(format!("{}.cwasm", digest.hex()));
            fs::write(cached, &machine_code).unwrap();
            let sql = "UPDATE module SET bytes = ?1 WHERE digest = ?2";
            edit(store, sql, rusqlite::params![bytes, digest.as_str()]);
        });
        // Refused, fetched again, and in force: what was planted was never in control.
        device.wait_refused(&broker, Reason::ModuleDigestMismatch, 1);
        device.wait_applied(&broker, 2);
        device.wait_output("active", 58.0);
        device.proves_itself(&broker);
    }
    let older = directed(&device.addressed(&approved(tou(1, 60.0))));
    let forged = json(&seal(&device.addressed(&approved(hot(3))), &[&stranger()]));
    for (envelope, reason) in [(older, Reason::Rollback), (forged, Reason::ThresholdNotMet)] {
        device.restart(&broker, |store| {
            edit(store, "UPDATE document SET envelope = ?1 WHERE slot = 'current'", [envelope]);
        });
        device.wait_refused(&broker, reason, 1);
        // The very document that the floor names comes from the broker and heals it.
        device.wait_applied(&broker, 2);
        device.wait_output("active", 58.0);
        device.proves_itself(&broker);
    }
}

#[test]
fn a_store_set_back_or_a_floor_lowered_lets_no_old_document_in() {
    let broker = Broker::start();
    let mut device = scene(&broker, "set-back");
    let old = directed(&device.addressed(&approved(tou(1, 60.0))));
    let yesterday = device.folder.path().join("yesterday");
    fs::create_dir(&yesterday).unwrap();
    let files = ["agent.db", "agent.db-wal", "agent.db-shm"];
    let copy = |from: &Path, to: &Path| {
        for file in files {
            let _ = fs::remove_file(to.join(file));
            // Without a write-ahead log there is none to copy.
            let _ = fs::copy(from.join(file), to.join(file));
        }
    };
    device.restart(&broker, |store| copy(store.parent().unwrap(), &yesterday));
    device.direct(&broker, &approved(tou(3, 56.0)));
    device.wait_applied(&broker, 3);
    let is_back = |device: &Device, refusals: u64| {
        device.wait_refused(&broker, Reason::Rollback, refusals);
        assert_eq!(broker.reported(&device.name).unwrap()["applied"], serde_json::Value::Null);
        device.direct(&broker, &approved(tou(3, 56.0)));
        device.wait_applied(&broker, 3);
        device.wait_output("active", 56.0);
    };
    // The database of yesterday, and what the broker replays with it.
    broker.retain(&device.desired(), &old);
    device.restart(&broker, |store| copy(&yesterday, store.parent().unwrap()));
    is_back(&device, 2);
    // A lower floor beside yesterday's document.
    let floor = |store: &Path| -> String {
        let store = Connection::open(store).unwrap();
        let sql = "SELECT value FROM fact WHERE name = 'floor'";
        store.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    broker.retain(&device.desired(), &old);
    device.restart(&broker, |store| {
        let lower = floor(store).replace("\"version\":3", "\"version\":1");
        edit(store, "UPDATE fact SET value = ?1 WHERE name = 'floor'", [lower]);
        edit(store, "UPDATE document SET envelope = ?1 WHERE slot = 'current'", [old.clone()]);
    });
    is_back(&device, 2);
    // Without its second copy the floor is still the store's.
    broker.retain(&device.desired(), &old);
    device.restart(&broker, |store| fs::remove_file(store.with_file_name("floor.json")).unwrap());
    device.wait_refused(&broker, Reason::Rollback, 1);
    device.wait_output("active", 56.0);
    until("the copy is written again", || {
        device.direct(&broker, &approved(tou(4, 57.0)));
        device.store().with_file_name("floor.json").is_file().then_some(())
    });
}
