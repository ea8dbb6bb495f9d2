//! Animals whose proposals no actuator must get: only the clamp stands between.

use super::{Fate, Guest, Poison};

pub(super) fn animals() -> Vec<Poison> {
    let puts_out = |name, why, body: &str| Guest::new(name).body(why, Fate::Outputs, body);
    vec![
        puts_out(
            "number-nan",
            "no comparison with it is true, so that a careless clamp lets it pass",
            "(f64.div (f64.const 0) (f64.const 0))",
        ),
        puts_out(
            "number-nan-with-a-payload",
            "a signalling NaN that carries bits of its own",
            "(f64.const -nan:0x4000000000123)",
        ),
        puts_out(
            "number-infinite",
            "is above every bound there is",
            "(f64.div (f64.const 1) (f64.const 0))",
        ),
        puts_out("number-minus-infinite", "is below every bound there is", "(f64.const -inf)"),
        puts_out("number-minus-zero", "is zero and is not, as one looks at it", "(f64.const -0.0)"),
        puts_out("number-denormal", "is the least number above zero", "(f64.const 4.9e-324)"),
        puts_out(
            "number-greatest",
            "is finite, and no sum with it is",
            "(f64.const 1.7976931348623157e308)",
        ),
        puts_out(
            "number-least",
            "is finite, and no difference from it is",
            "(f64.const -1.7976931348623157e308)",
        ),
        puts_out(
            "number-just-outside",
            "is the very next number above the upper bound",
            "(f64.const 70.00000000000001)",
        ),
        puts_out(
            "number-slewing-by-the-hour",
            "jumps between the extremes whenever the hour changes",
            "(if (result f64) (f64.lt (local.get 0) (f64.const 12))
               (then (f64.const 1e308)) (else (f64.const -1e308)))",
        ),
        Guest::new("number-slewing-by-state").state(r#"(field "up" u32)"#).core(
            "jumps between the extremes on every call, whatever it is given",
            Fate::Outputs,
            r#"(memory (export "memory") 1)
               (func (export "f") (param f64 i32 i32) (result i32)
                 (f64.store (i32.const 8) (select (f64.const 1e308) (f64.const -1e308)
                   (local.get 2)))
                 (i32.store (i32.const 16) (i32.eqz (local.get 2)))
                 (i32.const 8))"#,
        ),
        Guest::new("number-all-kinds-by-state").state(r#"(field "at" u32)"#).core(
            "goes through NaN, the infinities and the extremes, with something good between",
            Fate::Outputs,
            r#"(memory (export "memory") 1)
               (data (i32.const 64)
                 "\00\00\00\00\00\00\f8\7f" "\00\00\00\00\00\00\f0\7f"
                 "\00\00\00\00\00\80\4b\40" "\00\00\00\00\00\00\f0\ff"
                 "\ff\ff\ff\ff\ff\ff\ef\7f" "\00\00\00\00\00\80\4b\40"
                 "\ff\ff\ff\ff\ff\ff\ef\ff" "\01\00\00\00\00\00\00\80")
               (func (export "f") (param f64 i32 i32) (result i32)
                 (f64.store (i32.const 8) (f64.load offset=64
                   (i32.mul (i32.const 8) (i32.and (local.get 2) (i32.const 7)))))
                 (i32.store (i32.const 16) (i32.add (local.get 2) (i32.const 1)))
                 (i32.const 8))"#,
        ),
    ]
}
