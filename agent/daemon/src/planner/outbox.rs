//! Which batches of the outbox to send next: a window of unacknowledged ones, the
//! classes in their order, and from the start on again after a reconnection and every
//! few seconds, since a broker may lose what it has accepted. The cloud stores a batch
//! once. What is in a batch is not known here.

use gnomon_schemas::results::Class;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Batches on their way at a time.
pub const WINDOW: usize = 64;
/// Bytes on their way at a time, but for the last batch of a window.
pub const WINDOW_BYTES: usize = 1024 * 1024;
/// How long a batch may be on its way before it is sent again.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How far each class was sent: a batch that matters more than those that were sent
/// before it came is still the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent(BTreeMap<Class, i64>);

impl Sent {
    /// The last row of this class that was sent.
    pub fn last_of(&self, class: Class) -> Option<i64> {
        self.0.get(&class).copied()
    }
}

/// How much may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Batches.
    pub rows: usize,
    /// Their bytes, but for the last one.
    pub bytes: usize,
}

impl Room {
    /// For all there is.
    pub const UNLIMITED: Room = Room { rows: usize::MAX, bytes: usize::MAX };
}

/// What has been sent since the last connection.
#[derive(Debug, Default)]
pub struct Outbox {
    connected: bool,
    sent: Sent,
    /// The bytes of each batch on its way, by its place in the outbox.
    on_their_way: BTreeMap<i64, usize>,
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

    /// From where to go on, and how much to send; none while the window is full.
    pub fn ask(&mut self, now: Instant) -> Option<(Sent, Room)> {
        let round_start = *self.round_start.get_or_insert(now);
        if now.saturating_duration_since(round_start) >= PATIENCE {
            *self = Outbox { connected: self.connected, ..Outbox::default() };
            self.round_start = Some(now);
        }
        let room = Room {
            rows: WINDOW.saturating_sub(self.on_their_way.len()),
            bytes: self.on_their_way.values().fold(WINDOW_BYTES, |r, b| r.saturating_sub(*b)),
        };
        let has_room = self.connected && room.rows > 0 && room.bytes > 0;
        has_room.then(|| (self.sent.clone(), room))
    }

    /// A row was handed to the network.
    pub fn sent(&mut self, class: Class, id: i64, bytes: usize) {
        self.sent.0.insert(class, id);
        self.on_their_way.insert(id, bytes);
    }

    /// The cloud has acknowledged these, by their places: there is room again.
    pub fn acknowledged(&mut self, places: &[i64]) {
        for id in places {
            self.on_their_way.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_asked(outbox: &mut Outbox, now: Instant) -> Option<usize> {
        outbox.ask(now).map(|(_, room)| room.rows)
    }

    #[test]
    fn sends_a_window_then_waits_and_starts_again_after_a_while_or_a_reconnection() {
        let start = Instant::now();
        let mut outbox = Outbox::default();
        assert_eq!(outbox.ask(start), None, "nothing before the first connection");
        outbox.reconnected();
        let all = Room { rows: WINDOW, bytes: WINDOW_BYTES };
        assert_eq!(outbox.ask(start), Some((Sent::default(), all)));
        for id in 1..=WINDOW {
            outbox.sent(Class::Summaries, i64::try_from(id).unwrap(), 10);
        }
        assert_eq!(outbox.ask(start), None, "the window is full");
        outbox.acknowledged(&[1, 2, 3, 1, 999]);
        let (sent, room) = outbox.ask(start).unwrap();
        assert_eq!(room.rows, 3, "room for as many as were acknowledged");
        assert_eq!(sent.last_of(Class::Summaries), Some(64));
        let later = start + PATIENCE;
        assert_eq!(outbox.ask(later), Some((Sent::default(), all)), "from the start on again");
        outbox.sent(Class::Summaries, 5, 10);
        assert_eq!(outbox.ask(later).unwrap().0.last_of(Class::Summaries), Some(5));
        outbox.disconnected();
        assert_eq!(outbox.ask(later + PATIENCE), None, "nothing while there is no connection");
        outbox.reconnected();
        assert_eq!(rows_asked(&mut outbox, start), Some(WINDOW));
    }

    #[test]
    fn what_matters_more_is_next_though_lesser_batches_were_sent_before_it_came() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        outbox.reconnected();
        outbox.sent(Class::Samples, 900, 10);
        let (sent, _) = outbox.ask(now).unwrap();
        assert_eq!((sent.last_of(Class::Faults), sent.last_of(Class::Samples)), (None, Some(900)));
    }

    #[test]
    fn the_window_ends_with_its_bytes_too_but_never_before_one_batch() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        outbox.reconnected();
        outbox.sent(Class::Samples, 1, WINDOW_BYTES - 1);
        assert_eq!(outbox.ask(now).unwrap().1, Room { rows: WINDOW - 1, bytes: 1 });
        outbox.sent(Class::Samples, 2, 2 * WINDOW_BYTES);
        assert_eq!(outbox.ask(now), None);
        outbox.acknowledged(&[2]);
        assert_eq!(outbox.ask(now).unwrap().1, Room { rows: WINDOW - 1, bytes: 1 });
        outbox.acknowledged(&[1]);
        assert_eq!(rows_asked(&mut outbox, now), Some(WINDOW), "nothing is on its way");
    }
}
