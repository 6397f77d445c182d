//! Where jobs are listed and spoken to: what may be said to each, and the retry, resume and cancel of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{CoreError, ErrorCode, JobAction, JobFilter, JobId, JobKind, JobState, JobSubject, JobView};

use crate::core::{Inner, unknown};
use crate::jobs::{Job, Task};
use crate::order::Order;
use crate::run::not_failed;
use crate::{plan, protect};

/// All jobs, oldest first.
#[derive(Default)]
pub(crate) struct Jobs {
    all: Vec<Job>,
    places: BTreeMap<JobId, usize>,
}

impl Jobs {
    /// The next job's name.
    pub(crate) fn next(&self) -> JobId {
        JobId(format!("job-{}", self.all.len() + 1))
    }

    pub(crate) fn add(&mut self, job: Job) -> Job {
        self.places.insert(job.id(), self.all.len());
        self.all.push(job.clone());
        job
    }

    pub(crate) fn get(&self, id: &JobId) -> Option<&Job> {
        self.all.get(*self.places.get(id)?)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.all.iter()
    }

    /// The latest job of each subject, and its latest that is no test failover.
    fn latest(&self) -> BTreeMap<JobSubject, Latest> {
        let mut latest: BTreeMap<_, Latest> = BTreeMap::new();
        for (place, job) in self.all.iter().enumerate() {
            let (subject, test_failover) =
                job.look(|view| (view.subject.clone(), is_test_failover(view.kind)));
            let latest = latest.entry(subject).or_default();
            latest.any = place;
            if !test_failover {
                latest.no_test_failover = place;
            }
        }
        latest
    }

    /// Whether another job has worked on the same since. A test failover leaves it where it stands, if not another test failover.
    fn has_moved_on(&self, view: &JobView, latest: &BTreeMap<JobSubject, Latest>) -> bool {
        let (Some(own), Some(latest)) = (self.places.get(&view.id), latest.get(&view.subject)) else {
            return false;
        };
        *own < if is_test_failover(view.kind) { latest.any } else { latest.no_test_failover }
    }
}

/// Places of jobs in their order.
#[derive(Clone, Copy, Default)]
struct Latest {
    any: usize,
    no_test_failover: usize,
}

fn is_test_failover(kind: JobKind) -> bool {
    matches!(kind, JobKind::TestFailover | JobKind::TestFailoverCleanup)
}

/// Failovers of items can be stopped, with what follows from it (FO-12, HF-19), and whatever a plan does.
fn can_be_cancelled(view: &JobView) -> bool {
    let is_failover = matches!(view.kind, JobKind::UnplannedFailover | JobKind::PlannedFailover);
    is_failover || matches!(view.subject, JobSubject::Plan(_))
}

/// What may be said to a job that has not ended.
fn actions_at_work(view: &JobView) -> Vec<JobAction> {
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

fn is_curable(view: &JobView) -> bool {
    view.error.as_ref().is_some_and(|error| error.code.is_curable())
}

impl Inner {
    pub(crate) async fn find_job(&self, id: &JobId) -> Result<Job, CoreError> {
        self.jobs.lock().await.get(id).cloned().ok_or_else(|| unknown("job", id))
    }

    /// Jobs that fit, as they are shown.
    pub(crate) async fn list_jobs(&self, filter: &JobFilter) -> Vec<JobView> {
        let (views, latest) = {
            let jobs = self.jobs.lock().await;
            let plans = |id: &JobId| jobs.get(id).map(Job::subject);
            let fits = |view: &JobView| fits(view, filter, view.parent.as_ref().and_then(plans).as_ref());
            let shown = |view: &JobView| fits(view).then(|| view.clone());
            let views: Vec<_> = jobs.iter().filter_map(|job| job.look(shown)).collect();
            (views, jobs.latest())
        };
        let mut shown = Vec::with_capacity(views.len());
        for view in views {
            shown.push(self.with_actions(view, &latest).await);
        }
        shown
    }

    /// One job as it is shown: with what may be said to it.
    pub(crate) async fn show(&self, view: JobView) -> JobView {
        let failed = view.state.ended() && view.error.is_some();
        let latest = if failed { self.jobs.lock().await.latest() } else { BTreeMap::new() };
        self.with_actions(view, &latest).await
    }

    async fn with_actions(&self, mut view: JobView, latest: &BTreeMap<JobSubject, Latest>) -> JobView {
        view.actions = if !view.state.ended() {
            actions_at_work(&view)
        } else if self.check_retry(&view, latest).await.is_ok() {
            vec![JobAction::Retry]
        } else {
            Vec::new()
        };
        view
    }

    async fn check_retry(
        &self,
        view: &JobView,
        latest: &BTreeMap<JobSubject, Latest>,
    ) -> Result<(), CoreError> {
        let job = self.find_job(&view.id).await?;
        if !matches!(view.state, JobState::Failed | JobState::PartiallySucceeded) {
            return Err(not_failed(&job));
        }
        if !is_curable(view) {
            let why = view.error.as_ref().map_or("", |error| error.message.as_str());
            let text = format!("{} failed for what no retry cures: {why}", view.id);
            return Err(CoreError::new(ErrorCode::NotCurable, text));
        }
        if self.jobs.lock().await.has_moved_on(view, latest) {
            let text = format!("since {} failed, another job has worked on {}", view.id, view.subject);
            return Err(CoreError::new(ErrorCode::MovedOn, text));
        }
        match job.task() {
            Task::Item(order) => self.check_item(&view.subject, order).await,
            Task::Plan(_) => plan::check_retry(self, view).await,
        }
    }

    async fn check_item(&self, subject: &JobSubject, order: &Order) -> Result<(), CoreError> {
        let JobSubject::Item(id) = subject else { return Ok(()) };
        let item = match (self.find(id).await, order) {
            // Protection that could not begin left no item behind.
            (Err(_), Order::Enable(_)) => return Ok(()),
            (item, _) => item?,
        };
        crate::run::free(&item)?;
        order.check(self, &*item.record.lock().await).map(drop)
    }

    pub(crate) async fn retry(self: &Arc<Self>, id: &JobId) -> Result<(), CoreError> {
        let job = self.find_job(id).await?;
        self.check_retry_now(&job).await?;
        match job.task() {
            Task::Item(order) => self.retry_item(&job, order).await,
            Task::Plan(_) => plan::retry(self, &job).await,
        }
    }

    /// Whether a job may be retried now. Changes nothing.
    pub(crate) async fn check_retry_now(&self, job: &Job) -> Result<(), CoreError> {
        let latest = self.jobs.lock().await.latest();
        self.check_retry(&job.view(), &latest).await
    }

    /// Does an item's failed job again.
    pub(crate) async fn retry_item(self: &Arc<Self>, job: &Job, order: &Order) -> Result<(), CoreError> {
        let JobSubject::Item(item) = job.subject() else { return Err(not_failed(job)) };
        let Order::Enable(request) = order else {
            return self.run_again(&self.find(&item).await?, job, order).await;
        };
        let item = protect::admit(self, request).await?;
        let begun = self.run_again(&item, job, order).await;
        if begun.is_err() {
            self.remove_item(&item).await?;
        }
        begun
    }

    pub(crate) async fn resume(&self, id: &JobId) -> Result<(), CoreError> {
        if self.find_job(id).await?.resume() {
            return Ok(());
        }
        let text = format!("{id} does not wait for a manual step");
        Err(CoreError::new(ErrorCode::NotAllowedInState, text))
    }

    pub(crate) async fn cancel(&self, id: &JobId) -> Result<(), CoreError> {
        let job = self.find_job(id).await?;
        let view = job.view();
        if view.state.ended() || !can_be_cancelled(&view) {
            let text = format!("{id} cannot be cancelled: {:?}, {:?}", view.kind, view.state);
            return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
        }
        job.cancel();
        Ok(())
    }
}

/// Whether a job is asked about. `above` is what the job above it works on.
fn fits(view: &JobView, filter: &JobFilter, above: Option<&JobSubject>) -> bool {
    let item = filter.item.clone().map(JobSubject::Item);
    let plan = filter.plan.clone().map(JobSubject::Plan);
    item.is_none_or(|item| item == view.subject)
        && plan.is_none_or(|plan| plan == view.subject || Some(&plan) == above)
        && filter.parent.as_ref().is_none_or(|parent| Some(parent) == view.parent.as_ref())
        && filter.state.is_none_or(|state| state == view.state)
        && filter.kind.is_none_or(|kind| kind == view.kind)
}
