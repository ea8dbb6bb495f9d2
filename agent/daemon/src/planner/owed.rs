//! What the store has failed to keep, though the core goes on as if it were kept: it is
//! kept before anything that comes after. How it is stored is not known here.

use gnomon_agent_core::agent::{Failure, Trial};
use std::collections::VecDeque;

/// More than this is never owed at once: the store has two documents to go back from.
const OWED_MAX: usize = 16;

/// One transition that is asked for once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owed {
    Trial(Option<Trial>),
    Failure(Box<Failure>),
    Rollback(Box<Failure>),
}

/// In the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Debts {
    debts: VecDeque<Owed>,
}

impl Debts {
    /// A trial takes the place of those before it; a rollback ends them.
    pub(super) fn add(&mut self, debt: Owed) {
        if !matches!(debt, Owed::Failure(_)) {
            self.debts.retain(|owed| !matches!(owed, Owed::Trial(_)));
        }
        if self.debts.len() == OWED_MAX {
            self.debts.pop_front();
        }
        self.debts.push_back(debt);
    }

    pub(super) fn first(&self) -> Option<&Owed> {
        self.debts.front()
    }

    /// The first one is kept.
    pub(super) fn settle_first(&mut self) {
        self.debts.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnomon_schemas::{Digest, Reason, Refusal};

    fn failure(document: &[u8]) -> Box<Failure> {
        let refusal = Refusal::new(Reason::ProbationFailed, "");
        Box::new(Failure { document: Digest::of(document), refusal })
    }

    #[test]
    fn only_the_last_word_on_trials_is_owed_and_the_rest_in_its_order() {
        let mut debts = Debts::default();
        debts.add(Owed::Trial(None));
        debts.add(Owed::Failure(failure(b"one")));
        debts.add(Owed::Trial(None));
        debts.add(Owed::Rollback(failure(b"two")));
        assert_eq!(debts.first(), Some(&Owed::Failure(failure(b"one"))));
        debts.settle_first();
        assert_eq!(debts.first(), Some(&Owed::Rollback(failure(b"two"))));
        debts.settle_first();
        assert_eq!(debts.first(), None);
    }

    #[test]
    fn what_is_owed_does_not_grow_for_ever() {
        let mut debts = Debts::default();
        (0..100_u8).for_each(|number| debts.add(Owed::Failure(failure(&[number]))));
        assert_eq!(debts.debts.len(), OWED_MAX);
        assert_eq!(debts.debts.back(), Some(&Owed::Failure(failure(&[99]))));
    }
}
