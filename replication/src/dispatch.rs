//! Maps each command to its operation.

use std::sync::Arc;

use contract::{CoreError, Direction, Side};

use crate::context::Context;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::{change_point, commit, failover, protect, reprotect, test_failover, verify};
use crate::preconditions::{self, Request, Way, When};
use crate::state::{Command, Record};

/// Whether a command is allowed in the item's state. Returns the direction of its job.
pub(crate) fn check(ctx: &Context, record: &Record, command: &Command) -> Result<Direction, CoreError> {
    match command {
        Command::Enable(_) => Ok(Direction::PrimaryToRecovery),
        Command::Disable => protect::check_disable(record),
        Command::Failover(request) => failover::check(ctx, record, request),
        Command::ChangePoint(choice) => change_point::check(ctx, record, choice),
        Command::Commit => commit::check(record),
        Command::Reprotect(request) => reprotect::check(record, request),
        Command::ReverseReplicate => reprotect::check_reverse(record),
        Command::TestFailover(request) => test_failover::check(ctx, record, request),
        Command::TestFailoverCleanup => test_failover::check_clean_up(record),
        Command::Verify => verify::check(record),
    }
}

/// Checks a command's preconditions at the sites. Changes nothing.
pub(crate) async fn check_preconditions(
    ctx: &Context,
    record: &Record,
    command: &Command,
) -> Result<(), CoreError> {
    let from_primary = record.protection.active == Side::Primary;
    let (request, way) = match command {
        Command::Failover(request) => {
            (Request::Failover(request), if from_primary { Way::Out } else { Way::Back })
        }
        Command::Reprotect(request) => {
            let way = if from_primary { Way::ReprotectOut } else { Way::ReprotectBack };
            (Request::Reprotect(request), way)
        }
        Command::TestFailover(_) => (Request::TestFailover, Way::Out),
        Command::Enable(_)
        | Command::Disable
        | Command::ChangePoint(_)
        | Command::Commit
        | Command::ReverseReplicate
        | Command::TestFailoverCleanup
        | Command::Verify => return Ok(()),
    };
    preconditions::check(ctx, record, request, way, When::Before).await
}

/// Performs a command as the steps of a job, for the first time or again.
pub(crate) async fn perform(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    job: &Job,
    command: &Command,
) -> Result<(), CoreError> {
    match command {
        Command::Enable(_) => protect::enable(ctx, item, job).await,
        Command::Disable => protect::disable(ctx, item, job).await,
        Command::Failover(request) => failover::perform(ctx, item, job, request).await,
        Command::ChangePoint(choice) => change_point::perform(ctx, item, job, choice).await,
        Command::Commit => commit::perform(ctx, item, job).await,
        Command::Reprotect(request) => reprotect::perform(ctx, item, job, Some(request)).await,
        Command::ReverseReplicate => reprotect::perform(ctx, item, job, None).await,
        Command::TestFailover(request) => test_failover::perform(ctx, item, job, request).await,
        Command::TestFailoverCleanup => test_failover::clean_up(ctx, item, job).await,
        Command::Verify => verify::perform(ctx, item, job).await,
    }
}
