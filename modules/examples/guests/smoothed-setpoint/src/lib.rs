//! The component `smoothed-setpoint`: an exponential average kept between calls,
//! the smallest function with memory. Refuses to know where its state is stored.
#![no_std]

gnomon_sdk::generate!({
    path: "wit",
    world: "setpoint",
    runtime_path: "gnomon_sdk::wit_bindgen::rt",
});

struct Function;

impl Guest for Function {
    fn evaluate(inputs: Inputs, p: Params, s: Option<State>) -> (Outputs, State) {
        let newest_c = inputs.tank_temp_c;
        let (before_c, calls) = match s {
            Some(state) => (state.average_c, state.calls),
            None => (newest_c, 0),
        };
        let average_c = before_c + p.weight * (newest_c - before_c);
        let setpoint_c = p.target_c + (p.target_c - average_c);
        (Outputs { setpoint_c }, State { average_c, calls: calls.saturating_add(1) })
    }
}

export!(Function);
