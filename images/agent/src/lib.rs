//! The replication agent: the program inside a physical machine that replaces a hypervisor's
//! snapshot interface.
//!
//! This library is shared by the agent and its client: it defines their protocol.

pub mod protocol;
