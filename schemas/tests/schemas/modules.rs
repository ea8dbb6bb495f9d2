//! Step 12: a module's size, digest, denials, counters, publisher and signature.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::fixture::{Signer, component, listed, manifest, profile, trust_root};
use gnomon_schemas::document::ModuleRef;
use gnomon_schemas::limits::MODULE_BYTES_MAX;
use gnomon_schemas::module::{KeySignatures, ModuleError, ModuleEvidence, verify_module};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{Coded, Digest, Reason};

/// A module that everything is right with, to be spoilt in one place.
struct Case {
    bytes: Vec<u8>,
    digest: Digest,
    listed: ModuleRef,
    profile: Profile,
    function: &'static str,
    root: TrustRoot,
}

fn judge(spoil: impl FnOnce(&mut Case)) -> Result<(), ModuleError> {
    let bytes = component(&manifest());
    let mut case = Case {
        digest: Digest::of(&bytes),
        listed: listed(&bytes, manifest(), false),
        bytes,
        profile: profile().0,
        function: "setpoint",
        root: trust_root(),
    };
    spoil(&mut case);
    let Case { bytes, digest, listed, profile, function, root } = case;
    let function = function.parse().unwrap();
    let place = (&profile, &function);
    verify_module(bytes, &digest, &listed, place, (&root, &KeySignatures, 0)).map(drop)
}

#[track_caller]
fn refused(reason: Reason, spoil: impl FnOnce(&mut Case)) {
    assert_eq!(judge(spoil).unwrap_err().reason(), reason);
}

fn evidence(publisher: &str, signature: String) -> ModuleEvidence {
    ModuleEvidence::Key { publisher: publisher.parse().unwrap(), signature }
}

#[test]
fn a_good_module_passes() {
    judge(|_| {}).unwrap();
    judge(|case| case.root.release_counter_min.clear()).unwrap();
    // `cosign sign-blob` ends its base64 with a newline.
    judge(|case| {
        let ModuleEvidence::Key { signature, .. } = &mut case.listed.evidence else {
            unreachable!("the fixture signs with a key")
        };
        signature.push('\n');
    })
    .unwrap();
}

#[test]
fn bytes_are_those_that_were_signed() {
    refused(Reason::ModuleDigestMismatch, |case| case.bytes[20] ^= 1);
    refused(Reason::ModuleDigestMismatch, |case| case.bytes.push(0));
    refused(Reason::ModuleDigestMismatch, |case| case.bytes.clear());
    refused(Reason::ModuleDigestMismatch, |case| case.digest = Digest::of(b"another"));
    refused(Reason::ModuleDigestMismatch, |case| case.listed.size_bytes += 1);
    refused(Reason::TooLarge, |case| case.bytes = vec![0; MODULE_BYTES_MAX + 1]);
    refused(Reason::TooLarge, |case| case.listed.size_bytes = MODULE_BYTES_MAX as u64 + 1);
}

#[test]
fn the_trust_root_can_deny_a_digest_or_an_old_release() {
    refused(Reason::ModuleDenied, |case| {
        case.root.denied.insert(case.digest.clone());
    });
    refused(Reason::ReleaseCounterTooLow, |case| {
        case.root.release_counter_min.insert(case.listed.name.clone(), 2);
    });
    judge(|case| {
        case.root.release_counter_min.insert("another".parse().unwrap(), 2);
    })
    .unwrap();
}

#[test]
fn publishers_publish_where_both_firmware_and_trust_root_allow() {
    refused(Reason::PublisherUnknown, |case| case.root.publishers.clear());
    refused(Reason::PublisherUnknown, |case| {
        case.listed.evidence = evidence("nobody", String::new())
    });
    let of = |case: &Case| case.listed.evidence.publisher().clone();
    refused(Reason::PublisherNotAllowed, |case| {
        let publisher = of(case);
        case.root.publishers.get_mut(&publisher).unwrap().profiles = ["pump".to_owned()].into();
    });
    refused(Reason::PublisherNotAllowed, |case| {
        let publisher = of(case);
        let policy = case.root.publishers.get_mut(&publisher).unwrap();
        policy.functions = ["boost".parse().unwrap()].into();
    });
    refused(Reason::PublisherNotAllowed, |case| {
        let function = case.profile.functions.values_mut().next().unwrap();
        function.publishers = ["the-maker".parse().unwrap()].into();
    });
    refused(Reason::PublisherNotAllowed, |case| case.function = "boost");
    judge(|case| {
        let publisher = of(case);
        let function = case.profile.functions.values_mut().next().unwrap();
        function.publishers = [publisher.clone()].into();
        let policy = case.root.publishers.get_mut(&publisher).unwrap();
        policy.profiles.clear();
        policy.functions.clear();
    })
    .unwrap();
}

#[test]
fn a_signature_is_the_publishers_over_these_bytes() {
    let with = |signature: Vec<u8>| {
        move |case: &mut Case| {
            case.listed.evidence = evidence("controls-team", STANDARD.encode(signature));
        }
    };
    let bytes = component(&manifest());
    let right = Signer::named("publisher").sign(&bytes);
    judge(with(right.clone())).unwrap();
    refused(Reason::ModuleSignatureInvalid, with(Signer::named("stranger").sign(&bytes)));
    refused(Reason::ModuleSignatureInvalid, with(Signer::named("director").sign(&bytes)));
    refused(Reason::ModuleSignatureInvalid, with(Signer::named("publisher").sign(b"another")));
    refused(Reason::ModuleSignatureInvalid, with(right[..63].to_vec()));
    refused(Reason::ModuleSignatureInvalid, with(vec![]));
    refused(Reason::ModuleSignatureInvalid, with(vec![0; 64]));
    refused(Reason::ModuleSignatureInvalid, |case| {
        case.listed.evidence = evidence("controls-team", "not base64".into());
    });
}

#[test]
fn denial_is_told_even_of_a_module_that_nobody_signed() {
    refused(Reason::ModuleDenied, |case| {
        case.root.denied.insert(case.digest.clone());
        case.listed.evidence = evidence("controls-team", String::new());
    });
}
