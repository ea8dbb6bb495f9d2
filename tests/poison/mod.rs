//! The zoo of poisonous modules: each by its name, why it is poisonous, and the fate that
//! must meet it. All are text that is assembled here, all carry a manifest, and all are
//! for the setpoint of `schemas/examples/profile.json`, so that documents may name them.
//!
//! It knows no agent: whoever drives the animals says what else must not suffer.

mod abi;
mod compile;
mod guest;
mod in_process;
mod loops;
mod memory;
mod numbers;
mod sections;
mod start;
mod state;
mod traps;
mod types;

use gnomon_schemas::Reason;
use std::collections::BTreeSet;
use std::sync::LazyLock;

pub(crate) use guest::{Guest, inputs};

/// One poisonous module.
pub(crate) struct Poison {
    /// Its name, in its manifest too.
    pub(crate) name: &'static str,
    /// What it would do to a host that let it, in one sentence.
    pub(crate) why: &'static str,
    /// The component.
    pub(crate) bytes: Vec<u8>,
    /// What must become of it.
    pub(crate) fate: Fate,
}

/// What becomes of a module under the profile's budget.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// It is not admitted, or not with empty params, for one of these reasons.
    Refused(&'static [Reason]),
    /// It is admitted, and every call ends in one of these.
    Faults(&'static [Reason]),
    /// It is admitted; some calls put out something, the others end in one of these.
    Turns(&'static [Reason]),
    /// It is admitted and puts out something, finite or not; only the clamp decides.
    Outputs,
}

/// All animals; they are assembled once, which takes a few seconds.
pub(crate) fn zoo() -> &'static [Poison] {
    static ZOO: LazyLock<Vec<Poison>> = LazyLock::new(|| {
        let houses = [
            loops::animals(),
            memory::animals(),
            compile::animals(),
            sections::animals(),
            traps::animals(),
            numbers::animals(),
            start::animals(),
            state::animals(),
            types::animals(),
            abi::animals(),
        ];
        houses.into_iter().flatten().collect()
    });
    &ZOO
}

#[test]
fn every_animal_has_a_name_of_its_own_and_a_manifest_with_it() {
    let mut names = BTreeSet::new();
    for animal in zoo() {
        assert!(names.insert(animal.name), "two are called {}", animal.name);
        assert!(animal.why.split(' ').count() > 4, "{}: say why", animal.name);
        let manifest = gnomon_host::manifest(&animal.bytes).expect(animal.name);
        assert_eq!(manifest.name.as_str(), animal.name);
        assert_eq!(manifest.function.as_str(), "setpoint");
        let max = gnomon_schemas::limits::MODULE_BYTES_MAX;
        assert!(animal.bytes.len() <= max, "{} could not be sent", animal.name);
    }
    assert!(names.len() >= 45, "{}", names.len());
}
