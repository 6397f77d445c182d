//! The interface over the core: each verb finds what it concerns and hands it to the module that does the work.

use async_trait::async_trait;
use contract::{
    Capabilities, CoreError, EnableProtection, ErrorCode, FailoverRequest, Health, ItemId, ItemView,
    JobFilter, JobId, JobView, Operation, PlanFailoverRequest, PlanId, PlanReprotectRequest,
    PlanTestFailoverRequest, PointChoice, Policy, PolicyId, PolicyView, RecoveryPlan, ReplicationCore,
    ReprotectRequest, TargetSettings, TestFailoverRequest,
};

use crate::core::{Core, unknown};
use crate::plan::PlanOrder;
use crate::processor::not_replicating;
use crate::{commit, configuration, failover, plan, protect, reprotect, test_failover};

/// How often it is looked whether data has grown too old.
const AGES_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

#[async_trait]
impl ReplicationCore for Core {
    async fn capabilities(&self) -> Result<Capabilities, CoreError> {
        use Operation::{
            CancelFailover, ChangePoint, Commit, CompleteFailover, DisableProtection, PlannedFailover,
            Reprotect, ReverseReplicate, TestFailover, TestFailoverCleanup, UnplannedFailover,
        };
        Ok(Capabilities {
            name: format!("built-in {}", env!("CARGO_PKG_VERSION")),
            operations: vec![
                TestFailover,
                TestFailoverCleanup,
                PlannedFailover,
                UnplannedFailover,
                CompleteFailover,
                CancelFailover,
                ChangePoint,
                Commit,
                Reprotect,
                ReverseReplicate,
                DisableProtection,
            ],
            plans: plan::LIMITS,
        })
    }

    async fn create_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        let servers = crate::policy::servers(&self.inner, policy.source).await;
        self.inner.policies.create(&self.inner.store, id, policy, servers)
    }

    async fn update_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        self.inner.policies.update(&self.inner.store, id, policy)
    }

    async fn delete_policy(&self, id: &PolicyId) -> Result<(), CoreError> {
        for item in self.inner.all_items().await {
            if item.record.lock().await.policy == *id {
                let text = format!("item {} is under policy {id}; end its protection first", item.id);
                return Err(CoreError::new(ErrorCode::InUse, text));
            }
        }
        self.inner.policies.delete(&self.inner.store, id)
    }

    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        Ok(self.inner.policies.all())
    }

    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError> {
        protect::enable(&self.inner, request).await
    }

    async fn disable_protection(&self, item: &ItemId) -> Result<JobId, CoreError> {
        protect::disable(&self.inner, item).await
    }

    async fn update_target(&self, item: &ItemId, target: &TargetSettings) -> Result<ItemView, CoreError> {
        configuration::update_target(&self.inner, item, target).await
    }

    async fn check_configuration(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        configuration::check(&self.inner, item).await
    }

    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        self.inner.view(&*self.inner.find(item).await?).await
    }

    async fn items(&self) -> Result<Vec<ItemView>, CoreError> {
        let mut views = Vec::new();
        for item in self.inner.all_items().await {
            views.push(self.inner.view(&item).await?);
        }
        Ok(views)
    }

    async fn watch_points(&self, item: &ItemId, count: u64) -> Result<ItemView, CoreError> {
        let item = self.inner.find(item).await?;
        let mut changed = item.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let record = item.record.lock().await.clone();
            match (&record.replica, &record.trouble) {
                (Some(replica), _) if replica.processed_count >= count => {
                    return self.inner.view(&item).await;
                }
                (_, Some(trouble)) => return Err(CoreError::new(ErrorCode::Platform, trouble.clone())),
                (None, None) => return Err(not_replicating()),
                (Some(_), None) => {}
            }
            if changed.changed().await.is_err() {
                return Err(not_replicating());
            }
        }
    }

    async fn watch_health(&self, item: &ItemId, known: Health) -> Result<ItemView, CoreError> {
        loop {
            // Found anew each time: its protection may have ended.
            let found = self.inner.find(item).await?;
            let mut changed = found.changed.subscribe();
            let view = self.inner.view(&found).await?;
            if view.health != known {
                return Ok(view);
            }
            // Data grows old without any change of the record.
            let _ = tokio::time::timeout(AGES_EVERY, changed.changed()).await;
        }
    }

    async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError> {
        failover::fail_over(&self.inner, request).await
    }

    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        test_failover::start(&self.inner, request).await
    }

    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError> {
        test_failover::clean_up(&self.inner, item).await
    }

    async fn complete_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        match self.inner.held_by(item, |job| job.complete()).await? {
            Some(true) => Ok(()),
            _ => Err(CoreError::new(ErrorCode::NotAllowedInState, "no failover waits to be completed")),
        }
    }

    async fn cancel_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        let holder = self.inner.find(item).await?.holder();
        let none = || CoreError::new(ErrorCode::NotAllowedInState, "no failover runs");
        self.inner.cancel(&holder.ok_or_else(none)?).await
    }

    async fn reverse_replicate(&self, item: &ItemId) -> Result<JobId, CoreError> {
        reprotect::reverse_replicate(&self.inner, item).await
    }

    async fn change_point(&self, item: &ItemId, point: &PointChoice) -> Result<JobId, CoreError> {
        failover::change_point(&self.inner, item, point).await
    }

    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError> {
        commit::commit(&self.inner, item).await
    }

    async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobId, CoreError> {
        reprotect::reprotect(&self.inner, request).await
    }

    async fn create_plan(&self, plan: &RecoveryPlan) -> Result<(), CoreError> {
        plan::create(&self.inner, plan).await
    }

    async fn delete_plan(&self, plan: &PlanId) -> Result<(), CoreError> {
        plan::delete(&self.inner, plan).await
    }

    async fn plans(&self) -> Result<Vec<RecoveryPlan>, CoreError> {
        Ok(plan::list(&self.inner).await)
    }

    async fn failover_plan(&self, request: &PlanFailoverRequest) -> Result<JobId, CoreError> {
        plan::start(&self.inner, &request.plan, PlanOrder::Failover(request.clone())).await
    }

    async fn test_failover_plan(&self, request: &PlanTestFailoverRequest) -> Result<JobId, CoreError> {
        plan::start(&self.inner, &request.plan, PlanOrder::TestFailover(request.clone())).await
    }

    async fn clean_up_test_failover_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        plan::start(&self.inner, plan, PlanOrder::CleanUp).await
    }

    async fn commit_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        plan::start(&self.inner, plan, PlanOrder::Commit).await
    }

    async fn reprotect_plan(&self, request: &PlanReprotectRequest) -> Result<JobId, CoreError> {
        plan::start(&self.inner, &request.plan, PlanOrder::Reprotect(request.clone())).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, CoreError> {
        Ok(self.inner.list_jobs(filter).await)
    }

    async fn retry_job(&self, job: &JobId) -> Result<(), CoreError> {
        self.inner.retry(job).await
    }

    async fn resume_job(&self, job: &JobId) -> Result<(), CoreError> {
        self.inner.resume(job).await
    }

    async fn cancel_job(&self, job: &JobId) -> Result<(), CoreError> {
        self.inner.cancel(job).await
    }

    async fn job(&self, job: &JobId) -> Result<JobView, CoreError> {
        let view = self.inner.find_job(job).await?.view();
        Ok(self.inner.show(view).await)
    }

    async fn watch_job(&self, job: &JobId, after: u64) -> Result<JobView, CoreError> {
        let mut view = self.inner.find_job(job).await?.watch();
        let seen = view.wait_for(|view| view.revision > after || view.state.ended()).await;
        let seen = seen.map(|view| view.clone()).map_err(|_| unknown("job", job))?;
        Ok(self.inner.show(seen).await)
    }

    async fn close(&self) -> Result<(), CoreError> {
        self.looks.abort();
        for item in self.inner.all_items().await {
            self.inner.stop_engine(&item).await;
        }
        Ok(())
    }
}
