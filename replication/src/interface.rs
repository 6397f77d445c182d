//! Implements [`ReplicationCore`]: each method finds the items that it concerns and calls the
//! module that does the work.

use async_trait::async_trait;
use contract::{
    Capabilities, CoreError, EnableProtection, ErrorCode, FailoverRequest, Health, ItemId, ItemView,
    JobFilter, JobId, JobView, Millis, Operation, PlanFailoverRequest, PlanId, PlanReprotectRequest,
    PlanTestFailoverRequest, PointChoice, Policy, PolicyId, PolicyView, RecoveryPlan, ReplicationCore,
    ReprotectRequest, TargetSettings, TestFailoverRequest,
};

use crate::core::Core;
use crate::error::{not_replicating, unknown};
use crate::jobs::{recovery, runner};
use crate::operations::protect;
use crate::plan::{registry, runner as plan_runner};
use crate::state::{Command, PlanCommand};
use crate::{configuration, item_view, job_requests, policy, replication_tasks};

/// How often `watch_health` checks whether data has become too old.
const AGE_CHECK_EVERY: Millis = Millis(500);

impl Core {
    /// Starts a job that executes a command for an item.
    async fn start(&self, item: &ItemId, command: Command) -> Result<JobId, CoreError> {
        let item = self.ctx.find(item).await?;
        Ok(runner::start(&self.ctx, &item, command, None).await?.id())
    }

    async fn stop_replication(&self) {
        for item in self.ctx.all_items().await {
            replication_tasks::stop(&item).await;
        }
    }

    /// Starts a job that executes a command for a plan.
    async fn start_plan(&self, plan: &PlanId, command: PlanCommand) -> Result<JobId, CoreError> {
        plan_runner::start(&self.ctx, plan, command).await
    }
}

#[async_trait]
impl ReplicationCore for Core {
    async fn capabilities(&self) -> Result<Capabilities, CoreError> {
        use Operation::{
            CancelFailover, ChangePoint, Commit, CompleteFailover, DisableProtection, PlannedFailover,
            Reprotect, ReverseReplicate, TestFailover, TestFailoverCleanup, UnplannedFailover, Verify,
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
                Verify,
            ],
            plans: registry::LIMITS,
            windows_registry: true,
            several_nics: true,
        })
    }

    async fn create_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        let servers = policy::servers(self.ctx.platforms(), policy.source).await;
        self.ctx.policies.create(&self.ctx.store, id, policy, servers)
    }

    async fn update_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        self.ctx.policies.update(&self.ctx.store, id, policy)
    }

    async fn delete_policy(&self, id: &PolicyId) -> Result<(), CoreError> {
        for item in self.ctx.all_items().await {
            if item.record.lock().await.policy == *id {
                let text = format!("item {} uses policy {id}; disable its protection first", item.id);
                return Err(CoreError::new(ErrorCode::InUse, text));
            }
        }
        self.ctx.policies.delete(&self.ctx.store, id)
    }

    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        Ok(self.ctx.policies.all())
    }

    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError> {
        let item = protect::admit(&self.ctx, request).await?;
        let command = Command::Enable(Box::new(request.clone()));
        Ok(runner::start(&self.ctx, &item, command, None).await?.id())
    }

    async fn disable_protection(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.start(item, Command::Disable).await
    }

    async fn update_target(&self, item: &ItemId, target: &TargetSettings) -> Result<ItemView, CoreError> {
        configuration::update_target(&self.ctx, item, target).await
    }

    async fn check_configuration(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        configuration::check_now(&self.ctx, item).await
    }

    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        item_view::show(&self.ctx, &*self.ctx.find(item).await?).await
    }

    async fn items(&self) -> Result<Vec<ItemView>, CoreError> {
        let mut views = Vec::new();
        for item in self.ctx.all_items().await {
            views.push(item_view::show(&self.ctx, &item).await?);
        }
        Ok(views)
    }

    async fn watch_points(&self, item: &ItemId, count: u64) -> Result<ItemView, CoreError> {
        let item = self.ctx.find(item).await?;
        let mut changed = item.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let record = item.record.lock().await.clone();
            match (&record.replica, &record.replication_error) {
                (Some(replica), _) if replica.processed_count >= count => {
                    return item_view::show(&self.ctx, &item).await;
                }
                (_, Some(error)) => return Err(CoreError::new(ErrorCode::Platform, error.clone())),
                (None, None) => return Err(not_replicating()),
                (Some(_), None) => {}
            }
            if changed.changed().await.is_err() {
                return Err(not_replicating());
            }
        }
    }

    async fn watch_health(&self, item: &ItemId, known: Health) -> Result<ItemView, CoreError> {
        let clock = self.ctx.clock();
        loop {
            // Looked up again each time, because its protection may have ended.
            let found = self.ctx.find(item).await?;
            let mut changed = found.changed.subscribe();
            let view = item_view::show(&self.ctx, &found).await?;
            if view.health != known {
                return Ok(view);
            }
            // Data becomes too old without a change of the record.
            tokio::select! {
                _ = changed.changed() => {}
                () = clock.sleep(AGE_CHECK_EVERY) => {}
            }
        }
    }

    async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError> {
        self.start(&request.item, Command::Failover(request.clone())).await
    }

    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        self.start(&request.item, Command::TestFailover(request.clone())).await
    }

    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.start(item, Command::TestFailoverCleanup).await
    }

    async fn complete_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        let job = self.ctx.find(item).await?.job();
        let completed = match job {
            Some(job) => self.ctx.find_job(&job).await.is_ok_and(|job| job.complete()),
            None => false,
        };
        if completed {
            return Ok(());
        }
        Err(CoreError::new(ErrorCode::NotAllowedInState, "no failover waits to be completed"))
    }

    async fn cancel_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        let job = self.ctx.find(item).await?.job();
        let none = || CoreError::new(ErrorCode::NotAllowedInState, "no failover runs");
        job_requests::cancel(&self.ctx, &job.ok_or_else(none)?).await
    }

    async fn reverse_replicate(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.start(item, Command::ReverseReplicate).await
    }

    async fn verify(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.start(item, Command::Verify).await
    }

    async fn change_point(&self, item: &ItemId, point: &PointChoice) -> Result<JobId, CoreError> {
        self.start(item, Command::ChangePoint(point.clone())).await
    }

    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.start(item, Command::Commit).await
    }

    async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobId, CoreError> {
        if let Some(group) = &self.ctx.find(&request.item).await?.record.lock().await.group {
            let text =
                format!("{} is in group {group}, which a plan has to reprotect as a whole", request.item);
            return Err(CoreError::new(ErrorCode::OnlyThroughPlan, text));
        }
        self.start(&request.item, Command::Reprotect(request.clone())).await
    }

    async fn create_plan(&self, plan: &RecoveryPlan) -> Result<(), CoreError> {
        registry::create(&self.ctx, plan).await
    }

    async fn delete_plan(&self, plan: &PlanId) -> Result<(), CoreError> {
        registry::delete(&self.ctx, plan).await
    }

    async fn plans(&self) -> Result<Vec<RecoveryPlan>, CoreError> {
        Ok(registry::list(&self.ctx).await)
    }

    async fn failover_plan(&self, request: &PlanFailoverRequest) -> Result<JobId, CoreError> {
        self.start_plan(&request.plan, PlanCommand::Failover(request.clone())).await
    }

    async fn test_failover_plan(&self, request: &PlanTestFailoverRequest) -> Result<JobId, CoreError> {
        self.start_plan(&request.plan, PlanCommand::TestFailover(request.clone())).await
    }

    async fn clean_up_test_failover_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.start_plan(plan, PlanCommand::CleanUp).await
    }

    async fn commit_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        self.start_plan(plan, PlanCommand::Commit).await
    }

    async fn reprotect_plan(&self, request: &PlanReprotectRequest) -> Result<JobId, CoreError> {
        self.start_plan(&request.plan, PlanCommand::Reprotect(request.clone())).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, CoreError> {
        Ok(job_requests::list(&self.ctx, filter).await)
    }

    async fn retry_job(&self, job: &JobId) -> Result<(), CoreError> {
        job_requests::retry(&self.ctx, job).await
    }

    async fn resume_job(&self, job: &JobId) -> Result<(), CoreError> {
        job_requests::resume(&self.ctx, job).await
    }

    async fn cancel_job(&self, job: &JobId) -> Result<(), CoreError> {
        job_requests::cancel(&self.ctx, job).await
    }

    async fn job(&self, job: &JobId) -> Result<JobView, CoreError> {
        let view = self.ctx.find_job(job).await?.view();
        Ok(job_requests::show(&self.ctx, view).await)
    }

    async fn watch_job(&self, job: &JobId, after: u64) -> Result<JobView, CoreError> {
        let mut view = self.ctx.find_job(job).await?.watch();
        let seen = view.wait_for(|view| view.revision > after || view.state.ended()).await;
        let seen = seen.map(|view| view.clone()).map_err(|_| unknown("job", job))?;
        Ok(job_requests::show(&self.ctx, seen).await)
    }

    async fn close(&self) -> Result<(), CoreError> {
        self.configuration_checks.abort();
        self.stop_replication().await;
        let interrupted = self.ctx.tasks.stop().await;
        // A job may have started replication meanwhile.
        self.stop_replication().await;
        if interrupted {
            recovery::close_all(&self.ctx).await;
        }
        Ok(())
    }
}
