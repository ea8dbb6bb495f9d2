//! What a load run found: for people, and as JSON. The promises that it is held to.

use comfy_table::{Table, presets};
use gnomon_schemas::histogram::Histogram;
use serde::Serialize;
use std::fmt;

use crate::percentiles::nearest_ranks;

/// Percentiles of a time in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Milliseconds {
    /// Half are not above.
    pub p50: u64,
    /// 95 of 100 are not above.
    pub p95: u64,
    /// 99 of 100 are not above.
    pub p99: u64,
    /// None is above.
    pub max: u64,
}

impl Milliseconds {
    /// Of these values, exactly; zeros of none.
    pub fn of(values: Vec<u64>) -> Milliseconds {
        let [p50, p95, p99, max] = nearest_ranks(values, [50, 95, 99, 100]);
        Milliseconds { p50, p95, p99, max }
    }

    /// Of a histogram, to two significant figures.
    pub fn of_histogram(of: &Histogram) -> Milliseconds {
        let at = |quantile| of.quantile(quantile);
        Milliseconds { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: of.max() }
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Milliseconds { p50, p95, p99, max } = self;
        write!(f, "p50 {p50} ms, p95 {p95} ms, p99 {p99} ms, max {max} ms")
    }
}

/// All devices connect, and take the document that waits for them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Connecting {
    /// Devices that were registered over HTTP, a second.
    pub registered_per_s: f64,
    /// Devices that got a certificate over HTTP, a second, each with a new key.
    pub enrolled_per_s: Option<f64>,
    /// From the first connection to the last device that has its document in force.
    pub seconds: f64,
    /// Devices that have it.
    pub converged: usize,
}

/// A new document goes to all of them at once.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Publishing {
    /// Devices that have it in force.
    pub converged: usize,
    /// What one envelope weighs, bytes.
    pub document_bytes: u64,
    /// From the approval to the answer that all documents are composed, signed and stored.
    pub signed_s: f64,
    /// From the approval to the last device that has it in force.
    pub converged_s: f64,
    /// From the first document at the broker to the last that came.
    pub fan_out_s: f64,
    /// What a device does with it until it is in force and reported, all of them on the same
    /// processors: microseconds, median and 99th percentile.
    pub taken_us: (u64, u64),
    /// From each document at the broker to its being in force, by the device's clock.
    pub to_in_force: Milliseconds,
    /// From each document at the broker to the cloud's knowing that it is.
    pub to_known: Milliseconds,
    /// The broker alone: plain clients, the same bytes.
    pub bare_fan_out_s: Option<f64>,
    /// How much longer the fan-out took than that.
    pub fan_out_ratio: Option<f64>,
}

/// Devices tick and report.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Steady {
    /// How long.
    pub seconds: f64,
    /// Function calls a second, over all devices.
    pub calls_per_s: f64,
    /// Batches made a second, over all devices.
    pub made_per_s: f64,
    /// Batches stored a second, over all devices.
    pub stored_per_s: f64,
    /// From a batch's way into the outbox to the word that it is stored.
    pub to_stored: Milliseconds,
    /// Payload bytes to a device, a minute.
    pub bytes_in_per_minute: f64,
    /// Payload bytes from a device, a minute.
    pub bytes_out_per_minute: f64,
    /// Processors that the cloud took.
    pub cloud_processors: f64,
}

/// The outboxes of a fleet that was away, all at once.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Draining {
    /// Batches that waited.
    pub batches: u64,
    /// Until the last was acknowledged.
    pub seconds: f64,
    /// Batches a second.
    pub stored_per_s: f64,
    /// SQLite alone, the same batches as plain rows, a second.
    pub bare_insert_per_s: Option<f64>,
    /// How many times as many that is.
    pub insert_ratio: Option<f64>,
}

/// All devices lose their connection at once and make another.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Reconnecting {
    /// Devices that are back, with their document.
    pub back: usize,
    /// Until the last is.
    pub seconds: f64,
}

/// Memory of one process.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Weight {
    /// Resident, before the first device is registered, bytes.
    pub before_bytes: u64,
    /// Resident, when all are connected and have their document, bytes.
    pub connected_bytes: u64,
    /// Resident, at the end, bytes.
    pub after_bytes: u64,
    /// The most that it was, bytes.
    pub peak_bytes: u64,
    /// What a connected device adds, bytes.
    pub per_device_bytes: u64,
    /// The same of a plain client of a broker of this kind that does nothing else.
    pub per_plain_client_bytes: Option<u64>,
}

/// All of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LoadReport {
    /// Devices.
    pub devices: usize,
    /// The broker.
    pub broker: String,
    /// See [`Connecting`].
    pub connecting: Connecting,
    /// See [`Publishing`].
    pub publishing: Publishing,
    /// See [`Steady`].
    pub steady: Steady,
    /// See [`Draining`].
    pub draining: Draining,
    /// See [`Reconnecting`].
    pub reconnecting: Reconnecting,
    /// The cloud's process, with its broker in it if that is the embedded one.
    pub cloud: Weight,
    /// The broker's process, if it has one of its own that could be found.
    pub broker_process: Option<Weight>,
    /// Batches that devices made.
    pub batches_made: u64,
    /// Batches that the cloud says are stored.
    pub batches_stored: u64,
    /// What devices and cloud refused.
    pub refused: u64,
    /// Until the end, seconds.
    pub wall_clock_s: f64,
}

impl LoadReport {
    /// What must hold, and whether it does.
    pub fn promises(&self) -> Vec<(String, bool)> {
        let all = self.devices;
        let of = |what: &str, count: usize| (format!("{what}: {count} of {all}"), count == all);
        vec![
            of("devices that connected and took their document", self.connecting.converged),
            of("devices that took the new document", self.publishing.converged),
            of("devices that came back", self.reconnecting.back),
            (
                format!("batches stored: {} of {}", self.batches_stored, self.batches_made),
                self.batches_stored == self.batches_made && self.batches_made > 0,
            ),
            (format!("refusals: {}", self.refused), self.refused == 0),
        ]
    }

    /// Whether all of it holds.
    pub fn holds(&self) -> bool {
        self.promises().iter().all(|(_, holds)| *holds)
    }

    fn rows(&self) -> Vec<[String; 2]> {
        let LoadReport { connecting, publishing, steady, draining, reconnecting, .. } = self;
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0));
        let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
        let ratio = |ratio: Option<f64>, what: String| {
            ratio.map_or("not measured".to_owned(), |ratio| format!("{what}, {ratio:.2}"))
        };
        let fan_out = publishing.bare_fan_out_s.unwrap_or_default();
        let insert = draining.bare_insert_per_s.unwrap_or_default();
        let mut rows = vec![
            ["register, a second".into(), format!("{:.0}", connecting.registered_per_s)],
            ["enrol, a second".into(), {
                let per_s = connecting.enrolled_per_s;
                per_s.map_or("without certificates".into(), |per_s| format!("{per_s:.0}"))
            }],
            ["connect and converge".into(), format!("{:.2} s", connecting.seconds)],
            ["document".into(), format!("{} bytes", publishing.document_bytes)],
            ["  composed, signed, stored for all".into(), format!("{:.2} s", publishing.signed_s)],
            ["  in force on all".into(), format!("{:.2} s", publishing.converged_s)],
            ["  broker to in force".into(), publishing.to_in_force.to_string()],
            ["  broker to known by the cloud".into(), publishing.to_known.to_string()],
            ["  first at the broker to last that came".into(), {
                format!("{:.2} s", publishing.fan_out_s)
            }],
            ["  bare broker, same bytes; ratio".into(), {
                ratio(publishing.fan_out_ratio, format!("{fan_out:.2} s"))
            }],
            ["  a device takes it up in".into(), {
                let (p50, p99) = publishing.taken_us;
                format!("p50 {p50} us, p99 {p99} us of processor time")
            }],
            ["steady: calls, batches a second".into(), {
                format!("{:.0}, {:.0}", steady.calls_per_s, steady.made_per_s)
            }],
            ["  made to stored".into(), steady.to_stored.to_string()],
            ["  payload to, from a device a minute".into(), {
                let (to, from) = (steady.bytes_in_per_minute, steady.bytes_out_per_minute);
                format!("{}, {}", kib(to), kib(from))
            }],
            ["  processors that the cloud takes".into(), {
                format!("{:.2}", steady.cloud_processors)
            }],
            ["drain: batches, a second".into(), {
                format!("{}, {:.0}", draining.batches, draining.stored_per_s)
            }],
            ["  bare SQLite, same rows; ratio".into(), {
                ratio(draining.insert_ratio, format!("{insert:.0} a second"))
            }],
            ["all reconnect".into(), format!("{:.2} s", reconnecting.seconds)],
        ];
        let processes = [("cloud", Some(&self.cloud)), ("broker", self.broker_process.as_ref())];
        for (name, weight) in processes {
            let Some(weight) = weight else { continue };
            rows.push([format!("{name}: memory before, connected, peak"), {
                let Weight { before_bytes, connected_bytes, peak_bytes, .. } = *weight;
                format!("{}, {}, {}", mib(before_bytes), mib(connected_bytes), mib(peak_bytes))
            }]);
            rows.push(["  per connected device; plain client".into(), {
                let plain = weight.per_plain_client_bytes;
                let plain = plain.map_or("not measured".into(), |bytes| kib(bytes as f64));
                format!("{}; {plain}", kib(weight.per_device_bytes as f64))
            }]);
        }
        rows
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([format!("{} devices, broker {}", self.devices, self.broker), {
            format!("{:.0} s", self.wall_clock_s)
        }]);
        table.add_rows(self.rows());
        writeln!(f, "{table}\n")?;
        for (what, holds) in self.promises() {
            writeln!(f, "  {}  {what}", if holds { "yes" } else { "NO " })?;
        }
        Ok(())
    }
}
