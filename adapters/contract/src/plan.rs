//! Recovery plans: which machines go together, in which order, and what is done between them (PL-01 to PL-08).
//!
//! A plan is a list of boot groups. Within a group all machines go at once; the next group begins once every machine
//! of the one before is started. Before and after a group there may be actions, done one by one in the order given.
//! One plan serves both directions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    CoreError, DataSync, Direction, FailoverKind, ItemId, JobId, MachineId, Millis, Network, PlanId,
    PointChoice, PointId, ReprotectRequest, Timestamp,
};

/// How large a plan may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLimits {
    /// Most boot groups.
    pub groups: u32,
    /// Most items over all groups.
    pub items: u32,
}

/// A recovery plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryPlan {
    /// Its name.
    pub id: PlanId,
    /// Boot groups, in order. An item is in one of them only (EX-P1).
    pub groups: Vec<PlanGroup>,
}

/// A boot group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanGroup {
    /// Its machines; all go at once. All members of a replication group are in the same group.
    pub items: Vec<ItemId>,
    /// Done before the first of them goes.
    #[serde(default)]
    pub before: Vec<PlanAction>,
    /// Done once all of them are started.
    #[serde(default)]
    pub after: Vec<PlanAction>,
}

/// Kind of a failover of a plan, for which an action may be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverType {
    /// Stops at the first error.
    Planned,
    /// Carries on to the end.
    Unplanned,
    /// A test failover; carries on to the end.
    Test,
}

/// Something to be done between machines (PL-03, PL-04). Commit, reprotection and the clean-up of a test failover do none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanAction {
    /// What people call it.
    pub name: String,
    /// Failovers for which it is done; empty means all (EX-P2).
    #[serde(default)]
    pub types: Vec<FailoverType>,
    /// Directions in which it is done; empty means both.
    #[serde(default)]
    pub directions: Vec<Direction>,
    /// What is done.
    pub work: ActionWork,
}

impl PlanAction {
    /// Whether it is meant for such a failover.
    #[must_use]
    pub fn is_due(&self, kind: FailoverType, direction: Direction) -> bool {
        let types = self.types.is_empty() || self.types.contains(&kind);
        types && (self.directions.is_empty() || self.directions.contains(&direction))
    }
}

/// What an action does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionWork {
    /// A program, run beside the core. It reads a [`ScriptContext`] as JSON from its standard input. It fails when it
    /// ends with anything but 0, writes anything to its standard error, or takes too long; it is killed then (EX-T6).
    Script {
        /// Path of the program, or a name to be found in `PATH`.
        program: String,
        /// Its arguments.
        #[serde(default)]
        arguments: Vec<String>,
        /// How long it may take.
        #[serde(default = "script_timeout")]
        timeout: Millis,
    },
    /// Something that a person does. The job waits for `resume_job`.
    Manual {
        /// What is to be done.
        instruction: String,
    },
}

/// How long a script may take unless it says otherwise: 600 s (EX-T6).
fn script_timeout() -> Millis {
    Millis(600_000)
}

/// What a script is told (EX-P3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptContext {
    /// The plan.
    pub plan: PlanId,
    /// Kind of the failover.
    pub failover_type: FailoverType,
    /// Which way it goes.
    pub direction: Direction,
    /// Number of the group, counted from 1.
    pub group: u32,
    /// Before or after the group.
    pub place: ActionPlace,
    /// How often the script is run in this job, counted from 1: more than once if it failed and the job was retried,
    /// or if the core was stopped while it ran.
    pub attempt: u32,
    /// Machines of the plan that are started so far, and only those; empty before the first group.
    pub machines: BTreeMap<ItemId, ScriptMachine>,
}

/// A machine that a plan has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptMachine {
    /// The machine, by its name on the side it was started on.
    pub machine: MachineId,
    /// The recovery point it was started from.
    pub point: Option<PointId>,
}

/// Where an action stands in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionPlace {
    /// Before the machines.
    Before,
    /// After them.
    After,
}

/// A failover of a whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFailoverRequest {
    /// The plan.
    pub plan: PlanId,
    /// Verb. Planned stops at the first error, unplanned carries on to the end (EX-T6).
    pub kind: FailoverKind,
    /// Which way. Machines that are on the side it leads to already are skipped (HF-28, EX-P1).
    pub direction: Direction,
    /// Which point of each machine; `custom` is refused (RP-10). `latest-multi-vm` sends each replication group of the
    /// plan to the latest moment that its machines share, and every other machine to its own latest processed point
    /// (RP-08, FB-05); `latest-multi-vm-app-consistent` does the same with points taken with the applications at
    /// rest (RP-09). Without a replication group in the plan both are refused (RP-07).
    pub point: PointChoice,
    /// As [`crate::FailoverRequest::shut_down_source`].
    pub shut_down_source: bool,
    /// How long each source may take to shut down.
    pub shutdown_within: Millis,
    /// As [`crate::FailoverRequest::data_sync`].
    #[serde(default)]
    pub data_sync: Option<DataSync>,
}

/// A test failover with a whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTestFailoverRequest {
    /// The plan.
    pub plan: PlanId,
    /// Which point of each machine, as in [`PlanFailoverRequest::point`].
    pub point: PointChoice,
    /// The network for the test failover; a production network is refused.
    pub network: Network,
}

/// Reprotection of a whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReprotectRequest {
    /// The plan.
    pub plan: PlanId,
    /// The direction replication shall take. Machines that cannot take it now are skipped.
    pub direction: Direction,
    /// Requests of machines that need more than a direction, at most one a machine.
    #[serde(default)]
    pub settings: Vec<ReprotectRequest>,
}

/// How far something of a plan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanState {
    /// Its turn has not come.
    Waiting,
    /// At work, or waiting for a person.
    InProgress,
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Not meant for this run, or nothing to do.
    Skipped,
}

/// How far a plan's job has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanProgress {
    /// Its machines, group by group.
    pub members: Vec<PlanMember>,
    /// Its actions, in their order.
    pub actions: Vec<PlanActionView>,
    /// Time spent waiting for people.
    pub manual: Millis,
    /// Time spent in scripts.
    pub scripts: Millis,
    /// From the job's beginning to its end without the two above, to compare with the RTO (PL-08). `None` until it
    /// has ended. With a retry it counts from the first attempt.
    pub took: Option<Millis>,
}

/// A machine in a plan's job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanMember {
    /// Its item.
    pub item: ItemId,
    /// Number of its group, counted from 1.
    pub group: u32,
    /// How far it has come.
    pub state: PlanState,
    /// Its own job, once it has one.
    pub job: Option<JobId>,
    /// Why it failed or was skipped.
    pub why: Option<CoreError>,
}

/// An action in a plan's job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanActionView {
    /// Its name.
    pub name: String,
    /// Number of its group, counted from 1.
    pub group: u32,
    /// Before or after the group.
    pub place: ActionPlace,
    /// How far it has come.
    pub state: PlanState,
    /// How often it was begun. More than once after a retry, or if the core was stopped in its midst.
    pub runs: u32,
    /// When it was begun last; a manual step, when it was first waited for.
    pub started: Option<Timestamp>,
    /// Why it failed.
    pub why: Option<CoreError>,
}
