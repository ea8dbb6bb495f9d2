//! The audit log as a chain of hashes: what an entry hashes to, and whether a log is
//! the one that its checkpoints were signed over.
//!
//! It knows no store and no signature: entries come in the order in which they were
//! found, checkpoints after their signatures were verified.

use gnomon_schemas::ids::Digest;
use std::collections::BTreeMap;

/// What every entry's bytes begin with: a hash of ours is no other thing's hash.
const DOMAIN: &[u8] = b"gnomon.audit.v1";

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// When (Unix time, ms).
    pub at_ms: u64,
    /// Who.
    pub actor: &'a str,
    /// What was done.
    pub action: &'a str,
    /// To what.
    pub subject: &'a str,
    /// More, as JSON text.
    pub detail: &'a str,
}

/// A link of the chain as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number, from 1.
    pub sequence: u64,
    /// What the entry before it hashes to.
    pub previous: Digest,
    /// What it hashes to.
    pub hash: Digest,
}

/// What the first entry has before it.
pub fn genesis() -> Digest {
    Digest::of(DOMAIN)
}

/// What an entry hashes to. Every part goes in with its length before it, so that no
/// two entries have the same bytes.
pub fn hash(sequence: u64, previous: &Digest, event: Event<'_>) -> Digest {
    let (sequence, at_ms) = (sequence.to_be_bytes(), event.at_ms.to_be_bytes());
    let parts: [&[u8]; 8] = [
        DOMAIN,
        &sequence,
        &at_ms,
        event.actor.as_bytes(),
        event.action.as_bytes(),
        event.subject.as_bytes(),
        event.detail.as_bytes(),
        previous.as_str().as_bytes(),
    ];
    let mut bytes = vec![];
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    Digest::of(&bytes)
}

/// What is wrong with a log. Each names the sequence at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// A number is not there.
    #[error("entry {sequence} is missing")]
    Missing {
        /// Which.
        sequence: u64,
    },
    /// A number comes again or before its turn.
    #[error("entry {sequence} is out of order")]
    OutOfOrder {
        /// Which.
        sequence: u64,
    },
    /// It does not follow the entry before it.
    #[error("entry {sequence} does not follow the one before it: something was put in or replaced")]
    Unlinked {
        /// Which.
        sequence: u64,
    },
    /// Its text is not what was hashed.
    #[error("entry {sequence} was changed after it was written")]
    Changed {
        /// Which.
        sequence: u64,
    },
    /// The chain holds, but it is not the one that was signed.
    #[error(
        "entry {sequence} is not the one that a checkpoint was signed over: the log was rewritten"
    )]
    Rewritten {
        /// Which.
        sequence: u64,
    },
    /// The log is shorter than a checkpoint says.
    #[error(
        "entry {sequence} and what follows are missing: a checkpoint was signed over {size} entries"
    )]
    Truncated {
        /// The first that is missing.
        sequence: u64,
        /// How many there were.
        size: u64,
    },
}

/// Walks a log from its first entry to its last, against checkpoints.
#[derive(Debug)]
pub struct Walk {
    checkpoints: BTreeMap<u64, Digest>,
    size: u64,
    head: Digest,
}

impl Walk {
    /// A walk against these checkpoints: pairs of size and head.
    ///
    /// # Errors
    /// [`ChainFault::Rewritten`] when two of them contradict each other.
    pub fn new(signed: impl IntoIterator<Item = (u64, Digest)>) -> Result<Walk, ChainFault> {
        let mut checkpoints = BTreeMap::new();
        for (size, head) in signed {
            if checkpoints.insert(size, head.clone()).is_some_and(|other| other != head) {
                return Err(ChainFault::Rewritten { sequence: size });
            }
        }
        Ok(Walk { checkpoints, size: 0, head: genesis() })
    }

    /// The next entry, as it was found.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn step(&mut self, link: &Link, event: Event<'_>) -> Result<(), ChainFault> {
        let (sequence, expected) = (link.sequence, self.size.saturating_add(1));
        if sequence > expected {
            return Err(ChainFault::Missing { sequence: expected });
        }
        if sequence < expected {
            return Err(ChainFault::OutOfOrder { sequence });
        }
        if link.previous != self.head {
            return Err(ChainFault::Unlinked { sequence });
        }
        if hash(sequence, &link.previous, event) != link.hash {
            return Err(ChainFault::Changed { sequence });
        }
        if self.checkpoints.get(&sequence).is_some_and(|head| *head != link.hash) {
            return Err(ChainFault::Rewritten { sequence });
        }
        self.size = sequence;
        self.head = link.hash.clone();
        Ok(())
    }

    /// The end of the log: how many entries there were and what the last hashes to.
    ///
    /// # Errors
    /// [`ChainFault::Truncated`] when a checkpoint was signed over more.
    pub fn end(self) -> Result<(u64, Digest), ChainFault> {
        match self.checkpoints.last_key_value() {
            Some((&size, _)) if size > self.size => {
                Err(ChainFault::Truncated { sequence: self.size.saturating_add(1), size })
            }
            _ => Ok((self.size, self.head)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it fails")]
    use super::*;

    type Entry = (Link, u64, String);

    fn event<'a>(at_ms: u64, detail: &'a str) -> Event<'a> {
        Event { at_ms, actor: "token:a:1", action: "layer.put", subject: "fleet", detail }
    }

    fn log(size: u64) -> Vec<Entry> {
        let mut previous = genesis();
        (1..=size)
            .map(|sequence| {
                let detail = format!("{{\"n\":{sequence}}}");
                let hash = hash(sequence, &previous, event(sequence, &detail));
                let link = Link { sequence, previous: previous.clone(), hash: hash.clone() };
                previous = hash;
                (link, sequence, detail)
            })
            .collect()
    }

    fn walk(log: &[Entry], signed: &[&Entry]) -> Result<(u64, Digest), ChainFault> {
        let signed = signed.iter().map(|(link, ..)| (link.sequence, link.hash.clone()));
        let mut walk = Walk::new(signed)?;
        for (link, at_ms, detail) in log {
            walk.step(link, event(*at_ms, detail))?;
        }
        walk.end()
    }

    #[test]
    fn a_log_that_nobody_touched_holds_with_and_without_checkpoints() {
        let log = log(9);
        assert_eq!(walk(&log, &[]), Ok((9, log[8].0.hash.clone())));
        assert_eq!(walk(&log, &[&log[0], &log[4], &log[8]]), Ok((9, log[8].0.hash.clone())));
        assert_eq!(walk(&[], &[]), Ok((0, genesis())));
    }

    #[test]
    fn every_kind_of_tampering_is_named_by_its_sequence() {
        let whole = log(5);
        let tampered = |change: &dyn Fn(&mut Vec<Entry>)| {
            let mut log = whole.clone();
            change(&mut log);
            walk(&log, &[&whole[4]]).unwrap_err()
        };
        for at in 0..5 {
            let sequence = at as u64 + 1;
            assert_eq!(tampered(&|l| l[at].2.push(' ')), ChainFault::Changed { sequence });
            assert_eq!(tampered(&|l| l[at].1 += 1), ChainFault::Changed { sequence });
            assert_eq!(
                tampered(&|l| drop(l.drain(at..))),
                ChainFault::Truncated { sequence, size: 5 }
            );
            let again = tampered(&|l| l.insert(at + 1, l[at].clone()));
            assert_eq!(again, ChainFault::OutOfOrder { sequence });
        }
        for at in 0..4 {
            let sequence = at as u64 + 1;
            assert_eq!(tampered(&|l| drop(l.remove(at))), ChainFault::Missing { sequence });
            assert_eq!(tampered(&|l| l.swap(at, at + 1)), ChainFault::Missing { sequence });
        }
        // Taken out and the rest numbered anew.
        let renumbered = tampered(&|l| {
            l.remove(2);
            l.iter_mut().zip(1..).for_each(|((link, ..), n)| link.sequence = n);
        });
        assert_eq!(renumbered, ChainFault::Unlinked { sequence: 3 });
    }

    #[test]
    fn a_log_that_was_written_anew_is_not_the_one_that_was_signed() {
        let (whole, mut other) = (log(5), vec![]);
        let mut previous = genesis();
        for sequence in 1..=5 {
            let hash = hash(sequence, &previous, event(sequence, "{}"));
            other.push((
                Link { sequence, previous, hash: hash.clone() },
                sequence,
                "{}".to_owned(),
            ));
            previous = hash;
        }
        assert!(walk(&other, &[]).is_ok());
        assert_eq!(walk(&other, &[&whole[2]]), Err(ChainFault::Rewritten { sequence: 3 }));
        let contradiction = walk(&whole, &[&whole[2], &other[2]]);
        assert_eq!(contradiction, Err(ChainFault::Rewritten { sequence: 3 }));
    }

    #[test]
    fn what_stands_in_one_field_never_hashes_as_if_it_stood_in_another() {
        let hash = |actor, action| {
            hash(1, &genesis(), Event { at_ms: 1, actor, action, subject: "", detail: "" })
        };
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
        assert_ne!(hash("", "abc"), hash("abc", ""));
    }
}
