//! The story, in order: start, enrol, publish v1, shadow v2, compare, promote,
//! attack, count. Whatever brings code is approved by a second key.

use anyhow::{Context as _, Result, ensure};
use gnomon::keys::PrivateKey;
use gnomon::serve::{Running, ServeOptions};
use gnomon_agent::{AgentConfig, Swapped};
use gnomon_agent_core::Identity;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::succession::verify_first_root;
use gnomon_schemas::{DeviceId, Digest, FleetId};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::fleet::{Heater, Member};
use super::pace::Pace;
use super::report::{CandidateReport, DemoReport};
use super::{DemoOptions, attacks, count};
use crate::closed_loop::{House, HouseSpec};
use crate::cloud_api::Cloud;
use crate::functions::{price_params, tou_params};
use crate::world::{DeviceVariation, World};

const PROFILE: &[u8] = include_bytes!("../../../schemas/examples/profile.json");
/// How long the fleet may take to reach a tick or to empty its outboxes.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// Everything that takes part.
pub(super) struct Stage {
    pub(super) options: DemoOptions,
    pub(super) world: Arc<World>,
    pub(super) start_hour: u64,
    pub(super) profile: Profile,
    pub(super) profile_digest: Digest,
    pub(super) function: FunctionName,
    pub(super) fleet: FleetId,
    pub(super) folder: tempfile::TempDir,
    pub(super) cloud: Cloud,
    approver: PrivateKey,
    pub(super) running: Running,
    pub(super) pace: Arc<Pace>,
    pub(super) members: Vec<Member>,
    pub(super) swaps: Receiver<Swapped>,
    pub(super) modules: Modules,
    pub(super) candidate: CandidateReport,
}

/// The modules that take part.
pub(super) struct Modules {
    pub(super) v1: Digest,
    pub(super) v2: Digest,
    pub(super) hot: Digest,
}

/// Tells the whole story.
pub(super) async fn tell(options: &DemoOptions) -> Result<DemoReport> {
    let start = Instant::now();
    say("Gnomon demo: code as configuration for a fleet of water heaters");
    let mut stage = Stage::set(options).await?;
    stage.publish_v1()?;
    stage.shadow_v2()?;
    stage.promote_v2()?;
    stage.attack().await?;
    say("\n5. The same days and draws in a closed loop, once under each function");
    let mut report = count::count(&stage)?;
    report.wall_clock_s = start.elapsed().as_secs_f64();
    println!("\n{}", report.to_text());
    stage.end(options.headless).await?;
    Ok(report)
}

fn say(text: &str) {
    println!("{text}");
}

impl Stage {
    async fn set(options: &DemoOptions) -> Result<Stage> {
        let world = Arc::new(World::load(options.folder().as_deref())?);
        let start_hour = world.start_hour(&options.start)?;
        let (profile, profile_digest) = Profile::parse(PROFILE)?;
        let function: FunctionName = "setpoint".parse()?;
        let fleet: FleetId = "demo".parse()?;
        let folder = tempfile::Builder::new().prefix("gnomon-demo-").tempdir()?;
        let any: SocketAddr = "127.0.0.1:0".parse()?;
        let running = gnomon::serve::start(ServeOptions {
            data_dir: folder.path().join("cloud"),
            fleet: fleet.clone(),
            http: any,
            http_tls: gnomon::serve::HttpTls::Off,
            mqtt: any,
            broker: None,
            // Hundreds of devices on one machine; certificates would show nothing here.
            identity: gnomon::identity::IdentityOptions::insecure(),
        })
        .await?;
        let cloud = Cloud::new(running.http_url());
        let place = if world.is_built_in() { "the built-in table" } else { "real Ontario prices" };
        say(&format!(
            "  cloud    {}, broker {}\n  world    {} days from {} on {place}",
            running.http_url(),
            running.mqtt_url(),
            options.days,
            options.start,
        ));
        let publisher = PrivateKey::read(&running.data_dir().join("keys/publisher.pem"))?;
        let approver = PrivateKey::read(&running.data_dir().join("keys/approver.pem"))?;
        cloud.post("/v1/profiles", PROFILE)?;
        let modules = Modules {
            v1: cloud.upload(gnomon_examples::WATER_HEATER_TOU, &publisher)?,
            v2: cloud.upload(gnomon_examples::WATER_HEATER_PRICE, &publisher)?,
            hot: cloud.upload(gnomon_examples::WATER_HEATER_HOT, &publisher)?,
        };
        let (observer, swaps) = channel();
        let mut stage = Stage {
            options: options.clone(),
            world,
            start_hour,
            profile,
            profile_digest,
            function,
            fleet,
            folder,
            cloud,
            approver,
            running,
            pace: Arc::new(Pace::new(options.speed)),
            members: vec![],
            swaps,
            modules,
            candidate: CandidateReport::default(),
        };
        stage.enrol(&observer)?;
        Ok(stage)
    }

    /// Registers every device and starts its agent.
    fn enrol(&mut self, observer: &std::sync::mpsc::Sender<Swapped>) -> Result<()> {
        for index in 0..self.options.devices {
            let device: DeviceId = format!("heater-{:03}", index + 1).parse()?;
            let body = json!({"device": device, "profile": self.profile_digest});
            self.cloud.post("/v1/devices", &serde_json::to_vec(&body)?)?;
            let heater = self.heater(index, Some(self.ticks()))?;
            let data = self.folder.path().join(device.as_str());
            self.members.push(Member::start(self.config(device)?, data, heater, observer.clone())?);
        }
        say(&format!("  fleet    {} agents enrolled, each with its own store", self.members.len()));
        Ok(())
    }

    fn config(&self, device: DeviceId) -> Result<AgentConfig> {
        let root = verify_first_root(&self.cloud.bytes("/v1/trust")?)?.into_payload();
        let broker = self.broker()?;
        Ok(AgentConfig {
            identity: Identity {
                fleet: self.fleet.clone(),
                device,
                profile: self.profile.clone(),
                profile_digest: self.profile_digest.clone(),
            },
            root,
            later_roots: vec![],
            broker: (broker.ip().to_string(), broker.port()),
            mutual: None,
        })
    }

    fn broker(&self) -> Result<SocketAddr> {
        self.running.mqtt_addr().context("no embedded broker")
    }

    fn heater(&self, index: u32, last_tick: Option<u64>) -> Result<Heater> {
        let variation = DeviceVariation::of(u64::from(index));
        let world = Arc::clone(&self.world);
        let house = House::new(&HouseSpec::default(), world, variation, self.start_hour)?;
        let account = Arc::default();
        let role = self.profile.functions.get(&self.function).context("no such function")?;
        let function = (self.function.clone(), Duration::from_millis(role.deadline_ms));
        Ok(Heater::new(house, Arc::clone(&self.pace), account, function, last_tick))
    }

    /// Ticks of the whole story, per device.
    fn ticks(&self) -> u64 {
        u64::from(self.options.days) * 1440
    }

    pub(super) fn devices(&self) -> u64 {
        u64::from(self.options.devices)
    }

    fn converge(&self, what: &str) -> Result<()> {
        let start = Instant::now();
        let converged = self.cloud.converge(self.devices())?;
        let all = self.devices();
        say(&format!(
            "  {what}: {converged} of {all} in sync after {} ms",
            start.elapsed().as_millis()
        ));
        ensure!(converged == all, "{what}: the fleet did not converge");
        Ok(())
    }

    /// What brings code waits for a second person; this is that person.
    fn approve(&self) -> Result<()> {
        let devices = self.cloud.approve_all(&self.fleet, &self.approver)?;
        ensure!(devices as u64 == self.devices(), "{devices} devices waited for an approval");
        say(&format!("  {devices} devices wait; a second person approves with a key of their own"));
        Ok(())
    }

    fn publish_v1(&mut self) -> Result<()> {
        say("\n1. Publish water-heater-tou (v1: heats in off-peak hours) to the fleet");
        let active = json!({"module": self.modules.v1, "params": tou_params()});
        self.cloud.set_fleet(&active, &json!([]))?;
        self.approve()?;
        self.converge("v1 in control")?;
        self.run_to(self.ticks() * 2 / 7, "v1 runs")
    }

    fn shadow_v2(&mut self) -> Result<()> {
        say("\n2. Put water-heater-price (v2: plans over 24 hours of prices) in shadow");
        self.pace.run_to(self.ticks() * 5 / 7);
        let active = json!({"module": self.modules.v1, "params": tou_params()});
        let candidate = json!({"module": self.modules.v2, "params": price_params()});
        self.cloud.set_fleet(&active, &json!([candidate]))?;
        self.approve()?;
        self.converge("v2 beside v1")?;
        self.run_to(self.ticks() * 5 / 7, "v2 in shadow")
    }

    /// The comparison, once the results of the shadow run are in.
    fn compare(&self) -> Result<CandidateReport> {
        let path =
            format!("/v1/functions/{}/comparison?candidate={}", self.function, self.modules.v2);
        let comparison = self.cloud.get(&path)?;
        let output = &comparison["outputs"]["setpoint_c"];
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or(0.0);
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["shadow run: v2 beside v1", "setpoint_c"]);
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        table.add_rows([
            [
                "devices, intervals".to_owned(),
                format!("{}, {}", comparison["devices"], comparison["intervals"]),
            ],
            ["evaluations".to_owned(), comparison["evaluations"].to_string()],
            ["coverage".to_owned(), percent(number(&comparison["coverage"]))],
            [
                "differs by more than the tolerance".to_owned(),
                percent(number(&output["mismatch_rate"])),
            ],
            ["mean difference".to_owned(), format!("{:+.2} C", number(&output["mean_difference"]))],
            [
                "mean absolute difference".to_owned(),
                format!("{:.2} C", number(&output["mean_abs_difference"])),
            ],
            [
                "greatest difference".to_owned(),
                format!("{:.2} C", number(&output["abs_difference_max"])),
            ],
            [
                "faults, would be clamped".to_owned(),
                format!("{}, {}", comparison["faults"], comparison["clamped"]),
            ],
            [
                "fuel p50 of v2, of v1".to_owned(),
                format!(
                    "{}, {}",
                    comparison["candidate_cost"]["fuel_p50"], comparison["active_cost"]["fuel_p50"]
                ),
            ],
        ]);
        println!("{table}");
        say("  (decisions on inputs that v1 shaped; what they lead to is measured below)");
        Ok(CandidateReport {
            mismatch_rate: number(&output["mismatch_rate"]),
            mean_abs_difference: number(&output["mean_abs_difference"]),
            coverage: number(&comparison["coverage"]),
        })
    }

    fn promote_v2(&mut self) -> Result<()> {
        self.candidate = self.compare()?;
        say("\n3. Promote v2: a hot swap between two ticks");
        self.pace.run_to(self.ticks() * 6 / 7);
        let active = json!({"module": self.modules.v2, "params": price_params()});
        self.cloud.set_fleet(&active, &json!([]))?;
        self.approve()?;
        self.converge("v2 in control")?;
        self.run_to(self.ticks() * 6 / 7, "v2 runs")
    }

    async fn attack(&mut self) -> Result<()> {
        say("\n4. Try to do harm");
        // The ticks after these are for what comes after the attacks.
        self.pace.run_to(self.ticks() * 13 / 14);
        let key = |name: &str| PrivateKey::read(&self.running.data_dir().join("keys").join(name));
        let stolen = attacks::Stolen {
            director: key("director.pem")?,
            approver: key("approver.pem")?,
            publisher: key("publisher.pem")?,
        };
        let newest = |device: &DeviceId| -> Result<Vec<u8>> {
            let view = self.cloud.get(&format!("/v1/devices/{device}"))?;
            let version = view["desired"]["version"].as_u64().context("no version")?;
            self.cloud.bytes(&format!("/v1/devices/{device}/versions/{version}"))
        };
        let (mut tampered, mut unapproved) = (vec![], vec![]);
        let (mut unsigned, mut replayed) = (vec![], vec![]);
        let hot = gnomon_examples::WATER_HEATER_HOT;
        for member in &self.members {
            let device = &member.device;
            let envelope = newest(device)?;
            let first = self.cloud.bytes(&format!("/v1/devices/{device}/versions/1"))?;
            tampered.push((device.clone(), attacks::tampered_module(&envelope, &stolen)?));
            let document = attacks::unapproved_module(&envelope, hot, &stolen)?;
            unapproved.push((device.clone(), document));
            unsigned.push((device.clone(), attacks::unsigned(&envelope)?));
            replayed.push((device.clone(), first));
        }
        for (what, reason, messages) in [
            (
                "a tampered module under the stolen keys of director and approver",
                "module_signature_invalid",
                tampered,
            ),
            ("a new module under director and publisher alone", "approval_missing", unapproved),
            ("a newer document that nobody signed", "threshold_not_met", unsigned),
            ("the first document, replayed", "rollback", replayed),
        ] {
            attacks::publish(self.broker()?, &self.fleet, messages).await?;
            let refused = self.wait_refused(reason)?;
            say(&format!("  {what}: refused {refused} times as `{reason}`"));
        }
        let hot = json!({"module": self.modules.hot, "params": {"asked_c": 95.0}});
        self.cloud.set_fleet(&hot, &json!([]))?;
        self.approve()?;
        self.converge("a signed and approved function that asks for 95 C")?;
        self.run_to(self.ticks() - 60, "it is clamped")?;
        say("  and back to v2: a newer document with older content, approved before");
        let active = json!({"module": self.modules.v2, "params": price_params()});
        self.cloud.set_fleet(&active, &json!([]))?;
        self.converge("v2 in control again")?;
        self.run_to(self.ticks(), "the last hour")
    }

    /// Refusals by the devices, as they say themselves.
    pub(super) fn refused(&self) -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for member in &self.members {
            let view = self.cloud.get(&format!("/v1/devices/{}", member.device))?;
            for (reason, count) in view["reported"]["refused"].as_object().into_iter().flatten() {
                *counts.entry(reason.clone()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        Ok(counts)
    }

    fn wait_refused(&self, reason: &str) -> Result<u64> {
        let start = Instant::now();
        loop {
            let count = self.refused()?.get(reason).copied().unwrap_or(0);
            if count >= self.devices() || start.elapsed() > Duration::from_secs(20) {
                return Ok(count);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Lets the fleet run up to a tick, with a progress bar.
    fn run_to(&self, tick: u64, what: &str) -> Result<()> {
        let start = Instant::now();
        self.pace.run_to(tick);
        let bar = ProgressBar::new(tick * self.devices());
        let style = ProgressStyle::with_template("  {msg} {wide_bar} {percent} %");
        bar.set_style(style.context("the bar's template")?);
        bar.set_message(what.to_owned());
        loop {
            let done: u64 = self
                .members
                .iter()
                .map(|m| {
                    m.account.ticks.load(Ordering::SeqCst) + m.account.missed.load(Ordering::SeqCst)
                })
                .sum();
            bar.set_position(done);
            if done >= tick * self.devices() {
                bar.finish_and_clear();
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "{what}: the fleet stands still");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the agents; without `headless` starts them again from their stores and
    /// serves on.
    async fn end(mut self, headless: bool) -> Result<()> {
        for member in &mut self.members {
            if let Some(agent) = member.agent.take() {
                agent.stop().await?;
            }
        }
        if headless {
            self.running.shutdown().await;
            return Ok(());
        }
        self.serve_on().await
    }

    /// The agents restart from their stores, at one tick per second.
    async fn serve_on(mut self) -> Result<()> {
        self.pace = Arc::new(Pace::new(1));
        self.pace.run_to(u64::MAX);
        let (observer, _swaps) = channel();
        let members = std::mem::take(&mut self.members);
        let mut agents = vec![];
        for (index, member) in members.into_iter().enumerate() {
            let heater = self.heater(u32::try_from(index)?, None)?;
            let config = self.config(member.device)?;
            agents.push(Member::start(config, member.data, heater, observer.clone())?);
        }
        let (url, data) = (self.running.http_url(), self.running.data_dir().display().to_string());
        say(&format!(
            "The agents have restarted from their stores and go on, one tick a second. Try, in another terminal:\n\n\
             \x20 export GNOMON_URL={url}\n\
             \x20 cargo run --release -p gnomon -- status\n\
             \x20 cargo run --release -p gnomon -- device list\n\
             \x20 cargo run --release -p gnomon -- desired effective --device heater-001\n\
             \x20 mosquitto_sub -p {port} -t 'gnomon/demo/d/heater-001/#' -v\n\n\
             Keys and store are in {data} until you press Ctrl-C.",
            port = self.broker()?.port(),
        ));
        tokio::signal::ctrl_c().await?;
        for member in agents {
            if let Some(agent) = member.agent {
                agent.stop().await?;
            }
        }
        self.running.shutdown().await;
        Ok(())
    }
}
