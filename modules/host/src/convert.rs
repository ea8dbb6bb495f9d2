//! Values to and from the engine, guided by their types.
//!
//! Into the engine everything has been through [`ValueType::accept`]; out of it
//! everything is a guest's word and only its type is certain.

use gnomon_schemas::value::{Value, ValueType};
use wasmtime::component::Val;
use wasmtime::component::types::Type;

/// How a value of one WIT type is handed to the engine. Records go in the order
/// of their WIT declaration, which a [`ValueType`]'s alphabetical order loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    Plain(ValueType),
    Option(Box<Plan>),
    List(Box<Plan>),
    Record(Vec<Field>),
}

/// A field of a record: its name as JSON has it, as WIT has it, and its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) snake: String,
    pub(crate) kebab: String,
    pub(crate) plan: Plan,
}

impl Plan {
    /// The plan for a type that [`ValueType`] can express.
    pub(crate) fn of(ty: &Type, value_type: &ValueType) -> Plan {
        match (ty, value_type) {
            (Type::Option(option), ValueType::Option(inner)) => {
                Plan::Option(Box::new(Plan::of(&option.ty(), inner)))
            }
            (Type::List(list), ValueType::List(of)) => {
                Plan::List(Box::new(Plan::of(&list.ty(), of)))
            }
            (Type::Record(record), ValueType::Record(fields)) => Plan::Record(
                record
                    .fields()
                    .filter_map(|field| {
                        let snake = field.name.replace('-', "_");
                        let plan = Plan::of(&field.ty, fields.get(&snake)?);
                        Some(Field { kebab: field.name.to_owned(), snake, plan })
                    })
                    .collect(),
            ),
            _ => Plan::Plain(value_type.clone()),
        }
    }

    /// The engine's form of a value; `None` when it is not of the type.
    pub(crate) fn lower(&self, value: &Value) -> Option<Val> {
        Some(match (self, value) {
            (Plan::Plain(ty), value) => return plain_to_engine(value, ty),
            (Plan::Option(_), Value::Null) => Val::Option(None),
            (Plan::Option(inner), some) => Val::Option(Some(Box::new(inner.lower(some)?))),
            (Plan::List(of), Value::List(items)) => {
                Val::List(items.iter().map(|item| of.lower(item)).collect::<Option<_>>()?)
            }
            (Plan::Record(fields), Value::Record(values)) => {
                let lowered = fields.iter().map(|field| {
                    Some((field.kebab.clone(), field.plan.lower(values.get(&field.snake)?)?))
                });
                Val::Record(lowered.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// [`Plan::lower`] over an older value of the same plan, whose list it uses again.
    pub(crate) fn fill(&self, value: &Value, slot: &mut Val) -> Option<()> {
        match (self, value, slot) {
            (Plan::Plain(ValueType::F64), Value::Float(number), slot) => {
                *slot = Val::Float64(*number);
            }
            (Plan::List(of), Value::List(items), Val::List(slots)) => {
                slots.truncate(items.len());
                for (slot, item) in slots.iter_mut().zip(items) {
                    of.fill(item, slot)?;
                }
                for item in items.iter().skip(slots.len()) {
                    slots.push(of.lower(item)?);
                }
            }
            (plan, value, slot) => *slot = plan.lower(value)?,
        }
        Some(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an f32 is what was asked for")]
fn plain_to_engine(value: &Value, ty: &ValueType) -> Option<Val> {
    Some(match (ty, value) {
        (ValueType::F64, Value::Float(number)) => Val::Float64(*number),
        (ValueType::F32, Value::Float(number)) => Val::Float32(*number as f32),
        (ValueType::Bool, Value::Bool(truth)) => Val::Bool(*truth),
        (ValueType::U8, Value::Int(number)) => Val::U8((*number).try_into().ok()?),
        (ValueType::U16, Value::Int(number)) => Val::U16((*number).try_into().ok()?),
        (ValueType::U32, Value::Int(number)) => Val::U32((*number).try_into().ok()?),
        (ValueType::U64, Value::Int(number)) => Val::U64((*number).try_into().ok()?),
        (ValueType::S8, Value::Int(number)) => Val::S8((*number).try_into().ok()?),
        (ValueType::S16, Value::Int(number)) => Val::S16((*number).try_into().ok()?),
        (ValueType::S32, Value::Int(number)) => Val::S32((*number).try_into().ok()?),
        (ValueType::S64, Value::Int(number)) => Val::S64((*number).try_into().ok()?),
        (ValueType::Char, Value::Text(text)) => Val::Char(text.chars().next()?),
        (ValueType::String, Value::Text(text)) => Val::String(text.clone()),
        (ValueType::Enum(_), Value::Text(case)) => Val::Enum(case.clone()),
        _ => return None,
    })
}

/// Our form of what a guest returned; `None` for what no type of ours admits.
pub(crate) fn from_engine(val: &Val) -> Option<Value> {
    Some(match val {
        Val::Bool(truth) => Value::Bool(*truth),
        Val::U8(number) => Value::Int((*number).into()),
        Val::U16(number) => Value::Int((*number).into()),
        Val::U32(number) => Value::Int((*number).into()),
        Val::U64(number) => Value::Int((*number).into()),
        Val::S8(number) => Value::Int((*number).into()),
        Val::S16(number) => Value::Int((*number).into()),
        Val::S32(number) => Value::Int((*number).into()),
        Val::S64(number) => Value::Int((*number).into()),
        Val::Float32(number) => Value::Float((*number).into()),
        Val::Float64(number) => Value::Float(*number),
        Val::Char(c) => Value::Text(c.to_string()),
        Val::String(text) | Val::Enum(text) => Value::Text(text.clone()),
        Val::Option(None) => Value::Null,
        Val::Option(Some(inner)) => from_engine(inner)?,
        Val::List(items) => Value::List(items.iter().map(from_engine).collect::<Option<_>>()?),
        Val::Record(fields) => Value::Record(
            fields
                .iter()
                .map(|(name, val)| Some((name.replace('-', "_"), from_engine(val)?)))
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}
