//! Recovery plans of the built-in core over simulated sites: order, actions, error policy, refusals, and what
//! survives the core's death.

mod actions;
mod errors;
mod fleet;
mod groups;
mod killed;
mod order;
mod refused;
