//! The witness: the program inside every guest, which writes what can later be proven.
//!
//! This library is what both sides share: the ledger's record format, which the host finds again in
//! write logs and recovered disks, and the protocol spoken over virtio-serial and TCP.

pub mod ledger;
pub mod protocol;
