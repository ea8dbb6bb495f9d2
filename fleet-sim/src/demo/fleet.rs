//! Simulated devices: production agents whose actuators and sensors are plants.
//!
//! [`Account`] is kept by the plant, outside agent and cloud: it is what their
//! word is held against.

use anyhow::{Context as _, Result};
use gnomon_agent::device::{Device, Next, Tick};
use gnomon_agent::status::Status;
use gnomon_agent::{AgentConfig, AgentHandle};
use gnomon_agent_core::Clamped;
use gnomon_schemas::DeviceId;
use gnomon_schemas::histogram::Histogram;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::value::{Value, Values};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::pace::{Metronome, Pace};
use crate::closed_loop::House;

/// The only output of the water heater.
const SETPOINT: &str = "setpoint_c";
/// 2016-01-01T00:00 Eastern Standard Time (Unix time, ms): minute 0 of the world.
const WORLD_START_MS: u64 = 1_451_624_400_000;

/// What a plant has seen of its agent.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Ticks at which the actuator got a value.
    pub(super) ticks: AtomicU64,
    /// Ticks at which it got none.
    pub(super) missed: AtomicU64,
    /// Ticks at which it got one after the profile's deadline, by the wall clock.
    pub(super) late: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    max_setpoint_c: f64,
    /// From asking the agent to the value at the actuator, in microseconds.
    answer_us: Histogram,
    refused_by_plant: u64,
}

impl Account {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The highest setpoint that reached the actuator, in degrees Celsius.
    pub(super) fn max_setpoint_c(&self) -> f64 {
        self.inner().max_setpoint_c
    }

    /// How long the plant waited for its values, in microseconds of wall clock.
    pub(super) fn answer_us(&self) -> Histogram {
        self.inner().answer_us.clone()
    }

    /// Values that the plant could not take at all.
    pub(super) fn refused_by_plant(&self) -> u64 {
        self.inner().refused_by_plant
    }
}

/// A water heater in a house, as the agent's runner sees it.
pub(super) struct Heater {
    house: House,
    pace: Arc<Pace>,
    metronome: Metronome,
    account: Arc<Account>,
    function: FunctionName,
    tick: u64,
    last_tick: Option<u64>,
    unanswered: bool,
    asked_at: Instant,
    deadline: Duration,
}

impl Heater {
    /// A heater that ends after `last_tick`, or never.
    pub(super) fn new(
        house: House,
        pace: Arc<Pace>,
        account: Arc<Account>,
        (function, deadline): (FunctionName, Duration),
        last_tick: Option<u64>,
    ) -> Heater {
        let metronome = Metronome::new();
        let (tick, unanswered, asked_at) = (0, false, Instant::now());
        Heater {
            house,
            pace,
            metronome,
            account,
            function,
            tick,
            last_tick,
            unanswered,
            asked_at,
            deadline,
        }
    }

    fn readings(&self) -> Values {
        let inputs = self.house.inputs();
        #[expect(clippy::cast_precision_loss, reason = "minutes of a day")]
        let hour = (self.house.minute() % 1440) as f64 / 60.0;
        Values::from([
            ("tank_temp_c".to_owned(), Value::Float(inputs.tank_temp_c)),
            ("tank_low_temp_c".to_owned(), Value::Float(inputs.tank_low_temp_c)),
            ("hour".to_owned(), Value::Float(hour)),
            ("price_forecast".to_owned(), Value::from(inputs.price_forecast.to_vec())),
        ])
    }
}

impl Device for Heater {
    fn next_tick(&mut self, patience: Duration) -> Next {
        if std::mem::take(&mut self.unanswered) {
            self.account.missed.fetch_add(1, Ordering::SeqCst);
            self.tick += 1;
        }
        if self.last_tick.is_some_and(|last| self.tick >= last) {
            return Next::Closed;
        }
        if !self.metronome.wait(self.tick, &self.pace, patience) {
            return Next::Idle;
        }
        self.unanswered = true;
        self.asked_at = Instant::now();
        Next::Tick(Tick {
            function: self.function.clone(),
            number: self.tick,
            at_ms: WORLD_START_MS + self.house.minute() * 60_000,
            came: self.asked_at,
            inputs: self.readings(),
        })
    }

    fn actuate(&mut self, tick: &Tick, values: &Clamped) {
        if !std::mem::take(&mut self.unanswered) || tick.number != self.tick {
            return;
        }
        self.tick += 1;
        let answer = self.asked_at.elapsed();
        let answer_us = u64::try_from(answer.as_micros()).unwrap_or(u64::MAX);
        if answer > self.deadline {
            self.account.late.fetch_add(1, Ordering::SeqCst);
        }
        let setpoint_c = values.values().get(SETPOINT).and_then(Value::as_f64);
        let applied = setpoint_c.map(|setpoint_c| self.house.apply(setpoint_c));
        let mut account = self.account.inner();
        account.answer_us.record(answer_us);
        match (setpoint_c, applied) {
            (Some(setpoint_c), Some(Ok(_))) => {
                account.max_setpoint_c = account.max_setpoint_c.max(setpoint_c);
                self.account.ticks.fetch_add(1, Ordering::SeqCst);
            }
            _ => account.refused_by_plant += 1,
        }
    }
}

/// One simulated device: its agent and what its plant has seen.
pub(super) struct Member {
    pub(super) device: DeviceId,
    pub(super) account: Arc<Account>,
    pub(super) data: PathBuf,
    pub(super) agent: Option<AgentHandle>,
}

impl Member {
    /// Starts the agent of a device on the current runtime.
    pub(super) fn start(
        config: AgentConfig,
        data: PathBuf,
        heater: Heater,
        swaps: std::sync::mpsc::Sender<gnomon_agent::Swapped>,
    ) -> Result<Member> {
        let device = config.identity.device.clone();
        let account = Arc::clone(&heater.account);
        let agent = gnomon_agent::start(config, &data, Box::new(heater), Some(swaps))
            .with_context(|| format!("agent of {device}"))?;
        Ok(Member { device, account, data, agent: Some(agent) })
    }

    /// Batches that the agent ever appended to its outbox, and those that still
    /// wait, as the agent's status tells an operator.
    pub(super) fn outbox(&self) -> Result<Outbox> {
        let status = Status::of(&self.data).store.context("the store cannot be read")?;
        let waiting = status.outbox.values().map(|amount| amount.rows).sum();
        Ok(Outbox { appended: status.appended, waiting })
    }
}

/// What a device's outbox has seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outbox {
    pub(super) appended: u64,
    pub(super) waiting: u64,
}
