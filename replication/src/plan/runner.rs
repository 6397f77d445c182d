//! Starts a plan's job, executes it group by group, and resumes or retries it.
//!
//! The job's own record says which machines and actions are done, and each machine's job names the
//! plan's job as its parent. So after a restart of the core nothing is started twice, except a
//! script that was interrupted.

use std::sync::Arc;

use contract::{
    ActionPlace, CoreError, ErrorCode, JobId, JobSubject, JobView, PlanId, PlanProgress, PlanState,
};
use tracing::Instrument as _;

use crate::context::Context;
use crate::error::unknown;
use crate::jobs::job::Job;
use crate::plan::members::{self, Members};
use crate::plan::registry::ensure_idle;
use crate::plan::run::PlanRun;
use crate::plan::{action, admit};
use crate::state::{PlanCommand, PlanTask, StoredJob, Task};

/// Starts a job that executes a command for a plan, or refuses it without leaving a trace.
pub(crate) async fn start(ctx: &Arc<Context>, id: &PlanId, command: PlanCommand) -> Result<JobId, CoreError> {
    // Locked to the end, so that no other job of the plan starts meanwhile.
    let plans = ctx.plans.lock().await;
    let plan = plans.get(id).cloned().ok_or_else(|| unknown("plan", id))?;
    ensure_idle(ctx, id).await?;
    let task = PlanTask { plan, command };
    let direction = admit::admit(ctx, &task).await?;
    let mut jobs = ctx.jobs.lock().await;
    let progress = task.initial_progress(direction);
    let subject = JobSubject::Plan(id.clone());
    let mut stored = StoredJob::new(jobs.next_id(), subject, Task::Plan(task), direction, None, ctx.now());
    stored.view.plan = Some(progress);
    ctx.store.put_job(&stored)?;
    let job = jobs.add(Job::from_stored(Arc::clone(&ctx.store), ctx.clock(), stored));
    drop(jobs);
    let started = job.id();
    spawn(ctx, job);
    Ok(started)
}

fn spawn(ctx: &Arc<Context>, job: Job) {
    let span = job.span();
    ctx.tasks.spawn(execute(Arc::clone(ctx), job).instrument(span));
}

/// Executes a plan's job to its end.
async fn execute(ctx: Arc<Context>, job: Job) {
    let Task::Plan(task) = job.task() else { return };
    let run = PlanRun { ctx: &ctx, job: &job, task };
    let result = run_groups(&run).await.and_then(|()| outcome(&run.progress()));
    let end = job.end_of(result);
    if let Err(error) = job.store_end(&end) {
        tracing::error!(%error, "cannot store the end of the job");
    }
    job.show(end);
}

async fn run_groups(run: &PlanRun<'_>) -> Result<(), CoreError> {
    let Some(kind) = run.task.command.failover_type() else {
        // No machine is started, so the groups need not wait for each other.
        return members::execute(run, Members::All).await;
    };
    for (number, _) in (1..).zip(&run.task.plan.groups) {
        action::execute_all(run, kind, number, ActionPlace::Before).await?;
        members::execute(run, Members::OfGroup(number)).await?;
        action::execute_all(run, kind, number, ActionPlace::After).await?;
    }
    Ok(())
}

/// The result of a plan's job that has gone through all groups.
fn outcome(progress: &PlanProgress) -> Result<(), CoreError> {
    let failed: Vec<_> = progress.members.iter().filter(|member| member.state == PlanState::Failed).collect();
    if let Some(first) = failed.first() {
        let why = first.why.as_ref().map_or("", |why| why.message.as_str());
        let all = progress.members.len();
        let text = format!("{} of {all} machines failed, {} first: {why}", failed.len(), first.item);
        return Err(CoreError::new(ErrorCode::MemberFailed, text));
    }
    let action = progress.actions.iter().find(|action| action.state == PlanState::Failed);
    action.and_then(|action| action.why.clone()).map_or(Ok(()), Err)
}

/// Resumes the jobs of plans that were running when the core was stopped.
pub(crate) async fn recover(ctx: &Arc<Context>) {
    let jobs: Vec<_> = ctx.jobs.lock().await.iter().cloned().collect();
    for job in jobs {
        if job.state().ended() || !matches!(job.task(), Task::Plan(_)) {
            continue;
        }
        if let Err(error) = job.mark_interrupted() {
            tracing::error!(job = %job.id(), %error, "cannot store that the job is resumed");
        }
        spawn(ctx, job);
    }
}

/// Whether a plan's failed job could be retried now.
pub(crate) async fn check_retry(ctx: &Context, view: &JobView) -> Result<(), CoreError> {
    let JobSubject::Plan(id) = &view.subject else { return Ok(()) };
    if !ctx.plans.lock().await.contains_key(id) {
        return Err(unknown("plan", id));
    }
    ensure_idle(ctx, id).await
}

/// Repeats what failed in a plan's job, and continues from there.
pub(crate) async fn retry(ctx: &Arc<Context>, job: &Job) -> Result<(), CoreError> {
    // Locked to the end, so that no other job of the plan starts meanwhile.
    let _plans = ctx.plans.lock().await;
    if let JobSubject::Plan(id) = job.subject() {
        ensure_idle(ctx, &id).await?;
    }
    let mut attempt = job.next_attempt();
    if let Some(progress) = &mut attempt.view.plan {
        progress.took = None;
        let repeat = |state: &mut PlanState| {
            if *state == PlanState::Failed {
                *state = PlanState::Waiting;
            }
        };
        progress.members.iter_mut().for_each(|member| repeat(&mut member.state));
        progress.actions.iter_mut().for_each(|action| repeat(&mut action.state));
    }
    ctx.store.put_job(&attempt)?;
    job.restart(attempt.view);
    spawn(ctx, job.clone());
    Ok(())
}
