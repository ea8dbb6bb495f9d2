//! Where modules are called: behind one door, in this process or in another.
//!
//! The keeper asks a [`Cell`] for evaluations and a [`Workshop`] for cells. What an
//! output means, and whether it may reach an actuator, is not known here.

mod load;
pub(crate) mod local;

use gnomon_host::{Evaluation, HostError};
use gnomon_schemas::document::ModuleRef;
use gnomon_schemas::ids::{FunctionName, SignalName};
use gnomon_schemas::profile::{Budget, Profile};
use gnomon_schemas::value::{Value, ValueType, Values};
use gnomon_schemas::{Digest, Reason, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runner::compiled::ProcessWorkshop;
pub(crate) use load::{Callable, load};

/// Cells in this process: for firmware that links the agent, for simulators and tests.
///
/// # Errors
/// When there is no engine to be had on this machine.
pub fn local_workshop() -> Result<Arc<dyn Workshop>, HostError> {
    Ok(Arc::new(local::LocalWorkshop::new()?))
}

/// What a cell is for, which decides what it may use of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The functions in control.
    Active,
    /// Those beside them: whatever is left over.
    Candidates,
}

/// What a cell is to hold.
#[derive(Debug, Clone)]
pub struct CellSpec {
    /// The firmware's profile.
    pub profile: Arc<Profile>,
    /// The verified bytes of the modules.
    pub modules: BTreeMap<Digest, Arc<[u8]>>,
    /// What is called, by its place in this list.
    pub slots: Vec<SlotAsk>,
}

/// One module as one function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotAsk {
    /// The function.
    pub function: FunctionName,
    /// The module.
    pub module: Digest,
    /// What the document says of it.
    pub listed: ModuleRef,
    /// Its params, as the document gives them.
    pub params: Values,
    /// Its budget.
    pub budget: Budget,
}

/// What is known of a slot once its module is admitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotFacts {
    /// The module.
    pub module: Digest,
    /// Its params, as it takes them.
    pub params: Values,
    /// The signals that it reads.
    pub inputs: BTreeSet<SignalName>,
    /// The types of what it proposes.
    pub outputs: BTreeMap<String, ValueType>,
    /// The type of its memory, a record, if it has one.
    pub state: Option<ValueType>,
    /// The type of another module's memory that it can make its own of.
    pub migrates: Option<ValueType>,
}

impl SlotFacts {
    /// The state as this module's own, if it fits.
    pub fn take_state(&self, state: &Values) -> Option<Values> {
        accept(self.state.as_ref()?, state)
    }
}

fn accept(ty: &ValueType, values: &Values) -> Option<Values> {
    match ty.accept(&Value::Record(values.clone())) {
        Ok(Value::Record(values)) => Some(values),
        _ => None,
    }
}

/// Modules that can be called.
pub trait Cell: Send {
    /// Evaluates a slot, and comes back by `until` at the latest.
    fn evaluate(
        &mut self,
        slot: usize,
        inputs: &Values,
        state: Option<&Values>,
        until: Instant,
    ) -> Evaluation;

    /// Has a slot's module make its own state of another module's.
    ///
    /// # Errors
    /// The module's refusal, or the cell's end.
    fn migrate(&mut self, slot: usize, old: &Values, until: Instant) -> Result<Values, Refusal>;

    /// Whether it can be asked again. One that cannot is replaced.
    fn is_alive(&self) -> bool;

    /// The process in which it lives, if it has one of its own.
    fn process(&self) -> Option<u32> {
        None
    }
}

/// What makes cells.
pub trait Workshop: Send + Sync {
    /// The engine config digest of its cells.
    fn engine(&self) -> Digest;

    /// Admits every slot, off the control path; gives one fact for each.
    ///
    /// # Errors
    /// The first slot's refusal; `unavailable` where it was not the modules' fault.
    fn build(
        &self,
        spec: &CellSpec,
        purpose: Purpose,
    ) -> Result<(Box<dyn Cell>, Vec<SlotFacts>), Refusal>;

    /// These modules are in force or may be gone back to: what is kept of others can go.
    fn keep_only(&self, _modules: &BTreeSet<Digest>) {}
}

/// A workshop whose cells are runner processes of the program `exe`, started as
/// `exe runner`; native code is kept in `folder`.
///
/// # Errors
/// When the folder cannot be used.
pub fn processes(
    exe: PathBuf,
    folder: PathBuf,
    realtime: Option<u8>,
) -> io::Result<Arc<dyn Workshop>> {
    Ok(Arc::new(ProcessWorkshop::open(exe, folder, realtime)?))
}

/// An evaluation that did not come to the module's own end.
pub(crate) fn failed(reason: Reason, detail: &str, time: Duration) -> Evaluation {
    Evaluation { outcome: Err(Refusal::new(reason, detail)), fuel: None, memory_bytes: 0, time }
}
