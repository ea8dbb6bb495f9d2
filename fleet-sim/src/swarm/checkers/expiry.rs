//! What expires stops if it says so, and only then; and nothing comes in that has expired.
//!
//! The device's time is the lowest that it can be, as the world reckons it from outside
//! (`swarm/least.rs`): what was durable when the planner started, plus what its own clock
//! has counted. The planner may know a later time, from a document on its way, never an
//! earlier one. While no planner runs, nobody knows a time and nothing is judged.
//!
//! 1. A document that says `default` is acted on for at most [`ACTED_ON_MS`] more, and then
//!    no module is called and the actuator gets nothing of the active function, until
//!    another document is in force. The slack is half a tick: the planner looks every five
//!    seconds, may have two other things to do first, and its word may stand behind
//!    preparations of two seconds each in the keeper's queue. It begins anew with a
//!    planner, which must find out first.
//! 2. A document that says `hold` goes on: its active module is called at every tick. Not
//!    judged where something else may have stopped it: the store holds another document
//!    than the keeper, the document was given up, or a module of it is recalled.
//! 3. What becomes durable for the first time came at least once, in the same life of the
//!    planner, before it had expired, and had not expired for longer than [`TAKEN_MS`]: a
//!    minute for its modules, three for the keeper, as much again behind another one.

use gnomon_agent_core::agent::{FETCH_TIMEOUT_MS, KEEPER_TIMEOUT_MS};
use gnomon_schemas::document::{Document, OnExpiry};
use gnomon_schemas::ids::Digest;
use gnomon_schemas::results::{SlotRole, Source};
use std::collections::{BTreeMap, BTreeSet};

use super::recall::Releases;
use super::{Checker, must};
use crate::swarm::facts::{Fact, Held};
use crate::swarm::library::Library;

/// How long a document may be acted on after its device could know that it has expired.
const ACTED_ON_MS: u64 = 30_000;
/// How long after it had come a document may become durable.
const TAKEN_MS: u64 = FETCH_TIMEOUT_MS + 2 * KEEPER_TIMEOUT_MS;

/// A document that is or was in force.
#[derive(Clone)]
struct Known {
    expires_at_ms: u64,
    on_expiry: OnExpiry,
    active: Option<Digest>,
    modules: BTreeSet<Digest>,
}

/// A document that came to the planner that runs.
struct Arrival {
    expires_at_ms: u64,
    was_fresh: bool,
    expired_at_ms: Option<u64>,
}

#[derive(Default)]
struct Device {
    known: BTreeMap<Digest, Known>,
    in_force: Option<Digest>,
    /// Since when its planner can know that what is in force has expired.
    expired_at_ms: Option<u64>,
    came: BTreeMap<Digest, Arrival>,
    held: Held,
    /// What the disk holds is what it has held before.
    is_starting: bool,
    recalled: BTreeSet<Digest>,
    lowest_ms: Option<u64>,
    /// What must be called at this tick.
    owed: Option<Digest>,
}

pub(super) struct Expiry {
    releases: Releases,
    now_ms: u64,
    devices: Vec<Device>,
}

impl Expiry {
    pub(super) fn new(library: &Library, devices: usize) -> Expiry {
        let devices = (0..devices).map(|_| Device::default()).collect();
        Expiry { releases: Releases::of(library), now_ms: 0, devices }
    }

    /// The document whose expiry the device has had the time to act on.
    fn overdue(&self, device: usize) -> Option<&Known> {
        let of = &self.devices[device];
        let for_ms = self.now_ms.saturating_sub(of.expired_at_ms?);
        of.current().filter(|_| for_ms >= ACTED_ON_MS)
    }

    fn check_stopped(&self, device: usize, what: &str) -> Result<(), String> {
        let overdue = self.overdue(device).filter(|known| known.on_expiry == OnExpiry::Default);
        must(overdue.is_none(), || {
            let expires = overdue.map_or(0, |known| known.expires_at_ms);
            format!("device {device}: {what}, what is in force expired at {expires} ms")
        })
    }
}

impl Device {
    fn current(&self) -> Option<&Known> {
        self.known.get(self.in_force.as_ref()?)
    }

    fn begins_with(&mut self, digest: Option<&Digest>) {
        self.in_force = digest.cloned();
        self.expired_at_ms = None;
    }

    fn learn(&mut self, document: &Document, digest: &Digest) {
        let plans = document.functions.values();
        let active = plans.clone().find_map(|plan| plan.active.as_ref());
        let known = Known {
            expires_at_ms: document.expires_at_ms,
            on_expiry: document.on_expiry,
            active: active.map(|slot| slot.module.clone()),
            modules: plans.flat_map(|plan| plan.slots()).map(|slot| slot.module.clone()).collect(),
        };
        self.known.insert(digest.clone(), known);
        self.begins_with(Some(digest));
    }

    fn time(&mut self, now_ms: u64, lowest_ms: Option<u64>) {
        self.lowest_ms = lowest_ms;
        let Some(lowest_ms) = lowest_ms else {
            self.expired_at_ms = None;
            return;
        };
        let note = |expires_at_ms: u64, at_ms: Option<u64>| {
            (expires_at_ms <= lowest_ms).then(|| at_ms.unwrap_or(now_ms))
        };
        let expires_at_ms = self.current().map(|known| known.expires_at_ms);
        self.expired_at_ms = expires_at_ms.and_then(|at_ms| note(at_ms, self.expired_at_ms));
        for arrival in self.came.values_mut() {
            arrival.expired_at_ms = note(arrival.expires_at_ms, arrival.expired_at_ms);
        }
    }

    fn comes(&mut self, document: &Document, digest: &Digest) {
        let expires_at_ms = document.expires_at_ms;
        let is_fresh = self.lowest_ms.is_some_and(|lowest_ms| lowest_ms < expires_at_ms);
        let first = || Arrival { expires_at_ms, was_fresh: false, expired_at_ms: None };
        self.came.entry(digest.clone()).or_insert_with(first).was_fresh |= is_fresh;
    }

    /// What the disk holds now was accepted since it held what it held before, or not.
    fn holds(&mut self, held: &Held) -> Option<Digest> {
        let before = std::mem::replace(&mut self.held, held.clone());
        let is_start = std::mem::take(&mut self.is_starting);
        let new = held.current.clone().filter(|_| !is_start)?;
        let was_known = [before.current.as_ref(), before.previous.as_ref()].contains(&Some(&new))
            || before.highest().is_some_and(|floor| floor.digest == new);
        (!was_known).then_some(new)
    }

    /// The module that an expired document which says `hold` goes on with.
    fn goes_on(&self) -> Option<&Digest> {
        let known = self.current().filter(|known| known.on_expiry == OnExpiry::Hold)?;
        let is_stored = self.held.current == self.in_force;
        let is_given_up = self.held.failures.iter().any(|d| Some(d) == self.in_force.as_ref());
        let may_stop = is_given_up || !known.modules.is_disjoint(&self.recalled);
        known.active.as_ref().filter(|_| self.expired_at_ms.is_some() && is_stored && !may_stop)
    }
}

impl Checker for Expiry {
    fn name(&self) -> &'static str {
        "expiry"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Time { device, now_ms, lowest_ms } => {
                self.now_ms = *now_ms;
                self.devices[*device].time(*now_ms, *lowest_ms);
            }
            Fact::KeeperStarted { device } => {
                let known = &mut self.devices[*device];
                known.begins_with(None);
                (known.recalled, known.owed) = (BTreeSet::new(), None);
            }
            Fact::PlannerStarted { device } => {
                let known = &mut self.devices[*device];
                known.came.clear();
                (known.expired_at_ms, known.is_starting) = (None, true);
            }
            Fact::RootInForce { device, root } => {
                self.devices[*device].recalled.extend(self.releases.recalled_by(root));
            }
            Fact::Came { device, document, digest } => {
                self.devices[*device].comes(document, digest);
            }
            Fact::Held { device, held } => {
                let Some(new) = self.devices[*device].holds(held) else { return Ok(()) };
                return self.check_taken(*device, &new);
            }
            Fact::InForce { device, document, digest } => {
                self.devices[*device].learn(document, digest);
            }
            Fact::WentBack { device, to } => self.devices[*device].begins_with(*to),
            Fact::Due { device, .. } => return self.check_owed(*device),
            Fact::Actuated { device, clamped, .. } => {
                let known = &mut self.devices[*device];
                known.owed = known.goes_on().cloned();
                let is_active = clamped.source() == Source::Active;
                return if is_active { self.check_stopped(*device, "is steered") } else { Ok(()) };
            }
            Fact::Called { device, record } => {
                let known = &mut self.devices[*device];
                known
                    .owed
                    .take_if(|module| record.role == SlotRole::Active && record.module == *module);
                let what = format!("{} is called", record.module.short());
                return self.check_stopped(*device, &what);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Expiry {
    fn check_owed(&mut self, device: usize) -> Result<(), String> {
        let owed = self.devices[device].owed.take();
        must(owed.is_none(), || {
            let module = owed.as_ref().map_or("", Digest::short);
            format!("device {device}: {module} was not called, its document says hold")
        })
    }

    fn check_taken(&self, device: usize, document: &Digest) -> Result<(), String> {
        // What never came was not taken either; that is another checker's.
        let Some(arrival) = self.devices[device].came.get(document) else { return Ok(()) };
        let tell = |what: &str| {
            let (document, at_ms) = (document.short(), arrival.expires_at_ms);
            format!("device {device}: {document} is accepted, {what} {at_ms} ms")
        };
        must(arrival.was_fresh, || tell("and came after it had expired at"))?;
        let for_ms = arrival.expired_at_ms.map_or(0, |at_ms| self.now_ms.saturating_sub(at_ms));
        must(for_ms <= TAKEN_MS, || tell("long after it had expired at"))
    }
}
