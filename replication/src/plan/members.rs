//! The machines of a group: each a job of its own, all at once, and the plan waits for all of them.

use std::collections::BTreeMap;

use contract::{
    CoreError, ErrorCode, ItemId, JobState, JobSubject, JobView, PlanMember, PlanState, StepState,
};

use crate::jobs::{Job, Task};
use crate::order::Order;
use crate::plan::admit::{Part, part};
use crate::plan::points::{self, Chosen};
use crate::plan::run::Run;
use crate::run::not_failed;

/// Which machines go at once.
#[derive(Clone, Copy)]
pub(super) enum Group {
    Number(u32),
    All,
}

impl Group {
    fn holds(self, member: &PlanMember) -> bool {
        match self {
            Self::Number(number) => member.group == number,
            Self::All => true,
        }
    }

    fn title(self) -> String {
        match self {
            Self::Number(number) => format!("machines of group {number}"),
            Self::All => "all machines".to_owned(),
        }
    }
}

impl Run<'_> {
    /// Brings the machines of a group as far as they come.
    pub(super) async fn machines(&self, group: Group) -> Result<(), CoreError> {
        let open = |member: &PlanMember| matches!(member.state, PlanState::Waiting | PlanState::InProgress);
        if !self.progress().members.iter().any(|member| group.holds(member) && open(member)) {
            return Ok(());
        }
        self.job.checkpoint()?;
        let mut warned = 0;
        let went = async {
            let under_way = self.launch(group, open).await?;
            warned = self.gather(under_way).await;
            // Those that had begun came to their end; no more begin.
            self.job.checkpoint()
        };
        self.job.step(&group.title(), went).await?;
        if warned > 0 {
            self.job.change(|view| warn(view, warned))?;
        }
        let failed = self
            .progress()
            .members
            .into_iter()
            .find(|member| group.holds(member) && member.state == PlanState::Failed);
        match failed {
            Some(member) => {
                let why = member.why.map_or_else(String::new, |why| why.message);
                let text = format!("{} could not do its part: {why}", member.item);
                self.fail(CoreError::new(ErrorCode::MemberFailed, text))
            }
            None => Ok(()),
        }
    }

    /// Begins what has not begun, and finds what has. Returns the jobs to wait for.
    async fn launch(&self, group: Group, open: fn(&PlanMember) -> bool) -> Result<Vec<Job>, CoreError> {
        let children = self.children().await;
        let chosen = points::choose(self.core, &self.task.order, self.task.items(), &children).await;
        let mut members = self.progress().members;
        let mut under_way = Vec::new();
        for member in members.iter_mut().filter(|member| group.holds(member) && open(member)) {
            if self.job.checkpoint().is_err() {
                // What has begun by now is still waited for.
                break;
            }
            if let Some(job) = self.begin(member, children.get(&member.item), &chosen).await {
                under_way.push(job);
            }
        }
        self.job.change(|view| {
            if let Some(progress) = &mut view.plan {
                progress.members = members;
            }
        })?;
        Ok(under_way)
    }

    /// Begins with one machine, or finds what has begun with it.
    async fn begin(&self, member: &mut PlanMember, child: Option<&Job>, chosen: &Chosen) -> Option<Job> {
        if let Some(child) = child {
            let failed = matches!(child.state(), JobState::Failed | JobState::Cancelled);
            // One that failed in an earlier attempt of the plan is done again, if it can be.
            let due_again = member.state == PlanState::Waiting && member.job == Some(child.id());
            if !(failed && due_again) || self.again(child).await.is_ok() {
                return Some(under_way(member, child.clone()));
            }
        }
        match part(self.core, &self.task.order, &member.item, chosen).await {
            Part::Goes(order, _) => match self.start(&member.item, order).await {
                Ok(job) => return Some(under_way(member, job)),
                Err(why) => (member.state, member.why) = (PlanState::Failed, Some(why)),
            },
            Part::Nothing(why) => (member.state, member.why) = (PlanState::Skipped, Some(why)),
            Part::Cannot(why) => (member.state, member.why) = (PlanState::Failed, Some(why)),
        }
        None
    }

    async fn again(&self, child: &Job) -> Result<(), CoreError> {
        self.core.check_retry_now(child).await?;
        match child.task() {
            Task::Item(order) => self.core.retry_item(child, order).await,
            Task::Plan(_) => Err(not_failed(child)),
        }
    }

    async fn start(&self, item: &ItemId, order: Order) -> Result<Job, CoreError> {
        let item = self.core.find(item).await?;
        let job = self.core.run_under(&item, order, Some(self.job.id())).await?;
        self.core.find_job(&job).await
    }

    /// Latest jobs that this one has begun, by item.
    async fn children(&self) -> BTreeMap<ItemId, Job> {
        let me = Some(self.job.id());
        let jobs = self.core.jobs.lock().await;
        let mine = |view: &JobView| match &view.subject {
            JobSubject::Item(item) if view.parent == me => Some(item.clone()),
            _ => None,
        };
        jobs.iter().filter_map(|job| Some((job.look(mine)?, job.clone()))).collect()
    }

    /// Waits for all of them. Returns how many ended with a warning.
    async fn gather(&self, under_way: Vec<Job>) -> usize {
        let mut warned = 0;
        for job in under_way {
            let end = job.followed_by(self.job).await;
            warned += usize::from(end.state == JobState::CompletedWithWarning);
            // Shown at once, and stored with the end of the step: the machine's own job is stored already.
            self.job.hint(|view| {
                let members = view.plan.iter_mut().flat_map(|progress| &mut progress.members);
                if let Some(member) = members.into_iter().find(|member| member.job.as_ref() == Some(&end.id))
                {
                    settle(member, &end);
                }
            });
        }
        warned
    }
}

fn under_way(member: &mut PlanMember, job: Job) -> Job {
    (member.state, member.job, member.why) = (PlanState::InProgress, Some(job.id()), None);
    job
}

/// How a machine's own job ended.
fn settle(member: &mut PlanMember, end: &JobView) {
    let well = matches!(end.state, JobState::Completed | JobState::CompletedWithWarning);
    member.state = if well { PlanState::Done } else { PlanState::Failed };
    member.why.clone_from(&end.error);
}

fn warn(view: &mut JobView, machines: usize) {
    if let Some(step) = view.steps.last_mut() {
        step.state = StepState::Warning;
        step.note = format!("{machines} machines ended with a warning");
    }
}
