//! The interface of a variant: a decorator that changes requests to the wrapped core, or its
//! answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Capabilities, CoreError, Direction, EnableProtection, ErrorCode, FailoverKind, FailoverRequest, Health,
    ItemId, ItemView, JobFilter, JobId, JobKind, JobSubject, JobView, PlanFailoverRequest, PlanId,
    PlanReprotectRequest, PlanTestFailoverRequest, PointChoice, Policy, PolicyId, PolicyView, RecoveryPlan,
    ReplicationCore, ReprotectRequest, TargetSettings, TestFailoverRequest,
};

use super::activity::Activity;
use super::difference::{Difference, JobRequest};

/// A core that does some things differently from the one that it wraps.
pub(super) struct VariantCore {
    core: Arc<dyn ReplicationCore>,
    differs: Arc<dyn Difference>,
    activity: Arc<Activity>,
}

impl VariantCore {
    pub(super) fn new(
        core: Arc<dyn ReplicationCore>,
        differs: Arc<dyn Difference>,
        activity: Arc<Activity>,
    ) -> Self {
        Self { core, differs, activity }
    }

    /// Begins a request: refuses a method that the variant does not implement, and takes its time.
    async fn begin(&self, method: &str) -> Result<(), CoreError> {
        if !self.differs.implements(method) {
            self.activity.note(true);
            let text = format!("this core does not implement {method}");
            return Err(CoreError::new(ErrorCode::NotSupported, text));
        }
        self.pause(self.differs.pace().request.into()).await;
        Ok(())
    }

    async fn pause(&self, time: Duration) {
        if !time.is_zero() {
            self.activity.note(true);
            tokio::time::sleep(time).await;
        }
    }

    fn worded<T>(&self, answer: Result<T, CoreError>) -> Result<T, CoreError> {
        answer.map_err(|error| {
            let worded = self.differs.error(error.clone());
            self.activity.note(worded != error);
            worded
        })
    }

    async fn item_view(&self, inner: ItemView) -> ItemView {
        let mut view = inner.clone();
        view.job = view.job.map(|id| self.differs.job_id(id));
        view.policy.policy = self.differs.policy(view.policy.policy);
        for (_, volume) in view.points.iter_mut().flat_map(|point| &mut point.volumes) {
            *volume = self.differs.volume_id(volume);
        }
        let view = self.differs.item(&*self.core, view).await;
        self.activity.note(view != inner);
        view
    }

    async fn shown(&self, answer: Result<ItemView, CoreError>) -> Result<ItemView, CoreError> {
        Ok(self.item_view(self.worded(answer)?).await)
    }

    fn job_view(&self, inner: JobView) -> JobView {
        let mut view = inner.clone();
        view.id = self.differs.job_id(view.id);
        view.parent = view.parent.map(|id| self.differs.job_id(id));
        for member in view.plan.iter_mut().flat_map(|plan| &mut plan.members) {
            member.job = member.job.take().map(|id| self.differs.job_id(id));
        }
        let view = self.differs.job(view);
        self.activity.note(view != inner);
        view
    }

    async fn started(
        &self,
        (kind, subject, direction): (JobKind, JobSubject, Direction),
        answer: Result<JobId, CoreError>,
    ) -> Result<JobId, CoreError> {
        let request = JobRequest { kind, subject, direction };
        let job = self.differs.started(&*self.core, request, answer.clone()).await;
        self.activity.note(job != answer);
        self.worded(job).map(|id| self.differs.job_id(id))
    }

    /// The direction in which an item replicates or would fail over.
    async fn direction(&self, item: &ItemId) -> Direction {
        let view = self.core.item(item).await;
        view.map_or(Direction::PrimaryToRecovery, |view| Direction::from_side(view.protection.active))
    }

    /// The direction in which an item has failed over.
    async fn direction_of_failover(&self, item: &ItemId) -> Direction {
        let view = self.core.item(item).await;
        let side = |view: ItemView| view.protection.active.other();
        view.map_or(Direction::PrimaryToRecovery, |view| Direction::from_side(side(view)))
    }

    /// Waits for an event as long as the variant waits at most. `None`: it did not come by then.
    async fn event<T>(&self, waiting: impl Future<Output = T> + Send) -> Option<T>
    where
        T: Send,
    {
        let pace = self.differs.pace();
        let came = match pace.longest_wait {
            Some(longest) => tokio::time::timeout(longest.into(), waiting).await.ok(),
            None => Some(waiting.await),
        };
        self.activity.note(came.is_none());
        self.pause(pace.event.into()).await;
        came
    }

    fn own_job(&self, id: &JobId) -> Option<JobView> {
        self.differs.own_jobs().into_iter().find(|job| job.id == *id)
    }
}

fn failover_job(kind: FailoverKind) -> JobKind {
    match kind {
        FailoverKind::Planned => JobKind::PlannedFailover,
        FailoverKind::Unplanned => JobKind::UnplannedFailover,
    }
}

fn matches(job: &JobView, filter: &JobFilter) -> bool {
    let item = |id: &ItemId| job.subject == JobSubject::Item(id.clone());
    let plan = |id: &PlanId| job.subject == JobSubject::Plan(id.clone());
    filter.item.as_ref().is_none_or(item)
        && filter.plan.as_ref().is_none_or(plan)
        && filter.parent.as_ref().is_none_or(|parent| job.parent.as_ref() == Some(parent))
        && filter.state.is_none_or(|state| job.state == state)
        && filter.kind.is_none_or(|kind| job.kind == kind)
}

#[async_trait]
impl ReplicationCore for VariantCore {
    async fn capabilities(&self) -> Result<Capabilities, CoreError> {
        let inner = self.core.capabilities().await?;
        let all = self.differs.capabilities(inner.clone());
        self.activity.note(all != inner);
        Ok(all)
    }

    async fn create_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        self.begin("create_policy").await?;
        self.worded(self.core.create_policy(id, &self.differs.inner_policy(policy)).await)
    }

    async fn update_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        self.begin("update_policy").await?;
        self.worded(self.core.update_policy(id, &self.differs.inner_policy(policy)).await)
    }

    async fn delete_policy(&self, id: &PolicyId) -> Result<(), CoreError> {
        self.begin("delete_policy").await?;
        self.worded(self.core.delete_policy(id).await)
    }

    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        self.begin("policies").await?;
        let inner = self.core.policies().await?;
        let mut views = inner.clone();
        for view in &mut views {
            view.policy = self.differs.policy(view.policy);
        }
        let views = self.differs.policies(views);
        self.activity.note(views != inner);
        Ok(views)
    }

    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError> {
        self.begin("enable_protection").await?;
        if let Some(refusal) = self.differs.refuses_protection(request) {
            self.activity.note(true);
            return Err(refusal);
        }
        let answer = self.differs.protect(&*self.core, request).await;
        let subject = JobSubject::Item(request.item.clone());
        self.started((JobKind::EnableProtection, subject, Direction::PrimaryToRecovery), answer).await
    }

    async fn disable_protection(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.begin("disable_protection").await?;
        let direction = self.direction(item).await;
        let answer = self.core.disable_protection(item).await;
        self.started((JobKind::DisableProtection, JobSubject::Item(item.clone()), direction), answer).await
    }

    async fn update_target(&self, item: &ItemId, target: &TargetSettings) -> Result<ItemView, CoreError> {
        self.begin("update_target").await?;
        if self.differs.checks_new_settings() {
            return self.shown(self.core.update_target(item, target).await).await;
        }
        let issues = self.core.item(item).await?.issues;
        let updated = self.core.update_target(item, target).await;
        self.activity.note(updated.as_ref().is_ok_and(|view| view.issues != issues));
        self.shown(updated.map(|view| ItemView { issues, ..view })).await
    }

    async fn check_configuration(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        self.begin("check_configuration").await?;
        self.shown(self.core.check_configuration(item).await).await
    }

    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        self.begin("item").await?;
        self.shown(self.core.item(item).await).await
    }

    async fn items(&self) -> Result<Vec<ItemView>, CoreError> {
        self.begin("items").await?;
        let mut views = Vec::new();
        for view in self.core.items().await? {
            views.push(self.item_view(view).await);
        }
        let ordered = self.differs.items(views.clone());
        self.activity.note(ordered != views);
        Ok(ordered)
    }

    async fn watch_points(&self, item: &ItemId, count: u64) -> Result<ItemView, CoreError> {
        self.begin("watch_points").await?;
        let answer = self.core.watch_points(item, count).await;
        self.pause(self.differs.pace().event.into()).await;
        self.shown(answer).await
    }

    async fn watch_health(&self, item: &ItemId, known: Health) -> Result<ItemView, CoreError> {
        self.begin("watch_health").await?;
        match self.event(self.core.watch_health(item, known)).await {
            Some(answer) => self.shown(answer).await,
            None => self.shown(self.core.item(item).await).await,
        }
    }

    async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError> {
        self.begin("failover").await?;
        let answer = self.core.failover(request).await;
        let subject = JobSubject::Item(request.item.clone());
        self.started((failover_job(request.kind), subject, request.direction), answer).await
    }

    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        self.begin("test_failover").await?;
        let direction = self.direction(&request.item).await;
        let answer = self.core.test_failover(request).await;
        self.started((JobKind::TestFailover, JobSubject::Item(request.item.clone()), direction), answer).await
    }

    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.begin("clean_up_test_failover").await?;
        let direction = self.direction(item).await;
        let answer = self.core.clean_up_test_failover(item).await;
        self.started((JobKind::TestFailoverCleanup, JobSubject::Item(item.clone()), direction), answer).await
    }

    async fn complete_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        self.begin("complete_failover").await?;
        self.worded(self.core.complete_failover(item).await)
    }

    async fn cancel_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        self.begin("cancel_failover").await?;
        self.worded(self.core.cancel_failover(item).await)
    }

    async fn change_point(&self, item: &ItemId, point: &PointChoice) -> Result<JobId, CoreError> {
        self.begin("change_point").await?;
        let direction = self.direction_of_failover(item).await;
        let answer = self.core.change_point(item, point).await;
        self.started((JobKind::ChangePoint, JobSubject::Item(item.clone()), direction), answer).await
    }

    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.begin("commit").await?;
        let direction = self.direction_of_failover(item).await;
        let answer = self.core.commit(item).await;
        self.started((JobKind::Commit, JobSubject::Item(item.clone()), direction), answer).await
    }

    async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobId, CoreError> {
        self.begin("reprotect").await?;
        let answer = self.core.reprotect(request).await;
        let subject = JobSubject::Item(request.item.clone());
        self.started((JobKind::Reprotect, subject, request.direction), answer).await
    }

    async fn reverse_replicate(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.begin("reverse_replicate").await?;
        let answer = self.core.reverse_replicate(item).await;
        let subject = JobSubject::Item(item.clone());
        self.started((JobKind::ReverseReplicate, subject, Direction::PrimaryToRecovery), answer).await
    }

    async fn verify(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.begin("verify").await?;
        let direction = self.direction(item).await;
        let answer = self.core.verify(item).await;
        self.started((JobKind::Verify, JobSubject::Item(item.clone()), direction), answer).await
    }

    async fn create_plan(&self, plan: &RecoveryPlan) -> Result<(), CoreError> {
        self.begin("create_plan").await?;
        let allowed = self.differs.capabilities(self.core.capabilities().await?).plans;
        if plan.groups.len() > allowed.groups as usize {
            let text = format!("at most {} groups", allowed.groups);
            return Err(CoreError::new(ErrorCode::PlanTooLarge, text));
        }
        self.worded(self.core.create_plan(plan).await)
    }

    async fn delete_plan(&self, plan: &PlanId) -> Result<(), CoreError> {
        self.begin("delete_plan").await?;
        self.worded(self.core.delete_plan(plan).await)
    }

    async fn plans(&self) -> Result<Vec<RecoveryPlan>, CoreError> {
        self.begin("plans").await?;
        self.worded(self.core.plans().await)
    }

    async fn failover_plan(&self, request: &PlanFailoverRequest) -> Result<JobId, CoreError> {
        self.begin("failover_plan").await?;
        let answer = self.core.failover_plan(request).await;
        let subject = JobSubject::Plan(request.plan.clone());
        self.started((failover_job(request.kind), subject, request.direction), answer).await
    }

    async fn test_failover_plan(&self, request: &PlanTestFailoverRequest) -> Result<JobId, CoreError> {
        self.begin("test_failover_plan").await?;
        let answer = self.core.test_failover_plan(request).await;
        let subject = JobSubject::Plan(request.plan.clone());
        self.started((JobKind::TestFailover, subject, Direction::PrimaryToRecovery), answer).await
    }

    async fn clean_up_test_failover_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.begin("clean_up_test_failover_plan").await?;
        let answer = self.core.clean_up_test_failover_plan(plan).await;
        let subject = JobSubject::Plan(plan.clone());
        self.started((JobKind::TestFailoverCleanup, subject, Direction::PrimaryToRecovery), answer).await
    }

    async fn commit_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.begin("commit_plan").await?;
        let answer = self.core.commit_plan(plan).await;
        let subject = JobSubject::Plan(plan.clone());
        self.started((JobKind::Commit, subject, Direction::PrimaryToRecovery), answer).await
    }

    async fn reprotect_plan(&self, request: &PlanReprotectRequest) -> Result<JobId, CoreError> {
        self.begin("reprotect_plan").await?;
        let answer = self.core.reprotect_plan(request).await;
        let subject = JobSubject::Plan(request.plan.clone());
        self.started((JobKind::Reprotect, subject, request.direction), answer).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, CoreError> {
        self.begin("jobs").await?;
        let parent = filter.parent.as_ref().map(|id| self.differs.inner_job_id(id));
        let inner = self.core.jobs(&JobFilter { parent, ..filter.clone() }).await?;
        let shown = inner.into_iter().filter(|job| !self.differs.hides_job(&job.id));
        let mut all: Vec<_> = shown.map(|job| self.job_view(job)).collect();
        all.extend(self.differs.own_jobs().into_iter().filter(|job| matches(job, filter)));
        all.sort_by_key(|job| job.started);
        Ok(all)
    }

    async fn retry_job(&self, job: &JobId) -> Result<(), CoreError> {
        self.begin("retry_job").await?;
        if self.own_job(job).is_some() {
            let text = "the job changed nothing; make the request again";
            return Err(CoreError::new(ErrorCode::NotCurable, text));
        }
        self.worded(self.core.retry_job(&self.differs.inner_job_id(job)).await)
    }

    async fn resume_job(&self, job: &JobId) -> Result<(), CoreError> {
        self.begin("resume_job").await?;
        self.worded(self.core.resume_job(&self.differs.inner_job_id(job)).await)
    }

    async fn cancel_job(&self, job: &JobId) -> Result<(), CoreError> {
        self.begin("cancel_job").await?;
        self.worded(self.core.cancel_job(&self.differs.inner_job_id(job)).await)
    }

    async fn job(&self, job: &JobId) -> Result<JobView, CoreError> {
        self.begin("job").await?;
        match self.own_job(job) {
            Some(own) => Ok(own),
            None => {
                let answer = self.core.job(&self.differs.inner_job_id(job)).await;
                self.worded(answer).map(|view| self.job_view(view))
            }
        }
    }

    async fn watch_job(&self, job: &JobId, after: u64) -> Result<JobView, CoreError> {
        self.begin("watch_job").await?;
        if let Some(own) = self.own_job(job) {
            return Ok(own);
        }
        let id = self.differs.inner_job_id(job);
        let waiting = self.core.watch_job(&id, self.differs.inner_revision(after));
        let answer = match self.event(waiting).await {
            Some(answer) => answer,
            None => self.core.job(&id).await,
        };
        self.worded(answer).map(|view| self.job_view(view))
    }

    async fn close(&self) -> Result<(), CoreError> {
        self.core.close().await
    }
}
