//! Compile bombs: little text that a compiler takes long and much memory over, within the
//! host's shape caps and beyond them.
//!
//! Those within are admitted here; a process that compiles under caps of its own may
//! refuse them by [`Reason::CompileFailed`].

use gnomon_host::shape::{BLOCK_DEPTH_MAX, FUNCTIONS_MAX, LOCALS_MAX};
use gnomon_schemas::Reason;

use super::guest::function;
use super::{Fate, Guest, Poison};

const SHAPE: Fate = Fate::Refused(&[Reason::ShapeLimit]);

pub(super) fn animals() -> Vec<Poison> {
    let mut animals = beyond_the_caps();
    animals.extend(within_the_caps());
    animals
}

fn beyond_the_caps() -> Vec<Poison> {
    let nest = |depth: usize| format!("{}{}", "block ".repeat(depth), "end ".repeat(depth));
    let wide = "i64 ".repeat(900);
    vec![
        Guest::new("bomb-locals-times-ifs").beside(
            "a thousand locals, each another in ten thousand branches: half a gigabyte",
            SHAPE,
            &branches_over_locals(1_000, 10_000),
        ),
        Guest::new("bomb-deep-blocks").body(
            "blocks so deep that whoever walks them by recursion runs out of stack",
            SHAPE,
            &format!("{} (f64.const 55)", nest(50_000)),
        ),
        Guest::new("bomb-huge-br-table").body(
            "one branch with four hundred thousand targets",
            SHAPE,
            &format!("(block (br_table {} (i32.const 0))) (f64.const 55)", "0 ".repeat(400_000)),
        ),
        Guest::new("bomb-br-table-beyond-the-engine").body(
            "one branch with more targets than the engine takes, though the caps do",
            Fate::Refused(&[Reason::CompileFailed]),
            &format!("(block (br_table {} (i32.const 0))) (f64.const 55)", "0 ".repeat(100_000)),
        ),
        Guest::new("bomb-one-giant-function").body(
            "one function of two million operators, which is compiled in one piece",
            SHAPE,
            &format!("{} (f64.const 55)", "nop ".repeat(2_000_000)),
        ),
        Guest::new("bomb-functions").beside(
            "a hundred thousand functions, each with a cost of its own",
            SHAPE,
            &"(func)".repeat(100_000),
        ),
        Guest::new("bomb-wide-blocks").beside(
            "blocks that hand on nine hundred values each, without a single local",
            SHAPE,
            &format!(
                "(type $wide (func (param {wide}) (result {wide})))
                 (func (result {wide}) {} {})",
                "(i64.const 1)".repeat(900),
                "(block (type $wide))".repeat(2_000)
            ),
        ),
    ]
}

/// So many branches over so many locals, each changing one.
fn branches_over_locals(locals: usize, branches: usize) -> String {
    let branch = |n: usize| {
        let (read, written) = (n % locals, (7 * n + 3) % locals);
        format!("(if (local.get {read}) (then (local.set {written} (i32.const {n}))))")
    };
    let branches: String = (0..branches).map(branch).collect();
    format!("(func (local {}) {branches})", "i32 ".repeat(locals))
}

/// Loops in loops, and branches back into them, at each of which all locals may differ:
/// what register allocation takes longest over. The caps count the loops and not the
/// branches.
fn branches_back(locals: usize, branches: usize, depth: usize) -> String {
    let branch = |n: usize| {
        let (written, read) = (n % locals, (n + 1) % locals);
        format!("(local.set {written} (i32.const {n})) (br_if {} (local.get {read}))", n % depth)
    };
    let branches: String = (0..branches).map(branch).collect();
    let uses: String = (0..locals).map(|n| format!("(global.set 0 (local.get {n}))")).collect();
    format!(
        "(func (local {}) {} {branches} {} {uses})",
        "i32 ".repeat(locals),
        "loop ".repeat(depth),
        "end ".repeat(depth)
    )
}

fn within_the_caps() -> Vec<Poison> {
    let body = |n: usize| {
        let step = "i32.const 77777 i32.mul local.get 0 i32.xor ".repeat(80);
        format!("(func (param i32) (result i32) local.get 0 i32.const {n} i32.add {step})")
    };
    let many: String = (0..FUNCTIONS_MAX - 1).map(body).collect();
    let deep = format!(
        "{} (br_if {} (i32.const 0)) {}",
        "block ".repeat(BLOCK_DEPTH_MAX),
        BLOCK_DEPTH_MAX - 1,
        "end ".repeat(BLOCK_DEPTH_MAX)
    );
    let global = "(global (mut i32) (i32.const 0))";
    vec![
        Guest::new("bomb-deep-blocks-allowed").body(
            "blocks as deep as the caps allow, with a jump out of all of them",
            Fate::Outputs,
            &format!("{deep} (f64.const 55)"),
        ),
        Guest::new("bomb-br-table-allowed").body(
            "one branch with about as many targets as the engine takes",
            Fate::Outputs,
            &format!("(block (br_table {} (i32.const 0))) (f64.const 55)", "0 ".repeat(65_000)),
        ),
        Guest::new("bomb-locals-times-ifs-allowed").beside(
            "as many branches over a thousand locals as the caps allow",
            Fate::Outputs,
            &branches_over_locals(LOCALS_MAX as usize, 997),
        ),
        Guest::new("bomb-operators").body(
            "fifty thousand operators in one function, and no loop that would cost fuel",
            Fate::Outputs,
            &format!(
                "{} (f64.const 55)",
                "(local.set 0 (f64.div (f64.sqrt (local.get 0)) (f64.const 7)))".repeat(9_990)
            ),
        ),
        Guest::new("bomb-indirect-calls").beside(
            "twelve thousand calls through a table, each of them much machine code",
            Fate::Outputs,
            &format!(
                "(type $to (func)) (table 4 funcref) (func (param i32) {})",
                "(call_indirect (type $to) (local.get 0))".repeat(12_000)
            ),
        ),
        Guest::new("bomb-functions-allowed").core(
            "as many functions as the caps allow, together three megabytes",
            Fate::Outputs,
            &format!("{many} {}", function("(f64.const 55)")),
        ),
        Guest::new("largest-allowed").beside(
            "one function of 16 KB at which register allocation takes seconds and half a gigabyte",
            Fate::Outputs,
            &format!("{global} {}", branches_back(990, 1_000, 1)),
        ),
    ]
}
