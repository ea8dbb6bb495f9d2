//! State that passes from one module to the next: what fits, what does not, and a
//! `migrate` that misbehaves in each of the ways in which `evaluate` can.

use gnomon_host::{Admitted, Host, HostOptions};
use gnomon_schemas::profile::Budget;
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Reason, Refusal};
use serde_json::json;

use crate::examples::admitted;
use crate::support::{
    BUDGET, Expect, REALLOC, admit, bytes, call, check, component, function, number, values, x_to_y,
};

const OLD: &str = r#"(record (field "was" f64))"#;
const OLD_TO_STATE: &str = r#"(param "old" $old) (result $state)"#;

/// Gives back the state that it gets.
const EVALUATE: &str = r#"(func (export "f") (param f64 i32 f64) (result i32)
    (f64.store (i32.const 16) (local.get 2)) (i32.const 8))"#;

/// A component whose state is `{kept}` of a type, with a `migrate` of this signature
/// around the core function `m`.
fn module(old: &str, kept: &str, signature: &str, core: &str) -> String {
    let state = format!(r#"(record (field "kept" {kept}))"#);
    let text = component(
        &[
            ("inputs", r#"(record (field "x" f64))"#),
            ("outputs", r#"(record (field "y" f64))"#),
            ("old", old),
            ("state", &state),
        ],
        r#"(param "in" $inputs) (param "s" (option $state)) (result (tuple $outputs $state))"#,
        &format!(r#"(memory (export "memory") 2) {REALLOC} {core}"#),
    );
    with_migrate(&text, signature)
}

fn with_migrate(text: &str, signature: &str) -> String {
    let text = text.strip_suffix(')').unwrap();
    format!(
        r#"{text}
        (type $migrate (func {signature}))
        (func $g (type $migrate) (canon lift (core func $i "m")
          (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
        (export "migrate" (func $g)))"#
    )
}

/// `kept` of type `f64`, made of `was` by these instructions.
fn text(instructions: &str) -> String {
    let migrate = format!(r#"(func (export "m") (param f64) (result f64) {instructions})"#);
    module(OLD, "f64", OLD_TO_STATE, &format!("{EVALUATE} {migrate}"))
}

fn guest(instructions: &str) -> Admitted {
    admit(&text(instructions), &x_to_y(), BUDGET).unwrap()
}

fn migrate(guest: &Admitted, old: serde_json::Value) -> Result<Values, Refusal> {
    guest.migrate(&values(old))
}

/// The reason and sentence of a refused migration of `{was: 1}`.
#[track_caller]
fn refused(guest: &Admitted, reason: Reason) -> String {
    let refusal = migrate(guest, json!({"was": 1.0})).unwrap_err();
    assert_eq!(refusal.reason, reason, "{refusal}");
    refusal.detail
}

#[test]
fn a_state_that_fits_is_made_into_the_new_one() {
    let guest = guest("(f64.mul (local.get 0) (f64.const 2))");
    assert_eq!(
        json!(guest.interface().migrate),
        json!({"record": {"was": "f64"}}),
        "the older state's own type"
    );
    let state = migrate(&guest, json!({"was": 3})).unwrap();
    assert_eq!(json!(state), json!({"kept": 6.0}));
    assert!(guest.takes_state(&state));
    let params = guest.params(&Values::new()).unwrap();
    let evaluation = guest.evaluate(&values(json!({"x": 1.0})), &params, Some(&state));
    assert_eq!(evaluation.outcome.unwrap().state, Some(state));
}

#[test]
fn a_state_that_does_not_fit_is_named() {
    let guest = guest("(local.get 0)");
    let mut infinite = Values::new();
    infinite.insert("was".into(), f64::NAN.into());
    for (old, part) in [
        (values(json!({})), "`was` is missing (f64)"),
        (values(json!({"was": "1"})), "was is a string, not f64"),
        (values(json!({"kept": 1.0})), "`kept` is not a field"),
        (values(json!({"was": 1.0, "more": 1})), "`more` is not a field"),
        (infinite, "a number is not finite"),
    ] {
        let refusal = guest.migrate(&old).unwrap_err();
        assert_eq!(refusal.reason, Reason::StateInvalid, "{refusal}");
        let sentence = format!("`migrate` does not take the state: {part}");
        assert!(refusal.detail.starts_with(&sentence), "{refusal}");
    }
}

#[test]
fn a_module_says_which_states_it_takes_as_they_are() {
    let with_memory = guest("(local.get 0)");
    for (state, taken) in [
        (json!({"kept": 1.5}), true),
        (json!({"kept": 1}), true),
        (json!({"was": 1.0}), false),
        (json!({}), false),
        (json!({"kept": 1.0, "more": 1.0}), false),
    ] {
        assert_eq!(with_memory.takes_state(&values(state.clone())), taken, "{state}");
    }
    let mut infinite = Values::new();
    infinite.insert("kept".into(), f64::INFINITY.into());
    assert!(!with_memory.takes_state(&infinite));

    let without = admit(&crate::support::body("(local.get 0)"), &x_to_y(), BUDGET).unwrap();
    assert!(!without.takes_state(&Values::new()), "what has no memory takes no state");
    assert_eq!(refused(&without, Reason::StateInvalid), "the module exports no `migrate`");
}

#[test]
fn a_migration_that_misbehaves_ends_in_its_reason() {
    for (instructions, reason) in [
        ("unreachable", Reason::TrapUnreachable),
        ("(loop (br 0)) unreachable", Reason::OutOfFuel),
        ("(f64.load (i32.const -8))", Reason::TrapMemory),
        ("(f64.convert_i32_s (i32.div_s (i32.const 1) (i32.const 0)))", Reason::TrapInteger),
        (
            "(if (i32.eq (memory.grow (i32.const 200)) (i32.const -1)) (then unreachable))
             (local.get 0)",
            Reason::MemoryOverBudget,
        ),
        ("(f64.div (f64.const 1) (f64.const 0))", Reason::StateInvalid),
        ("(f64.const nan)", Reason::StateInvalid),
    ] {
        refused(&guest(instructions), reason);
    }
    let recursion = format!(
        r#"{EVALUATE} (func $m (export "m") (param f64) (result f64) (call $m (local.get 0)))"#
    );
    let recursion = module(OLD, "f64", OLD_TO_STATE, &recursion);
    refused(&admit(&recursion, &x_to_y(), BUDGET).unwrap(), Reason::TrapStack);
}

#[test]
fn a_migration_without_end_meets_the_deadline_when_its_fuel_does_not_end() {
    let mut profile = x_to_y();
    profile.functions.values_mut().next().unwrap().deadline_ms = 20;
    let budget = Budget { fuel: u64::MAX, ..BUDGET };
    let endless = admit(&text("(loop (br 0)) unreachable"), &profile, budget).unwrap();
    refused(&endless, Reason::DeadlineMissed);
}

#[test]
fn fuel_of_a_migration_ends_exactly_at_the_budget() {
    let module = bytes(&text("(f64.add (f64.mul (local.get 0) (f64.const 3)) (f64.const 1))"));
    let host = Host::new(&HostOptions { instances: 1 }).unwrap();
    let with = |fuel| {
        let budget = Budget { fuel, ..BUDGET };
        let guest = host.admit(&module, &x_to_y(), &function(), budget).unwrap();
        migrate(&guest, json!({"was": 1.0}))
    };
    let cost = (1..100).find(|fuel| with(*fuel).is_ok()).unwrap();
    assert!(cost > 1, "{cost}");
    assert_eq!(with(cost - 1).unwrap_err().reason, Reason::OutOfFuel);
}

#[test]
fn a_state_that_is_too_large_is_not_kept() {
    let list = |items: u32| {
        let core = format!(
            r#"(func (export "f") (param f64 i32 i32 i32) (result i32) unreachable)
               (func (export "m") (param f64) (result i32)
                 (i32.store (i32.const 16) (i32.const 64))
                 (i32.store (i32.const 20) (i32.const {items}))
                 (i32.const 16))"#
        );
        let text = module(OLD, "(list f64)", OLD_TO_STATE, &core);
        admit(&text, &x_to_y(), BUDGET).unwrap()
    };
    let kept = migrate(&list(4_000), json!({"was": 1.0})).unwrap();
    assert_eq!(kept["kept"], vec![0.0; 4_000].into());
    refused(&list(5_000), Reason::StateInvalid);
    refused(&list(u32::MAX), Reason::TrapOther);
    // Spelled out, a string may be longer than one that goes in.
    let text = |bytes: u32| {
        let core = format!(
            r#"(func (export "f") (param f64 i32 i32 i32) (result i32) unreachable)
               (func (export "m") (param f64) (result i32)
                 (memory.fill (i32.const 64) (i32.const 97) (i32.const {bytes}))
                 (i32.store (i32.const 16) (i32.const 64))
                 (i32.store (i32.const 20) (i32.const {bytes}))
                 (i32.const 16))"#
        );
        let text = module(OLD, "string", OLD_TO_STATE, &core);
        admit(&text, &x_to_y(), BUDGET).unwrap()
    };
    assert!(migrate(&text(4_096), json!({"was": 1.0})).is_ok());
    let detail = refused(&text(4_097), Reason::StateInvalid);
    assert_eq!(detail, "`migrate` made a state that the module would not take");
}

#[test]
fn a_migration_leaves_nothing_behind() {
    let counting = format!(
        r#"{EVALUATE} (global $calls (mut f64) (f64.const 0))
           (func (export "m") (param f64) (result f64)
             (global.set $calls (f64.add (global.get $calls) (f64.const 1)))
             (f64.add (local.get 0) (global.get $calls)))"#
    );
    let text = module(OLD, "f64", OLD_TO_STATE, &counting);
    let guest = admit(&text, &x_to_y(), BUDGET).unwrap();
    for _ in 0..3 {
        assert_eq!(json!(migrate(&guest, json!({"was": 1.0})).unwrap()), json!({"kept": 2.0}));
        assert_eq!(call(&guest, json!({"x": 1.0})).outcome.unwrap().state.unwrap().len(), 1);
    }
}

#[test]
fn a_migrate_of_another_form_is_refused() {
    let mismatch = |part| Expect::Refused(Reason::InterfaceMismatch, part);
    let m = |signature: &str| format!(r#"{EVALUATE} (func (export "m") {signature} unreachable)"#);
    for (name, signature, core, expect) in [
        ("no argument", "(result $state)", "(result f64)", mismatch("`migrate` must take one")),
        (
            "two arguments",
            r#"(param "old" $old) (param "p" $old) (result $state)"#,
            "(param f64 f64) (result f64)",
            mismatch("`migrate` must take one"),
        ),
        (
            "no record",
            r#"(param "old" f64) (result $state)"#,
            "(param f64) (result f64)",
            mismatch("`migrate` takes f64"),
        ),
        (
            "an option",
            r#"(param "old" (option $old)) (result $state)"#,
            "(param i32 f64) (result f64)",
            mismatch("`migrate` takes option<"),
        ),
        ("no result", r#"(param "old" $old)"#, "(param f64)", mismatch("`migrate` must return")),
        (
            "another record",
            r#"(param "old" $old) (result $old)"#,
            "(param f64) (result f64)",
            mismatch("`migrate` returns"),
        ),
        (
            "an option of the state",
            r#"(param "old" $old) (result (option $state))"#,
            "(param f64) (result i32)",
            mismatch("`migrate` returns option<"),
        ),
        (
            "a result",
            r#"(param "old" $old) (result (result $state))"#,
            "(param f64) (result i32)",
            Expect::Refused(Reason::TypeRefused, "migrate.result is a result"),
        ),
        (
            "a type that is no value",
            r#"(param "old" (tuple f64 f64)) (result $state)"#,
            "(param f64 f64) (result f64)",
            Expect::Refused(Reason::TypeRefused, "migrate.old is a tuple"),
        ),
    ] {
        check(name, &module(OLD, "f64", signature, &m(core)), &expect);
    }
    let text = component(
        &[
            ("inputs", r#"(record (field "x" f64))"#),
            ("outputs", r#"(record (field "y" f64))"#),
            ("old", OLD),
        ],
        r#"(param "in" $inputs) (result $outputs)"#,
        &format!(
            r#"(memory (export "memory") 1) {REALLOC}
               (func (export "f") (param f64) (result f64) (local.get 0))
               (func (export "m") (param f64) (result f64) unreachable)"#
        ),
    );
    let without_state = with_migrate(&text, r#"(param "old" $old) (result $outputs)"#);
    let no_state = mismatch("`migrate` is there, but `evaluate` has no state");
    check("a module without state", &without_state, &no_state);
    let types = crate::support::body("(local.get 0)");
    let types = types.strip_suffix(')').unwrap();
    let instance = format!(r#"{types} (instance $n) (export "migrate" (instance $n)))"#);
    check("no function", &instance, &mismatch("`migrate` is no function"));
}

#[test]
fn a_type_within_the_older_state_is_refused_by_its_place() {
    let core =
        format!(r#"{EVALUATE} (func (export "m") (param f64 f64) (result f64) unreachable)"#);
    let tuple = module(r#"(record (field "was" (tuple f64 f64)))"#, "f64", OLD_TO_STATE, &core);
    let refused = Expect::Refused(Reason::TypeRefused, "migrate.old.was is a tuple");
    check("a tuple within", &tuple, &refused);
}

/// The example: an average of three readings becomes three readings of that average.
#[test]
fn the_second_release_goes_on_where_the_first_was() {
    let first = admitted(gnomon_examples::SMOOTHED_SETPOINT);
    let second = admitted(gnomon_examples::SMOOTHED_SETPOINT_2);
    let params = first.params(&values(json!({"target_c": 55.0, "weight": 0.5}))).unwrap();
    let mut state = None;
    for temp in [50.0, 60.0, 41.0] {
        let inputs = values(json!({"tank_temp_c": temp}));
        state = first.evaluate(&inputs, &params, state.as_ref()).outcome.unwrap().state;
    }
    let old = state.unwrap();
    assert_eq!(old["average_c"], Value::Float(48.0));
    assert!(!second.takes_state(&old) && first.migrate(&old).is_err());

    let stored: Values = serde_json::from_str(&serde_json::to_string(&old).unwrap()).unwrap();
    let state = second.migrate(&stored).unwrap();
    assert_eq!(json!(state), json!({"readings_c": [48.0, 48.0, 48.0]}));
    assert!(second.takes_state(&state) && !first.takes_state(&state));

    let params = second.params(&values(json!({"target_c": 55.0, "readings": 3}))).unwrap();
    let inputs = values(json!({"tank_temp_c": 54.0}));
    let evaluation = second.evaluate(&inputs, &params, Some(&state));
    assert_eq!(number(&evaluation, "setpoint_c"), 60.0, "the mean is 50");
    let state = evaluation.outcome.unwrap().state.unwrap();
    assert_eq!(json!(state), json!({"readings_c": [48.0, 48.0, 54.0]}));
}
