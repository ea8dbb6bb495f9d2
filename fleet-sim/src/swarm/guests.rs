//! The modules of the simulated fleet that are written for it, as text: one that is good,
//! those of careless authors, which are admitted and fail in use, and those that no host
//! takes. What becomes of them is the production host's to say.

use super::library::Module;

/// A guest's component in parts. What most guests share is the default.
struct Guest<'a> {
    name: &'a str,
    /// Before anything else.
    first: &'a str,
    /// Fields of the inputs, and the params and result of the core function `f`.
    inputs: &'a str,
    signature: &'a str,
    memory: &'a str,
    /// Fields of the core module beside memory and `f`.
    fields: &'a str,
    body: &'a str,
    /// Options of the lifted function.
    lift: &'a str,
    /// More types, and what `evaluate` takes and returns.
    types: &'a str,
    function: &'a str,
    /// After the export.
    last: &'a str,
}

const PLAIN: Guest<'_> = Guest {
    name: "",
    first: "",
    inputs: r#"(field "hour" f64)"#,
    signature: "(param f64) (result f64)",
    memory: "(memory 1)",
    fields: "",
    body: "(f64.const 50)",
    lift: "",
    types: "",
    function: r#"(param "in" $i) (result $o)"#,
    last: "",
};

/// A number is remembered.
const REMEMBERS: Guest<'_> = Guest {
    signature: "(param f64 i32 f64) (result i32)",
    memory: r#"(memory (export "memory") 16)"#,
    lift: r#"(memory (core memory $c "memory"))"#,
    types: r#"(type $s-of (record (field "kept" f64)))
        (import "state" (type $s (eq $s-of)))"#,
    function: r#"(param "in" $i) (param "s" (option $s)) (result (tuple $o $s))"#,
    ..PLAIN
};

impl Guest<'_> {
    fn text(&self) -> String {
        let Guest { name, first, inputs, signature, memory, fields, body, .. } = self;
        let Guest { lift, types, function, last, .. } = self;
        let manifest = format!(
            r#"{{\"name\":\"{name}\",\"version\":\"1.0.0\",\"release_counter\":1,\"function\":\"setpoint\"}}"#
        );
        format!(
            r#"(component {first}
        (type $i-of (record {inputs}))
        (import "inputs" (type $i (eq $i-of)))
        (type $o-of (record (field "setpoint-c" f64)))
        (import "outputs" (type $o (eq $o-of)))
        {types}
        (core module $m {memory} (func (export "f") {signature} {body}) {fields})
        (core instance $c (instantiate $m))
        (type $evaluate (func {function}))
        (func $f (type $evaluate) (canon lift (core func $c "f") {lift}))
        (export "evaluate" (func $f)) (@custom "gnomon.manifest" "{manifest}") {last})"#
        )
    }

    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        Ok(wat::parse_str(self.text())?)
    }
}

/// A component from `hour` to `setpoint_c` with this body of its one function.
pub fn guest(name: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    Guest { name, body, ..PLAIN }.bytes()
}

fn listed(guests: &[Guest<'static>]) -> anyhow::Result<Vec<Module>> {
    let module = |guest: &Guest<'static>| {
        let params = serde_json::json!({});
        Ok(Module { name: guest.name, bytes: guest.bytes()?, params })
    };
    guests.iter().map(module).collect()
}

/// What is published now and then, and fails in a way of its own.
pub fn odd() -> anyhow::Result<Vec<Module>> {
    listed(&[
        Guest {
            name: "calls-nothing",
            fields: "(table 1 funcref)",
            body: "(call_indirect (result f64) (i32.const 0))",
            ..PLAIN
        },
        Guest {
            name: "has-no-room",
            inputs: r#"(field "price-forecast" (list f64))"#,
            signature: "(param i32 i32) (result f64)",
            memory: r#"(memory (export "memory") 1)"#,
            fields: r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (i32.const -8))"#,
            lift: r#"(memory (core memory $c "memory")) (realloc (core func $c "realloc"))"#,
            ..PLAIN
        },
        // After four hours it remembers what is no number.
        Guest {
            name: "forgets-itself",
            body: "(f64.store (i32.const 8) (f64.const 51))
                (f64.store (i32.const 16) (select (f64.const nan) (f64.const 1)
                    (f64.gt (local.get 0) (f64.const 4))))
                (i32.const 8)",
            ..REMEMBERS
        },
        // It takes over the state of `smoothed-setpoint`, and fails at it.
        Guest {
            name: "takes-nothing-over",
            body: "(f64.store (i32.const 8) (f64.const 53)) (i32.const 8)",
            fields: r#"(func (export "m") (param f64 i32) (result f64) unreachable)"#,
            last: r#"(type $old-of (record (field "average-c" f64) (field "calls" u32)))
                (import "old" (type $old (eq $old-of)))
                (type $migrate (func (param "old" $old) (result $s)))
                (func $g (type $migrate) (canon lift (core func $c "m")))
                (export "migrate" (func $g))"#,
            ..REMEMBERS
        },
        Guest {
            name: "talks-too-much",
            types: r#"(type $s-of (record (field "kept" string)))
                (import "state" (type $s (eq $s-of)))"#,
            signature: "(param f64 i32 i32 i32) (result i32)",
            fields: r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (i32.const 64))"#,
            lift: r#"(memory (core memory $c "memory")) (realloc (core func $c "realloc"))"#,
            body: "(f64.store (i32.const 8) (f64.const 54))
                (i32.store (i32.const 16) (i32.const 64))
                (i32.store (i32.const 20) (i32.const 1000000)) (i32.const 8)",
            ..REMEMBERS
        },
    ])
}

/// What no host takes.
pub fn unfit() -> anyhow::Result<Vec<Module>> {
    let padding = format!(r#"(@custom "padding" "{}")"#, "x".repeat(70_000));
    let mut all = listed(&[
        Guest {
            name: "is-too-new",
            body: "i64.const 1 i64.const 1 i64.const 1 i64.const 1 i64.add128
                drop drop (f64.const 50)",
            ..PLAIN
        },
        Guest { name: "wants-the-world", first: r#"(import "world" (instance))"#, ..PLAIN },
        Guest { name: "reads-the-moon", inputs: r#"(field "moon" f64)"#, ..PLAIN },
        Guest { name: "wants-much-memory", memory: "(memory 64)", ..PLAIN },
    ])?;
    let plain = |name| Guest { name, ..PLAIN };
    let padded = Guest { last: &padding, ..plain("is-padded") }.bytes()?;
    let exports = plain("has-no-evaluate").text().replace(r#""evaluate""#, r#""decide""#);
    let resource = r#"(component
        (core module $m (func (export "f") (param i32) (result i32) unreachable))
        (core instance $i (instantiate $m))
        (type $r-of (resource (rep i32))) (export $r "r" (type $r-of))
        (type $in-of (record (field "x" (own $r)))) (export $in "inputs" (type $in-of))
        (type $e (func (param "in" $in) (result u32)))
        (func $f (type $e) (canon lift (core func $i "f"))) (export "evaluate" (func $f)))"#;
    for (name, bytes) in [
        ("is-padded", padded),
        ("has-no-evaluate", wat::parse_str(exports)?),
        ("takes-a-handle", wat::parse_str(resource)?),
        ("is-no-component", wat::parse_str("(module)")?),
    ] {
        all.push(Module { name, bytes, params: serde_json::json!({}) });
    }
    Ok(all)
}
