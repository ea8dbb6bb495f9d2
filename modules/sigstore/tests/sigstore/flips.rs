//! Every bit of a good bundle, and of its artifact, flipped one at a time: it is
//! refused, or it lies where nothing is signed and nothing is read.
//!
//! Those places, all of them, are in [`is_idle`]. In none of them can a flip change
//! who signed, what, or when.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::Range;

use crate::cases::Case;
use crate::verify::fixtures;

const HINT: &str = "/verificationMaterial/publicKey/hint";
const CHECKPOINT: &str = "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope";
const TOKEN: &str =
    "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";

/// What stands around the signed parts of the fixtures' RFC 3161 tokens (RFC 5652):
/// SignedData's version and digest algorithms, the tag of the octets that hold the
/// TSTInfo, the signer's version, the tag of its digest's NULL parameters, and its
/// signature algorithm, for which the key decides.
const TOKEN_IDLE: [Range<usize>; 6] = [34..35, 41..51, 69..70, 182..183, 241..242, 463..471];

/// Whether the one place that a flip changed is one that nobody reads.
fn is_idle(was: &Value, is: &Value) -> bool {
    let changed = |path: &str| was.pointer(path) != is.pointer(path);
    let text = |json: &Value, path: &str| json.pointer(path).unwrap().as_str().unwrap().to_owned();
    if changed(HINT) {
        // The key is the trust root's, whatever the bundle hints at.
        true
    } else if changed(CHECKPOINT) {
        // The name of who signed, and which blank ends the line: the key's hint and the
        // signature behind the name decide.
        let without_name = |json| {
            let note = text(json, CHECKPOINT);
            let (body, signature) = note.split_once("\n\n— ").unwrap();
            (body.to_owned(), signature.split_once(' ').unwrap().1.trim_end().to_owned())
        };
        without_name(was) == without_name(is)
    } else if changed(TOKEN) {
        let [was, is] = [was, is].map(|json| STANDARD.decode(text(json, TOKEN)).unwrap());
        assert_eq!(was.len(), is.len());
        let differs = |at: &usize| was[*at] != is[*at];
        (0..was.len()).filter(differs).all(|at| TOKEN_IDLE.iter().any(|idle| idle.contains(&at)))
    } else {
        false
    }
}

/// Every flip of one bit in these bytes.
fn flips(bytes: Range<usize>) -> impl Iterator<Item = (usize, u8)> {
    bytes.flat_map(|at| (0..8).map(move |bit| (at, 1 << bit)))
}

/// Judges every flip of these bytes, on all processors, and names those that were
/// taken although they lie where something is signed or read.
fn offences(case: &Case, bytes: Range<usize>) -> Vec<String> {
    let whole: Value = serde_json::from_slice(&case.bundle).unwrap();
    let judge = |share: &[(usize, u8)]| {
        let mut flipped = case.clone();
        let mut found = vec![];
        for (at, mask) in share {
            flipped.bundle[*at] ^= mask;
            let idle = || is_idle(&whole, &serde_json::from_slice(&flipped.bundle).unwrap());
            if flipped.verdict().is_ok() && !idle() {
                found.push(format!("{}: byte {at} ^ {mask:#04x}", case.name));
            }
            flipped.bundle[*at] ^= mask;
        }
        found
    };
    let all: Vec<(usize, u8)> = flips(bytes).collect();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let shares = all.chunks(all.len().div_ceil(threads));
        let running: Vec<_> = shares.map(|share| scope.spawn(move || judge(share))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn no_flipped_bit_of_a_bundle_changes_what_is_proven() {
    for case in fixtures().good() {
        let text = String::from_utf8(case.bundle.clone()).unwrap();
        let place = |mark| text.find(mark).unwrap();
        let bytes = match case.name.as_str() {
            "good" | "good-key" => 0..text.len(),
            // What it has beside `good`: the timestamp, and all that follows.
            "good-timestamp" => place("\"timestampVerificationData\"")..text.len(),
            _ => continue,
        };
        let offences = offences(&case, bytes);
        assert!(offences.is_empty(), "{}", offences.join("\n"));
    }
}

#[test]
fn no_flipped_bit_of_an_artifact_is_taken() {
    for mut case in fixtures().good() {
        let mut reasons = BTreeSet::new();
        for (at, mask) in flips(0..case.artifact.len()) {
            case.artifact[at] ^= mask;
            reasons.insert(case.verdict().expect_err("a flipped artifact is taken").0);
            case.artifact[at] ^= mask;
        }
        let invalid = gnomon_schemas::Reason::ModuleSignatureInvalid;
        assert_eq!(reasons, BTreeSet::from([invalid]), "{}", case.name);
    }
}
