//! What the functions remember, as the keeper told it last: for a keeper that starts
//! anew. What a state means is not known here.

use alloc::vec::Vec;
use gnomon_schemas::document::Document;
use gnomon_schemas::results::SlotRole;

use crate::message::{FunctionState, STATES_BYTES_MAX};

/// The states of what is in force, and of what was before it.
#[derive(Debug, Default)]
pub(super) struct States {
    current: Vec<FunctionState>,
    /// As they were when the previous document was in force.
    previous: Vec<FunctionState>,
}

impl States {
    pub(super) fn of(current: Vec<FunctionState>, previous: Vec<FunctionState>) -> States {
        let mut states = States { current: Vec::new(), previous };
        states.note(&current);
        states
    }

    pub(super) fn current(&self) -> &[FunctionState] {
        &self.current
    }

    /// Takes news. One module is in control of a function at a time, so its state takes
    /// the place of the one's before it.
    pub(super) fn note(&mut self, news: &[FunctionState]) {
        for state in news {
            let is_past = |known: &FunctionState| {
                let both_active = [known.role, state.role] == [SlotRole::Active; 2];
                state.is_of(known) || (both_active && state.function == known.function)
            };
            self.current.retain(|known| !is_past(known));
            self.current.push(state.clone());
        }
        self.keep_within_cap();
    }

    /// Another document is to come into force: a rollback from it restores what is now.
    pub(super) fn keep_for_rollback(&mut self) {
        self.previous = self.current.clone();
    }

    pub(super) fn go_back(&mut self) {
        self.current = core::mem::take(&mut self.previous);
    }

    /// Forgets candidates that no document has a place for, and functions that none names.
    pub(super) fn keep_for(&mut self, documents: &[&Document]) {
        self.current.retain(|state| {
            let plans = documents.iter().filter_map(|d| d.functions.get(&state.function));
            let is_placed =
                |module| plans.clone().flat_map(|p| p.slots()).any(|s| s.module == module);
            match state.role {
                SlotRole::Active => plans.clone().next().is_some(),
                SlotRole::Candidate => is_placed(state.module.clone()),
            }
        });
    }

    /// What is over the cap goes: candidates' states first, then the oldest.
    fn keep_within_cap(&mut self) {
        let bytes = |state: &FunctionState| {
            serde_json::to_vec(&state.state).map_or(STATES_BYTES_MAX, |json| json.len())
        };
        let mut left = STATES_BYTES_MAX;
        let mut fits = alloc::vec![false; self.current.len()];
        for role in [SlotRole::Active, SlotRole::Candidate] {
            for (index, state) in self.current.iter().enumerate().rev() {
                if state.role == role
                    && let Some(rest) = left.checked_sub(bytes(state))
                {
                    (left, fits[index]) = (rest, true);
                }
            }
        }
        let mut fits = fits.into_iter();
        self.current.retain(|_| fits.next().unwrap_or(false));
    }
}
