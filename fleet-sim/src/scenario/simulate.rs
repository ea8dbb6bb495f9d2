//! All devices of all variants, on as many threads as there are cores.
//!
//! Owns the threads and the order in which results are put together, which is that of
//! variants and devices: the figures do not depend on how many threads there were. Refuses to
//! know what a device does.

use gnomon_host::THREAD_STACK_BYTES;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::controller::Program;
use super::device;
use super::file::{Scenario, Variant};
use super::measure::{Aggregate, Tracker};
use super::quantity::Quantity;
use super::replay;
use super::site::{DAY_STEPS, Place, PlantFile};

/// Most values that percentiles may keep: 800 MB.
const SAMPLES_MAX: u64 = 100_000_000;

/// What came of one variant.
#[derive(Debug, Clone)]
pub(super) struct VariantResult {
    pub(super) trackers: Vec<Tracker>,
    /// Sum of each quantity over ticks and devices; NaN for readings that had gaps.
    pub(super) sums: Vec<f64>,
}

/// What came of a scenario, and how fast.
#[derive(Debug, Clone)]
pub(super) struct Simulated {
    pub(super) variants: Vec<VariantResult>,
    pub(super) speed: Speed,
}

/// How fast a scenario ran.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Days of devices, all variants together; 0 for a replay.
    pub device_days: f64,
    /// From start to end.
    pub wall: Duration,
    /// Threads that worked.
    pub threads: usize,
    /// Wall clock that the threads spent at work, added up.
    pub busy: Duration,
}

impl Speed {
    /// Device-days that one core does in a minute of wall clock.
    pub fn device_days_per_minute_and_core(&self) -> f64 {
        self.device_days / self.busy.as_secs_f64() * 60.0
    }
}

impl Scenario {
    /// A tracker for each quantity that an assertion names, ready for its aggregates.
    pub(super) fn trackers(&self) -> Result<Vec<Tracker>, String> {
        let mut trackers: Vec<Tracker> = vec![];
        for measured in self.assertions.iter().flat_map(|assertion| assertion.measured()) {
            let place = trackers.iter().position(|of| of.quantity == measured.quantity);
            let place = place.unwrap_or_else(|| {
                trackers.push(Tracker::new(measured.quantity));
                trackers.len() - 1
            });
            trackers[place].wants(measured.aggregate);
        }
        let kept = trackers.iter().filter(|tracker| tracker.keeps_samples()).count() as u64;
        let values = kept * self.minutes * self.devices * self.variants.len() as u64;
        if values > SAMPLES_MAX {
            return Err(format!(
                "p95 would keep {values} values, at most {SAMPLES_MAX}: take fewer devices or \
                 days, or count the ticks beyond a threshold"
            ));
        }
        Ok(trackers)
    }

    /// What all devices of a variant have in common.
    pub(super) fn variant<'a>(
        &'a self,
        variant: usize,
        programs: &'a [Program],
    ) -> device::Variant<'a> {
        device::Variant {
            name: &self.variant_names[variant],
            programs,
            faults: &self.faults,
            of_site: self.plant.quantities().len(),
            quantities: self.quantities.len(),
            minutes: self.minutes,
        }
    }

    /// The functions of each variant for one thread: the first thread's are there already.
    fn programs(&self, thread: usize) -> Result<Vec<Cow<'_, [Program]>>, String> {
        if thread == 0 {
            let ready = self.variants.iter().map(|variant| Cow::Borrowed(&variant.programs[..]));
            return Ok(ready.collect());
        }
        let host = super::host().map_err(|error| error.to_string())?;
        let admit = |variant: &Variant| variant.admit(&host, &self.profile).map(Cow::Owned);
        self.variants.iter().map(admit).collect()
    }

    fn run_one(
        &self,
        (variant, programs): (usize, &[Program]),
        device: u64,
        trackers: &[Tracker],
    ) -> Run {
        let mut result =
            VariantResult { trackers: trackers.to_vec(), sums: vec![0.0; self.quantities.len()] };
        let (spec, name) = (&self.variants[variant], &self.variant_names[variant]);
        let VariantResult { trackers, sums } = &mut result;
        if let PlantFile::Replay(_) = self.plant {
            let program = programs.first().ok_or("no function to replay")?;
            replay::run(program, spec.recorded_params, &self.records, trackers, sums)
                .map_err(|message| format!("variant {name}: {message}"))?;
            return Ok(result);
        }
        let place = Place {
            world: self.world.clone(),
            start_hour: self.start_hour,
            seed: self.seed,
            device,
        };
        let of_device = |message| format!("variant {name}, device {device}: {message}");
        let mut site = self.plant.site(&place, &self.profile).map_err(of_device)?;
        let variant = self.variant(variant, programs);
        device::run(&variant, &place, site.as_mut(), trackers, sums).map_err(of_device)?;
        Ok(result)
    }

    /// Runs everything. `progress` hears of each device that is done.
    ///
    /// # Errors
    /// What a plant refused, or that the run would not fit in memory.
    pub(super) fn simulate(
        &self,
        threads: Option<usize>,
        progress: &(dyn Fn() + Sync),
    ) -> Result<Simulated, String> {
        let trackers = self.trackers()?;
        let per_variant = usize::try_from(self.devices).unwrap_or(usize::MAX);
        let jobs = per_variant * self.variants.len();
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = threads.unwrap_or(cores).clamp(1, jobs);
        let next = AtomicUsize::new(0);
        let none = VariantResult { trackers, sums: vec![0.0; self.quantities.len()] };
        let merged = Mutex::new(Merged {
            variants: vec![none.clone(); self.variants.len()],
            per_variant,
            next: 0,
            waiting: BTreeMap::new(),
            refused: None,
        });
        let started = Instant::now();
        let work = &|thread| {
            let programs = match self.programs(thread) {
                Ok(programs) => programs,
                Err(message) => {
                    let mut merged = merged.lock().unwrap_or_else(PoisonError::into_inner);
                    merged.refused.get_or_insert(message);
                    return Duration::ZERO;
                }
            };
            let started = Instant::now();
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= jobs {
                    return started.elapsed();
                }
                let device = (job % per_variant) as u64;
                let variant = job / per_variant;
                let run = self.run_one((variant, &programs[variant]), device, &none.trackers);
                let mut merged = merged.lock().unwrap_or_else(PoisonError::into_inner);
                merged.add(job, run);
                drop(merged);
                progress();
            }
        };
        let mut busy = Duration::ZERO;
        std::thread::scope(|scope| {
            let spawn = |number| {
                let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES);
                thread.spawn_scoped(scope, move || work(number))
            };
            let workers: Vec<_> = (0..threads).map(spawn).collect();
            for worker in workers {
                let worker = worker.map_err(|error| format!("no thread to work on: {error}"))?;
                busy += worker.join().map_err(|_| "a thread died; please report it".to_owned())?;
            }
            Ok::<_, String>(())
        })?;
        let wall = started.elapsed();
        let merged = merged.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = merged.refused {
            return Err(message);
        }
        let variants = merged.variants;
        let device_days = jobs as f64 * self.minutes as f64 / DAY_STEPS as f64;
        Ok(Simulated { variants, speed: Speed { device_days, wall, threads, busy } })
    }

    /// The quantity's place in the list.
    pub(super) fn quantity(&self, place: usize) -> &Quantity {
        &self.quantities[place]
    }
}

type Run = Result<VariantResult, String>;

/// Results put together in the order of the jobs; those that come early wait.
struct Merged {
    variants: Vec<VariantResult>,
    per_variant: usize,
    next: usize,
    waiting: BTreeMap<usize, Run>,
    /// The first that could not run.
    refused: Option<String>,
}

impl Merged {
    fn add(&mut self, job: usize, run: Run) {
        self.waiting.insert(job, run);
        while let Some(run) = self.waiting.remove(&self.next) {
            match run {
                Ok(run) => self.variants[self.next / self.per_variant].merge(&run),
                Err(message) => drop(self.refused.get_or_insert(message)),
            }
            self.next += 1;
        }
    }
}

impl VariantResult {
    fn merge(&mut self, other: &VariantResult) {
        for (mine, others) in self.trackers.iter_mut().zip(&other.trackers) {
            mine.merge(others);
        }
        for (mine, others) in self.sums.iter_mut().zip(&other.sums) {
            *mine += others;
        }
    }
}

impl Simulated {
    /// An aggregate of a quantity in a variant.
    pub(super) fn value(&self, variant: usize, quantity: usize, aggregate: Aggregate) -> f64 {
        self.tracker(variant, quantity).map_or(f64::NAN, |tracker| tracker.value(aggregate))
    }

    /// What was kept of a quantity in a variant.
    pub(super) fn tracker(&self, variant: usize, quantity: usize) -> Option<&Tracker> {
        self.variants[variant].trackers.iter().find(|tracker| tracker.quantity == quantity)
    }
}
