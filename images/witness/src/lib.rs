//! The witness: the program inside every guest that writes verifiable data.
//!
//! This library is shared by guest and host: the ledger's record format, which the host finds again
//! in write logs and recovered disks, the checks of ledger and bank, the protocol over
//! virtio-serial and TCP, and the random generator.

#[cfg(feature = "bank")]
pub mod bank_check;
pub mod files;
pub mod ledger;
pub mod ledger_scan;
pub mod protocol;
pub mod random;
