//! What the core stores, as plain data: items, their replicas, commands and jobs.
//!
//! Nothing here acts. The modules above change this data through [`crate::context::Context`], which
//! stores each change before anything follows from it.

mod command;
mod plan_command;
mod progress;
mod record;
mod replica;
mod stored_job;

pub(crate) use command::{ActiveCommand, Command};
pub(crate) use plan_command::{PlanCommand, PlanTask};
pub(crate) use progress::Progress;
pub(crate) use record::{CreatedTarget, Record, SourceIdentity, TestFailoverCopy};
pub(crate) use replica::{Landed, PendingMerge, Replica, Volumes};
pub(crate) use stored_job::{StoredJob, Task};
