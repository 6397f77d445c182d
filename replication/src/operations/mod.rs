//! Operations: what a job does with an item.
//!
//! Each module checks whether its operation is allowed and performs it as the steps of a job.
//! Operations receive the [`crate::context::Context`] and start no jobs themselves;
//! [`crate::dispatch`] calls them.
//!
//! - `protect`: protection is enabled and disabled
//! - `failover`, `change_point`, `commit`: failover in both directions, up to its commit
//! - `hyperv_failback`: failback to Hyper-V
//! - `test_failover`: an isolated copy, while replication goes on
//! - `reprotect`: replication in the opposite direction
//! - `source`: shuts down the source of a failover, and starts it again if the failover fails
//! - `target`: builds the target machine of a failover on the recovery side
//! - `failback_target`: prepares the machine to which an item fails back
//! - `verify`: a comparison of the source with its replica, while replication goes on
//! - `allowed`: refuses what the state tables do not allow

mod allowed;
pub(crate) mod change_point;
pub(crate) mod commit;
mod failback_target;
pub(crate) mod failover;
mod hyperv_failback;
pub(crate) mod protect;
pub(crate) mod reprotect;
mod source;
mod target;
pub(crate) mod test_failover;
pub(crate) mod verify;
