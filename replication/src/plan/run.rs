//! A plan's job: from group to group, on from where it stopped.
//!
//! What is done is told in the job's own record; which machine has a job, in that job. So after a restart nothing is
//! begun twice but what was cut in its midst.

use std::sync::Arc;

use contract::{ActionPlace, CoreError, ErrorCode, JobSubject, JobView, PlanProgress, PlanState};

use crate::core::{Inner, unknown};
use crate::jobs::{Job, Task};
use crate::plan::members::Group;
use crate::plan::{PlanTask, action, check_free};

/// A plan's job at work.
pub(super) struct Run<'a> {
    pub(super) core: &'a Arc<Inner>,
    pub(super) job: &'a Job,
    pub(super) task: &'a PlanTask,
}

/// Takes a plan's job to its end.
pub(crate) async fn carry_out(core: Arc<Inner>, job: Job) {
    let Task::Plan(task) = job.task() else { return };
    let run = Run { core: &core, job: &job, task };
    let result = run.work().await.and_then(|()| verdict(&run.progress()));
    let end = job.end_of(result);
    if let Err(error) = job.store_end(&end) {
        tracing::error!(%error, "the end of a plan's job could not be stored");
    }
    job.show(end);
}

impl Run<'_> {
    async fn work(&self) -> Result<(), CoreError> {
        let Some(kind) = self.task.order.failover_type() else {
            // Nothing is started, so nobody has to wait for anybody.
            return self.machines(Group::All).await;
        };
        for (number, _) in (1..).zip(&self.task.plan.groups) {
            action::all_of(self, kind, number, ActionPlace::Before).await?;
            self.machines(Group::Number(number)).await?;
            action::all_of(self, kind, number, ActionPlace::After).await?;
        }
        Ok(())
    }

    pub(super) fn progress(&self) -> PlanProgress {
        self.job.look(|view| view.plan.clone()).unwrap_or_default()
    }

    /// An error is the end of a planned failover, and of nothing else (EX-T6).
    pub(super) fn fail(&self, error: CoreError) -> Result<(), CoreError> {
        if self.task.order.stops_on_error() { Err(error) } else { Ok(()) }
    }
}

/// What a plan that came to its end has to say.
fn verdict(progress: &PlanProgress) -> Result<(), CoreError> {
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

/// Takes up the jobs of plans that were at work when the core was stopped.
pub(crate) async fn take_up(core: &Arc<Inner>) {
    let jobs: Vec<_> = core.jobs.lock().await.iter().cloned().collect();
    for job in jobs {
        if job.state().ended() || !matches!(job.task(), Task::Plan(_)) {
            continue;
        }
        if let Err(error) = job.go_on() {
            tracing::error!(%error, "a plan's job could not be taken up");
        }
        tokio::spawn(carry_out(Arc::clone(core), job));
    }
}

/// Whether a plan's job that failed may be done again now.
pub(crate) async fn check_retry(core: &Inner, view: &JobView) -> Result<(), CoreError> {
    let JobSubject::Plan(id) = &view.subject else { return Ok(()) };
    if !core.plans.lock().await.contains_key(id) {
        return Err(unknown("plan", id));
    }
    check_free(core, id).await
}

/// Does again what failed in a plan's job, and goes on from there.
pub(crate) async fn retry(core: &Arc<Inner>, job: &Job) -> Result<(), CoreError> {
    // Held to the end, so that no other job of the plan begins meanwhile.
    let _plans = core.plans.lock().await;
    if let JobSubject::Plan(id) = job.subject() {
        check_free(core, &id).await?;
    }
    let mut again = job.anew();
    if let Some(progress) = &mut again.view.plan {
        progress.took = None;
        let failed = |state: &mut PlanState| {
            let failed = *state == PlanState::Failed;
            if failed {
                *state = PlanState::Waiting;
            }
        };
        progress.members.iter_mut().for_each(|member| failed(&mut member.state));
        progress.actions.iter_mut().for_each(|action| failed(&mut action.state));
    }
    core.store.put_job(&again)?;
    job.restart(again.view);
    tokio::spawn(carry_out(Arc::clone(core), job.clone()));
    Ok(())
}
