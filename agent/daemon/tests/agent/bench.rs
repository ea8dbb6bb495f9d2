//! A real runner on a socket pair: the test is the planner and the device.

use gnomon_agent::frames::{self, write_frame};
use gnomon_agent::runner;
use gnomon_agent_core::message::{FromRunner, ToRunner};
use gnomon_schemas::document::{Document, InlineBytes};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::results::{Record, SlotRole, Summary};
use gnomon_schemas::{Digest, Reason, Refusal};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use super::fixture::{Hands, PATIENCE, Plan, device, profile, setpoint};

pub struct Bench {
    to: UnixStream,
    from: Receiver<FromRunner>,
    pub hands: Hands,
    /// What was done and has come by, while the test waited for something else.
    pub summaries: Vec<Summary>,
    pub records: Vec<Record>,
    ticks: JoinHandle<()>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(profile())
    }

    pub fn with(profile: Profile) -> Bench {
        let (script, hands) = device();
        let (to, runner_end) = UnixStream::pair().unwrap();
        let (sender, from) = channel();
        frames::receiver("test", to.try_clone().unwrap(), move |m| sender.send(m).is_ok()).unwrap();
        let ticks = runner::start(profile, Box::new(script), runner_end).unwrap();
        let (summaries, records) = (vec![], vec![]);
        let mut bench = Bench { to, from, hands, summaries, records, ticks };
        bench.wait(|message| matches!(message, FromRunner::Started { .. }).then_some(()));
        bench
    }

    pub fn tell(&mut self, message: &ToRunner) {
        write_frame(&mut self.to, message).unwrap();
    }

    /// Waits for a message; what was done meanwhile is kept.
    pub fn wait<T>(&mut self, mut pick: impl FnMut(&FromRunner) -> Option<T>) -> T {
        loop {
            let message = self.from.recv_timeout(PATIENCE).expect("the runner keeps silent");
            let picked = pick(&message);
            self.keep(message);
            if let Some(picked) = picked {
                return picked;
            }
        }
    }

    /// Keeps what has come so far.
    pub fn take_what_came(&mut self) {
        while let Ok(message) = self.from.try_recv() {
            self.keep(message);
        }
    }

    fn keep(&mut self, message: FromRunner) {
        if let FromRunner::Done { summaries, records } = message {
            self.summaries.extend(summaries);
            self.records.extend(records);
        }
    }

    /// Waits until the summaries that have come say so.
    pub fn wait_until(&mut self, mut is_so: impl FnMut(&Bench) -> bool) {
        while !is_so(self) {
            self.wait(|message| matches!(message, FromRunner::Done { .. }).then_some(()));
        }
    }

    pub fn send_prepare(&mut self, document: &Document, modules: &BTreeMap<Digest, InlineBytes>) {
        let (document, modules) = (document.clone(), modules.clone());
        self.tell(&ToRunner::Prepare { document, modules });
    }

    pub fn wait_prepared(&mut self, number: u64) -> Result<(), Refusal> {
        self.wait(|message| match message {
            FromRunner::Prepared { version, outcome } => {
                assert_eq!(version.get(), number);
                Some(outcome.clone())
            }
            _ => None,
        })
    }

    /// The reason for which a document is not admitted.
    pub fn refusal_of(
        &mut self,
        document: &Document,
        modules: &BTreeMap<Digest, InlineBytes>,
    ) -> Option<Reason> {
        self.send_prepare(document, modules);
        self.wait_prepared(document.version.get()).err().map(|refusal| refusal.reason)
    }

    /// Prepares and activates; gives the tick from which on it is in force.
    pub fn put_in_force(&mut self, number: u64, plan: &Plan) -> u64 {
        self.send_prepare(&plan.document(number), &plan.modules);
        self.wait_prepared(number).unwrap();
        self.activate(number)
    }

    pub fn activate(&mut self, number: u64) -> u64 {
        self.tell(&ToRunner::Activate { version: number.try_into().unwrap() });
        self.wait(|message| match message {
            FromRunner::Activated { version, from_tick, .. } => {
                assert_eq!(version.get(), number);
                Some(from_tick[&setpoint()])
            }
            _ => None,
        })
    }

    /// The device goes: gives all that the runner says until it is gone.
    pub fn close(mut self) -> (Vec<Summary>, Vec<Record>) {
        self.hands.leave();
        while let Ok(message) = self.from.recv_timeout(PATIENCE) {
            self.keep(message);
        }
        self.ticks.join().unwrap();
        (self.summaries, self.records)
    }

    /// The planner goes: the runner ends, and the device is let go.
    pub fn leave(self) -> Hands {
        let Bench { to, from, hands, ticks, .. } = self;
        to.shutdown(std::net::Shutdown::Write).unwrap();
        ticks.join().unwrap();
        assert!(from.iter().count() < 100, "and its stream ends");
        hands
    }

    pub fn of(&self, role: SlotRole) -> impl Iterator<Item = &Summary> {
        self.summaries.iter().filter(move |summary| summary.role == role)
    }
}
