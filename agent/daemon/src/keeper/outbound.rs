//! What the keeper says to the planner: while there is one, and what was done until it
//! is kept. The planner may end and come back at any time; a message of what was done is
//! said again to the next one, and again after a while, until it is durable.
//!
//! How much is held is bounded: with more, the counts go on in the tallies.

use gnomon_agent_core::message::{Done, FromKeeper, FunctionState, RolledBack};
use gnomon_agent_core::tally::Tally;
use gnomon_schemas::Digest;
use gnomon_schemas::limits::RESULTS_BYTES_MAX;
use gnomon_schemas::results::{Record, Summary};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::frames::FrameSender;

/// Summaries and records of one batch: the rest of the cap is for the batch's head.
const BATCH_BYTES_MAX: usize = RESULTS_BYTES_MAX / 4 * 3;
/// Messages of what was done that are held until they are kept.
const UNKEPT_MAX: usize = 32;
/// How long a message may go unkept before it is said again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way out.
pub(super) struct Outbound(Mutex<Inner>);

struct Inner {
    engine: Digest,
    planner: Option<FrameSender<FromKeeper>>,
    rolled_back: Option<RolledBack>,
    next_number: u64,
    unkept: VecDeque<Done>,
    progress: Instant,
}

impl Outbound {
    pub(super) fn new(engine: Digest) -> Outbound {
        Outbound(Mutex::new(Inner {
            engine,
            planner: None,
            rolled_back: None,
            next_number: 1,
            unkept: VecDeque::new(),
            progress: Instant::now(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another planner: it is told what it must know, and all that is not kept.
    pub(super) fn attach(&self, planner: FrameSender<FromKeeper>) {
        let mut inner = self.lock();
        let started = FromKeeper::Started {
            engine: inner.engine.clone(),
            rolled_back: inner.rolled_back.clone(),
        };
        // A fresh queue has room for this.
        let _ = planner.try_send(started);
        inner.planner = Some(planner);
        inner.say_unkept();
    }

    /// Nobody is spoken to any more; what was said is still written out.
    pub(super) fn detach(&self) {
        self.lock().planner = None;
    }

    /// Says something that the next planner would not have to know.
    pub(super) fn say(&self, message: FromKeeper) {
        let mut inner = self.lock();
        match &message {
            FromKeeper::RolledBack(what) => inner.rolled_back = Some(what.clone()),
            FromKeeper::Activated { .. } => inner.rolled_back = None,
            _ => {}
        }
        inner.send(message);
    }

    /// Whether there is room for more of what was done.
    pub(super) fn has_room(&self) -> bool {
        self.lock().unkept.len() < UNKEPT_MAX
    }

    /// Takes what some tallies have counted, and what their functions remember.
    pub(super) fn done<'a>(
        &self,
        tallies: impl Iterator<Item = &'a mut Tally>,
        states: Vec<FunctionState>,
    ) {
        let mut batches = take(tallies);
        if batches.is_empty() && !states.is_empty() {
            batches.push(done(vec![], vec![]));
        }
        if let Some(last) = batches.last_mut() {
            last.states = states;
        }
        let mut inner = self.lock();
        for mut done in batches {
            done.number = inner.next_number;
            inner.next_number += 1;
            if inner.unkept.is_empty() {
                inner.progress = Instant::now();
            }
            inner.unkept.push_back(done.clone());
            inner.send(FromKeeper::Done(Box::new(done)));
        }
    }

    /// All up to this number is durable.
    pub(super) fn kept(&self, number: u64) {
        let mut inner = self.lock();
        inner.unkept.retain(|done| done.number > number);
        inner.progress = Instant::now();
    }

    /// Says again what has gone unkept for long.
    pub(super) fn remind(&self) {
        let mut inner = self.lock();
        if !inner.unkept.is_empty() && inner.progress.elapsed() >= PATIENCE {
            inner.progress = Instant::now();
            inner.say_unkept();
        }
    }
}

impl Inner {
    fn send(&mut self, message: FromKeeper) {
        let Some(planner) = &self.planner else { return };
        if let Err(std::sync::mpsc::TrySendError::Disconnected(_)) = planner.try_send(message) {
            self.planner = None;
        }
    }

    fn say_unkept(&mut self) {
        for done in self.unkept.clone() {
            self.send(FromKeeper::Done(Box::new(done)));
        }
    }
}

/// What some tallies have counted, in batches that the cloud takes; none if nothing.
fn take<'a>(tallies: impl Iterator<Item = &'a mut Tally>) -> Vec<Done> {
    let mut batches = vec![];
    let (mut summaries, mut records, mut bytes) = (vec![], vec![], 0);
    for tally in tallies.filter(|tally| !tally.is_empty()) {
        let (summary, sampled) = tally.take();
        let mut make_room = |wanted: usize, summaries: &mut Vec<_>, records: &mut Vec<_>| {
            if bytes > 0 && bytes + wanted > BATCH_BYTES_MAX {
                batches.push(done(std::mem::take(summaries), std::mem::take(records)));
                bytes = 0;
            }
            bytes += wanted;
        };
        make_room(json_bytes(&summary), &mut summaries, &mut records);
        summaries.push(summary);
        for record in sampled {
            make_room(json_bytes(&record), &mut summaries, &mut records);
            records.push(record);
        }
    }
    if bytes > 0 {
        batches.push(done(summaries, records));
    }
    batches
}

fn done(summaries: Vec<Summary>, records: Vec<Record>) -> Done {
    Done { number: 0, summaries, records, states: vec![] }
}

fn json_bytes(item: &impl Serialize) -> usize {
    // Both have a JSON form; one that had none could not be sent.
    serde_json::to_vec(item).map_or(BATCH_BYTES_MAX, |json| json.len() + 1)
}
