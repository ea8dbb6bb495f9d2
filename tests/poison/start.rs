//! Animals that act before they are called: start functions.

use gnomon_schemas::Reason;

use super::guest::function;
use super::{Fate, Guest, Poison};

pub(super) fn animals() -> Vec<Poison> {
    let starts = |name, why, fate, does: &str| {
        let fields = format!("(memory 1) (func $go (local i32) {does}) (start $go)");
        Guest::new(name).beside(why, fate, &fields)
    };
    let refused = |reason: &'static [Reason]| Fate::Refused(reason);
    let spend = "(loop
        (local.set 0 (i32.add (local.get 0) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get 0) (i32.const 20000))))";
    vec![
        starts(
            "start-loops",
            "never gets as far as being called",
            refused(&[Reason::OutOfFuel]),
            "(loop (br 0))",
        ),
        starts(
            "start-traps",
            "dies before it can be called",
            refused(&[Reason::TrapUnreachable]),
            "unreachable",
        ),
        starts(
            "start-recursion",
            "runs out of stack before it can be called",
            refused(&[Reason::TrapStack]),
            "(call $go)",
        ),
        starts(
            "start-needs-memory",
            "takes all memory before it is called, and aborts when there is no more",
            refused(&[Reason::MemoryOverBudget]),
            "(loop
               (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
               (br 0))",
        ),
        starts(
            "start-reads-outside",
            "reaches outside its memory before it is called",
            refused(&[Reason::TrapMemory]),
            "(drop (i32.load (i32.const -1)))",
        ),
        starts(
            "start-spends-the-budget",
            "uses up nearly all of its fuel before each call, where no call is metered",
            Fate::Outputs,
            spend,
        ),
        Guest::new("start-spends-and-call-spends").core(
            "uses up nearly all of its fuel twice: before each call, and in it",
            Fate::Outputs,
            &format!(
                "(func $go (local i32) {spend}) (start $go) {}",
                function(&format!(
                    "(local i32) {} (f64.const 55)",
                    spend.replace(" 0", " 1").replace("br_if 1", "br_if 0")
                ))
            ),
        ),
        Guest::new("start-in-each-instance")
            .front(&format!(
                "(core module $e (func $go (local i32) {spend}) (start $go))
                 {}",
                "(core instance (instantiate $e))".repeat(3)
            ))
            .beside(
                "starts four times, each within the budget and together beyond it",
                refused(&[Reason::OutOfFuel]),
                "",
            ),
        Guest::new("start-by-a-segment").beside(
            "its data lies outside its memory, which only the start finds out",
            refused(&[Reason::TrapMemory]),
            "(memory 1) (data (i32.const 65535) \"ab\")",
        ),
        Guest::new("start-by-an-element").beside(
            "its functions lie outside its table, which only the start finds out",
            refused(&[Reason::TrapTable]),
            "(table 1 funcref) (func $g) (elem (i32.const 1) func $g)",
        ),
    ]
}
