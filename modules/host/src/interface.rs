//! A module's own types, and whether they fit a profile.
//!
//! The types are read from the component, where the engine enforces them; they
//! are not a claim beside the code.

use gnomon_schemas::ids::{FunctionName, SignalName};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::ValueType;
use serde::Serialize;
use std::collections::BTreeMap;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::{Engine, component::Component};

use crate::admit::AdmitError;
use crate::convert::{Field, Plan};

/// The function that a module exports.
pub const EVALUATE: &str = "evaluate";
/// What a module with memory may export besides: its state, made of an older one.
pub const MIGRATE: &str = "migrate";
/// How deep a value's type may nest.
const TYPE_DEPTH_MAX: usize = 8;
/// Types, fields and cases of one value's type, spelled out: a few bytes of shared
/// types spell out to millions.
const TYPE_PARTS_MAX: usize = 1_000;

/// Fields by name.
pub type Fields = BTreeMap<SignalName, ValueType>;

/// What a module reads, is tuned by, proposes and remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The signals that it reads.
    pub inputs: Fields,
    /// Its tunables.
    pub params: Fields,
    /// The outputs that it proposes.
    pub outputs: Fields,
    /// Its explicit memory, a record, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ValueType>,
    /// The older state that its `migrate` takes, a record, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrate: Option<ValueType>,
    /// The arguments of `evaluate` in their order.
    #[serde(skip)]
    pub(crate) arguments: Vec<Argument>,
    /// The argument of `migrate`.
    #[serde(skip)]
    pub(crate) migrate_plan: Option<Plan>,
}

/// What one argument of `evaluate` takes, and how it is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Argument {
    Inputs(Vec<Field>),
    Params(Plan),
    State(Plan),
}

impl Interface {
    /// Reads the interface of a component: no imports, one `evaluate`, perhaps a `migrate`.
    ///
    /// # Errors
    /// [`AdmitError::HasImports`], [`AdmitError::MissingExport`],
    /// [`AdmitError::Interface`] or [`AdmitError::Type`].
    pub fn of(component: &Component, engine: &Engine) -> Result<Interface, AdmitError> {
        let types = component.component_type();
        for (name, import) in types.imports(engine) {
            // Types that a WIT world declares show up as imports bound to a type: they
            // bring no capability. Anything else, a resource type too, does.
            if !matches!(import.ty, ComponentItem::Type(_)) {
                return Err(AdmitError::HasImports(name.to_owned()));
            }
        }
        let mut interface = match types.get_export(engine, EVALUATE).map(|export| export.ty) {
            Some(ComponentItem::ComponentFunc(function)) => Interface::of_function(&function)?,
            _ => return Err(AdmitError::MissingExport),
        };
        if let Some(export) = types.get_export(engine, MIGRATE) {
            let (old, plan) = old_state(&export.ty, interface.state.as_ref())?;
            (interface.migrate, interface.migrate_plan) = (Some(old), Some(plan));
        }
        Ok(interface)
    }

    fn of_function(function: &ComponentFunc) -> Result<Interface, AdmitError> {
        let wrong = |message: &str| Err(AdmitError::Interface(message.to_owned()));
        let mut arguments = vec![];
        let (mut inputs, mut params, mut state) = (None, None, None);
        for (index, (name, engine_type)) in function.params().enumerate() {
            let ty = value_type(name, &engine_type)?;
            let plan = Plan::of(&engine_type, &ty);
            match (index, ty, plan) {
                (0, ValueType::Record(fields), Plan::Record(plan)) => {
                    inputs = Some(signals(fields)?);
                    arguments.push(Argument::Inputs(plan));
                }
                (1, ValueType::Record(fields), plan) => {
                    params = Some(signals(fields)?);
                    arguments.push(Argument::Params(plan));
                }
                (1 | 2, ValueType::Option(inner), plan)
                    if matches!(*inner, ValueType::Record(_)) && state.is_none() =>
                {
                    state = Some(*inner);
                    arguments.push(Argument::State(plan));
                }
                (_, other, _) => {
                    return Err(AdmitError::Interface(format!(
                        "argument {} of `evaluate` is {other}: expected inputs (a record), then \
                         optionally params (a record), then optionally state (an option of a record)",
                        index + 1
                    )));
                }
            }
        }
        let Some(inputs) = inputs else { return wrong("`evaluate` takes no inputs record") };
        let outputs = outputs_of(function, state.as_ref())?;
        Ok(Interface {
            inputs,
            params: params.unwrap_or_default(),
            outputs,
            state,
            migrate: None,
            arguments,
            migrate_plan: None,
        })
    }

    /// The fields of the inputs in the order of the module's record.
    pub(crate) fn input_fields(&self) -> &[Field] {
        match self.arguments.first() {
            Some(Argument::Inputs(fields)) => fields,
            _ => &[],
        }
    }

    /// Checks this interface against a function of a profile: every input is a
    /// signal and every output an output, of the same types.
    ///
    /// # Errors
    /// [`AdmitError::Interface`], naming the field and what the profile has.
    pub fn check(&self, profile: &Profile, function: &FunctionName) -> Result<(), AdmitError> {
        let wrong = |message: String| Err(AdmitError::Interface(message));
        let Some(role) = profile.functions.get(function) else {
            return Err(AdmitError::UnknownFunction(function.clone()));
        };
        for (name, ty) in &self.inputs {
            match profile.signals.get(name) {
                None => {
                    return wrong(format!(
                        "inputs.{name}: profile `{}` has no such signal",
                        profile.name
                    ));
                }
                Some(signal) if signal.value_type != *ty => {
                    let has = &signal.value_type;
                    return wrong(format!("inputs.{name} is {ty}, the signal is {has}"));
                }
                Some(_) => {}
            }
        }
        for (name, ty) in &self.outputs {
            match profile.outputs.get(name) {
                Some(_) if !role.outputs.contains(name) => {
                    return wrong(format!("outputs.{name} is not for `{function}` to set"));
                }
                Some(output) if output.value_type != *ty => {
                    let has = &output.value_type;
                    return wrong(format!("outputs.{name} is {ty}, the output is {has}"));
                }
                None => {
                    return wrong(format!(
                        "outputs.{name}: profile `{}` has no such output",
                        profile.name
                    ));
                }
                Some(_) => {}
            }
        }
        match role.outputs.iter().find(|name| !self.outputs.contains_key(*name)) {
            Some(missing) => {
                wrong(format!("outputs.{missing} is missing: `{function}` must set it"))
            }
            None => Ok(()),
        }
    }
}

fn outputs_of(function: &ComponentFunc, state: Option<&ValueType>) -> Result<Fields, AdmitError> {
    let shape = if state.is_some() { "tuple<outputs, state>" } else { "a record of outputs" };
    let wrong = || AdmitError::Interface(format!("`evaluate` must return {shape}"));
    let mut results = function.results();
    let (Some(result), None) = (results.next(), results.next()) else { return Err(wrong()) };
    let result = match (&result, state) {
        (Type::Tuple(pair), Some(state)) => {
            let parts: Vec<Type> = pair.types().collect();
            let [outputs, after] = parts.as_slice() else { return Err(wrong()) };
            if value_type("result.1", after)? != *state {
                return Err(AdmitError::Interface("the state returned has another type".into()));
            }
            outputs.clone()
        }
        (_, Some(_)) => return Err(wrong()),
        (_, None) => result,
    };
    match value_type("result", &result)? {
        ValueType::Record(fields) => signals(fields),
        _ => Err(wrong()),
    }
}

/// What `migrate` takes; it must make the state of `evaluate` of it.
fn old_state(
    export: &ComponentItem,
    state: Option<&ValueType>,
) -> Result<(ValueType, Plan), AdmitError> {
    let wrong = |what: &str| AdmitError::Interface(format!("`migrate` {what}"));
    let ComponentItem::ComponentFunc(function) = export else {
        return Err(wrong("is no function"));
    };
    let state = state.ok_or_else(|| wrong("is there, but `evaluate` has no state"))?;
    let mut params = function.params();
    let (Some((name, engine_type)), None) = (params.next(), params.next()) else {
        return Err(wrong("must take one argument, the older state"));
    };
    let old = value_type(&format!("migrate.{name}"), &engine_type)?;
    if !matches!(old, ValueType::Record(_)) {
        return Err(wrong(&format!("takes {old}: a state is a record")));
    }
    let mut results = function.results();
    let (Some(result), None) = (results.next(), results.next()) else {
        return Err(wrong("must return the state of `evaluate`"));
    };
    let result = value_type("migrate.result", &result)?;
    if result != *state {
        return Err(wrong(&format!("returns {result}, the state of `evaluate` is {state}")));
    }
    let plan = Plan::of(&engine_type, &old);
    Ok((old, plan))
}

fn signals(fields: BTreeMap<String, ValueType>) -> Result<Fields, AdmitError> {
    fields
        .into_iter()
        .map(|(name, ty)| match name.parse() {
            Ok(signal) => Ok((signal, ty)),
            Err(error) => Err(AdmitError::Interface(format!("{error}"))),
        })
        .collect()
}

/// A WIT type as a value type; names come out in `snake_case`.
fn value_type(place: &str, ty: &Type) -> Result<ValueType, AdmitError> {
    let mut parts_left = TYPE_PARTS_MAX;
    value_type_within(place, ty, 0, &mut parts_left)
}

fn value_type_within(
    place: &str,
    ty: &Type,
    depth: usize,
    parts_left: &mut usize,
) -> Result<ValueType, AdmitError> {
    let refused = |found| Err(AdmitError::Type { place: place.to_owned(), found });
    if depth > TYPE_DEPTH_MAX {
        return refused("nested too deep");
    }
    let parts = if let Type::Enum(cases) = ty { cases.names().len() } else { 1 };
    match parts_left.checked_sub(parts) {
        Some(left) => *parts_left = left,
        None => return refused("a type of too many parts"),
    }
    let mut inner = |ty: &Type| value_type_within(place, ty, depth + 1, parts_left).map(Box::new);
    Ok(match ty {
        Type::Bool => ValueType::Bool,
        Type::S8 => ValueType::S8,
        Type::U8 => ValueType::U8,
        Type::S16 => ValueType::S16,
        Type::U16 => ValueType::U16,
        Type::S32 => ValueType::S32,
        Type::U32 => ValueType::U32,
        Type::S64 => ValueType::S64,
        Type::U64 => ValueType::U64,
        Type::Float32 => ValueType::F32,
        Type::Float64 => ValueType::F64,
        Type::Char => ValueType::Char,
        Type::String => ValueType::String,
        Type::Enum(cases) => ValueType::Enum(cases.names().map(str::to_owned).collect()),
        Type::Option(option) => match inner(&option.ty())? {
            nested if matches!(*nested, ValueType::Option(_)) => {
                return refused("an option of an option");
            }
            some => ValueType::Option(some),
        },
        Type::List(list) => ValueType::List(inner(&list.ty())?),
        Type::Record(record) => ValueType::Record(
            record
                .fields()
                .map(|field| {
                    let name = field.name.replace('-', "_");
                    let place = format!("{place}.{name}");
                    let ty = value_type_within(&place, &field.ty, depth + 1, parts_left)?;
                    Ok((name, ty))
                })
                .collect::<Result<_, AdmitError>>()?,
        ),
        Type::Tuple(_) => return refused("a tuple"),
        Type::Variant(_) => return refused("a variant"),
        Type::Result(_) => return refused("a result"),
        Type::Flags(_) => return refused("flags"),
        Type::Map(_) => return refused("a map"),
        Type::FixedLengthList(_) => return refused("a fixed-length list"),
        Type::Own(_) | Type::Borrow(_) => return refused("a handle to a resource"),
        Type::Future(_) => return refused("a future"),
        Type::Stream(_) => return refused("a stream"),
        Type::ErrorContext => return refused("an error context"),
    })
}
