//! Preconditions of operations, as tables.
//!
//! A row names its rule, the operations and pairs it applies to, what it examines, and the error
//! code with which the operation is refused. Rows are checked in order, and the first that is
//! violated determines the error. Most rows are checked before a job exists, so that a refusal
//! leaves no trace. Where a rule demands a job that fails and can be retried (RE-08, RE-15 to
//! RE-17), they are checked in the job's first step. What breaks later fails in the step that needs
//! it (RE-14).
//!
//! - `way`, `row`: what a row consists of
//! - `facts`: what the rows examine
//! - `failback`: reprotection and failback of VMware and physical machines, and of machines of a
//!   region
//! - `hyperv`: failback of Hyper-V machines
//! - `target`: failover and test failover
//! - `groups`: reprotection of replication groups
//! - `check`: checks the rows

mod check;
mod facts;
mod failback;
mod groups;
mod hyperv;
mod row;
mod target;
mod way;

pub use check::rows;
pub use row::Row;
pub use way::{Way, When};

pub(crate) use check::check;
pub(crate) use facts::Request;
pub(crate) use groups::check as check_groups;
pub(crate) use target::check_name as check_target_name;
