//! End to end, through public doors: the two programs as processes, foreign
//! clients, real brokers. And the house rules.

mod bad_input;
mod foreign_client;
mod restart;
mod stage;
mod tidy;
