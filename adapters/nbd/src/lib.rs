//! A small safe wrapper over the C library libnbd, with as much of NBD as replication and the
//! oracle need.
//!
//! Platform, core and suite exchange disk content as NBD URIs, so all disk I/O goes through this
//! crate. All offsets and lengths are in bytes. URIs that begin with `nbd+memory:` name exports
//! inside this process; see [`serve`]. A [`DiskServer`] serves exports of this process to others.

mod client;
mod export;
mod extent;
mod ffi;
mod link;
mod memory;
mod socket;

pub use client::{Client, Error, MAX_REQUEST};
pub use export::{Export, Refusal, Served, errno};
pub use extent::{ALLOCATION, Extent};
pub use memory::serve;
pub use socket::DiskServer;
