//! The planner's door to its store: what effects ask for is done on a thread that may
//! wait for the disk, what fails is logged once of its kind, and a damaged store ends
//! the planner. What is in the store is the store's.

use gnomon_agent_core::agent::Append;
use gnomon_schemas::results::Class;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::owed::{Debts, Owed};
use super::store::{Store, StoreError, StoreStatus};

/// How the log names it.
const KEEP_RESULTS: &str = "keep results";
/// Refusals that wait for a store that fails; with more, the oldest goes and is counted.
const UNSAID_MAX: usize = 64;

/// The store, and what it owes.
pub(super) struct Keeping {
    store: Arc<Mutex<Store>>,
    debts: Debts,
    /// What nobody will say again.
    unsaid: VecDeque<Append>,
    /// How many of these had to go.
    dropped: u64,
    /// What fails, and how: said once, until it works again.
    failing: BTreeSet<(&'static str, &'static str)>,
    damage: Option<StoreError>,
}

impl Keeping {
    pub(super) fn new(store: Store) -> Keeping {
        Keeping {
            store: Arc::new(Mutex::new(store)),
            debts: Debts::default(),
            unsaid: VecDeque::new(),
            dropped: 0,
            failing: BTreeSet::new(),
            damage: None,
        }
    }

    /// Does something in the store. `what` names it in the log, where it fails.
    ///
    /// # Errors
    /// The store's. It is logged.
    pub(super) async fn with<T, F>(&mut self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut store.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let done = done.await.unwrap_or_else(|error| Err(StoreError::Left(error.to_string())));
        match &done {
            Ok(_) => self.works(what),
            Err(error) => self.fails(what, error),
        }
        done
    }

    fn works(&mut self, what: &'static str) {
        let before = self.failing.len();
        self.failing.retain(|(failing, _)| *failing != what);
        if self.failing.len() < before {
            tracing::info!("the store works again: {what}");
        }
    }

    fn fails(&mut self, what: &'static str, error: &StoreError) {
        if self.failing.insert((what, error.kind())) {
            tracing::error!(%error, "the store fails: {what}");
        }
        if error.is_damage() && self.damage.is_none() {
            self.damage = Some(StoreError::Damaged(error.to_string()));
        }
    }

    /// Appends what the keeper did, in one transaction where that succeeds; gives of each
    /// whether it is kept. The keeper says again what it does not hear to be kept.
    pub(super) async fn append(&mut self, appends: Vec<Append>) -> Vec<bool> {
        let appends: Arc<[Append]> = appends.into();
        if appends.len() > 1 {
            let all = Arc::clone(&appends);
            let kept = self.with(KEEP_RESULTS, move |store| store.append_all(&all)).await;
            if let Ok(kept) = kept {
                return kept;
            }
        }
        // One that cannot be kept must not take others with it.
        let mut kept = vec![];
        for append in appends.iter() {
            let append = append.clone();
            let is_kept = self.with(KEEP_RESULTS, move |store| store.append(&append)).await;
            kept.push(is_kept.unwrap_or(false));
        }
        kept
    }

    /// Appends what nobody will say again: it is held here, within a cap, until the store
    /// takes it.
    pub(super) async fn say(&mut self, append: Append) {
        if self.unsaid.len() == UNSAID_MAX {
            let gone = self.unsaid.pop_front();
            let batches = gone.map_or(0, |gone| gone.batches.len() as u64);
            self.dropped = self.dropped.saturating_add(batches);
        }
        self.unsaid.push_back(append);
        // What is not said yet is tried again, and was logged.
        let _ = self.say_unsaid().await;
    }

    async fn say_unsaid(&mut self) -> Result<(), StoreError> {
        while let Some(append) = self.unsaid.front().cloned() {
            self.with(KEEP_RESULTS, move |store| store.append(&append)).await?;
            self.unsaid.pop_front();
        }
        if self.dropped > 0 {
            let dropped = self.dropped;
            let count = move |store: &mut Store| store.count_dropped(Class::Faults, dropped);
            self.with(KEEP_RESULTS, count).await?;
            self.dropped = 0;
        }
        Ok(())
    }

    /// Some time has passed: what the store could not do before is tried again.
    pub(super) async fn try_again(&mut self, now: Instant) {
        // What fails again was logged.
        let _ = self.settle().await;
        let _ = self.say_unsaid().await;
        let take_out = move |store: &mut Store| store.take_out_due(now);
        let _ = self.with("delete what is acknowledged", take_out).await;
    }

    /// Does what is asked for once: if not now, then before anything that comes after.
    pub(super) async fn keep(&mut self, debt: Owed) {
        self.debts.add(debt);
        // What is still owed is tried again, and was logged.
        let _ = self.settle().await;
    }

    /// Tries again what is owed.
    ///
    /// # Errors
    /// The store's, if something is still owed.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        while let Some(debt) = self.debts.first().cloned() {
            match debt {
                Owed::Trial(trial) => {
                    self.with("keep a trial", move |store| store.keep_trial(trial.as_ref())).await
                }
                Owed::Failure(failure) => {
                    self.with("keep a failure", move |store| store.keep_failure(&failure)).await
                }
                Owed::Rollback(failure) => {
                    self.with("go back", move |store| store.persist_rollback(&failure)).await
                }
            }?;
            self.debts.settle_first();
        }
        Ok(())
    }

    /// Looks at the store, while it is open.
    pub(super) fn status(&self) -> impl Fn() -> Option<StoreStatus> + Send + 'static {
        let store = Arc::downgrade(&self.store);
        move || store.upgrade()?.lock().unwrap_or_else(PoisonError::into_inner).status().ok()
    }

    /// Why the planner must end, if it must.
    pub(super) fn take_damage(&mut self) -> Option<StoreError> {
        self.damage.take()
    }

    /// Closes the store in order.
    pub(super) async fn close(self) {
        let Some(store) = Arc::into_inner(self.store) else { return };
        let close = move || store.into_inner().unwrap_or_else(PoisonError::into_inner).close();
        match tokio::task::spawn_blocking(close).await {
            Ok(Err(error)) => tracing::warn!(%error, "the store was not closed in order"),
            Err(error) => tracing::warn!(%error, "the store was not closed in order"),
            Ok(Ok(())) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnomon_agent_core::Floor;
    use gnomon_agent_core::agent::{Failure, Transaction};
    use gnomon_schemas::{BootId, Digest, Reason, Refusal};
    use std::path::Path;

    fn document(number: u64) -> Transaction {
        let envelope = number.to_string().into_bytes();
        let digest = Digest::of(&envelope);
        let version = number.try_into().unwrap();
        let floor = Floor { epoch: 1, version, digest, trust_version: 1 };
        let modules = std::collections::BTreeMap::new();
        Transaction {
            floor,
            time_floor_ms: 0,
            envelope,
            modules,
            trial: None,
            keeps_previous: false,
        }
    }

    fn refusal(sequence: u64) -> Append {
        let batch = serde_json::json!({
            "schema": "gnomon.results.v1", "fleet": "acme", "device": "heater-001",
            "boot": BootId::from_random([1; 16]), "sequence": sequence,
            "engine": Digest::of(b""),
            "refusals": [{"at_ms": 1, "refusal": {"reason": "rollback", "detail": ""}}],
        });
        let batches = vec![serde_json::from_value(batch).unwrap()];
        Append { batches, states: vec![], done: None }
    }

    fn tamper(store: &Path, sql: &str) {
        rusqlite::Connection::open(store).unwrap().execute_batch(sql).unwrap();
    }

    #[tokio::test]
    async fn what_is_owed_is_kept_before_anything_that_comes_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.db");
        let mut keeping = Keeping::new(Store::open(&path).unwrap());
        for number in [1, 2] {
            let persist = move |store: &mut Store| store.persist(&document(number));
            keeping.with("test", persist).await.unwrap();
        }
        tamper(
            &path,
            "CREATE TRIGGER full BEFORE DELETE ON document
             BEGIN SELECT raise(ABORT, 'disk full'); END;",
        );
        let given_up = document(2).floor.digest;
        let refusal = Refusal::new(Reason::ProbationFailed, "");
        let failure = Failure { document: given_up.clone(), refusal };
        keeping.keep(Owed::Rollback(Box::new(failure))).await;
        keeping.keep(Owed::Trial(None)).await;
        assert!(keeping.settle().await.is_err(), "still owed");
        assert_eq!(keeping.failing.len(), 1, "said once");
        tamper(&path, "DROP TRIGGER full");
        keeping.try_again(Instant::now()).await;
        keeping.settle().await.unwrap();
        assert!(keeping.failing.is_empty());
        let stored = keeping.with("test", |store: &mut Store| store.stored()).await.unwrap();
        assert_eq!(stored.rolled_back_from, Some(given_up));
        assert_eq!(stored.envelope, Some(document(1).envelope));
    }

    #[tokio::test]
    async fn refusals_that_had_no_room_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.db");
        let mut keeping = Keeping::new(Store::open(&path).unwrap());
        tamper(
            &path,
            "CREATE TRIGGER full BEFORE INSERT ON outbox
             BEGIN SELECT raise(ABORT, 'disk full'); END;",
        );
        for sequence in 1..=(UNSAID_MAX as u64 + 10) {
            keeping.say(refusal(sequence)).await;
        }
        tamper(&path, "DROP TRIGGER full");
        keeping.say(refusal(1_000)).await;
        let status = keeping.with("test", |store: &mut Store| store.status()).await.unwrap();
        assert_eq!(status.outbox[&Class::Faults].rows, UNSAID_MAX as u64);
        assert_eq!((status.dropped.batches, status.dropped_untold), (11, 11));
        assert_eq!(status.appended, UNSAID_MAX as u64 + 11);
    }
}
