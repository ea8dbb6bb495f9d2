//! Good bundles are taken at any later time; each spoilt one earns its reason.

use crate::cases::{Case, Made};
use gnomon_schemas::ids::Digest;
use gnomon_sigstore::{Artifact, BundlePolicy, verify_bundle};
use std::path::Path;

/// Unix time in milliseconds that no clock of 32 bits holds: the year 2106.
const FAR_MS: u64 = (1 << 32) * 1000;

pub(crate) fn fixtures() -> Made {
    Made::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/keyless/fixtures"))
}

#[track_caller]
fn assert_verdicts(cases: &[Case]) {
    let offences: Vec<String> = cases.iter().filter_map(Case::offence).collect();
    assert!(offences.is_empty(), "{} cases\n{}", cases.len(), offences.join("\n"));
}

#[test]
fn good_bundles_are_taken() {
    assert_verdicts(&fixtures().good());
}

#[test]
fn a_bundle_does_not_expire_and_needs_no_more_than_its_own_time() {
    for mut case in fixtures().good() {
        for now_ms in [fixtures().time_ms(), FAR_MS, u64::MAX] {
            case.now_ms = now_ms;
            assert_eq!(case.verdict(), Ok(()), "{} at {now_ms}", case.name);
        }
    }
}

#[test]
fn every_spoilt_bundle_earns_its_reason() {
    let bad = fixtures().bad();
    assert!(bad.len() > 80, "{}", bad.len());
    assert_verdicts(&bad);
}

#[test]
fn the_digest_of_an_artifact_is_as_good_as_its_bytes() {
    use crate::cases::Signer;
    for case in fixtures().good() {
        let policy = match &case.signer {
            Signer::Certificate(identity, issuer) => BundlePolicy::Certificate { identity, issuer },
            Signer::Key(key) => BundlePolicy::Key(key),
        };
        let verdict = |digest: &Digest| {
            let artifact = Artifact::Digest(digest);
            verify_bundle(&case.bundle, artifact, policy, &case.root, case.now_ms)
        };
        assert_eq!(verdict(&Digest::of(&case.artifact)), Ok(()), "{}", case.name);
        assert!(verdict(&Digest::of(b"other bytes")).is_err(), "{}", case.name);
    }
}

#[test]
fn threads_that_start_together_find_one_provider() {
    let cases = fixtures().good();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_verdicts(&cases));
        }
    });
}
