//! A function is pure whatever its author tried: nothing outlives a call.

use gnomon_schemas::profile::Budget;
use serde_json::json;

use crate::support::{
    BUDGET, REALLOC, admit, bytes, call, component, function, number, profile_of, simple, x_to_y,
};

/// Sums all that it ever saw, in a global, in memory, in a table's place and in grown pages.
const HOARDER: &str = r#"(memory 1) (global $sum (mut f64) (f64.const 0))
    (func (export "f") (param f64) (result f64)
      (global.set $sum (f64.add (global.get $sum) (local.get 0)))
      (f64.store (i32.const 40000) (f64.add (f64.load (i32.const 40000)) (local.get 0)))
      (drop (memory.grow (i32.const 2)))
      (f64.store (i32.const 180000) (f64.add (f64.load (i32.const 180000)) (local.get 0)))
      (f64.add (f64.add (global.get $sum) (f64.load (i32.const 40000)))
        (f64.add (f64.load (i32.const 180000)) (f64.convert_i32_u (memory.size)))))"#;

#[test]
fn hidden_state_is_gone() {
    let guest = admit(&simple(HOARDER), &x_to_y(), BUDGET).unwrap();
    let ask = |x: u32| {
        let evaluation = call(&guest, json!({"x": x}));
        assert_eq!(number(&evaluation, "y"), f64::from(3 * x + 3), "{x}");
        evaluation.fuel
    };
    let first = ask(0);
    // Every number up to 996 in another order: 997 is a prime.
    for call in 0..997_u32 {
        assert_eq!(ask(call * 355 % 997), first);
    }
}

/// One guest's memory is not the next guest's, though they share a pool of one.
#[test]
fn memory_is_clean_between_guests() {
    let host = gnomon_host::Host::new(&gnomon_host::HostOptions { instances: 1 }).unwrap();
    let budget = Budget { fuel: 10_000_000, ..BUDGET };
    let admit = |text: &str| host.admit(&bytes(text), &x_to_y(), &function(), budget).unwrap();
    let writer = admit(&simple(
        r#"(memory 16) (func (export "f") (param f64) (result f64)
             (memory.fill (i32.const 0) (i32.const 0xaa) (i32.const 1048576)) (local.get 0))"#,
    ));
    let reader = admit(&simple(
        r#"(memory 16) (func (export "f") (param f64) (result f64) (local $i i32) (local $sum i32)
             (loop
               (local.set $sum (i32.or (local.get $sum) (i32.load (local.get $i))))
               (local.set $i (i32.add (local.get $i) (i32.const 128)))
               (br_if 0 (i32.lt_u (local.get $i) (i32.const 1048576))))
             (f64.convert_i32_u (local.get $sum)))"#,
    ));
    for _ in 0..20 {
        call(&writer, json!({"x": 1.0})).outcome.unwrap();
        assert_eq!(number(&call(&reader, json!({"x": 1.0})), "y"), 0.0);
    }
}

/// A trap in the middle leaves nothing behind either.
#[test]
fn a_trap_leaves_nothing() {
    let text = component(
        &[
            ("inputs", r#"(record (field "x" (list f64)))"#),
            ("outputs", r#"(record (field "y" f64))"#),
        ],
        r#"(param "in" $inputs) (result $outputs)"#,
        &format!(
            r#"(memory (export "memory") 1) {REALLOC} (global $n (mut i32) (i32.const 0))
               (func (export "f") (param i32 i32) (result f64)
                 (global.set $n (i32.add (global.get $n) (i32.const 1)))
                 (if (i32.eqz (local.get 1)) (then unreachable))
                 (f64.convert_i32_u (i32.add (global.get $n) (global.get $next))))"#
        ),
    );
    let profile =
        profile_of(json!({"x": {"type": {"list": "f64"}}}), json!({"y": {"type": "f64"}}));
    let guest = admit(&text, &profile, BUDGET).unwrap();
    for _ in 0..100 {
        assert!(call(&guest, json!({"x": []})).outcome.is_err());
        assert_eq!(number(&call(&guest, json!({"x": [1.0]})), "y"), 1.0 + 1024.0 + 8.0);
    }
}
