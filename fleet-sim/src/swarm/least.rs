//! The lowest time that it can be for a device, as the world reckons it from outside: what
//! was durable when its planner started, what its own clock has counted since, and what
//! has become durable meanwhile. The planner may know better, never less.

use gnomon_agent_core::Monotonic;

use super::disk::drifted;
use super::facts::Fact;
use super::world::World;

/// A time, and when it was known by the planner's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Least {
    at_ms: u64,
    seen: Monotonic,
}

impl World<'_> {
    /// Milliseconds since the planner's start by its device's clock.
    pub(super) fn monotonic(&self, device: usize) -> Monotonic {
        let held = &self.devices[device];
        let elapsed = self.now_ms.saturating_sub(held.started_at_ms) + held.jump_ms;
        drifted(elapsed, held.drift_ppm)
    }

    /// It begins with this time: at a start, or because a trust root took times back.
    pub(super) fn time_begins(&mut self, device: usize, at_ms: u64) {
        let seen = self.monotonic(device);
        self.devices[device].least = Least { at_ms, seen };
    }

    pub(super) fn tell_time(&mut self, device: usize) {
        let seen = self.monotonic(device);
        let held = &mut self.devices[device];
        let counted = held.least.at_ms.saturating_add(seen.0.saturating_sub(held.least.seen.0));
        let at_ms = counted.max(held.disk.time_floor_ms());
        held.least = Least { at_ms, seen };
        let lowest_ms = held.is_planning().then_some(at_ms);
        let now_ms = self.now_ms;
        self.tell(&Fact::Time { device, now_ms, lowest_ms });
    }
}
