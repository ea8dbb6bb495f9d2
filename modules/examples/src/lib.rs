//! Example functions as components, built from source by the build script, each
//! with the WIT it was built from; and native twins of two of them.
//! Refuses to know how a component is run, signed or published.

pub mod native;

/// One example function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// Name in the `gnomon.manifest` section of the component.
    pub name: &'static str,
    /// Language of the source: `Rust` or `C`.
    pub language: &'static str,
    /// Bytes of the component.
    pub component: &'static [u8],
    /// The WIT file that the function was written against.
    pub wit: &'static str,
}

/// Every example for a water heater, simplest first.
pub static ALL: &[Example] = &[
    Example {
        name: "water-heater-tou",
        language: "Rust",
        component: WATER_HEATER_TOU,
        wit: include_str!("../guests/water-heater-tou/wit/setpoint.wit"),
    },
    Example {
        name: "water-heater-price",
        language: "Rust",
        component: WATER_HEATER_PRICE,
        wit: include_str!("../guests/water-heater-price/wit/setpoint.wit"),
    },
    Example {
        name: "water-heater-price-c",
        language: "C",
        component: WATER_HEATER_PRICE_C,
        wit: include_str!("../guests/water-heater-price/wit/setpoint.wit"),
    },
    Example {
        name: "water-heater-hot",
        language: "Rust",
        component: WATER_HEATER_HOT,
        wit: include_str!("../guests/water-heater-hot/wit/setpoint.wit"),
    },
    Example {
        name: "smoothed-setpoint",
        language: "Rust",
        component: SMOOTHED_SETPOINT,
        wit: include_str!("../guests/smoothed-setpoint/wit/setpoint.wit"),
    },
    Example {
        name: "smoothed-setpoint-2",
        language: "Rust",
        component: SMOOTHED_SETPOINT_2,
        wit: include_str!("../guests/smoothed-setpoint-2/wit/setpoint.wit"),
    },
];

/// Every example for a home battery.
pub static BATTERY: &[Example] = &[Example {
    name: "battery-arbitrage",
    language: "Rust",
    component: BATTERY_ARBITRAGE,
    wit: include_str!("../guests/battery-arbitrage/wit/dispatch.wit"),
}];

/// Heats in the off-peak hours of a time-of-use tariff.
pub static WATER_HEATER_TOU: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/water-heater-tou.wasm"));

/// Heats in the cheapest hours that keep the tank comfortable.
pub static WATER_HEATER_PRICE: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/water-heater-price.wasm"));

/// The same plan in C, equal bit for bit.
pub static WATER_HEATER_PRICE_C: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/water-heater-price-c.wasm"));

/// Asks for whatever its parameter says: misbehaves on purpose.
pub static WATER_HEATER_HOT: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/water-heater-hot.wasm"));

/// Steers a smoothed temperature to a target: a function with memory.
pub static SMOOTHED_SETPOINT: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/smoothed-setpoint.wasm"));

/// The same idea with a longer memory: its `migrate` takes the state of the first.
pub static SMOOTHED_SETPOINT_2: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/smoothed-setpoint-2.wasm"));

/// Charges in the cheapest of the coming hours and serves the house in the dearest.
pub static BATTERY_ARBITRAGE: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/battery-arbitrage.wasm"));
