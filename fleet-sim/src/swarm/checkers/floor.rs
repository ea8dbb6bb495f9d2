//! The floor never falls, and is durable before what it allows is swapped in: whatever a
//! disk loses, the higher of both copies is never lower than it was.

use gnomon_schemas::ids::Version;

use super::{Checker, must};
use crate::swarm::facts::{Fact, Held};

#[derive(Clone, Default)]
struct Known {
    highest: Option<(u64, Version)>,
    held: Held,
    /// What its keeper has in force.
    in_force: Option<(u64, Version)>,
    /// It has gone back by itself since its start.
    went_back: bool,
}

pub(super) struct FloorHolds {
    devices: Vec<Known>,
}

impl FloorHolds {
    pub(super) fn new(devices: usize) -> FloorHolds {
        FloorHolds { devices: vec![Known::default(); devices] }
    }
}

fn tell(place: Option<(u64, Version)>) -> String {
    place.map_or("nothing".into(), |(epoch, version)| format!("version {version} of epoch {epoch}"))
}

impl Checker for FloorHolds {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Held { device, held } => {
                let known = &mut self.devices[*device];
                let place = held.highest().map(|floor| floor.place());
                must(place >= known.highest, || {
                    let (from, to) = (tell(known.highest), tell(place));
                    format!("device {device}: the floor fell from {from} to {to}")
                })?;
                known.highest = place;
                known.held = (*held).clone();
                Ok(())
            }
            Fact::Asked { device, document } => {
                let held = &self.devices[*device].held;
                // A full disk may not have heard yet that the device went back by itself.
                let durable = [held.current.as_ref(), held.previous.as_ref()];
                must(durable.contains(&Some(*document)), || {
                    let document = document.short();
                    format!("device {device}: the swap to {document} is asked for, not durable")
                })
            }
            Fact::KeeperStarted { device } => {
                let known = &mut self.devices[*device];
                (known.in_force, known.went_back) = (None, false);
                Ok(())
            }
            Fact::InForce { device, document, digest } => {
                let known = &mut self.devices[*device];
                let place = (document.epoch, document.version);
                // Below the floor lies only what a device goes back to by itself.
                let is_before = known.held.previous.as_ref() == Some(*digest);
                let goes_back = known.went_back || known.held.went_back || is_before;
                must(Some(place) >= known.highest || goes_back, || {
                    let (to, floor) = (tell(Some(place)), tell(known.highest));
                    format!("device {device}: {to} is put in force, the floor is {floor}")
                })?;
                must(known.in_force <= Some(place), || {
                    let (from, to) = (tell(known.in_force), tell(Some(place)));
                    format!("device {device}: {to} is put in force after {from}")
                })?;
                known.in_force = Some(place);
                Ok(())
            }
            // What lies before it may be asked for again.
            Fact::WentBack { device, .. } => {
                let known = &mut self.devices[*device];
                (known.in_force, known.went_back) = (None, true);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
