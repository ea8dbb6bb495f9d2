//! Animals of another kind: imports, exports and types that do not fit.

use gnomon_schemas::Reason;

use super::guest::{assembled, function, manifest};
use super::{Fate, Guest, Poison};

const MISMATCH: Fate = Fate::Refused(&[Reason::InterfaceMismatch]);
const TYPE: Fate = Fate::Refused(&[Reason::TypeRefused]);

/// A core function of these params and results that is never called.
fn never(signature: &str) -> String {
    format!(
        r#"(memory (export "memory") 1)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
           (func (export "f") {signature} unreachable)"#
    )
}

pub(super) fn animals() -> Vec<Poison> {
    let mut animals = fields();
    animals.extend(signatures());
    animals.extend(capabilities());
    animals.extend(kinds());
    animals
}

fn fields() -> Vec<Poison> {
    let one = "(param f64) (result f64)";
    vec![
        Guest::new("type-unknown-input").inputs(r#"(field "door-open" f64)"#).core(
            "reads a signal that the device does not have",
            MISMATCH,
            &never(one),
        ),
        Guest::new("type-input-of-another-type").inputs(r#"(field "hour" f32)"#).core(
            "reads a signal as if it were of another type",
            MISMATCH,
            &never("(param f32) (result f64)"),
        ),
        Guest::new("type-unknown-output")
            .outputs(r#"(field "setpoint-c" f64) (field "relief-valve" bool)"#)
            .core(
                "puts out what it is not asked for: another actuator",
                MISMATCH,
                &never("(param f64) (result i32)"),
            ),
        Guest::new("type-output-of-another-type").outputs(r#"(field "setpoint-c" f32)"#).core(
            "puts out a number of another type",
            MISMATCH,
            &never("(param f64) (result f32)"),
        ),
        Guest::new("type-output-list").outputs(r#"(field "setpoint-c" (list f64))"#).core(
            "puts out a list where an actuator takes a number",
            MISMATCH,
            &never("(param f64) (result i32)"),
        ),
        Guest::new("type-missing-output").outputs(r#"(field "setpoint" f64)"#).core(
            "leaves out the one output that it is there for",
            MISMATCH,
            &never(one),
        ),
    ]
}

fn signatures() -> Vec<Poison> {
    vec![
        Guest::new("type-no-inputs").signature("(result $o)").core(
            "is no function of anything",
            MISMATCH,
            &never("(result f64)"),
        ),
        Guest::new("type-no-result").signature(r#"(param "in" $i)"#).core(
            "takes its inputs and says nothing",
            MISMATCH,
            &never("(param f64)"),
        ),
        Guest::new("type-bare-result").signature(r#"(param "in" $i) (result f64)"#).core(
            "puts out a number without saying for what",
            MISMATCH,
            &never("(param f64) (result f64)"),
        ),
        Guest::new("type-demands-params")
            .signature(r#"(param "in" $i) (param "p" $o) (result $o)"#)
            .core(
                "wants params that no document gives it",
                Fate::Refused(&[Reason::ParamsInvalid]),
                &never("(param f64 f64) (result f64)"),
            ),
        Guest::new("type-missing-export").export("decide").body(
            "exports a function of another name",
            Fate::Refused(&[Reason::MissingExport]),
            "(local.get 0)",
        ),
        Guest::new("type-that-multiplies").state(r#"(field "kept" $c)"#).front(&tree()).core(
            "its state is ten of ten of ten numbers, in three hundred bytes",
            TYPE,
            &never("(param i32) (result i32)"),
        ),
    ]
}

/// Ten fields of ten fields of ten fields.
fn tree() -> String {
    let record = |name: &str, of: &str| {
        let fields: String = (0..10).map(|i| format!("(field \"f{i}\" {of})")).collect();
        format!(
            "(type ${name}-of (record {fields})) (import \"{name}\" (type ${name} (eq ${name}-of)))"
        )
    };
    [("a", "f64"), ("b", "$a"), ("c", "$b")].map(|(name, of)| record(name, of)).concat()
}

fn capabilities() -> Vec<Poison> {
    let imports = |name, why, import: &str| {
        let refused = Fate::Refused(&[Reason::HasImports]);
        Guest::new(name).front(import).beside(why, refused, "")
    };
    vec![
        imports(
            "import-of-a-function",
            "wants to be told the time, and would no longer be pure",
            r#"(import "now" (func (result f64)))"#,
        ),
        imports(
            "import-of-a-clock",
            "wants WASI's clock, as any program built for a desktop does",
            r#"(import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64)))))"#,
        ),
        imports(
            "import-of-a-file-system",
            "wants a file system, to see what else lies on the device",
            r#"(import "wasi:filesystem/preopens@0.2.0" (instance))"#,
        ),
        imports(
            "import-of-a-module",
            "wants code that nobody has signed",
            r#"(import "plugin" (core module))"#,
        ),
        imports(
            "import-of-a-resource",
            "wants a handle to something of the host's",
            r#"(import "handle" (type (sub resource)))"#,
        ),
    ]
}

fn kinds() -> Vec<Poison> {
    let with = |name, why, fate, ty: &str| {
        Guest::new(name)
            .front(&format!("(type $t-of {ty}) (import \"t\" (type $t (eq $t-of)))"))
            .inputs(r#"(field "hour" $t)"#)
            .core(why, fate, &never("(param i32 f64) (result f64)"))
    };
    let text = format!("(module {} {})", function("(local.get 0)"), manifest("kind-core-module"));
    vec![
        assembled(
            "kind-core-module",
            "is a bare core module, whose types are a mere claim",
            Fate::Refused(&[Reason::NotAComponent]),
            &text,
        ),
        with(
            "kind-variant",
            "reads a signal as a variant, which is no value",
            TYPE,
            r#"(variant (case "a" f64))"#,
        ),
        with("kind-result", "reads a signal as a result, which is no value", TYPE, "(result f64)"),
        Guest::new("kind-future").front("(type (future f64))").beside(
            "has a type of something that comes later",
            Fate::Refused(&[Reason::FeatureRefused]),
            "",
        ),
        Guest::new("kind-vectors").body(
            "uses vector instructions, which are off",
            Fate::Refused(&[Reason::FeatureRefused]),
            "(drop (v128.const i64x2 0 0)) (local.get 0)",
        ),
        Guest::new("kind-tail-calls").core(
            "loops by tail calls, which are off",
            Fate::Refused(&[Reason::FeatureRefused]),
            "(func $f (export \"f\") (param f64) (result f64) (return_call $f (local.get 0)))",
        ),
    ]
}
