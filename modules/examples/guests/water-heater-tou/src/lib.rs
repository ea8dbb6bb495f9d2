//! The component `water-heater-tou`: binds the time-of-use rule to its WIT world.
//! Refuses to decide anything: see `schedule`.
#![no_std]

mod schedule;

gnomon_sdk::generate!({
    path: "wit",
    world: "setpoint",
    runtime_path: "gnomon_sdk::wit_bindgen::rt",
});

struct Function;

impl Guest for Function {
    fn evaluate(inputs: Inputs, p: Params) -> Outputs {
        let inputs = schedule::Inputs { hour: inputs.hour };
        let params = schedule::Params {
            off_peak_start_hour: p.off_peak_start_hour,
            off_peak_end_hour: p.off_peak_end_hour,
            high_c: p.high_c,
            low_c: p.low_c,
        };
        Outputs { setpoint_c: schedule::setpoint_c(&inputs, &params) }
    }
}

export!(Function);
