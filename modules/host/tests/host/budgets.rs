//! Fuel, memory and time: each fence by itself.

use gnomon_schemas::Reason;
use gnomon_schemas::profile::Budget;
use serde_json::json;

use crate::support::{
    BUDGET, Expect, REALLOC, admit, body, bytes, call, check, check_in, component, number,
    profile_of, simple, x_to_y,
};

const MIB: u64 = 1024 * 1024;

#[test]
fn work_without_end() {
    let start = |does: &str| {
        simple(&format!(
            r#"(func $go {does}) (start $go)
               (func (export "f") (param f64) (result f64) (local.get 0))"#
        ))
    };
    for (name, text, expect) in [
        ("spin", body("(loop (br 0)) unreachable"), Expect::Fault(Reason::OutOfFuel)),
        (
            "spin through calls",
            simple(
                r#"(func $no)
                   (func (export "f") (param f64) (result f64)
                     (loop (call $no) (br 0)) unreachable)"#,
            ),
            Expect::Fault(Reason::OutOfFuel),
        ),
        ("a start function", start("nop"), Expect::Output(1.0)),
        (
            "spin in the start function",
            start("(loop (br 0))"),
            Expect::Refused(Reason::OutOfFuel, "does not start within its budget"),
        ),
        (
            "trap in the start function",
            start("unreachable"),
            Expect::Refused(Reason::TrapUnreachable, "does not start within its budget"),
        ),
        (
            "recursion in the start function",
            start("(call $go)"),
            Expect::Refused(Reason::TrapStack, "does not start within its budget"),
        ),
    ] {
        check(name, &text, &expect);
    }
}

#[test]
fn work_without_end_in_realloc() {
    let spin = component(
        &[
            ("inputs", r#"(record (field "x" (list f64)))"#),
            ("outputs", r#"(record (field "y" f64))"#),
        ],
        r#"(param "in" $inputs) (result $outputs)"#,
        r#"(memory (export "memory") 1)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) (loop (br 0)) unreachable)
           (func (export "f") (param i32 i32) (result f64) (f64.const 1))"#,
    );
    let profile =
        profile_of(json!({"x": {"type": {"list": "f64"}}}), json!({"y": {"type": "f64"}}));
    let fault = Expect::Fault(Reason::OutOfFuel);
    check_in("spin in realloc", &bytes(&spin), &profile, json!({"x": [1.0]}), &fault);
}

#[test]
fn fuel_ends_exactly_at_the_budget() {
    let straight = body("(f64.add (f64.mul (local.get 0) (f64.const 3)) (f64.const 1))");
    let calls = simple(
        r#"(func $twice (param f64) (result f64) (f64.add (local.get 0) (local.get 0)))
           (func (export "f") (param f64) (result f64) (call $twice (call $twice (local.get 0))))"#,
    );
    let loops = body(
        "(local $i i32)
         (loop (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if 0 (i32.lt_u (local.get $i) (i32.const 100))))
         (local.get 0)",
    );
    for text in [straight, calls, loops] {
        let with = |fuel| {
            let admitted = admit(&text, &x_to_y(), Budget { fuel, ..BUDGET }).unwrap();
            call(&admitted, json!({"x": 2.0}))
        };
        let cost = with(BUDGET.fuel).fuel.unwrap();
        assert!(cost > 1, "{cost}");
        let enough = with(cost);
        assert!(enough.outcome.is_ok(), "{:?}", enough.outcome);
        assert_eq!(enough.fuel, Some(cost));
        for too_little in [1, cost - 1] {
            let evaluation = with(too_little);
            assert_eq!(evaluation.outcome.unwrap_err().reason, Reason::OutOfFuel, "{too_little}");
            assert_eq!(evaluation.fuel, Some(too_little));
        }
        assert_eq!(with(u64::MAX).fuel, Some(cost), "no budget is too large");
    }
}

#[test]
fn a_start_function_counts_apart_from_the_call() {
    let text = |spins: u32| {
        simple(&format!(
            r#"(func $go (local $i i32)
                 (loop (local.set $i (i32.add (local.get $i) (i32.const 1)))
                       (br_if 0 (i32.lt_u (local.get $i) (i32.const {spins})))))
               (start $go) (func (export "f") (param f64) (result f64) (local.get 0))"#
        ))
    };
    let cost = |spins| {
        let admitted = admit(&text(spins), &x_to_y(), BUDGET).unwrap();
        call(&admitted, json!({"x": 1.0})).fuel.unwrap()
    };
    assert_eq!(cost(1), cost(10_000));
}

#[test]
fn the_deadline_ends_what_fuel_does_not() {
    let mut profile = x_to_y();
    let function = profile.functions.values_mut().next().unwrap();
    function.deadline_ms = 20;
    let budget = Budget { fuel: u64::MAX, memory_bytes: MIB };
    let fills = simple(
        r#"(memory 1) (func (export "f") (param f64) (result f64)
             (loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br 0))
             unreachable)"#,
    );
    for text in [body("(loop (br 0)) unreachable"), fills] {
        let evaluation = call(&admit(&text, &profile, budget).unwrap(), json!({"x": 1.0}));
        assert_eq!(evaluation.outcome.unwrap_err().reason, Reason::DeadlineMissed);
        assert_eq!(evaluation.fuel, None, "the counter is stale after an interruption");
    }
}

/// Grows by `x` pages, then puts out what `memory.grow` said.
const GROW: &str = r#"(memory 1) (func (export "f") (param f64) (result f64)
    (f64.convert_i32_s (memory.grow (i32.trunc_f64_u (local.get 0)))))"#;

#[test]
fn memory_is_granted_up_to_the_budget() {
    let admitted = admit(&simple(GROW), &x_to_y(), BUDGET).unwrap();
    for (pages, said, peak) in [
        (0.0, 1.0, 1),
        (3.0, 1.0, 4),
        (15.0, 1.0, 16),
        (16.0, -1.0, 1),
        (65_535.0, -1.0, 1),
        (4e9, -1.0, 1),
    ] {
        let evaluation = call(&admitted, json!({"x": pages}));
        assert_eq!(number(&evaluation, "y"), said, "{pages} pages");
        assert_eq!(evaluation.memory_bytes, peak * 65_536, "{pages} pages");
    }
}

#[test]
fn what_dies_of_too_little_memory_says_so() {
    // As allocators do: grow by a page at a time, abort when there is none.
    let hungry = simple(
        r#"(memory 1) (func (export "f") (param f64) (result f64)
             (loop (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
                   (br 0))
             unreachable)"#,
    );
    check("grow and abort", &hungry, &Expect::Fault(Reason::MemoryOverBudget));
    let evaluation = call(&admit(&hungry, &x_to_y(), BUDGET).unwrap(), json!({"x": 1.0}));
    assert_eq!(evaluation.memory_bytes, MIB, "all that it was granted");
}

#[test]
fn declared_memory_and_tables_are_within_the_budget() {
    let declares = |what: &str| {
        simple(&format!(r#"{what} (func (export "f") (param f64) (result f64) (local.get 0))"#))
    };
    let over = |part| Expect::Refused(Reason::MemoryOverBudget, part);
    for (name, what, expect) in [
        ("all of it", "(memory 16)", Expect::Output(1.0)),
        ("a high maximum", "(memory 1 65536)", Expect::Output(1.0)),
        ("a page more", "(memory 17)", over("does not start within its budget")),
        ("more than any instance has", "(memory 257)", over("16842752 bytes of memory")),
        ("all that 32 bits can name", "(memory 65536)", over("4294967296 bytes of memory")),
        ("a table", "(table 10000 funcref)", Expect::Output(1.0)),
        ("a huge table", "(table 10001 funcref)", over("10001 table elements")),
        ("the hugest table", "(table 4294967295 funcref)", over("4294967295 table elements")),
        ("memory and a table", "(memory 16) (table 1 funcref)", over("does not start")),
    ] {
        check(name, &declares(what), &expect);
    }
}

#[test]
fn tables_count_as_memory() {
    let text = simple(
        r#"(memory 1) (table 100 funcref) (table 20 funcref)
           (func (export "f") (param f64) (result f64) (local.get 0))"#,
    );
    // Two tables take a feature that is off; one is counted in bytes.
    check("two tables", &text, &Expect::Refused(Reason::FeatureRefused, ""));
    let text = text.replace("(table 20 funcref)", "");
    let evaluation = call(&admit(&text, &x_to_y(), BUDGET).unwrap(), json!({"x": 1.0}));
    assert_eq!(evaluation.memory_bytes, 65_536 + 100 * 8);
}

#[test]
fn memory_of_lists_is_the_guests() {
    let echo = component(
        &[
            ("inputs", r#"(record (field "x" (list f64)))"#),
            ("outputs", r#"(record (field "y" f64))"#),
        ],
        r#"(param "in" $inputs) (result $outputs)"#,
        &format!(
            r#"(memory (export "memory") 1) {REALLOC}
               (func (export "f") (param i32 i32) (result f64)
                 (f64.convert_i32_u (local.get 1)))"#
        ),
    );
    let profile =
        profile_of(json!({"x": {"type": {"list": "f64"}}}), json!({"y": {"type": "f64"}}));
    let admitted = admit(&echo, &profile, BUDGET).unwrap();
    let items = |count: usize| json!({"x": vec![0.5; count]});
    assert_eq!(number(&call(&admitted, items(4096)), "y"), 4096.0);
    // The allocator above never asks for a second page: 64 KiB hold 8,064 numbers at most.
    let evaluation = call(&admitted, items(4097));
    assert_eq!(evaluation.outcome.unwrap_err().reason, Reason::InputOutOfRange);
}
