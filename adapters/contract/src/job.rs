//! Jobs: every operation that takes time is a job whose progress can be followed (FO-14, JO-01).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Bytes, CoreError, Direction, ItemId, JobId, Millis, PlanId, PlanProgress, Timestamp};

/// Kind of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Start of protection: initial replication.
    EnableProtection,
    /// End of protection.
    DisableProtection,
    /// Unplanned failover, in either direction.
    UnplannedFailover,
    /// Planned failover, in either direction.
    PlannedFailover,
    /// A test failover.
    TestFailover,
    /// Clean-up after a test failover.
    TestFailoverCleanup,
    /// Another recovery point before commit.
    ChangePoint,
    /// Commit.
    Commit,
    /// Start of replication in the opposite direction.
    Reprotect,
    /// Start of replication to the cloud after a failback (HF-17).
    ReverseReplicate,
    /// Comparison of the source with its replica.
    Verify,
}

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// In progress.
    InProgress,
    /// Data is synchronised; waiting for `complete_failover`, without a time limit (HF-08).
    WaitingForCompletion,
    /// A manual step of a plan is due; waiting for `resume_job`, without a time limit (PL-04).
    WaitingForManualAction,
    /// Completed successfully.
    Completed,
    /// Completed, but an optional step failed, such as shutting down the source (FO-07, LC-10). A
    /// plan's job also if the job of one of its machines ended so.
    CompletedWithWarning,
    /// A plan succeeded for some of its machines; other machines or actions failed (EX-T6).
    PartiallySucceeded,
    /// Failed.
    Failed,
    /// Cancelled on request, with the consequences of FO-12 and HF-19.
    Cancelled,
}

impl JobState {
    /// Whether the job has ended.
    #[must_use]
    pub fn ended(self) -> bool {
        !matches!(self, Self::InProgress | Self::WaitingForCompletion | Self::WaitingForManualAction)
    }
}

/// The subject of a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobSubject {
    /// One item.
    Item(ItemId),
    /// The machines of a recovery plan; each of them has a job of its own below this one.
    Plan(PlanId),
}

impl std::fmt::Display for JobSubject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Item(item) => write!(f, "item {item}"),
            Self::Plan(plan) => write!(f, "plan {plan}"),
        }
    }
}

/// A request to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobAction {
    /// `complete_failover` of its item: start the second phase (JO-02).
    Complete,
    /// `resume_job`: the manual step is done (PL-04).
    Resume,
    /// `cancel_job` (JO-04).
    Cancel,
    /// `retry_job`: the cause was repaired (JO-03).
    Retry,
}

/// Selects jobs. A job matches if it matches every field that is not `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobFilter {
    /// Jobs of this item.
    #[serde(default)]
    pub item: Option<ItemId>,
    /// Jobs of this plan, and those below them.
    #[serde(default)]
    pub plan: Option<PlanId>,
    /// Jobs below this one.
    #[serde(default)]
    pub parent: Option<JobId>,
    /// Jobs in this state.
    #[serde(default)]
    pub state: Option<JobState>,
    /// Jobs of this kind.
    #[serde(default)]
    pub kind: Option<JobKind>,
}

/// State of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// In progress.
    InProgress,
    /// Done.
    Done,
    /// Failed, but the job continued.
    Warning,
    /// Failed, and so did the job.
    Failed,
}

/// One step of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Name, such as `shut down source`; the same in every run. For steps that the rules ask for it
    /// is one of the constants below.
    pub name: String,
    /// State.
    pub state: StepState,
    /// When it started.
    pub started: Timestamp,
    /// How long it took; `None` while it is in progress.
    pub took: Option<Millis>,
    /// Additional information for people; may be empty.
    pub note: String,
    /// Progress, if it is known: bytes of disk processed so far, and in all.
    pub progress: Option<(Bytes, Bytes)>,
}

impl Step {
    /// The source is asked to shut down (FO-06, FO-07).
    pub const SHUT_DOWN_SOURCE: &'static str = "shut down source";
    /// The received data is made into recovery points (RP-02).
    pub const PROCESS_RECEIVED: &'static str = "process received data";
    /// Hydration of a target copy; present only if it is needed (HY-01 to HY-07, HY-09).
    pub const HYDRATE: &'static str = "hydrate";
    /// The snapshots of the machine on premises are merged (RE-09).
    pub const MERGE_SNAPSHOTS: &'static str = "merge snapshots";
    /// A new machine is created at the site of the failback (RE-05).
    pub const CREATE_MACHINE: &'static str = "create machine";
}

/// A job as reported by its core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// Its subject.
    pub subject: JobSubject,
    /// The plan's job that started it, if there is one.
    pub parent: Option<JobId>,
    /// Kind.
    pub kind: JobKind,
    /// Direction (LC-08).
    pub direction: Direction,
    /// State.
    pub state: JobState,
    /// Raised at every change, by one or more; see [`crate::ReplicationCore::watch_job`].
    pub revision: u64,
    /// Requests that are currently allowed (JO-02, JO-03, JO-04), in any order.
    pub actions: Vec<JobAction>,
    /// Number of the attempt, from 1; every retry increments it and starts the steps again (JO-03).
    pub attempt: u32,
    /// Progress of machines and actions, if it is a plan's job.
    pub plan: Option<PlanProgress>,
    /// Steps so far, in order. An ended job has at least one. Which steps there are besides those
    /// that [`Step`] names is up to the core.
    pub steps: Vec<Step>,
    /// Why it failed.
    pub error: Option<CoreError>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
}
