//! One host, small profiles, guests from text, and the one `check` of the tables.

use gnomon_host::{AdmitError, Admitted, Evaluation, Host, HostOptions};
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::profile::{Budget, Profile};
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Coded, Reason};
use serde_json::json;
use std::sync::OnceLock;

/// The budget of a guest that no test gave another one.
pub(crate) const BUDGET: Budget = Budget { fuel: 100_000, memory_bytes: 1024 * 1024 };

/// What becomes of a guest: a refusal at admission with a part of its message, a
/// fault of the call, or an output.
#[derive(Debug)]
pub(crate) enum Expect {
    Refused(Reason, &'static str),
    Fault(Reason),
    Output(f64),
}

/// The host that tests share; those that count its instances make their own.
pub(crate) fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::new(&HostOptions { instances: 32 }).unwrap())
}

pub(crate) fn function() -> FunctionName {
    "setpoint".parse().unwrap()
}

/// The profile of the examples.
pub(crate) fn water_heater() -> Profile {
    Profile::parse(include_bytes!("../../../../schemas/examples/profile.json")).unwrap().0
}

/// A profile with these signals and outputs; unlike a firmware's it may have
/// outputs that no actuator takes.
pub(crate) fn profile_of(signals: serde_json::Value, outputs: serde_json::Value) -> Profile {
    let names: Vec<String> = outputs.as_object().unwrap().keys().cloned().collect();
    let mut outputs = outputs;
    for output in outputs.as_object_mut().unwrap().values_mut() {
        output["default"] = json!(0);
    }
    serde_json::from_value(json!({
        "schema": "gnomon.profile.v1", "name": "test", "version": "1.0.0",
        "signals": signals, "outputs": outputs,
        "functions": {"setpoint": {
            "outputs": names, "period_ms": 60_000, "deadline_ms": 10_000,
            "budget": {"fuel": BUDGET.fuel, "memory_bytes": BUDGET.memory_bytes},
        }},
    }))
    .unwrap()
}

/// The profile of the guests that [`simple`] makes: `x` in, `y` out, both `f64`.
pub(crate) fn x_to_y() -> Profile {
    profile_of(json!({"x": {"type": "f64"}}), json!({"y": {"type": "f64"}}))
}

/// A component around a core module that exports `f`. `types` are named as a WIT
/// world names them; memory and realloc are handed over if the module has them.
pub(crate) fn component(types: &[(&str, &str)], signature: &str, core: &str) -> String {
    let mut text = String::from("(component\n");
    for (name, definition) in types {
        text += &format!("(type ${name}-of {definition})\n");
        text += &format!("(import \"{name}\" (type ${name} (eq ${name}-of)))\n");
    }
    text += &format!("(core module $m {core})\n(core instance $i (instantiate $m))\n");
    let memory = if core.contains("(export \"memory\")") {
        "(memory (core memory $i \"memory\"))"
    } else {
        ""
    };
    let realloc = if core.contains("(export \"realloc\")") {
        "(realloc (core func $i \"realloc\"))"
    } else {
        ""
    };
    text += &format!("(type $evaluate (func {signature}))\n");
    text += &format!(
        "(func $f (type $evaluate) (canon lift (core func $i \"f\") {memory} {realloc}))\n\
         (export \"evaluate\" (func $f)))"
    );
    text
}

/// A component of `x: f64` to `y: f64` around these fields of a core module.
pub(crate) fn simple(core: &str) -> String {
    component(
        &[("inputs", r#"(record (field "x" f64))"#), ("outputs", r#"(record (field "y" f64))"#)],
        r#"(param "in" $inputs) (result $outputs)"#,
        core,
    )
}

/// [`simple`] with this body of its one function; `x` is `(local.get 0)`.
pub(crate) fn body(body: &str) -> String {
    simple(&format!(r#"(func (export "f") (param f64) (result f64) {body})"#))
}

/// An allocator that never frees, for guests that get lists or strings.
pub(crate) const REALLOC: &str = r#"
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get 2))))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at))"#;

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text:.2000}"))
}

pub(crate) fn admit(text: &str, profile: &Profile, budget: Budget) -> Result<Admitted, AdmitError> {
    host().admit(&bytes(text), profile, &function(), budget)
}

/// A record of values from JSON.
pub(crate) fn values(json: serde_json::Value) -> Values {
    serde_json::from_value(json).unwrap()
}

/// Calls with these inputs, no params and no state.
pub(crate) fn call(admitted: &Admitted, inputs: serde_json::Value) -> Evaluation {
    let params = admitted.params(&Values::new()).unwrap();
    admitted.evaluate(&values(inputs), &params, None)
}

/// The number that a call put out as `name`.
pub(crate) fn number(evaluation: &Evaluation, name: &str) -> f64 {
    match &evaluation.outcome {
        Ok(outputs) => match outputs.outputs.get(name) {
            Some(Value::Float(number)) => *number,
            other => panic!("`{name}` is {other:?}"),
        },
        Err(refusal) => panic!("{refusal}"),
    }
}

/// Admits a guest of `x` to `y` under [`BUDGET`] and calls it with `x = 1`.
pub(crate) fn check(name: &str, text: &str, expect: &Expect) {
    check_bytes(name, &bytes(text), expect);
}

pub(crate) fn check_bytes(name: &str, module: &[u8], expect: &Expect) {
    check_in(name, module, &x_to_y(), json!({"x": 1.0}), expect);
}

pub(crate) fn check_in(
    name: &str,
    module: &[u8],
    profile: &Profile,
    inputs: serde_json::Value,
    expect: &Expect,
) {
    let admitted = host().admit(module, profile, &function(), BUDGET);
    match (admitted, expect) {
        (Err(error), Expect::Refused(reason, part)) => {
            assert_eq!(error.reason(), *reason, "{name}: {error}");
            assert!(error.to_string().contains(part), "{name}: {error}");
        }
        (Ok(admitted), Expect::Fault(reason)) => {
            let evaluation = call(&admitted, inputs);
            match &evaluation.outcome {
                Err(refusal) => assert_eq!(refusal.reason, *reason, "{name}: {refusal}"),
                Ok(outputs) => panic!("{name}: {outputs:?}"),
            }
            let known = (*reason == Reason::OutOfFuel).then_some(BUDGET.fuel);
            assert_eq!(evaluation.fuel, known, "{name}");
        }
        (Ok(admitted), Expect::Output(expected)) => {
            let found = number(&call(&admitted, inputs), "y");
            assert!(found == *expected || found.is_nan() && expected.is_nan(), "{name}: {found}");
        }
        (outcome, expect) => panic!("{name}: {outcome:?} instead of {expect:?}"),
    }
}
