//! One evaluation: a fresh instance, metered, that ends in outputs or in one fault.
//!
//! Fuel is the first fence and the only one that is the same everywhere; the
//! epoch deadline is the second; memory is capped by the store's limiter.

use gnomon_schemas::limits::STRING_BYTES_MAX;
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{Reason, Refusal};
use std::time::{Duration, Instant};
use wasmtime::component::{ComponentExportIndex, Instance, Val};
use wasmtime::{ResourceLimiter, Store, Trap};

use crate::admit::{AdmitError, Admitted, Params};
use crate::convert::from_engine;
use crate::engine::{EPOCH_TICK, TABLE_ELEMENTS_MAX};

/// The most that one evaluation may return, as [`Value::weight_bytes`] counts it.
pub const OUTPUT_WEIGHT_BYTES_MAX: usize = 16 * STRING_BYTES_MAX;
/// The most bytes of ours that the engine fills with what a guest returns: a guest's
/// lists may overlap, so that a page of memory spells out to gigabytes. The most that
/// [`OUTPUT_WEIGHT_BYTES_MAX`] of outputs and as much state can take, deeply nested.
const LIFTED_BYTES_MAX: usize = 32 * OUTPUT_WEIGHT_BYTES_MAX;
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
        let (called, fuel) = match self.instantiate(&mut store) {
            Ok(instance) => self.call(&mut store, &instance, self.0.evaluate, &arguments),
            Err(refusal) => (Err(refusal), None),
        };
        params.arguments.give_back(arguments);
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

    pub(crate) fn store(&self) -> Store<CallState> {
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
        store.set_hostcall_fuel(LIFTED_BYTES_MAX);
        store
    }

    /// A start function runs under the same fuel as a call, counted apart.
    pub(crate) fn instantiate(&self, store: &mut Store<CallState>) -> Result<Instance, Refusal> {
        refuel(store, self.0.budget.fuel)?;
        let instance = self.0.instance.instantiate(&mut *store);
        let instance = instance.map_err(|error| fault(&error, store.data()))?;
        spent(store, self.0.budget.fuel)?;
        Ok(instance)
    }

    /// Calls an export, and says what it cost where that is known.
    pub(crate) fn call(
        &self,
        store: &mut Store<CallState>,
        instance: &Instance,
        export: ComponentExportIndex,
        arguments: &[Val],
    ) -> (Result<Val, Refusal>, Option<u64>) {
        let budget = self.0.budget.fuel;
        let called = refuel(store, budget).and_then(|()| {
            let function = instance
                .get_func(&mut *store, export)
                .ok_or_else(|| Refusal::from(AdmitError::MissingExport))?;
            let mut results = [Val::Bool(false)];
            function
                .call(&mut *store, arguments, &mut results)
                .map_err(|error| fault(&error, store.data()))?;
            let [result] = results;
            Ok((result, spent(store, budget)?))
        });
        match called {
            Ok((result, fuel)) => (Ok(result), Some(fuel)),
            // After other traps the counter is stale: some of it is in the guest's registers.
            Err(refusal) if refusal.reason == Reason::OutOfFuel => (Err(refusal), Some(budget)),
            Err(refusal) => (Err(refusal), None),
        }
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

/// A state as it may be kept.
pub(crate) fn checked_state(state: Option<Value>) -> Result<Values, Refusal> {
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

/// One more than the budget: the engine looks at the counter only now and then and
/// never below zero, so what is left tells whether the cost was over the budget.
fn refuel(store: &mut Store<CallState>, budget: u64) -> Result<(), Refusal> {
    store.set_fuel(budget.saturating_add(1)).map_err(|error| no_fuel_counter(&error))
}

/// What was used since [`refuel`]; out of fuel if that is more than the budget.
fn spent(store: &Store<CallState>, budget: u64) -> Result<u64, Refusal> {
    match store.get_fuel().map_err(|error| no_fuel_counter(&error))? {
        0 => Err(Refusal::new(Reason::OutOfFuel, Trap::OutOfFuel.to_string())),
        left => Ok(budget.saturating_add(1).saturating_sub(left)),
    }
}

fn no_fuel_counter(error: &wasmtime::Error) -> Refusal {
    Refusal::new(Reason::TrapOther, format!("{error:#}"))
}

/// The one reason of an engine error.
fn fault(error: &wasmtime::Error, state: &CallState) -> Refusal {
    let text = format!("{error:#}");
    let Some(trap) = error.downcast_ref::<Trap>() else {
        let reason = if state.denied {
            Reason::MemoryOverBudget
        } else if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            Reason::Unavailable
        } else if text.contains("fuel allocated for hostcalls") {
            // The engine's error has no public type; a test holds its words.
            Reason::OutputInvalid
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
