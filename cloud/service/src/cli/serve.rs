//! `gnomon serve`: runs until it is interrupted.

use anyhow::{Context as _, Result};
use clap::Args;
use gnomon_schemas::ids::FleetId;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

use super::DataDir;
use super::show::Shown;
use crate::identity::IdentityOptions;
use crate::serve::{HttpTls, Running, ServeOptions, start};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    data: DataDir,
    /// The fleet's name
    #[arg(long, default_value = "home", value_name = "NAME")]
    fleet: FleetId,
    /// Where HTTP listens
    #[arg(long, default_value = "127.0.0.1:8480", value_name = "ADDR")]
    http: SocketAddr,
    /// Serve HTTP over TLS with a certificate of the fleet's own authority
    #[arg(long, conflicts_with = "http_cert")]
    https: bool,
    /// Serve HTTP over TLS with this certificate chain, in PEM
    #[arg(long, value_name = "FILE", requires = "http_key")]
    http_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "http_cert")]
    http_key: Option<PathBuf>,
    #[command(flatten)]
    mqtt: MqttArgs,
}

#[derive(Debug, Args)]
struct MqttArgs {
    /// Where the embedded MQTT broker listens [default: 127.0.0.1:8883, or port 1883 with
    /// --insecure-mqtt]
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<SocketAddr>,
    /// A name or address by which devices know the embedded broker, beside this machine's;
    /// may be given several times
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// For development: MQTT without TLS and authentication, on the loopback only
    #[arg(long)]
    insecure_mqtt: bool,
    /// Another MQTT broker instead of the embedded one: mqtts://HOST:PORT
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// The authority of that broker's certificate, in PEM [default: the fleet's own]
    #[arg(long, value_name = "FILE", requires = "broker")]
    broker_ca: Option<PathBuf>,
    /// The service's certificate for that broker, in PEM [default: its own of the fleet]
    #[arg(long, value_name = "FILE", requires_all = ["broker", "broker_key"])]
    broker_cert: Option<PathBuf>,
    /// The private key to it, in PEM
    #[arg(long, value_name = "FILE", requires = "broker_cert")]
    broker_key: Option<PathBuf>,
    /// How long device certificates live, in seconds: short for tests
    #[arg(long, hide = true, value_name = "SECONDS")]
    device_certificate_s: Option<u64>,
}

impl MqttArgs {
    fn address(&self) -> SocketAddr {
        let port = if self.insecure_mqtt { 1883 } else { 8883 };
        self.mqtt.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn identity(&self) -> IdentityOptions {
        let usual = IdentityOptions::default();
        let life = self.device_certificate_s.map(|seconds| seconds.saturating_mul(1000));
        IdentityOptions {
            insecure_mqtt: self.insecure_mqtt,
            broker_names: self.names.clone(),
            broker_ca: self.broker_ca.clone(),
            broker_pair: self.broker_cert.clone().zip(self.broker_key.clone()),
            device_certificate_ms: life.unwrap_or(usual.device_certificate_ms),
        }
    }
}

pub(super) fn serve(args: ServeArgs) -> Result<Shown> {
    let http_tls = match (args.http_cert, args.http_key) {
        (Some(certificate), Some(key)) => HttpTls::Files { certificate, key },
        _ if args.https => HttpTls::FleetCa,
        _ => HttpTls::Off,
    };
    let options = ServeOptions {
        data_dir: args.data.data,
        fleet: args.fleet,
        http: args.http,
        http_tls,
        mqtt: args.mqtt.address(),
        identity: args.mqtt.identity(),
        broker: args.mqtt.broker,
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).context("cannot hear signals")?;
        let running = start(options).await?;
        announce(&running, running.is_open().await?);
        tokio::select! {
            heard = tokio::signal::ctrl_c() => heard.context("cannot hear signals")?,
            _ = terminated.recv() => {}
        }
        running.shutdown().await;
        Ok(Shown::new(serde_json::Value::Null, "stopped"))
    })
}

fn announce(running: &Running, is_open: bool) {
    let (http, mqtt) = (running.http_url(), running.mqtt_url());
    let data = running.data_dir().display();
    let open = if is_open {
        "open   no token exists yet: whoever is on this machine may do everything; close it \
         with `gnomon token create --name NAME --role admin`\n"
    } else {
        ""
    };
    let text = format!(
        "HTTP   {http}\nMQTT   {mqtt}\ndata   {data}\n{open}\n\
         Try next, in another terminal:\n\
         \x20 gnomon --url {http} profile add profile.json\n\
         \x20 gnomon --url {http} device add heater-1 --profile water-heater\n\
         \x20 gnomon --url {http} module add function.wasm --data {data}\n\
         \x20 gnomon --url {http} status\n"
    );
    // Nobody may be reading.
    std::io::stdout().write_all(text.as_bytes()).unwrap_or_default();
}
