//! After a rollback and a restart: a stored document below the floor needs the floor's to
//! be given up.

use gnomon_agent_core::Stored;
use gnomon_schemas::reported::State;
use gnomon_schemas::{Digest, Reason};

use super::bench::reasons;
use super::fixture::{Fleet, Signer, seal_by, session};
use super::rollback::{Trial, trial};

/// What a start makes of a store that somebody has changed.
fn start_of(fleet: &Fleet, stored: Stored) -> (Vec<Reason>, State, Option<u64>) {
    let mut bench = fleet.bench_in(&session(9), stored);
    let (state, applied) = bench.state();
    (reasons(&bench.started), state, applied.map(|version| version.get()))
}

#[test]
fn a_stored_document_below_the_floor_needs_the_floor_to_be_given_up() {
    let Trial { fleet, good, new, mut bench } = trial();
    bench.run(fleet.rolled_back(&new, Some(&good)));
    let stored = bench.stored;
    let below = (vec![], State::Rejected, Some(1));
    assert_eq!(start_of(&fleet, stored.clone()), below);
    let refused = (vec![Reason::Rollback], State::Rejected, None);
    for other in [None, Some(fleet.digest(&good)), Some(Digest::of(b"other"))] {
        let tampered = Stored { rolled_back_from: other, ..stored.clone() };
        assert_eq!(start_of(&fleet, tampered), refused);
    }
    // A list of failures is no leave to go back.
    let tampered = Stored { rolled_back_from: None, ..stored.clone() };
    assert_eq!(tampered.failures[0].document, fleet.digest(&new));
    assert_eq!(start_of(&fleet, tampered), refused);
    // The mirror remembers the floor.
    let tampered = Stored { floor: None, ..stored.clone() };
    assert_eq!(start_of(&fleet, tampered), below);
    // Put back where it was, what was given up stays given up.
    let envelope = Some(fleet.seal_document(&new));
    let tampered = Stored { envelope, ..stored.clone() };
    let failed = (vec![Reason::ProbationFailed], State::Rejected, None);
    assert_eq!(start_of(&fleet, tampered.clone()), failed);
    assert_eq!(start_of(&fleet, Stored { failures: vec![], ..tampered }), failed);
    // What was never accepted is not what a rollback left, though the director signed it.
    let envelope = Some(fleet.seal(&fleet.document_inline(3, b"withheld")));
    let tampered = Stored { envelope, ..stored.clone() };
    assert_eq!(start_of(&fleet, tampered), refused);
    let forged = seal_by(&Signer::ed25519(), &fleet.approved(&good));
    let tampered = Stored { envelope: Some(forged), ..stored };
    assert_eq!(start_of(&fleet, tampered).0, [Reason::ThresholdNotMet]);
}
