//! Tests of the grammar: what is read, and what a typing error gets told.

use super::*;

fn names() -> (Vec<Quantity>, Vec<String>) {
    let quantity = |name: &str, kind| Quantity { name: name.into(), kind, meaning: String::new() };
    let quantities = vec![
        quantity("energy_cost", Kind::Account),
        quantity("tank_temp_c", Kind::Reading),
        quantity("energy_kwh", Kind::Account),
    ];
    (quantities, vec!["v1".into(), "v2".into()])
}

fn parse(text: &str) -> Result<Assertion, ExpressionError> {
    let (quantities, variants) = names();
    Assertion::parse(text, Names { quantities: &quantities, variants: &variants })
}

fn measured(aggregate: Aggregate, quantity: usize, variant: Option<usize>) -> Measured {
    Measured { aggregate, quantity, variant }
}

#[test]
fn the_examples_of_the_manual_are_read() {
    let hot = parse("max(tank_temp_c) < 75").unwrap();
    assert_eq!(hot.comparison, Comparison::Below);
    assert_eq!(hot.right, Expression::Number(75.0));
    assert_eq!(hot.measured(), [measured(Aggregate::Max, 1, None)]);
    let cheap = parse("energy_cost.v2 <= 0.97 * energy_cost.v1").unwrap();
    assert_eq!(
        cheap.measured(),
        [measured(Aggregate::Sum, 0, Some(1)), measured(Aggregate::Sum, 0, Some(0))]
    );
    let threshold = Threshold { comparison: Comparison::Below, number: -4.5 };
    let cold = parse("count(tank_temp_c.v1 < -4.5) == 0").unwrap();
    assert_eq!(cold.measured(), [measured(Aggregate::Count(Some(threshold)), 1, Some(0))]);
}

#[test]
fn products_bind_closer_than_sums_and_both_go_from_left_to_right() {
    fn value(expression: &Expression) -> f64 {
        match expression {
            Expression::Number(number) => *number,
            Expression::Negated(inner) => -value(inner),
            Expression::Arithmetic('+', left, right) => value(left) + value(right),
            Expression::Arithmetic('-', left, right) => value(left) - value(right),
            Expression::Arithmetic('*', left, right) => value(left) * value(right),
            Expression::Arithmetic(_, left, right) => value(left) / value(right),
            Expression::Measured(_) => f64::NAN,
        }
    }
    for (text, expected) in [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("8 / 4 / 2", 1.0),
        ("8 - 4 - 2", 2.0),
        ("-2 * -(3)", 6.0),
        ("1e-3 * 2.5E+3", 2.5),
    ] {
        let assertion = parse(&format!("{text} < 0")).unwrap();
        assert_eq!(value(&assertion.left), expected, "{text}");
    }
}

#[test]
fn a_typing_error_is_told_with_its_place_and_what_is_known() {
    for (text, expected) in [
        (
            "max(tank_tmp_c) < 75",
            "column 5: no quantity \"tank_tmp_c\", did you mean \"tank_temp_c\"?; \
             known: energy_cost, tank_temp_c, energy_kwh",
        ),
        ("energy_cost.v3 < 1", "column 13: no variant \"v3\"; known: v1, v2"),
        ("maximum(tank_temp_c) < 75", "column 1: no aggregate \"maximum\"; there are min, max,"),
        (
            "tank_temp_c < 75",
            "column 1: tank_temp_c is a reading: say which, as in max(tank_temp_c)",
        ),
        ("max(tank_temp_c < 75", "column 17: `)` is missing here"),
        ("energy_cost", "column 12: here <, <=, >, >= or == is needed"),
        ("energy_cost < ", "column 15: a number, a quantity or an aggregate is missing"),
        ("energy_cost < 1 < 2", "column 17: the assertion is complete before this"),
        ("energy_cost < 1.2.3", "column 15: \"1.2.3\" is not a number"),
        ("énergie < 1", "column 1: a number, a quantity"),
    ] {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{text}: {message}");
        assert!(message.ends_with('^'), "{message}");
    }
}

#[test]
fn what_is_too_deep_or_too_long_is_refused() {
    let deep = format!("{}1{} < 2", "(".repeat(50), ")".repeat(50));
    assert!(parse(&deep).unwrap_err().message.contains("nested deeper"));
    let long = format!("1{} < 2", " + 1".repeat(500));
    assert!(parse(&long).unwrap_err().message.contains("longer than"));
}
