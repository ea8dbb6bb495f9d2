//! What devices send: parsed strictly, stored once, then acknowledged.
//!
//! Many messages go into one transaction, since the durable commit is what
//! limits the rate. Nothing here trusts the broker: every payload must name the
//! device of its topic, and that device must be registered. Refused messages are
//! counted, nothing else.

use gnomon_schemas::ack::{Ack, AckSchema};
use gnomon_schemas::ids::{BootId, DeviceId, Digest, FleetId, Version};
use gnomon_schemas::limits::{
    ACK_SEQUENCES_MAX, REPORTED_BYTES_MAX, RESULTS_BYTES_MAX, STATUS_BYTES_MAX,
};
use gnomon_schemas::reason::{Reason, Refusal};
use gnomon_schemas::reported::{Reported, Status};
use gnomon_schemas::results::Results;
use gnomon_schemas::strict;
use gnomon_schemas::topics::{Channel, Topic};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

use crate::app::App;
use crate::bus::{Command, Message};
use crate::clock;
use crate::store::{devices, reported, results, versions};

/// Messages in one transaction, at most.
const BATCH_MAX: usize = 500;
/// How often one transaction is tried, a second apart.
const TRIES_MAX: u32 = 30;
/// A count beyond this is not a count; sums of such stay far from overflow.
const COUNT_MAX: u64 = 1 << 40;
/// A sum of differences beyond this is not a measurement.
const SUM_MAX: f64 = 1e100;

/// A message whose form was checked.
enum Checked {
    Reported(Box<Reported>),
    Status(Status),
    /// With why its figures cannot be used, if they cannot.
    Results(Box<Results>, Option<Refusal>),
}

/// Takes messages until the bus is gone.
pub async fn run(app: Arc<App>, mut messages: mpsc::Receiver<Message>) {
    let mut batch = Vec::new();
    while messages.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut checked = Vec::with_capacity(batch.len());
        for message in batch.drain(..) {
            // A cleared retained message has no payload.
            if message.payload.is_empty() {
                continue;
            }
            match check(&app.fleet, &message) {
                Ok(good) => checked.push((message.topic, good)),
                Err(refusal) => app.refused.count(&refusal, &message.topic),
            }
        }
        store(&app, checked).await;
    }
}

fn check(fleet: &FleetId, message: &Message) -> Result<Checked, Refusal> {
    let Some(Topic::Device(_, device, channel)) = Topic::parse(&message.topic) else {
        return Err(Refusal::new(Reason::InvalidId, "not a topic of a device"));
    };
    let payload = message.payload.as_slice();
    let belongs = |of_fleet: &FleetId, of_device: &DeviceId| {
        if of_fleet != fleet {
            return Err(Refusal::new(Reason::WrongFleet, format!("it names fleet `{of_fleet}`")));
        }
        belongs_to(of_device, &device)
    };
    match channel {
        Channel::Reported => {
            let reported: Reported = strict::parse(payload, REPORTED_BYTES_MAX)?;
            belongs(&reported.fleet, &reported.device)?;
            Ok(Checked::Reported(Box::new(reported)))
        }
        Channel::Status => {
            let status: Status = strict::parse(payload, STATUS_BYTES_MAX)?;
            belongs_to(&status.device, &device)?;
            Ok(Checked::Status(status))
        }
        Channel::Results => {
            let results: Results = strict::parse(payload, RESULTS_BYTES_MAX)?;
            belongs(&results.fleet, &results.device)?;
            let unusable = check_figures(&results).err();
            Ok(Checked::Results(Box::new(results), unusable))
        }
        Channel::Desired | Channel::Ack => {
            Err(Refusal::new(Reason::InvalidId, "not a topic on which devices publish"))
        }
    }
}

fn belongs_to(named: &DeviceId, topic: &DeviceId) -> Result<(), Refusal> {
    if named == topic {
        return Ok(());
    }
    Err(Refusal::new(Reason::WrongDevice, format!("it names device `{named}`")))
}

/// Figures that could not be measured would spoil every sum that they enter.
fn check_figures(results: &Results) -> Result<(), Refusal> {
    let wrong = |what: String| Err(Refusal::new(Reason::NumberOutOfRange, what));
    for summary in &results.summaries {
        let clamped =
            summary.clamped.values().flat_map(|c| [c.range, c.step, c.not_finite, c.interlock]);
        let differences = summary.differences.values();
        let counts = [summary.ticks, summary.missed, summary.evaluations, summary.skipped]
            .into_iter()
            .chain(summary.faults.values().chain(summary.sources.values()).copied())
            .chain(clamped)
            .chain(differences.clone().flat_map(|d| [d.compared, d.mismatches]))
            .max();
        if counts.is_some_and(|count| count > COUNT_MAX) {
            return wrong(format!("a count is over {COUNT_MAX}"));
        }
        let mut sums = differences.flat_map(|d| [d.sum, d.sum_abs, d.max_abs]);
        if !sums.all(|sum| sum.abs() <= SUM_MAX) {
            return wrong("a difference is out of all measure".into());
        }
    }
    Ok(())
}

/// What a transaction leads to once it is committed.
#[derive(Default)]
struct Outcome {
    acks: BTreeMap<(DeviceId, BootId), Vec<u64>>,
    refused: Vec<(String, Refusal)>,
    /// Devices that have not seen their newest document: the broker may have lost it.
    behind: Vec<DeviceId>,
}

/// Stores what was checked; a store that fails is tried again for a while, since
/// results would come again by themselves but reports would not.
async fn store(app: &Arc<App>, checked: Vec<(String, Checked)>) {
    if checked.is_empty() {
        return;
    }
    let checked = Arc::new(checked);
    for _ in 0..TRIES_MAX {
        let messages = Arc::clone(&checked);
        let epoch = app.trust().root.epoch;
        match app.store.write(move |db| store_all(db, epoch, &messages)).await {
            Ok(outcome) => {
                for (topic, refusal) in outcome.refused {
                    app.refused.count(&refusal, &topic);
                }
                for device in outcome.behind {
                    app.bus.send(Command::Desired(device));
                }
                acknowledge(app, outcome.acks);
                return;
            }
            Err(refusal) => {
                tracing::error!(%refusal, "could not store what devices sent; it is tried again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    // What the store never takes must not keep back what comes after it.
    tracing::error!(messages = checked.len(), "given up; results come again by themselves");
}

fn store_all(
    db: &Connection,
    epoch: u64,
    checked: &[(String, Checked)],
) -> Result<Outcome, Refusal> {
    let mut outcome = Outcome::default();
    let now_ms = clock::now_ms();
    for (topic, message) in checked {
        if let Err(refusal) = store_one(db, topic, message, (epoch, now_ms), &mut outcome) {
            // Of the store itself: nothing of this batch may be acknowledged.
            if refusal.reason == Reason::StoreFailed {
                return Err(refusal);
            }
            outcome.refused.push((topic.clone(), refusal));
        }
    }
    Ok(outcome)
}

fn store_one(
    db: &Connection,
    topic: &str,
    message: &Checked,
    (epoch, now_ms): (u64, u64),
    outcome: &mut Outcome,
) -> Result<(), Refusal> {
    match message {
        Checked::Reported(report) => {
            if store_reported(db, report, (epoch, now_ms))? {
                outcome.behind.push(report.device.clone());
            }
            Ok(())
        }
        Checked::Status(status) => {
            known(db, &status.device)?;
            Ok(reported::put_status(db, status, now_ms)?)
        }
        Checked::Results(batch, unusable) => {
            known(db, &batch.device)?;
            // A duplicate is stored already: it is acknowledged again, since the
            // first acknowledgement may have been lost.
            match unusable {
                None => drop(results::insert(db, batch, now_ms)?),
                Some(refusal) => {
                    // Sent again it would be no better, and all behind it would wait:
                    // what remains of it is its number and why it was refused.
                    let emptied =
                        Results { summaries: vec![], records: vec![], ..batch.as_ref().clone() };
                    if results::insert(db, &emptied, now_ms)? {
                        outcome.refused.push((topic.to_owned(), refusal.clone()));
                    }
                }
            }
            let key = (batch.device.clone(), batch.boot.clone());
            outcome.acks.entry(key).or_default().push(batch.sequence);
            Ok(())
        }
    }
}

fn known(db: &Connection, device: &DeviceId) -> Result<devices::Device, Refusal> {
    devices::find(db, device)?.ok_or_else(|| {
        Refusal::new(Reason::UnknownDevice, format!("device `{device}` is not registered"))
    })
}

/// Whether the device has not seen its newest document. `epoch` is the trust root's.
fn store_reported(
    db: &Connection,
    report: &Reported,
    (epoch, now_ms): (u64, u64),
) -> Result<bool, Refusal> {
    let mut device = known(db, &report.device)?;
    reported::put(db, report, now_ms)?;
    let latest = versions::latest(db, &report.device)?;
    let signed = latest.as_ref().map_or(0, |latest| latest.version.get()).max(device.version_floor);
    // What the device has accepted was not signed by this store: a number beyond ours, or
    // one of ours with other content. Both mean that this store was restored. It need not
    // be in force: a device that went back from it accepts nothing below it all the same.
    // What it has only seen and refused, such as a forgery, is no conflict.
    let ahead = match accepted(report, epoch) {
        Some((number, _)) if number.get() > signed => Some(number),
        Some((number, Some(digest))) if number.get() > device.version_floor => {
            let ours = versions::find(db, &report.device, number)?;
            ours.filter(|version| version.payload_digest != *digest).map(|_| number)
        }
        _ => None,
    };
    if let Some(applied) = report.applied
        && let Some(version) = versions::find(db, &report.device, applied)?
        && report.applied_digest.as_ref().is_none_or(|d| *d == version.payload_digest)
    {
        versions::mark_applied(db, &report.device, &version, now_ms)?;
    }
    // Numbers of an older epoch say nothing: what the epoch was raised for is behind. An
    // older agent does not say of which epoch they are.
    let is_of_older_epoch = match &latest {
        _ if report.accepted.is_some() => false,
        // Nothing is signed for it yet under the epoch in force: it may wait for approval.
        Some(latest) if latest.epoch < epoch => true,
        Some(latest) => versions::is_new_epoch(db, &report.device, latest.epoch)?,
        None => false,
    };
    if let Some(ahead) = ahead
        && device.conflict != Some(ahead)
        && !is_of_older_epoch
    {
        tracing::warn!(device = %report.device, %ahead, signed,
            "the device is ahead of the cloud; it gets nothing until it is resolved");
        device.conflict = Some(ahead);
        devices::update(db, &device)?;
    }
    let newest = latest.map(|latest| latest.version);
    Ok(device.conflict.is_none() && report.seen < newest)
}

/// What the device has accepted under this epoch; of one that does not say so, what it
/// has in force.
fn accepted(report: &Reported, epoch: u64) -> Option<(Version, Option<&Digest>)> {
    match &report.accepted {
        Some(accepted) => {
            (accepted.epoch == epoch).then_some((accepted.version, Some(&accepted.digest)))
        }
        None => Some((report.applied?, report.applied_digest.as_ref())),
    }
}

/// Signs one acknowledgement per device and boot. Only after the commit.
fn acknowledge(app: &App, acks: BTreeMap<(DeviceId, BootId), Vec<u64>>) {
    for ((device, boot), sequences) in acks {
        for sequences in sequences.chunks(ACK_SEQUENCES_MAX) {
            let ack = Ack {
                schema: AckSchema::V1,
                fleet: app.fleet.clone(),
                device: device.clone(),
                boot: boot.clone(),
                sequences: sequences.to_vec(),
            };
            let sealed = serde_json::to_vec(&ack)
                .map_err(|error| error.to_string())
                .and_then(|p| seal(app, &p).map_err(|refusal| refusal.to_string()));
            match sealed {
                Ok(bytes) => app.bus.send(Command::Ack(device.clone(), bytes)),
                Err(error) => tracing::error!(%device, %error, "cannot sign an acknowledgement"),
            }
        }
    }
}

fn seal(app: &App, ack: &[u8]) -> Result<Vec<u8>, Refusal> {
    Ok(app.trust().director()?.seal::<Ack>(ack)?)
}
