//! How a module proves itself in control: tick by tick, until it has, or has not.
//! What follows from either is not known here.

use alloc::format;
use gnomon_schemas::document::Probation as Rules;
use gnomon_schemas::ids::FunctionName;
use gnomon_schemas::{Digest, Reason, Refusal};

/// The ticks after which a module is said to do well, if there was no fault.
const HEALTHY_TICKS: u32 = 10;

/// One tick of a module on probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickOutcome {
    /// Why there were no usable outputs, if there were none.
    pub fault: Option<Reason>,
    /// An output lay outside its bounds.
    pub clamped: bool,
}

/// What a tick has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is decided.
    Open,
    /// It has proved itself.
    Passed,
    /// It has not.
    Failed(Refusal),
}

/// One module's probation as one function.
#[derive(Debug, Clone)]
pub struct Probation {
    rules: Rules,
    function: FunctionName,
    module: Digest,
    ticks: u32,
    faults: u32,
    clamps: u32,
}

impl Probation {
    /// The probation of a module that comes into control; none if the rules ask for none.
    pub fn new(rules: Rules, function: &FunctionName, module: &Digest) -> Option<Probation> {
        let probation = Probation {
            rules,
            function: function.clone(),
            module: module.clone(),
            ticks: 0,
            faults: 0,
            clamps: 0,
        };
        (rules.ticks > 0).then_some(probation)
    }

    /// Judges one tick.
    pub fn note(&mut self, outcome: TickOutcome) -> Verdict {
        self.ticks = self.ticks.saturating_add(1);
        // A reading outside its range is the sensor's fault, whatever module is in control.
        let fault = outcome.fault.filter(|reason| *reason != Reason::InputOutOfRange);
        if let Some(reason) = fault {
            self.faults = self.faults.saturating_add(1);
            if self.faults > self.rules.faults_max {
                return self.failed(&format!("{} faults, the last is {reason}", self.faults));
            }
        }
        self.clamps = self.clamps.saturating_add(u32::from(outcome.clamped));
        if self.rules.clamps_max.is_some_and(|most| self.clamps > most) {
            return self.failed(&format!("{} ticks out of bounds", self.clamps));
        }
        if self.ticks >= self.rules.ticks { Verdict::Passed } else { Verdict::Open }
    }

    /// Whether it has done well for a while.
    pub fn is_healthy(&self) -> bool {
        self.ticks >= HEALTHY_TICKS.min(self.rules.ticks) && self.faults == 0
    }

    fn failed(&self, what: &str) -> Verdict {
        let (function, module) = (&self.function, self.module.short());
        let detail =
            format!("functions.{function}: module {module}: {what}, in {} ticks", self.ticks);
        Verdict::Failed(Refusal::new(Reason::ProbationFailed, detail))
    }
}
