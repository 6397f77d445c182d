//! Jobs as the store keeps them.

use contract::{Direction, JobId, JobKind, JobState, JobSubject, JobView, Timestamp};
use serde::{Deserialize, Serialize};

use crate::state::command::Command;
use crate::state::plan_command::PlanTask;

/// What a job is asked to do. It is stored as long as the job, so that the job can be retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    Item(Command),
    Plan(PlanTask),
}

impl Task {
    fn kind(&self) -> JobKind {
        match self {
            Self::Item(command) => command.kind(),
            Self::Plan(task) => task.command.kind(),
        }
    }
}

/// A job in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredJob {
    pub(crate) view: JobView,
    pub(crate) task: Task,
}

impl StoredJob {
    /// A job that is about to begin.
    pub(crate) fn new(
        id: JobId,
        subject: JobSubject,
        task: Task,
        direction: Direction,
        parent: Option<JobId>,
        started: Timestamp,
    ) -> Self {
        let view = JobView {
            id,
            subject,
            parent,
            kind: task.kind(),
            direction,
            state: JobState::InProgress,
            revision: 1,
            actions: Vec::new(),
            attempt: 1,
            plan: None,
            steps: Vec::new(),
            error: None,
            started,
            ended: None,
        };
        Self { view, task }
    }
}
