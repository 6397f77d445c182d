//! A plan's job during its execution.

use std::sync::Arc;

use contract::{CoreError, PlanProgress};

use crate::context::Context;
use crate::jobs::job::Job;
use crate::state::PlanTask;

/// A plan's job during its execution.
pub(super) struct PlanRun<'a> {
    pub(super) ctx: &'a Arc<Context>,
    pub(super) job: &'a Job,
    pub(super) task: &'a PlanTask,
}

impl PlanRun<'_> {
    /// Progress of the plan's machines and actions.
    pub(super) fn progress(&self) -> PlanProgress {
        self.job.read(|view| view.plan.clone()).unwrap_or_default()
    }

    /// Handles an error of a machine or action: a planned failover ends with it, any other job goes
    /// on (EX-T6).
    pub(super) fn fail(&self, error: CoreError) -> Result<(), CoreError> {
        if self.task.command.stops_on_error() { Err(error) } else { Ok(()) }
    }
}
