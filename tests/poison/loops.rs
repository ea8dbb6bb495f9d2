//! Animals that do not come back: loops of every form, and recursion.

use gnomon_schemas::Reason;

use super::guest::function;
use super::{Fate, Guest, Poison};

const OUT_OF_FUEL: Fate = Fate::Faults(&[Reason::OutOfFuel]);
const STACK: Fate = Fate::Faults(&[Reason::TrapStack]);

pub(super) fn animals() -> Vec<Poison> {
    let mut animals = loops();
    animals.extend(loops_of_costly_steps());
    animals.extend(recursion());
    animals
}

fn loops() -> Vec<Poison> {
    let nested = format!("{} (br 199) {} unreachable", "loop ".repeat(200), "end ".repeat(200));
    vec![
        Guest::new("loop-br").body(
            "the shortest loop there is never ends",
            OUT_OF_FUEL,
            "(loop (br 0)) unreachable",
        ),
        Guest::new("loop-over-memory").core(
            "walks round and round its memory and changes every byte",
            OUT_OF_FUEL,
            &format!(
                "(memory 16) {}",
                function(
                    "(local i32)
                     (loop
                       (i32.store8 (local.get 1)
                         (i32.add (i32.load8_u (local.get 1)) (i32.const 1)))
                       (local.set 1 (i32.rem_u (i32.add (local.get 1) (i32.const 4097))
                         (i32.const 1048576)))
                       (br 0))
                     unreachable"
                )
            ),
        ),
        Guest::new("loop-br-table").body(
            "every way out of its branch table leads back in",
            OUT_OF_FUEL,
            "(local i32)
             (loop $a (loop $b (loop $c
               (local.set 1 (i32.add (local.get 1) (i32.const 1)))
               (br_table $a $b $c $a (local.get 1)))))
             unreachable",
        ),
        Guest::new("loop-call-indirect").core(
            "goes round through a table of functions, where no branch is seen",
            OUT_OF_FUEL,
            &format!(
                "(type $step (func (param i32) (result i32)))
                 (table 2 funcref) (elem (i32.const 0) $even $odd)
                 (func $even (type $step) (i32.const 1)) (func $odd (type $step) (i32.const 0))
                 {}",
                function(
                    "(local i32)
                     (loop
                       (local.set 1 (call_indirect (type $step) (local.get 1) (local.get 1)))
                       (br 0))
                     unreachable"
                )
            ),
        ),
        Guest::new("loop-of-empty-calls").core(
            "calls a function of nothing for ever, so that calls must cost something",
            OUT_OF_FUEL,
            &format!("(func $nothing) {}", function("(loop (call $nothing) (br 0)) unreachable")),
        ),
        Guest::new("loop-nested").body(
            "jumps out of two hundred loops into the outermost of them",
            OUT_OF_FUEL,
            &nested,
        ),
    ]
}

/// One turn of these takes much longer than one of an addition.
fn loops_of_costly_steps() -> Vec<Poison> {
    let memory = |does: &str| {
        let body = format!("(loop {does} (br 0)) unreachable");
        format!("(memory 16) (data $d \"abc\") {}", function(&body))
    };
    vec![
        Guest::new("loop-memory-fill").core(
            "one instruction writes a megabyte, and it loops over that",
            OUT_OF_FUEL,
            &memory("(memory.fill (i32.const 0) (i32.const 7) (i32.const 1048576))"),
        ),
        Guest::new("loop-memory-copy").core(
            "one instruction moves half a megabyte, and it loops over that",
            OUT_OF_FUEL,
            &memory("(memory.copy (i32.const 0) (i32.const 524288) (i32.const 524288))"),
        ),
        Guest::new("loop-memory-init").core(
            "copies and drops a data segment for ever, each time through the host",
            OUT_OF_FUEL,
            &memory("(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0)) (data.drop $d)"),
        ),
        Guest::new("loop-table-copy").core(
            "one instruction copies nine thousand table entries, and it loops over that",
            OUT_OF_FUEL,
            &format!(
                "(table 10000 funcref) {}",
                function(
                    "(loop (table.copy (i32.const 0) (i32.const 1000) (i32.const 9000)) (br 0))
                     unreachable"
                )
            ),
        ),
        Guest::new("loop-memory-grow").core(
            "asks for memory for ever, whatever the answer is",
            OUT_OF_FUEL,
            &memory("(drop (memory.grow (i32.const 1)))"),
        ),
        Guest::new("loop-of-free-steps").body(
            "one unit of fuel pays for entering 15,000 loops, so that only the deadline ends it",
            Fate::Faults(&[Reason::DeadlineMissed, Reason::OutOfFuel]),
            &format!("(loop $out {} (br $out)) unreachable", "loop end ".repeat(15_000)),
        ),
        Guest::new("loop-of-denormals").body(
            "divides numbers so small that a processor takes its time over each",
            OUT_OF_FUEL,
            "(loop
               (local.set 0 (f64.div (f64.sqrt (f64.const 4.9e-324)) (f64.const 1e-160)))
               (br_if 0 (f64.ge (f64.mul (local.get 0) (f64.const 4.9e-324)) (f64.const 0))))
             unreachable",
        ),
        Guest::new("loop-of-divisions").body(
            "does nothing but the slowest arithmetic on integers",
            OUT_OF_FUEL,
            "(local i64)
             (loop
               (local.set 1 (i64.rem_u (i64.sub (i64.const -1) (local.get 1)) (i64.const 3)))
               (local.set 1 (i64.div_s (i64.const 0x7fffffffffffffff)
                 (i64.add (local.get 1) (i64.const 1))))
               (br 0))
             unreachable",
        ),
    ]
}

fn recursion() -> Vec<Poison> {
    let many: String = (1..=900).map(|local| format!("(local.get {local})")).collect();
    let sets: String = (1..=900)
        .map(|local| format!("(local.set {local} (f64.add (local.get 0) (f64.const {local})))"))
        .collect();
    vec![
        Guest::new("recursion-deep").core(
            "calls itself until the stack ends, where a host without a guard page would go on",
            STACK,
            "(func $f (export \"f\") (param f64) (result f64)
               (f64.add (call $f (local.get 0)) (f64.const 1)))",
        ),
        Guest::new("recursion-mutual").core(
            "two functions call each other until the stack ends",
            STACK,
            &format!(
                "(func $a (param f64) (result f64)
                   (f64.add (call $b (local.get 0)) (f64.const 1)))
                 (func $b (param f64) (result f64)
                   (f64.add (call $a (local.get 0)) (f64.const 1)))
                 {}",
                function("(call $a (local.get 0))")
            ),
        ),
        Guest::new("recursion-by-table").core(
            "calls itself through a table, where nothing shows that it is itself",
            STACK,
            "(type $t (func (param f64) (result f64))) (table 1 funcref) (elem (i32.const 0) $f)
             (func $f (export \"f\") (type $t)
               (f64.add (call_indirect (type $t) (local.get 0) (i32.const 0)) (f64.const 1)))",
        ),
        Guest::new("recursion-with-big-frames").core(
            "each call keeps nine hundred numbers, to step over a guard page",
            STACK,
            &format!(
                "(func $f (export \"f\") (param f64) (result f64) (local {})
                   {sets} (local.set 0 (call $f (local.get 0))) {many} {} )",
                "f64 ".repeat(900),
                "f64.add ".repeat(899),
            ),
        ),
        Guest::new("recursion-that-branches").core(
            "forty calls deep and two to the fortieth wide: little stack and no end",
            OUT_OF_FUEL,
            &format!(
                "(func $two (param i32)
                   (if (local.get 0) (then
                     (call $two (i32.sub (local.get 0) (i32.const 1)))
                     (call $two (i32.sub (local.get 0) (i32.const 1))))))
                 {}",
                function("(call $two (i32.const 40)) (local.get 0)")
            ),
        ),
    ]
}
