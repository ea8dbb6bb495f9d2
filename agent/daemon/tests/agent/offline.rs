//! The whole agent where no broker answers: it goes on with what it has, keeps what
//! it did, and ends when it is told to or when its device is gone.

use gnomon_agent::planner::outbox::{Room, Sent};
use gnomon_agent::planner::store::Store;
use gnomon_agent::start;
use gnomon_agent::{AgentConfig, AgentHandle, Swapped};
use gnomon_agent_core::Floor;
use gnomon_agent_core::agent::Transaction;
use gnomon_schemas::document::Document;
use gnomon_schemas::results::{Results, Source};
use gnomon_schemas::verify::verify;
use gnomon_schemas::{Digest, Reason};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::fixture::{Fleet, Hands, PATIENCE, Plan, device, tou};

pub struct Site {
    pub fleet: Fleet,
    pub folder: TempDir,
    runtime: Runtime,
}

/// One start of the agent.
pub struct Boot {
    agent: AgentHandle,
    pub hands: Hands,
    swaps: Receiver<Swapped>,
}

impl Site {
    pub fn new() -> Site {
        let runtime = Runtime::new().unwrap();
        Site { fleet: Fleet::new(), folder: tempfile::tempdir().unwrap(), runtime }
    }

    pub fn store(&self) -> Store {
        Store::open(&self.folder.path().join("agent.db")).unwrap()
    }

    /// Puts a document into the store, as an earlier start of the agent did.
    pub fn keep(&self, number: u64, plan: &Plan, tamper: impl Fn(&mut Transaction)) {
        let envelope = self.fleet.seal(&self.fleet.document(number, plan));
        let verified = verify::<Document>(&envelope, &self.fleet.root.roles.director).unwrap();
        let modules = plan.modules.clone();
        let floor = Floor::of(&verified, self.fleet.root.version);
        let (trial, keeps_previous) = (None, false);
        let mut change =
            Transaction { floor, time_floor_ms: 0, envelope, modules, trial, keeps_previous };
        tamper(&mut change);
        self.store().persist(&change).unwrap();
    }

    pub fn start(&self) -> Boot {
        self.start_with(self.fleet.config())
    }

    pub fn start_with(&self, config: AgentConfig) -> Boot {
        let (script, hands) = device();
        let (observer, swaps) = channel();
        let _context = self.runtime.enter();
        let agent = start(config, self.folder.path(), Box::new(script), Some(observer));
        Boot { agent: agent.unwrap(), hands, swaps }
    }

    pub fn stop(&self, boot: Boot) {
        self.runtime.block_on(boot.agent.stop()).unwrap();
        let end = boot.hands.actuated.recv_timeout(PATIENCE);
        assert_eq!(end, Err(RecvTimeoutError::Disconnected), "the device is let go");
    }

    /// All that waits for a cloud.
    fn outbox(&self) -> Vec<Results> {
        let waiting = self.store().waiting(&Sent::default(), Room::UNLIMITED).unwrap();
        waiting.iter().map(|batch| serde_json::from_slice(&batch.bytes).unwrap()).collect()
    }

    /// The reasons of all refusals that wait for a cloud.
    pub fn reasons(&self) -> Vec<Reason> {
        let outbox = self.outbox();
        outbox.iter().flat_map(|batch| &batch.refusals).map(|event| event.refusal.reason).collect()
    }

    fn ticks_kept(&self) -> u64 {
        let outbox = self.outbox();
        outbox.iter().flat_map(|batch| &batch.summaries).map(|summary| summary.ticks).sum()
    }
}

impl Boot {
    fn wait_in_force(&self) -> u64 {
        self.swaps.recv_timeout(PATIENCE).expect("nothing came into force").version.get()
    }
}

#[test]
fn an_agent_goes_on_offline_with_its_stored_document_and_keeps_what_it_did() {
    let site = Site::new();
    site.keep(3, &tou().summary_ticks(4), |_| {});
    let mut ticks = 0;
    for boot_number in 1..=2 {
        let mut boot = site.start();
        assert_eq!(boot.wait_in_force(), 3);
        for _ in 0..10 {
            let got = boot.hands.tick(1.0);
            assert_eq!((got.source, got.setpoint_c), (Source::Active, 60.0));
            ticks += 1;
        }
        site.stop(boot);
        assert_eq!(site.ticks_kept(), ticks, "boot {boot_number}: the last two of ten, too");
    }
    let outbox = site.outbox();
    let boots: std::collections::BTreeSet<_> = outbox.iter().map(|b| b.boot.clone()).collect();
    assert_eq!(boots.len(), 2, "each start numbers its own batches");
    assert!(outbox.iter().all(|batch| batch.engine != Digest::of(b"")));
}

#[test]
fn an_agent_with_an_empty_store_holds_the_defaults() {
    let site = Site::new();
    let mut boot = site.start();
    for _ in 0..3 {
        let got = boot.hands.tick(1.0);
        assert_eq!((got.source, got.setpoint_c), (Source::Default, 50.0));
    }
    site.stop(boot);
    assert_eq!(site.ticks_kept(), 3);
}

/// The reasons for which a start refuses what its store holds.
fn refused(tamper: impl Fn(&mut Transaction)) -> Vec<Reason> {
    let site = Site::new();
    site.keep(3, &tou(), tamper);
    let mut boot = site.start();
    // The refusal is durable before the planner hears that it is to stop.
    assert_eq!(boot.hands.tick(1.0).source, Source::Default);
    site.stop(boot);
    let outbox = site.outbox();
    outbox.iter().flat_map(|batch| &batch.refusals).map(|event| event.refusal.reason).collect()
}

#[test]
fn a_tampered_store_acts_on_nothing_and_says_why() {
    let envelope = refused(|change| {
        let at = change.envelope.iter().position(|byte| *byte == b'Z').unwrap();
        change.envelope[at] = b'Y';
    });
    assert_eq!(envelope.len(), 1, "{envelope:?}");
    let module = refused(|change| {
        change.modules.values_mut().for_each(|bytes| bytes.0.push(0));
    });
    assert_eq!(module, [Reason::ModuleDigestMismatch]);
    let rollback = refused(|change| change.floor.version = 9.try_into().unwrap());
    assert_eq!(rollback, [Reason::Rollback]);
}

#[test]
fn an_agent_ends_by_itself_when_its_device_is_gone_and_nothing_waits() {
    let site = Site::new();
    let Boot { mut agent, hands, .. } = site.start();
    drop(hands);
    site.runtime.block_on(async {
        tokio::time::timeout(PATIENCE, agent.ended()).await.expect("it goes on").unwrap();
    });
}

#[test]
fn an_agent_whose_device_is_gone_keeps_its_last_results_and_can_be_stopped() {
    let site = Site::new();
    site.keep(1, &tou(), |_| {});
    let Boot { agent, mut hands, swaps } = site.start();
    swaps.recv_timeout(PATIENCE).unwrap();
    hands.ticks(7);
    drop(hands);
    site.runtime.block_on(agent.stop()).unwrap();
    assert_eq!(site.ticks_kept(), 7);
}

#[test]
fn a_dropped_handle_ends_the_agent() {
    let site = Site::new();
    let Boot { agent, hands, .. } = site.start();
    drop(agent);
    let end = hands.actuated.recv_timeout(PATIENCE);
    assert_eq!(end, Err(RecvTimeoutError::Disconnected));
}

#[test]
fn the_data_folder_is_the_agents_alone() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let boot = site.start();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(site.folder.path()), 0o700);
    site.stop(boot);
}
