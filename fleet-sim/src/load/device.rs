//! A light device: the production planner, its MQTT connection and its outbox's window, the
//! simulator's keeper (production guard, tally and host) and its store in memory. Many live
//! on one thread. It is what a device is to the cloud; what the flash and the processes of
//! one cost is measured elsewhere.

use anyhow::{Context as _, Result};
use gnomon_agent::planner::mqtt::{Bus, Way};
use gnomon_agent::planner::outbox::Outbox;
use gnomon_agent::tls::FloorClock;
use gnomon_agent_core::agent::{Append, Setup};
use gnomon_agent_core::message::{FromKeeper, ToKeeper};
use gnomon_agent_core::{Agent, Effect, Event, Identity, Monotonic};
use gnomon_schemas::ids::BootId;
use gnomon_schemas::module::KeySignatures;
use gnomon_schemas::reported::Reported;
use gnomon_schemas::topics::Channel;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::value::{Value, Values};
use rustls::ClientConfig;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, interval_at};

use super::board::{Board, Seat, now_ms};
use crate::swarm::Library;
use crate::swarm::disk::{Disk, Left};
use crate::swarm::keeper::{Keeper, Seen, Tick};

/// How often the planner is told that time has passed.
const CLOCK: Duration = Duration::from_secs(1);
/// Events of one device that may wait.
const EVENTS_MAX: usize = 64;
/// Ticks that a device makes up at once before others have their turn.
const TICKS_AT_ONCE: u32 = 20;

/// What all devices are told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// Be there.
    Rest,
    /// Tick so often, and send what comes of it.
    Tick(Duration),
    /// Tick until so many batches are in the outbox, and send none of them.
    Hoard(u64),
    /// Send what is in the outbox.
    Drain,
    /// Drop the connection and make another one.
    Reconnect,
    /// Go.
    Leave,
}

/// What all devices share.
#[derive(Clone)]
pub(super) struct Common {
    /// The trust root in the firmware.
    pub(super) root: TrustRoot,
    /// The fleet's name.
    pub(super) fleet: String,
    /// Where the broker is.
    pub(super) broker: SocketAddr,
    /// How each of them speaks TLS, if they do.
    pub(super) tls: Option<Arc<Vec<Arc<ClientConfig>>>>,
    /// What they have seen.
    pub(super) board: Arc<Board>,
    /// What they are told.
    pub(super) orders: watch::Receiver<Order>,
}

/// The name of a device.
pub(super) fn name(index: usize) -> String {
    format!("load-{index:05}")
}

/// One device.
pub(super) struct Device {
    index: usize,
    common: Common,
    library: Rc<Library>,
    agent: Agent,
    keeper: Keeper,
    disk: Disk,
    bus: Bus,
    events: mpsc::Receiver<Event>,
    boot: BootId,
    outbox: Outbox,
    /// When each batch came into the outbox, by its place.
    since: BTreeMap<u64, Instant>,
    unsent: Option<Reported>,
    holds_back: bool,
    started: Instant,
    number: u64,
}

impl Device {
    /// Starts one; it connects by itself.
    ///
    /// # Errors
    /// When the names are none, or the client refuses its options.
    pub(super) fn start(index: usize, common: Common, library: Rc<Library>) -> Result<Device> {
        let identity = Identity {
            fleet: common.fleet.parse()?,
            device: name(index).parse()?,
            profile: library.profile.clone(),
            profile_digest: library.profile_digest.clone(),
        };
        let boot = BootId::from_random(fastrand::u128(..).to_le_bytes());
        let session = BootId::from_random(fastrand::u128(..).to_le_bytes());
        let keeper = Keeper::new(&library, session.clone())
            .map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        let (bus, events) = connect(index, &common, &boot)?;
        let agent = Agent::new(Setup {
            identity,
            root: common.root.clone(),
            judge: Box::new(KeySignatures),
            boot: boot.clone(),
            session,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            time_floor_ms: 0,
            released_at_ms: 0,
        });
        let mut device = Device {
            index,
            common,
            library,
            agent,
            keeper,
            disk: Disk::default(),
            bus,
            events,
            boot,
            outbox: Outbox::default(),
            since: BTreeMap::new(),
            unsent: None,
            holds_back: false,
            started: Instant::now(),
            number: 0,
        };
        device.hear(Event::Started(device.disk.stored()));
        let engine = device.library.engine().clone();
        device.keeper.greet(&engine);
        device.keeper_speaks();
        Ok(device)
    }

    /// Lives until it is told to leave.
    ///
    /// # Errors
    /// When a new connection cannot be made.
    pub(super) async fn live(mut self) -> Result<()> {
        let mut orders = self.common.orders.clone();
        let mut clock = interval_at((Instant::now() + self.offset(CLOCK)).into(), CLOCK);
        let mut ticks: Option<Interval> = None;
        loop {
            tokio::select! {
                event = self.events.recv() => {
                    let event = event.context("the connection's task ended")?;
                    self.hear(event);
                }
                _ = clock.tick() => {
                    self.keeper.remind();
                    self.keeper_speaks();
                    self.hear(Event::Clock);
                    self.send();
                }
                () = due(&mut ticks) => self.tick(),
                changed = orders.changed() => {
                    let order = *orders.borrow_and_update();
                    ticks = None;
                    match order {
                        // Nobody is left to say so.
                        _ if changed.is_err() => return Ok(()),
                        Order::Rest => {}
                        Order::Tick(period) => {
                            let first = Instant::now() + self.offset(period);
                            ticks = Some(interval_at(first.into(), period));
                        }
                        Order::Hoard(batches) => self.hoard(batches).await,
                        Order::Drain => {
                            self.holds_back = false;
                            self.send();
                        }
                        Order::Reconnect => self.reconnect().await?,
                        Order::Leave => {
                            self.bus.leave(true).await;
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    fn seat(&self) -> &Seat {
        &self.common.board.seats[self.index]
    }

    fn add(&self, to: impl Fn(&Seat) -> &AtomicU64, count: usize) {
        to(self.seat()).fetch_add(count as u64, Ordering::SeqCst);
    }

    /// Devices are due one after the other, not all at once.
    fn offset(&self, period: Duration) -> Duration {
        let place = self.index as f64 / self.common.board.seats.len() as f64;
        period.mul_f64(place)
    }

    fn hear(&mut self, event: Event) {
        self.note(&event);
        let (came, before) = (Instant::now(), self.seat().version.load(Ordering::SeqCst));
        let is_document = matches!(event, Event::Document(_));
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            for effect in self.agent.apply(Monotonic(now), event) {
                events.extend(self.perform(effect));
            }
        }
        if is_document && self.seat().version.load(Ordering::SeqCst) != before {
            self.common.board.was_taken(came.elapsed());
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.outbox.reconnected();
                self.bus.greet();
                self.seat().connected.store(true, Ordering::SeqCst);
            }
            Event::Disconnected => {
                self.outbox.disconnected();
                self.seat().connected.store(false, Ordering::SeqCst);
            }
            Event::Document(bytes) => {
                self.add(|seat| &seat.documents, 1);
                self.seat().arrived_ms.store(now_ms(), Ordering::SeqCst);
                self.add(|seat| &seat.bytes_in, bytes.len());
                self.common.board.document_bytes.store(bytes.len() as u64, Ordering::SeqCst);
            }
            Event::TrustRoot(bytes) | Event::Module(_, bytes) | Event::Ack(bytes) => {
                self.add(|seat| &seat.bytes_in, bytes.len());
            }
            _ => {}
        }
    }

    fn perform(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::FetchRoot(version) => self.bus.fetch_root(version),
            Effect::FetchDocument => self.bus.fetch_document(),
            Effect::FetchModule(digest) => self.bus.fetch(digest),
            Effect::ForgetModule(digest) => self.bus.forget(&digest),
            Effect::PersistRoot { version, envelope, time_floor_ms } => {
                let done = self.disk.persist_root(version, &envelope, time_floor_ms, Left::All);
                return vec![Event::RootPersisted(version, done)];
            }
            Effect::Persist(change) => {
                let done = self.disk.persist(&change, Left::All);
                return vec![Event::Persisted(change.floor.digest.clone(), done)];
            }
            Effect::Keeper(message) => {
                let said = self.tell_keeper(*message);
                return said.into_iter().map(Event::Keeper).collect();
            }
            // Memory takes whatever it is given.
            Effect::KeepTime(at_ms) => self.disk.keep_time(at_ms).unwrap_or_default(),
            Effect::KeepTrial(trial) => self.disk.keep_trial(trial.as_ref()).unwrap_or_default(),
            Effect::KeepFailure(failure) => self.disk.keep_failure(&failure).unwrap_or_default(),
            Effect::PersistRollback(failure) => self.disk.go_back(&failure).unwrap_or_default(),
            Effect::Report(report) => {
                self.unsent = Some(*report);
                self.send();
            }
            Effect::Append(append) => {
                let said = self.append(&append);
                return said.into_iter().map(Event::Keeper).collect();
            }
            Effect::Delete(boot, sequences) => self.delete(&boot, &sequences),
            Effect::Send => self.send(),
        }
        vec![]
    }

    fn tell_keeper(&mut self, message: ToKeeper) -> Vec<FromKeeper> {
        self.keeper.hear(&self.library, message, now_ms(), false);
        self.listen_to_keeper()
    }

    fn keeper_speaks(&mut self) {
        let said = self.listen_to_keeper();
        said.into_iter().for_each(|message| self.hear(Event::Keeper(message)));
    }

    fn listen_to_keeper(&mut self) -> Vec<FromKeeper> {
        let (said, seen) = self.keeper.take();
        for what in seen {
            match what {
                Seen::InForce(_, document) => {
                    let seat = self.seat();
                    seat.since_ms.store(now_ms(), Ordering::SeqCst);
                    seat.version.store(document.version.get(), Ordering::SeqCst);
                }
                Seen::Called(_) => self.add(|seat| &seat.calls, 1),
                Seen::WentBack | Seen::Told(_) => {}
            }
        }
        said
    }

    fn append(&mut self, append: &Append) -> Vec<FromKeeper> {
        let refused = append.batches.iter().map(|batch| batch.refusals.len()).sum();
        self.add(|seat| &seat.refused, refused);
        // Memory takes whatever it is given.
        let (kept, is_whole) = self.disk.append(append).unwrap_or_default();
        self.add(|seat| &seat.made, kept.len());
        let now = Instant::now();
        let newest = self.disk.rows().keys().rev().take(kept.len()).copied();
        self.since.extend(newest.map(|row| (row, now)));
        match &append.done {
            Some((_, number)) if is_whole => self.tell_keeper(ToKeeper::Kept { number: *number }),
            _ => vec![],
        }
    }

    fn delete(&mut self, boot: &BootId, sequences: &[u64]) {
        let rows = self.disk.rows().iter();
        let of_boot = rows.filter(|(_, row)| row.boot == *boot);
        let gone = of_boot.filter(|(_, row)| sequences.contains(&row.sequence));
        let gone: Vec<u64> = gone.map(|(row, _)| *row).collect();
        let places = gone.iter().filter_map(|row| i64::try_from(*row).ok());
        self.outbox.acknowledged(&places.collect::<Vec<i64>>());
        for row in &gone {
            if let Some(since) = self.since.remove(row) {
                self.common.board.was_stored(since.elapsed());
            }
        }
        self.disk.delete(boot, sequences).unwrap_or_default();
        self.add(|seat| &seat.stored, gone.len());
    }

    fn send(&mut self) {
        if !self.outbox.is_connected() {
            return;
        }
        if let Some(report) = self.unsent.take() {
            let bytes = serde_json::to_vec(&report).unwrap_or_default();
            if !self.publish(Channel::Reported, true, bytes) {
                self.unsent = Some(report);
            }
        }
        if self.holds_back {
            return;
        }
        let Some((sent, room)) = self.outbox.ask(Instant::now()) else { return };
        let place = |row: &u64| i64::try_from(*row).unwrap_or(i64::MAX);
        let mut left = room.bytes;
        let mut batches = vec![];
        for (row, results) in self.disk.rows() {
            let class = results.class();
            if sent.last_of(class).is_some_and(|last| place(row) <= last) {
                continue;
            }
            if batches.len() == room.rows || left == 0 {
                break;
            }
            let bytes = serde_json::to_vec(results).unwrap_or_default();
            left = left.saturating_sub(bytes.len());
            batches.push((class, place(row), bytes));
        }
        for (class, row, bytes) in batches {
            let length = bytes.len();
            self.common.board.example(&bytes);
            // Without room the next turn goes on here.
            if !self.publish(Channel::Results, false, bytes) {
                return;
            }
            self.outbox.sent(class, row, length);
        }
    }

    fn publish(&self, channel: Channel, retained: bool, bytes: Vec<u8>) -> bool {
        let length = bytes.len();
        let is_taken = self.bus.publish(channel, retained, bytes);
        self.add(|seat| &seat.bytes_out, if is_taken { length } else { 0 });
        is_taken
    }

    fn tick(&mut self) {
        self.number += 1;
        let tick = Tick {
            number: self.number,
            at_ms: now_ms(),
            inputs: readings(self.number + self.index as u64),
            runner_dies: false,
        };
        // A device whose tank nobody simulates has no use for the value.
        let _ = self.keeper.tick(&tick);
        self.keeper_speaks();
    }

    async fn hoard(&mut self, batches: u64) {
        self.holds_back = true;
        let made = |device: &Device| device.seat().made.load(Ordering::SeqCst);
        let until = made(self) + batches;
        while made(self) < until {
            (0..TICKS_AT_ONCE).for_each(|_| self.tick());
            tokio::task::yield_now().await;
        }
    }

    async fn reconnect(&mut self) -> Result<()> {
        self.seat().connected.store(false, Ordering::SeqCst);
        self.hear(Event::Disconnected);
        let (bus, events) = connect(self.index, &self.common, &self.boot)?;
        self.events = events;
        std::mem::replace(&mut self.bus, bus).leave(false).await;
        Ok(())
    }
}

async fn due(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

fn connect(index: usize, common: &Common, boot: &BootId) -> Result<(Bus, mpsc::Receiver<Event>)> {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    // Nobody renews certificates where there are none.
    let (_, renewed) = watch::channel(0);
    let way = Way {
        broker: (common.broker.ip().to_string(), common.broker.port()),
        tls: common.tls.as_ref().map(|of| Arc::clone(&of[index])),
        clock: Arc::new(FloorClock::new(0)),
        renewed,
    };
    let who = (common.fleet.parse()?, name(index).parse()?, boot.clone());
    Ok((Bus::start(way, who, sender)?, events))
}

/// Readings of a tank that cools down and heats up over and over.
fn readings(number: u64) -> Values {
    let step = |period: u64| (number % period) as f64;
    let prices: Vec<f64> = (0..24).map(|hour| (step(7) + f64::from(hour % 5)) / 100.0).collect();
    Values::from([
        ("tank_temp_c".to_owned(), Value::Float(45.0 + step(20))),
        ("tank_low_temp_c".to_owned(), Value::Float(40.0 + step(20))),
        ("hour".to_owned(), Value::Float(step(24))),
        ("price_forecast".to_owned(), Value::from(prices)),
    ])
}
