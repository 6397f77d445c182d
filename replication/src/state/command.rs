//! Commands: what an item's job is asked to do.

use contract::{
    EnableProtection, FailoverKind, FailoverRequest, JobId, JobKind, Operation, PointChoice, Protection,
    ReprotectRequest, TestFailoverRequest,
};
use serde::{Deserialize, Serialize};

/// What a job is asked to do with an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    Enable(Box<EnableProtection>),
    Disable,
    Failover(FailoverRequest),
    ChangePoint(PointChoice),
    Commit,
    Reprotect(ReprotectRequest),
    ReverseReplicate,
    TestFailover(TestFailoverRequest),
    TestFailoverCleanup,
    Verify,
}

impl Command {
    /// The kind of job that executes the command.
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::Enable(_) => JobKind::EnableProtection,
            Self::Disable => JobKind::DisableProtection,
            Self::Failover(request) => match request.kind {
                FailoverKind::Unplanned => JobKind::UnplannedFailover,
                FailoverKind::Planned => JobKind::PlannedFailover,
            },
            Self::ChangePoint(_) => JobKind::ChangePoint,
            Self::Commit => JobKind::Commit,
            Self::Reprotect(_) => JobKind::Reprotect,
            Self::ReverseReplicate => JobKind::ReverseReplicate,
            Self::TestFailover(_) => JobKind::TestFailover,
            Self::TestFailoverCleanup => JobKind::TestFailoverCleanup,
            Self::Verify => JobKind::Verify,
        }
    }

    /// The operation in the state tables; `None` for enabling protection, which happens before an
    /// item has a state.
    pub(crate) fn operation(&self) -> Option<Operation> {
        Some(match self {
            Self::Enable(_) => return None,
            Self::Disable => Operation::DisableProtection,
            Self::Failover(request) => match request.kind {
                FailoverKind::Unplanned => Operation::UnplannedFailover,
                FailoverKind::Planned => Operation::PlannedFailover,
            },
            Self::ChangePoint(_) => Operation::ChangePoint,
            Self::Commit => Operation::Commit,
            Self::Reprotect(_) => Operation::Reprotect,
            Self::ReverseReplicate => Operation::ReverseReplicate,
            Self::TestFailover(_) => Operation::TestFailover,
            Self::TestFailoverCleanup => Operation::TestFailoverCleanup,
            Self::Verify => Operation::Verify,
        })
    }

    /// Whether the command uses the newest recovery point, which never expires.
    pub(crate) fn uses_newest_point(&self) -> bool {
        matches!(self, Self::Failover(FailoverRequest { point: PointChoice::Latest, .. }))
    }

    /// Whether background replication goes on while the command executes.
    pub(crate) fn runs_beside_replication(&self) -> bool {
        matches!(self, Self::TestFailover(_) | Self::TestFailoverCleanup | Self::Verify)
    }
}

/// The command that an item's job is executing. It is stored with the item, so that a restarted
/// core can resume it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActiveCommand {
    pub(crate) job: JobId,
    pub(crate) command: Command,
    /// State of the item when the job began.
    pub(crate) from: Protection,
}
