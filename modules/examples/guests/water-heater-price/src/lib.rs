//! The component `water-heater-price`: binds the price plan to its WIT world.
//! Refuses to decide anything: see `plan`.
#![no_std]
#![allow(clippy::too_many_arguments, reason = "generated: one argument per field")]

mod plan;

gnomon_sdk::generate!({
    path: "wit",
    world: "setpoint",
    runtime_path: "gnomon_sdk::wit_bindgen::rt",
});

struct Function;

impl Guest for Function {
    fn evaluate(inputs: Inputs, p: Params) -> Outputs {
        let params = plan::Params {
            comfort_min_c: p.comfort_min_c,
            high_c: p.high_c,
            low_c: p.low_c,
            heat_c_per_hour: p.heat_c_per_hour,
            use_c_per_hour: p.use_c_per_hour,
        };
        let inputs = plan::Inputs {
            tank_temp_c: inputs.tank_temp_c,
            tank_low_temp_c: inputs.tank_low_temp_c,
            hour: inputs.hour,
            price_forecast: &inputs.price_forecast,
        };
        Outputs { setpoint_c: plan::setpoint_c(&inputs, &params) }
    }
}

export!(Function);
