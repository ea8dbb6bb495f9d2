//! What the same work costs without Gnomon, in the same run: a broker of the same kind that
//! hands the same bytes to as many plain clients, and SQLite taking the same batches as plain rows.

use anyhow::{Context as _, Result, ensure};
use rumqttc::{AsyncClient, Broker, Event, MqttOptions, Packet, PublishOptions, QoS};
use rusqlite::{Connection, params};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use gnomon_schemas::limits::MQTT_PACKET_BYTES_MAX;
use gnomon_schemas::results::Results;

use super::processes::Memory;

/// As many batches in one transaction as the cloud's ingest takes.
const BATCHES_PER_TRANSACTION: usize = 500;
/// Messages of the plain publisher on their way, as of the cloud's own client.
const INFLIGHT: u16 = 1000;

/// What a broker does by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bare {
    /// From the first message to the last that came, seconds.
    pub(super) fan_out_s: f64,
    /// What each connected client adds to its process, bytes, if that can be seen.
    pub(super) per_client_bytes: Option<u64>,
}

/// Connects so many plain clients, each to a topic of its own, then publishes a retained
/// message of this size on each of them. `process` is the broker's, if it has done nothing
/// else before.
///
/// # Errors
/// When they do not all connect, or not all messages come, within `patience`.
pub(super) fn fan_out(
    (broker, process): (SocketAddr, Option<u32>),
    clients: usize,
    bytes: usize,
    patience: Duration,
) -> Result<Bare> {
    let resident = || process.map(|pid| Memory::of(pid).resident_bytes);
    let before = resident();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ready = Arc::new(AtomicUsize::new(0));
        let came = Arc::new(AtomicUsize::new(0));
        let mut living = JoinSet::new();
        for index in 0..clients {
            let (client, mut events) = plain(broker, &format!("bare-{index}"), 10)?;
            client.try_subscribe(format!("bare/{index}"), QoS::AtLeastOnce)?;
            let (subscribed, arrived) = (Arc::clone(&ready), Arc::clone(&came));
            living.spawn(async move {
                // The client's sending side must live as long as its connection.
                let _client = client;
                let mut heard = false;
                loop {
                    match events.poll().await {
                        Ok(Event::Incoming(Packet::SubAck(_))) => {
                            subscribed.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(Event::Incoming(Packet::Publish(_))) if !heard => {
                            heard = true;
                            arrived.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(_) => {}
                        Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                    }
                }
            });
            // A connection storm is not what is measured.
            if index % 200 == 199 {
                reach(&ready, index + 1, patience).await.context("plain clients connect")?;
            }
        }
        reach(&ready, clients, patience).await.context("plain clients connect")?;
        let (publisher, mut events) = plain(broker, "bare-publisher", INFLIGHT)?;
        let (stop, stopped) = oneshot::channel::<()>();
        living.spawn(async move {
            let drive = async {
                loop {
                    if events.poll().await.is_err() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            };
            tokio::select! { () = drive => {} _ = stopped => {} }
        });
        let grown = resident().zip(before).map(|(now, before)| now.saturating_sub(before));
        let per_client_bytes = grown.map(|bytes| bytes / clients as u64);
        let start = Instant::now();
        for index in 0..clients {
            let options = PublishOptions::at_least_once().retain(true);
            publisher.publish(format!("bare/{index}"), vec![b'x'; bytes], options).await?;
        }
        reach(&came, clients, patience).await.context("plain clients hear")?;
        let fan_out_s = start.elapsed().as_secs_f64();
        // Nothing stays behind on a broker that others may use.
        for index in 0..clients {
            let options = PublishOptions::at_least_once().retain(true);
            publisher.publish(format!("bare/{index}"), vec![], options).await?;
        }
        publisher.disconnect().await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(stop);
        living.shutdown().await;
        Ok(Bare { fan_out_s, per_client_bytes })
    })
}

fn plain(
    broker: SocketAddr,
    name: &str,
    inflight: u16,
) -> Result<(AsyncClient, rumqttc::EventLoop)> {
    let options = MqttOptions::builder(name, Broker::tcp(broker.ip().to_string(), broker.port()))
        .clean_session(true)
        .max_packet_size(MQTT_PACKET_BYTES_MAX, MQTT_PACKET_BYTES_MAX)
        .inflight(inflight)
        .build();
    Ok(AsyncClient::builder(options).capacity(1000).try_build()?)
}

async fn reach(count: &AtomicUsize, wanted: usize, patience: Duration) -> Result<()> {
    let start = Instant::now();
    while count.load(Ordering::SeqCst) < wanted {
        let found = count.load(Ordering::SeqCst);
        ensure!(start.elapsed() < patience, "{found} of {wanted} within {patience:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Inserts so many batches as plain rows, each with the rows in it, durably (WAL, FULL), as
/// many in a transaction as the cloud takes; batches a second.
///
/// # Errors
/// SQLite's.
pub(super) fn insert(folder: &Path, examples: &[Vec<u8>], batches: usize) -> Result<f64> {
    ensure!(!examples.is_empty(), "no batch was sent");
    let parsed = examples.iter().map(|bytes| rows_of(bytes)).collect::<Result<Vec<_>>>()?;
    let mut connection = Connection::open(folder.join("bare.sqlite"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(
        "CREATE TABLE batches (id INTEGER PRIMARY KEY, device TEXT, sequence INTEGER,
            UNIQUE (device, sequence));
         CREATE TABLE entries (id INTEGER PRIMARY KEY, batch INTEGER, body TEXT);",
    )?;
    let start = Instant::now();
    let mut next = parsed.iter().cycle();
    let mut left = batches;
    let mut sequence = 0_i64;
    while left > 0 {
        let transaction = connection.transaction()?;
        let batch = "INSERT INTO batches (device, sequence) VALUES ('device', ?1)";
        let entry = "INSERT INTO entries (batch, body) VALUES (?1, ?2)";
        let (mut batch, mut entry) = (transaction.prepare(batch)?, transaction.prepare(entry)?);
        for rows in next.by_ref().take(left.min(BATCHES_PER_TRANSACTION)) {
            sequence += 1;
            let id = batch.insert([sequence])?;
            for row in rows {
                entry.execute(params![id, row])?;
            }
        }
        drop((batch, entry));
        transaction.commit()?;
        left = left.saturating_sub(BATCHES_PER_TRANSACTION);
    }
    Ok(batches as f64 / start.elapsed().as_secs_f64())
}

fn rows_of(bytes: &[u8]) -> Result<Vec<String>> {
    let batch: Results = serde_json::from_slice(bytes)?;
    let summaries = batch.summaries.iter().map(serde_json::to_string);
    let records = batch.records.iter().map(serde_json::to_string);
    let refusals = batch.refusals.iter().map(serde_json::to_string);
    Ok(summaries.chain(records).chain(refusals).collect::<Result<_, _>>()?)
}
