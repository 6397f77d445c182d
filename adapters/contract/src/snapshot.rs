//! Snapshots of all disks of a machine, and the changes between two of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Bytes, ChangeId, DiskId, MachineId, SnapshotId, Timestamp};

/// Consistency of a recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Crash-consistent: as if the power had failed at that moment.
    Crash,
    /// Application-consistent: taken while the applications were quiesced (RP-19).
    App,
}

/// A request for snapshots of several machines at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotRequest {
    /// The machines, each with the moment since which its changes are wanted.
    pub machines: Vec<(MachineId, Option<ChangeId>)>,
    /// [`Consistency::App`]: the applications of all machines are quiesced and their file systems
    /// frozen first.
    pub consistency: Consistency,
}

/// A snapshot of all disks of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskSnapshot {
    /// Id with which to close it.
    pub id: SnapshotId,
    /// The moment of the snapshot, by the site's clock, which is read before the disks are frozen:
    /// everything that was durable at this moment is in the snapshot.
    pub taken_at: Timestamp,
    /// Id of this moment, for asking later what changed since.
    pub change_id: ChangeId,
    /// Every disk of the machine.
    pub disks: Vec<SnapshotDisk>,
    /// Why changes that were asked for are not available for every disk; `None` if they are.
    #[serde(default)]
    pub changes_unavailable: Option<ChangesUnavailable>,
}

/// Why a platform cannot report the changes since an earlier moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangesUnavailable {
    /// The change log was discarded because more had changed than it holds.
    LogFull,
    /// The record of changes did not survive a restart of the machine or of the component that kept
    /// it.
    RecordLost,
}

impl std::fmt::Display for ChangesUnavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LogFull => "more had changed than the change log holds",
            Self::RecordLost => "the record of changes was lost",
        })
    }
}

/// One disk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotDisk {
    /// The disk.
    pub id: DiskId,
    /// Size in bytes.
    pub size: Bytes,
    /// NBD URI to read it from.
    pub uri: String,
    /// NBD meta context in which flag 1 marks what changed since the given change id. `None`: not
    /// available, so the whole disk must be compared.
    pub changed: Option<String>,
}

/// What the platform does with its change tracking when a snapshot is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledge {
    /// The snapshot's changes reached their destination: the platform may forget the older change
    /// id.
    Advance,
    /// They did not: the next snapshot must be able to report everything since the older change id.
    Keep,
}
