//! No tick is missed: each that is due is answered once, before the next is, whatever is
//! swapped meanwhile.

use super::{Checker, must};
use crate::swarm::facts::Fact;

pub(super) struct Swap {
    due: Vec<Option<u64>>,
}

impl Swap {
    pub(super) fn new(devices: usize) -> Swap {
        Swap { due: vec![None; devices] }
    }
}

impl Checker for Swap {
    fn name(&self) -> &'static str {
        "swap"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::KeeperStarted { device } => {
                self.due[*device] = None;
                Ok(())
            }
            Fact::Due { device, number } => match self.due[*device].replace(*number) {
                Some(missed) => Err(format!("device {device}: tick {missed} was not answered")),
                None => Ok(()),
            },
            Fact::Actuated { device, number, .. } => {
                must(self.due[*device].take() == Some(*number), || {
                    format!("device {device}: tick {number} was answered and not due")
                })
            }
            _ => Ok(()),
        }
    }
}
