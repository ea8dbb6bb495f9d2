//! What a function written in Rust needs besides its own logic: bindings from
//! WIT, an allocator and a panic handler, without `std` and without imports.
//! Refuses to know any signal, parameter or device: those are in the WIT file.
//!
//! ```ignore
//! #![no_std]
//! gnomon_sdk::generate!({
//!     path: "wit",
//!     world: "setpoint",
//!     runtime_path: "gnomon_sdk::wit_bindgen::rt",
//! });
//!
//! struct Function;
//! impl Guest for Function {
//!     fn evaluate(inputs: Inputs, p: Params) -> Outputs { /* ... */ }
//! }
//! export!(Function);
//! ```
#![no_std]

#[cfg(target_arch = "wasm32")]
mod bump;
#[cfg(target_arch = "wasm32")]
mod runtime;

pub use wit_bindgen;
pub use wit_bindgen::generate;
