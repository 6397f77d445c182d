//! Starts an item's job and executes its command.

use std::sync::Arc;

use contract::{CoreError, ErrorCode, JobId, JobState, JobSubject};
use tracing::Instrument as _;

use crate::context::Context;
use crate::dispatch;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::state::{ActiveCommand, Command, Record, StoredJob, Task};

/// Starts a job that executes a command, or refuses it without leaving a trace. `parent` is the
/// plan's job that starts it, if one does.
pub(crate) async fn start(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    command: Command,
    parent: Option<JobId>,
) -> Result<Job, CoreError> {
    preflight(ctx, item, &command).await?;
    let mut record = item.record.lock().await;
    item.ensure_idle()?;
    let direction = dispatch::check(ctx, &record, &command)?;
    let mut jobs = ctx.jobs.lock().await;
    let subject = JobSubject::Item(item.id.clone());
    let task = Task::Item(command.clone());
    let stored = StoredJob::new(jobs.next_id(), subject, task, direction, parent, ctx.now());
    assign(ctx, item, &mut record, &stored, &command)?;
    let job = jobs.add(Job::from_stored(Arc::clone(&ctx.store), ctx.clock(), stored));
    drop((jobs, record));
    spawn(ctx, item, &job, command);
    Ok(job)
}

/// Runs a failed job again.
pub(crate) async fn restart(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    job: &Job,
    command: &Command,
) -> Result<(), CoreError> {
    preflight(ctx, item, command).await?;
    let mut record = item.record.lock().await;
    item.ensure_idle()?;
    // Another request may have retried it meanwhile.
    if job.state() != JobState::Failed {
        return Err(not_failed(job));
    }
    dispatch::check(ctx, &record, command)?;
    let attempt = job.next_attempt();
    assign(ctx, item, &mut record, &attempt, command)?;
    job.restart(attempt.view);
    drop(record);
    spawn(ctx, item, job, command.clone());
    Ok(())
}

/// Checks a command before it becomes a job, including the preconditions at the sites. The sites
/// are queried only if the item is idle and in the right state.
async fn preflight(ctx: &Context, item: &Item, command: &Command) -> Result<(), CoreError> {
    ctx.wait_until_recovered().await;
    item.ensure_idle()?;
    let record = item.record.lock().await.clone();
    dispatch::check(ctx, &record, command)?;
    dispatch::check_preconditions(ctx, &record, command).await
}

/// Stores a job and makes it the item's, in one transaction.
fn assign(
    ctx: &Context,
    item: &Item,
    record: &mut Record,
    job: &StoredJob,
    command: &Command,
) -> Result<(), CoreError> {
    let id = job.view.id.clone();
    let mut changed = record.clone();
    changed.active_command =
        Some(ActiveCommand { job: id.clone(), command: command.clone(), from: record.protection });
    ctx.store.begin(job, &changed)?;
    *record = changed;
    item.set_job(Some(id));
    Ok(())
}

fn spawn(ctx: &Arc<Context>, item: &Arc<Item>, job: &Job, command: Command) {
    let span = job.span();
    ctx.tasks.spawn(execute(Arc::clone(ctx), Arc::clone(item), job.clone(), command).instrument(span));
}

/// Executes a job's command and ends the job.
pub(crate) async fn execute(ctx: Arc<Context>, item: Arc<Item>, job: Job, command: Command) {
    let result = dispatch::perform(&ctx, &item, &job, &command).await;
    finish(&ctx, &item, &job, result).await;
}

/// Ends a job. Its end is stored first, so that a restarted core does not execute it again.
pub(crate) async fn finish(ctx: &Context, item: &Item, job: &Job, result: Result<(), CoreError>) {
    let id = job.id();
    let end = job.end_of(result);
    let mut ended = job.store_end(&end);
    // An item whose protection has ended is no longer in the store.
    if ended.is_ok() && ctx.contains(&item.id).await {
        let release = |record: &mut Record| {
            record.active_command = record.active_command.take().filter(|active| active.job != id);
        };
        ended = ctx.update(item, release).await;
    }
    item.set_job(None);
    item.notify();
    job.show(end);
    if let Err(error) = ended {
        tracing::error!(%error, "cannot store the end of the job");
    }
}

pub(crate) fn not_failed(job: &Job) -> CoreError {
    let text = format!("{} did not fail; it is {:?}", job.id(), job.state());
    CoreError::new(ErrorCode::NotAllowedInState, text)
}
