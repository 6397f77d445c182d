//! What is tested: a replication core.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Access, Component, ComponentId, ComponentKind, CoreError, Direction, GroupId, Health, ItemId, ItemView,
    JobFilter, JobId, JobView, MachineId, Millis, Network, Operation, PlanFailoverRequest, PlanId,
    PlanLimits, PlanReprotectRequest, PlanTestFailoverRequest, PointId, Policy, PolicyId, PolicyView,
    RecoveryPlan, SiteId, TargetSettings,
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

/// Begin to protect a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnableProtection {
    /// Name for the new item.
    pub item: ItemId,
    /// Where the machine runs.
    pub primary: SiteId,
    /// The machine.
    pub machine: MachineId,
    /// Where it shall be recoverable.
    pub recovery: SiteId,
    /// What it shall look like there.
    pub target: TargetSettings,
    /// How often and how long: a policy for machines of the primary site's platform.
    pub policy: PolicyId,
    /// The replication group it belongs to from the beginning; a group is made with its first machine and gone with
    /// its last (EX-R13).
    #[serde(default)]
    pub group: Option<GroupId>,
}

/// The verb of a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverKind {
    /// Goes on when the source cannot be shut down (FO-07).
    Unplanned,
    /// Refuses when the source cannot be shut down (PF-04).
    Planned,
}

/// When a failback to Hyper-V brings the data down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSync {
    /// While the cloud machine runs; then the job waits to be completed (HF-06 to HF-09).
    BeforeFailover,
    /// Everything, uncompared, while neither machine runs (HF-10, HF-11).
    DuringFailover,
}

/// Which recovery point (RP-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointChoice {
    /// Process everything received, then the newest point: lowest RPO (RP-02, RP-03).
    Latest,
    /// The newest point that is already processed: lowest RTO (RP-04).
    LatestProcessed,
    /// The newest processed point that was taken with the applications at rest (RP-06).
    LatestAppConsistent,
    /// The newest processed point that all machines of the group share; for plans (RP-07, RP-08).
    LatestMultiVm,
    /// The same, with the applications at rest (RP-09).
    LatestMultiVmAppConsistent,
    /// This very point of this very machine (RP-10).
    Custom(PointId),
}

/// A failover, in either direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverRequest {
    /// The item.
    pub item: ItemId,
    /// Verb.
    pub kind: FailoverKind,
    /// The direction the caller expects; a wrong one is refused (LC-08).
    pub direction: Direction,
    /// Which point.
    pub point: PointChoice,
    /// Shut the source down and transfer the last changes first (FO-06). Always done when planned, and when
    /// failing back (FB-06).
    pub shut_down_source: bool,
    /// How long the source may take to shut down.
    pub shutdown_within: Millis,
    /// Needed for a planned failover back to Hyper-V, and only there.
    #[serde(default)]
    pub data_sync: Option<DataSync>,
    /// Fail back to this host of the primary site instead of the original one; Hyper-V only (HF-22).
    #[serde(default)]
    pub alternate: Option<AlternateHost>,
    /// Needed if [`TargetSettings::encrypted_with`] names one (HF-14).
    #[serde(default)]
    pub certificate: Option<String>,
}

/// Another host to fail back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlternateHost {
    /// The host; prepared, and with a switch of the original one's name (HF-23, HF-24).
    pub host: ComponentId,
    /// Make the machine if there is none (HF-22).
    pub create_machine: bool,
}

/// A test failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestFailoverRequest {
    /// The item.
    pub item: ItemId,
    /// Which point (TF-03).
    pub point: PointChoice,
    /// The network for the test failover (TF-04); a production network is refused.
    pub network: Network,
}

/// Replicate in the opposite direction from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReprotectRequest {
    /// The item.
    pub item: ItemId,
    /// The direction replication shall take; a wrong one is refused.
    pub direction: Direction,
    /// Back to another site than the one the machine came from (FB-10); a physical server comes back as a machine of
    /// a VMware site, which must be named (PH-01). If there is no such machine it is made, and replicated in full
    /// (RE-05).
    #[serde(default)]
    pub failback_site: Option<SiteId>,
    /// The process server at the sending side (RE-25, RE-29). VMware and physical machines need it, regions do not.
    #[serde(default)]
    pub process_server: Option<ComponentId>,
    /// The master target at the site that receives; needed on the way back to VMware, as what follows (RE-25).
    #[serde(default)]
    pub master_target: Option<ComponentId>,
    /// Where disks go that have to be made. Needed, and ignored, if none has (RE-26).
    #[serde(default)]
    pub datastore: Option<ComponentId>,
    /// A retention drive of the master target (IN-04).
    #[serde(default)]
    pub retention_drive: Option<String>,
}

impl ReprotectRequest {
    /// A request that names nothing but the direction, which suffices between regions.
    #[must_use]
    pub fn new(item: &ItemId, direction: Direction) -> Self {
        Self {
            item: item.clone(),
            direction,
            failback_site: None,
            process_server: None,
            master_target: None,
            datastore: None,
            retention_drive: None,
        }
    }

    /// The same, with what a user would be offered first: a process server where the machine runs (`from`), and at
    /// the site that receives (`to`) the master target that came with the configuration server (IN-03), its first
    /// retention drive and its first datastore that can be written. What there is none of stays open.
    #[must_use]
    pub fn with_defaults(mut self, from: &[Component], to: &[Component]) -> Self {
        let server = from.iter().find(|component| component.kind == ComponentKind::ProcessServer);
        self.process_server = server.map(|server| server.id.clone());
        let mut targets: Vec<_> = to.iter().filter_map(|c| Some((&c.id, c.master_target()?))).collect();
        targets.sort_by_key(|(_, target)| !target.built_in);
        let Some((id, target)) = targets.first() else { return self };
        self.master_target = Some((*id).clone());
        self.retention_drive = target.retention_drives.first().cloned();
        let writable = target.mounts.iter().find(|mount| mount.access == Access::Write);
        self.datastore = writable.map(|mount| mount.datastore.clone());
        self
    }
}

/// A replication core. Calls that take time return a job at once; a refusal is returned instead of a job and
/// changes nothing (LC-02).
#[async_trait]
pub trait ReplicationCore: Send + Sync {
    /// What this core can do.
    async fn capabilities(&self) -> Result<Capabilities, CoreError>;

    /// Makes a policy, and with it the policy for the way back where that has one of its own (PO-01), named like it
    /// with `-failback` at the end.
    async fn create_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError>;

    /// Changes what a policy says, for every item under it from its next transfer on. A failback policy is read-only
    /// (PO-03).
    async fn update_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError>;

    /// Deletes a policy that no item uses, and the failback policy made with it.
    async fn delete_policy(&self, id: &PolicyId) -> Result<(), CoreError>;

    /// All policies.
    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError>;

    /// Begins to protect a machine: initial replication, then changes at the policy's interval.
    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError>;

    /// Ends protection: tracking off, points and replica gone, machines untouched.
    async fn disable_protection(&self, item: &ItemId) -> Result<JobId, CoreError>;

    /// Changes what the machine shall look like on the recovery side, until it fails over (FO-17).
    ///
    /// # Errors
    /// The item has failed over, or a job holds it.
    async fn update_target(&self, item: &ItemId, target: &TargetSettings) -> Result<ItemView, CoreError>;

    /// Looks for what would keep the item from failing over as it is configured, now rather than at the next regular
    /// time (MO-03); [`ItemView::issues`] holds what was found.
    async fn check_configuration(&self, item: &ItemId) -> Result<ItemView, CoreError>;

    /// One item.
    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError>;

    /// All items.
    async fn items(&self) -> Result<Vec<ItemView>, CoreError>;

    /// Returns as soon as the item has processed point number `count` in its current direction, counted from
    /// the start of replication in that direction, or cannot get there.
    ///
    /// # Errors
    /// Replication is not running, or failed on the way.
    async fn watch_points(&self, item: &ItemId, count: u64) -> Result<ItemView, CoreError>;

    /// Returns as soon as the item's health is another than `known` (MO-01).
    ///
    /// # Errors
    /// `unknown-id`, also if protection ends meanwhile.
    async fn watch_health(&self, item: &ItemId, known: Health) -> Result<ItemView, CoreError>;

    /// Fails over, or back.
    async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError>;

    /// Builds and starts a separate copy in an isolated network; replication goes on (TF-01 to TF-04).
    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError>;

    /// Removes everything a test failover made (TF-06).
    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError>;

    /// Lets a failback that waits after its data synchronisation go on to its second phase (HF-08, JO-02).
    async fn complete_failover(&self, item: &ItemId) -> Result<(), CoreError>;

    /// Stops the failover that runs or waits. Replication does not come back by itself (FO-12, JO-04).
    async fn cancel_failover(&self, item: &ItemId) -> Result<(), CoreError>;

    /// Builds the target from another point, between failover and commit (FO-02).
    async fn change_point(&self, item: &ItemId, point: &PointChoice) -> Result<JobId, CoreError>;

    /// Makes a failover final and deletes the recovery points (FO-03, FO-04). After a failback it also removes
    /// the cloud machine (FB-11).
    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError>;

    /// Replicates in the opposite direction (RE-01, RE-29).
    ///
    /// # Errors
    /// `only-through-plan` for a machine of a replication group (EX-R13).
    async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobId, CoreError>;

    /// Replicates a failed-back Hyper-V machine to the cloud again, sending only what changed since the cloud
    /// machine was turned off (HF-17, HF-18).
    async fn reverse_replicate(&self, item: &ItemId) -> Result<JobId, CoreError>;

    /// Stores a recovery plan for use in both directions (PL-02).
    ///
    /// # Errors
    /// `plan-exists`; `plan-too-large`; `unknown-id` if an item is not protected; `bad-request` if there is no item,
    /// one occurs twice, a replication group is spread over several groups, machines of different kinds of pairs are
    /// mixed (EX-P1), or an action has no name or nothing to do.
    async fn create_plan(&self, plan: &RecoveryPlan) -> Result<(), CoreError>;

    /// Forgets a plan. Its items stay as they are.
    ///
    /// # Errors
    /// `unknown-id`; `busy` while a job of the plan runs.
    async fn delete_plan(&self, plan: &PlanId) -> Result<(), CoreError>;

    /// All plans, by name.
    async fn plans(&self) -> Result<Vec<RecoveryPlan>, CoreError>;

    /// Fails a plan over, or back (PL-01, PL-02, FO-15, HF-28). Machines already on the side it leads to are skipped.
    /// All others must be able to go, or the plan is refused and none is touched (FB-02); only an unplanned failover
    /// out goes on without those that cannot (EX-T6).
    ///
    /// # Errors
    /// `unknown-id`; `busy`; `bad-request` for a custom point (RP-10); `multi-vm-needs-group` for a choice that spans
    /// machines without a replication group in the plan (RP-07); else what the first machine that cannot go objects to.
    async fn failover_plan(&self, request: &PlanFailoverRequest) -> Result<JobId, CoreError>;

    /// Holds a test failover with all machines of a plan, group by group (PL-05, TF-05). Goes on to the end, as an unplanned
    /// failover does.
    ///
    /// # Errors
    /// As [`Self::failover_plan`]; refused only if no machine can take part.
    async fn test_failover_plan(&self, request: &PlanTestFailoverRequest) -> Result<JobId, CoreError>;

    /// Removes everything that a plan's test failover made. Machines without a test failover are skipped.
    ///
    /// # Errors
    /// `unknown-id`; `busy`, also if another job holds a machine with a test failover; what the first machine objects to if
    /// none has a test failover.
    async fn clean_up_test_failover_plan(&self, plan: &PlanId) -> Result<JobId, CoreError>;

    /// Commits every machine of a plan whose failover is not final yet; the others are skipped.
    ///
    /// # Errors
    /// `unknown-id`; `busy`, also if another job holds a machine to commit; what the first machine objects to if there
    /// is nothing to commit.
    async fn commit_plan(&self, plan: &PlanId) -> Result<JobId, CoreError>;

    /// Replicates every machine of a plan that can be in the opposite direction: by reprotection, or by reverse
    /// replication where that is what the pair has (HF-17). The only way for a replication group (EX-R13).
    ///
    /// # Errors
    /// `unknown-id`; `busy`, also if another job holds a machine that could; `bad-request` for settings of an item that
    /// is not in the plan; what the first machine objects to if none can.
    async fn reprotect_plan(&self, request: &PlanReprotectRequest) -> Result<JobId, CoreError>;

    /// All jobs that fit, test failovers among them (MO-04), newest last.
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, CoreError>;

    /// Does a job that failed again, under the same id (JO-03, RE-16). What it asks for is checked as at first. A
    /// plan's job does again what failed in it and goes on from there; what succeeded stays as it is.
    ///
    /// # Errors
    /// `unknown-id`; `not-allowed-in-state` unless it failed; `not-curable`; `moved-on` if another job than a test failover
    /// has worked on the item, or another job on the plan, since; `busy`; and whatever the operation itself is
    /// refused with.
    async fn retry_job(&self, job: &JobId) -> Result<(), CoreError>;

    /// Tells a plan's job that the manual step it waits for is done (PL-04).
    ///
    /// # Errors
    /// `unknown-id`; `not-allowed-in-state` unless it waits for a manual step.
    async fn resume_job(&self, job: &JobId) -> Result<(), CoreError>;

    /// Stops a failover, as [`Self::cancel_failover`] does, or a plan: nothing more of the plan is started, its
    /// machines that wait to be completed are cancelled, and those at work come to their end (JO-04).
    ///
    /// # Errors
    /// `unknown-id`; `not-allowed-in-state` if the job has ended or is of a kind that cannot be cancelled.
    async fn cancel_job(&self, job: &JobId) -> Result<(), CoreError>;

    /// One job.
    async fn job(&self, job: &JobId) -> Result<JobView, CoreError>;

    /// Returns as soon as the job's revision is above `after`, or the job has ended.
    async fn watch_job(&self, job: &JobId, after: u64) -> Result<JobView, CoreError>;

    /// Stops all work of this core; what is stored stays. Guests are not touched.
    async fn close(&self) -> Result<(), CoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GuestOs, MasterTarget, Mount};

    fn part(id: &str, kind: ComponentKind) -> Component {
        Component { id: id.into(), connected: true, kind }
    }

    fn master_target(id: &str, built_in: bool, drives: &[&str]) -> Component {
        let mount = |datastore: &str, access| Mount { datastore: datastore.into(), access };
        part(
            id,
            ComponentKind::MasterTarget(MasterTarget {
                built_in,
                configuration_server: "server".into(),
                os: GuestOs::Linux,
                uuid: id.to_owned(),
                snapshots: 0,
                retention_drives: drives.iter().map(|drive| (*drive).to_owned()).collect(),
                mounts: vec![mount("only-read", Access::Read), mount("written", Access::Write)],
                disks: Vec::new(),
            }),
        )
    }

    #[test]
    fn a_request_offers_the_master_target_that_came_with_the_configuration_server() {
        let from = [part("link", ComponentKind::HostConnection), part("sends", ComponentKind::ProcessServer)];
        let to = [
            part("other", ComponentKind::ProcessServer),
            master_target("added", false, &["/a"]),
            master_target("own", true, &["/r", "/s"]),
        ];
        let bare = ReprotectRequest::new(&"item".into(), Direction::RecoveryToPrimary);
        let full = bare.clone().with_defaults(&from, &to);
        assert_eq!(full.process_server, Some("sends".into()));
        assert_eq!(full.master_target, Some("own".into()));
        assert_eq!(full.retention_drive.as_deref(), Some("/r"));
        assert_eq!(full.datastore, Some("written".into()));
        assert_eq!(bare.clone().with_defaults(&[], &[]), bare);
    }
}
