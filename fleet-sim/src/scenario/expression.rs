//! Assertions: the text of a scenario, read into a tree.
//!
//! Owns the grammar and its messages, which say where and what is known. Refuses to know
//! values: see `assertion`.
//!
//! ```text
//! assertion := sum ("<" | "<=" | ">" | ">=" | "==") sum
//! sum       := product (("+" | "-") product)*
//! product   := factor (("*" | "/") factor)*
//! factor    := number | "-" factor | "(" sum ")" | aggregate "(" quantity ")"
//!            | "count" "(" quantity [comparison number] ")" | account
//! quantity  := name ["." variant]
//! ```

use super::measure::{Aggregate, Comparison, Threshold};
use super::quantity::{Kind, Quantity};

/// Longest text of an assertion, bytes: deeper nesting than fits in it is not needed either.
const ASSERTION_BYTES_MAX: usize = 1000;
/// Deepest nesting of parentheses and signs.
const DEPTH_MAX: usize = 40;
const AGGREGATES: &[(&str, Aggregate)] = &[
    ("min", Aggregate::Min),
    ("max", Aggregate::Max),
    ("mean", Aggregate::Mean),
    ("sum", Aggregate::Sum),
    ("last", Aggregate::Last),
    ("p95", Aggregate::P95),
    ("count", Aggregate::Count(None)),
];

/// Names that an assertion may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) quantities: &'a [Quantity],
    pub(super) variants: &'a [String],
}

/// A number that comes of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Number(f64),
    Negated(Box<Expression>),
    Arithmetic(char, Box<Expression>, Box<Expression>),
    Measured(Measured),
}

/// One aggregate of one quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    pub(super) aggregate: Aggregate,
    /// Place in the scenario's list.
    pub(super) quantity: usize,
    /// Place in the list of variants; none for whichever the assertion is held against.
    pub(super) variant: Option<usize>,
}

/// A comparison that must hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Assertion {
    pub(super) text: String,
    pub(super) left: Expression,
    pub(super) comparison: Comparison,
    pub(super) right: Expression,
}

/// Why an assertion could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}\n  {text}\n  {}^", " ".repeat(column.saturating_sub(1)))]
pub(super) struct ExpressionError {
    /// The assertion.
    pub(super) text: String,
    /// Where, in characters from 1.
    pub(super) column: usize,
    /// What is wrong and what to do.
    pub(super) message: String,
}

impl Assertion {
    /// Reads one assertion.
    ///
    /// # Errors
    /// [`ExpressionError`] with the place, and the known names if one is unknown.
    pub(super) fn parse(text: &str, names: Names<'_>) -> Result<Assertion, ExpressionError> {
        let mut parser = Parser { text, at: 0, names, depth: 0 };
        if text.len() > ASSERTION_BYTES_MAX {
            let message = format!("longer than {ASSERTION_BYTES_MAX} bytes; write two of it");
            return Err(parser.error_at(0, message));
        }
        let left = parser.sum()?;
        let Some(comparison) = parser.comparison() else {
            return Err(parser.error("here <, <=, >, >= or == is needed, and what to compare with"));
        };
        let right = parser.sum()?;
        parser.skip_blanks();
        if parser.at < text.len() {
            return Err(parser.error("the assertion is complete before this; write one per string"));
        }
        Ok(Assertion { text: text.to_owned(), left, comparison, right })
    }

    /// Every aggregate in it, from left to right.
    pub(super) fn measured(&self) -> Vec<Measured> {
        let mut found = vec![];
        self.left.collect(&mut found);
        self.right.collect(&mut found);
        found
    }
}

impl Expression {
    fn collect(&self, found: &mut Vec<Measured>) {
        match self {
            Expression::Number(_) => {}
            Expression::Negated(inner) => inner.collect(found),
            Expression::Arithmetic(_, left, right) => {
                left.collect(found);
                right.collect(found);
            }
            Expression::Measured(measured) => found.push(*measured),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Byte that is read next; always the beginning of a character.
    at: usize,
    names: Names<'a>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn sum(&mut self) -> Result<Expression, ExpressionError> {
        let mut left = self.product()?;
        while let Some(sign) = self.take_one_of(&['+', '-']) {
            let right = self.product()?;
            left = Expression::Arithmetic(sign, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expression, ExpressionError> {
        let mut left = self.factor()?;
        while let Some(sign) = self.take_one_of(&['*', '/']) {
            let right = self.factor()?;
            left = Expression::Arithmetic(sign, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Expression, ExpressionError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let factor = if self.take_one_of(&['-']).is_some() {
            Expression::Negated(Box::new(self.factor()?))
        } else if self.take_one_of(&['(']).is_some() {
            let inner = self.sum()?;
            self.expect(')')?;
            inner
        } else if self.peek().is_some_and(|c| c.is_ascii_digit() || c == '.') {
            Expression::Number(self.number()?)
        } else {
            Expression::Measured(self.measured()?)
        };
        self.depth -= 1;
        Ok(factor)
    }

    fn number(&mut self) -> Result<f64, ExpressionError> {
        self.skip_blanks();
        let start = self.at;
        let negative = self.take_one_of(&['-']).is_some();
        self.skip_blanks();
        let digits = self.at;
        let rest = &self.text.as_bytes()[digits..];
        let mut length = 0;
        while let Some(byte) = rest.get(length) {
            let after_exponent = length > 0 && matches!(rest[length - 1], b'e' | b'E');
            let belongs = byte.is_ascii_digit()
                || matches!(byte, b'.' | b'e' | b'E')
                || (after_exponent && matches!(byte, b'+' | b'-'));
            if !belongs {
                break;
            }
            length += 1;
        }
        self.at = digits + length;
        let written = &self.text[digits..self.at];
        match written.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(if negative { -number } else { number }),
            _ => Err(self.error_at(start, format!("{written:?} is not a number"))),
        }
    }

    fn measured(&mut self) -> Result<Measured, ExpressionError> {
        let (start, word) = self.word();
        if word.is_empty() {
            return Err(
                self.error_at(start, "a number, a quantity or an aggregate is missing here")
            );
        }
        let Some((_, aggregate)) = AGGREGATES.iter().find(|(name, _)| *name == word) else {
            if self.peek() == Some('(') {
                let known: Vec<&str> = AGGREGATES.iter().map(|(name, _)| *name).collect();
                let message = format!("no aggregate {word:?}; there are {}", known.join(", "));
                return Err(self.error_at(start, message));
            }
            let (quantity, variant) = self.named(start, word)?;
            let of = &self.names.quantities[quantity];
            if of.kind == Kind::Reading {
                let message = format!("{0} is a reading: say which, as in max({0})", of.name);
                return Err(self.error_at(start, message));
            }
            return Ok(Measured { aggregate: Aggregate::Sum, quantity, variant });
        };
        self.expect('(')?;
        let (place, name) = self.word();
        let (quantity, variant) = self.named(place, name)?;
        let mut aggregate = *aggregate;
        if let Aggregate::Count(_) = aggregate
            && let Some(comparison) = self.comparison()
        {
            let number = self.number()?;
            aggregate = Aggregate::Count(Some(Threshold { comparison, number }));
        }
        self.expect(')')?;
        Ok(Measured { aggregate, quantity, variant })
    }

    /// The quantity of this name, and the variant if one follows.
    fn named(
        &mut self,
        start: usize,
        name: &str,
    ) -> Result<(usize, Option<usize>), ExpressionError> {
        let quantities = self.names.quantities;
        let Some(quantity) = quantities.iter().position(|known| known.name == name) else {
            let known = quantities.iter().map(|known| known.name.as_str());
            return Err(self.error_at(start, unknown("quantity", name, known)));
        };
        if !self.text[self.at..].starts_with('.') {
            return Ok((quantity, None));
        }
        self.at += 1;
        let (place, variant) = self.word();
        match self.names.variants.iter().position(|known| known == variant) {
            Some(place) => Ok((quantity, Some(place))),
            None => {
                let known = self.names.variants.iter().map(String::as_str);
                Err(self.error_at(place, unknown("variant", variant, known)))
            }
        }
    }

    fn comparison(&mut self) -> Option<Comparison> {
        self.skip_blanks();
        let all = [
            Comparison::AtMost,
            Comparison::AtLeast,
            Comparison::Equal,
            Comparison::Below,
            Comparison::Above,
        ];
        let rest = &self.text[self.at..];
        let found = all.into_iter().find(|comparison| rest.starts_with(comparison.symbol()))?;
        self.at += found.symbol().len();
        Some(found)
    }

    /// The letters, digits and underscores that come next, and where they begin.
    fn word(&mut self) -> (usize, &'a str) {
        self.skip_blanks();
        let start = self.at;
        let rest = &self.text[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        self.at = start + end.unwrap_or(rest.len());
        (start, &self.text[start..self.at])
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_blanks();
        self.text[self.at..].chars().next()
    }

    fn take_one_of(&mut self, wanted: &[char]) -> Option<char> {
        let next = self.peek().filter(|next| wanted.contains(next))?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn expect(&mut self, wanted: char) -> Result<(), ExpressionError> {
        match self.take_one_of(&[wanted]) {
            Some(_) => Ok(()),
            None => Err(self.error(format!("`{wanted}` is missing here"))),
        }
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn error(&mut self, message: impl Into<String>) -> ExpressionError {
        self.skip_blanks();
        self.error_at(self.at, message)
    }

    fn error_at(&self, at: usize, message: impl Into<String>) -> ExpressionError {
        ExpressionError {
            text: self.text.to_owned(),
            column: self.text[..at].chars().count() + 1,
            message: message.into(),
        }
    }
}

/// The message for a name that nothing has, with the nearest one first.
pub(super) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let similarity = |other: &str| strsim::jaro_winkler(name, other);
    let nearest = known
        .clone()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
        .filter(|nearest| similarity(nearest) > 0.8);
    let hint = nearest.map(|nearest| format!(", did you mean {nearest:?}?")).unwrap_or_default();
    let known: Vec<&str> = known.collect();
    format!("no {what} {name:?}{hint}; known: {}", known.join(", "))
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
