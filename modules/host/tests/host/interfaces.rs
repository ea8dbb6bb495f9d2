//! Modules whose types do not fit: each refusal names the field.

use gnomon_schemas::{Coded, Reason};
use serde_json::json;

use crate::support::{
    BUDGET, Expect, admit, bytes, check, check_in, component, function, host, profile_of, values,
    x_to_y,
};

const X: (&str, &str) = ("inputs", r#"(record (field "x" f64))"#);
const Y: (&str, &str) = ("outputs", r#"(record (field "y" f64))"#);
const IN_OUT: &str = r#"(param "in" $inputs) (result $outputs)"#;

/// A core function that fits whatever is asked for and never runs.
fn core(signature: &str) -> String {
    format!(
        r#"(memory (export "memory") 1)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
           (func (export "f") {signature} unreachable)"#
    )
}

fn mismatch(part: &'static str) -> Expect {
    Expect::Refused(Reason::InterfaceMismatch, part)
}

#[test]
fn fields_that_do_not_fit_the_profile() {
    let one = "(param f64) (result f64)";
    for (name, inputs, outputs, signature, part) in [
        (
            "a signal of another type",
            r#"(field "x" f32)"#,
            r#"(field "y" f64)"#,
            "(param f32) (result f64)",
            "inputs.x is f32, the signal is f64",
        ),
        (
            "an unknown signal",
            r#"(field "tank-temp-c" f64)"#,
            r#"(field "y" f64)"#,
            one,
            "inputs.tank_temp_c: profile `test` has no such signal",
        ),
        (
            "an output of another type",
            r#"(field "x" f64)"#,
            r#"(field "y" u32)"#,
            "(param f64) (result i32)",
            "outputs.y is u32, the output is f64",
        ),
        (
            "an unknown output",
            r#"(field "x" f64)"#,
            r#"(field "z" f64)"#,
            one,
            "outputs.z: profile `test` has no such output",
        ),
        (
            "a list for a number",
            r#"(field "x" (list f64))"#,
            r#"(field "y" f64)"#,
            "(param i32 i32) (result f64)",
            "inputs.x is list<f64>, the signal is f64",
        ),
        (
            "an option for a number",
            r#"(field "x" (option f64))"#,
            r#"(field "y" f64)"#,
            "(param i32 f64) (result f64)",
            "inputs.x is option<f64>, the signal is f64",
        ),
        (
            "a name that no signal can have",
            r#"(field "X" f64)"#,
            r#"(field "y" f64)"#,
            one,
            "`X` is not a signal name",
        ),
    ] {
        let (inputs, outputs) = (format!("(record {inputs})"), format!("(record {outputs})"));
        let types = [("inputs", inputs.as_str()), ("outputs", outputs.as_str())];
        check(name, &component(&types, IN_OUT, &core(signature)), &mismatch(part));
    }
}

#[test]
fn outputs_of_the_function() {
    let two = json!({"y": {"type": "f64"}, "z": {"type": "f64"}});
    let profile = profile_of(json!({"x": {"type": "f64"}}), two.clone());
    let module = bytes(&component(&[X, Y], IN_OUT, &core("(param f64) (result f64)")));
    let missing = mismatch("outputs.z is missing: `setpoint` must set it");
    check_in("a missing output", &module, &profile, json!({"x": 1.0}), &missing);

    let mut profile = profile_of(json!({"x": {"type": "f64"}}), two);
    let z = "z".parse().unwrap();
    profile.functions.values_mut().next().unwrap().outputs.remove(&z);
    let both = r#"(record (field "y" f64) (field "z" f64))"#;
    let module =
        bytes(&component(&[X, ("outputs", both)], IN_OUT, &core("(param f64) (result i32)")));
    let other = mismatch("outputs.z is not for `setpoint` to set");
    check_in("another function's output", &module, &profile, json!({"x": 1.0}), &other);
}

#[test]
fn signatures_that_are_none_of_ours() {
    let p = ("params", r#"(record (field "gain" f64))"#);
    let in_p = r#"(param "in" $inputs) (param "p" $params)"#;
    let fields = "expected inputs (a record), then optionally params (a record)";
    for (name, types, signature, core_signature, expect) in [
        (
            "no arguments",
            vec![Y],
            "(result $outputs)",
            "(result f64)",
            mismatch("no inputs record"),
        ),
        (
            "no record of inputs",
            vec![Y],
            r#"(param "in" f64) (result $outputs)"#,
            "(param f64) (result f64)",
            mismatch("argument 1 of `evaluate` is f64"),
        ),
        (
            "an extra argument",
            vec![X, Y, p],
            &format!(r#"{in_p} (param "q" $params) (result $outputs)"#),
            "(param f64 f64 f64) (result f64)",
            mismatch(fields),
        ),
        (
            "an extra argument that is no record",
            vec![X, Y, p],
            &format!(r#"{in_p} (param "q" u8) (result $outputs)"#),
            "(param f64 f64 i32) (result f64)",
            mismatch("argument 3 of `evaluate` is u8"),
        ),
        (
            "two states",
            vec![X, Y, p],
            r#"(param "in" $inputs) (param "s" (option $params)) (param "t" (option $params))
               (result (tuple $outputs $params))"#,
            "(param f64 i32 f64 i32 f64) (result i32)",
            mismatch(fields),
        ),
        ("no result", vec![X], r#"(param "in" $inputs)"#, "(param f64)", mismatch("must return")),
        (
            "a bare result",
            vec![X],
            r#"(param "in" $inputs) (result f64)"#,
            "(param f64) (result f64)",
            mismatch("must return a record of outputs"),
        ),
        (
            "a state that is not returned",
            vec![X, Y, p],
            r#"(param "in" $inputs) (param "s" (option $params)) (result $outputs)"#,
            "(param f64 i32 f64) (result f64)",
            mismatch("must return tuple<outputs, state>"),
        ),
        (
            "another state returned",
            vec![X, Y, p],
            r#"(param "in" $inputs) (param "s" (option $params)) (result (tuple $outputs $outputs))"#,
            "(param f64 i32 f64) (result i32)",
            mismatch("the state returned has another type"),
        ),
    ] {
        check(name, &component(&types, signature, &core(core_signature)), &expect);
    }
}

#[test]
fn exports_that_are_missing() {
    let good = component(&[X, Y], IN_OUT, &core("(param f64) (result f64)"));
    let missing = Expect::Refused(Reason::MissingExport, "exports no function `evaluate`");
    check("another name", &good.replace("\"evaluate\"", "\"decide\""), &missing);
    check("an empty component", "(component)", &missing);
    let instance = r#"(component (instance $i) (export "evaluate" (instance $i)))"#;
    check("an instance of that name", instance, &missing);
}

#[test]
fn types_that_are_no_values() {
    let refused = |part| Expect::Refused(Reason::TypeRefused, part);
    let wide: String = (0..1_000).map(|i| format!("\"c{i}\" ")).collect();
    let wide = format!("(enum {wide})");
    for (name, ty, signature, expect) in [
        (
            "a variant",
            r#"(variant (case "a" f64))"#,
            "(param i32 f64)",
            refused("in.x is a variant"),
        ),
        ("flags", r#"(flags "a" "b")"#, "(param i32)", refused("in.x is flags")),
        ("a result", "(result f64)", "(param i32 f64)", refused("in.x is a result")),
        ("a tuple", "(tuple f64 f64)", "(param f64 f64)", refused("in.x is a tuple")),
        ("cases without end", &wide, "(param i32)", refused("in.x is a type of too many parts")),
        (
            "an option of an option",
            "(option (option f64))",
            "(param i32 i32 f64)",
            refused("in.x is an option of an option"),
        ),
        (
            "nested too deep",
            "(list (list (list (list (list (list (list (list (list f64)))))))))",
            "(param i32 i32)",
            refused("nested too deep"),
        ),
    ] {
        let types = [("t", ty), ("inputs", r#"(record (field "x" $t))"#), Y];
        let signature = format!("{signature} (result f64)");
        check(name, &component(&types, IN_OUT, &core(&signature)), &expect);
    }
}

/// Ten fields of ten fields of ten fields: a few bytes that spell out to a hundred thousand.
#[test]
fn types_that_multiply() {
    let record = |of: &str| {
        let fields: String = (0..10).map(|i| format!("(field \"f{i}\" {of})")).collect();
        format!("(record {fields})")
    };
    let (a, b, c) = (record("f64"), record("$a"), record("$b"));
    let types =
        [("a", a.as_str()), ("b", &b), ("c", &c), ("inputs", r#"(record (field "x" $c))"#), Y];
    let text = component(&types, IN_OUT, &core("(param i32) (result f64)"));
    check("a tree", &text, &Expect::Refused(Reason::TypeRefused, "a type of too many parts"));
}

#[test]
fn handles_to_resources() {
    let text = r#"(component
        (core module $m (func (export "f") (param i32) (result i32) unreachable))
        (core instance $i (instantiate $m))
        (type $r-of (resource (rep i32))) (export $r "r" (type $r-of))
        (type $in-of (record (field "x" (own $r)))) (export $in "inputs" (type $in-of))
        (type $e (func (param "in" $in) (result u32)))
        (func $f (type $e) (canon lift (core func $i "f")))
        (export "evaluate" (func $f)))"#;
    let refused = Expect::Refused(Reason::TypeRefused, "in.x is a handle to a resource");
    check("own", text, &refused);
}

#[test]
fn imports_of_anything() {
    let good = component(&[X, Y], IN_OUT, &core("(param f64) (result f64)"));
    for (import, name) in [
        (r#"(import "now" (func (result f64)))"#, "`now`"),
        (
            r#"(import "wasi:clocks/wall-clock@0.2.0"
                 (instance (export "now" (func (result u64)))))"#,
            "`wasi:clocks/wall-clock@0.2.0`",
        ),
        (r#"(import "empty" (instance))"#, "`empty`"),
        (r#"(import "handle" (type (sub resource)))"#, "`handle`"),
        (r#"(import "core" (core module))"#, "`core`"),
        (r#"(import "component" (component))"#, "`component`"),
    ] {
        let text = good.replacen("(component", &format!("(component {import}"), 1);
        check(import, &text, &Expect::Refused(Reason::HasImports, name));
    }
}

#[test]
fn params_of_another_form() {
    let p = ("params", r#"(record (field "gain" f64) (field "steps" u8))"#);
    let signature = r#"(param "in" $inputs) (param "p" $params) (result $outputs)"#;
    let core = r#"(func (export "f") (param f64 f64 i32) (result f64)
        (f64.mul (local.get 0) (local.get 1)))"#;
    let admitted = admit(&component(&[X, Y, p], signature, core), &x_to_y(), BUDGET).unwrap();
    for (name, params, part) in [
        ("none", json!({}), "`gain` is missing (f64)"),
        ("one missing", json!({"gain": 1.0}), "`steps` is missing (u8)"),
        ("a string", json!({"gain": "1", "steps": 1}), "gain is a string, not f64"),
        ("out of range", json!({"gain": 1.0, "steps": 256}), "steps is 256, not u8"),
        ("negative", json!({"gain": 1.0, "steps": -1}), "steps is -1, not u8"),
        ("a fraction", json!({"gain": 1.0, "steps": 1.5}), "steps is a float, not u8"),
        ("one more", json!({"gain": 1.0, "steps": 1, "offset": 2}), "`offset` is not a field"),
        ("null", json!({"gain": null, "steps": 1}), "gain is null, not f64"),
    ] {
        let error = admitted.params(&values(params)).unwrap_err();
        assert_eq!(error.reason(), Reason::ParamsInvalid, "{name}");
        assert!(error.to_string().contains(part), "{name}: {error}");
    }
    let mut infinite = values(json!({"gain": 1.0, "steps": 1}));
    infinite.insert("gain".into(), f64::INFINITY.into());
    assert_eq!(admitted.params(&infinite).unwrap_err().reason(), Reason::ParamsInvalid);

    let taken = admitted.check_params(&values(json!({"gain": 3, "steps": 1}))).unwrap();
    assert_eq!(json!(taken), json!({"gain": 3.0, "steps": 1}));
}

#[test]
fn params_of_another_module() {
    let with = |field: &str| {
        let p = format!(r#"(record (field "{field}" f64))"#);
        let signature = r#"(param "in" $inputs) (param "p" $params) (result $outputs)"#;
        let core = r#"(func (export "f") (param f64 f64) (result f64) (local.get 1))"#;
        admit(&component(&[X, Y, ("params", &p)], signature, core), &x_to_y(), BUDGET).unwrap()
    };
    let (gain, offset) = (with("gain"), with("offset"));
    let params = gain.params(&values(json!({"gain": 2.0}))).unwrap();
    let inputs = values(json!({"x": 1.0}));
    assert!(gain.evaluate(&inputs, &params, None).outcome.is_ok());
    let refusal = offset.evaluate(&inputs, &params, None).outcome.unwrap_err();
    assert_eq!(refusal.reason, Reason::ParamsInvalid);

    let none =
        admit(&component(&[X, Y], IN_OUT, &core("(param f64) (result f64)")), &x_to_y(), BUDGET);
    let error = none.unwrap().params(&values(json!({"gain": 2.0}))).unwrap_err();
    assert!(error.to_string().contains("`gain` is not a field"), "{error}");
}

#[test]
fn an_unknown_function() {
    let good = bytes(&component(&[X, Y], IN_OUT, &core("(param f64) (result f64)")));
    let error = host().admit(&good, &x_to_y(), &"other".parse().unwrap(), BUDGET).unwrap_err();
    assert_eq!(error.reason(), Reason::UnknownFunction);
    assert_eq!(error.to_string(), "the profile has no function `other`");
    assert!(host().admit(&good, &x_to_y(), &function(), BUDGET).is_ok());
}

#[test]
fn an_interface_reads_as_json() {
    let profile = crate::support::water_heater();
    let module = gnomon_examples::SMOOTHED_SETPOINT;
    let admitted = host().admit(module, &profile, &function(), BUDGET).unwrap();
    assert_eq!(
        json!(admitted.interface()),
        json!({
            "inputs": {"tank_temp_c": "f64"},
            "params": {"target_c": "f64", "weight": "f64"},
            "outputs": {"setpoint_c": "f64"},
            "state": {"record": {"average_c": "f64", "calls": "u32"}},
        })
    );
}
