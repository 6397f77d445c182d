//! Requests about jobs: which there are, what can be requested of each, and to retry, resume and
//! cancel them.

use std::sync::Arc;

use contract::{CoreError, ErrorCode, JobAction, JobFilter, JobId, JobKind, JobState, JobSubject, JobView};

use crate::context::Context;
use crate::jobs::job::Job;
use crate::jobs::registry::LatestJobs;
use crate::jobs::retry;
use crate::plan::runner;
use crate::state::Task;

/// Views of the jobs that match a filter, with their actions.
pub(crate) async fn list(ctx: &Context, filter: &JobFilter) -> Vec<JobView> {
    let (views, latest) = {
        let jobs = ctx.jobs.lock().await;
        (jobs.matching(filter), jobs.latest())
    };
    let mut shown = Vec::with_capacity(views.len());
    for view in views {
        shown.push(with_actions(ctx, view, &latest).await);
    }
    shown
}

/// The view of one job, with its actions.
pub(crate) async fn show(ctx: &Context, view: JobView) -> JobView {
    let failed = view.state.ended() && view.error.is_some();
    let latest = if failed { ctx.jobs.lock().await.latest() } else { LatestJobs::new() };
    with_actions(ctx, view, &latest).await
}

async fn with_actions(ctx: &Context, mut view: JobView, latest: &LatestJobs) -> JobView {
    view.actions = if !view.state.ended() {
        actions_while_running(&view)
    } else if check_retry(ctx, &view, latest).await.is_ok() {
        vec![JobAction::Retry]
    } else {
        Vec::new()
    };
    view
}

fn actions_while_running(view: &JobView) -> Vec<JobAction> {
    let mut actions = Vec::new();
    match view.state {
        JobState::WaitingForCompletion => actions.push(JobAction::Complete),
        JobState::WaitingForManualAction => actions.push(JobAction::Resume),
        _ => {}
    }
    if can_be_cancelled(view) {
        actions.push(JobAction::Cancel);
    }
    actions
}

/// Failovers of items can be cancelled, with consequences (FO-12, HF-19), and so can every job of a
/// plan.
fn can_be_cancelled(view: &JobView) -> bool {
    let is_failover = matches!(view.kind, JobKind::UnplannedFailover | JobKind::PlannedFailover);
    is_failover || matches!(view.subject, JobSubject::Plan(_))
}

/// Whether a job can be retried now. Changes nothing.
async fn check_retry(ctx: &Context, view: &JobView, latest: &LatestJobs) -> Result<(), CoreError> {
    let job = ctx.find_job(&view.id).await?;
    match job.task() {
        Task::Item(command) => retry::check_item_job(ctx, &job, view, latest, command).await,
        Task::Plan(_) => {
            retry::check_ended(ctx, &job, view, latest).await?;
            runner::check_retry(ctx, view).await
        }
    }
}

/// Retries a failed job.
pub(crate) async fn retry(ctx: &Arc<Context>, id: &JobId) -> Result<(), CoreError> {
    let job = ctx.find_job(id).await?;
    let latest = ctx.jobs.lock().await.latest();
    check_retry(ctx, &job.view(), &latest).await?;
    match job.task() {
        Task::Item(command) => retry::retry_item(ctx, &job, command).await,
        Task::Plan(_) => runner::retry(ctx, &job).await,
    }
}

/// Lets a job continue that waits for a manual step.
pub(crate) async fn resume(ctx: &Context, id: &JobId) -> Result<(), CoreError> {
    if ctx.find_job(id).await?.resume() {
        return Ok(());
    }
    let text = format!("{id} does not wait for a manual step");
    Err(CoreError::new(ErrorCode::NotAllowedInState, text))
}

/// Cancels a running job.
pub(crate) async fn cancel(ctx: &Context, id: &JobId) -> Result<(), CoreError> {
    let job: Job = ctx.find_job(id).await?;
    let view = job.view();
    if view.state.ended() || !can_be_cancelled(&view) {
        let text = format!("{id} cannot be cancelled: {:?}, {:?}", view.kind, view.state);
        return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    job.cancel();
    Ok(())
}
