//! The suite's side: opens cores, calls them, and serves the platforms and the clock to them.
//!
//! - `address`: how a core is opened
//! - `opening`: from the address to the handshake
//! - `process`: the program of a core
//! - `session`: what the suite serves to a core
//! - `core`: the connection as a `ReplicationCore`
//! - `idle_gate`: holds virtual time while a core is at work

mod address;
mod core;
mod idle_gate;
mod log;
mod opening;
mod process;
mod runtime;
mod session;

pub use address::{BadAddress, CoreAddress};
pub use core::Client;
pub use idle_gate::IdleGate;
pub use session::{Clock, Session, SystemClock};
