//! What is tested: a replication core.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    CoreError, EnableProtection, ErrorCode, FailoverRequest, Health, ItemId, ItemView, JobFilter, JobId,
    JobView, Operation, PlanFailoverRequest, PlanId, PlanLimits, PlanReprotectRequest,
    PlanTestFailoverRequest, PointChoice, Policy, PolicyId, PolicyView, RecoveryPlan, ReprotectRequest,
    TargetSettings, TestFailoverRequest,
};

/// What a core can do. What is missing here is verified to be refused with `not-supported`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Name and version of the core, for reports.
    pub name: String,
    /// Operations it knows.
    pub operations: Vec<Operation>,
    /// How large a recovery plan may be (EX-P1).
    pub plans: PlanLimits,
}

/// The refusal of an operation that a core does not have.
fn unsupported<T>(operation: &str, _asked: impl Sized) -> Result<T, CoreError> {
    Err(CoreError::new(ErrorCode::NotSupported, format!("this core has no {operation}")))
}

/// A replication core. Calls that take time return a job at once; a refusal is returned instead of a job and
/// changes nothing (LC-02).
///
/// A core that cannot do something leaves the method out: by default a method refuses with `not-supported`.
#[async_trait]
pub trait ReplicationCore: Send + Sync {
    /// What this core can do.
    async fn capabilities(&self) -> Result<Capabilities, CoreError>;

    /// Makes a policy, and with it the policy for the way back where that has one of its own (PO-01), named like it
    /// with `-failback` at the end.
    async fn create_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        unsupported("create_policy", (id, policy))
    }

    /// Changes what a policy says, for every item under it from its next transfer on. A failback policy is read-only
    /// (PO-03).
    async fn update_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        unsupported("update_policy", (id, policy))
    }

    /// Deletes a policy that no item uses, and the failback policy made with it.
    async fn delete_policy(&self, id: &PolicyId) -> Result<(), CoreError> {
        unsupported("delete_policy", id)
    }

    /// All policies.
    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        unsupported("policies", ())
    }

    /// Begins to protect a machine: initial replication, then changes at the policy's interval.
    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError>;

    /// Ends protection: tracking off, points and replica gone, machines untouched.
    async fn disable_protection(&self, item: &ItemId) -> Result<JobId, CoreError> {
        unsupported("disable_protection", item)
    }

    /// Changes what the machine shall look like on the recovery side, until it fails over (FO-17).
    ///
    /// # Errors
    /// The item has failed over, or a job holds it.
    async fn update_target(&self, item: &ItemId, target: &TargetSettings) -> Result<ItemView, CoreError> {
        unsupported("update_target", (item, target))
    }

    /// Looks for what would keep the item from failing over as it is configured, now rather than at the next regular
    /// time (MO-03); [`ItemView::issues`] holds what was found.
    async fn check_configuration(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        unsupported("check_configuration", item)
    }

    /// One item.
    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError>;

    /// All items.
    async fn items(&self) -> Result<Vec<ItemView>, CoreError> {
        unsupported("items", ())
    }

    /// Returns as soon as the item has processed point number `count` in its current direction, counted from
    /// the start of replication in that direction, or cannot get there.
    ///
    /// # Errors
    /// Replication is not running, or failed on the way.
    async fn watch_points(&self, item: &ItemId, count: u64) -> Result<ItemView, CoreError> {
        unsupported("watch_points", (item, count))
    }

    /// Returns as soon as the item's health is another than `known` (MO-01).
    ///
    /// # Errors
    /// `unknown-id`, also if protection ends meanwhile.
    async fn watch_health(&self, item: &ItemId, known: Health) -> Result<ItemView, CoreError> {
        unsupported("watch_health", (item, known))
    }

    /// Fails over, or back.
    async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError>;

    /// Builds and starts a separate copy in an isolated network; replication goes on (TF-01 to TF-04).
    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        unsupported("test_failover", request)
    }

    /// Removes everything a test failover made (TF-06).
    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError> {
        unsupported("clean_up_test_failover", item)
    }

    /// Lets a failback that waits after its data synchronisation go on to its second phase (HF-08, JO-02).
    async fn complete_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        unsupported("complete_failover", item)
    }

    /// Stops the failover that runs or waits. Replication does not come back by itself (FO-12, JO-04).
    async fn cancel_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        unsupported("cancel_failover", item)
    }

    /// Builds the target from another point, between failover and commit (FO-02).
    async fn change_point(&self, item: &ItemId, point: &PointChoice) -> Result<JobId, CoreError> {
        unsupported("change_point", (item, point))
    }

    /// Makes a failover final and deletes the recovery points (FO-03, FO-04). After a failback it also removes
    /// the cloud machine (FB-11).
    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError>;

    /// Replicates in the opposite direction (RE-01, RE-29).
    ///
    /// # Errors
    /// `only-through-plan` for a machine of a replication group (EX-R13).
    async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobId, CoreError> {
        unsupported("reprotect", request)
    }

    /// Replicates a failed-back Hyper-V machine to the cloud again, sending only what changed since the cloud
    /// machine was turned off (HF-17, HF-18).
    async fn reverse_replicate(&self, item: &ItemId) -> Result<JobId, CoreError> {
        unsupported("reverse_replicate", item)
    }

    /// Stores a recovery plan for use in both directions (PL-02).
    ///
    /// # Errors
    /// `plan-exists`; `plan-too-large`; `unknown-id` if an item is not protected; `bad-request` if there is no item,
    /// one occurs twice, a replication group is spread over several groups, machines of different kinds of pairs are
    /// mixed (EX-P1), or an action has no name or nothing to do.
    async fn create_plan(&self, plan: &RecoveryPlan) -> Result<(), CoreError> {
        unsupported("create_plan", plan)
    }

    /// Forgets a plan. Its items stay as they are.
    ///
    /// # Errors
    /// `unknown-id`; `busy` while a job of the plan runs.
    async fn delete_plan(&self, plan: &PlanId) -> Result<(), CoreError> {
        unsupported("delete_plan", plan)
    }

    /// All plans, by name.
    async fn plans(&self) -> Result<Vec<RecoveryPlan>, CoreError> {
        unsupported("plans", ())
    }

    /// Fails a plan over, or back (PL-01, PL-02, FO-15, HF-28). Machines already on the side it leads to are skipped.
    /// All others must be able to go, or the plan is refused and none is touched (FB-02); only an unplanned failover
    /// out goes on without those that cannot (EX-T6).
    ///
    /// # Errors
    /// `unknown-id`; `busy`; `bad-request` for a custom point (RP-10); `multi-vm-needs-group` for a choice that spans
    /// machines without a replication group in the plan (RP-07); else what the first machine that cannot go objects to.
    async fn failover_plan(&self, request: &PlanFailoverRequest) -> Result<JobId, CoreError> {
        unsupported("failover_plan", request)
    }

    /// Holds a test failover with all machines of a plan, group by group (PL-05, TF-05). Goes on to the end, as an unplanned
    /// failover does.
    ///
    /// # Errors
    /// As [`Self::failover_plan`]; refused only if no machine can take part.
    async fn test_failover_plan(&self, request: &PlanTestFailoverRequest) -> Result<JobId, CoreError> {
        unsupported("test_failover_plan", request)
    }

    /// Removes everything that a plan's test failover made. Machines without a test failover are skipped.
    ///
    /// # Errors
    /// `unknown-id`; `busy`, also if another job holds a machine with a test failover; what the first machine objects to if
    /// none has a test failover.
    async fn clean_up_test_failover_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        unsupported("clean_up_test_failover_plan", plan)
    }

    /// Commits every machine of a plan whose failover is not final yet; the others are skipped.
    ///
    /// # Errors
    /// `unknown-id`; `busy`, also if another job holds a machine to commit; what the first machine objects to if there
    /// is nothing to commit.
    async fn commit_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        unsupported("commit_plan", plan)
    }

    /// Replicates every machine of a plan that can be in the opposite direction: by reprotection, or by reverse
    /// replication where that is what the pair has (HF-17). The only way for a replication group (EX-R13).
    ///
    /// # Errors
    /// `unknown-id`; `busy`, also if another job holds a machine that could; `bad-request` for settings of an item that
    /// is not in the plan; what the first machine objects to if none can.
    async fn reprotect_plan(&self, request: &PlanReprotectRequest) -> Result<JobId, CoreError> {
        unsupported("reprotect_plan", request)
    }

    /// All jobs that fit, test failovers among them (MO-04), newest last.
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, CoreError> {
        unsupported("jobs", filter)
    }

    /// Does a job that failed again, under the same id (JO-03, RE-16). What it asks for is checked as at first. A
    /// plan's job does again what failed in it and goes on from there; what succeeded stays as it is.
    ///
    /// # Errors
    /// `unknown-id`; `not-allowed-in-state` unless it failed; `not-curable`; `moved-on` if another job than a test failover
    /// has worked on the item, or another job on the plan, since; `busy`; and whatever the operation itself is
    /// refused with.
    async fn retry_job(&self, job: &JobId) -> Result<(), CoreError> {
        unsupported("retry_job", job)
    }

    /// Tells a plan's job that the manual step it waits for is done (PL-04).
    ///
    /// # Errors
    /// `unknown-id`; `not-allowed-in-state` unless it waits for a manual step.
    async fn resume_job(&self, job: &JobId) -> Result<(), CoreError> {
        unsupported("resume_job", job)
    }

    /// Stops a failover, as [`Self::cancel_failover`] does, or a plan: nothing more of the plan is started, its
    /// machines that wait to be completed are cancelled, and those at work come to their end (JO-04).
    ///
    /// # Errors
    /// `unknown-id`; `not-allowed-in-state` if the job has ended or is of a kind that cannot be cancelled.
    async fn cancel_job(&self, job: &JobId) -> Result<(), CoreError> {
        unsupported("cancel_job", job)
    }

    /// One job.
    async fn job(&self, job: &JobId) -> Result<JobView, CoreError>;

    /// Returns as soon as the job's revision is above `after`, or the job has ended.
    async fn watch_job(&self, job: &JobId, after: u64) -> Result<JobView, CoreError>;

    /// Stops all work of this core; what is stored stays. Guests are not touched.
    async fn close(&self) -> Result<(), CoreError>;
}
