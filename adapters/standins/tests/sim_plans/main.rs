//! Recovery plans of the built-in core over simulated sites: order, actions, error policy, refusals, and what
//! survives the core's death.
#![allow(clippy::unwrap_used, missing_docs)]

mod actions;
mod errors;
mod fleet;
mod groups;
mod killed;
mod order;
mod refused;
#[path = "../sim_support/mod.rs"]
mod sim_support;
