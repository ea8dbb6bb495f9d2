//! What the passing of time brings: fetches that took too long, another try, expiry,
//! and the lowest possible time that must be kept. The time itself is an argument.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::document::OnExpiry;
use gnomon_schemas::reported::State;
use gnomon_schemas::{Reason, Refusal};

use super::{
    AGAIN_AFTER_MS, Again, Agent, Delayed, Effect, FETCH_TIMEOUT_MS, KEEP_TIME_MS,
    KEEPER_TIMEOUT_MS, tell,
};
use crate::canary::{self, Canary};
use crate::message::ToKeeper;
use crate::pending::{Accepted, Pending, Stage};
use crate::time::Monotonic;

impl Agent {
    pub(super) fn clock(&mut self, now: Monotonic) -> Vec<Effect> {
        let waits_ms = |p: &Pending| now.0.saturating_sub(p.since.0);
        let is_late = |p: &&Pending| match p.stage {
            // What is missing of it may take as long as the cloud is out of reach.
            Stage::Fetching if p.restored => {
                p.missing().is_empty() && waits_ms(p) >= AGAIN_AFTER_MS
            }
            Stage::Fetching => waits_ms(p) >= FETCH_TIMEOUT_MS,
            Stage::Preparing | Stage::Activating => waits_ms(p) >= KEEPER_TIMEOUT_MS,
            Stage::Persisting => false,
        };
        if let Some(pending) = self.pending.as_ref().filter(is_late) {
            if pending.stage != Stage::Fetching {
                return self.keeper_is_late(now);
            }
            if pending.restored {
                return self.prepare(now).into_iter().collect();
            }
            let missing: Vec<String> =
                pending.missing().iter().map(|digest| digest.short().to_string()).collect();
            let detail = format!("never came: {}", missing.join(", "));
            return self.abandon(now, Refusal::new(Reason::ModuleMissing, detail), Again::Yes);
        }
        let is_due =
            |delayed: &mut Delayed| now.0.saturating_sub(delayed.since.0) >= AGAIN_AFTER_MS;
        if self.pending.is_none()
            && let Some(delayed) = self.again.take_if(is_due)
        {
            // As if it were delivered once more: every check is made anew.
            return self.document(now, delayed.envelope);
        }
        let mut effects = self.check_expiry(now);
        if !effects.is_empty() {
            effects.push(self.report(now));
        }
        effects.extend(self.fetch_root_again(now));
        // An expiry must not be put off for ever by cutting the power again and again.
        if !effects.is_empty() || now.0.saturating_sub(self.time_kept.0) >= KEEP_TIME_MS {
            self.time_kept = now;
            effects.push(Effect::KeepTime(self.time.lowest_ms(now)));
        }
        effects.push(Effect::Send);
        effects
    }

    /// Expiry never stops what runs, unless the signed document says so itself.
    pub(super) fn check_expiry(&mut self, now: Monotonic) -> Vec<Effect> {
        // What is said now would meet what is being put in force; that is looked at next.
        let is_swapping = self.pending.as_ref().is_some_and(|p| p.stage == Stage::Activating);
        if is_swapping || canary::is_out(Canary::ExpiryForgotten) {
            return vec![];
        }
        let Some(held) = self.applied.as_ref().or(self.kept()) else { return vec![] };
        let document = held.payload();
        if self.time.lowest_ms(now) < document.expires_at_ms {
            return vec![];
        }
        let stops = document.on_expiry == OnExpiry::Default || canary::is_out(Canary::HoldStops);
        let is_news = self.applied.is_some() && self.state != State::Expired;
        if is_news {
            self.state = State::Expired;
        }
        if stops && !self.defaulted {
            self.defaulted = true;
            return vec![tell(ToKeeper::Defaults)];
        }
        if is_news { vec![Effect::Send] } else { vec![] }
    }

    /// What the store holds as what is in force, before the keeper has answered for it: one
    /// that outlived the planner before this one may be acting on it.
    fn kept(&self) -> Option<&Accepted> {
        let restored = self.pending.as_ref().filter(|pending| pending.restored);
        restored.map(|pending| &pending.accepted).or(self.shelved.as_ref())
    }
}
