//! What a call is given: inputs that were checked, params, and state.
//!
//! Languages differ on NaN, negative and huge values, and C reads outside its
//! arrays: so a guest never sees a value outside its signal's range.

use gnomon_schemas::limits::LIST_ITEMS_MAX;
use gnomon_schemas::profile::Range;
use gnomon_schemas::value::{Value, ValueType, Values};
use gnomon_schemas::{Reason, Refusal};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::component::Val;

use crate::admit::{Admitted, Params};
use crate::convert::{Field, Plan};
use crate::interface::Argument;
use crate::migrate::accept_state;

/// The arguments of one module's calls with its params in place. Each call fills in
/// the rest of a copy, which the next call uses again: names and lists are made once.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    template: Vec<Val>,
    idle: Arc<Mutex<Vec<Vec<Val>>>>,
}

impl Arguments {
    /// With these params; `None` when they do not fit.
    pub(crate) fn of(arguments: &[Argument], params: &Value) -> Option<Arguments> {
        let template = arguments.iter().map(|argument| match argument {
            Argument::Inputs(fields) => {
                let unset = |field: &Field| (field.kebab.clone(), Val::Bool(false));
                Some(Val::Record(fields.iter().map(unset).collect()))
            }
            Argument::Params(plan) => plan.lower(params),
            Argument::State(_) => Some(Val::Option(None)),
        });
        Some(Arguments { template: template.collect::<Option<_>>()?, idle: Arc::default() })
    }

    fn take(&self) -> Vec<Val> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| self.template.clone())
    }

    /// For the next call, which overwrites all but the params.
    pub(crate) fn give_back(&self, arguments: Vec<Val>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(arguments);
    }
}

impl Admitted {
    /// The arguments of a call with these inputs and this state.
    pub(crate) fn arguments(
        &self,
        inputs: &Values,
        params: &Params,
        state: Option<&Values>,
    ) -> Result<Vec<Val>, Refusal> {
        if params.module != self.0.digest {
            return Err(Refusal::new(Reason::ParamsInvalid, "params of another module"));
        }
        let mut arguments = params.arguments.take();
        for (argument, slot) in self.0.interface.arguments.iter().zip(&mut arguments) {
            match argument {
                Argument::Inputs(fields) => self.fill_inputs(fields, inputs, slot)?,
                Argument::Params(_) => {}
                Argument::State(plan) => *slot = self.lower_state(plan, state)?,
            }
        }
        Ok(arguments)
    }

    fn fill_inputs(
        &self,
        fields: &[Field],
        inputs: &Values,
        slot: &mut Val,
    ) -> Result<(), Refusal> {
        let invalid = |name: &str, what: &str| {
            Refusal::new(Reason::InputOutOfRange, format!("signal `{name}`: {what}"))
        };
        let Val::Record(slots) = slot else {
            return Err(Refusal::new(Reason::TrapOther, "the inputs are no record"));
        };
        for ((field, check), (_, slot)) in fields.iter().zip(&self.0.checks).zip(slots) {
            let name = &field.snake;
            let value = inputs.get(name).ok_or_else(|| {
                Refusal::new(Reason::InputMissing, format!("no value for signal `{name}`"))
            })?;
            let value = check.accept(value).map_err(|what| invalid(name, &what))?;
            field.plan.fill(&value, slot).ok_or_else(|| invalid(name, "not of its type"))?;
        }
        Ok(())
    }

    fn lower_state(&self, plan: &Plan, state: Option<&Values>) -> Result<Val, Refusal> {
        let invalid = |what: String| Refusal::new(Reason::StateInvalid, what);
        let accepted = match (state, &self.0.interface.state) {
            (Some(state), Some(ty)) => accept_state(ty, state).map_err(invalid)?,
            _ => Value::Null,
        };
        plan.lower(&accepted).ok_or_else(|| invalid("it does not fit its type".into()))
    }
}

/// What a signal's value must be before a guest sees it.
pub(crate) struct InputCheck {
    pub(crate) ty: ValueType,
    pub(crate) range: Option<Range>,
    pub(crate) items_max: Option<usize>,
}

impl InputCheck {
    /// The value in the signal's type, borrowed where it has it already.
    fn accept<'a>(&self, value: &'a Value) -> Result<Cow<'a, Value>, String> {
        let value = match (&self.ty, value) {
            (ValueType::F64, Value::Float(_)) => Cow::Borrowed(value),
            (ValueType::List(of), Value::List(items))
                if **of == ValueType::F64
                    && items.iter().all(|item| matches!(item, Value::Float(_))) =>
            {
                Cow::Borrowed(value)
            }
            (ty, value) => Cow::Owned(ty.accept(value)?),
        };
        self.check_range(&value)?;
        Ok(value)
    }

    fn check_range(&self, value: &Value) -> Result<(), String> {
        match value {
            Value::List(items) => {
                let max = self.items_max.unwrap_or(LIST_ITEMS_MAX);
                if items.len() > max {
                    return Err(format!("{} items, at most {max}", items.len()));
                }
                items.iter().try_for_each(|item| self.check_range(item))
            }
            // A range is of numbers and lists of them; what is in a record has none.
            Value::Record(_) if !value.is_finite() => Err("a number is not finite".into()),
            _ => self.check_number(value),
        }
    }

    fn check_number(&self, value: &Value) -> Result<(), String> {
        let Some(number) = value.as_f64() else { return Ok(()) };
        if !number.is_finite() {
            return Err(format!("{number} is not finite"));
        }
        match self.range {
            Some(range) if !range.contains(number) => {
                Err(format!("{number} is outside {} to {}", range.min, range.max))
            }
            _ => Ok(()),
        }
    }
}
