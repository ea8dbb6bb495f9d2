//! Shape caps: bombs that are refused before anything compiles them.

use gnomon_host::AdmitError;
use gnomon_host::shape::{
    BLOCK_DEPTH_MAX, BLOCKS_TIMES_LOCALS_MAX, CUSTOM_BYTES_MAX, FUNCTIONS_MAX, INSTANCES_MAX,
    LOCALS_MAX, NESTED_MAX, NESTING_DEPTH_MAX, OPERATORS_MAX, SECTION_ITEMS_MAX,
};
use gnomon_schemas::Reason;
use gnomon_schemas::limits::MODULE_BYTES_MAX;

use crate::support::{
    BUDGET, Expect, body, bytes, check, check_bytes, function, host, simple, x_to_y,
};

fn shape(part: &'static str) -> Expect {
    Expect::Refused(Reason::ShapeLimit, part)
}

/// A guest with these fields beside its function.
fn with(fields: &str) -> String {
    simple(&format!(r#"{fields} (func (export "f") (param f64) (result f64) (local.get 0))"#))
}

/// A component with these fields beside a good guest.
fn beside(fields: &str) -> String {
    body("(local.get 0)").replacen("(component", &format!("(component {fields}"), 1)
}

#[test]
fn dimensions_of_functions() {
    let functions = |count: usize| with(&"(func)".repeat(count - 1));
    let locals =
        |count: u32| body(&format!("(local {}) (local.get 0)", "i64 ".repeat(count as usize)));
    let operators = |count: usize| body(&format!("{} (local.get 0)", "nop ".repeat(count - 2)));
    let deep = |depth: usize| {
        body(&format!("{}{} (local.get 0)", "(block ".repeat(depth), ")".repeat(depth)))
    };
    // A guest's one type has a param and a result.
    let blocks = |locals: usize, count: usize| {
        body(&format!(
            "(local {}) {} (local.get 0)",
            "i64 ".repeat(locals),
            "(block)".repeat(count)
        ))
    };
    let carried = |locals: usize| BLOCKS_TIMES_LOCALS_MAX / (locals + 3);
    for (name, text, expect) in [
        ("functions", functions(FUNCTIONS_MAX), Expect::Output(1.0)),
        ("functions", functions(FUNCTIONS_MAX + 1), shape("5001 functions, at most 5000")),
        ("locals", locals(LOCALS_MAX), Expect::Output(1.0)),
        ("locals", locals(LOCALS_MAX + 1), shape("1001 locals of a function")),
        ("operators", operators(OPERATORS_MAX), Expect::Output(1.0)),
        ("operators", operators(OPERATORS_MAX + 1), shape("50001 operators of a function")),
        ("blocks", deep(BLOCK_DEPTH_MAX), Expect::Output(1.0)),
        ("blocks", deep(BLOCK_DEPTH_MAX + 1), shape("201 block depth of a function")),
        ("compile bomb", blocks(900, carried(900)), Expect::Output(1.0)),
        ("compile bomb", blocks(900, carried(900) + 1), shape("blocks times locals")),
    ] {
        check(name, &text, &expect);
    }
}

/// Params and the results of blocks cost a compiler what locals do.
#[test]
fn compile_bombs_without_locals() {
    let params = "i64 ".repeat(900);
    let by_params = with(&format!("(func (param {params}) {})", "(block)".repeat(2_000)));
    check("params", &by_params, &shape("blocks times locals"));
    let ones = "(i64.const 1)".repeat(900);
    let by_results = with(&format!(
        "(type $wide (func (param {params}) (result {params})))
         (func (result {params}) {ones} {})",
        "(block (type $wide))".repeat(2_000)
    ));
    check("results", &by_results, &shape("blocks times locals"));
    let branches = body(&format!(
        "(block {} (i32.const 0) (br_table {})) (local.get 0)",
        "",
        "0 ".repeat(400_000)
    ));
    check("branch tables", &branches, &shape("blocks times locals"));
}

#[test]
fn dimensions_of_modules() {
    let exports = |count: usize| {
        let exports: String =
            (0..count - 1).map(|i| format!("(export \"{i}\" (func 0))")).collect();
        with(&exports)
    };
    let globals = |count: usize| with(&"(global i32 (i32.const 0))".repeat(count));
    let data =
        |count: usize| with(&format!("(memory 1) {}", "(data (i32.const 0) \"a\")".repeat(count)));
    let elements = |count: usize| {
        with(&format!("(table 10000 funcref) (elem (i32.const 0) {})", "0 ".repeat(count)))
    };
    let max = SECTION_ITEMS_MAX;
    for (name, text, expect) in [
        ("exports", exports(max), Expect::Output(1.0)),
        ("exports", exports(max + 1), shape("2001 exports, at most 2000")),
        ("globals", globals(max), Expect::Output(1.0)),
        ("globals", globals(max + 1), shape("2001 globals")),
        ("data", data(max), Expect::Output(1.0)),
        ("data", data(max + 1), shape("2001 data segments")),
        ("elements", elements(10_000), Expect::Output(1.0)),
        ("elements", elements(10_001), shape("10001 elements of segments")),
        ("types", with(&type_bomb(max + 1)), shape("types, at most 2000")),
    ] {
        check(name, &text, &expect);
    }
}

fn type_bomb(count: usize) -> String {
    "(type (func (param i32)))".repeat(count)
}

#[test]
fn data_outside_the_memory() {
    let outside = |part| Expect::Refused(Reason::TrapMemory, part);
    let part = "does not start within its budget";
    let long = format!("(memory 1) (data (i32.const 0) \"{}\")", "a".repeat(65_537));
    for (name, fields, expect) in [
        ("longer than the memory", long.as_str(), outside(part)),
        ("at the end", "(memory 1) (data (i32.const 65535) \"a\")", Expect::Output(1.0)),
        ("across the end", "(memory 1) (data (i32.const 65535) \"ab\")", outside(part)),
        ("far off", "(memory 1) (data (i32.const -1) \"a\")", outside(part)),
        ("no memory of any size", "(memory 0) (data (i32.const 0) \"a\")", outside(part)),
        (
            "elements past the table",
            "(table 1 funcref) (elem (i32.const 1) func 0)",
            Expect::Refused(Reason::TrapTable, part),
        ),
    ] {
        check(name, &with(fields), &expect);
    }
}

#[test]
fn dimensions_of_components() {
    // Sections may repeat: it is the sum that counts.
    let types = |count: usize| beside(&"(type (list u8)) (core type (func))".repeat(count));
    let aliases = |count: usize| {
        beside(&format!(
            r#"(core module $a (func (export "a"))) (core instance $a (instantiate $a)) {}"#,
            r#"(alias core export $a "a" (core func)) (type (list u8))"#.repeat(count)
        ))
    };
    let canonical = |count: usize| {
        beside(&format!(
            r#"(core module $a (func (export "a"))) (core instance $a (instantiate $a))
               (alias core export $a "a" (core func $g)) (type $t (func)) {}"#,
            "(func (type $t) (canon lift (core func $g))) (type (list u8))".repeat(count)
        ))
    };
    let modules = |count: usize| beside(&"(core module)".repeat(count - 1));
    let nested =
        |depth: usize| beside(&format!("{}{}", "(component ".repeat(depth), ")".repeat(depth)));
    // One instance is the guest's own.
    let instances = |count: usize| {
        beside(&format!(
            "(core module $e) {}",
            "(core instance (instantiate $e))".repeat(count - 1)
        ))
    };
    let max = SECTION_ITEMS_MAX;
    for (name, text, expect) in [
        ("component types", types(max + 1), shape("component types, at most 2000")),
        ("aliases", aliases(max + 1), shape("at most 2000")),
        ("canonical functions", canonical(max + 1), shape("at most 2000")),
        ("modules", modules(NESTED_MAX), Expect::Output(1.0)),
        ("modules", modules(NESTED_MAX + 1), shape("17 nested modules")),
        ("depth", nested(NESTING_DEPTH_MAX), Expect::Output(1.0)),
        ("depth", nested(NESTING_DEPTH_MAX + 1), shape("4 nesting depth")),
        ("instances", instances(INSTANCES_MAX + 1), shape("33 instances, at most 32")),
        (
            "memories",
            beside("(core module (memory 1)) (core module (memory 1))"),
            shape("2 memories, at most 1"),
        ),
    ] {
        check(name, &text, &expect);
    }
}

/// Ten instances of what has ten instances of what has ten: a thousand.
#[test]
fn instances_that_multiply() {
    let ten = |what: &str| format!("(instance (instantiate {what}))").repeat(10);
    let text = beside(&format!(
        "(component $a (component $b (core module $m) {}) {}) {}",
        "(core instance (instantiate $m))".repeat(10),
        ten("$b"),
        ten("$a"),
    ));
    // Within the caps of its shape, and more than the pool has for one component.
    check("a thousand", &text, &Expect::Refused(Reason::CompileFailed, ""));
    let more = text.replacen(&ten("$a"), &ten("$a").repeat(2), 1);
    check("two thousand", &more, &shape("instances, at most 32"));
}

#[test]
fn bytes_that_nobody_reads() {
    let custom = |bytes: usize| beside(&format!("(@custom \"bomb\" \"{}\")", "n".repeat(bytes)));
    // The section's name counts too, and the guest's own sections of names.
    let mut most = CUSTOM_BYTES_MAX;
    while let Err(error) = host().admit(&bytes(&custom(most)), &x_to_y(), &function(), BUDGET) {
        let AdmitError::Shape { found, .. } = error else { panic!("{error}") };
        most -= found - CUSTOM_BYTES_MAX;
    }
    assert!(most > CUSTOM_BYTES_MAX - 2_000, "{most}");
    check("custom section", &custom(most), &Expect::Output(1.0));
    check("custom section", &custom(most + 1), &shape("65537 custom section bytes, at most 65536"));
    let names = with(&format!("(func ${})", "n".repeat(CUSTOM_BYTES_MAX)));
    check("name section", &names, &shape("custom section bytes"));

    let mut padded = bytes(&body("(local.get 0)"));
    padded.resize(MODULE_BYTES_MAX + 1, 0);
    check_bytes("size", &padded, &shape("4194305 bytes, at most 4194304"));
    padded.truncate(MODULE_BYTES_MAX);
    check_bytes("size", &padded, &Expect::Refused(Reason::NotAComponent, ""));
}
