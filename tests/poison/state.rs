//! Animals that cheat with memory: what they keep in secret, and what they hand back to be
//! kept.

use gnomon_schemas::Reason;

use super::guest::{REALLOC, function};
use super::{Fate, Guest, Poison};

const INVALID: Fate = Fate::Faults(&[Reason::StateInvalid]);

pub(super) fn animals() -> Vec<Poison> {
    let mut animals = hoarders();
    animals.extend(returned());
    animals.extend(lists());
    animals.extend(over_time());
    animals
}

/// What they put out shows whether they remember anything.
fn hoarders() -> Vec<Poison> {
    vec![
        Guest::new("state-in-a-global").core(
            "counts its calls in a global, and heats more with each",
            Fate::Outputs,
            &format!(
                "(global $n (mut f64) (f64.const 36)) {}",
                function("(global.set $n (f64.add (global.get $n) (f64.const 1))) (global.get $n)")
            ),
        ),
        Guest::new("state-in-memory").core(
            "counts its calls in its memory, in grown memory and by how much that is",
            Fate::Outputs,
            &format!(
                "(memory 1) {}",
                function(
                    "(drop (memory.grow (i32.const 1)))
                     (f64.store (i32.const 70000)
                       (f64.add (f64.load (i32.const 70000)) (f64.const 1)))
                     (f64.store (i32.const 40000)
                       (f64.add (f64.load (i32.const 40000)) (f64.const 1)))
                     (f64.add (f64.add (f64.load (i32.const 40000)) (f64.load (i32.const 70000)))
                       (f64.convert_i32_u (memory.size)))"
                )
            ),
        ),
        Guest::new("state-in-a-dropped-segment").core(
            "drops a data segment on its first call, to know the second by it",
            Fate::Outputs,
            &format!(
                "(memory 1) (data $d \"\\37\") {}",
                function(
                    "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop $d)
                     (f64.convert_i32_u (i32.load8_u (i32.const 0)))"
                )
            ),
        ),
    ]
}

/// One call's state, after 55 as the output; `(local.get 2)` is the old one.
fn keeps(
    name: &'static str,
    field: &str,
    ty: &str,
    why: &'static str,
    fate: Fate,
    does: &str,
) -> Poison {
    Guest::new(name).state(&format!("(field \"kept\" {field})")).core(
        why,
        fate,
        &format!(
            r#"(memory (export "memory") 16) {REALLOC}
               (func (export "f") (param f64 i32 {ty}) (result i32)
                 (f64.store (i32.const 8) (f64.const 55)) {does} (i32.const 8))"#
        ),
    )
}

fn returned() -> Vec<Poison> {
    vec![
        keeps(
            "state-nan",
            "f64",
            "f64",
            "hands back a state that is no number, for a store that cannot write it",
            INVALID,
            "(f64.store (i32.const 16) (f64.const nan))",
        ),
        keeps(
            "state-infinite",
            "f64",
            "f64",
            "hands back a state that is infinite",
            INVALID,
            "(f64.store (i32.const 16) (f64.const inf))",
        ),
        keeps(
            "state-nan-in-a-list",
            "(list f64)",
            "i32 i32",
            "hides a NaN as the last of four thousand numbers",
            INVALID,
            "(f64.store (i32.const 40000) (f64.const nan))
             (i32.store (i32.const 16) (i32.const 8008))
             (i32.store (i32.const 20) (i32.const 4000))",
        ),
        keeps(
            "state-huge-and-finite",
            "f64",
            "f64",
            "hands back the greatest number there is, and more than that with the next call",
            Fate::Turns(&[Reason::StateInvalid]),
            "(f64.store (i32.const 16) (select
               (f64.mul (local.get 2) (f64.const 2)) (f64.const 1.7976931348623157e308)
               (local.get 1)))",
        ),
        keeps(
            "state-bad-text",
            "string",
            "i32 i32",
            "hands back a text that is not UTF-8",
            Fate::Faults(&[Reason::TrapOther]),
            "(i32.store8 (i32.const 64) (i32.const 0xff))
             (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 1))",
        ),
        keeps(
            "state-of-another-place",
            "(list f64)",
            "i32 i32",
            "hands back a list that lies outside its memory",
            Fate::Faults(&[Reason::TrapOther]),
            "(i32.store (i32.const 16) (i32.const -8)) (i32.store (i32.const 20) (i32.const 1))",
        ),
        keeps(
            "state-nested-too-deep",
            "(list (list (list (list (list (list (list (list (list f64)))))))))",
            "i32 i32",
            "its state is a type so deep that whoever walks it runs out of stack",
            Fate::Refused(&[Reason::TypeRefused]),
            "",
        ),
    ]
}

fn lists() -> Vec<Poison> {
    let list = |items: u64| {
        format!(
            "(i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const {items}))"
        )
    };
    // Each item of the outer list is the same inner one.
    let overlapping = |outer: u32, inner: u32| {
        format!(
            "(local $i i32)
             (loop
               (i32.store offset=64 (i32.mul (local.get $i) (i32.const 8)) (i32.const 0))
               (i32.store offset=68 (i32.mul (local.get $i) (i32.const 8)) (i32.const {inner}))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if 0 (i32.lt_u (local.get $i) (i32.const {outer}))))
             {}",
            list(outer.into())
        )
    };
    let overlaps = |name, why, fate, outer, inner| {
        Guest::new(name).state("(field \"kept\" (list (list u8)))").core(
            why,
            fate,
            &format!(
                r#"(memory (export "memory") 16) {REALLOC}
                   (func (export "f") (param f64 i32 i32 i32) (result i32)
                     {} (f64.store (i32.const 8) (f64.const 55)) (i32.const 8))"#,
                overlapping(outer, inner)
            ),
        )
    };
    vec![
        keeps(
            "state-list-too-long",
            "(list f64)",
            "i32 i32",
            "hands back more numbers than are kept",
            INVALID,
            &list(5_000),
        ),
        keeps(
            "state-list-without-end",
            "(list f64)",
            "i32 i32",
            "hands back a list whose size in bytes overflows",
            Fate::Faults(&[Reason::TrapOther]),
            &list(0xffff_ffff),
        ),
        keeps(
            "state-list-of-all-memory",
            "(list u8)",
            "i32 i32",
            "hands back its memory as a list, each byte of which is a value of many",
            Fate::Faults(&[Reason::OutputInvalid]),
            &list(1_000_000),
        ),
        keeps(
            "state-list-just-too-long",
            "(list u8)",
            "i32 i32",
            "hands back as many values as the engine copies out before anybody counts them",
            INVALID,
            &list(50_000),
        ),
        keeps(
            "state-text-of-a-megabyte",
            "string",
            "i32 i32",
            "hands back a text of a megabyte to be kept",
            INVALID,
            &list(1_000_000),
        ),
        overlaps(
            "state-lists-that-overlap",
            "a hundred lists of the same hundred bytes: little memory, and much to keep",
            INVALID,
            100,
            100,
        ),
        overlaps(
            "state-lists-that-multiply",
            "five thousand lists of the same megabyte: five gigabytes once they are spelt out",
            Fate::Faults(&[Reason::OutputInvalid]),
            5_000,
            1_000_000,
        ),
    ]
}

/// The first calls are good, so that no trial before a swap shows them.
fn over_time() -> Vec<Poison> {
    let later = |name, why, reason: &'static [Reason], does: &str| {
        keeps(
            name,
            "u32",
            "i32",
            why,
            Fate::Turns(reason),
            &format!(
                "(if (i32.ge_u (local.get 2) (i32.const 10)) (then {does}))
                 (i32.store (i32.const 16) (i32.add (local.get 2) (i32.const 1)))"
            ),
        )
    };
    vec![
        later(
            "state-that-ends-in-a-loop",
            "is good ten times, and then never comes back",
            &[Reason::OutOfFuel],
            "(loop (br 0))",
        ),
        later(
            "state-that-ends-in-a-trap",
            "is good ten times, and then dies on every call",
            &[Reason::TrapUnreachable],
            "unreachable",
        ),
        keeps(
            "state-that-grows",
            "(list f64)",
            "i32 i32",
            "hands back four hundred numbers more with each call",
            Fate::Turns(&[Reason::StateInvalid]),
            "(i32.store (i32.const 16) (i32.const 131072))
             (i32.store (i32.const 20) (i32.add (local.get 3) (i32.const 400)))",
        ),
    ]
}
