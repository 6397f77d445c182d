//! What an item can be told to do, as data: checked against where it stands, carried out, and done again.

use std::sync::Arc;

use contract::{
    CoreError, Direction, EnableProtection, FailoverKind, FailoverRequest, JobKind, Operation, PointChoice,
    ReprotectRequest, Side, TestFailoverRequest,
};
use serde::{Deserialize, Serialize};

use crate::core::Inner;
use crate::item::{Item, Record};
use crate::jobs::Job;
use crate::preconditions::{Asked, Way, When, look_and_ask};
use crate::{commit, failover, protect, reprotect, test_failover};

/// What a job was asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    Enable(Box<EnableProtection>),
    Disable,
    Failover(FailoverRequest),
    ChangePoint(PointChoice),
    Commit,
    Reprotect(ReprotectRequest),
    ReverseReplicate,
    TestFailover(TestFailoverRequest),
    TestFailoverCleanup,
}

impl Order {
    /// What the job is called.
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
        }
    }

    /// Whether it wants no point but the newest, which is never merged away.
    pub(crate) fn wants_the_newest(&self) -> bool {
        matches!(self, Self::Failover(FailoverRequest { point: PointChoice::Latest, .. }))
    }

    /// What it is called in the tables; protection begins outside them.
    pub(crate) fn operation(&self) -> Option<Operation> {
        Some(match self {
            Self::Enable(_) => return None,
            Self::Disable => Operation::DisableProtection,
            Self::Failover(request) => failover::operation(request.kind),
            Self::ChangePoint(_) => Operation::ChangePoint,
            Self::Commit => Operation::Commit,
            Self::Reprotect(_) => Operation::Reprotect,
            Self::ReverseReplicate => Operation::ReverseReplicate,
            Self::TestFailover(_) => Operation::TestFailover,
            Self::TestFailoverCleanup => Operation::TestFailoverCleanup,
        })
    }

    /// Which way it would go from where the item stands, or why it is refused. Changes nothing.
    pub(crate) fn check(&self, core: &Inner, record: &Record) -> Result<Direction, CoreError> {
        match self {
            Self::Enable(_) => Ok(Direction::PrimaryToRecovery),
            Self::Disable => protect::check_end(core, record),
            Self::Failover(request) => failover::check(core, record, request),
            Self::ChangePoint(choice) => failover::check_change(core, record, choice),
            Self::Commit => commit::check(core, record),
            Self::Reprotect(request) => reprotect::check(core, record, request),
            Self::ReverseReplicate => reprotect::check_reverse(core, record),
            Self::TestFailover(request) => test_failover::check(core, record, request),
            Self::TestFailoverCleanup => test_failover::check_clean_up(core, record),
        }
    }

    /// What platforms have to say to it (see [`crate::preconditions`]). Changes nothing.
    pub(crate) async fn look(&self, core: &Inner, record: &Record) -> Result<(), CoreError> {
        let from_primary = record.protection.active == Side::Primary;
        let (asked, way) = match self {
            Self::Failover(request) => {
                (Asked::Failover(request), if from_primary { Way::Out } else { Way::Back })
            }
            Self::Reprotect(request) => {
                let way = if from_primary { Way::ReprotectOut } else { Way::ReprotectBack };
                (Asked::Reprotect(request), way)
            }
            Self::TestFailover(_) => (Asked::Other, Way::Out),
            _ => return Ok(()),
        };
        look_and_ask(core, record, asked, way, When::Before).await
    }

    /// Does it, for the first time or again.
    pub(crate) async fn perform(
        &self,
        core: &Arc<Inner>,
        item: &Arc<Item>,
        job: &Job,
    ) -> Result<(), CoreError> {
        match self {
            Self::Enable(_) => protect::begin(core, item, job).await,
            Self::Disable => protect::end(core, item, job).await,
            Self::Failover(request) => failover::work(core, item, job, request).await,
            Self::ChangePoint(choice) => failover::rebuild(core, item, job, choice).await,
            Self::Commit => commit::finalise(core, item, job).await,
            Self::Reprotect(request) => reprotect::work(core, item, job, Some(request)).await,
            // Nothing is asked of it (HF-17, HF-27).
            Self::ReverseReplicate => reprotect::work(core, item, job, None).await,
            Self::TestFailover(request) => test_failover::hold(core, item, job, request).await,
            Self::TestFailoverCleanup => test_failover::dismantle(core, item, job).await,
        }
    }
}
