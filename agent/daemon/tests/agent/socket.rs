//! The socket: one line in, one line out, from any language; and lines that are none.

use gnomon_agent::device::{Device, Next};
use gnomon_agent::socket::SocketDevice;
use gnomon_agent_core::Guard;
use gnomon_schemas::device::TickAnswer;
use gnomon_schemas::document::FunctionPlan;
use gnomon_schemas::results::Source;
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Reason, Refusal};
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

use super::fixture::{PATIENCE, profile, setpoint};

/// An agent's end that proposes the hour of the request as its setpoint.
struct Agent {
    folder: TempDir,
    /// The numbers of the ticks that came through.
    ticks: Receiver<u64>,
}

impl Agent {
    fn start() -> Agent {
        let folder = tempfile::tempdir().unwrap();
        let mut device = SocketDevice::listen(&folder.path().join("device"), profile()).unwrap();
        let mut guard = Guard::new(&profile(), &setpoint(), &FunctionPlan::default()).unwrap();
        let (sender, ticks) = channel();
        std::thread::spawn(move || {
            loop {
                match device.next_tick(Duration::from_millis(50)) {
                    Next::Tick(tick) => {
                        let asked = tick.inputs.get("hour").cloned().unwrap_or(Value::Null);
                        let proposal = Values::from([("setpoint_c".into(), asked)]);
                        device.actuate(&tick, &guard.actuate(Some(&proposal), &tick.inputs));
                        if sender.send(tick.number).is_err() {
                            return;
                        }
                    }
                    Next::Idle => {}
                    Next::Closed => return,
                }
            }
        });
        Agent { folder, ticks }
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.folder.path().join("device")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }
}

struct Client {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
}

impl Client {
    fn ask<T: DeserializeOwned>(&mut self, line: &str) -> T {
        self.stream.write_all(line.as_bytes()).unwrap();
        self.stream.write_all(b"\n").unwrap();
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> T {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn refused(&mut self, line: &str) -> Reason {
        self.ask::<Refusal>(line).reason
    }
}

const COLD: &str = r#"{"function":"setpoint","inputs":{"tank_temp_c":51.5,"hour":60}}"#;

#[test]
fn a_request_is_answered_by_clamped_outputs() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let response: TickAnswer = client.ask(COLD);
    assert_eq!(response.outputs["setpoint_c"], Value::Float(60.0));
    assert_eq!((response.source, response.clamped.len()), (Source::Active, 0));
    let response: TickAnswer = client.ask(&COLD.replace("60", "95"));
    assert_eq!(response.outputs["setpoint_c"], Value::Float(70.0));
    assert_eq!(response.clamped, ["setpoint_c".parse().unwrap()].into());
    let response: TickAnswer = client.ask(&COLD.replace("51.5", "80"));
    assert_eq!(response.outputs["setpoint_c"], Value::Float(35.0), "the interlock");
}

#[test]
fn a_line_that_is_no_request_is_refused_and_moves_nothing() {
    let agent = Agent::start();
    let mut client = agent.connect();
    for (line, reason) in [
        ("", Reason::MalformedJson),
        ("{", Reason::MalformedJson),
        (r#"{"function":"setpoint","inputs":{}} trailing"#, Reason::MalformedJson),
        (r#"{"function":"setpoint","inputs":{"hour":NaN}}"#, Reason::MalformedJson),
        (r#"{"function":"setpoint","inputs":{"hour":1,"hour":2}}"#, Reason::DuplicateKey),
        (r#"{"function":"setpoint","inputs":{"hour":1e999}}"#, Reason::NumberOutOfRange),
        (r#"{"function":"valve","inputs":{}}"#, Reason::UnknownFunction),
        (r#"{"function":"Set point","inputs":{}}"#, Reason::SchemaViolation),
        (r#"{"function":"setpoint"}"#, Reason::SchemaViolation),
        (r#"{"function":"setpoint","inputs":{},"output":1}"#, Reason::SchemaViolation),
        ("[]", Reason::SchemaViolation),
    ] {
        assert_eq!(client.refused(line), reason, "{line}");
    }
    let deep = "[".repeat(40) + &"]".repeat(40);
    assert_eq!(client.refused(&deep), Reason::TooDeep);
    // The same connection still works, and the first tick is the first.
    let _: TickAnswer = client.ask(COLD);
    assert_eq!(agent.ticks.recv_timeout(PATIENCE), Ok(1));
}

#[test]
fn an_oversized_line_ends_the_connection_and_the_next_client_is_served() {
    let agent = Agent::start();
    let mut client = agent.connect();
    // The agent need not read all of it before it hangs up.
    let _ = client.stream.write_all(&vec![b' '; 80 * 1024]);
    assert_eq!(client.answer::<Refusal>().reason, Reason::TooLarge);
    let end = client.reader.read_line(&mut String::new());
    assert!(
        end.as_ref().is_ok_and(|bytes| *bytes == 0)
            || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    );
    let _: TickAnswer = agent.connect().ask(COLD);
}

#[test]
fn clients_take_turns_and_ticks_are_counted_on() {
    let agent = Agent::start();
    for number in 1..=3 {
        let _: TickAnswer = agent.connect().ask(COLD);
        assert_eq!(agent.ticks.recv_timeout(PATIENCE), Ok(number));
    }
    // One that says nothing keeps nobody waiting, and may speak up later.
    let mut silent = agent.connect();
    let _: TickAnswer = agent.connect().ask(COLD);
    let _: TickAnswer = silent.ask(COLD);
}

#[test]
fn a_client_that_hangs_up_before_its_answer_harms_nobody() {
    let agent = Agent::start();
    let mut hasty = agent.connect();
    hasty.stream.write_all(COLD.as_bytes()).unwrap();
    hasty.stream.write_all(b"\n").unwrap();
    drop(hasty);
    assert_eq!(agent.ticks.recv_timeout(PATIENCE), Ok(1));
    let _: TickAnswer = agent.connect().ask(COLD);
}

#[test]
fn a_socket_left_behind_is_replaced_but_no_other_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    drop(SocketDevice::listen(&path, profile()).unwrap());
    assert!(SocketDevice::listen(&path, profile()).is_ok());

    let letter = folder.path().join("letter");
    std::fs::write(&letter, "dear aunt").unwrap();
    let error = SocketDevice::listen(&letter, profile()).err().unwrap();
    assert!(error.to_string().contains("is not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&letter).unwrap(), "dear aunt");
}
