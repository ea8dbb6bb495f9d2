//! The heater's own firmware: two thermostats, one contactor, one limit switch.
//!
//! Owns which element is on. It holds whatever the controller above it asks for, so no setpoint
//! can boil the tank. Refuses to know water, energy and time.

use super::spec::TankSpec;

/// The limit switch closes again this far below its opening temperature, K.
const CUTOUT_RECLOSE_K: f64 = 10.0;

/// The element that is on. Never both: North American heaters share one branch circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Lower,
    Upper,
}

/// Contacts of the two thermostats and of the limit switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Firmware {
    upper_calls: bool,
    lower_calls: bool,
    cut_out: bool,
}

impl Firmware {
    /// Chooses the element for the next moment from the two sensors and the hottest layer.
    pub(super) fn choose(
        &mut self,
        spec: &TankSpec,
        setpoint_c: f64,
        upper_c: f64,
        lower_c: f64,
        hottest_c: f64,
    ) -> Option<Element> {
        self.cut_out = if self.cut_out {
            hottest_c >= spec.cutout_c - CUTOUT_RECLOSE_K
        } else {
            hottest_c >= spec.cutout_c
        };
        let has_upper = spec.upper_element_w > 0.0;
        let on_below_c = setpoint_c - spec.deadband_k;
        self.upper_calls = has_upper && calls(self.upper_calls, upper_c, on_below_c, setpoint_c);
        self.lower_calls = calls(self.lower_calls, lower_c, on_below_c, setpoint_c);
        match (self.cut_out, self.upper_calls, self.lower_calls) {
            (true, _, _) | (false, false, false) => None,
            (false, true, _) => Some(Element::Upper),
            (false, false, true) => Some(Element::Lower),
        }
    }

    /// Whether the limit switch is open.
    pub(super) fn is_cut_out(&self) -> bool {
        self.cut_out
    }
}

/// One thermostat with hysteresis.
fn calls(called: bool, sensed_c: f64, on_below_c: f64, off_at_c: f64) -> bool {
    if called { sensed_c < off_at_c } else { sensed_c < on_below_c }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(firmware: &mut Firmware, upper_c: f64, lower_c: f64) -> Option<Element> {
        let hottest_c = upper_c.max(lower_c);
        firmware.choose(&TankSpec::default(), 60.0, upper_c, lower_c, hottest_c)
    }

    #[test]
    fn thermostat_has_a_deadband() {
        let mut firmware = Firmware::default();
        assert_eq!(choose(&mut firmware, 60.0, 56.0), None);
        assert_eq!(choose(&mut firmware, 60.0, 55.9), Some(Element::Lower));
        assert_eq!(choose(&mut firmware, 60.0, 59.9), Some(Element::Lower));
        assert_eq!(choose(&mut firmware, 60.0, 60.0), None);
        assert_eq!(choose(&mut firmware, 60.0, 57.0), None);
    }

    #[test]
    fn upper_element_has_priority() {
        let mut firmware = Firmware::default();
        assert_eq!(choose(&mut firmware, 50.0, 10.0), Some(Element::Upper));
        assert_eq!(choose(&mut firmware, 60.0, 10.0), Some(Element::Lower));
    }

    #[test]
    fn limit_switch_opens_whatever_the_thermostats_say() {
        let mut firmware = Firmware::default();
        assert_eq!(choose(&mut firmware, 85.0, 10.0), None);
        assert!(firmware.is_cut_out());
        assert_eq!(choose(&mut firmware, 76.0, 10.0), None);
        assert_eq!(choose(&mut firmware, 74.9, 10.0), Some(Element::Lower));
    }

    #[test]
    fn a_tank_with_one_element_never_chooses_the_other() {
        let spec = TankSpec { upper_element_w: 0.0, ..TankSpec::default() };
        let chosen = Firmware::default().choose(&spec, 60.0, 10.0, 10.0, 10.0);
        assert_eq!(chosen, Some(Element::Lower));
    }
}
