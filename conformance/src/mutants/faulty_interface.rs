//! Faults at the core's interface: a decorator that changes requests to a sound core, or its
//! answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use contract::{
    Capabilities, CoreError, DataSync, Direction, EnableProtection, ErrorCode, FailoverKind, FailoverRequest,
    Health, ItemId, ItemView, JobFilter, JobId, JobView, PlanFailoverRequest, PlanGroup, PlanId,
    PlanReprotectRequest, PlanTestFailoverRequest, PointChoice, Policy, PolicyId, PolicyView, RecoveryPlan,
    ReplicationCore, ReprotectRequest, Side, Step, TargetSettings, TestFailoverRequest, TestFailoverStatus,
};

use super::activation::Activation;
use super::interface::InterfaceFault;

/// A sound core behind an interface with a fault.
pub(super) struct FaultyInterface {
    core: Arc<dyn ReplicationCore>,
    fault: InterfaceFault,
    activation: Arc<Activation>,
    /// The event occurred whose effect the fault adds to every later answer: a refusal, or the
    /// clean-up of a test failover.
    triggered: AtomicBool,
    /// The plans as they were created; the core behind may have been given others.
    plans: Mutex<Vec<RecoveryPlan>>,
}

impl FaultyInterface {
    pub(super) fn new(
        core: Arc<dyn ReplicationCore>,
        fault: InterfaceFault,
        activation: Arc<Activation>,
    ) -> Self {
        Self { core, fault, activation, triggered: AtomicBool::new(false), plans: Mutex::default() }
    }

    /// The fault, once it is activated.
    fn active(&self) -> Option<InterfaceFault> {
        self.activation.is_active().then_some(self.fault)
    }

    /// Whether this is the fault and it is active. What is asked for then, is altered.
    fn has(&self, fault: InterfaceFault) -> bool {
        let has = self.active() == Some(fault);
        self.note(has);
        has
    }

    /// Records whether the fault has altered something.
    fn note(&self, altered: bool) {
        if altered {
            self.activation.note_act();
        }
    }

    /// Changes the answer to a request that starts a job or is refused.
    async fn started(&self, answer: Result<JobId, CoreError>) -> Result<JobId, CoreError> {
        let Err(error) = answer else { return answer };
        let altering = [InterfaceFault::AcceptsAll, InterfaceFault::WrongErrorCode];
        self.note(self.active().is_some_and(|fault| altering.contains(&fault)));
        self.triggered.store(self.has(InterfaceFault::RefusalLeavesTrace), Ordering::SeqCst);
        match self.active() {
            Some(InterfaceFault::AcceptsAll) => self.ended_job().await,
            Some(InterfaceFault::WrongErrorCode) => Err(CoreError { code: ErrorCode::Platform, ..error }),
            _ => Err(error),
        }
    }

    /// An older job that has nothing to do with the request.
    async fn ended_job(&self) -> Result<JobId, CoreError> {
        let jobs = self.core.jobs(&JobFilter::default()).await?;
        let none = || CoreError::new(ErrorCode::UnknownId, "there is no earlier job");
        jobs.into_iter().next().map(|job| job.id).ok_or_else(none)
    }

    fn item_view(&self, sound: ItemView) -> ItemView {
        let mut view = sound.clone();
        let triggered = self.triggered.load(Ordering::SeqCst);
        match self.active() {
            Some(InterfaceFault::RefusalLeavesTrace) if triggered => {
                view.trouble.push_str(" (something was refused)")
            }
            Some(InterfaceFault::TestFailoverDeletesPoints) if triggered => {
                drop(view.points.drain(..view.points.len().min(3)))
            }
            Some(InterfaceFault::OldestPointIsNewest) => {
                let newest =
                    view.points.iter().rfind(|point| point.processed).map(|point| point.volumes.clone());
                view.points
                    .iter_mut()
                    .take(1)
                    .for_each(|oldest| oldest.volumes = newest.clone().unwrap_or_default());
            }
            Some(InterfaceFault::ForgetsTestFailovers) => {
                view.test_failover_status = TestFailoverStatus::Recommended
            }
            Some(InterfaceFault::AlwaysHealthy) => view.health = Health::Healthy,
            Some(InterfaceFault::HidesIssues) => view.issues.clear(),
            _ => {}
        }
        self.note(view != sound);
        view
    }

    fn job_view(&self, sound: JobView) -> JobView {
        let mut view = sound.clone();
        match self.active() {
            Some(InterfaceFault::HidesHydrationStep) => view.steps.retain(|step| step.name != Step::HYDRATE),
            Some(InterfaceFault::ReversesJobDirection) => {
                view.direction = match view.direction {
                    Direction::PrimaryToRecovery => Direction::RecoveryToPrimary,
                    Direction::RecoveryToPrimary => Direction::PrimaryToRecovery,
                }
            }
            _ => {}
        }
        self.note(view != sound);
        view
    }

    fn point(&self, point: &PointChoice) -> PointChoice {
        match point {
            PointChoice::Latest if self.has(InterfaceFault::LatestIsLatestProcessed) => {
                PointChoice::LatestProcessed
            }
            PointChoice::LatestMultiVm | PointChoice::LatestMultiVmAppConsistent
                if self.has(InterfaceFault::IgnoresSharedPoints) =>
            {
                PointChoice::LatestProcessed
            }
            other => other.clone(),
        }
    }

    fn sync(&self, sync: DataSync) -> DataSync {
        if self.has(InterfaceFault::NeverWaitsForCompletion) { DataSync::DuringFailover } else { sync }
    }

    fn kind(&self, kind: FailoverKind, direction: Direction) -> FailoverKind {
        let ignored =
            self.has(InterfaceFault::PlannedBecomesUnplanned) && direction == Direction::PrimaryToRecovery;
        if ignored { FailoverKind::Unplanned } else { kind }
    }

    /// A plan as the core behind is given it.
    fn changed_plan(&self, sound: &RecoveryPlan) -> RecoveryPlan {
        let mut plan = sound.clone();
        match self.active() {
            Some(InterfaceFault::MergesPlanGroups) => {
                let mut one = PlanGroup::default();
                for group in plan.groups.drain(..) {
                    one.items.extend(group.items);
                    one.before.extend(group.before);
                    one.after.extend(group.after);
                }
                plan.groups.push(one);
            }
            Some(InterfaceFault::SkipsPlanActions) => {
                for group in &mut plan.groups {
                    group.before.clear();
                    group.after.clear();
                }
            }
            _ => {}
        }
        self.note(plan != *sound);
        plan
    }

    fn created_plans(&self) -> MutexGuard<'_, Vec<RecoveryPlan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ReplicationCore for FaultyInterface {
    async fn capabilities(&self) -> Result<Capabilities, CoreError> {
        self.core.capabilities().await
    }

    async fn create_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        self.core.create_policy(id, policy).await
    }

    async fn update_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        match self.core.update_policy(id, policy).await {
            Err(error)
                if error.code == ErrorCode::ReadOnly && self.has(InterfaceFault::LooseFailbackPolicy) =>
            {
                Ok(())
            }
            answer => answer,
        }
    }

    async fn delete_policy(&self, id: &PolicyId) -> Result<(), CoreError> {
        self.core.delete_policy(id).await
    }

    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        let mut all = self.core.policies().await?;
        all.retain(|view| {
            !(self.has(InterfaceFault::HidesFailbackPolicy) && view.direction == Direction::RecoveryToPrimary)
        });
        for view in &mut all {
            if self.has(InterfaceFault::LooseFailbackPolicy) && view.direction == Direction::RecoveryToPrimary
            {
                view.policy.retention = Policy::longest_retention(view.policy.source);
                view.configuration_servers.clear();
            }
        }
        Ok(all)
    }

    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError> {
        self.core.enable_protection(request).await
    }

    async fn disable_protection(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.core.disable_protection(item).await
    }

    async fn update_target(&self, item: &ItemId, target: &TargetSettings) -> Result<ItemView, CoreError> {
        if self.has(InterfaceFault::IgnoresTargetUpdate) {
            return self.item(item).await;
        }
        self.core.update_target(item, target).await.map(|view| self.item_view(view))
    }

    async fn check_configuration(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        self.core.check_configuration(item).await.map(|view| self.item_view(view))
    }

    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        self.core.item(item).await.map(|view| self.item_view(view))
    }

    async fn items(&self) -> Result<Vec<ItemView>, CoreError> {
        Ok(self.core.items().await?.into_iter().map(|view| self.item_view(view)).collect())
    }

    async fn watch_points(&self, item: &ItemId, count: u64) -> Result<ItemView, CoreError> {
        self.core.watch_points(item, count).await.map(|view| self.item_view(view))
    }

    async fn watch_health(&self, item: &ItemId, known: Health) -> Result<ItemView, CoreError> {
        self.core.watch_health(item, known).await.map(|view| self.item_view(view))
    }

    async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError> {
        let changed = FailoverRequest {
            kind: self.kind(request.kind, request.direction),
            point: self.point(&request.point),
            shut_down_source: request.shut_down_source && !self.has(InterfaceFault::LeavesSourceRunning),
            data_sync: request.data_sync.map(|sync| self.sync(sync)),
            ..request.clone()
        };
        self.started(self.core.failover(&changed).await).await
    }

    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        let newest = TestFailoverRequest { point: PointChoice::LatestProcessed, ..request.clone() };
        let request = if self.has(InterfaceFault::TestsNewestPoint) { &newest } else { request };
        self.started(self.core.test_failover(request).await).await
    }

    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.triggered.store(self.has(InterfaceFault::TestFailoverDeletesPoints), Ordering::SeqCst);
        self.started(self.core.clean_up_test_failover(item).await).await
    }

    async fn complete_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        self.core.complete_failover(item).await
    }

    async fn cancel_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        if self.has(InterfaceFault::IgnoresCancel) {
            return Ok(());
        }
        self.core.cancel_failover(item).await
    }

    async fn change_point(&self, item: &ItemId, point: &PointChoice) -> Result<JobId, CoreError> {
        if self.has(InterfaceFault::SkipsChangePoint) {
            return self.ended_job().await;
        }
        self.started(self.core.change_point(item, &self.point(point)).await).await
    }

    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError> {
        let is_back = self.core.item(item).await?.protection.active == Side::Primary;
        if self.has(InterfaceFault::SkipsCommit) || (is_back && self.has(InterfaceFault::SkipsFailbackCommit))
        {
            return self.ended_job().await;
        }
        self.started(self.core.commit(item).await).await
    }

    async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobId, CoreError> {
        let mut changed = request.clone();
        if self.has(InterfaceFault::FillsInReprotection) {
            changed.process_server.get_or_insert_with(|| "cloud-process-server".into());
            changed.master_target.get_or_insert_with(|| "master-target".into());
            changed.retention_drive.get_or_insert_with(|| "/mnt/retention".to_owned());
            changed.datastore.get_or_insert_with(|| "datastore-1".into());
        }
        self.started(self.core.reprotect(&changed).await).await
    }

    async fn reverse_replicate(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.started(self.core.reverse_replicate(item).await).await
    }

    async fn create_plan(&self, plan: &RecoveryPlan) -> Result<(), CoreError> {
        self.core.create_plan(&self.changed_plan(plan)).await?;
        self.created_plans().push(plan.clone());
        Ok(())
    }

    async fn delete_plan(&self, plan: &PlanId) -> Result<(), CoreError> {
        self.core.delete_plan(plan).await?;
        self.created_plans().retain(|other| other.id != *plan);
        Ok(())
    }

    async fn plans(&self) -> Result<Vec<RecoveryPlan>, CoreError> {
        Ok(self.created_plans().clone())
    }

    async fn failover_plan(&self, request: &PlanFailoverRequest) -> Result<JobId, CoreError> {
        let changed = PlanFailoverRequest {
            kind: self.kind(request.kind, request.direction),
            point: self.point(&request.point),
            ..request.clone()
        };
        if self.has(InterfaceFault::SkipsPlans) {
            return self.ended_job().await;
        }
        self.started(self.core.failover_plan(&changed).await).await
    }

    async fn test_failover_plan(&self, request: &PlanTestFailoverRequest) -> Result<JobId, CoreError> {
        if self.has(InterfaceFault::SkipsPlans) {
            return self.ended_job().await;
        }
        self.started(self.core.test_failover_plan(request).await).await
    }

    async fn clean_up_test_failover_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.started(self.core.clean_up_test_failover_plan(plan).await).await
    }

    async fn commit_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.started(self.core.commit_plan(plan).await).await
    }

    async fn reprotect_plan(&self, request: &PlanReprotectRequest) -> Result<JobId, CoreError> {
        self.started(self.core.reprotect_plan(request).await).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, CoreError> {
        let hides = |view: &JobView| {
            self.has(InterfaceFault::HidesTestFailoverJobs) && view.kind == contract::JobKind::TestFailover
        };
        let all = self.core.jobs(filter).await?.into_iter().filter(|view| !hides(view));
        Ok(all.map(|view| self.job_view(view)).collect())
    }

    async fn retry_job(&self, job: &JobId) -> Result<(), CoreError> {
        if self.has(InterfaceFault::RefusesRetry) {
            return Err(CoreError::new(ErrorCode::NotCurable, "this core retries no job"));
        }
        self.core.retry_job(job).await
    }

    async fn resume_job(&self, job: &JobId) -> Result<(), CoreError> {
        self.core.resume_job(job).await
    }

    async fn cancel_job(&self, job: &JobId) -> Result<(), CoreError> {
        if self.has(InterfaceFault::IgnoresCancel) {
            return Ok(());
        }
        self.core.cancel_job(job).await
    }

    async fn job(&self, job: &JobId) -> Result<JobView, CoreError> {
        self.core.job(job).await.map(|view| self.job_view(view))
    }

    async fn watch_job(&self, job: &JobId, after: u64) -> Result<JobView, CoreError> {
        self.core.watch_job(job, after).await.map(|view| self.job_view(view))
    }

    async fn close(&self) -> Result<(), CoreError> {
        self.core.close().await
    }
}
