//! A real keeper on a socket pair, its cells in this process: the test is the planner and
//! the device.

use gnomon_agent::cell::local_workshop;
use gnomon_agent::frames::{self, write_frame};
use gnomon_agent::keeper::{Keeper, KeeperOptions, KeeperView, WithoutPlanner};
use gnomon_agent_core::message::{Done, FromKeeper, FunctionState, Prepare, RolledBack, ToKeeper};
use gnomon_schemas::document::{Document, InlineBytes};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::results::{Record, SlotRole, Summary};
use gnomon_schemas::{Digest, Reason, Refusal};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};

use super::fixture::{Hands, PATIENCE, Plan, device, profile, setpoint};

pub struct Bench {
    keeper: Keeper,
    planner: Planner,
    pub hands: Hands,
    /// What was done and has come by, while the test waited for something else.
    pub summaries: Vec<Summary>,
    pub records: Vec<Record>,
    pub states: Vec<FunctionState>,
    /// The numbers of the messages that said it, in the order in which they came.
    pub numbers: Vec<u64>,
    /// Whether what was done is said to be durable as it comes.
    pub keeps: bool,
    /// What the functions remembered when it was kept last: it travels with documents.
    pub kept_states: Vec<FunctionState>,
    /// The digest of each document that was sent, by its version.
    digests: BTreeMap<u64, Digest>,
}

/// One planner's end of the stream.
pub struct Planner {
    pub to: UnixStream,
    pub from: Receiver<FromKeeper>,
}

impl Planner {
    /// Its end and the keeper's.
    pub fn pair() -> (Planner, UnixStream) {
        let (to, keeper_end) = UnixStream::pair().unwrap();
        let (sender, from) = channel();
        frames::receiver("test", to.try_clone().unwrap(), move |m| sender.send(m).is_ok()).unwrap();
        (Planner { to, from }, keeper_end)
    }
}

/// The name by which a document is spoken of.
pub fn digest_of(document: &Document) -> Digest {
    Digest::of(&serde_json::to_vec(document).unwrap())
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(profile())
    }

    pub fn with(profile: Profile) -> Bench {
        Bench::start(profile, WithoutPlanner::End)
    }

    pub fn start(profile: Profile, without_planner: WithoutPlanner) -> Bench {
        let (script, hands) = device();
        let options = KeeperOptions { without_planner, realtime: None };
        let workshop = local_workshop().unwrap();
        let keeper = Keeper::start(profile, Box::new(script), workshop, options).unwrap();
        let (planner, keeper_end) = Planner::pair();
        keeper.attach(keeper_end).unwrap();
        let mut bench = Bench {
            keeper,
            planner,
            hands,
            summaries: vec![],
            records: vec![],
            states: vec![],
            numbers: vec![],
            keeps: true,
            kept_states: vec![],
            digests: BTreeMap::new(),
        };
        assert_eq!(bench.wait_started(), None);
        bench
    }

    /// Another planner takes the place of this one; gives what it is told first.
    pub fn attach(&mut self) -> Option<RolledBack> {
        let (planner, keeper_end) = Planner::pair();
        self.keeper.attach(keeper_end).unwrap();
        self.planner = planner;
        self.wait_started()
    }

    /// The same; gives the end of the one before.
    pub fn attach_and_keep(&mut self) -> Planner {
        let (planner, keeper_end) = Planner::pair();
        self.keeper.attach(keeper_end).unwrap();
        let before = std::mem::replace(&mut self.planner, planner);
        self.wait_started();
        before
    }

    /// The planner is gone, and nobody has come in its place.
    pub fn hang_up(&mut self) {
        self.planner.to.shutdown(std::net::Shutdown::Both).unwrap();
    }

    fn wait_started(&mut self) -> Option<RolledBack> {
        let first = self.planner.from.recv_timeout(PATIENCE).expect("the keeper keeps silent");
        let FromKeeper::Started { rolled_back, .. } = first else { panic!("{first:?}") };
        rolled_back
    }

    pub fn tell(&mut self, message: &ToKeeper) {
        write_frame(&mut self.planner.to, message).unwrap();
    }

    /// Waits for a message; what was done meanwhile is kept.
    pub fn wait<T>(&mut self, mut pick: impl FnMut(&FromKeeper) -> Option<T>) -> T {
        loop {
            let message =
                self.planner.from.recv_timeout(PATIENCE).expect("the keeper keeps silent");
            let picked = pick(&message);
            self.keep(message);
            if let Some(picked) = picked {
                return picked;
            }
        }
    }

    /// Keeps what has come so far.
    pub fn take_what_came(&mut self) {
        while let Ok(message) = self.planner.from.try_recv() {
            self.keep(message);
        }
    }

    fn keep(&mut self, message: FromKeeper) {
        let FromKeeper::Done(done) = message else { return };
        let Done { number, summaries, records, states } = *done;
        self.numbers.push(number);
        self.summaries.extend(summaries);
        self.records.extend(records);
        self.states.extend(states);
        if self.keeps {
            // The keeper may have ended.
            let _ = write_frame(&mut self.planner.to, &ToKeeper::Kept { number });
        }
    }

    /// Waits until what has come says so.
    pub fn wait_until(&mut self, mut is_so: impl FnMut(&Bench) -> bool) {
        while !is_so(self) {
            self.wait(|message| matches!(message, FromKeeper::Done(_)).then_some(()));
        }
    }

    /// What the keeper has to say of its documents next, its first word and what was done
    /// aside.
    pub fn next_word(&mut self) -> FromKeeper {
        self.wait(|message| match message {
            FromKeeper::Done(_) | FromKeeper::Started { .. } => None,
            word => Some(word.clone()),
        })
    }

    pub fn wait_rolled_back(&mut self) -> RolledBack {
        self.wait(|message| match message {
            FromKeeper::RolledBack(what) => Some(what.clone()),
            _ => None,
        })
    }

    pub fn view(&self) -> KeeperView {
        self.keeper.view().expect("the keeper does not answer")
    }

    pub fn send_prepare(&mut self, document: &Document, modules: &BTreeMap<Digest, InlineBytes>) {
        let digest = digest_of(document);
        self.digests.insert(document.version.get(), digest.clone());
        self.tell(&ToKeeper::Prepare(Box::new(Prepare {
            digest,
            document: document.clone(),
            modules: modules.clone(),
            states: self.kept_states.clone(),
            on_trial: true,
        })));
    }

    pub fn wait_prepared(&mut self, number: u64) -> Result<(), Refusal> {
        let digest = self.digests[&number].clone();
        self.wait(|message| match message {
            FromKeeper::Prepared { document, outcome } => {
                assert_eq!(*document, digest);
                Some(outcome.clone())
            }
            _ => None,
        })
    }

    /// Why a document is not admitted.
    pub fn refusal_of(
        &mut self,
        document: &Document,
        modules: &BTreeMap<Digest, InlineBytes>,
    ) -> Option<Refusal> {
        self.send_prepare(document, modules);
        self.wait_prepared(document.version.get()).err()
    }

    pub fn reason_of(
        &mut self,
        document: &Document,
        modules: &BTreeMap<Digest, InlineBytes>,
    ) -> Option<Reason> {
        self.refusal_of(document, modules).map(|refusal| refusal.reason)
    }

    /// Prepares and activates; gives the tick from which on it is in force.
    pub fn put_in_force(&mut self, number: u64, plan: &Plan) -> u64 {
        self.send_prepare(&plan.document(number), &plan.modules);
        self.wait_prepared(number).unwrap();
        self.activate(number)
    }

    /// Asks for the document of this version that was sent last, and does not wait.
    pub fn send_activate(&mut self, number: u64) {
        let document = self.digests[&number].clone();
        self.tell(&ToKeeper::Activate { document, version: number.try_into().unwrap() });
    }

    pub fn activate(&mut self, number: u64) -> u64 {
        self.send_activate(number);
        let digest = self.digests[&number].clone();
        self.wait(|message| match message {
            FromKeeper::Activated { document, from_tick, .. } => {
                assert_eq!(*document, digest);
                Some(from_tick.get(&setpoint()).copied().unwrap_or(0))
            }
            _ => None,
        })
    }

    /// The device goes: gives all that the keeper says until it is gone.
    pub fn close(mut self) -> (Vec<Summary>, Vec<Record>) {
        self.say_last_words();
        (self.summaries, self.records)
    }

    /// The same, and what the functions remember.
    pub fn close_with_states(mut self) -> Vec<FunctionState> {
        self.say_last_words();
        self.states
    }

    fn say_last_words(&mut self) {
        self.hands.leave();
        while let Ok(message) = self.planner.from.recv_timeout(PATIENCE) {
            self.keep(message);
        }
    }

    /// The planner goes; gives what is left of the bench.
    pub fn leave(self) -> (Keeper, Hands) {
        let Bench { keeper, planner, hands, .. } = self;
        planner.to.shutdown(std::net::Shutdown::Write).unwrap();
        (keeper, hands)
    }

    pub fn of(&self, role: SlotRole) -> impl Iterator<Item = &Summary> {
        self.summaries.iter().filter(move |summary| summary.role == role)
    }
}
