//! How a state passes from one module to the next: it fits as it is, or the next
//! module's `migrate` makes its own of it.
//!
//! A migration is metered and fenced as an evaluation is. This file refuses to know
//! where states are kept, and which module had control before.

use gnomon_schemas::value::{Value, ValueType, Values};
use gnomon_schemas::{Reason, Refusal};

use crate::admit::Admitted;
use crate::convert::from_engine;
use crate::evaluate::checked_state;

/// A state in its type: it may have been through JSON, where a long integer is a
/// string. Else one sentence on what does not fit.
pub(crate) fn accept_state(ty: &ValueType, state: &Values) -> Result<Value, String> {
    let accepted = ty.accept(&Value::Record(state.clone()))?;
    if !accepted.is_finite() {
        return Err("a number is not finite".into());
    }
    Ok(accepted)
}

impl Admitted {
    /// Whether this state fits the module's own state record as it is; never when the
    /// module has no memory.
    pub fn takes_state(&self, state: &Values) -> bool {
        self.0.interface.state.as_ref().is_some_and(|ty| accept_state(ty, state).is_ok())
    }

    /// The module's own state, made by its `migrate` of an older one: in a fresh
    /// instance, under the budget and the deadline of an evaluation.
    ///
    /// # Errors
    /// [`Reason::StateInvalid`] when the module has no `migrate`, when the old state
    /// does not fit what that takes, and when the new one is too large, not finite or
    /// none that the module would take; else the reason of the trap.
    pub fn migrate(&self, old: &Values) -> Result<Values, Refusal> {
        let invalid = |what: String| Refusal::new(Reason::StateInvalid, what);
        let interface = &self.0.interface;
        let (Some(ty), Some(plan), Some(export)) =
            (&interface.migrate, &interface.migrate_plan, self.0.migrate)
        else {
            return Err(invalid("the module exports no `migrate`".into()));
        };
        let misfit = |what: String| invalid(format!("`migrate` does not take the state: {what}"));
        let old = accept_state(ty, old).map_err(misfit)?;
        let old = plan.lower(&old).ok_or_else(|| misfit("it is of another type".into()))?;

        let mut store = self.store();
        let instance = self.instantiate(&mut store)?;
        let (made, _) = self.call(&mut store, &instance, export, &[old]);
        let state = checked_state(from_engine(&made?))?;
        if !self.takes_state(&state) {
            return Err(invalid("`migrate` made a state that the module would not take".into()));
        }
        Ok(state)
    }
}
