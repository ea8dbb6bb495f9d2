//! `gnomon serve`: runs until it is interrupted.

use anyhow::{Context as _, Result};
use clap::Args;
use gnomon_schemas::ids::FleetId;
use std::io::Write as _;
use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};

use super::DataDir;
use super::show::Shown;
use crate::serve::{Running, ServeOptions, start};

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
    /// Where the embedded MQTT broker listens
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "ADDR")]
    mqtt: SocketAddr,
    /// Another MQTT broker instead of the embedded one: mqtt://HOST:PORT
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
}

pub(super) fn serve(args: ServeArgs) -> Result<Shown> {
    let options = ServeOptions {
        data_dir: args.data.data,
        fleet: args.fleet,
        http: args.http,
        mqtt: args.mqtt,
        broker: args.broker,
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).context("cannot hear signals")?;
        let running = start(options).await?;
        announce(&running);
        tokio::select! {
            heard = tokio::signal::ctrl_c() => heard.context("cannot hear signals")?,
            _ = terminated.recv() => {}
        }
        running.shutdown().await;
        Ok(Shown::new(serde_json::Value::Null, "stopped"))
    })
}

fn announce(running: &Running) {
    let (http, mqtt) = (running.http_url(), running.mqtt_url());
    let data = running.data_dir().display();
    let text = format!(
        "HTTP   {http}\nMQTT   {mqtt}\ndata   {data}\n\n\
         Try next, in another terminal:\n\
         \x20 gnomon --url {http} profile add profile.json\n\
         \x20 gnomon --url {http} device add heater-1 --profile water-heater\n\
         \x20 gnomon --url {http} module add function.wasm --data {data}\n\
         \x20 gnomon --url {http} status\n"
    );
    // Nobody may be reading.
    std::io::stdout().write_all(text.as_bytes()).unwrap_or_default();
}
