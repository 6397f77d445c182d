//! Recovery plans: which machines fail over together, in which order, and the actions between them
//! (PL-01 to PL-08).
//!
//! A plan is a list of boot groups. The machines of a group fail over at the same time; the next
//! group starts when every machine of the group before is started. Before and after a group there
//! may be actions, which run one after another in the given order. A plan is used in both
//! directions.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CoreError, DataSync, Direction, FailoverKind, ItemId, JobId, MachineId, Millis, Network, PlanId,
    PointChoice, PointId, ReprotectRequest, Timestamp,
};

/// Limits of the size of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanLimits {
    /// Largest number of boot groups.
    pub groups: u32,
    /// Largest number of items in all groups together.
    pub items: u32,
}

/// A recovery plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryPlan {
    /// Its name.
    pub id: PlanId,
    /// Boot groups, in order. An item is in only one of them (EX-P1).
    pub groups: Vec<PlanGroup>,
}

/// A boot group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanGroup {
    /// Its machines, which fail over at the same time. All members of a replication group are in
    /// the same boot group.
    pub items: Vec<ItemId>,
    /// Actions before its machines are started.
    #[serde(default)]
    pub before: Vec<PlanAction>,
    /// Actions after all its machines are started.
    #[serde(default)]
    pub after: Vec<PlanAction>,
}

/// Kind of a plan's failover, as a condition for actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverType {
    /// Planned: stops at the first error.
    Planned,
    /// Unplanned: continues after errors.
    Unplanned,
    /// A test failover: continues after errors.
    Test,
}

/// An action between machines (PL-03, PL-04). Commit, reprotection and the clean-up of a test
/// failover run no actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanAction {
    /// Its name, for people.
    pub name: String,
    /// Kinds of failover for which it runs; empty means all (EX-P2).
    #[serde(default)]
    pub types: Vec<FailoverType>,
    /// Directions in which it runs; empty means both.
    #[serde(default)]
    pub directions: Vec<Direction>,
    /// Its work.
    pub work: ActionWork,
}

impl PlanAction {
    /// Whether it runs for this kind of failover in this direction.
    #[must_use]
    pub fn is_due(&self, kind: FailoverType, direction: Direction) -> bool {
        let types = self.types.is_empty() || self.types.contains(&kind);
        types && (self.directions.is_empty() || self.directions.contains(&direction))
    }
}

/// The work of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActionWork {
    /// A program that runs beside the core. It reads a [`ScriptContext`] as JSON from its standard
    /// input. It fails if it exits with a code other than 0, writes to its standard error, or
    /// exceeds its time limit, in which case it is killed (EX-T6).
    Script {
        /// Path of the program, or a name to look up in `PATH`.
        program: String,
        /// Its arguments.
        #[serde(default)]
        arguments: Vec<String>,
        /// Time limit.
        #[serde(default = "script_timeout")]
        timeout: Millis,
    },
    /// A manual step. The job waits for `resume_job`.
    Manual {
        /// Instruction for the operator. The plan's job shows the action as in progress while it is
        /// due.
        instruction: String,
    },
}

/// Default time limit of a script: 600 s (EX-T6).
fn script_timeout() -> Millis {
    Millis(600_000)
}

/// The input of a script (EX-P3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptContext {
    /// The plan.
    pub plan: PlanId,
    /// Kind of the failover.
    pub failover_type: FailoverType,
    /// Direction of the failover.
    pub direction: Direction,
    /// Number of the group, counted from 1.
    pub group: u32,
    /// Whether it runs before or after the group.
    pub place: ActionPlace,
    /// Number of this run of the script in the job, from 1: it runs again if it failed and the job
    /// was retried, or if the core was stopped while it ran.
    pub attempt: u32,
    /// Machines of the plan that are started so far; empty before the first group.
    pub machines: BTreeMap<ItemId, ScriptMachine>,
}

/// A machine that was started by a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptMachine {
    /// The machine, by its name on the side where it was started.
    pub machine: MachineId,
    /// The recovery point from which it was started.
    pub point: Option<PointId>,
}

/// Position of an action in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActionPlace {
    /// Before the machines are started.
    Before,
    /// After the machines are started.
    After,
}

/// A failover of a whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanFailoverRequest {
    /// The plan.
    pub plan: PlanId,
    /// Planned stops at the first error, unplanned continues after errors (EX-T6).
    pub kind: FailoverKind,
    /// Direction. Machines that are already on the destination side are skipped (HF-28, EX-P1).
    pub direction: Direction,
    /// Choice of recovery point for each machine; `custom` is refused (RP-10). With
    /// `latest-multi-vm` each replication group in the plan fails over to the latest moment that
    /// its machines share, and every other machine to its own latest processed point (RP-08,
    /// FB-05). `latest-multi-vm-app-consistent` does the same with application-consistent points
    /// (RP-09). Without a replication group in the plan both are refused (RP-07).
    pub point: PointChoice,
    /// As [`crate::FailoverRequest::shut_down_source`].
    pub shut_down_source: bool,
    /// Time limit for the shutdown of each source.
    pub shutdown_within: Millis,
    /// As [`crate::FailoverRequest::data_sync`].
    #[serde(default)]
    pub data_sync: Option<DataSync>,
}

/// A test failover of a whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanTestFailoverRequest {
    /// The plan.
    pub plan: PlanId,
    /// Choice of recovery point for each machine, as in [`PlanFailoverRequest::point`].
    pub point: PointChoice,
    /// The network for the test failover; a production network is refused.
    pub network: Network,
}

/// Reprotection of a whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanReprotectRequest {
    /// The plan.
    pub plan: PlanId,
    /// Direction of replication. Machines that cannot be reprotected now are skipped.
    pub direction: Direction,
    /// Requests for machines that need more than a direction, at most one per machine.
    #[serde(default)]
    pub settings: Vec<ReprotectRequest>,
}

/// Progress of a machine or an action of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanState {
    /// Not yet started.
    Waiting,
    /// In progress, or waiting for a person.
    InProgress,
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Does not apply to this run, or there was nothing to do.
    Skipped,
}

/// Progress of a plan's job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanProgress {
    /// Its machines, group by group.
    pub members: Vec<PlanMember>,
    /// Its actions, in order.
    pub actions: Vec<PlanActionView>,
    /// Time spent waiting for manual steps.
    pub manual: Millis,
    /// Time spent in scripts.
    pub scripts: Millis,
    /// Duration of the job without the two times above, to compare with the RTO (PL-08). `None`
    /// until it has ended. After a retry it counts from the first attempt.
    pub took: Option<Millis>,
}

/// A machine in a plan's job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanMember {
    /// Its item.
    pub item: ItemId,
    /// Number of its group, counted from 1.
    pub group: u32,
    /// Progress.
    pub state: PlanState,
    /// Its own job, once there is one.
    pub job: Option<JobId>,
    /// Why it failed or was skipped.
    pub why: Option<CoreError>,
}

/// An action in a plan's job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanActionView {
    /// Its name.
    pub name: String,
    /// Number of its group, counted from 1.
    pub group: u32,
    /// Whether it runs before or after the group.
    pub place: ActionPlace,
    /// Progress.
    pub state: PlanState,
    /// How often it was started: more than once after a retry, or if the core was stopped while it
    /// ran.
    pub runs: u32,
    /// When it was last started; for a manual step, when waiting began.
    pub started: Option<Timestamp>,
    /// Why it failed.
    pub why: Option<CoreError>,
}
