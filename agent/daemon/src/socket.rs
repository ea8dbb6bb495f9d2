//! The device on the other end of a Unix socket: JSON lines, one request per tick.
//!
//! `{"function":"setpoint","inputs":{"tank_temp_c":51.5}}` is answered by
//! `{"outputs":{"setpoint_c":60.0},"source":"active","clamped":[]}`. A request that
//! cannot be read is answered by `{"reason":...,"detail":...}` and moves nothing.

use gnomon_agent_core::Clamped;
use gnomon_schemas::device::{TickAnswer, TickRequest};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::limits::DEVICE_LINE_BYTES_MAX;
use gnomon_schemas::profile::Profile;
use gnomon_schemas::{Refusal, content, strict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::system_ms;
use crate::device::{Device, Next, Tick};

/// Clients at a time.
const CLIENTS_MAX: usize = 16;
/// The longest request line.
const LINE_BYTES_MAX: u64 = DEVICE_LINE_BYTES_MAX as u64;

/// A device behind a socket. Clients take turns, tick by tick.
pub struct SocketDevice {
    requests: Receiver<(TickRequest, Instant, SyncSender<TickAnswer>)>,
    answer: Option<SyncSender<TickAnswer>>,
    numbers: BTreeMap<FunctionName, u64>,
}

impl SocketDevice {
    /// Listens on `path`; a socket that an earlier agent left there is replaced.
    ///
    /// # Errors
    /// When the socket cannot be made there, or something else lies there.
    pub fn listen(path: &Path, profile: Profile) -> io::Result<SocketDevice> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => {
                let what = format!("{} is not a socket: move it away", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        let (sender, requests) = sync_channel(1);
        thread::Builder::new().name("device-socket".into()).spawn(move || {
            let clients = Arc::new(());
            for stream in listener.incoming().filter_map(Result::ok) {
                if Arc::strong_count(&clients) > CLIENTS_MAX {
                    tracing::error!("more than {CLIENTS_MAX} clients: one was turned away");
                    continue;
                }
                // A client that says nothing must not keep the next one waiting.
                let (profile, sender) = (profile.clone(), sender.clone());
                let counted = Arc::clone(&clients);
                let client = thread::Builder::new().name("device-client".into());
                let served = client.spawn(move || {
                    let _counted = counted;
                    if let Err(error) = serve(&stream, &profile, &sender) {
                        tracing::debug!(%error, "the device hung up");
                    }
                });
                if let Err(error) = served {
                    tracing::error!(%error, "a client of the device socket was turned away");
                }
            }
        })?;
        Ok(SocketDevice { requests, answer: None, numbers: BTreeMap::new() })
    }
}

type ToLoop = SyncSender<(TickRequest, Instant, SyncSender<TickAnswer>)>;

fn serve(stream: &UnixStream, profile: &Profile, to_loop: &ToLoop) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let came = Instant::now();
        match read_request(&line, profile) {
            Ok(request) => {
                let (sender, answer) = sync_channel(1);
                let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
                to_loop.send((request, came, sender)).map_err(|_| gone(()))?;
                write_line(&mut writer, &answer.recv().map_err(|_| gone(()))?)?;
            }
            Err(refusal) => {
                write_line(&mut writer, &refusal)?;
                // Half of an oversized line is no request, and neither is its rest.
                if line.len() as u64 > LINE_BYTES_MAX {
                    return Ok(());
                }
            }
        }
    }
}

fn read_request(line: &[u8], profile: &Profile) -> Result<TickRequest, Refusal> {
    let bytes_max = usize::try_from(LINE_BYTES_MAX).unwrap_or(usize::MAX);
    let request: TickRequest = strict::parse(line, bytes_max)?;
    content::function(profile, &request.function)?;
    Ok(request)
}

fn write_line(writer: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line)
}

impl Device for SocketDevice {
    fn next_tick(&mut self, patience: Duration) -> Next {
        match self.requests.recv_timeout(patience) {
            Ok((request, came, answer)) => {
                self.answer = Some(answer);
                let number = self.numbers.entry(request.function.clone()).or_default();
                *number += 1;
                Next::Tick(Tick {
                    function: request.function,
                    number: *number,
                    at_ms: system_ms(),
                    came,
                    inputs: request.inputs,
                })
            }
            Err(RecvTimeoutError::Timeout) => Next::Idle,
            Err(RecvTimeoutError::Disconnected) => Next::Closed,
        }
    }

    fn actuate(&mut self, _tick: &Tick, values: &Clamped) {
        let Some(answer) = self.answer.take() else { return };
        let response = TickAnswer {
            outputs: values.values().clone(),
            source: values.source(),
            clamped: values.changed().keys().cloned().collect(),
        };
        // A client that has hung up gets no answer.
        let _ = answer.try_send(response);
    }
}
