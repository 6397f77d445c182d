//! The wire protocol between the suite and a core: JSON-RPC 2.0, one message a line.
//!
//! A core is a program of its own. The suite calls the methods of
//! [`ReplicationCore`](contract::ReplicationCore), the core calls those of
//! [`Platform`](contract::Platform), both over one connection. `docs/protocol.md` describes the
//! protocol, and `openrpc.json` beside this crate's manifest is its description for programs. Both
//! are generated from [`methods`], the only list of methods.
//!
//! - [`client`]: the suite's side; [`client::Client`] is a `ReplicationCore`
//! - [`server`]: the side of a core that is written in Rust
//! - [`connection`]: what both sides share: a connection with its limits
//! - [`protocol`]: constants, and the messages that belong to neither interface

pub mod client;
pub mod code;
pub mod compatibility;
pub mod connection;
pub mod error;
pub mod examples;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handler;
pub mod id;
mod lines;
pub mod message;
pub mod method;
pub mod methods;
pub mod openrpc;
pub mod page;
mod peer;
mod pending;
pub mod protocol;
pub mod server;
mod serving;
mod shared;
mod turns;
mod writer;

pub use error::WireError;
