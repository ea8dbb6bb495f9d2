//! WebAssembly features that are off, and bytes that are no component.

use gnomon_schemas::{Coded, Reason};

use crate::support::{Expect, body, bytes, check, check_bytes, simple};

#[test]
fn features_that_are_off() {
    let with = |fields: &str| {
        simple(&format!(r#"{fields} (func (export "f") (param f64) (result f64) (local.get 0))"#))
    };
    for (name, text) in [
        ("simd", body("(drop (v128.const i64x2 0 0)) (local.get 0)")),
        (
            "relaxed simd",
            body(
                "(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))
                 (local.get 0)",
            ),
        ),
        ("memory64", with("(memory i64 1)")),
        ("multiple memories", with("(memory 1) (memory 1)")),
        ("shared memory", with("(memory 1 1 shared)")),
        ("custom page sizes", with("(memory 1 (pagesize 1))")),
        (
            "atomics",
            simple(
                r#"(memory 1) (func (export "f") (param f64) (result f64)
                     (atomic.fence) (local.get 0))"#,
            ),
        ),
        (
            "tail call",
            simple(
                r#"(func $g (param f64) (result f64) (local.get 0))
                   (func (export "f") (param f64) (result f64) (return_call $g (local.get 0)))"#,
            ),
        ),
        ("exceptions", with("(tag)")),
        ("throw", simple(r#"(tag $t) (func (export "f") (param f64) (result f64) (throw $t))"#)),
        ("gc", with("(type $s (struct (field i32))) (func (drop (struct.new $s (i32.const 1))))")),
        ("i31", with("(func (drop (ref.i31 (i32.const 1))))")),
        ("reference types", with("(table 1 externref)")),
        (
            "growing a table",
            with(
                "(table $t 1 funcref) (elem declare func $g)
                 (func $g (drop (table.grow $t (ref.func $g) (i32.const 1000000))))",
            ),
        ),
        (
            "function references",
            with("(type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0)))"),
        ),
        ("extended constants", with("(global i32 (i32.add (i32.const 1) (i32.const 2)))")),
        (
            "wide arithmetic",
            with(
                "(func (result i64 i64)
                   (i64.add128 (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)))",
            ),
        ),
    ] {
        check(name, &text, &Expect::Refused(Reason::FeatureRefused, ""));
    }
}

/// What no type of a function can be is off in the component model too.
#[test]
fn features_of_the_component_model_that_are_off() {
    for (name, field) in [
        ("a future", "(future f64)"),
        ("a stream", "(stream u8)"),
        ("an error context", "error-context"),
        ("a list of fixed length", "(list f64 4)"),
    ] {
        let text = format!(
            r#"(component (type (record (field "x" {field})))
                 (core module $m (func (export "f") (param f64) (result f64) (local.get 0)))
                 (core instance $i (instantiate $m))
                 (func (export "evaluate") (param "x" f64) (result f64)
                   (canon lift (core func $i "f"))))"#
        );
        check(name, &text, &Expect::Refused(Reason::FeatureRefused, ""));
    }
}

#[test]
fn what_every_toolchain_needs_is_on() {
    let text = simple(
        r#"(memory 1) (global $g (export "g") (mut i32) (i32.const 3))
           (func $pair (result i32 i32) (i32.const 1) (i32.const 2))
           (func (export "f") (param f64) (result f64)
             (memory.fill (i32.const 0) (i32.const 1) (i32.const 8))
             (memory.copy (i32.const 8) (i32.const 0) (i32.const 8))
             (call $pair)
             (i32.add)
             (i32.add (i32.extend8_s (i32.load8_u (i32.const 8))))
             (i32.add (i32.trunc_sat_f64_s (local.get 0)))
             (i32.add (global.get $g))
             (f64.convert_i32_s))"#,
    );
    check("the floor", &text, &Expect::Output(8.0));
}

/// Rust's linker writes the table index of `call_indirect` as five bytes.
#[test]
fn padded_table_indices_are_taken() {
    let text = simple(
        r#"(type $to (func (param f64) (result f64))) (table 1 funcref)
           (elem (i32.const 0) $g) (func $g (type $to) (f64.const 5))
           (func (export "f") (type $to)
             (local.get 0) (i32.const 0) nop nop nop nop (call_indirect (type $to)))"#,
    );
    let mut module = bytes(&text);
    let at = module.windows(7).position(|w| w == [1, 1, 1, 1, 0x11, 0, 0]).unwrap();
    module[at..at + 7].copy_from_slice(&[0x11, 0, 0x80, 0x80, 0x80, 0x80, 0]);
    check_bytes("a padded table index", &module, &Expect::Output(5.0));
}

#[test]
fn bytes_that_are_no_component() {
    let good = bytes(&body("(local.get 0)"));
    check_bytes("the good one", &good, &Expect::Output(1.0));
    let core = bytes(r#"(module (func (export "evaluate")))"#);
    let cases: [(&str, &[u8], &'static str); 6] = [
        ("nothing", b"", ""),
        ("text", b"(component)", ""),
        ("zeros", &[0; 1000], ""),
        ("a core module", &core, "core module"),
        ("the header alone, of another version", b"\0asm\x0e\0\x01\0", ""),
        ("an executable", b"\x7fELF\x02\x01\x01\0", ""),
    ];
    for (name, module, part) in cases {
        check_bytes(name, module, &Expect::Refused(Reason::NotAComponent, part));
    }
    check_bytes(
        "an empty component",
        &bytes("(component)"),
        &Expect::Refused(Reason::MissingExport, "exports no function `evaluate`"),
    );
}

/// Wherever it is cut or a bit flips, it is refused, faults or works: the host goes on.
#[test]
fn damaged_components() {
    let good = gnomon_examples::WATER_HEATER_TOU;
    let (host, profile) = (crate::support::host(), crate::support::water_heater());
    let admit = |bytes: &[u8]| {
        host.admit(bytes, &profile, &crate::support::function(), crate::support::BUDGET)
    };
    assert!(admit(good).is_ok());
    for length in 0..good.len() {
        let cut = &good[..length];
        assert_eq!(gnomon_host::manifest(cut), None, "cut at {length}");
        match admit(cut) {
            // The last section is the manifest: without it a component is whole.
            Ok(_) => assert!(length + 130 > good.len(), "cut at {length} of {}", good.len()),
            Err(error) => assert!(
                matches!(error.reason(), Reason::NotAComponent | Reason::MissingExport),
                "cut at {length}: {error}"
            ),
        }
    }
    for bit in (0..good.len() * 8).step_by(7) {
        let mut damaged = good.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(admitted) = admit(&damaged) {
            let params = serde_json::json!({
                "off_peak_start_hour": 1.0, "off_peak_end_hour": 2.0, "high_c": 60.0, "low_c": 40.0
            });
            if let Ok(params) = admitted.params(&crate::support::values(params)) {
                let inputs = crate::support::values(serde_json::json!({"hour": 1.5}));
                let evaluation = admitted.evaluate(&inputs, &params, None);
                assert!(evaluation.fuel.is_none_or(|fuel| fuel <= crate::support::BUDGET.fuel));
            }
        }
    }
}
