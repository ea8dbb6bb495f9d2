//! What each device has seen, for the controller to read at any moment. Whether it is
//! good is not judged here.

use gnomon_schemas::histogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Batches that are kept as examples of what was sent.
const EXAMPLES_MAX: usize = 500;

/// Wall clock (Unix time, ms): the one that the cloud stamps its versions with.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What one device has seen.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// The connection is there and the subscriptions were asked for.
    pub(super) connected: AtomicBool,
    /// Desired documents that came.
    pub(super) documents: AtomicU64,
    /// When the newest came (Unix time, ms).
    pub(super) arrived_ms: AtomicU64,
    /// The version in force; 0 for none.
    pub(super) version: AtomicU64,
    /// Since when (Unix time, ms).
    pub(super) since_ms: AtomicU64,
    /// Batches that were put into the outbox.
    pub(super) made: AtomicU64,
    /// Those that the cloud has said it stored.
    pub(super) stored: AtomicU64,
    /// Calls of modules.
    pub(super) calls: AtomicU64,
    /// Payload bytes that came over MQTT.
    pub(super) bytes_in: AtomicU64,
    /// Payload bytes that went over MQTT.
    pub(super) bytes_out: AtomicU64,
    /// What it refused.
    pub(super) refused: AtomicU64,
}

/// All seats, and what is measured over all of them.
#[derive(Debug)]
pub(super) struct Board {
    /// One per device.
    pub(super) seats: Vec<Seat>,
    /// The size of the newest document that came, bytes.
    pub(super) document_bytes: AtomicU64,
    /// From a batch's way into the outbox to the cloud's word that it is stored, ms.
    stored_ms: Mutex<Histogram>,
    /// What a device does with a document that it did not have: verify, admit from memory,
    /// keep, exchange, report; microseconds.
    taken_us: Mutex<Histogram>,
    examples: Mutex<Vec<Vec<u8>>>,
}

impl Board {
    /// A board for so many devices.
    pub(super) fn new(devices: usize) -> Board {
        Board {
            seats: (0..devices).map(|_| Seat::default()).collect(),
            document_bytes: AtomicU64::new(0),
            stored_ms: Mutex::default(),
            taken_us: Mutex::default(),
            examples: Mutex::default(),
        }
    }

    /// The sum of a count over all devices.
    pub(super) fn sum(&self, of: impl Fn(&Seat) -> &AtomicU64) -> u64 {
        self.each(of).into_iter().sum()
    }

    /// A count of each device.
    pub(super) fn each(&self, of: impl Fn(&Seat) -> &AtomicU64) -> Vec<u64> {
        self.seats.iter().map(|seat| of(seat).load(Ordering::SeqCst)).collect()
    }

    /// Waits until all devices are so, by their places; how many are in the end.
    pub(super) fn wait(&self, patience: Duration, is: impl Fn(usize, &Seat) -> bool) -> usize {
        let start = Instant::now();
        loop {
            let count = self.seats.iter().enumerate().filter(|(at, seat)| is(*at, seat)).count();
            if count == self.seats.len() || start.elapsed() > patience {
                return count;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A batch was acknowledged so long after it was made.
    pub(super) fn was_stored(&self, after: Duration) {
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.stored_ms.lock().unwrap_or_else(PoisonError::into_inner).record(ms);
    }

    /// Those times since the last call.
    pub(super) fn take_stored_ms(&self) -> Histogram {
        std::mem::take(&mut *self.stored_ms.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A document was taken up in so long.
    pub(super) fn was_taken(&self, within: Duration) {
        let us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        self.taken_us.lock().unwrap_or_else(PoisonError::into_inner).record(us);
    }

    /// Those times since the last call.
    pub(super) fn take_taken_us(&self) -> Histogram {
        std::mem::take(&mut *self.taken_us.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a batch as an example, while there are few.
    pub(super) fn example(&self, batch: &[u8]) {
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        if examples.len() < EXAMPLES_MAX {
            examples.push(batch.to_vec());
        }
    }

    /// Batches as they were sent.
    pub(super) fn examples(&self) -> Vec<Vec<u8>> {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
