//! One evaluation: a fresh instance, metered, that ends in outputs or in one fault.
//!
//! Fuel is the first fence and the only one that is the same everywhere; the
//! epoch deadline is the second; memory is capped by the store's limiter.

use gnomon_schemas::limits::STRING_BYTES_MAX;
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Reason, Refusal};
use std::time::{Duration, Instant};
use wasmtime::component::{Instance, Val};
use wasmtime::{ResourceLimiter, Store, Trap};

use crate::admit::{AdmitError, Admitted, InputCheck, Params};
use crate::convert::{from_engine, lower_record};
use crate::engine::{EPOCH_TICK, TABLE_ELEMENTS_MAX};
use crate::interface::Argument;

/// The most that one evaluation may return, as [`Value::weight_bytes`] counts it.
pub const OUTPUT_WEIGHT_BYTES_MAX: usize = 16 * STRING_BYTES_MAX;
/// Bytes that one table element counts towards the memory budget.
const TABLE_ELEMENT_BYTES: usize = 8;

/// What a call returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// The proposal: floats may be non-finite, nothing is clamped yet.
    pub outputs: Values,
    /// The state for the next call.
    pub state: Option<Values>,
}

/// One evaluation and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Outputs, or the one reason why there are none.
    pub outcome: Result<Outputs, Refusal>,
    /// Fuel of the call without instantiation; known when it completed or ran out.
    pub fuel: Option<u64>,
    /// The most linear memory and tables that it held, in bytes.
    pub memory_bytes: u64,
    /// How long instantiation and call took.
    pub time: Duration,
}

/// What the store knows of one call: how much memory it may have and had.
#[derive(Debug)]
pub struct CallState {
    memory_bytes: usize,
    table_bytes: usize,
    bytes_max: usize,
    peak_bytes: usize,
    denied: bool,
}

impl CallState {
    fn grow(&mut self) -> bool {
        let bytes = self.memory_bytes.saturating_add(self.table_bytes);
        if bytes > self.bytes_max {
            self.denied = true;
            return false;
        }
        self.peak_bytes = self.peak_bytes.max(bytes);
        true
    }
}

impl ResourceLimiter for CallState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.memory_bytes = desired;
        let granted = self.grow();
        if !granted {
            self.memory_bytes = current;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES);
        self.table_bytes = self.table_bytes.saturating_add(more);
        let granted = desired <= TABLE_ELEMENTS_MAX && self.grow();
        if !granted {
            self.denied = true;
            self.table_bytes -= more;
        }
        Ok(granted)
    }
}

impl Admitted {
    /// Evaluates once, from a fresh instance: the same inputs, params and state
    /// give the same outputs and fuel, whatever was called before.
    pub fn evaluate(&self, inputs: &Values, params: &Params, state: Option<&Values>) -> Evaluation {
        let start = Instant::now();
        let arguments = match self.arguments(inputs, params, state) {
            Ok(arguments) => arguments,
            Err(refusal) => {
                return Evaluation {
                    outcome: Err(refusal),
                    fuel: None,
                    memory_bytes: 0,
                    time: start.elapsed(),
                };
            }
        };
        let mut store = self.store();
        let called = self.call(&mut store, &arguments);
        let fuel = match &called {
            Ok(_) => Some(self.0.budget.fuel.saturating_sub(store.get_fuel().unwrap_or(0))),
            // The counter is exact only where the engine stopped at it.
            Err(refusal) if refusal.reason == Reason::OutOfFuel => Some(self.0.budget.fuel),
            Err(_) => None,
        };
        Evaluation {
            outcome: called.and_then(|result| self.outputs(&result)),
            fuel,
            memory_bytes: store.data().peak_bytes as u64,
            time: start.elapsed(),
        }
    }

    /// Instantiates once, so that a module that cannot start is refused before it
    /// is needed.
    pub(crate) fn try_start(&self) -> Result<(), AdmitError> {
        let mut store = self.store();
        match self.instantiate(&mut store) {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.reason == Reason::Unavailable => {
                Err(AdmitError::Busy(refusal.detail))
            }
            Err(refusal) => Err(AdmitError::Start(refusal.detail, refusal.reason)),
        }
    }

    fn store(&self) -> Store<CallState> {
        let state = CallState {
            memory_bytes: 0,
            table_bytes: 0,
            bytes_max: usize::try_from(self.0.budget.memory_bytes).unwrap_or(usize::MAX),
            peak_bytes: 0,
            denied: false,
        };
        let mut store = Store::new(&self.0.engine, state);
        store.limiter(|state| state);
        let tick_ms = u64::try_from(EPOCH_TICK.as_millis()).unwrap_or(1);
        store.set_epoch_deadline(self.0.deadline_ms.div_ceil(tick_ms) + 1);
        store
    }

    /// A start function runs under the same fuel as a call, counted apart.
    fn instantiate(&self, store: &mut Store<CallState>) -> Result<Instance, Refusal> {
        refuel(store, self.0.budget.fuel)?;
        self.0.instance.instantiate(&mut *store).map_err(|error| fault(&error, store.data()))
    }

    fn call(&self, store: &mut Store<CallState>, arguments: &[Val]) -> Result<Val, Refusal> {
        let instance = self.instantiate(store)?;
        refuel(store, self.0.budget.fuel)?;
        let evaluate = instance
            .get_func(&mut *store, self.0.evaluate)
            .ok_or_else(|| Refusal::from(AdmitError::MissingExport))?;
        let mut results = [Val::Bool(false)];
        evaluate
            .call(&mut *store, arguments, &mut results)
            .map_err(|error| fault(&error, store.data()))?;
        let [result] = results;
        Ok(result)
    }

    fn arguments(
        &self,
        inputs: &Values,
        params: &Params,
        state: Option<&Values>,
    ) -> Result<Vec<Val>, Refusal> {
        let checked = self.check_inputs(inputs)?;
        let arguments = self.0.interface.arguments.iter().map(|argument| match argument {
            Argument::Inputs(fields) => lower_record(fields, |name| checked_value(&checked, name))
                .ok_or_else(|| {
                    Refusal::new(Reason::InputOutOfRange, "inputs do not fit their types")
                }),
            Argument::Params(_) => params
                .lowered
                .clone()
                .ok_or_else(|| Refusal::new(Reason::ParamsInvalid, "params of another module")),
            Argument::State(plan) => {
                let state = state.map_or(Value::Null, |state| Value::Record(state.clone()));
                plan.lower(&state).ok_or_else(|| {
                    Refusal::new(Reason::StateInvalid, "the state does not fit its type")
                })
            }
        });
        arguments.collect()
    }

    /// Languages differ on NaN, negative and huge values, and C reads outside its
    /// arrays: so a guest never sees a value outside its signal's range.
    fn check_inputs<'a>(
        &self,
        inputs: &'a Values,
    ) -> Result<Vec<(&str, std::borrow::Cow<'a, Value>)>, Refusal> {
        let mut checked = Vec::with_capacity(self.0.checks.len());
        for (name, check) in &self.0.checks {
            let value = inputs.get(name.as_str()).ok_or_else(|| {
                Refusal::new(Reason::InputMissing, format!("no value for signal `{name}`"))
            })?;
            let value = check.accept(value).map_err(|what| {
                Refusal::new(Reason::InputOutOfRange, format!("signal `{name}`: {what}"))
            })?;
            checked.push((name.as_str(), value));
        }
        Ok(checked)
    }

    fn outputs(&self, result: &Val) -> Result<Outputs, Refusal> {
        let invalid = |what: &str| Refusal::new(Reason::OutputInvalid, what);
        let (outputs, state) = match result {
            Val::Tuple(pair) => match pair.as_slice() {
                [outputs, state] => (from_engine(outputs), Some(from_engine(state))),
                _ => (None, None),
            },
            single => (from_engine(single), None),
        };
        let Some(Value::Record(outputs)) = outputs else {
            return Err(invalid("the module returned no record of outputs"));
        };
        if outputs.values().map(Value::weight_bytes).sum::<usize>() > OUTPUT_WEIGHT_BYTES_MAX {
            return Err(invalid("the module returned more than an output may hold"));
        }
        let state = state.map(checked_state).transpose()?;
        Ok(Outputs { outputs, state })
    }
}

fn checked_state(state: Option<Value>) -> Result<Values, Refusal> {
    let invalid = |what: &str| Refusal::new(Reason::StateInvalid, what);
    match state {
        Some(state) if state.weight_bytes() > OUTPUT_WEIGHT_BYTES_MAX => {
            Err(invalid("the module returned more state than is kept"))
        }
        Some(state) if !state.is_finite() => {
            Err(invalid("the module returned a state that is not finite"))
        }
        Some(Value::Record(state)) => Ok(state),
        _ => Err(invalid("the module returned no state record")),
    }
}

fn checked_value<'a>(
    checked: &'a [(&str, std::borrow::Cow<'_, Value>)],
    name: &str,
) -> Option<&'a Value> {
    checked.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
}

impl InputCheck {
    /// The value in the signal's type, borrowed where it has it already.
    fn accept<'a>(&self, value: &'a Value) -> Result<std::borrow::Cow<'a, Value>, String> {
        use gnomon_schemas::ValueType;
        use std::borrow::Cow;
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
        if let Value::List(items) = value {
            if let Some(max) = self.items_max
                && items.len() > max
            {
                return Err(format!("{} items, at most {max}", items.len()));
            }
            return items.iter().try_for_each(|item| self.check_number(item));
        }
        self.check_number(value)
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

fn refuel(store: &mut Store<CallState>, fuel: u64) -> Result<(), Refusal> {
    store.set_fuel(fuel).map_err(|error| Refusal::new(Reason::TrapOther, format!("{error:#}")))
}

/// The one reason of an engine error.
fn fault(error: &wasmtime::Error, state: &CallState) -> Refusal {
    let text = format!("{error:#}");
    let Some(trap) = error.downcast_ref::<Trap>() else {
        let reason = if state.denied {
            Reason::MemoryOverBudget
        } else if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            Reason::Unavailable
        } else {
            Reason::TrapOther
        };
        return Refusal::new(reason, text);
    };
    let reason = match trap {
        Trap::OutOfFuel => Reason::OutOfFuel,
        Trap::Interrupt => Reason::DeadlineMissed,
        // A guest whose memory was not granted aborts by some trap: the cause is the budget.
        _ if state.denied => Reason::MemoryOverBudget,
        Trap::UnreachableCodeReached => Reason::TrapUnreachable,
        Trap::MemoryOutOfBounds | Trap::HeapMisaligned => Reason::TrapMemory,
        Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => Reason::TrapTable,
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero => Reason::TrapInteger,
        Trap::BadConversionToInteger => Reason::TrapConversion,
        Trap::StackOverflow => Reason::TrapStack,
        _ => Reason::TrapOther,
    };
    Refusal::new(reason, trap.to_string())
}
