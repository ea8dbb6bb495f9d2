//! Animals that lie to whoever speaks the canonical ABI with them: `realloc`, results and
//! `post-return`.

use gnomon_schemas::Reason;

use super::guest::{REALLOC, function};
use super::{Fate, Guest, Poison};

const OTHER: Fate = Fate::Faults(&[Reason::TrapOther]);

pub(super) fn animals() -> Vec<Poison> {
    let mut animals = allocators();
    animals.extend(results());
    animals.extend(after_the_call());
    animals
}

/// A guest that is handed the forecast, by this allocator.
fn allocates(name: &'static str, why: &'static str, fate: Fate, body: &str) -> Poison {
    Guest::new(name).inputs(r#"(field "price-forecast" (list f64))"#).core(
        why,
        fate,
        &format!(
            r#"(memory (export "memory") 1)
               (func $r (export "realloc") (param i32 i32 i32 i32) (result i32) {body})
               (func (export "f") (param i32 i32) (result f64)
                 (f64.add (f64.const 50) (f64.load (local.get 0))))"#
        ),
    )
}

fn allocators() -> Vec<Poison> {
    vec![
        allocates(
            "realloc-across-the-end",
            "has its list written half outside its memory",
            OTHER,
            "(i32.const 65528)",
        ),
        allocates(
            "realloc-far-off",
            "has its list written at the end of all addresses",
            OTHER,
            "(i32.const -8)",
        ),
        allocates(
            "realloc-out-of-step",
            "has its list written where no number may lie",
            OTHER,
            "(i32.const 1027)",
        ),
        allocates(
            "realloc-loops",
            "never says where its list may be written",
            Fate::Faults(&[Reason::OutOfFuel]),
            "(loop (br 0)) unreachable",
        ),
        allocates(
            "realloc-traps",
            "dies when it is asked for room",
            Fate::Faults(&[Reason::TrapUnreachable]),
            "unreachable",
        ),
        allocates(
            "realloc-recurses",
            "runs out of stack when it is asked for room",
            Fate::Faults(&[Reason::TrapStack]),
            "(call $r (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 8))",
        ),
        allocates(
            "realloc-grows",
            "takes all memory for one list, and aborts when there is no more",
            Fate::Faults(&[Reason::MemoryOverBudget]),
            "(loop
               (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
               (br 0))
             unreachable",
        ),
        allocates(
            "realloc-onto-itself",
            "has its list written over its own data",
            Fate::Outputs,
            "(i32.const 0)",
        ),
    ]
}

/// A guest whose result is read from where `body` says.
fn returns(name: &'static str, why: &'static str, fate: Fate, body: &str) -> Poison {
    Guest::new(name).state(r#"(field "kept" (option u8))"#).core(
        why,
        fate,
        &format!(
            r#"(memory (export "memory") 1) {REALLOC}
               (func (export "f") (param f64 i32 i32 i32) (result i32) {body})"#
        ),
    )
}

fn results() -> Vec<Poison> {
    vec![
        returns(
            "result-across-the-end",
            "its result lies half outside its memory",
            OTHER,
            "(i32.const 65528)",
        ),
        returns(
            "result-far-off",
            "its result lies at the end of all addresses",
            OTHER,
            "(i32.const -8)",
        ),
        returns("result-out-of-step", "its result lies where none may", OTHER, "(i32.const 4)"),
        returns(
            "result-of-no-case",
            "its result is neither some nor none",
            OTHER,
            "(i32.store8 (i32.const 16) (i32.const 2)) (i32.const 8)",
        ),
    ]
}

fn after_the_call() -> Vec<Poison> {
    let after = |name, why, fate, body: &str| {
        Guest::new(name).core(
            why,
            fate,
            &format!(
                r#"(memory 1) (func $p (export "post-return") (param f64) {body}) {}"#,
                function("(f64.const 55)")
            ),
        )
    };
    vec![
        after(
            "post-return-traps",
            "dies after it has put out something good",
            Fate::Faults(&[Reason::TrapUnreachable]),
            "unreachable",
        ),
        after(
            "post-return-loops",
            "puts out something good, and then does not come back",
            Fate::Faults(&[Reason::OutOfFuel]),
            "(loop (br 0))",
        ),
        after(
            "post-return-recurses",
            "runs out of stack after it has put out something good",
            Fate::Faults(&[Reason::TrapStack]),
            "(call $p (local.get 0))",
        ),
        after(
            "post-return-grows",
            "takes all memory after it has put out something good",
            Fate::Faults(&[Reason::MemoryOverBudget]),
            "(loop
               (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
               (br 0))",
        ),
    ]
}
