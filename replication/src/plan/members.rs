//! The machines of a group. Each has its own job; all start at once, and the plan waits for all of
//! them.

use std::collections::BTreeMap;

use contract::{
    CoreError, ErrorCode, ItemId, JobState, JobSubject, JobView, PlanMember, PlanState, StepState,
};

use crate::jobs::job::Job;
use crate::jobs::{retry, runner};
use crate::plan::admit::{Part, part};
use crate::plan::points::{self, Chosen};
use crate::plan::run::PlanRun;
use crate::state::{Command, Task};

/// The machines that are executed together.
#[derive(Clone, Copy)]
pub(super) enum Members {
    OfGroup(u32),
    All,
}

impl Members {
    fn contains(self, member: &PlanMember) -> bool {
        match self {
            Self::OfGroup(number) => member.group == number,
            Self::All => true,
        }
    }

    fn step_name(self) -> String {
        match self {
            Self::OfGroup(number) => format!("machines of group {number}"),
            Self::All => "all machines".to_owned(),
        }
    }
}

/// Executes the machines' jobs, as one step of the plan's job.
pub(super) async fn execute(run: &PlanRun<'_>, which: Members) -> Result<(), CoreError> {
    let is_due = |member: &PlanMember| which.contains(member) && is_unfinished(member);
    if !run.progress().members.iter().any(is_due) {
        return Ok(());
    }
    run.job.checkpoint()?;
    let mut warnings = 0;
    let work = async {
        let jobs = start_all(run, is_due).await?;
        warnings = wait_for_all(run, jobs).await;
        // After a cancellation no further machine starts, but those that had started came to their
        // end.
        run.job.checkpoint()
    };
    run.job.step(&which.step_name(), work).await?;
    if warnings > 0 {
        run.job.change(|view| add_warning(view, warnings))?;
    }
    let members = run.progress().members;
    match members.into_iter().find(|member| which.contains(member) && member.state == PlanState::Failed) {
        Some(member) => {
            let why = member.why.map_or_else(String::new, |why| why.message);
            run.fail(CoreError::new(ErrorCode::MemberFailed, format!("{} failed: {why}", member.item)))
        }
        None => Ok(()),
    }
}

fn is_unfinished(member: &PlanMember) -> bool {
    matches!(member.state, PlanState::Waiting | PlanState::InProgress)
}

/// Starts the jobs of the machines that are due, or finds those that are started already. Returns
/// the jobs to wait for.
async fn start_all(run: &PlanRun<'_>, is_due: impl Fn(&PlanMember) -> bool) -> Result<Vec<Job>, CoreError> {
    let children = children(run).await;
    let chosen = points::choose(run.ctx, &run.task.command, run.task.items(), &children).await;
    let mut members = run.progress().members;
    let mut jobs = Vec::new();
    for member in members.iter_mut().filter(|member| is_due(member)) {
        if run.job.checkpoint().is_err() {
            // The jobs that are started are still waited for.
            break;
        }
        if let Some(job) = start_one(run, member, children.get(&member.item), &chosen).await {
            jobs.push(job);
        }
    }
    run.job.change(|view| {
        if let Some(progress) = &mut view.plan {
            progress.members = members;
        }
    })?;
    Ok(jobs)
}

/// Starts a machine's job, or finds the one that is started already. `None`: the machine cannot
/// take part, or need not.
async fn start_one(
    run: &PlanRun<'_>,
    member: &mut PlanMember,
    child: Option<&Job>,
    chosen: &Chosen,
) -> Option<Job> {
    if let Some(child) = child {
        let failed = matches!(child.state(), JobState::Failed | JobState::Cancelled);
        // A job that failed in an earlier attempt of the plan's job is retried, if possible.
        let due_again = member.state == PlanState::Waiting && member.job == Some(child.id());
        if !(failed && due_again) || retry_child(run, child).await.is_ok() {
            return Some(set_started(member, child.clone()));
        }
    }
    match part(run.ctx, &run.task.command, &member.item, chosen).await {
        Part::Executes(command, _) => match start_child(run, &member.item, command).await {
            Ok(job) => return Some(set_started(member, job)),
            Err(why) => set_not_started(member, PlanState::Failed, why),
        },
        Part::NothingToDo(why) => set_not_started(member, PlanState::Skipped, why),
        Part::Impossible(why) => set_not_started(member, PlanState::Failed, why),
    }
    None
}

async fn retry_child(run: &PlanRun<'_>, child: &Job) -> Result<(), CoreError> {
    let Task::Item(command) = child.task() else { return Err(runner::not_failed(child)) };
    let latest = run.ctx.jobs.lock().await.latest();
    retry::check_item_job(run.ctx, child, &child.view(), &latest, command).await?;
    retry::retry_item(run.ctx, child, command).await
}

async fn start_child(run: &PlanRun<'_>, item: &ItemId, command: Command) -> Result<Job, CoreError> {
    let item = run.ctx.find(item).await?;
    runner::start(run.ctx, &item, command, Some(run.job.id())).await
}

/// The latest jobs that this plan's job has started, by item.
async fn children(run: &PlanRun<'_>) -> BTreeMap<ItemId, Job> {
    let own_id = Some(run.job.id());
    let jobs = run.ctx.jobs.lock().await;
    let item_of = |view: &JobView| match &view.subject {
        JobSubject::Item(item) if view.parent == own_id => Some(item.clone()),
        _ => None,
    };
    jobs.iter().filter_map(|job| Some((job.read(item_of)?, job.clone()))).collect()
}

/// Waits until all jobs have ended. Returns how many ended with a warning.
async fn wait_for_all(run: &PlanRun<'_>, jobs: Vec<Job>) -> usize {
    let mut warnings = 0;
    for job in jobs {
        let end = job.wait_for_end(run.job).await;
        warnings += usize::from(end.state == JobState::CompletedWithWarning);
        // Shown at once and stored with the end of the step, because the machine's own job is
        // stored already.
        run.job.change_unstored(|view| {
            let members = view.plan.iter_mut().flat_map(|progress| &mut progress.members);
            if let Some(member) = members.into_iter().find(|member| member.job.as_ref() == Some(&end.id)) {
                set_ended(member, &end);
            }
        });
    }
    warnings
}

fn set_started(member: &mut PlanMember, job: Job) -> Job {
    member.state = PlanState::InProgress;
    member.job = Some(job.id());
    member.why = None;
    job
}

fn set_not_started(member: &mut PlanMember, state: PlanState, why: CoreError) {
    member.state = state;
    member.why = Some(why);
}

fn set_ended(member: &mut PlanMember, end: &JobView) {
    let succeeded = matches!(end.state, JobState::Completed | JobState::CompletedWithWarning);
    member.state = if succeeded { PlanState::Done } else { PlanState::Failed };
    member.why.clone_from(&end.error);
}

fn add_warning(view: &mut JobView, machines: usize) {
    if let Some(step) = view.steps.last_mut() {
        step.state = StepState::Warning;
        step.note = format!("{machines} machines ended with a warning");
    }
}
