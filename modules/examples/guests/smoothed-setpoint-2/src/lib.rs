//! The component `smoothed-setpoint-2`: the mean of the last readings, and what it
//! makes of the state that `smoothed-setpoint` kept. Refuses to know where its
//! state is stored, and when it changes hands.
#![no_std]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

gnomon_sdk::generate!({
    path: "wit",
    world: "setpoint",
    runtime_path: "gnomon_sdk::wit_bindgen::rt",
});

/// The longest memory, whatever the params ask for.
const READINGS_MAX: u32 = 24;

struct Function;

impl Guest for Function {
    fn evaluate(inputs: Inputs, p: Params, s: Option<State>) -> (Outputs, State) {
        let before_c = s.map_or_else(Vec::new, |state| state.readings_c);
        let room = p.readings.clamp(1, READINGS_MAX) as usize - 1;
        let surplus = before_c.len().saturating_sub(room);
        let kept_c = before_c.get(surplus..).unwrap_or_default();
        // The newest is last, and stays where the older ones end.
        let mut readings_c = vec![inputs.tank_temp_c; kept_c.len() + 1];
        for (slot, reading_c) in readings_c.iter_mut().zip(kept_c) {
            *slot = *reading_c;
        }
        let mean_c = readings_c.iter().sum::<f64>() / readings_c.len() as f64;
        let setpoint_c = p.target_c + (p.target_c - mean_c);
        (Outputs { setpoint_c }, State { readings_c })
    }

    /// As many readings of the old average as it was made of: their mean is the
    /// average, and the newer readings push them out one by one.
    fn migrate(old: OldState) -> State {
        let readings = old.calls.min(READINGS_MAX) as usize;
        State { readings_c: vec![old.average_c; readings] }
    }
}

export!(Function);
