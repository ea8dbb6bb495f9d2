//! Which batches of the outbox to send next: a window of unacknowledged ones, and
//! from the oldest on again after a reconnection and every few seconds, since a
//! broker may lose what it has accepted. The cloud stores a batch once. What is in
//! a batch is not known here.

use std::time::{Duration, Instant};

/// Batches on their way at a time.
pub const WINDOW: usize = 64;
/// How long a batch may be on its way before it is sent again.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What has been sent since the last connection.
#[derive(Debug, Default)]
pub struct Outbox {
    connected: bool,
    last_id: i64,
    on_their_way: usize,
    round_start: Option<Instant>,
}

impl Outbox {
    /// A new connection: what was on its way may be lost.
    pub fn reconnected(&mut self) {
        *self = Outbox { connected: true, ..Outbox::default() };
    }

    /// The connection is gone: what is handed over now would only fill the client's
    /// queue, and leave no room for the subscriptions of the next connection.
    pub fn disconnected(&mut self) {
        self.connected = false;
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// After which row to go on, and how many rows to send; none while the window is full.
    pub fn ask(&mut self, now: Instant) -> Option<(i64, usize)> {
        let round_start = *self.round_start.get_or_insert(now);
        if now.saturating_duration_since(round_start) >= PATIENCE {
            self.last_id = 0;
            self.on_their_way = 0;
            self.round_start = Some(now);
        }
        let room = WINDOW.saturating_sub(self.on_their_way);
        (self.connected && room > 0).then_some((self.last_id, room))
    }

    /// A row was handed to the network.
    pub fn sent(&mut self, id: i64) {
        self.last_id = id;
        self.on_their_way += 1;
    }

    /// The cloud has acknowledged something: there is room again.
    pub fn acknowledged(&mut self, batches: usize) {
        self.on_their_way = self.on_their_way.saturating_sub(batches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_a_window_then_waits_and_starts_again_after_a_while_or_a_reconnection() {
        let start = Instant::now();
        let mut outbox = Outbox::default();
        assert_eq!(outbox.ask(start), None, "nothing before the first connection");
        outbox.reconnected();
        assert_eq!(outbox.ask(start), Some((0, WINDOW)));
        for id in 1..=WINDOW {
            outbox.sent(i64::try_from(id).unwrap());
        }
        assert_eq!(outbox.ask(start), None, "the window is full");
        outbox.acknowledged(3);
        assert_eq!(outbox.ask(start), Some((64, 3)), "room for as many as were acknowledged");
        let later = start + PATIENCE;
        assert_eq!(outbox.ask(later), Some((0, WINDOW)), "from the oldest on again");
        outbox.sent(5);
        assert_eq!(outbox.ask(later), Some((5, WINDOW - 1)), "goes on where it was");
        outbox.disconnected();
        assert_eq!(outbox.ask(later + PATIENCE), None, "nothing while there is no connection");
        outbox.reconnected();
        assert_eq!(outbox.ask(start), Some((0, WINDOW)));
    }
}
