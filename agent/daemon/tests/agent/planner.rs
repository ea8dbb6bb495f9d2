//! The planner's shell on a real store, without a network: the test is the keeper. What
//! it says is kept before it hears so, and a store that fails or is damaged neither
//! stops the loop nor lets anything be lost.

use gnomon_agent::frames::{self, read_frame};
use gnomon_agent::planner::Planner;
use gnomon_agent::planner::mqtt::{Bus, Way};
use gnomon_agent::planner::store::{Store, StoreError};
use gnomon_agent::tls::FloorClock;
use gnomon_agent_core::agent::Setup;
use gnomon_agent_core::message::{Done, FromKeeper, ToKeeper};
use gnomon_agent_core::{Agent, Event};
use gnomon_schemas::module::KeySignatures;
use gnomon_schemas::results::Class;
use gnomon_schemas::{BootId, Digest, Reason};
use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::fixture::{Fleet, NOW_MS, PATIENCE};
use super::store::{Disk, batch_of, outbox};

/// The last results of these tests are acknowledged, or not waited for.
const LAST_ACKS: std::time::Duration = std::time::Duration::from_secs(1);

/// A planner at work, and the keeper's end of its stream.
struct Desk {
    runtime: Runtime,
    events: mpsc::Sender<Event>,
    frames: UnixStream,
    planner: JoinHandle<Result<(), StoreError>>,
    stop: watch::Sender<bool>,
    _keeper: watch::Sender<()>,
}

impl Desk {
    fn new(store: Store, boot: u8) -> Desk {
        let runtime = Runtime::new().unwrap();
        let _context = runtime.enter();
        let config = Fleet::new().config();
        let (events, all) = mpsc::channel(64);
        let (keeper, keeper_gone) = watch::channel(());
        let (stop, stopped) = watch::channel(false);
        let (planner_end, frames) = UnixStream::pair().unwrap();
        frames.set_read_timeout(Some(PATIENCE)).unwrap();
        let boot = BootId::from_random([boot; 16]);
        let (_, renewed) = watch::channel(0);
        let clock = Arc::new(FloorClock::new(NOW_MS));
        let way = Way { broker: config.broker, tls: None, clock, renewed };
        let who = (config.identity.fleet.clone(), config.identity.device.clone(), boot.clone());
        let bus = Bus::start(way, who, events.clone()).unwrap();
        let agent = Agent::new(Setup {
            identity: config.identity,
            root: config.root,
            judge: Box::new(KeySignatures),
            session: BootId::from_random([255; 16]),
            boot,
            agent_version: "0.0.0".into(),
            time_floor_ms: NOW_MS,
            released_at_ms: NOW_MS,
        });
        let to_keeper = frames::sender("test", planner_end).unwrap();
        let planner = Planner::new(
            (agent, vec![]),
            store,
            bus,
            to_keeper,
            all,
            stopped,
            keeper_gone,
            LAST_ACKS,
        );
        let planner = tokio::spawn(planner.run());
        let engine = Digest::of(b"engine");
        let desk = Desk { events, frames, planner, stop, _keeper: keeper, runtime };
        desk.say(FromKeeper::Started { engine, rolled_back: None });
        desk
    }

    fn hear(&self, event: Event) {
        self.events.blocking_send(event).unwrap();
    }

    fn say(&self, message: FromKeeper) {
        self.hear(Event::Keeper(message));
    }

    fn done(&self, number: u64, class: Class) {
        let batch = batch_of(class, number, 0);
        let (summaries, records) = (batch.summaries, batch.records);
        self.say(FromKeeper::Done(Box::new(Done { number, summaries, records, states: vec![] })));
    }

    /// The number up to which the planner next says that all is kept.
    fn kept(&mut self) -> u64 {
        match read_frame(&mut self.frames).unwrap() {
            ToKeeper::Kept { number } => number,
            other => panic!("{other:?}"),
        }
    }

    fn ended(self) -> Result<(), StoreError> {
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, self.planner).await })
            .expect("it goes on")
            .unwrap()
    }

    fn stop(self) {
        self.stop.send(true).unwrap();
        self.ended().unwrap();
    }
}

fn reasons(store: &Store) -> Vec<Reason> {
    let batches = outbox(store);
    batches.iter().flat_map(|batch| &batch.refusals).map(|event| event.refusal.reason).collect()
}

/// A store that takes no batch of this class until it is healed.
fn refuse(disk: &Disk, class: u8) {
    disk.tamper(&format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON outbox WHEN new.class = {class}
         BEGIN SELECT raise(ABORT, 'disk full'); END;"
    ));
}

#[test]
fn the_keeper_hears_that_something_is_kept_when_it_is_and_not_before() {
    let disk = Disk::new();
    let mut desk = Desk::new(disk.open(), 1);
    desk.done(1, Class::Summaries);
    assert_eq!(desk.kept(), 1);
    assert_eq!(outbox(&disk.open()).len(), 1);
    refuse(&disk, 1);
    desk.done(2, Class::Summaries);
    desk.done(2, Class::Samples);
    assert_eq!(desk.kept(), 2, "of the second only");
    assert_eq!(outbox(&disk.open()).len(), 2);
    disk.tamper("DROP TRIGGER refuse");
    desk.done(2, Class::Summaries);
    assert_eq!(desk.kept(), 2, "it may have missed the word");
    assert_eq!(outbox(&disk.open()).len(), 2);
    desk.stop();
    // Another planner for the same keeper knows what is kept.
    let mut desk = Desk::new(disk.open(), 2);
    desk.done(2, Class::Summaries);
    desk.done(3, Class::Summaries);
    assert_eq!((desk.kept(), desk.kept()), (2, 3));
    desk.stop();
    assert_eq!(outbox(&disk.open()).len(), 3);
}

#[test]
fn a_refusal_that_the_store_cannot_take_now_is_kept_for_later() {
    let disk = Disk::new();
    let mut desk = Desk::new(disk.open(), 1);
    refuse(&disk, 0);
    (0..5).for_each(|_| desk.hear(Event::Document(b"garbage".to_vec())));
    desk.done(1, Class::Samples);
    assert_eq!(desk.kept(), 1, "the loop goes on");
    assert!(reasons(&disk.open()).is_empty());
    disk.tamper("DROP TRIGGER refuse");
    desk.hear(Event::Ack(b"garbage".to_vec()));
    desk.done(2, Class::Samples);
    assert_eq!(desk.kept(), 2);
    assert_eq!(reasons(&disk.open()), [Reason::MalformedJson; 6]);
    desk.stop();
}

#[test]
fn a_planner_that_stops_in_order_closes_its_store_in_order() {
    let disk = Disk::new();
    Desk::new(disk.open(), 1).stop();
    let names: Vec<_> = fs::read_dir(disk.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.contains(&"agent.db.clean".to_owned()), "{names:?}");
    assert!(!names.contains(&"agent.db-wal".to_owned()), "{names:?}");
}

#[test]
fn a_damaged_store_ends_the_planner_and_the_next_one_tells_the_cloud() {
    let disk = Disk::new();
    disk.open().close().unwrap();
    disk.rot("outbox");
    let desk = Desk::new(disk.open(), 1);
    desk.done(1, Class::Summaries);
    let error = desk.ended().unwrap_err();
    assert!(error.is_damage(), "{error}");

    let store = disk.open();
    assert!(store.was_rebuilt().is_some());
    let mut desk = Desk::new(store, 2);
    desk.done(1, Class::Summaries);
    assert_eq!(desk.kept(), 1);
    desk.stop();
    let store = disk.open();
    assert_eq!(reasons(&store), [Reason::StoreDamaged]);
    assert_eq!(store.was_rebuilt(), None, "told once");
}
