//! Processes for the tests: a cloud, an agent with its socket, foreign clients.
//! Each is ended when its handle goes.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The device of the tests.
pub(crate) const DEVICE: &str = "heater-1";

/// A process that is killed when the handle goes.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Process {
        let name = format!("{command:?}");
        Process(command.stdin(Stdio::null()).spawn().unwrap_or_else(|e| panic!("{name}: {e}")))
    }

    /// The TCP ports on which it listens, by `/proc`.
    pub(crate) fn listens(&self) -> Vec<u16> {
        let own: Vec<PathBuf> = std::fs::read_dir(format!("/proc/{}/fd", self.0.id()))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .collect();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row[3] == "0A" && own.contains(&format!("socket:[{}]", row[9]).into()))
            .map(|row| u16::from_str_radix(row[1].rsplit(':').next().unwrap(), 16).unwrap())
            .collect()
    }

    /// Resident memory in KiB, by `/proc`.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tries until it succeeds.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that is free, below those that the system gives out by itself, so that
/// no connection of another test takes it before its server does.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let port = || first + NEXT.fetch_add(1, Ordering::SeqCst);
    std::iter::repeat_with(port)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// A cloud and all that it needs, in a folder of its own.
pub(crate) struct Cloud {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) http: u16,
    pub(crate) mqtt: u16,
    mqtt_arguments: Vec<String>,
    process: Option<Process>,
}

impl Cloud {
    /// A running cloud with the embedded broker.
    pub(crate) fn start() -> Cloud {
        let mqtt = free_port();
        Cloud::start_with(mqtt, &["--mqtt", &format!("127.0.0.1:{mqtt}"), "--insecure-mqtt"])
    }

    /// A running cloud whose embedded broker wants certificates.
    pub(crate) fn start_mutual(arguments: &[&str]) -> Cloud {
        let mqtt = free_port();
        let address = format!("127.0.0.1:{mqtt}");
        Cloud::start_with(mqtt, &[&["--mqtt", &*address], arguments].concat())
    }

    /// A running cloud that uses another broker on this port.
    pub(crate) fn start_on(mqtt: u16) -> Cloud {
        Cloud::start_with(mqtt, &["--broker", &format!("mqtt://127.0.0.1:{mqtt}")])
    }

    fn start_with(mqtt: u16, mqtt_arguments: &[&str]) -> Cloud {
        let mut cloud = Cloud::prepare(mqtt, mqtt_arguments);
        cloud.run();
        cloud
    }

    /// A cloud that does not run yet.
    pub(crate) fn prepare(mqtt: u16, mqtt_arguments: &[&str]) -> Cloud {
        Cloud {
            folder: tempfile::tempdir().unwrap(),
            http: free_port(),
            mqtt,
            mqtt_arguments: mqtt_arguments.iter().map(|text| (*text).to_owned()).collect(),
            process: None,
        }
    }

    /// Starts the process (again), and waits until it answers.
    pub(crate) fn run(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnomon-under-test"));
        command
            .args(["serve", "--fleet", "acme"])
            .arg("--data")
            .arg(self.folder.path().join("cloud"))
            .args(["--http", &format!("127.0.0.1:{}", self.http)])
            .args(&self.mqtt_arguments)
            .stdout(Stdio::null());
        self.process = Some(Process::spawn(&mut command));
        until("the cloud answers", || {
            let status = self.try_get("/v1/status")?;
            (status["broker_connected"] == true).then_some(())
        });
    }

    /// Kills the process without warning (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// The TCP ports on which it listens.
    pub(crate) fn listens(&self) -> Vec<u16> {
        self.process.as_ref().unwrap().listens()
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    fn try_get(&self, path: &str) -> Option<Value> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let client: ureq::Agent = config.into();
        let mut response = client.get(self.url(path)).call().ok()?;
        serde_json::from_slice(&response.body_mut().read_to_vec().ok()?).ok()
    }

    /// What the API says.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.try_get(path).unwrap_or_else(|| panic!("GET {path}"))
    }

    /// The device, as the API shows it.
    pub(crate) fn device(&self) -> Value {
        self.get(&format!("/v1/devices/{DEVICE}"))
    }

    /// Runs the command line against this cloud.
    pub(crate) fn gnomon(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_gnomon-under-test"))
            .args(["--url", &self.url("")])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// Runs the command line, which must succeed; what it printed.
    #[track_caller]
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let output = self.gnomon(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gnomon {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Writes a file beside the cloud; its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Registers the water heater, uploads a module and puts it in control: all by
    /// the command line.
    pub(crate) fn set_scene(&self, reporting: &Value) {
        let profile = self.file("profile.json", PROFILE);
        self.does(&["profile", "add", &profile]);
        self.does(&["device", "add", DEVICE, "--profile", "water-heater"]);
        let module = self.file("tou.wasm", gnomon_examples::WATER_HEATER_TOU);
        self.does(&["module", "add", &module, "--data", "cloud"]);
        self.put_in_control("water-heater-tou@1.0.0", &tou_params(60.0), reporting);
    }

    /// Puts a module in control of the whole fleet.
    pub(crate) fn put_in_control(&self, module: &str, params: &Value, reporting: &Value) {
        let modules = self.get("/v1/modules");
        let digest = modules
            .as_array()
            .unwrap()
            .iter()
            .find(|m| {
                format!("{}@{}", m["name"].as_str().unwrap(), m["version"].as_str().unwrap())
                    == module
            })
            .unwrap_or_else(|| panic!("{module} is not among {modules}"))["digest"]
            .clone();
        let layer = json!({
            "functions": {"setpoint": {"active": {"module": digest, "params": params}}},
            "reporting": reporting,
        });
        let file = self.file("layer.json", layer.to_string().as_bytes());
        self.does(&["desired", "patch", "--fleet", "--file", &file]);
        self.approve();
    }

    /// Puts a module that asks for this much beside the one in control, and approves it.
    pub(crate) fn put_hot_beside(&self, asked_c: u32) {
        let module = self.file("hot.wasm", gnomon_examples::WATER_HEATER_HOT);
        self.does(&["module", "add", &module, "--data", "cloud"]);
        let params = json!({ "asked_c": asked_c }).to_string();
        let slot = ["--fleet", "--function", "setpoint", "water-heater-hot@1.0.0"];
        self.does(&[&["candidate", "add"], &slot[..], &["--params", &params]].concat());
        self.approve();
    }

    /// Approves what waits, as the approver of a first start.
    pub(crate) fn approve(&self) {
        self.does(&["approval", "sign", "--all", "--yes", "--data", "cloud"]);
    }

    /// Waits until the device has this version in force.
    #[track_caller]
    pub(crate) fn wait_applied(&self, version: u64) {
        until(&format!("version {version} in force"), || {
            let device = self.try_get(&format!("/v1/devices/{DEVICE}"))?;
            (device["state"] == "in_sync" && device["applied"] == version).then_some(())
        });
    }

    /// All rows of a list of the device's results.
    pub(crate) fn rows(&self, kind: &str) -> Vec<Value> {
        let mut all = vec![];
        let mut after = 0;
        loop {
            let path = format!("/v1/devices/{DEVICE}/{kind}?limit=1000&after={after}");
            let page = self.get(&path);
            all.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_after"].as_i64() {
                Some(next) => after = next,
                None => return all,
            }
        }
    }
}

pub(crate) const PROFILE: &[u8] = include_bytes!("../schemas/examples/profile.json");

/// Params of water-heater-tou that heat to `high_c` at any hour.
pub(crate) fn tou_params(high_c: f64) -> Value {
    json!({"off_peak_start_hour": 0.0, "off_peak_end_hour": 24.0, "high_c": high_c, "low_c": 45.0})
}

/// An agent as a process, with a firmware of ours at its socket.
pub(crate) struct Agent {
    socket: PathBuf,
    config: PathBuf,
    data: PathBuf,
    environment: Vec<(String, String)>,
    process: Option<Process>,
}

impl Agent {
    /// Provisions by `gnomon device bundle` and starts.
    pub(crate) fn start(cloud: &Cloud) -> Agent {
        cloud.does(&["device", "bundle", DEVICE, "--out", "bundle"]);
        Agent::provisioned(cloud.folder.path())
    }

    /// Starts with what lies in `bundle` of a folder, its socket and data beside it.
    pub(crate) fn provisioned(folder: &Path) -> Agent {
        Agent::under(folder, &[])
    }

    /// The same, in another environment.
    pub(crate) fn under(folder: &Path, environment: &[(&str, &str)]) -> Agent {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut agent = Agent {
            socket: folder.join("agent.sock"),
            config: folder.join("bundle"),
            data: folder.join("agent"),
            environment: environment.iter().map(owned).collect(),
            process: None,
        };
        agent.run();
        agent
    }

    /// Starts the process (again), and waits until its socket is there.
    pub(crate) fn run(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnomon-agent-under-test"));
        command.arg("run").arg("--config").arg(&self.config);
        command.arg("--data").arg(&self.data).arg("--socket").arg(&self.socket);
        command.envs(self.environment.iter().cloned());
        self.process = Some(Process::spawn(&mut command));
        until("the agent's socket", || UnixStream::connect(&self.socket).ok());
    }

    /// Kills the process without warning (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.process = None;
        // The next process must not be taken for ready by the old one's socket.
        std::fs::remove_file(&self.socket).unwrap();
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        self.process.as_ref().unwrap().resident_kib()
    }

    /// The keeper's process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().0.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Where it keeps its store.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Its processes by what they do, the keeper first, by `/proc`.
    pub(crate) fn family(&self) -> Vec<(String, u32)> {
        let keeper = self.pid();
        let mut all = vec![("keeper".to_owned(), keeper)];
        for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
            // Others may end meanwhile.
            let (Some(stat), Some(arguments)) = (read("stat"), read("cmdline")) else { continue };
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            if parent != Some(&*keeper.to_string()) {
                continue;
            }
            let arguments: Vec<&str> = arguments.split('\0').collect();
            match (arguments.get(1), arguments.get(3)) {
                (Some(&"runner"), Some(purpose)) => all.push((format!("runner, {purpose}"), pid)),
                (Some(&"planner"), _) => all.push(("planner".to_owned(), pid)),
                _ => {}
            }
        }
        all
    }

    /// Sends a signal to the keeper.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        signal_to(self.pid(), signal);
    }

    /// Waits for its end; how it ended.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let process = &mut self.process.as_mut().unwrap().0;
        until("the agent's end", || process.try_wait().unwrap())
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.data.join("agent.db")
    }

    /// A firmware that asks for ticks.
    pub(crate) fn firmware(&self) -> Firmware {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Firmware { reader: BufReader::new(stream.try_clone().unwrap()), writer: stream }
    }
}

/// Sends a signal to a process, which may have ended by itself meanwhile.
pub(crate) fn signal_to(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // Then there is nobody to send it to.
    let _ = rustix::process::kill_process(pid, signal);
}

/// The other end of the agent's socket.
pub(crate) struct Firmware {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Firmware {
    /// A firmware at this socket, if somebody listens there.
    pub(crate) fn connect(socket: &Path) -> Option<Firmware> {
        let stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Firmware { reader: BufReader::new(stream.try_clone().unwrap()), writer: stream })
    }

    /// One tick at this hour; none if the agent is gone.
    pub(crate) fn try_tick(&mut self, hour: f64) -> Option<Value> {
        let inputs = json!({"tank_temp_c": 50.0, "tank_low_temp_c": 45.0, "hour": hour,
            "price_forecast": [0.05, 0.10, 0.02]});
        let request = json!({"function": "setpoint", "inputs": inputs});
        writeln!(self.writer, "{request}").ok()?;
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// One tick; the agent's answer.
    pub(crate) fn tick(&mut self, tank_temp_c: f64) -> Value {
        let inputs = json!({"tank_temp_c": tank_temp_c, "tank_low_temp_c": tank_temp_c - 5.0,
            "hour": 3.5, "price_forecast": [0.05, 0.10, 0.02]});
        let request = json!({"function": "setpoint", "inputs": inputs});
        writeln!(self.writer, "{request}").unwrap();
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }
}

/// Batches that wait in an agent's outbox, as its status tells an operator.
pub(crate) fn waiting_batches(store: &Path) -> u64 {
    let status = gnomon_agent::status::Status::of(store.parent().unwrap());
    let store = status.store.unwrap_or_else(|| panic!("{:?}", status.store_error));
    store.outbox.values().map(|amount| amount.rows).sum()
}
