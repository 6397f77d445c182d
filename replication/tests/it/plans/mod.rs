//! Recovery plans: their order, actions, errors and refusals, and what survives a restart of the
//! core.

mod actions;
mod errors;
mod groups;
mod killed;
mod order;
mod refused;
