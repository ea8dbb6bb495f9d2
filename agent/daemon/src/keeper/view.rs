//! What an operator sees of the keeper, and the sign that its loop turns.

use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::results::Source;
use gnomon_schemas::{Digest, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::in_force::{Filling, InForce};

/// The keeper at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeeperView {
    /// How long it has been up (ms).
    pub up_ms: u64,
    /// The version in force.
    pub version: Option<Version>,
    /// It has yet to prove itself.
    pub on_trial: bool,
    /// It has expired, and says that the defaults hold.
    pub defaulted: bool,
    /// What fills each function.
    pub functions: BTreeMap<FunctionName, SlotsView>,
    /// Ticks since the start by where their values came from.
    pub ticks: BTreeMap<Source, u64>,
    /// The process of the active functions.
    pub runner: Option<u32>,
    /// Runners of active functions that have died.
    pub runner_deaths: u64,
}

/// What fills one function.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SlotsView {
    /// The module in control.
    pub active: Option<Digest>,
    /// What a rollback would put back, while it could.
    pub previous: Option<Digest>,
    /// Modules beside it.
    pub candidates: Vec<Digest>,
    /// The active module has yet to prove itself.
    pub on_probation: bool,
}

impl InForce {
    pub(super) fn view(&self, before: Option<&Filling>) -> SlotsView {
        let active = |filling: &Filling| Some(filling.active.as_ref()?.facts.module.clone());
        SlotsView {
            active: active(&self.filling),
            previous: before.and_then(active),
            candidates: self.filling.beside.modules().cloned().collect(),
            on_probation: self.probation.is_some(),
        }
    }
}

/// Counted by the tick loop, read by whoever watches over it.
pub struct Pulse {
    start: Instant,
    beat_ms: AtomicU64,
    active: AtomicU64,
    held: AtomicU64,
    defaults: AtomicU64,
    runner_deaths: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Pulse {
        let zero = || AtomicU64::new(0);
        Pulse {
            start: Instant::now(),
            beat_ms: zero(),
            active: zero(),
            held: zero(),
            defaults: zero(),
            runner_deaths: zero(),
        }
    }
}

impl Pulse {
    fn up_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The loop has turned once more.
    pub(super) fn beat(&self) {
        self.beat_ms.store(self.up_ms(), Ordering::Relaxed);
    }

    /// How long ago the loop turned last.
    pub fn silence(&self) -> Duration {
        let last = self.beat_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.up_ms().saturating_sub(last))
    }

    pub(super) fn count(&self, source: Source) {
        let counter = match source {
            Source::Active => &self.active,
            Source::HoldLast => &self.held,
            Source::Default => &self.defaults,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn runner_died(&self) {
        self.runner_deaths.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn view(&self) -> KeeperView {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ticks = [
            (Source::Active, of(&self.active)),
            (Source::HoldLast, of(&self.held)),
            (Source::Default, of(&self.defaults)),
        ];
        KeeperView {
            up_ms: self.up_ms(),
            ticks: ticks.into(),
            runner_deaths: of(&self.runner_deaths),
            ..KeeperView::default()
        }
    }
}
