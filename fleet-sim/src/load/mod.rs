//! Load: many light devices over real MQTT against a cloud and a broker in processes of
//! their own, on this machine only. One run is a fixed course: connect, publish, report,
//! drain, reconnect; every step is bounded in time, and the run ends by itself.

mod board;
mod crowd;
mod device;
mod identity;
mod processes;
mod reference;
mod report;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use gnomon::keys::PrivateKey;
use gnomon_schemas::succession::verify_first_root;
use gnomon_schemas::{Digest, FleetId};
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::cloud_api::Cloud;
use crate::functions::{price_params, tou_params};
use crate::swarm::library::PROFILE;
use board::{Board, Seat, now_ms};
use crowd::Crowd;
use device::{Common, Order, name};
use processes::{Broker, CloudProcess, Memory, processor_s};

pub use processes::{BrokerChoice, end_with_parent};
pub use report::{
    Connecting, Draining, LoadReport, Milliseconds, Publishing, Reconnecting, Steady, Weight,
};

const FLEET: &str = "load";
/// Ticks that one summary is made of, and evaluations that one record stands for.
const SUMMARY_TICKS: u32 = 5;
const RECORD_EVERY: u32 = 5;
/// The most records a day: load is what is wanted.
const RECORD_BYTES_PER_DAY_MAX: u64 = 1 << 40;

/// `fleet-sim load`.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    /// Light devices.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=9000))]
    pub devices: u32,
    /// `embedded`, `mosquitto` (started for this run), or mqtt://127.0.0.1:PORT of a broker
    /// that runs on this machine.
    #[arg(long, default_value = "embedded")]
    pub broker: BrokerChoice,
    /// Mutual TLS to the embedded broker, with a certificate for each device.
    #[arg(long)]
    pub tls: bool,
    /// Devices that connect in a second.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub ramp: u32,
    /// Threads for all devices together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: u8,
    /// How long devices tick and report, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// From one tick of a device to the next, in milliseconds.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    pub tick_ms: u32,
    /// Batches that each device holds back for the drain.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub backlog: u32,
    /// How long each step may take, in seconds.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub patience: u32,
    /// Leave out what the same costs without Gnomon.
    #[arg(long)]
    pub no_reference: bool,
    /// Write the figures to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// Runs it, and prints what was found; `false` when a promise was broken.
///
/// # Errors
/// When it could not be run to its end.
pub fn run(options: &LoadOptions) -> Result<bool> {
    let report = measure(options)?;
    println!("{report}");
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.holds())
}

/// Runs it.
///
/// # Errors
/// When it could not be run to its end.
pub fn measure(options: &LoadOptions) -> Result<LoadReport> {
    let start = Instant::now();
    let mut stage = Stage::set(options)?;
    let crowd = stage.connect()?;
    stage.publish()?;
    stage.report_for_a_while(&crowd);
    stage.drain(&crowd)?;
    stage.reconnect(&crowd);
    stage.settle()?;
    crowd.leave()?;
    if !options.no_reference {
        stage.compare()?;
    }
    stage.report.wall_clock_s = start.elapsed().as_secs_f64();
    Ok(stage.report)
}

struct Stage<'a> {
    options: &'a LoadOptions,
    patience: Duration,
    folder: tempfile::TempDir,
    broker: Option<Broker>,
    process: CloudProcess,
    cloud: Cloud,
    approver: PrivateKey,
    modules: [Digest; 2],
    tls: Option<Arc<Vec<Arc<ClientConfig>>>>,
    board: Arc<Board>,
    report: LoadReport,
}

impl Stage<'_> {
    /// Starts cloud and broker, and registers all devices.
    fn set(options: &LoadOptions) -> Result<Stage<'_>> {
        ensure!(
            !options.tls || options.broker == BrokerChoice::Embedded,
            "--tls is for the embedded broker, which knows the fleet's authority; leave out \
             --broker"
        );
        let folder = tempfile::Builder::new().prefix("gnomon-load-").tempdir()?;
        let broker = Broker::start(&options.broker, folder.path())?;
        let process = CloudProcess::start(folder.path(), FLEET, broker.as_ref(), options.tls)?;
        let cloud = Cloud::new(process.http.clone());
        let key = |name: &str| PrivateKey::read(&folder.path().join("cloud/keys").join(name));
        let (publisher, approver) = (key("publisher.pem")?, key("approver.pem")?);
        cloud.post("/v1/profiles", PROFILE)?;
        let modules = [
            cloud.upload(gnomon_examples::WATER_HEATER_TOU, &publisher)?,
            cloud.upload(gnomon_examples::WATER_HEATER_PRICE, &publisher)?,
        ];
        let board = Arc::new(Board::new(options.devices as usize));
        let name = match &options.broker {
            BrokerChoice::Embedded if options.tls => "embedded, mutual TLS".to_owned(),
            BrokerChoice::Embedded => "embedded".to_owned(),
            BrokerChoice::Mosquitto => "mosquitto".to_owned(),
            BrokerChoice::Running(address) => address.to_string(),
        };
        let report =
            LoadReport { devices: board.seats.len(), broker: name, ..LoadReport::default() };
        let patience = Duration::from_secs(u64::from(options.patience));
        let mut stage = Stage {
            options,
            patience,
            folder,
            broker,
            process,
            cloud,
            approver,
            modules,
            tls: None,
            board,
            report,
        };
        stage.weigh(|weight, memory| weight.before_bytes = memory.resident_bytes);
        stage.register()?;
        Ok(stage)
    }

    /// Notes what the processes weigh.
    fn weigh(&mut self, note: impl Fn(&mut Weight, Memory)) {
        note(&mut self.report.cloud, Memory::of(self.process.pid()));
        if let Some(pid) = self.broker.as_ref().and_then(|broker| broker.pid) {
            note(self.report.broker_process.get_or_insert_default(), Memory::of(pid));
        }
    }

    fn register(&mut self) -> Result<()> {
        self.set_active(0)?;
        let start = Instant::now();
        for index in 0..self.board.seats.len() {
            let body = json!({"device": name(index), "profile": "water-heater"});
            self.cloud.post("/v1/devices", &serde_json::to_vec(&body)?)?;
            // What is approved for one is approved for all that come.
            if index == 0 {
                self.approve()?;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let devices = self.board.seats.len();
        self.report.connecting.registered_per_s = devices as f64 / seconds;
        if self.options.tls {
            let start = Instant::now();
            let (http, folder) = (&self.process.http, self.folder.path());
            self.tls = Some(Arc::new(identity::enrol(&self.cloud, http, folder, devices)?));
            let per_s = devices as f64 / start.elapsed().as_secs_f64();
            self.report.connecting.enrolled_per_s = Some(per_s);
        }
        Ok(())
    }

    fn set_active(&self, module: usize) -> Result<()> {
        let params = [tou_params(), price_params()];
        let active = json!({"module": self.modules[module], "params": params[module]});
        let layer = json!({
            "functions": {"setpoint": {"active": active}},
            "reporting": {"summary_ticks": SUMMARY_TICKS, "record_every": RECORD_EVERY,
                "record_bytes_per_day_max": RECORD_BYTES_PER_DAY_MAX},
        });
        self.cloud.patch("/v1/fleet/desired", &layer).map(drop)
    }

    fn approve(&self) -> Result<usize> {
        let fleet: FleetId = FLEET.parse()?;
        self.cloud.approve_all(&fleet, &self.approver)
    }

    fn connect(&mut self) -> Result<Crowd> {
        let root = verify_first_root(&self.cloud.bytes("/v1/trust")?)?.into_payload();
        let (broker, board) = (self.process.mqtt, Arc::clone(&self.board));
        let common = |orders| Common {
            root: root.clone(),
            fleet: FLEET.to_owned(),
            broker,
            tls: self.tls.clone(),
            board: Arc::clone(&board),
            orders,
        };
        let threads = usize::from(self.options.threads);
        let start = Instant::now();
        let crowd = Crowd::start(common, &self.board, threads, self.options.ramp)?;
        let ramp = self.board.seats.len() as f64 / f64::from(self.options.ramp);
        let patience = self.patience + Duration::from_secs_f64(ramp);
        self.report.connecting.converged = self.board.wait(patience, |_, seat| version(seat) > 0);
        self.report.connecting.seconds = start.elapsed().as_secs_f64();
        self.weigh(|weight, memory| weight.connected_bytes = memory.resident_bytes);
        Ok(crowd)
    }

    /// Another module for all, from approval to in force.
    fn publish(&mut self) -> Result<()> {
        self.set_active(1)?;
        let most = |of: fn(&Seat) -> &AtomicU64| self.board.each(of).into_iter().max().unwrap_or(0);
        let newest = most(|seat| &seat.version);
        self.board.take_taken_us();
        let (start, start_ms) = (Instant::now(), now_ms());
        let waited = self.approve()?;
        ensure!(waited == self.board.seats.len(), "{waited} devices waited for an approval");
        self.report.publishing.signed_s = start.elapsed().as_secs_f64();
        let converged = self.board.wait(self.patience, |_, seat| version(seat) > newest);
        let (arrived_ms, last_ms) = (most(|seat| &seat.arrived_ms), most(|seat| &seat.since_ms));
        let taken = self.board.take_taken_us();
        let known = self.cloud.converge(self.board.seats.len() as u64)?;
        ensure!(known as usize >= converged, "the cloud knows of {known} devices in sync only");
        let devices = self.cloud.get("/v1/devices")?;
        let (mut in_force, mut told, mut first_ms) = (vec![], vec![], u64::MAX);
        for (index, seat) in self.board.seats.iter().enumerate() {
            let Some(device) = devices.get(index).filter(|d| d["device"] == name(index)) else {
                continue;
            };
            let at = |field: &str| device["desired"][field].as_u64();
            let (Some(published), Some(applied)) = (at("published_at_ms"), at("applied_at_ms"))
            else {
                continue;
            };
            first_ms = first_ms.min(published);
            in_force.push(seat.since_ms.load(Ordering::SeqCst).saturating_sub(published));
            told.push(applied.saturating_sub(published));
        }
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e3;
        self.report.publishing = Publishing {
            converged,
            document_bytes: self.board.document_bytes.load(Ordering::SeqCst),
            converged_s: seconds(start_ms, last_ms),
            fan_out_s: seconds(first_ms, arrived_ms),
            taken_us: (taken.quantile(0.5), taken.quantile(0.99)),
            to_in_force: Milliseconds::of(in_force),
            to_known: Milliseconds::of(told),
            ..self.report.publishing
        };
        Ok(())
    }

    fn report_for_a_while(&mut self, crowd: &Crowd) {
        let count = |of: fn(&Seat) -> &AtomicU64| self.board.sum(of) as f64;
        let look = || {
            [
                count(|seat| &seat.calls),
                count(|seat| &seat.made),
                count(|seat| &seat.stored),
                count(|seat| &seat.bytes_in),
                count(|seat| &seat.bytes_out),
                processor_s(self.process.pid()),
            ]
        };
        // What came before, of refusals say, is not of this step.
        self.board.take_stored_ms();
        crowd.tell(Order::Tick(Duration::from_millis(u64::from(self.options.tick_ms))));
        // Everybody is under way before anything counts.
        std::thread::sleep(Duration::from_millis(u64::from(self.options.tick_ms)));
        let (start, before) = (Instant::now(), look());
        std::thread::sleep(Duration::from_secs(u64::from(self.options.seconds)));
        let (seconds, after) = (start.elapsed().as_secs_f64(), look());
        crowd.tell(Order::Rest);
        let per_s = |place: usize| (after[place] - before[place]) / seconds;
        let a_device = 60.0 / self.board.seats.len() as f64;
        self.report.steady = Steady {
            seconds,
            calls_per_s: per_s(0),
            made_per_s: per_s(1),
            stored_per_s: per_s(2),
            to_stored: Milliseconds::of_histogram(&self.board.take_stored_ms()),
            bytes_in_per_minute: per_s(3) * a_device,
            bytes_out_per_minute: per_s(4) * a_device,
            cloud_processors: per_s(5),
        };
    }

    /// What a fleet that was away has to tell.
    fn drain(&mut self, crowd: &Crowd) -> Result<()> {
        self.stored(self.patience)?;
        let backlog = u64::from(self.options.backlog);
        let made = self.board.each(|seat| &seat.made);
        crowd.tell(Order::Hoard(backlog));
        let ready = self
            .board
            .wait(self.patience, |at, seat| seat.made.load(Ordering::SeqCst) >= made[at] + backlog);
        ensure!(ready == made.len(), "only {ready} of {} devices fill their outbox", made.len());
        crowd.tell(Order::Drain);
        let start = Instant::now();
        self.stored(self.patience)?;
        let seconds = start.elapsed().as_secs_f64();
        let batches = self.board.sum(|seat| &seat.made) - made.iter().sum::<u64>();
        let stored_per_s = batches as f64 / seconds;
        self.report.draining = Draining { batches, seconds, stored_per_s, ..Draining::default() };
        Ok(())
    }

    /// Waits until all that was made is acknowledged.
    fn stored(&self, patience: Duration) -> Result<()> {
        let is_stored =
            |_, seat: &Seat| seat.stored.load(Ordering::SeqCst) == seat.made.load(Ordering::SeqCst);
        let done = self.board.wait(patience, is_stored);
        let all = self.board.seats.len();
        ensure!(done == all, "{done} of {all} devices emptied their outbox within {patience:?}");
        Ok(())
    }

    fn reconnect(&mut self, crowd: &Crowd) {
        let documents = self.board.each(|seat| &seat.documents);
        let start = Instant::now();
        crowd.tell(Order::Reconnect);
        let back = self.board.wait(self.patience, |at, seat| {
            seat.connected.load(Ordering::SeqCst)
                && seat.documents.load(Ordering::SeqCst) > documents[at]
        });
        let seconds = start.elapsed().as_secs_f64();
        self.report.reconnecting = Reconnecting { back, seconds };
    }

    /// Holds the cloud's word against the devices'.
    fn settle(&mut self) -> Result<()> {
        self.stored(self.patience)?;
        self.weigh(|weight, memory| {
            weight.after_bytes = memory.resident_bytes;
            weight.peak_bytes = memory.peak_bytes;
        });
        let devices = self.board.seats.len() as u64;
        let weights = [Some(&mut self.report.cloud), self.report.broker_process.as_mut()];
        for weight in weights.into_iter().flatten() {
            let grown = weight.connected_bytes.saturating_sub(weight.before_bytes);
            weight.per_device_bytes = grown / devices;
        }
        let status = self.cloud.get("/v1/status")?;
        let refused = |field: &str| -> u64 {
            let counts = status[field].as_object().into_iter().flat_map(|counts| counts.values());
            counts.filter_map(Value::as_u64).sum()
        };
        self.report.refused =
            refused("refused") + refused("refused_by_devices") + self.board.sum(|s| &s.refused);
        self.report.batches_made = self.board.sum(|seat| &seat.made);
        self.report.batches_stored = status["batches_stored"].as_u64().unwrap_or(0);
        Ok(())
    }

    /// The same without Gnomon: a fresh broker of the same kind, and SQLite.
    fn compare(&mut self) -> Result<()> {
        let bytes = usize::try_from(self.report.publishing.document_bytes)?;
        let clients = self.board.seats.len();
        let folder = tempfile::Builder::new().prefix("gnomon-bare-").tempdir()?;
        let broker = Broker::start(&self.options.broker, folder.path())?;
        // The embedded one comes with a cloud that has nothing to do.
        let idle = match &broker {
            None => Some(CloudProcess::start(folder.path(), "bare", None, false)?),
            Some(_) => None,
        };
        let own = idle.as_ref().map(|cloud| (cloud.mqtt, Some(cloud.pid())));
        let is_fresh = !matches!(self.options.broker, BrokerChoice::Running(_));
        let other = broker.as_ref().map(|b| (b.address, b.pid.filter(|_| is_fresh)));
        let at = own.or(other).context("no broker to compare with")?;
        let bare = reference::fan_out(at, clients, bytes, self.patience)?;
        self.report.publishing.bare_fan_out_s = Some(bare.fan_out_s);
        self.report.publishing.fan_out_ratio =
            Some(self.report.publishing.fan_out_s / bare.fan_out_s);
        let weight = self.report.broker_process.as_mut().unwrap_or(&mut self.report.cloud);
        weight.per_plain_client_bytes = bare.per_client_bytes;
        let batches = usize::try_from(self.report.draining.batches)?;
        let bare = reference::insert(self.folder.path(), &self.board.examples(), batches)?;
        self.report.draining.bare_insert_per_s = Some(bare);
        self.report.draining.insert_ratio = Some(bare / self.report.draining.stored_per_s);
        Ok(())
    }
}

fn version(seat: &Seat) -> u64 {
    seat.version.load(Ordering::SeqCst)
}
