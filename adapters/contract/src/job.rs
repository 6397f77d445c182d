//! Jobs: everything that takes time is one, and can be followed (FO-14, JO-01).

use serde::{Deserialize, Serialize};

use crate::{Bytes, CoreError, Direction, ItemId, JobId, Millis, PlanId, PlanProgress, Timestamp};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Protection begins: initial replication.
    EnableProtection,
    /// Protection ends.
    DisableProtection,
    /// Unplanned failover, in either direction.
    UnplannedFailover,
    /// Planned failover, in either direction.
    PlannedFailover,
    /// A test failover.
    TestFailover,
    /// The end of a test failover.
    TestFailoverCleanup,
    /// Another point before commit.
    ChangePoint,
    /// Commit.
    Commit,
    /// Replication in the opposite direction begins.
    Reprotect,
    /// Replication to the cloud begins again after a failback (HF-17).
    ReverseReplicate,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// At work.
    InProgress,
    /// Data is synchronised; waits for `complete_failover` for as long as it takes (HF-08).
    WaitingForCompletion,
    /// A manual step of a plan is due; waits for `resume_job` for as long as it takes (PL-04).
    WaitingForManualAction,
    /// Ended well.
    Completed,
    /// Ended well, but a step that may fail did: a source that was not shut down (FO-07, LC-10).
    CompletedWithWarning,
    /// A plan's work is done for some of its machines, and the rest or an action failed (EX-T6).
    PartiallySucceeded,
    /// Ended without having done its work.
    Failed,
    /// Stopped by request, with the consequences of FO-12 and HF-19.
    Cancelled,
}

impl JobState {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn ended(self) -> bool {
        !matches!(self, Self::InProgress | Self::WaitingForCompletion | Self::WaitingForManualAction)
    }
}

/// What a job works on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// What can be said to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobAction {
    /// `complete_failover` of its item: the second phase may begin (JO-02).
    Complete,
    /// `resume_job`: the manual step is done (PL-04).
    Resume,
    /// `cancel_job` (JO-04).
    Cancel,
    /// `retry_job`: the reason is cured (JO-03).
    Retry,
}

/// Which jobs to list. What is `None` is not asked about; all that is asked must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Jobs that stand so.
    #[serde(default)]
    pub state: Option<JobState>,
    /// Jobs that do this.
    #[serde(default)]
    pub kind: Option<JobKind>,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// At work.
    InProgress,
    /// Done.
    Done,
    /// Failed, and the job went on as it must.
    Warning,
    /// Failed, and the job with it.
    Failed,
}

/// One step of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it does, such as `shut down source`; the same words in every run. Where rules ask for a step, its words are
    /// the constants below.
    pub name: String,
    /// State.
    pub state: StepState,
    /// When it began.
    pub started: Timestamp,
    /// How long it took; `None` while at work.
    pub took: Option<Millis>,
    /// What is worth knowing; empty if nothing.
    pub note: String,
    /// How far it has come, where that can be told: bytes of disk gone through, of how many.
    pub progress: Option<(Bytes, Bytes)>,
}

impl Step {
    /// The source is asked to shut down (FO-06, FO-07).
    pub const SHUT_DOWN_SOURCE: &'static str = "shut down source";
    /// What was received is made into points (RP-02).
    pub const PROCESS_RECEIVED: &'static str = "process received data";
    /// The extra processing of a target copy; it is there only if it is due (HY-01 to HY-07, HY-09).
    pub const HYDRATE: &'static str = "hydrate";
    /// Snapshots of the machine on premises are merged (RE-09).
    pub const MERGE_SNAPSHOTS: &'static str = "merge snapshots";
    /// The machine is made anew at the site that it comes back to (RE-05).
    pub const CREATE_MACHINE: &'static str = "create machine";
}

/// A job as its core shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// What it works on.
    pub subject: JobSubject,
    /// The job of the plan that began it, if one did.
    pub parent: Option<JobId>,
    /// What it does.
    pub kind: JobKind,
    /// Which way (LC-08).
    pub direction: Direction,
    /// State.
    pub state: JobState,
    /// Counts up with every change; see [`crate::ReplicationCore::watch_job`].
    pub revision: u64,
    /// What may be said to it now (JO-02, JO-03, JO-04).
    pub actions: Vec<JobAction>,
    /// Counted from 1; every retry is one more and begins the steps anew (JO-03).
    pub attempt: u32,
    /// How far its machines and actions have come, if it is a plan's.
    pub plan: Option<PlanProgress>,
    /// Steps so far, in order.
    pub steps: Vec<Step>,
    /// Why it failed.
    pub error: Option<CoreError>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
}
