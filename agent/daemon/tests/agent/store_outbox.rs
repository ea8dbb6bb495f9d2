//! The outbox: what matters more goes first and is dropped last, nothing is lost without
//! being counted, and what the keeper says twice is kept once.

use gnomon_agent::planner::outbox::{Room, Sent};
use gnomon_agent::planner::store::{ACKNOWLEDGED_MAX, ACKNOWLEDGED_PATIENCE, Dropped, Store};
use gnomon_agent_core::agent::Append;
use gnomon_schemas::limits::RESULTS_BYTES_MAX;
use gnomon_schemas::results::{Class, Results};
use gnomon_schemas::{BootId, Reason};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::store::{Disk, append, batch, batch_of, boot, only, outbox, sequences, waiting};

const CLASSES: [Class; 3] = [Class::Faults, Class::Summaries, Class::Samples];

/// As stored: compressed where that is smaller.
fn size(batch: &Results) -> usize {
    let plain = serde_json::to_vec(batch).unwrap();
    miniz_oxide::deflate::compress_to_vec_zlib(&plain, 6).len().min(plain.len())
}

fn session() -> BootId {
    BootId::from_random([9; 16])
}

#[test]
fn the_outbox_keeps_its_order_over_restarts_and_pages() {
    let disk = Disk::new();
    (1..=3).for_each(|sequence| append(&mut disk.open(), batch(sequence)));
    let mut store = disk.open();
    (4..=6).for_each(|sequence| append(&mut store, batch(sequence)));
    assert_eq!(sequences(&store), [1, 2, 3, 4, 5, 6]);
    let two = Room { rows: 2, ..Room::UNLIMITED };
    assert_eq!(store.waiting(&Sent::default(), two).unwrap().len(), 2);
    assert_eq!(store.waiting_count().unwrap(), 6);
}

#[test]
fn a_batch_is_kept_once() {
    let disk = Disk::new();
    let mut store = disk.open();
    (0..3).for_each(|_| append(&mut store, batch(1)));
    assert_eq!(sequences(&store), [1]);
}

#[test]
fn an_ack_deletes_what_it_names_and_nothing_else() {
    let disk = Disk::new();
    let mut store = disk.open();
    (1..=5).for_each(|sequence| append(&mut store, batch(sequence)));
    let none = store.delete(&BootId::from_random([2; 16]), &[1, 2, 3]).unwrap();
    assert_eq!((none.rows, none.bytes), (0, 0));
    assert_eq!(sequences(&store), [1, 2, 3, 4, 5], "another boot numbers from 1, too");
    let deleted = store.delete(&boot(), &[2, 4, 99, u64::MAX]).unwrap();
    assert_eq!((deleted.rows, deleted.bytes as usize), (2, size(&batch(2)) + size(&batch(4))));
    assert_eq!(sequences(&disk.open()), [1, 3, 5]);
}

#[test]
fn what_is_acknowledged_waits_no_more_and_goes_with_the_next_append() {
    let disk = Disk::new();
    let mut store = disk.open();
    let now = Instant::now();
    (1..=5).for_each(|sequence| append(&mut store, batch(sequence)));
    assert_eq!(store.acknowledge(&boot(), &[2, 4, 99], now).unwrap(), [2, 4]);
    assert!(store.acknowledge(&boot(), &[2, 4], now).unwrap().is_empty(), "told again");
    assert_eq!((sequences(&store), store.waiting_count().unwrap()), (vec![1, 3, 5], 3));
    assert_eq!(store.status().unwrap().outbox[&Class::Samples].rows, 3);
    // Nothing is written yet.
    let reader = || Store::open_read_only(&disk.path()).unwrap();
    assert_eq!(sequences(&reader()), [1, 2, 3, 4, 5]);
    append(&mut store, batch(6));
    assert_eq!(sequences(&reader()), [1, 3, 5, 6]);
    assert_eq!(reader().status().unwrap(), store.status().unwrap());
}

#[test]
fn what_is_acknowledged_goes_when_it_is_time_and_when_the_store_is_closed() {
    let disk = Disk::new();
    let mut store = disk.open();
    let start = Instant::now();
    let on_disk = || sequences(&Store::open_read_only(&disk.path()).unwrap());
    (1..=4).for_each(|sequence| append(&mut store, batch(sequence)));
    store.acknowledge(&boot(), &[1], start).unwrap();
    let almost = start + ACKNOWLEDGED_PATIENCE - Duration::from_millis(1);
    store.acknowledge(&boot(), &[2], almost).unwrap();
    store.take_out_due(almost).unwrap();
    assert_eq!(on_disk(), [1, 2, 3, 4]);
    store.take_out_due(start + ACKNOWLEDGED_PATIENCE).unwrap();
    assert_eq!(on_disk(), [3, 4]);
    store.acknowledge(&boot(), &[3], start).unwrap();
    store.close().unwrap();
    assert_eq!(on_disk(), [4]);
    // A cut costs the word alone: it is sent again.
    let mut store = disk.open();
    store.acknowledge(&boot(), &[4], start).unwrap();
    drop(store);
    assert_eq!(sequences(&disk.open()), [4]);
}

#[test]
fn only_so_many_acknowledged_batches_are_remembered() {
    let disk = Disk::new();
    let mut store = disk.open();
    let last = ACKNOWLEDGED_MAX as u64 + 2;
    store.append(&only((1..=last).map(batch).collect())).unwrap();
    for sequence in 1..=last {
        let places = store.acknowledge(&boot(), &[sequence], Instant::now()).unwrap();
        assert_eq!(places.len(), 1);
    }
    assert_eq!(store.waiting_count().unwrap(), 0);
    assert_eq!(sequences(&Store::open_read_only(&disk.path()).unwrap()), [last - 1, last]);
}

#[test]
fn nothing_is_dropped_for_the_sake_of_what_is_acknowledged() {
    let disk = Disk::new();
    let mut store = disk.open().with_outbox_rows_max(4);
    append(&mut store, batch_of(Class::Faults, 1, 0));
    (2..=4).for_each(|sequence| append(&mut store, batch(sequence)));
    store.acknowledge(&boot(), &[1, 3], Instant::now()).unwrap();
    store.append(&only(vec![batch(5), batch(6)])).unwrap();
    assert_eq!(sequences(&store), [2, 4, 5, 6]);
    assert_eq!(store.status().unwrap().dropped.batches, 0);
}

#[test]
fn plain_batches_of_earlier_agents_are_sent_as_they_are() {
    let disk = Disk::new();
    append(&mut disk.open(), batch(1));
    let plain = serde_json::to_string(&batch_of(Class::Samples, 2, 900)).unwrap();
    let boot = boot();
    disk.tamper(&format!(
        "INSERT INTO outbox VALUES (2, '{boot}', 2, 2, CAST('{plain}' AS BLOB));
         DELETE FROM fact WHERE name = 'outbox'"
    ));
    let mut store = disk.open();
    append(&mut store, batch(3));
    let row = store.waiting(&Sent::default(), Room::UNLIMITED).unwrap().swap_remove(1);
    assert_eq!((row.id, row.bytes), (2, plain.into_bytes()));
    assert_eq!(sequences(&store), [1, 2, 3]);
}

#[test]
fn a_batch_that_rotted_on_the_disk_costs_itself_alone_and_is_counted() {
    let disk = Disk::new();
    let mut store = disk.open();
    (1..=3).for_each(|sequence| append(&mut store, batch_of(Class::Samples, sequence, 900)));
    disk.tamper("UPDATE outbox SET bytes = substr(bytes, 1, 50) WHERE id = 2");
    assert_eq!(sequences(&store), [1, 3]);
    assert_eq!(store.waiting_count().unwrap(), 2);
    store.take_out_due(Instant::now()).unwrap();
    assert_eq!(store.status().unwrap().dropped_untold, 1);
    append(&mut store, batch(4));
    assert_eq!(waiting(&store), [(1, 0), (3, 0), (4, 1)]);
    // What is small on the disk and large in memory is none of ours either.
    let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![b'{'; 32 << 20], 9);
    let bomb: String = bomb.iter().map(|byte| format!("{byte:02x}")).collect();
    disk.tamper(&format!("UPDATE outbox SET bytes = x'{bomb}' WHERE id = 1"));
    assert_eq!(sequences(&store), [3, 4]);
}

#[test]
fn what_matters_more_is_sent_first_and_then_the_older() {
    let disk = Disk::new();
    let mut store = disk.open();
    let classes = [Class::Samples, Class::Summaries, Class::Faults];
    for sequence in 1..=9_u64 {
        append(&mut store, batch_of(classes[sequence as usize % 3], sequence, 0));
    }
    assert_eq!(sequences(&store), [2, 5, 8, 1, 4, 7, 3, 6, 9]);
    // A page ends anywhere between; what comes meanwhile and matters more is the next.
    let mut window = gnomon_agent::planner::outbox::Outbox::default();
    window.reconnected();
    let now = std::time::Instant::now();
    let mut sent = vec![];
    let mut send = |store: &Store, rows: usize| {
        let (after, room) = window.ask(now).unwrap();
        for row in store.waiting(&after, Room { rows, ..room }).unwrap() {
            window.sent(row.class, row.id, row.bytes.len());
            sent.push(serde_json::from_slice::<Results>(&row.bytes).unwrap().sequence);
        }
    };
    send(&store, 4);
    send(&store, 3);
    append(&mut store, batch_of(Class::Faults, 10, 0));
    send(&store, 2);
    append(&mut store, batch_of(Class::Summaries, 11, 0));
    send(&store, 9);
    assert_eq!(sent, [2, 5, 8, 1, 4, 7, 3, 10, 6, 11, 9]);
}

#[test]
fn a_page_has_its_bytes_but_never_less_than_one_batch() {
    let disk = Disk::new();
    let mut store = disk.open();
    (1..=4).for_each(|sequence| append(&mut store, batch_of(Class::Samples, sequence, 1_000)));
    let pages = |bytes| store.waiting(&Sent::default(), Room { rows: 9, bytes }).unwrap().len();
    assert_eq!((pages(1), pages(1_500), pages(3_000), pages(0)), (1, 2, 3, 0));
}

#[test]
fn over_its_cap_the_outbox_drops_the_oldest_and_the_next_batch_says_how_many() {
    let disk = Disk::new();
    let size = size(&batch(1));
    let open = || disk.open().with_outbox_bytes_max(size * 3 + size / 2);
    let mut store = open();
    (1..=5).for_each(|sequence| append(&mut store, batch(sequence)));
    assert_eq!(waiting(&store), [(3, 0), (4, 0), (5, 1)]);
    // The count outlives a restart.
    let mut store = open();
    append(&mut store, batch(6));
    assert_eq!(waiting(&store), [(4, 0), (5, 1), (6, 1)]);
    let told = outbox(&store).pop().unwrap().dropped_by_class;
    assert_eq!(told, [(Class::Samples, 1)].into());
}

#[test]
fn over_its_cap_the_outbox_drops_what_matters_least_and_faults_only_when_alone() {
    let disk = Disk::new();
    let mut store = disk.open().with_outbox_rows_max(3);
    let classes = [Class::Samples, Class::Faults, Class::Summaries, Class::Samples, Class::Samples];
    for (sequence, class) in (1..).zip(classes) {
        append(&mut store, batch_of(class, sequence, 0));
    }
    assert_eq!(sequences(&store), [2, 3, 5]);
    append(&mut store, batch_of(Class::Faults, 6, 0));
    append(&mut store, batch_of(Class::Summaries, 7, 0));
    assert_eq!(sequences(&store), [2, 6, 7], "the sample, then the older summary");
    append(&mut store, batch_of(Class::Samples, 8, 0));
    assert_eq!(sequences(&store), [2, 6, 7], "one that matters least does not even come in");
    append(&mut store, batch_of(Class::Faults, 9, 0));
    append(&mut store, batch_of(Class::Faults, 10, 0));
    assert_eq!(sequences(&store), [6, 9, 10]);
    // Ten came, three are there, and seven are told or about to be.
    let told: u64 = waiting(&store).iter().map(|(_, dropped)| dropped).sum();
    let status = store.status().unwrap();
    assert_eq!((told + status.dropped_untold, status.dropped.batches), (7, 7));
    let by_class = [(Class::Faults, 1), (Class::Summaries, 2), (Class::Samples, 4)].into();
    assert_eq!(status.dropped, Dropped { batches: 7, by_class });
}

#[test]
fn a_dropped_batch_takes_no_count_with_it() {
    let disk = Disk::new();
    let size = size(&batch(1));
    let mut store = disk.open().with_outbox_bytes_max(size + size / 2);
    (1..=9).for_each(|sequence| append(&mut store, batch(sequence)));
    assert_eq!(sequences(&store), [9]);
    // Eight were dropped: what the ninth does not tell, the tenth does.
    let mut store = disk.open();
    append(&mut store, batch(10));
    assert_eq!(waiting(&store).into_iter().map(|(_, dropped)| dropped).sum::<u64>(), 8);
}

#[test]
fn a_batch_that_is_there_already_takes_no_count_either() {
    let disk = Disk::new();
    let mut store = disk.open().with_outbox_rows_max(1);
    append(&mut store, batch(1));
    append(&mut store, batch(2));
    append(&mut store, batch(2));
    assert_eq!(store.status().unwrap().dropped_untold, 1);
}

#[test]
fn a_batch_that_no_cloud_would_take_is_counted_and_not_sent_for_ever() {
    let disk = Disk::new();
    let mut store = disk.open();
    append(&mut store, batch_of(Class::Samples, 1, RESULTS_BYTES_MAX));
    append(&mut store, batch(2));
    assert_eq!(waiting(&store), [(2, 1)]);
}

#[test]
fn what_the_keeper_says_twice_is_kept_once_over_restarts_of_both() {
    let disk = Disk::new();
    let message = |number: u64, sequence: u64| Append {
        batches: vec![batch(sequence)],
        states: vec![],
        done: Some((session(), number)),
    };
    let mut store = disk.open();
    store.append(&message(1, 1)).unwrap();
    store.append(&message(2, 2)).unwrap();
    // Another start of the planner gives it other numbers of its own.
    let mut store = disk.open();
    store.append(&message(1, 3)).unwrap();
    store.append(&message(2, 4)).unwrap();
    assert_eq!(sequences(&store), [1, 2]);
    assert!(!store.append(&message(4, 9)).unwrap(), "not before the one between");
    assert!(store.append(&message(3, 5)).unwrap());
    let other = Append { done: Some((BootId::from_random([3; 16]), 1)), ..message(1, 6) };
    store.append(&other).unwrap();
    store.append(&message(3, 7)).unwrap();
    assert_eq!(sequences(&store), [1, 2, 5, 6], "each start of the keeper counts from 1");
}

#[test]
fn what_a_rebuilt_store_has_to_tell_is_told_once_and_durably() {
    let disk = Disk::new();
    drop(disk.open());
    std::fs::write(disk.path(), b"garbage").unwrap();
    assert!(disk.open().was_rebuilt().is_some());
    let mut store = disk.open();
    assert!(store.stored().unwrap().damaged.is_some(), "not told yet");
    append(&mut store, batch_of(Class::Faults, 1, 0));
    assert!(store.was_rebuilt().is_some(), "another refusal does not tell it");
    let mut telling = batch_of(Class::Faults, 2, 0);
    telling.refusals[0].refusal.reason = Reason::StoreDamaged;
    append(&mut store, telling);
    assert_eq!(disk.open().was_rebuilt(), None);
}

/// One thing that happens to an outbox.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(usize, usize)>),
    /// Said again by the keeper.
    Again,
    /// The cloud acknowledges what it was sent, from this place on, so many.
    Ack(usize, usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let batches = prop::collection::vec((0..3_usize, 0..1_500_usize), 0..4);
    prop_oneof![
        8 => batches.prop_map(Step::Append),
        1 => Just(Step::Again),
        3 => (0..12_usize, 1..9_usize).prop_map(|(from, rows)| Step::Ack(from, rows)),
        1 => Just(Step::Restart),
    ]
}

/// What an outbox is, in the simplest words.
#[derive(Default)]
struct Model {
    rows: Vec<(Class, u64, Results, usize)>,
    untold: BTreeMap<Class, u64>,
    came: BTreeMap<Class, u64>,
    arrived: BTreeMap<Class, u64>,
    told: BTreeMap<Class, u64>,
}

impl Model {
    fn append(&mut self, batch: &Results) {
        let class = batch.class();
        *self.came.entry(class).or_default() += 1;
        let mut telling = batch.clone();
        telling.dropped_by_class = std::mem::take(&mut self.untold);
        telling.dropped_batches = telling.dropped_by_class.values().sum();
        let bytes = size(&telling);
        self.rows.push((class, batch.sequence, telling, bytes));
        self.rows.sort_by_key(|(class, sequence, ..)| (*class, *sequence));
    }

    fn drop_over(&mut self, (bytes_max, rows_max): (usize, usize)) {
        let over = |rows: &Vec<(Class, u64, Results, usize)>| {
            rows.len() > rows_max || rows.iter().map(|row| row.3).sum::<usize>() > bytes_max
        };
        while over(&self.rows) {
            let least = self.rows.last().unwrap().0;
            let at = self.rows.iter().position(|row| row.0 == least).unwrap();
            let (class, _, batch, _) = self.rows.remove(at);
            *self.untold.entry(class).or_default() += 1;
            for (class, batches) in batch.dropped_by_class {
                *self.untold.entry(class).or_default() += batches;
            }
        }
    }

    fn ack(&mut self, from: usize, rows: usize) -> Vec<u64> {
        let from = from.min(self.rows.len());
        let to = (from + rows).min(self.rows.len());
        let gone: Vec<_> = self.rows.drain(from..to).collect();
        for (class, _, batch, _) in &gone {
            *self.arrived.entry(*class).or_default() += 1;
            for (class, batches) in &batch.dropped_by_class {
                *self.told.entry(*class).or_default() += batches;
            }
        }
        gone.into_iter().map(|(_, sequence, ..)| sequence).collect()
    }
}

fn cases() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::with_cases(150) }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn an_outbox_is_what_its_model_is_and_loses_nothing_silently(
        steps in prop::collection::vec(step(), 1..40),
        bytes_max in 3_000..12_000_usize,
        rows_max in 3..12_usize,
    ) {
        let disk = Disk::new();
        let open = || {
            disk.open().with_outbox_bytes_max(bytes_max).with_outbox_rows_max(rows_max as u64)
        };
        let (mut store, mut model) = (open(), Model::default());
        let (mut number, mut sequence) = (0, 0);
        let mut last = only(vec![]);
        for step in steps {
            match step {
                Step::Append(batches) => {
                    number += 1;
                    let batches = batches.into_iter().map(|(class, filling)| {
                        sequence += 1;
                        batch_of(CLASSES[class], sequence, filling)
                    });
                    let done = Some((session(), number));
                    last = Append { batches: batches.collect(), states: vec![], done };
                    store.append(&last).unwrap();
                    last.batches.iter().for_each(|batch| model.append(batch));
                    model.drop_over((bytes_max, rows_max));
                }
                Step::Again => drop(store.append(&last).unwrap()),
                Step::Ack(from, rows) => {
                    let acknowledged = model.ack(from, rows);
                    let deleted = store.delete(&boot(), &acknowledged).unwrap();
                    prop_assert_eq!(deleted.rows, acknowledged.len() as u64);
                }
                Step::Restart => store = open(),
            }
            let expected: Vec<Results> = model.rows.iter().map(|row| row.2.clone()).collect();
            prop_assert_eq!(outbox(&store), expected);
            let status = store.status().unwrap();
            let bytes: u64 = status.outbox.values().map(|amount| amount.bytes).sum();
            prop_assert!(bytes <= bytes_max as u64);
            prop_assert_eq!(status.dropped_untold, model.untold.values().sum::<u64>());
            for class in CLASSES {
                let of = |counts: &BTreeMap<Class, u64>| counts.get(&class).copied().unwrap_or(0);
                let waits = status.outbox.get(&class).map_or(0, |amount| amount.rows);
                let waiting_told: u64 =
                    model.rows.iter().map(|row| of(&row.2.dropped_by_class)).sum();
                // Made = arrived + waiting + dropped, and each dropped one is told somewhere.
                let dropped = of(&status.dropped.by_class);
                prop_assert_eq!(of(&model.came), of(&model.arrived) + waits + dropped);
                let told = of(&model.told) + waiting_told + of(&model.untold);
                prop_assert_eq!(dropped, told);
            }
        }
    }
}
