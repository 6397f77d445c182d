//! Faults at the core's interface: a decorator that changes requests to a sound core, or its
//! answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use contract::{
    ActionWork, Capabilities, CoreError, DataSync, Direction, EnableProtection, ErrorCode, FailoverKind,
    FailoverRequest, Health, ItemId, ItemView, JobFilter, JobId, JobView, PlanAction, PlanFailoverRequest,
    PlanGroup, PlanId, PlanReprotectRequest, PlanTestFailoverRequest, PointChoice, Policy, PolicyId,
    PolicyView, RecoveryPlan, ReplicationCore, ReprotectRequest, Side, TargetSettings, TestFailoverRequest,
};

use super::activation::Activation;
use super::interface::InterfaceFault;
use super::mutant::Kind;

/// A sound core behind an interface with a fault.
pub(super) struct FaultyInterface {
    pub(super) core: Arc<dyn ReplicationCore>,
    fault: Kind,
    activation: Arc<Activation>,
    /// The event occurred whose effect the fault adds to every later answer: a refusal, or the
    /// clean-up of a test failover.
    pub(super) triggered: AtomicBool,
    /// The plans as they were created; the core behind may have been given others.
    plans: Mutex<Vec<RecoveryPlan>>,
    /// The policies that were created since it was opened.
    policies: Mutex<Vec<PolicyId>>,
}

impl FaultyInterface {
    pub(super) fn new(core: Arc<dyn ReplicationCore>, fault: Kind, activation: Arc<Activation>) -> Self {
        let (plans, policies) = (Mutex::default(), Mutex::default());
        Self { core, fault, activation, triggered: AtomicBool::new(false), plans, policies }
    }

    /// The fault, once it is activated.
    pub(super) fn active_kind(&self) -> Option<Kind> {
        self.activation.is_active().then_some(self.fault)
    }

    /// The fault by name, once it is activated.
    pub(super) fn active(&self) -> Option<InterfaceFault> {
        match self.active_kind() {
            Some(Kind::Interface(fault)) => Some(fault),
            _ => None,
        }
    }

    /// Whether this is the fault and it is active. What is asked for then, is altered.
    pub(super) fn has(&self, fault: InterfaceFault) -> bool {
        let has = self.active() == Some(fault);
        self.note(has);
        has
    }

    /// Records whether the fault has altered something.
    pub(super) fn note(&self, altered: bool) {
        if altered {
            self.activation.note_act();
        }
    }

    /// Another choice of point than the one that was asked for.
    pub(super) async fn point(&self, item: Option<&ItemId>, point: &PointChoice) -> PointChoice {
        match point {
            PointChoice::Latest if self.has(InterfaceFault::LatestIsOldest) => {
                let points = match item {
                    Some(item) => self.core.item(item).await.map(|view| view.points).unwrap_or_default(),
                    None => Vec::new(),
                };
                let oldest = points.into_iter().next().map(|point| PointChoice::Custom(point.id));
                oldest.unwrap_or(PointChoice::Latest)
            }
            PointChoice::LatestProcessed if self.has(InterfaceFault::ProcessedIsLatest) => {
                PointChoice::Latest
            }
            PointChoice::LatestAppConsistent if self.has(InterfaceFault::AppConsistentIsNewest) => {
                PointChoice::LatestProcessed
            }
            PointChoice::Custom(_) if self.has(InterfaceFault::CustomIsNewest) => {
                PointChoice::LatestProcessed
            }
            PointChoice::Latest if self.has(InterfaceFault::LatestByDate) => {
                let points = match item {
                    Some(item) => self.core.item(item).await.map(|view| view.points).unwrap_or_default(),
                    None => Vec::new(),
                };
                let latest = points.into_iter().filter(|point| point.processed).max_by_key(|it| it.time);
                latest.map_or(PointChoice::Latest, |point| PointChoice::Custom(point.id))
            }
            PointChoice::Custom(named) if self.has(InterfaceFault::UsesNextPoint) => {
                let points = match item {
                    Some(item) => self.core.item(item).await.map(|view| view.points).unwrap_or_default(),
                    None => Vec::new(),
                };
                let next = points.into_iter().skip_while(|point| point.id != *named).nth(1);
                next.map_or(PointChoice::Custom(named.clone()), |point| PointChoice::Custom(point.id))
            }
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
            Some(InterfaceFault::ReversesPlan) => plan.groups.reverse(),
            Some(InterfaceFault::DropsPlanMember) => drop(plan.groups.pop()),
            Some(InterfaceFault::SkipsManualSteps) => {
                for group in &mut plan.groups {
                    let is_script = |action: &PlanAction| !matches!(action.work, ActionWork::Manual { .. });
                    group.before.retain(is_script);
                    group.after.retain(is_script);
                }
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

    /// Refuses a plan with a machine that has no recovery point, although others have some.
    async fn refuse_partial(&self, id: &PlanId) -> Result<(), CoreError> {
        if !self.has(InterfaceFault::RefusesPartialPlans) {
            return Ok(());
        }
        let plans = self.core.plans().await?.into_iter().filter(|plan| plan.id == *id);
        for item in plans.flat_map(|plan| plan.groups).flat_map(|group| group.items) {
            if self.core.item(&item).await?.points.is_empty() {
                let text = format!("{item} has no recovery point");
                return Err(CoreError::new(ErrorCode::NoRecoveryPoint, text));
            }
        }
        Ok(())
    }

    fn created_policies(&self) -> MutexGuard<'_, Vec<PolicyId>> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut policy = *policy;
        if self.has(InterfaceFault::HalvesRetention) {
            policy.retention.0 /= 2;
        }
        if self.has(InterfaceFault::DoublesInterval) {
            policy.interval.0 *= 2;
        }
        self.core.create_policy(id, &policy).await?;
        self.created_policies().push(id.clone());
        Ok(())
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
        if self.has(InterfaceFault::KeepsDeletedPolicies) {
            return Ok(());
        }
        match self.core.delete_policy(id).await {
            Err(error) if error.code == ErrorCode::InUse && self.has(InterfaceFault::DeletesUsedPolicies) => {
                Ok(())
            }
            answer => answer,
        }
    }

    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        let mut all = self.core.policies().await?;
        all.retain(|view| {
            !(self.has(InterfaceFault::HidesFailbackPolicy) && view.direction == Direction::RecoveryToPrimary)
        });
        if self.has(InterfaceFault::ForgetsPolicies) {
            let created = self.created_policies();
            let is_created = |id: &PolicyId| created.contains(id);
            all.retain(|view| is_created(&view.id) || view.counterpart.as_ref().is_some_and(is_created));
        }
        for view in &mut all {
            if self.has(InterfaceFault::LooseFailbackPolicy) && view.direction == Direction::RecoveryToPrimary
            {
                view.policy.retention = Policy::longest_retention(view.policy.source);
                view.configuration_servers.clear();
            }
            if self.has(InterfaceFault::UnlinksPolicies) {
                view.counterpart = None;
            }
            if self.has(InterfaceFault::DoublesInterval) {
                view.policy.interval.0 /= 2;
            }
        }
        Ok(all)
    }

    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError> {
        self.started(self.core.enable_protection(request).await).await
    }

    async fn disable_protection(&self, item: &ItemId) -> Result<JobId, CoreError> {
        if self.active() == Some(InterfaceFault::EndsHealthyOnly)
            && self.core.item(item).await?.health != Health::Healthy
            && self.has(InterfaceFault::EndsHealthyOnly)
        {
            return Err(CoreError::new(ErrorCode::Platform, "the recovery site does not answer"));
        }
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
        self.invented(request.direction)?;
        self.demands_test_failover(request).await?;
        if self.downloads_differences(request) {
            return self.synchronise_first(request).await;
        }
        let alternate = request.alternate.clone().filter(|_| !self.has(InterfaceFault::IgnoresAlternateHost));
        let changed = FailoverRequest {
            alternate,
            kind: self.kind(request.kind, request.direction),
            point: self.failover_point(request).await,
            shut_down_source: self.shuts_down(request),
            data_sync: request.data_sync.map(|sync| self.sync(sync)),
            ..request.clone()
        };
        self.started(self.core.failover(&changed).await).await
    }

    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        let is_newest = matches!(request.point, PointChoice::Latest | PointChoice::LatestProcessed);
        if !is_newest && self.has(InterfaceFault::RefusesTestPoints) {
            return Err(CoreError::new(ErrorCode::BadRequest, "this core tests the newest point only"));
        }
        let point = match self.has(InterfaceFault::TestsNewestPoint) {
            true => PointChoice::LatestProcessed,
            false => self.point(Some(&request.item), &request.point).await,
        };
        let changed = TestFailoverRequest { point, ..request.clone() };
        self.started(self.core.test_failover(&changed).await).await
    }

    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError> {
        if self.has(InterfaceFault::SkipsCleanUp) {
            return self.ended_job().await;
        }
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
        self.started(self.core.change_point(item, &self.point(Some(item), point).await).await).await
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
        self.invented(request.direction)?;
        let mut changed = request.clone();
        if changed.master_target.is_some() && self.has(InterfaceFault::DefaultMasterTarget) {
            changed.master_target = Some("master-target".into());
        }
        if changed.datastore.is_some() && self.has(InterfaceFault::DefaultDatastore) {
            changed.datastore = Some("datastore-1".into());
        }
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

    async fn verify(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.started(self.core.verify(item).await).await
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
        let mut all = self.core.plans().await?;
        let created = self.created_plans();
        if self.has(InterfaceFault::ForgetsPlans) {
            all.retain(|plan| created.iter().any(|known| known.id == plan.id));
        }
        // The core behind may have been given another plan than the one that was created.
        let as_created =
            |plan: RecoveryPlan| created.iter().find(|known| known.id == plan.id).cloned().unwrap_or(plan);
        Ok(all.into_iter().map(as_created).collect())
    }

    async fn failover_plan(&self, request: &PlanFailoverRequest) -> Result<JobId, CoreError> {
        let changed = PlanFailoverRequest {
            kind: self.kind(request.kind, request.direction),
            point: self.point(None, &request.point).await,
            ..request.clone()
        };
        if self.has(InterfaceFault::SkipsPlans) {
            return self.ended_job().await;
        }
        self.refuse_partial(&request.plan).await?;
        self.started(self.core.failover_plan(&changed).await).await
    }

    async fn test_failover_plan(&self, request: &PlanTestFailoverRequest) -> Result<JobId, CoreError> {
        if self.has(InterfaceFault::SkipsPlans) {
            return self.ended_job().await;
        }
        self.refuse_partial(&request.plan).await?;
        self.started(self.core.test_failover_plan(request).await).await
    }

    async fn clean_up_test_failover_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.started(self.core.clean_up_test_failover_plan(plan).await).await
    }

    async fn commit_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.started(self.core.commit_plan(plan).await).await
    }

    async fn reprotect_plan(&self, request: &PlanReprotectRequest) -> Result<JobId, CoreError> {
        let mut changed = request.clone();
        if changed.settings.len() > 1 && self.has(InterfaceFault::MixesPlanSettings) {
            let others = request.settings.iter().cycle().skip(1);
            changed.settings.iter_mut().zip(others).for_each(|(one, other)| one.item = other.item.clone());
        }
        self.started(self.core.reprotect_plan(&changed).await).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, CoreError> {
        self.fail_over_critical().await?;
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
