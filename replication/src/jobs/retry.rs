//! Runs a failed job again.

use std::sync::Arc;

use contract::{CoreError, ErrorCode, JobState, JobSubject, JobView};

use crate::context::Context;
use crate::dispatch;
use crate::jobs::job::Job;
use crate::jobs::registry::LatestJobs;
use crate::jobs::runner::{self, not_failed};
use crate::operations::protect;
use crate::state::Command;

/// Whether a job failed for a reason that can be removed, and no later job has worked on its
/// subject.
pub(crate) async fn check_ended(
    ctx: &Context,
    job: &Job,
    view: &JobView,
    latest: &LatestJobs,
) -> Result<(), CoreError> {
    if !matches!(view.state, JobState::Failed | JobState::PartiallySucceeded) {
        return Err(not_failed(job));
    }
    if !view.error.as_ref().is_some_and(|error| error.code.is_curable()) {
        let why = view.error.as_ref().map_or("", |error| error.message.as_str());
        let text = format!("{} failed for a reason that a retry cannot remove: {why}", view.id);
        return Err(CoreError::new(ErrorCode::NotCurable, text));
    }
    if ctx.jobs.lock().await.is_superseded(view, latest) {
        let text = format!("since {} failed, another job has worked on {}", view.id, view.subject);
        return Err(CoreError::new(ErrorCode::MovedOn, text));
    }
    Ok(())
}

/// Whether an item's job can be retried now. Changes nothing.
pub(crate) async fn check_item_job(
    ctx: &Context,
    job: &Job,
    view: &JobView,
    latest: &LatestJobs,
    command: &Command,
) -> Result<(), CoreError> {
    check_ended(ctx, job, view, latest).await?;
    let JobSubject::Item(id) = &view.subject else { return Ok(()) };
    let item = match (ctx.find(id).await, command) {
        // If enabling protection fails, the item is removed.
        (Err(_), Command::Enable(_)) => return Ok(()),
        (item, _) => item?,
    };
    item.ensure_idle()?;
    dispatch::check(ctx, &*item.record.lock().await, command).map(drop)
}

/// Runs an item's failed job again.
pub(crate) async fn retry_item(ctx: &Arc<Context>, job: &Job, command: &Command) -> Result<(), CoreError> {
    let JobSubject::Item(item) = job.subject() else { return Err(not_failed(job)) };
    let Command::Enable(request) = command else {
        return runner::restart(ctx, &ctx.find(&item).await?, job, command).await;
    };
    let item = protect::admit(ctx, request).await?;
    let begun = runner::restart(ctx, &item, job, command).await;
    if begun.is_err() {
        ctx.remove_item(&item).await?;
    }
    begun
}
