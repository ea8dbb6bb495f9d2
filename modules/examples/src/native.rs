//! Native twins: the same source files as in the components, compiled for this
//! machine, so that the cost of a component and the equality of its results can
//! be measured. Refuses to add anything to them.

#[path = "../guests/battery-arbitrage/src/arbitrage.rs"]
pub mod arbitrage;
#[path = "../guests/water-heater-price/src/plan.rs"]
pub mod price;
#[path = "../guests/water-heater-tou/src/schedule.rs"]
pub mod tou;
