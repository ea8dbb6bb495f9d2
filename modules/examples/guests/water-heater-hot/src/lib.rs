//! The component `water-heater-hot`: misbehaves on purpose, so that a demo and the
//! tests can watch the firmware's limits hold. Refuses to be reasonable.
#![no_std]

gnomon_sdk::generate!({
    path: "wit",
    world: "setpoint",
    runtime_path: "gnomon_sdk::wit_bindgen::rt",
});

struct Function;

impl Guest for Function {
    fn evaluate(_: Inputs, p: Params) -> Outputs {
        Outputs { setpoint_c: p.asked_c }
    }
}

export!(Function);
