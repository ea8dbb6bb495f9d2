//! The component `battery-arbitrage`: binds the arbitrage rule to its WIT world.
//! Refuses to decide anything: see `arbitrage`.
#![no_std]
#![allow(clippy::too_many_arguments, reason = "generated: one argument per field")]

mod arbitrage;

gnomon_sdk::generate!({
    path: "wit",
    world: "dispatch",
    runtime_path: "gnomon_sdk::wit_bindgen::rt",
});

struct Function;

impl Guest for Function {
    fn evaluate(inputs: Inputs, p: Params) -> Outputs {
        let params = arbitrage::Params {
            charge_w: p.charge_w,
            discharge_w: p.discharge_w,
            charge_hours: p.charge_hours,
            discharge_hours: p.discharge_hours,
            reserve: p.reserve,
            round_trip_efficiency: p.round_trip_efficiency,
        };
        let inputs = arbitrage::Inputs {
            state_of_charge: inputs.state_of_charge,
            house_w: inputs.house_w,
            price_forecast: &inputs.price_forecast,
        };
        Outputs { battery_w: arbitrage::battery_w(&inputs, &params) }
    }
}

export!(Function);
