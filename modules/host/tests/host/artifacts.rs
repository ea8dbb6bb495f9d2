//! Artifacts: what was compiled before is used again, and nothing that was touched,
//! belongs elsewhere or was sealed under another key reaches the engine.

use gnomon_host::{
    AdmitError, Admitted, ArtifactError, ArtifactKey, Evaluation, Host, HostOptions,
};
use gnomon_schemas::value::Values;
use gnomon_schemas::{Coded, Digest, Reason};
use ring::hmac;
use serde_json::json;

use crate::support::{BUDGET, body, bytes, function, number, values, water_heater, x_to_y};

const HEAD_BYTES: usize = 8;
const DIGEST_BYTES: usize = 64;
const CODE_FROM: usize = HEAD_BYTES + 2 * DIGEST_BYTES;
const SEAL_BYTES: usize = 32;

fn new_host() -> Host {
    Host::new(&HostOptions { instances: 2 }).unwrap()
}

fn key() -> ArtifactKey {
    ArtifactKey::from_bytes([7; 32])
}

/// A module of `x` to `y = x + more`, its digest and its artifact.
fn adder(more: u32) -> (Vec<u8>, Digest, Vec<u8>) {
    let module = bytes(&body(&format!("(f64.add (local.get 0) (f64.const {more}))")));
    let sealed = new_host().compile(&module, &key()).unwrap();
    let digest = Digest::of(&module);
    (module, digest, sealed)
}

/// Changed as told, then sealed again by somebody who has the key.
fn sealed_again(sealed: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut changed = sealed[..sealed.len() - SEAL_BYTES].to_vec();
    change(&mut changed);
    let key = hmac::Key::new(hmac::HMAC_SHA256, key().as_bytes());
    let tag = hmac::sign(&key, &changed);
    changed.extend_from_slice(tag.as_ref());
    changed
}

fn admit(host: &Host, module: &[u8]) -> Admitted {
    let profile = water_heater();
    let budget = profile.functions[&function()].budget;
    host.admit(module, &profile, &function(), budget).unwrap()
}

/// What must be equal of two evaluations: all but the time.
fn evaluate(guest: &Admitted, inputs: &Values, params: &Values, state: Option<&Values>) -> String {
    let params = guest.params(params).unwrap();
    let Evaluation { outcome, fuel, memory_bytes, time: _ } =
        guest.evaluate(inputs, &params, state);
    format!("{outcome:?} {fuel:?} {memory_bytes}")
}

#[test]
fn what_was_learned_equals_what_was_compiled_to_the_bit_and_the_unit_of_fuel() {
    let (compiler, learner) = (new_host(), new_host());
    let [price, smoothed] =
        [gnomon_examples::WATER_HEATER_PRICE, gnomon_examples::SMOOTHED_SETPOINT].map(|module| {
            let sealed = compiler.compile(module, &key()).unwrap();
            learner.learn(&Digest::of(module), &sealed, &key()).unwrap();
            (admit(&new_host(), module), admit(&learner, module))
        });
    for case in 0..200 {
        let (inputs, params) = (crate::examples::price_case(case), crate::examples::price_params());
        let [fresh, learned] =
            [&price.0, &price.1].map(|guest| evaluate(guest, &inputs, &params, None));
        assert_eq!(fresh, learned, "case {case}");
        assert!(fresh.starts_with("Ok"), "{fresh}");

        let state = values(json!({"average_c": 40.0 + case as f64 / 7.0, "calls": case}));
        let params = values(json!({"target_c": 55.0, "weight": 0.3}));
        let [fresh, learned] =
            [&smoothed.0, &smoothed.1].map(|guest| evaluate(guest, &inputs, &params, Some(&state)));
        assert_eq!(fresh, learned, "case {case}");
        assert!(fresh.starts_with("Ok"), "{fresh}");
    }
}

#[test]
fn a_learned_module_is_compiled_where_nothing_was() {
    let (module, digest, sealed) = adder(1);
    let host = new_host();
    assert!(!host.is_compiled(&digest));
    host.learn(&digest, &sealed, &key()).unwrap();
    assert!(host.is_compiled(&digest));
    let guest = host.admit(&module, &x_to_y(), &function(), BUDGET).unwrap();
    assert_eq!(number(&crate::support::call(&guest, json!({"x": 1.0})), "y"), 2.0);
    host.forget_compiled();
    assert!(!host.is_compiled(&digest));
    assert_eq!(number(&crate::support::call(&guest, json!({"x": 1.0})), "y"), 2.0);
}

/// Whoever has the key can have other code run: so the key is all that is trusted,
/// and so the learned code is what runs.
#[test]
fn what_runs_is_the_artifact() {
    let (one, digest_of_one, _) = adder(1);
    let (_, _, sealed_two) = adder(2);
    let swapped = sealed_again(&sealed_two, |artifact| {
        artifact[HEAD_BYTES..HEAD_BYTES + DIGEST_BYTES]
            .copy_from_slice(digest_of_one.hex().as_bytes());
    });
    let host = new_host();
    host.learn(&digest_of_one, &swapped, &key()).unwrap();
    let guest = host.admit(&one, &x_to_y(), &function(), BUDGET).unwrap();
    assert_eq!(number(&crate::support::call(&guest, json!({"x": 1.0})), "y"), 3.0);
}

#[test]
fn any_changed_byte_is_refused_before_the_engine_sees_it() {
    let (_, digest, sealed) = adder(1);
    let host = new_host();
    let seal_from = sealed.len() - SEAL_BYTES;
    let code = (CODE_FROM..seal_from).step_by(13);
    for at in (0..CODE_FROM).chain(code).chain(seal_from..sealed.len()) {
        let mut changed = sealed.clone();
        changed[at] ^= 1 << (at % 8);
        let expected = match at {
            0..HEAD_BYTES => ArtifactError::NotOurs,
            HEAD_BYTES..72 => ArtifactError::OtherModule,
            72..CODE_FROM => ArtifactError::OtherEngine,
            _ => ArtifactError::Tampered,
        };
        assert_eq!(host.learn(&digest, &changed, &key()), Err(expected), "byte {at}");
    }
    assert!(!host.is_compiled(&digest));
}

#[test]
fn what_is_cut_short_or_grown_is_refused() {
    let (_, digest, sealed) = adder(1);
    let host = new_host();
    let least = CODE_FROM + SEAL_BYTES;
    for length in (0..least).chain((least..sealed.len()).step_by(17)) {
        let expected =
            if length < least { ArtifactError::NotOurs } else { ArtifactError::Tampered };
        assert_eq!(host.learn(&digest, &sealed[..length], &key()), Err(expected), "{length}");
    }
    let mut grown = sealed.clone();
    grown.push(0);
    assert_eq!(host.learn(&digest, &grown, &key()), Err(ArtifactError::Tampered));
    assert!(!host.is_compiled(&digest));
    assert_eq!(host.learn(&digest, &sealed, &key()), Ok(()), "the whole one is fine");
}

#[test]
fn what_belongs_elsewhere_is_refused() {
    let (_, digest, sealed) = adder(1);
    let (_, other_digest, _) = adder(2);
    let host = new_host();
    let other_module = host.learn(&other_digest, &sealed, &key());
    assert_eq!(other_module, Err(ArtifactError::OtherModule));

    let other_key = ArtifactKey::from_bytes([8; 32]);
    assert_eq!(host.learn(&digest, &sealed, &other_key), Err(ArtifactError::Tampered));

    let engine = Digest::of(b"another release of the engine");
    let other_engine = sealed_again(&sealed, |artifact| {
        artifact[HEAD_BYTES + DIGEST_BYTES..CODE_FROM].copy_from_slice(engine.hex().as_bytes());
    });
    assert_eq!(host.learn(&digest, &other_engine, &key()), Err(ArtifactError::OtherEngine));

    let other_form = sealed_again(&sealed, |artifact| artifact[HEAD_BYTES - 1] += 1);
    assert_eq!(host.learn(&digest, &other_form, &key()), Err(ArtifactError::NotOurs));
    assert!(!host.is_compiled(&digest) && !host.is_compiled(&other_digest));
}

/// As on a device whose processor was replaced: the seal fits, the code does not.
#[test]
fn what_the_engine_does_not_know_is_its_to_refuse() {
    let (_, digest, sealed) = adder(1);
    let host = new_host();
    for code in [&b""[..], b"\x7fELF", b"no native code at all"] {
        let foreign = sealed_again(&sealed, |artifact| {
            artifact.truncate(CODE_FROM);
            artifact.extend_from_slice(code);
        });
        let refused = host.learn(&digest, &foreign, &key()).unwrap_err();
        assert!(matches!(refused, ArtifactError::Engine(_)), "{refused:?}");
    }
    assert!(!host.is_compiled(&digest));
}

#[test]
fn an_artifact_spares_compilation_and_no_check() {
    let (_, _, sealed) = adder(1);
    let host = new_host();
    for (module, reason) in [
        (b"no module".to_vec(), Reason::NotAComponent),
        (bytes(r#"(component (import "now" (func (result f64))))"#), Reason::HasImports),
    ] {
        let error = host.compile(&module, &key()).unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");

        let digest = Digest::of(&module);
        let claimed = sealed_again(&sealed, |artifact| {
            artifact[HEAD_BYTES..HEAD_BYTES + DIGEST_BYTES]
                .copy_from_slice(digest.hex().as_bytes());
        });
        host.learn(&digest, &claimed, &key()).unwrap();
        let error = host.admit(&module, &x_to_y(), &function(), BUDGET).unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
    }
    let (module, digest, sealed) = adder(1);
    host.learn(&digest, &sealed, &key()).unwrap();
    let error = host.admit(&module, &water_heater(), &function(), BUDGET).unwrap_err();
    assert!(matches!(error, AdmitError::Interface(_)), "{error}");
}

#[test]
fn a_key_is_never_printed() {
    assert_eq!(format!("{:?}", key()), "ArtifactKey(..)");
    assert_eq!(key().as_bytes(), &[7; 32]);
}
