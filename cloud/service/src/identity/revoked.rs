//! The certificates that no longer open anything, in memory, for every handshake; and
//! the word to those who are connected by one.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// The serials of revoked certificates. Clones share them.
#[derive(Debug, Clone)]
pub struct Revocations {
    serials: Arc<RwLock<BTreeSet<String>>>,
    changed: watch::Sender<()>,
}

impl Revocations {
    /// These serials, to begin with.
    pub fn new(serials: BTreeSet<String>) -> Revocations {
        Revocations { serials: Arc::new(RwLock::new(serials)), changed: watch::Sender::new(()) }
    }

    /// Whether a certificate is revoked.
    pub fn contains(&self, serial: &str) -> bool {
        self.serials.read().unwrap_or_else(PoisonError::into_inner).contains(serial)
    }

    /// Revokes more.
    pub fn extend(&self, serials: impl IntoIterator<Item = String>) {
        self.serials.write().unwrap_or_else(PoisonError::into_inner).extend(serials);
        self.changed.send_replace(());
    }

    /// Waits until a certificate is revoked.
    pub async fn wait_for(&self, serial: &str) {
        let mut changes = self.changed.subscribe();
        // The sender lives in `self`.
        while !self.contains(serial) && changes.changed().await.is_ok() {}
    }
}
