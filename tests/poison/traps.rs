//! Animals that die on every call: each trap that there is.

use gnomon_schemas::Reason;

use super::guest::function;
use super::{Fate, Guest, Poison};

const MEMORY: Fate = Fate::Faults(&[Reason::TrapMemory]);
const TABLE: Fate = Fate::Faults(&[Reason::TrapTable]);
const INTEGER: Fate = Fate::Faults(&[Reason::TrapInteger]);

pub(super) fn animals() -> Vec<Poison> {
    let mut animals = arithmetic();
    animals.extend(bounds());
    animals.extend(tables());
    animals
}

fn arithmetic() -> Vec<Poison> {
    let traps = |name, why, fate, body: &str| Guest::new(name).body(why, fate, body);
    vec![
        traps(
            "trap-unreachable",
            "aborts at once, as a panic in any language does",
            Fate::Faults(&[Reason::TrapUnreachable]),
            "unreachable",
        ),
        traps(
            "trap-division-by-zero",
            "divides by zero, which ends a process where nobody catches it",
            INTEGER,
            "(f64.convert_i32_s (i32.div_s (i32.const 1) (i32.const 0)))",
        ),
        traps(
            "trap-remainder-by-zero",
            "takes the remainder by zero, which is a division, too",
            INTEGER,
            "(f64.convert_i64_u (i64.rem_u (i64.const 1) (i64.const 0)))",
        ),
        traps(
            "trap-integer-overflow",
            "divides the least integer by minus one, which has no result",
            INTEGER,
            "(f64.convert_i32_s (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
        ),
        traps(
            "trap-conversion-of-nan",
            "makes an integer of what is no number",
            Fate::Faults(&[Reason::TrapConversion]),
            "(f64.convert_i32_s (i32.trunc_f64_s (f64.const nan)))",
        ),
        traps(
            "trap-conversion-of-the-huge",
            "makes an integer of a number that none can hold",
            INTEGER,
            "(f64.convert_i64_s (i64.trunc_f64_s (f64.const 1e300)))",
        ),
    ]
}

fn bounds() -> Vec<Poison> {
    let memory = |does: &str| {
        format!("(memory 1) (data $d \"abc\") {}", function(&format!("{does} (local.get 0)")))
    };
    vec![
        Guest::new("trap-load-past-the-end").core(
            "reads the byte after its memory, where the next guest's may begin",
            MEMORY,
            &memory("(drop (i32.load8_u (i32.const 65536)))"),
        ),
        Guest::new("trap-load-far-off").core(
            "reads eight gigabytes away, past any guard page",
            MEMORY,
            &memory("(drop (i64.load offset=4294967288 (i32.const -1)))"),
        ),
        Guest::new("trap-store-across-the-end").core(
            "writes a number half inside its memory and half outside",
            MEMORY,
            &memory("(i32.store (i32.const 65533) (i32.const -1))"),
        ),
        Guest::new("trap-copy-out").core(
            "copies its memory over what lies behind",
            MEMORY,
            &memory("(memory.copy (i32.const 1) (i32.const 0) (i32.const 65536))"),
        ),
        Guest::new("trap-init-past-the-segment").core(
            "reads more of a data segment than there is",
            MEMORY,
            &memory("(memory.init $d (i32.const 0) (i32.const 1) (i32.const 3))"),
        ),
    ]
}

fn tables() -> Vec<Poison> {
    let table = |at: i64| {
        let call = format!("(call_indirect (type $to) (local.get 0) (i32.const {at}))");
        format!(
            "(type $to (func (param f64) (result f64))) (type $other (func (param i32)))
             (table 4 funcref) (elem (i32.const 1) $wrong) (func $wrong (type $other)) {}",
            function(&call)
        )
    };
    vec![
        Guest::new("trap-null-call").core(
            "calls through a table entry that holds nothing",
            TABLE,
            &table(0),
        ),
        Guest::new("trap-wrong-signature").core(
            "calls a function as one of another type",
            TABLE,
            &table(1),
        ),
        Guest::new("trap-table-past-the-end").core(
            "calls through the entry after its table",
            TABLE,
            &table(4),
        ),
        Guest::new("trap-table-far-off").core(
            "calls through the last entry that 32 bits can name",
            TABLE,
            &table(0xffff_ffff),
        ),
        Guest::new("trap-table-copy-out").core(
            "copies its table over what lies behind",
            TABLE,
            &format!(
                "(table 4 funcref) {}",
                function("(table.copy (i32.const 1) (i32.const 0) (i32.const 4)) (local.get 0)")
            ),
        ),
    ]
}
