//! The interface under test: a replication core.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CoreError, EnableProtection, ErrorCode, FailoverRequest, Health, ItemId, ItemView, JobFilter, JobId,
    JobView, Operation, PlanFailoverRequest, PlanId, PlanLimits, PlanReprotectRequest,
    PlanTestFailoverRequest, PointChoice, Policy, PolicyId, PolicyView, RecoveryPlan, ReprotectRequest,
    TargetSettings, TestFailoverRequest,
};

/// The abilities of a core. An operation that is missing here must be refused with `not-supported`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capabilities {
    /// Name and version of the core, for reports only.
    pub name: String,
    /// Supported operations.
    pub operations: Vec<Operation>,
    /// Limits of a recovery plan (EX-P1).
    pub plans: PlanLimits,
    /// Whether it changes the registry of Windows machines where hydration, a failover from VMware
    /// or a failback asks for it (FO-16, FB-15, FX-70, FX-71). Left out, it is false.
    #[serde(default)]
    pub windows_registry: bool,
    /// Whether it recovers every network card of a machine that has more than one (FX-65). Left
    /// out, it is false: the core recovers the first, and no rule judges what becomes of others.
    #[serde(default)]
    pub several_nics: bool,
}

/// The refusal of an operation that a core does not implement.
fn unsupported<T>(operation: &str, _asked: impl Sized) -> Result<T, CoreError> {
    Err(CoreError::new(ErrorCode::NotSupported, format!("this core does not implement {operation}")))
}

/// A replication core. An operation that takes time returns the id of a job immediately. An
/// operation that is not allowed is refused, or its job fails; both change nothing (LC-02). The
/// [crate's documentation](crate#what-is-left-open) says what else is left to a core.
///
/// A core leaves out the methods that it does not support: their default implementation refuses
/// with `not-supported`.
#[async_trait]
pub trait ReplicationCore: Send + Sync {
    /// Returns the abilities of this core.
    async fn capabilities(&self) -> Result<Capabilities, CoreError>;

    /// Creates a policy. If its kind of pair has a failback policy (PO-01), that is created with
    /// it; its name is the policy's with `-failback` appended.
    async fn create_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        unsupported("create_policy", (id, policy))
    }

    /// Changes a policy. The change applies to all items under it, from their next transfer on. A
    /// failback policy is read-only (PO-03).
    async fn update_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        unsupported("update_policy", (id, policy))
    }

    /// Deletes a policy that no item uses, and its failback policy (FX-49).
    ///
    /// # Errors
    /// `in-use` while an item uses the policy; `read-only` for a failback policy.
    async fn delete_policy(&self, id: &PolicyId) -> Result<(), CoreError> {
        unsupported("delete_policy", id)
    }

    /// Returns all policies, in any order.
    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        unsupported("policies", ())
    }

    /// Starts to protect a machine: initial replication, then transfers of changes at the policy's
    /// interval.
    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError>;

    /// Stops protection: change tracking is turned off, recovery points and replica are deleted,
    /// machines are left alone.
    async fn disable_protection(&self, item: &ItemId) -> Result<JobId, CoreError> {
        unsupported("disable_protection", item)
    }

    /// Changes the settings of the machine on the recovery side; allowed until failover (FO-17).
    ///
    /// # Errors
    /// The item has failed over, or a job is working on it.
    async fn update_target(&self, item: &ItemId, target: &TargetSettings) -> Result<ItemView, CoreError> {
        unsupported("update_target", (item, target))
    }

    /// Checks immediately, instead of at the next regular time, whether the item's configuration
    /// would prevent a failover (MO-03); the result is in [`ItemView::issues`].
    async fn check_configuration(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        unsupported("check_configuration", item)
    }

    /// Returns an item.
    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError>;

    /// Returns all items, in any order.
    async fn items(&self) -> Result<Vec<ItemView>, CoreError> {
        unsupported("items", ())
    }

    /// Waits until the item has processed recovery point number `count` in its current direction,
    /// counted from the start of replication in that direction, or until that has become
    /// impossible.
    ///
    /// # Errors
    /// Replication is not running, or failed meanwhile.
    async fn watch_points(&self, item: &ItemId, count: u64) -> Result<ItemView, CoreError> {
        unsupported("watch_points", (item, count))
    }

    /// Waits until the item's health differs from `known` (MO-01). It may return earlier with an
    /// unchanged view; the caller then waits again.
    ///
    /// # Errors
    /// `unknown-id`, also if protection ends meanwhile.
    async fn watch_health(&self, item: &ItemId, known: Health) -> Result<ItemView, CoreError> {
        unsupported("watch_health", (item, known))
    }

    /// Fails over or back.
    async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError>;

    /// Builds and starts a separate copy in an isolated network; replication continues (TF-01 to
    /// TF-04).
    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        unsupported("test_failover", request)
    }

    /// Removes everything that a test failover created (TF-06).
    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError> {
        unsupported("clean_up_test_failover", item)
    }

    /// Starts the second phase of a failback that is waiting after its data synchronisation (HF-08,
    /// JO-02).
    async fn complete_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        unsupported("complete_failover", item)
    }

    /// Cancels the failover in progress or waiting. Replication does not resume by itself (FO-12,
    /// JO-04).
    async fn cancel_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        unsupported("cancel_failover", item)
    }

    /// Rebuilds the target from another recovery point; allowed between failover and commit
    /// (FO-02).
    async fn change_point(&self, item: &ItemId, point: &PointChoice) -> Result<JobId, CoreError> {
        unsupported("change_point", (item, point))
    }

    /// Makes a failover final and deletes the recovery points (FO-03, FO-04). After a failback it
    /// also removes the cloud machine (FB-11).
    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError>;

    /// Starts replication in the opposite direction (RE-01, RE-29).
    ///
    /// # Errors
    /// `only-through-plan` for a machine of a replication group (EX-R13).
    async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobId, CoreError> {
        unsupported("reprotect", request)
    }

    /// Replicates a Hyper-V machine to the cloud again after failback, sending only what changed
    /// since the cloud machine was turned off (HF-17, HF-18).
    async fn reverse_replicate(&self, item: &ItemId) -> Result<JobId, CoreError> {
        unsupported("reverse_replicate", item)
    }

    /// Compares every disk of the source with its replica, for errors of change tracking that the
    /// source does not report; allowed while the item replicates. The job reads all of the source,
    /// at one moment, and all of the replica, whatever change tracking and allocation maps say.
    ///
    /// When the job has ended, [`ItemView::verification`] says what it found (FX-41, FX-42), which
    /// does not make the job fail. What differed is repaired by a recovery point: every point of a
    /// moment at or after [`Verification::at`](crate::Verification::at) has the source's content
    /// (FX-44, FX-45). Earlier points are left as they are (FX-43).
    async fn verify(&self, item: &ItemId) -> Result<JobId, CoreError> {
        unsupported("verify", item)
    }

    /// Stores a recovery plan, which can be used in both directions (PL-02).
    ///
    /// # Errors
    /// `plan-exists`; `plan-too-large`; `unknown-id` if an item is not protected; `bad-request` if
    /// the plan has no item, an item occurs twice, a replication group is spread over several boot
    /// groups, the plan mixes different kinds of pairs (EX-P1), or an action has no name or no
    /// work.
    async fn create_plan(&self, plan: &RecoveryPlan) -> Result<(), CoreError> {
        unsupported("create_plan", plan)
    }

    /// Deletes a plan. Its items are not affected.
    ///
    /// # Errors
    /// `unknown-id`; `busy` while a job of the plan runs.
    async fn delete_plan(&self, plan: &PlanId) -> Result<(), CoreError> {
        unsupported("delete_plan", plan)
    }

    /// Returns all plans, ordered by name.
    async fn plans(&self) -> Result<Vec<RecoveryPlan>, CoreError> {
        unsupported("plans", ())
    }

    /// Fails a plan over or back (PL-01, PL-02, FO-15, HF-28). Machines that are already on the
    /// destination side are skipped. If any other machine cannot fail over, the plan is refused and
    /// no machine is touched (FB-02), except that an unplanned failover to the recovery side
    /// continues without such machines (EX-T6).
    ///
    /// # Errors
    /// `unknown-id`; `busy`; `bad-request` for a custom point (RP-10); `multi-vm-needs-group` for a
    /// choice of point that spans machines if no replication group is in the plan (RP-07);
    /// otherwise the error of the first machine that cannot fail over.
    async fn failover_plan(&self, request: &PlanFailoverRequest) -> Result<JobId, CoreError> {
        unsupported("failover_plan", request)
    }

    /// Runs a test failover of all machines of a plan, group by group (PL-05, TF-05). It continues
    /// after an error, as an unplanned failover does.
    ///
    /// # Errors
    /// As [`Self::failover_plan`], but refused only if no machine can take part.
    async fn test_failover_plan(&self, request: &PlanTestFailoverRequest) -> Result<JobId, CoreError> {
        unsupported("test_failover_plan", request)
    }

    /// Removes everything that a plan's test failover created. Machines without a test failover are
    /// skipped.
    ///
    /// # Errors
    /// `unknown-id`; `busy`, also if another job is working on a machine that has a test failover;
    /// the error of the first machine if no machine has one.
    async fn clean_up_test_failover_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        unsupported("clean_up_test_failover_plan", plan)
    }

    /// Commits every machine of a plan whose failover is not final; other machines are skipped.
    ///
    /// # Errors
    /// `unknown-id`; `busy`, also if another job is working on a machine that would be committed;
    /// the error of the first machine if there is nothing to commit.
    async fn commit_plan(&self, plan: &PlanId) -> Result<JobId, CoreError> {
        unsupported("commit_plan", plan)
    }

    /// Starts replication in the opposite direction for every machine of a plan that is ready for
    /// it: by reprotection, or by reverse replication for the pairs that use it (HF-17). A
    /// replication group can be reprotected only in this way (EX-R13).
    ///
    /// # Errors
    /// `unknown-id`; `busy`, also if another job is working on a machine that is ready;
    /// `bad-request` for settings of an item that is not in the plan; the error of the first
    /// machine if no machine is ready.
    async fn reprotect_plan(&self, request: &PlanReprotectRequest) -> Result<JobId, CoreError> {
        unsupported("reprotect_plan", request)
    }

    /// Returns all jobs that match, including test failovers (MO-04), newest last.
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, CoreError> {
        unsupported("jobs", filter)
    }

    /// Runs a failed job again under the same id (JO-03, RE-16). Its request is checked again. A
    /// plan's job repeats only what failed and continues from there.
    ///
    /// # Errors
    /// `unknown-id`; `not-allowed-in-state` unless it failed; `not-curable`; `moved-on` if since
    /// then another job, other than a test failover, has worked on the item, or another job on the
    /// plan; `busy`; and every error with which the operation itself is refused.
    async fn retry_job(&self, job: &JobId) -> Result<(), CoreError> {
        unsupported("retry_job", job)
    }

    /// Reports that the manual step is done for which a plan's job is waiting (PL-04).
    ///
    /// # Errors
    /// `unknown-id`; `not-allowed-in-state` unless the job is waiting for a manual step.
    async fn resume_job(&self, job: &JobId) -> Result<(), CoreError> {
        unsupported("resume_job", job)
    }

    /// Cancels a failover, as [`Self::cancel_failover`] does, or a plan: no further work of the
    /// plan is started, its machines that are waiting for completion are cancelled, and those in
    /// progress are finished (JO-04).
    ///
    /// # Errors
    /// `unknown-id`; `not-allowed-in-state` if the job has ended or is of a kind that cannot be
    /// cancelled.
    async fn cancel_job(&self, job: &JobId) -> Result<(), CoreError> {
        unsupported("cancel_job", job)
    }

    /// Returns a job. By default: what [`Self::watch_job`] returns at once, because the first
    /// revision of a job is at least 1.
    async fn job(&self, job: &JobId) -> Result<JobView, CoreError> {
        self.watch_job(job, 0).await
    }

    /// Waits until the job's revision is above `after`, or the job has ended. It may return earlier
    /// with an unchanged view; the caller then waits again.
    async fn watch_job(&self, job: &JobId, after: u64) -> Result<JobView, CoreError>;

    /// Stops all work of this core. Stored state is kept, and guests are not touched. By default
    /// there is nothing to stop.
    async fn close(&self) -> Result<(), CoreError> {
        Ok(())
    }
}
