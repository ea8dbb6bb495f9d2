//! Once faults stop, every device has what the cloud wants for it, says so, runs it, and
//! has delivered all that it had to tell.

use gnomon_schemas::reported::State;

use super::{Checker, must};
use crate::swarm::facts::{Fact, Standing};

pub(super) struct Convergence;

fn check(device: usize, standing: &Standing) -> Result<(), String> {
    let tell = |what: &str| format!("device {device}: {what}: {standing:?}");
    must(standing.applied == standing.wanted, || tell("another version than the cloud wants"))?;
    // It says that it has refused something, too, if what it has seen lies above that: what
    // a cloud signed that was set back since, or a thief.
    let follows = matches!(standing.state, Some(State::InSync | State::Rejected));
    must(follows, || tell("not in sync"))?;
    must(standing.in_force == standing.applied.1, || tell("the keeper runs something else"))?;
    must(standing.waiting == 0, || tell("its outbox is not empty"))
}

impl Checker for Convergence {
    fn name(&self) -> &'static str {
        "convergence"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Settled { devices } = fact else { return Ok(()) };
        devices.iter().enumerate().try_for_each(|(device, standing)| check(device, standing))
    }
}
