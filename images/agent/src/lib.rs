//! The replication agent: the program inside a physical machine that takes the place of a hypervisor's interface.
//!
//! This library is what both sides share: the protocol between whoever replicates the machine and its agent.

pub mod protocol;
