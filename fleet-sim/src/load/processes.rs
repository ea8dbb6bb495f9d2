//! The processes under load: a cloud, and a broker of its own where one is asked for. What
//! they take of the machine is read from `/proc`. What they are used for is not known here.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long a process may take until it serves.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// `sysconf(_SC_CLK_TCK)` on every Linux that we know: ticks of processor time per second.
const CLOCK_TICKS_PER_S: f64 = 100.0;
const KIB: u64 = 1024;

/// Which broker carries the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerChoice {
    /// The cloud's own.
    Embedded,
    /// Debian's mosquitto, started for this run.
    Mosquitto,
    /// One that runs already, on this machine.
    Running(SocketAddr),
}

impl FromStr for BrokerChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<BrokerChoice, String> {
        match text {
            "embedded" => return Ok(BrokerChoice::Embedded),
            "mosquitto" => return Ok(BrokerChoice::Mosquitto),
            _ => {}
        }
        let url = gnomon::bus::parse_url(text)
            .map_err(|why| format!("{why}; or say `embedded` or `mosquitto`"))?;
        if url.is_tls {
            return Err(format!("`{text}`: the load speaks without TLS; give mqtt://HOST:PORT"));
        }
        let mut addresses = (url.host.as_str(), url.port)
            .to_socket_addrs()
            .map_err(|error| format!("`{text}`: {error}"))?;
        addresses.find(|address| address.ip().is_loopback()).map(BrokerChoice::Running).ok_or_else(
            || format!("`{text}` is not on this machine; load goes to a loopback address only"),
        )
    }
}

/// What a process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Memory {
    /// Resident now, bytes.
    pub(super) resident_bytes: u64,
    /// The most that was, bytes.
    pub(super) peak_bytes: u64,
}

impl Memory {
    /// Of a process that lives.
    pub(super) fn of(pid: u32) -> Memory {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kib = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let bytes = |name| kib(name).unwrap_or(0) * KIB;
        Memory { resident_bytes: bytes("VmRSS:"), peak_bytes: bytes("VmHWM:") }
    }
}

/// Processor time of a process so far, seconds.
pub(super) fn processor_s(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces; behind it, utime and stime are the 12th and 13th.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks = behind.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
    ticks.sum::<f64>() / CLOCK_TICKS_PER_S
}

/// The cloud's side of it: the process that calls this ends with the one that started it,
/// however that ends.
///
/// # Errors
/// When the system does not know how.
pub fn end_with_parent() -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    Ok(())
}

/// A process that ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker that is no part of the cloud.
pub(super) struct Broker {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its process, if it could be found.
    pub(super) pid: Option<u32>,
    _process: Option<Process>,
}

impl Broker {
    /// Starts what was chosen; none for the embedded one.
    ///
    /// # Errors
    /// When it cannot be started or reached.
    pub(super) fn start(choice: &BrokerChoice, folder: &Path) -> Result<Option<Broker>> {
        match choice {
            BrokerChoice::Embedded => Ok(None),
            BrokerChoice::Mosquitto => mosquitto(folder).map(Some),
            BrokerChoice::Running(address) => {
                TcpStream::connect(address).with_context(|| format!("no broker at {address}"))?;
                let pid = listener(address.port());
                Ok(Some(Broker { address: *address, pid, _process: None }))
            }
        }
    }
}

fn mosquitto(folder: &Path) -> Result<Broker> {
    // Free when looked at; mosquitto cannot be given port 0.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let file = folder.join("mosquitto.conf");
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\n\
         max_queued_messages 200000\nmax_inflight_messages 1000\nset_tcp_nodelay true\n",
        address.port()
    );
    std::fs::write(&file, text)?;
    let program = ["mosquitto", "/usr/sbin/mosquitto"];
    let spawn = |program: &&str| {
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
    };
    let child = program.iter().find_map(spawn);
    let process = Process(child.context("mosquitto cannot be started (Debian: mosquitto)")?);
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        ensure!(start.elapsed() < START_PATIENCE, "mosquitto does not listen on {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Broker { address, pid: Some(process.0.id()), _process: Some(process) })
}

/// The process that listens on this port of the loopback, as far as we may see it.
fn listener(port: u16) -> Option<u32> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            let own = local.rsplit_once(':')?.1;
            // 0A is LISTEN.
            (*state == "0A" && u16::from_str_radix(own, 16) == Ok(port))
                .then(|| format!("socket:[{inode}]"))
        })
    })?;
    let holds = |pid: &u32| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .any(|link| link.as_os_str() == inode.as_str())
    };
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(holds)
}

/// A cloud in a process of its own, so that what it takes is its own.
pub(super) struct CloudProcess {
    /// Its HTTP API.
    pub(super) http: String,
    /// Where devices connect.
    pub(super) mqtt: SocketAddr,
    process: Process,
}

impl CloudProcess {
    /// Starts `gnomon serve`, which this program holds, and waits until it has said where.
    ///
    /// # Errors
    /// When it ends instead.
    pub(super) fn start(
        folder: &Path,
        fleet: &str,
        broker: Option<&Broker>,
        tls: bool,
    ) -> Result<CloudProcess> {
        let program = std::env::current_exe().context("this program cannot find itself")?;
        let mut command = Command::new(program);
        command.args(["gnomon", "serve", "--fleet", fleet, "--http", "127.0.0.1:0"]);
        command.arg("--data").arg(folder.join("cloud"));
        match broker {
            Some(broker) => command.args(["--broker", &format!("mqtt://{}", broker.address)]),
            None => command.args(["--mqtt", "127.0.0.1:0"]),
        };
        if broker.is_none() && !tls {
            command.arg("--insecure-mqtt");
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("the cloud has no output")?;
        let process = Process(child);
        let mut lines = BufReader::new(output).lines();
        let mut told = |label: &str| -> Result<String> {
            for line in lines.by_ref() {
                if let Some(value) = line?.strip_prefix(label) {
                    return Ok(value.trim().to_owned());
                }
            }
            bail!("the cloud ended before it said where it listens")
        };
        let http = told("HTTP ")?;
        let mqtt = told("MQTT ")?;
        // What else it says is for people; the pipe must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        let scheme = if tls { "mqtts://" } else { "mqtt://" };
        let mqtt = mqtt.strip_prefix(scheme).context("the broker is not where devices look")?;
        let mqtt = mqtt.parse().with_context(|| format!("`{mqtt}` is no address"))?;
        Ok(CloudProcess { http, mqtt, process })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_goes_to_this_machine_only_and_says_what_it_takes() {
        let running = BrokerChoice::Running(SocketAddr::from(([127, 0, 0, 1], 1884)));
        assert_eq!("mqtt://127.0.0.1:1884".parse(), Ok(running));
        assert_eq!("mosquitto".parse(), Ok(BrokerChoice::Mosquitto));
        assert_eq!("embedded".parse(), Ok(BrokerChoice::Embedded));
        let refusal = |text: &str| text.parse::<BrokerChoice>().unwrap_err();
        assert!(refusal("mqtt://192.0.2.1:1883").contains("loopback address only"));
        assert!(refusal("mqtts://127.0.0.1:8883").contains("without TLS"));
        assert!(refusal("rabbit").contains("`embedded` or `mosquitto`"));
    }

    #[test]
    fn a_listener_is_found_by_its_port_and_weighed() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let pid = listener(socket.local_addr().unwrap().port());
        assert_eq!(pid, Some(std::process::id()));
        let memory = Memory::of(std::process::id());
        assert!(memory.resident_bytes > 1 << 20 && memory.peak_bytes >= memory.resident_bytes);
        assert_eq!(Memory::of(u32::MAX), Memory::default());
    }
}
