//! Values of signals, outputs, params and state, and their types.
//!
//! A value in JSON reads as people write it: numbers, strings, `null` for an
//! absent option, arrays, objects. Two things JSON cannot carry follow protobuf's
//! JSON mapping: 64-bit integers beyond 2^53-1 and non-finite floats are strings.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, fmt};

use crate::limits::{JSON_INTEGER_MAX, LIST_ITEMS_MAX, STRING_BYTES_MAX};

/// A record of values by field name, in `snake_case`.
pub type Values = BTreeMap<String, Value>;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An absent option.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any integer.
    Int(i128),
    /// Any float; may be non-finite when it comes from a guest.
    Float(f64),
    /// A string, a character or the case of an enum.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A record.
    Record(Values),
}

/// The type of a value: the part of WIT that can be data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each case is the WIT type of its name")]
pub enum ValueType {
    Bool,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F32,
    F64,
    Char,
    String,
    /// One of these cases.
    Enum(Vec<String>),
    /// A value or null.
    Option(Box<ValueType>),
    /// A list of one type.
    List(Box<ValueType>),
    /// Fields by name.
    Record(BTreeMap<String, ValueType>),
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueType::Bool => f.write_str("bool"),
            ValueType::U8 => f.write_str("u8"),
            ValueType::U16 => f.write_str("u16"),
            ValueType::U32 => f.write_str("u32"),
            ValueType::U64 => f.write_str("u64"),
            ValueType::S8 => f.write_str("s8"),
            ValueType::S16 => f.write_str("s16"),
            ValueType::S32 => f.write_str("s32"),
            ValueType::S64 => f.write_str("s64"),
            ValueType::F32 => f.write_str("f32"),
            ValueType::F64 => f.write_str("f64"),
            ValueType::Char => f.write_str("char"),
            ValueType::String => f.write_str("string"),
            ValueType::Enum(cases) => write!(f, "enum {{{}}}", cases.join(", ")),
            ValueType::Option(inner) => write!(f, "option<{inner}>"),
            ValueType::List(inner) => write!(f, "list<{inner}>"),
            ValueType::Record(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, of)| format!("{name}: {of}")).collect();
                write!(f, "record {{{}}}", fields.join(", "))
            }
        }
    }
}

impl ValueType {
    /// Whether values of this type are single numbers.
    pub fn is_numeric(&self) -> bool {
        self.integer_range().is_some() || matches!(self, ValueType::F32 | ValueType::F64)
    }

    fn integer_range(&self) -> Option<(i128, i128)> {
        Some(match self {
            ValueType::U8 => (0, u8::MAX.into()),
            ValueType::U16 => (0, u16::MAX.into()),
            ValueType::U32 => (0, u32::MAX.into()),
            ValueType::U64 => (0, u64::MAX.into()),
            ValueType::S8 => (i8::MIN.into(), i8::MAX.into()),
            ValueType::S16 => (i16::MIN.into(), i16::MAX.into()),
            ValueType::S32 => (i32::MIN.into(), i32::MAX.into()),
            ValueType::S64 => (i64::MIN.into(), i64::MAX.into()),
            _ => return None,
        })
    }

    /// The value as one of this type: integers become floats where a float is
    /// asked for, digits in a string become a 64-bit integer, missing options null.
    ///
    /// # Errors
    /// One sentence that names the place and what is wrong there.
    pub fn accept(&self, value: &Value) -> Result<Value, String> {
        self.accept_at("", value)
    }

    fn accept_at(&self, place: &str, value: &Value) -> Result<Value, String> {
        let wrong = |what: &str| {
            let place = if place.is_empty() { "the value" } else { place };
            Err(format!("{place} is {what}, not {self}"))
        };
        if let Some((min, max)) = self.integer_range() {
            let number = match value {
                Value::Int(number) => *number,
                Value::Text(digits) if matches!(self, ValueType::U64 | ValueType::S64) => {
                    match digits.parse::<i128>() {
                        // One text for one number: no `+5`, `-0` or `007`.
                        Ok(number) if number.to_string() == *digits => number,
                        _ => return wrong("a string"),
                    }
                }
                other => return wrong(other.kind()),
            };
            return if (min..=max).contains(&number) {
                Ok(Value::Int(number))
            } else {
                wrong(&format!("{number}"))
            };
        }
        match (self, value) {
            (ValueType::Bool, Value::Bool(_)) => Ok(value.clone()),
            (ValueType::F64, Value::Float(_)) => Ok(value.clone()),
            #[expect(clippy::cast_possible_truncation, reason = "an f32 is what was asked for")]
            (ValueType::F32, Value::Float(number)) => {
                let single = *number as f32;
                if number.is_finite() && !single.is_finite() {
                    return wrong(&format!("{number}"));
                }
                Ok(Value::Float(f64::from(single)))
            }
            #[expect(clippy::cast_precision_loss, reason = "an f32 is what was asked for")]
            (ValueType::F32, Value::Int(number)) => Ok(Value::Float(f64::from(*number as f32))),
            #[expect(clippy::cast_precision_loss, reason = "a JSON integer is below 2^53")]
            (ValueType::F64, Value::Int(number)) => Ok(Value::Float(*number as f64)),
            (ValueType::Char, Value::Text(text)) if text.chars().count() == 1 => Ok(value.clone()),
            (ValueType::String, Value::Text(text)) => {
                if text.len() > STRING_BYTES_MAX {
                    return wrong("a string that is too long");
                }
                Ok(value.clone())
            }
            (ValueType::Enum(cases), Value::Text(case)) if cases.contains(case) => {
                Ok(value.clone())
            }
            (ValueType::Option(_), Value::Null) => Ok(Value::Null),
            (ValueType::Option(inner), some) => inner.accept_at(place, some),
            (ValueType::List(of), Value::List(items)) => {
                if items.len() > LIST_ITEMS_MAX {
                    return wrong("a list that is too long");
                }
                let items = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| of.accept_at(&format!("{place}[{index}]"), item));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            (ValueType::Record(fields), Value::Record(values)) => {
                if let Some(extra) = values.keys().find(|name| !fields.contains_key(*name)) {
                    return Err(format!("`{}` is not a field of {self}", joined(place, extra)));
                }
                let accepted = fields.iter().map(|(name, of)| {
                    let place = joined(place, name);
                    match values.get(name) {
                        Some(value) => of.accept_at(&place, value),
                        None if matches!(of, ValueType::Option(_)) => Ok(Value::Null),
                        None => Err(format!("`{place}` is missing ({of})")),
                    }
                    .map(|value| (name.clone(), value))
                });
                Ok(Value::Record(accepted.collect::<Result<_, _>>()?))
            }
            (_, other) => wrong(other.kind()),
        }
    }
}

fn joined(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

impl Value {
    /// What the value is, in a word or two.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Record(_) => "a record",
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "bounds are floats")]
            Value::Int(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// Whether every float in it is finite.
    pub fn is_finite(&self) -> bool {
        match self {
            Value::Float(number) => number.is_finite(),
            Value::List(items) => items.iter().all(Value::is_finite),
            Value::Record(fields) => fields.values().all(Value::is_finite),
            _ => true,
        }
    }

    /// A rough size in bytes, for caps on what a guest returns.
    pub fn weight_bytes(&self) -> usize {
        match self {
            Value::Text(text) => 16 + text.len(),
            Value::List(items) => 16 + items.iter().map(Value::weight_bytes).sum::<usize>(),
            Value::Record(fields) => {
                fields.iter().map(|(name, value)| name.len() + value.weight_bytes()).sum()
            }
            _ => 16,
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl From<Vec<f64>> for Value {
    fn from(numbers: Vec<f64>) -> Value {
        Value::List(numbers.into_iter().map(Value::Float).collect())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => json.serialize_unit(),
            Value::Bool(truth) => json.serialize_bool(*truth),
            Value::Int(number) => match i64::try_from(*number) {
                Ok(small) if (-JSON_INTEGER_MAX..=JSON_INTEGER_MAX).contains(&small) => {
                    json.serialize_i64(small)
                }
                _ => json.serialize_str(&number.to_string()),
            },
            Value::Float(number) if number.is_finite() => json.serialize_f64(*number),
            Value::Float(number) if number.is_nan() => json.serialize_str("NaN"),
            Value::Float(number) if *number > 0.0 => json.serialize_str("Infinity"),
            Value::Float(_) => json.serialize_str("-Infinity"),
            Value::Text(text) => json.serialize_str(text),
            Value::List(items) => items.serialize(json),
            Value::Record(fields) => fields.serialize(json),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Value, D::Error> {
        json.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number.into()))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Int(number.into()))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut record = Values::new();
        while let Some((name, value)) = entries.next_entry()? {
            record.insert(name, value);
        }
        Ok(Value::Record(record))
    }
}

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A value; 64-bit integers beyond 2^53-1 and non-finite floats are strings.",
            "type": ["null", "boolean", "number", "string", "array", "object"]
        })
    }
}
