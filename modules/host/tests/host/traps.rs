//! Every way to trap, and outputs that are no numbers.

use gnomon_schemas::Reason;

use crate::support::{Expect, body, check, simple};

#[test]
fn every_trap_has_its_reason() {
    let table = |at: &str| {
        simple(&format!(
            r#"(type $to (func (param f64) (result f64))) (type $other (func (param i32)))
               (table 4 funcref) (elem (i32.const 0) $fine $wrong)
               (func $fine (type $to) (local.get 0)) (func $wrong (type $other))
               (func (export "f") (type $to)
                 (call_indirect (type $to) (local.get 0) (i32.const {at})))"#
        ))
    };
    let memory = |does: &str| {
        simple(&format!(
            r#"(memory 1) (func (export "f") (param f64) (result f64) {does} (local.get 0))"#
        ))
    };
    for (name, text, expect) in [
        ("unreachable", body("unreachable"), Expect::Fault(Reason::TrapUnreachable)),
        (
            "load out of bounds",
            memory("(drop (i32.load (i32.const 65536)))"),
            Expect::Fault(Reason::TrapMemory),
        ),
        (
            "load far out of bounds",
            memory("(drop (i64.load offset=4294967288 (i32.const -1)))"),
            Expect::Fault(Reason::TrapMemory),
        ),
        (
            "store across the end",
            memory("(i32.store (i32.const 65533) (i32.const 1))"),
            Expect::Fault(Reason::TrapMemory),
        ),
        (
            "fill out of bounds",
            memory("(memory.fill (i32.const 1) (i32.const 0) (i32.const 65536))"),
            Expect::Fault(Reason::TrapMemory),
        ),
        (
            "division by zero",
            body("(f64.convert_i32_s (i32.div_s (i32.const 1) (i32.const 0)))"),
            Expect::Fault(Reason::TrapInteger),
        ),
        (
            "remainder by zero",
            body("(f64.convert_i64_u (i64.rem_u (i64.const 1) (i64.const 0)))"),
            Expect::Fault(Reason::TrapInteger),
        ),
        (
            "division overflow",
            body("(f64.convert_i32_s (i32.div_s (i32.const 0x80000000) (i32.const -1)))"),
            Expect::Fault(Reason::TrapInteger),
        ),
        (
            "NaN to integer",
            body("(f64.convert_i32_s (i32.trunc_f64_s (f64.const nan)))"),
            Expect::Fault(Reason::TrapConversion),
        ),
        (
            "huge to integer",
            body("(f64.convert_i32_s (i32.trunc_f64_s (f64.const 1e30)))"),
            Expect::Fault(Reason::TrapInteger),
        ),
        (
            "huge to integer, saturating",
            body("(f64.convert_i32_s (i32.trunc_sat_f64_s (f64.const 1e30)))"),
            Expect::Output(2_147_483_647.0),
        ),
        ("indirect call", table("0"), Expect::Output(1.0)),
        ("indirect call of another type", table("1"), Expect::Fault(Reason::TrapTable)),
        ("indirect call of null", table("2"), Expect::Fault(Reason::TrapTable)),
        ("indirect call out of bounds", table("4"), Expect::Fault(Reason::TrapTable)),
    ] {
        check(name, &text, &expect);
    }
}

#[test]
fn the_stack_ends_in_a_trap() {
    let mutual = simple(
        r#"(func $odd (param f64) (result f64)
             (f64.add (call $even (local.get 0)) (f64.const 1)))
           (func $even (param f64) (result f64)
             (f64.add (call $odd (local.get 0)) (f64.const 1)))
           (func (export "f") (param f64) (result f64) (call $even (local.get 0)))"#,
    );
    let itself = simple(
        r#"(func $f (export "f") (param f64) (result f64)
             (f64.add (call $f (local.get 0)) (f64.const 1)))"#,
    );
    for _ in 0..100 {
        check("recursion", &itself, &Expect::Fault(Reason::TrapStack));
        check("mutual recursion", &mutual, &Expect::Fault(Reason::TrapStack));
    }
}

/// The smallest thread that may evaluate survives a guest that uses its whole stack.
#[test]
fn the_stack_of_an_evaluating_thread_suffices() {
    let deep = || {
        let itself = simple(
            r#"(func $f (export "f") (param f64) (result f64)
                 (f64.add (call $f (local.get 0)) (f64.const 1)))"#,
        );
        let host = crate::support::host();
        let (function, profile) = (crate::support::function(), crate::support::x_to_y());
        host.admit(&crate::support::bytes(&itself), &profile, &function, crate::support::BUDGET)
            .unwrap()
    };
    let admitted = deep();
    std::thread::Builder::new()
        .stack_size(gnomon_host::THREAD_STACK_BYTES)
        .spawn(move || {
            for _ in 0..1_000 {
                let evaluation = crate::support::call(&admitted, serde_json::json!({"x": 1.0}));
                assert_eq!(evaluation.outcome.unwrap_err().reason, Reason::TrapStack);
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

/// The clamp is elsewhere, and refuses these before it: here they pass as they are.
#[test]
fn outputs_that_are_no_numbers_pass_as_such() {
    for (name, text, expected) in [
        ("NaN", body("(f64.div (f64.const 0) (f64.const 0))"), f64::NAN),
        ("NaN with a payload", body("(f64.const -nan:0x123)"), f64::NAN),
        ("infinity", body("(f64.div (local.get 0) (f64.const 0))"), f64::INFINITY),
        ("less infinity", body("(f64.neg (f64.const inf))"), f64::NEG_INFINITY),
        ("huge", body("(f64.const 1.7976931348623157e308)"), f64::MAX),
        ("denormal", body("(f64.const 4.9e-324)"), 4.9e-324),
    ] {
        check(name, &text, &Expect::Output(expected));
    }
}

#[test]
fn a_computed_nan_has_the_canonical_bits() {
    let text = body("(f64.sub (f64.div (f64.const 0) (f64.const 0)) (f64.const -nan:0xabc))");
    let admitted =
        crate::support::admit(&text, &crate::support::x_to_y(), crate::support::BUDGET).unwrap();
    let evaluation = crate::support::call(&admitted, serde_json::json!({"x": 1.0}));
    assert_eq!(crate::support::number(&evaluation, "y").to_bits(), 0x7ff8_0000_0000_0000);
}
