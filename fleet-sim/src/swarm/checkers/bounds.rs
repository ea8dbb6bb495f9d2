//! Every actuated value is finite, inside the firmware's bounds, at most one step from the
//! last one, and what an interlock says where one is met; and it is what the active
//! function proposed unless it is counted as changed. The figures are the profile's, as
//! this file reads them.

use gnomon_schemas::results::Source;
use gnomon_schemas::value::{Value, Values};

use super::{Checker, must};
use crate::swarm::facts::Fact;
use crate::swarm::library::PROFILE;

const OUTPUT: &str = "setpoint_c";

pub(super) struct BoundsHold {
    min: f64,
    max: f64,
    max_step: f64,
    /// At this temperature and above, and where there is none.
    interlock_c: f64,
    forced: f64,
    readable: (f64, f64),
    last: Vec<Option<f64>>,
}

impl BoundsHold {
    pub(super) fn new(devices: usize) -> BoundsHold {
        let profile: serde_json::Value = serde_json::from_slice(PROFILE).unwrap_or_default();
        // A figure that is not there is no number, and every comparison with it fails.
        let at = |pointer: &str| {
            profile.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN)
        };
        BoundsHold {
            min: at("/outputs/setpoint_c/bounds/min"),
            max: at("/outputs/setpoint_c/bounds/max"),
            max_step: at("/outputs/setpoint_c/bounds/max_step"),
            interlock_c: at("/interlocks/0/when/value"),
            forced: at("/interlocks/0/then/setpoint_c"),
            readable: (at("/signals/tank_temp_c/range/min"), at("/signals/tank_temp_c/range/max")),
            last: vec![None; devices],
        }
    }

    fn is_interlocked(&self, inputs: &Values) -> bool {
        let reading = inputs.get("tank_temp_c").and_then(Value::as_f64);
        let reading = reading.filter(|c| *c >= self.readable.0 && *c <= self.readable.1);
        reading.is_none_or(|c| c >= self.interlock_c)
    }
}

impl Checker for BoundsHold {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn hear(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        let (device, inputs, clamped, proposed) = match fact {
            // Where its actuator stood is not known to the next keeper.
            Fact::KeeperStarted { device } => {
                self.last[*device] = None;
                return Ok(());
            }
            Fact::Actuated { device, inputs, clamped, proposed, .. } => {
                (*device, *inputs, *clamped, *proposed)
            }
            _ => return Ok(()),
        };
        let number = clamped.values().get(OUTPUT).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let last = self.last[device].replace(number);
        let tell = |what: &str| format!("device {device}: {number} is actuated, {what}");
        must(number.is_finite(), || tell("which is no number"))?;
        must(number >= self.min && number <= self.max, || tell("outside the firmware's bounds"))?;
        if self.is_interlocked(inputs) {
            return must((number - self.forced).abs() == 0.0, || {
                tell("an interlock says otherwise")
            });
        }
        let step = last.map_or(0.0, |last| (number - last).abs());
        must(step <= self.max_step, || tell(&format!("a step of {step}")))?;
        let asked = proposed.and_then(|values| values.get(OUTPUT)).and_then(Value::as_f64);
        let is_own = asked.is_some_and(|asked| (asked - number).abs() == 0.0);
        let is_fresh = clamped.source() == Source::Active && clamped.changed().is_empty();
        must(!is_fresh || is_own, || tell(&format!("the active function proposed {asked:?}")))
    }
}
