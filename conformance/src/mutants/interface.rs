//! Cores that are wrong at their interface: whatever is asked of them goes to a sound core, and something on the way
//! there or back is bent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use contract::{
    Capabilities, CoreError, DataSync, Direction, EnableProtection, ErrorCode, FailoverKind, FailoverRequest,
    Health, ItemId, ItemView, JobFilter, JobId, JobView, PlanFailoverRequest, PlanGroup, PlanId,
    PlanReprotectRequest, PlanTestFailoverRequest, PointChoice, Policy, PolicyId, PolicyView, RecoveryPlan,
    ReplicationCore, ReprotectRequest, Step, TargetSettings, TestFailoverRequest, TestFailoverStatus,
};

/// What is bent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceFault {
    /// What is refused is answered with a job that has long ended.
    AcceptsAll,
    /// What is refused leaves a note at every item.
    LeavesTrace,
    /// What is refused has a code of no meaning.
    OtherCode,
    /// A test failover's clean-up takes the older points along.
    TestFailoverDeletesPoints,
    /// No test failover is remembered.
    ForgetsTestFailovers,
    /// A plan's groups go all at once.
    PlanAtOnce,
    /// Actions of plans are left out.
    SkipsActions,
    /// A planned failover goes on like an unplanned one.
    PlannedGoesOn,
    /// The source is never shut down where that is an option.
    LeavesSource,
    /// The latest point is the latest processed one.
    LatestIsProcessed,
    /// Every item is healthy.
    AlwaysHealthy,
    /// Nothing is wrong with any configuration.
    NoIssues,
    /// The extra step is not in the job.
    HidesHydration,
    /// Jobs go the other way.
    TurnsJobs,
    /// No job can be tried again.
    NoRetry,
    /// Jobs are listed without test failovers.
    HidesTestFailovers,
    /// What the target shall look like is forgotten.
    ForgetsTarget,
    /// A commit is answered with a job that has long ended, and not done.
    SkipsCommit,
    /// So is a change of point.
    SkipsChange,
    /// Nothing can be stopped.
    IgnoresCancel,
    /// A failback to Hyper-V does not wait to be completed.
    NeverWaits,
    /// A test failover shows the newest point, whichever was asked for.
    TestsNewestPoint,
    /// What a reprotection does not name is filled in.
    FillsIn,
    /// A choice that spans machines is each machine's own.
    EachItsOwn,
    /// Failovers and test failovers of plans are answered with a job that has long ended, and not done.
    SkipsPlans,
    /// The oldest point holds what the newest does.
    SwapsVolumes,
    /// Failback policies are not made.
    HidesPolicy,
    /// Failback policies follow no rule, lead nowhere and can be changed.
    LoosePolicy,
}

/// A sound core, bent.
pub struct Faulty {
    core: Arc<dyn ReplicationCore>,
    bend: InterfaceFault,
    /// Something was refused, or a test failover was cleaned up.
    happened: AtomicBool,
    plans: Mutex<Vec<RecoveryPlan>>,
}

impl Faulty {
    /// Bends a core.
    #[must_use]
    pub fn new(core: Arc<dyn ReplicationCore>, bend: InterfaceFault) -> Self {
        Self { core, bend, happened: AtomicBool::new(false), plans: Mutex::default() }
    }

    fn is(&self, bend: InterfaceFault) -> bool {
        self.bend == bend
    }

    /// An answer that begins a job.
    async fn begun(&self, answer: Result<JobId, CoreError>) -> Result<JobId, CoreError> {
        let Err(error) = answer else { return answer };
        self.happened.store(self.is(InterfaceFault::LeavesTrace), Ordering::SeqCst);
        match self.bend {
            InterfaceFault::AcceptsAll => self.ended_job().await,
            InterfaceFault::OtherCode => Err(CoreError { code: ErrorCode::Store, ..error }),
            _ => Err(error),
        }
    }

    /// A job that has nothing to do with what is asked.
    async fn ended_job(&self) -> Result<JobId, CoreError> {
        let jobs = self.core.jobs(&JobFilter::default()).await?;
        let none = || CoreError::new(ErrorCode::UnknownId, "there was no job yet");
        jobs.into_iter().next().map(|job| job.id).ok_or_else(none)
    }

    fn item_view(&self, mut view: ItemView) -> ItemView {
        let happened = self.happened.load(Ordering::SeqCst);
        match self.bend {
            InterfaceFault::LeavesTrace if happened => view.trouble.push_str(" (something was refused)"),
            InterfaceFault::TestFailoverDeletesPoints if happened => {
                drop(view.points.drain(..view.points.len().min(3)))
            }
            InterfaceFault::SwapsVolumes => {
                let newest =
                    view.points.iter().rfind(|point| point.processed).map(|point| point.volumes.clone());
                view.points
                    .iter_mut()
                    .take(1)
                    .for_each(|oldest| oldest.volumes = newest.clone().unwrap_or_default());
            }
            InterfaceFault::ForgetsTestFailovers => {
                view.test_failover_status = TestFailoverStatus::Recommended
            }
            InterfaceFault::AlwaysHealthy => view.health = Health::Healthy,
            InterfaceFault::NoIssues => view.issues.clear(),
            _ => {}
        }
        view
    }

    fn job_view(&self, mut view: JobView) -> JobView {
        match self.bend {
            InterfaceFault::HidesHydration => view.steps.retain(|step| step.name != Step::HYDRATE),
            InterfaceFault::TurnsJobs => {
                view.direction = match view.direction {
                    Direction::PrimaryToRecovery => Direction::RecoveryToPrimary,
                    Direction::RecoveryToPrimary => Direction::PrimaryToRecovery,
                }
            }
            _ => {}
        }
        view
    }

    fn point(&self, point: &PointChoice) -> PointChoice {
        match point {
            PointChoice::Latest if self.is(InterfaceFault::LatestIsProcessed) => PointChoice::LatestProcessed,
            PointChoice::LatestMultiVm | PointChoice::LatestMultiVmAppConsistent
                if self.is(InterfaceFault::EachItsOwn) =>
            {
                PointChoice::LatestProcessed
            }
            other => other.clone(),
        }
    }

    fn sync(&self, sync: DataSync) -> DataSync {
        if self.is(InterfaceFault::NeverWaits) { DataSync::DuringFailover } else { sync }
    }

    fn kind(&self, kind: FailoverKind, direction: Direction) -> FailoverKind {
        let bent = self.is(InterfaceFault::PlannedGoesOn) && direction == Direction::PrimaryToRecovery;
        if bent { FailoverKind::Unplanned } else { kind }
    }

    /// A plan as the core below is told of it.
    fn bent_plan(&self, plan: &RecoveryPlan) -> RecoveryPlan {
        let mut plan = plan.clone();
        match self.bend {
            InterfaceFault::PlanAtOnce => {
                let mut one = PlanGroup::default();
                for group in plan.groups.drain(..) {
                    one.items.extend(group.items);
                    one.before.extend(group.before);
                    one.after.extend(group.after);
                }
                plan.groups.push(one);
            }
            InterfaceFault::SkipsActions => {
                for group in &mut plan.groups {
                    group.before.clear();
                    group.after.clear();
                }
            }
            _ => {}
        }
        plan
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Vec<RecoveryPlan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ReplicationCore for Faulty {
    async fn capabilities(&self) -> Result<Capabilities, CoreError> {
        self.core.capabilities().await
    }

    async fn create_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        self.core.create_policy(id, policy).await
    }

    async fn update_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        match self.core.update_policy(id, policy).await {
            Err(error) if error.code == ErrorCode::ReadOnly && self.is(InterfaceFault::LoosePolicy) => Ok(()),
            answer => answer,
        }
    }

    async fn delete_policy(&self, id: &PolicyId) -> Result<(), CoreError> {
        self.core.delete_policy(id).await
    }

    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        let mut all = self.core.policies().await?;
        all.retain(|view| {
            !(self.is(InterfaceFault::HidesPolicy) && view.direction == Direction::RecoveryToPrimary)
        });
        for view in &mut all {
            if self.is(InterfaceFault::LoosePolicy) && view.direction == Direction::RecoveryToPrimary {
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
        if self.is(InterfaceFault::ForgetsTarget) {
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
        let bent = FailoverRequest {
            kind: self.kind(request.kind, request.direction),
            point: self.point(&request.point),
            shut_down_source: request.shut_down_source && !self.is(InterfaceFault::LeavesSource),
            data_sync: request.data_sync.map(|sync| self.sync(sync)),
            ..request.clone()
        };
        self.begun(self.core.failover(&bent).await).await
    }

    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        let newest = TestFailoverRequest { point: PointChoice::LatestProcessed, ..request.clone() };
        let bent = if self.is(InterfaceFault::TestsNewestPoint) { &newest } else { request };
        self.begun(self.core.test_failover(bent).await).await
    }

    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.happened.store(self.is(InterfaceFault::TestFailoverDeletesPoints), Ordering::SeqCst);
        self.begun(self.core.clean_up_test_failover(item).await).await
    }

    async fn complete_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        self.core.complete_failover(item).await
    }

    async fn cancel_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        if self.is(InterfaceFault::IgnoresCancel) {
            return Ok(());
        }
        self.core.cancel_failover(item).await
    }

    async fn change_point(&self, item: &ItemId, point: &PointChoice) -> Result<JobId, CoreError> {
        if self.is(InterfaceFault::SkipsChange) {
            return self.ended_job().await;
        }
        self.begun(self.core.change_point(item, &self.point(point)).await).await
    }

    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError> {
        if self.is(InterfaceFault::SkipsCommit) {
            return self.ended_job().await;
        }
        self.begun(self.core.commit(item).await).await
    }

    async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobId, CoreError> {
        let mut bent = request.clone();
        if self.is(InterfaceFault::FillsIn) {
            bent.process_server.get_or_insert_with(|| "cloud-process-server".into());
            bent.master_target.get_or_insert_with(|| "master-target".into());
            bent.retention_drive.get_or_insert_with(|| "/mnt/retention".to_owned());
            bent.datastore.get_or_insert_with(|| "datastore-1".into());
        }
        self.begun(self.core.reprotect(&bent).await).await
    }

    async fn reverse_replicate(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.begun(self.core.reverse_replicate(item).await).await
    }

    async fn create_plan(&self, plan: &RecoveryPlan) -> Result<(), CoreError> {
        self.core.create_plan(&self.bent_plan(plan)).await?;
        self.told().push(plan.clone());
        Ok(())
    }

    async fn delete_plan(&self, plan: &PlanId) -> Result<(), CoreError> {
        self.core.delete_plan(plan).await?;
        self.told().retain(|other| other.id != *plan);
        Ok(())
    }

    async fn plans(&self) -> Result<Vec<RecoveryPlan>, CoreError> {
        Ok(self.told().clone())
    }

    async fn failover_plan(&self, request: &PlanFailoverRequest) -> Result<JobId, CoreError> {
        let bent = PlanFailoverRequest {
            kind: self.kind(request.kind, request.direction),
            point: self.point(&request.point),
            ..request.clone()
        };
        if self.is(InterfaceFault::SkipsPlans) {
            return self.ended_job().await;
        }
        self.begun(self.core.failover_plan(&bent).await).await
    }

    async fn test_failover_plan(&self, request: &PlanTestFailoverRequest) -> Result<JobId, CoreError> {
        if self.is(InterfaceFault::SkipsPlans) {
            return self.ended_job().await;
        }
        self.begun(self.core.test_failover_plan(request).await).await
    }

    async fn clean_up_test_failover_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.begun(self.core.clean_up_test_failover_plan(plan).await).await
    }

    async fn commit_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.begun(self.core.commit_plan(plan).await).await
    }

    async fn reprotect_plan(&self, request: &PlanReprotectRequest) -> Result<JobId, CoreError> {
        self.begun(self.core.reprotect_plan(request).await).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, CoreError> {
        let hides = |view: &JobView| {
            self.is(InterfaceFault::HidesTestFailovers) && view.kind == contract::JobKind::TestFailover
        };
        let all = self.core.jobs(filter).await?.into_iter().filter(|view| !hides(view));
        Ok(all.map(|view| self.job_view(view)).collect())
    }

    async fn retry_job(&self, job: &JobId) -> Result<(), CoreError> {
        if self.is(InterfaceFault::NoRetry) {
            return Err(CoreError::new(ErrorCode::NotCurable, "there is no second attempt"));
        }
        self.core.retry_job(job).await
    }

    async fn resume_job(&self, job: &JobId) -> Result<(), CoreError> {
        self.core.resume_job(job).await
    }

    async fn cancel_job(&self, job: &JobId) -> Result<(), CoreError> {
        if self.is(InterfaceFault::IgnoresCancel) {
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
