//! Many light devices on few threads. Each thread has a runtime, a host and a share of the
//! devices, which it starts one after the other at the pace that was asked for.

use anyhow::{Context as _, Result};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::board::Board;
use super::device::{Common, Device, Order};
use crate::swarm::{Library, thread};

/// Devices that live until they are told to leave.
pub(super) struct Crowd {
    orders: watch::Sender<Order>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Crowd {
    /// Starts to start the devices of the board, so many in a second.
    ///
    /// # Errors
    /// When a thread cannot be had.
    pub(super) fn start(
        common: impl Fn(watch::Receiver<Order>) -> Common,
        board: &Arc<Board>,
        threads: usize,
        ramp_per_s: u32,
    ) -> Result<Crowd> {
        let (orders, told) = watch::channel(Order::Rest);
        let start = Instant::now();
        let spawn = |place: usize| {
            let common = common(told.clone());
            let devices = (place..board.seats.len()).step_by(threads);
            let work = move || run(&common, devices, start, ramp_per_s);
            thread().name(format!("devices-{place}")).spawn(work).context("no thread")
        };
        let threads = (0..threads).map(spawn).collect::<Result<Vec<_>>>()?;
        Ok(Crowd { orders, threads })
    }

    /// Tells all devices.
    pub(super) fn tell(&self, order: Order) {
        // With no device left there is nobody to tell, and `leave` says why.
        let _ = self.orders.send(order);
    }

    /// Ends all devices.
    ///
    /// # Errors
    /// The first that a thread met.
    pub(super) fn leave(self) -> Result<()> {
        self.tell(Order::Leave);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread of devices died"))??;
        }
        Ok(())
    }
}

fn run(
    common: &Common,
    devices: impl Iterator<Item = usize>,
    start: Instant,
    ramp_per_s: u32,
) -> Result<()> {
    let library = Rc::new(Library::new()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut living = JoinSet::new();
        for index in devices {
            let due = start + Duration::from_secs_f64(index as f64 / f64::from(ramp_per_s));
            tokio::time::sleep_until(due.into()).await;
            let device = Device::start(index, common.clone(), Rc::clone(&library))?;
            living.spawn_local(device.live());
        }
        while let Some(ended) = living.join_next().await {
            ended.context("a device panicked")??;
        }
        Ok(())
    })
}
