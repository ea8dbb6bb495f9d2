//! Animals that eat: memory and tables, declared, grown and touched.

use gnomon_schemas::Reason;

use super::guest::function;
use super::{Fate, Guest, Poison};

const TOO_MUCH: Fate = Fate::Refused(&[Reason::MemoryOverBudget]);
const DENIED: Fate = Fate::Faults(&[Reason::MemoryOverBudget]);

pub(super) fn animals() -> Vec<Poison> {
    let mut animals = declared();
    animals.extend(grown());
    animals.extend(touched());
    animals
}

fn declared() -> Vec<Poison> {
    let declares = |name, why, fate, fields: &str| Guest::new(name).beside(why, fate, fields);
    vec![
        declares(
            "memory-a-page-over-budget",
            "declares one page more than its budget",
            TOO_MUCH,
            "(memory 17)",
        ),
        declares(
            "memory-of-four-gigabytes",
            "declares all the memory that 32 bits can name",
            TOO_MUCH,
            "(memory 65536)",
        ),
        declares(
            "memory-of-64-bits",
            "has addresses of 64 bits, by a feature that is off",
            Fate::Refused(&[Reason::FeatureRefused]),
            "(memory i64 1)",
        ),
        declares(
            "memory-that-is-shared",
            "declares memory that threads could share",
            Fate::Refused(&[Reason::FeatureRefused]),
            "(memory 1 16 shared)",
        ),
        Guest::new("memory-twice").front("(core module (memory 16))").beside(
            "declares its whole budget in each of two modules",
            Fate::Refused(&[Reason::ShapeLimit]),
            "(memory 16)",
        ),
        declares(
            "table-of-four-billion",
            "declares all the table entries that 32 bits can name",
            TOO_MUCH,
            "(table 4294967295 funcref)",
        ),
        declares(
            "table-one-over",
            "declares one table entry more than any instance may have",
            TOO_MUCH,
            "(table 10001 funcref)",
        ),
        declares(
            "table-and-memory",
            "its memory is its whole budget, and its table comes on top",
            TOO_MUCH,
            "(memory 16) (table 10000 funcref)",
        ),
    ]
}

fn grown() -> Vec<Poison> {
    let grows = |body: &str| format!("(memory 1) {}", function(body));
    vec![
        Guest::new("memory-grown-to-the-end").core(
            "takes page after page and aborts when there are no more, as allocators do",
            DENIED,
            &grows(
                "(loop
                   (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
                   (br 0))
                 unreachable",
            ),
        ),
        Guest::new("memory-grown-at-once").core(
            "asks for four gigabytes at once and writes to them whatever the answer is",
            DENIED,
            &grows(
                "(drop (memory.grow (i32.const 65535)))
                 (i32.store (i32.const 0x7fff0000) (i32.const 1)) (local.get 0)",
            ),
        ),
        Guest::new("memory-grown-and-made-do").core(
            "asks for too much on every call, and makes do without",
            Fate::Outputs,
            &grows("(f64.add (f64.const 50) (f64.convert_i32_s (memory.grow (i32.const 60000))))"),
        ),
        Guest::new("table-grown").core(
            "grows a table by a million, by a feature that is off",
            Fate::Refused(&[Reason::FeatureRefused]),
            &format!(
                "(table $t 1 funcref) (elem declare func $g)
                 (func $g (drop (table.grow $t (ref.func $g) (i32.const 1000000))))
                 {}",
                function("(call $g) (local.get 0)")
            ),
        ),
    ]
}

/// Within their budget, and as costly to clean up after as that allows.
fn touched() -> Vec<Poison> {
    let chunk = "\\a5".repeat(1000);
    let segments: String =
        (0..250).map(|at| format!("(data (i32.const {}) \"{chunk}\")", at * 4096 + 17)).collect();
    // An offset that only the instance knows: nothing is laid out beforehand.
    let late: String = (0..190).map(|_| format!("(data (global.get $at) \"{chunk}\")")).collect();
    vec![
        Guest::new("memory-all-touched").core(
            "dirties every page of its budget, which the host must clean before the next call",
            Fate::Outputs,
            &format!(
                "(memory 16) {}",
                function(
                    "(local i32)
                     (loop
                       (i64.store (local.get 1) (i64.const -1))
                       (local.set 1 (i32.add (local.get 1) (i32.const 4096)))
                       (br_if 0 (i32.lt_u (local.get 1) (i32.const 1048576))))
                     (f64.const 55)"
                )
            ),
        ),
        Guest::new("memory-image-everywhere").beside(
            "its initial memory has something on every page",
            Fate::Refused(&[Reason::OutOfFuel]),
            &format!("(memory 16) {segments}"),
        ),
        Guest::new("memory-filled-at-each-start")
            .front(
                "(core module $offsets (global (export \"at\") i32 (i32.const 3)))
                 (core instance $o (instantiate $offsets))",
            )
            .linked(
                "has its memory written at each start, for nearly all of its fuel",
                Fate::Outputs,
                "(with \"o\" (instance $o))",
                &format!(
                    "(import \"o\" \"at\" (global $at i32)) (memory 16) {late} {}",
                    function("(f64.const 55)")
                ),
            ),
        Guest::new("table-filled-at-each-start").beside(
            "has ten thousand table entries filled at each start",
            Fate::Outputs,
            &format!(
                "(table 10000 funcref) (func $g) (elem (i32.const 0) func {})",
                "$g ".repeat(10_000)
            ),
        ),
    ]
}
