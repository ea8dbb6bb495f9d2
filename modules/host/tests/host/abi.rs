//! Guests that break the rules of the canonical ABI, and guests whose few bytes
//! would fill the host's memory.

use gnomon_schemas::Reason;
use gnomon_schemas::profile::Budget;
use serde_json::json;

use crate::support::{
    BUDGET, Expect, REALLOC, admit, bytes, call, check_in, component, profile_of,
};

/// A guest of no input but `x` that returns `y` of a type, by the pointer that
/// `stores` leaves, or flat if `core` is its own function.
fn returns(ty: &str, extra: &[(&str, &str)], core: &str) -> Vec<u8> {
    let outputs = format!(r#"(record (field "y" {ty}))"#);
    let mut types = extra.to_vec();
    types.push(("inputs", r#"(record (field "x" f64))"#));
    types.push(("outputs", &outputs));
    bytes(&component(&types, r#"(param "in" $inputs) (result $outputs)"#, core))
}

/// Returns the pair of a pointer and a length.
fn pair(pointer: i64, length: i64) -> String {
    format!(
        r#"(memory (export "memory") 1) (data (i32.const 64) "ok \c3\28 \ed\a0\80") {REALLOC}
           (func (export "f") (param f64) (result i32)
             (i32.store (i32.const 8) (i32.const {pointer}))
             (i32.store (i32.const 12) (i32.const {length}))
             (i32.const 8))"#
    )
}

fn flat(value: &str) -> String {
    format!(r#"(func (export "f") (param f64) (result i32) (i32.const {value}))"#)
}

#[test]
fn values_outside_the_canonical_abi() {
    let mode = [("mode", r#"(enum "off" "on")"#)];
    let string = |core: &str| (json!("string"), returns("string", &[], core));
    let list = |core: &str| (json!({"list": "f64"}), returns("(list f64)", &[], core));
    let cases = [
        ("bad UTF-8", string(&pair(64, 5))),
        ("a surrogate", string(&pair(70, 3))),
        ("a string across the end of memory", string(&pair(65_530, 10))),
        ("a string far outside", string(&pair(-16, 8))),
        ("a huge string", string(&pair(0, 0xffff_ffff))),
        ("a list across the end", list(&pair(65_528, 2))),
        ("a list far outside", list(&pair(-8, 1))),
        ("a huge list", list(&pair(0, 0x2000_0000))),
        ("a list whose size overflows", list(&pair(0, 0xffff_ffff))),
        ("a list out of step", list(&pair(4, 1))),
        (
            "results out of step",
            list(&format!(
                r#"(memory (export "memory") 1) {REALLOC}
                   (func (export "f") (param f64) (result i32) (i32.const 3))"#
            )),
        ),
        (
            "results outside",
            list(&format!(
                r#"(memory (export "memory") 1) {REALLOC}
                   (func (export "f") (param f64) (result i32) (i32.const 65532))"#
            )),
        ),
        ("no such case", (json!({"enum": ["off", "on"]}), returns("$mode", &mode, &flat("2")))),
        ("no case", (json!({"enum": ["off", "on"]}), returns("$mode", &mode, &flat("-1")))),
        ("no character", (json!("char"), returns("char", &[], &flat("0xd800")))),
        ("past all characters", (json!("char"), returns("char", &[], &flat("0x110000")))),
        (
            "neither some nor none",
            (
                json!({"option": "u8"}),
                returns(
                    "(option u8)",
                    &[],
                    &format!(
                        r#"(memory (export "memory") 1) {REALLOC}
                           (func (export "f") (param f64) (result i32)
                             (i32.store8 (i32.const 8) (i32.const 2)) (i32.const 8))"#
                    ),
                ),
            ),
        ),
    ];
    for (name, (ty, module)) in cases {
        let profile = profile_of(json!({"x": {"type": "f64"}}), json!({"y": {"type": ty}}));
        check_in(name, &module, &profile, json!({"x": 1.0}), &Expect::Fault(Reason::TrapOther));
    }
}

/// The ABI says what becomes of the bits above a small integer or a truth value.
#[test]
fn bits_that_the_canonical_abi_ignores() {
    for (ty, core, expected) in [
        ("bool", "2", json!(true)),
        ("bool", "0", json!(false)),
        ("u8", "0x1ff", json!(255)),
        ("s8", "0x80", json!(-128)),
        ("s16", "0xffff", json!(-1)),
    ] {
        let profile = profile_of(json!({"x": {"type": "f64"}}), json!({"y": {"type": ty}}));
        let host = crate::support::host();
        let module = returns(ty, &[], &flat(core));
        let admitted = host.admit(&module, &profile, &crate::support::function(), BUDGET).unwrap();
        let outputs = call(&admitted, json!({"x": 1.0})).outcome.unwrap().outputs;
        assert_eq!(json!(outputs["y"]), expected, "{ty} {core}");
    }
}

/// What `realloc` returns is believed as far as the memory goes.
#[test]
fn realloc_that_lies() {
    let profile =
        profile_of(json!({"x": {"type": {"list": "f64"}}}), json!({"y": {"type": "f64"}}));
    for (name, at, reason) in [
        ("outside", 65_536 - 8, Reason::TrapOther),
        ("far outside", -8_i64, Reason::TrapOther),
        ("out of step", 4, Reason::TrapOther),
    ] {
        let module = bytes(&component(
            &[
                ("inputs", r#"(record (field "x" (list f64)))"#),
                ("outputs", r#"(record (field "y" f64))"#),
            ],
            r#"(param "in" $inputs) (result $outputs)"#,
            &format!(
                r#"(memory (export "memory") 1)
                   (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const {at}))
                   (func (export "f") (param i32 i32) (result f64) (f64.const 1))"#
            ),
        ));
        check_in(name, &module, &profile, json!({"x": [1.0, 2.0]}), &Expect::Fault(reason));
    }
}

/// Lists that overlap: 64 KiB of guest memory that spell out to gigabytes.
#[test]
fn outputs_that_multiply() {
    let module = |outer: u32, inner: u32| {
        component(
            &[
                ("inputs", r#"(record (field "x" f64))"#),
                ("outputs", r#"(record (field "y" (list (list u8))))"#),
            ],
            r#"(param "in" $inputs) (result $outputs)"#,
            &format!(
                r#"(memory (export "memory") 16) {REALLOC}
                   (func (export "f") (param f64) (result i32) (local $i i32)
                     (loop
                       (i32.store offset=16 (i32.mul (local.get $i) (i32.const 8)) (i32.const 0))
                       (i32.store offset=20 (i32.mul (local.get $i) (i32.const 8))
                         (i32.const {inner}))
                       (local.set $i (i32.add (local.get $i) (i32.const 1)))
                       (br_if 0 (i32.lt_u (local.get $i) (i32.const {outer}))))
                     (i32.store (i32.const 8) (i32.const 16))
                     (i32.store (i32.const 12) (i32.const {outer}))
                     (i32.const 8))"#
            ),
        )
    };
    let ty = json!({"list": {"list": "u8"}});
    let profile = profile_of(json!({"x": {"type": "f64"}}), json!({"y": {"type": ty}}));
    let budget = Budget { fuel: 10_000_000, ..BUDGET };
    for (outer, inner, fits) in [
        (1, 4_000, true),
        (60, 60, true),
        (1, 5_000, false),
        (100, 100, false),
        (1, 1_000_000, false),
        (100_000, 1_000_000, false),
    ] {
        let admitted = admit(&module(outer, inner), &profile, budget).unwrap();
        let outcome = call(&admitted, json!({"x": 1.0})).outcome;
        match outcome {
            Ok(_) => assert!(fits, "{outer} x {inner}"),
            Err(refusal) => {
                assert!(!fits, "{outer} x {inner}: {refusal}");
                assert_eq!(refusal.reason, Reason::OutputInvalid, "{refusal}");
            }
        }
    }
}

#[test]
fn strings_that_are_too_long() {
    let profile = profile_of(json!({"x": {"type": "f64"}}), json!({"y": {"type": "string"}}));
    for (length, fits) in [(0, true), (60_000, true), (65_535, false), (1_000_000, false)] {
        let core = pair(80, length).replace("(export \"memory\") 1)", "(export \"memory\") 16)");
        let module = returns("string", &[], &core);
        let host = crate::support::host();
        let admitted = host.admit(&module, &profile, &crate::support::function(), BUDGET).unwrap();
        let outcome = call(&admitted, json!({"x": 1.0})).outcome;
        assert_eq!(outcome.is_ok(), fits, "{length}");
        if let Err(refusal) = outcome {
            assert_eq!(refusal.reason, Reason::OutputInvalid);
        }
    }
}
