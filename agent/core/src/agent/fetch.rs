//! A document that was taken up: which modules are at hand, which must come, and what
//! is done with those that come. What makes bytes a module is `schemas`' rule.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use gnomon_schemas::module::JudgeEvidence;
use gnomon_schemas::reported::State;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{Digest, Reason, Refusal};

use super::{Again, Agent, Effect, tell};
use crate::message::{MODULES_BYTES_MAX, ToKeeper};
use crate::pending::{Pending, Stage};
use crate::time::Monotonic;

impl Agent {
    /// Takes a document up: collects the modules that are at hand, asks for the rest.
    pub(super) fn begin(&mut self, now: Monotonic, mut pending: Pending) -> Vec<Effect> {
        let mut effects = vec![];
        match self.collect(now, &mut pending) {
            Ok(noted) => effects.extend(noted),
            Err(refusal) => return self.not_begun(now, &pending, refusal),
        }
        let missing = pending.missing();
        let old = self.pending.take();
        let replaced = old.as_ref().map(Pending::missing).unwrap_or_default();
        self.shelved =
            old.filter(|old| old.restored).map(|old| old.accepted).or(self.shelved.take());
        let left = replaced.into_iter().filter(|digest| !missing.contains(digest));
        effects.extend(left.map(Effect::ForgetModule));
        effects.extend(missing.into_iter().map(Effect::FetchModule));
        self.state = State::Pending;
        // An older one takes nobody's place: the newer one is still owed a try.
        let place = pending.accepted.floor().place();
        self.again.take_if(|delayed| delayed.place <= place);
        self.pending = Some(pending);
        effects.extend(self.prepare(now));
        effects.push(self.report(now));
        effects
    }

    fn not_begun(&mut self, now: Monotonic, pending: &Pending, refusal: Refusal) -> Vec<Effect> {
        let mut effects = vec![];
        if pending.restored && self.applied.is_none() {
            // Nor does a keeper that outlived the planner before this one go on with it.
            effects.push(tell(ToKeeper::Defaults));
        }
        effects.extend(self.refuse_document(now, &pending.accepted.document, refusal));
        effects
    }

    /// The root that judges a document's modules.
    fn root_of(&self, pending: &Pending) -> Cow<'_, TrustRoot> {
        if pending.restored {
            return self.root_at(pending.accepted.trust_version);
        }
        Cow::Borrowed(&self.root)
    }

    /// Takes inline and stored modules. A stored one that is damaged is refused
    /// and fetched again, and the document must be made durable again.
    fn collect(&mut self, now: Monotonic, pending: &mut Pending) -> Result<Vec<Effect>, Refusal> {
        let needed_bytes = pending.needed_bytes();
        if needed_bytes > MODULES_BYTES_MAX as u64 {
            let detail = format!("modules of {needed_bytes} bytes, at most {MODULES_BYTES_MAX}");
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let was_accepted =
            self.floor.as_ref().is_some_and(|floor| floor.digest == *pending.digest());
        // What was accepted before is judged by no earlier time than it was signed at: the
        // floor may have been taken back since.
        let is_known = was_accepted || pending.restored;
        let signed_ms = if is_known { pending.payload().issued_at_ms } else { 0 };
        let lowest_ms = self.time.lowest_ms(now).max(signed_ms);
        let (profile, root) = (&self.identity.profile, self.root_of(pending));
        let trust = (&*root, self.judge.as_ref() as &dyn JudgeEvidence, lowest_ms);
        let mut damaged = vec![];
        let listed = pending.payload().modules.clone();
        for digest in pending.missing() {
            let inline = listed.get(&digest).and_then(|module| module.inline.as_ref());
            if let Some(bytes) = inline {
                pending.take_module(&digest, &bytes.0, profile, trust)?;
            } else if let Some(bytes) = self.stored_modules.get(&digest) {
                match pending.take_module(&digest, bytes, profile, trust) {
                    Err(refusal) if Digest::of(bytes) != digest => damaged.push((digest, refusal)),
                    taken => taken?,
                }
            }
        }
        let version = pending.payload().version;
        let mut effects = vec![];
        for (digest, refusal) in damaged {
            self.stored_modules.remove(&digest);
            // What a rollback left is below the floor: to accept it anew would lower that.
            pending.restored &= !was_accepted;
            effects.extend(self.refuse(now, Some(version), refusal.at("stored module")));
        }
        Ok(effects)
    }

    pub(super) fn module(&mut self, now: Monotonic, digest: &Digest, bytes: &[u8]) -> Vec<Effect> {
        let is_wanted =
            |p: &mut Pending| p.stage == Stage::Fetching && p.missing().contains(digest);
        let Some(mut pending) = self.pending.take_if(is_wanted) else {
            return vec![Effect::ForgetModule(digest.clone())];
        };
        let (profile, root) = (&self.identity.profile, self.root_of(&pending));
        let judge: &dyn JudgeEvidence = self.judge.as_ref();
        let trust = (&*root, judge, self.time.lowest_ms(now));
        let taken = pending.take_module(digest, bytes, profile, trust);
        let version = pending.payload().version;
        self.pending = Some(pending);
        // A broker can put any bytes on the topic: that is no reason to give up on
        // a document while the right bytes may still come.
        match taken {
            Ok(()) => {
                let mut effects = vec![Effect::ForgetModule(digest.clone())];
                effects.extend(self.prepare(now));
                effects
            }
            Err(refusal) if Digest::of(bytes) != *digest => {
                self.refuse(now, Some(version), refusal)
            }
            Err(refusal) => self.abandon(now, refusal, Again::No),
        }
    }
}
