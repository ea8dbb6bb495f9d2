//! Strict JSON: the one door through which foreign JSON enters.
//!
//! Order: size cap, RFC 8259 grammar and UTF-8 (serde_json), duplicate keys at
//! every level, depth, integer range (RFC 7493), then the type. serde_json by
//! itself keeps the last of duplicate keys in maps and turns integers of 2^64
//! and over into floats, hence the walk before the type is built.

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::{cell::RefCell, collections::BTreeSet, fmt};

use crate::limits::{JSON_DEPTH_MAX, JSON_INTEGER_MAX};
use crate::reason::{Coded, Reason};

/// Why some bytes are not the JSON that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Over the cap; nothing was parsed.
    #[error("{bytes} bytes where at most {bytes_max} are taken")]
    TooLarge {
        /// The size.
        bytes: usize,
        /// The cap.
        bytes_max: usize,
    },
    /// Not RFC 8259.
    #[error("not JSON: {message}")]
    Malformed {
        /// What and where, with line and column.
        message: String,
    },
    /// A key stands twice in one object.
    #[error("the key `{key}` stands twice in one object")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// Nested too deep.
    #[error("nested deeper than {depth_max} levels")]
    TooDeep {
        /// The cap.
        depth_max: usize,
    },
    /// An integer that a double cannot hold, or a number that is not finite.
    #[error("the number {text} is outside the range that JSON carries without loss")]
    NumberOutOfRange {
        /// The number, cut to 40 characters.
        text: String,
    },
    /// JSON, but not of this type.
    #[error("at `{path}`: {message}")]
    Schema {
        /// Where, as a dotted path.
        path: String,
        /// What.
        message: String,
    },
}

impl Coded for ParseError {
    fn reason(&self) -> Reason {
        match self {
            ParseError::TooLarge { .. } => Reason::TooLarge,
            ParseError::Malformed { .. } => Reason::MalformedJson,
            ParseError::DuplicateKey { .. } => Reason::DuplicateKey,
            ParseError::TooDeep { .. } => Reason::TooDeep,
            ParseError::NumberOutOfRange { .. } => Reason::NumberOutOfRange,
            ParseError::Schema { .. } => Reason::SchemaViolation,
        }
    }
}

/// Parses at most `bytes_max` bytes of JSON into `T`.
///
/// # Errors
/// The first of [`ParseError`]'s variants that applies, in their order.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Result<T, ParseError> {
    if bytes.len() > bytes_max {
        return Err(ParseError::TooLarge { bytes: bytes.len(), bytes_max });
    }
    check_structure(bytes)?;
    check_integers(bytes)?;
    // Most texts fit; only one that does not is read again, to say where.
    serde_json::from_slice(bytes).or_else(|_| {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        serde_path_to_error::deserialize(&mut json).map_err(|error| ParseError::Schema {
            path: error.path().to_string(),
            message: without_position(error.inner()),
        })
    })
}

/// serde_json appends " at line L column C", which is noise beside a path.
fn without_position(error: &serde_json::Error) -> String {
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    message.strip_suffix(&position).unwrap_or(&message).to_owned()
}

/// For a field whose JSON Schema has a minimum of 1: zero is refused where it is read.
pub(crate) fn at_least_one<'de, D: Deserializer<'de>, N>(json: D) -> Result<N, D::Error>
where
    N: Deserialize<'de> + Default + PartialEq,
{
    let number = N::deserialize(json)?;
    if number == N::default() {
        return Err(serde::de::Error::custom("0 where at least 1 belongs"));
    }
    Ok(number)
}

fn check_structure(bytes: &[u8]) -> Result<(), ParseError> {
    let found = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let walked = Walk { depth: 0, found: &found }.deserialize(&mut json).and_then(|()| json.end());
    match (found.into_inner(), walked) {
        (Some(error), _) => Err(error),
        (None, Err(error)) if error.to_string().starts_with("number out of range") => {
            Err(ParseError::NumberOutOfRange { text: number_at(bytes, &error) })
        }
        (None, Err(error)) => Err(ParseError::Malformed { message: error.to_string() }),
        (None, Ok(())) => Ok(()),
    }
}

/// Walks any JSON value and notes the first structural offence.
#[derive(Clone, Copy)]
struct Walk<'a> {
    depth: usize,
    found: &'a RefCell<Option<ParseError>>,
}

impl Walk<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(self.note(ParseError::TooDeep { depth_max: JSON_DEPTH_MAX }));
        }
        Ok(Walk { depth: self.depth + 1, ..self })
    }

    fn note<E: serde::de::Error>(self, offence: ParseError) -> E {
        let error = E::custom(&offence);
        self.found.replace(Some(offence));
        error
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut keys = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if keys.contains(&key) {
                return Err(self.note(ParseError::DuplicateKey { key }));
            }
            keys.insert(key);
            entries.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// The number literal at which serde_json stopped.
fn number_at(bytes: &[u8], error: &serde_json::Error) -> String {
    let line = bytes.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1));
    let line = line.unwrap_or_default();
    let is_number = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
    let before = &line[..error.column().saturating_sub(1).min(line.len())];
    let start = before.iter().rposition(|byte| !is_number(byte)).map_or(0, |at| at + 1);
    line[start..].iter().take_while(|byte| is_number(byte)).take(40).map(|&b| b as char).collect()
}

/// Finds integer literals outside +-(2^53-1). The text is grammatical by now,
/// so a number is a run of number characters outside a string.
fn check_integers(bytes: &[u8]) -> Result<(), ParseError> {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = number_end(bytes, at);
                check_integer(&bytes[at..end])?;
                at = end;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    bytes[start..]
        .iter()
        .position(|byte| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
        .map_or(bytes.len(), |length| start + length)
}

fn check_integer(literal: &[u8]) -> Result<(), ParseError> {
    if literal.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(literal);
    match text.parse::<i64>() {
        Ok(number) if (-JSON_INTEGER_MAX..=JSON_INTEGER_MAX).contains(&number) => Ok(()),
        _ => Err(ParseError::NumberOutOfRange { text: text.chars().take(40).collect() }),
    }
}
