//! Whether assertions hold: values of a run put into the trees of `expression`.
//!
//! Owns one rule: an assertion that names no variant somewhere is held against each of them.
//! Refuses to know the grammar and how values came about.

use serde::Serialize;

use super::expression::{Assertion, Expression};
use super::file::Scenario;
use super::simulate::Simulated;

/// An assertion held against a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The assertion, as it is written.
    pub assertion: String,
    /// The variant that it was held against; none if it names its variants itself.
    pub variant: Option<String>,
    /// The value left of the comparison; null if no tick had one.
    pub left: Option<f64>,
    /// The comparison.
    pub comparison: &'static str,
    /// The value right of it.
    pub right: Option<f64>,
    /// Whether it holds.
    pub holds: bool,
}

/// Holds every assertion of a scenario against what came of it.
pub(super) fn judge(scenario: &Scenario, simulated: &Simulated) -> Vec<Verdict> {
    let mut verdicts = vec![];
    for assertion in &scenario.assertions {
        let is_open = assertion.measured().iter().any(|measured| measured.variant.is_none());
        let variants = if is_open { scenario.variant_names.len() } else { 1 };
        for variant in 0..variants {
            let mut verdict = judge_one(assertion, simulated, variant);
            verdict.variant = is_open.then(|| scenario.variant_names[variant].clone());
            verdicts.push(verdict);
        }
    }
    verdicts
}

fn judge_one(assertion: &Assertion, simulated: &Simulated, variant: usize) -> Verdict {
    let left = value(&assertion.left, simulated, variant);
    let right = value(&assertion.right, simulated, variant);
    let finite = |number: f64| number.is_finite().then_some(number);
    Verdict {
        assertion: assertion.text.clone(),
        variant: None,
        left: finite(left),
        comparison: assertion.comparison.symbol(),
        right: finite(right),
        holds: assertion.comparison.holds(left, right),
    }
}

fn value(expression: &Expression, simulated: &Simulated, variant: usize) -> f64 {
    match expression {
        Expression::Number(number) => *number,
        Expression::Negated(inner) => -value(inner, simulated, variant),
        Expression::Arithmetic(sign, left, right) => {
            let left = value(left, simulated, variant);
            let right = value(right, simulated, variant);
            match sign {
                '+' => left + right,
                '-' => left - right,
                '*' => left * right,
                _ => left / right,
            }
        }
        Expression::Measured(measured) => {
            let variant = measured.variant.unwrap_or(variant);
            simulated.value(variant, measured.quantity, measured.aggregate)
        }
    }
}
