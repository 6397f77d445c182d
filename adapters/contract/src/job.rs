//! Jobs: everything that takes time is one, and can be followed (FO-14, JO-01).

use serde::{Deserialize, Serialize};

use crate::{Bytes, CoreError, Direction, ItemId, JobId, Millis, Timestamp};

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
    /// A drill.
    TestFailover,
    /// The end of a drill.
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
    /// Ended well.
    Completed,
    /// Ended well, but a step that may fail did: a source that was not shut down (FO-07, LC-10).
    CompletedWithWarning,
    /// Ended without having done its work.
    Failed,
    /// Stopped by request, with the consequences of FO-12 and HF-19.
    Cancelled,
}

impl JobState {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn ended(self) -> bool {
        !matches!(self, Self::InProgress | Self::WaitingForCompletion)
    }
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
    /// What it does, such as `shut down source`; the same words in every run.
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

/// A job as its core shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// The item it works on.
    pub item: ItemId,
    /// What it does.
    pub kind: JobKind,
    /// Which way (LC-08).
    pub direction: Direction,
    /// State.
    pub state: JobState,
    /// Counts up with every change; see [`crate::ReplicationCore::watch_job`].
    pub revision: u64,
    /// Steps so far, in order.
    pub steps: Vec<Step>,
    /// Why it failed.
    pub error: Option<CoreError>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
}
