//! Replicated items: where a machine is in its cycle, and the points it can go back to.

use serde::{Deserialize, Serialize};

use crate::{
    Bytes, ChangeId, ChangesUnavailable, DiskId, GroupId, GroupPointId, ItemId, JobId, MachineId, Network,
    Placement, PointId, PolicyView, SiteId, Timestamp, VolumeId,
};

/// A side of a protected pair. Sides never change; which one is active does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Where protection began.
    Primary,
    /// Where it fails over to.
    Recovery,
}

impl Side {
    /// The opposite side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Recovery,
            Self::Recovery => Self::Primary,
        }
    }
}

/// Which way a failover goes. A failback is a failover from the recovery side (LC-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Out: primary to recovery.
    PrimaryToRecovery,
    /// Back: recovery to primary.
    RecoveryToPrimary,
}

impl Direction {
    /// The direction that leaves `side`.
    #[must_use]
    pub fn from_side(side: Side) -> Self {
        match side {
            Side::Primary => Self::PrimaryToRecovery,
            Side::Recovery => Self::RecoveryToPrimary,
        }
    }
}

/// Where an item stands in its cycle, apart from the side it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The first full copy is under way; nothing to fail over to yet (LC-03).
    InitialReplication,
    /// Changes travel, recovery points exist.
    Protected,
    /// The target was built and started; the choice of point is still open (LC-07).
    CommitPending,
    /// The failover is final; nothing replicates in either direction (LC-05, LC-06).
    Committed,
    /// Replication was stopped and does not come back by itself (FO-12).
    Stopped,
}

/// Where an item stands in its cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Protection {
    /// Phase.
    pub phase: Phase,
    /// The production side: the one whose machine runs (LC-04).
    pub active: Side,
}

/// What can be asked of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Failover that does not need the source.
    UnplannedFailover,
    /// Failover that shuts the source down first and loses nothing.
    PlannedFailover,
    /// A test failover.
    TestFailover,
    /// The end of a test failover.
    TestFailoverCleanup,
    /// The second phase of a failback that synchronised first (HF-08).
    CompleteFailover,
    /// Stop a failover that runs or waits.
    CancelFailover,
    /// Another recovery point, before commit.
    ChangePoint,
    /// Make a failover final.
    Commit,
    /// Replicate in the opposite direction.
    Reprotect,
    /// Replicate to the cloud again after a failback of a Hyper-V machine (HF-17).
    ReverseReplicate,
    /// End protection.
    DisableProtection,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 11] = [
        Self::UnplannedFailover,
        Self::PlannedFailover,
        Self::TestFailover,
        Self::TestFailoverCleanup,
        Self::CompleteFailover,
        Self::CancelFailover,
        Self::ChangePoint,
        Self::Commit,
        Self::Reprotect,
        Self::ReverseReplicate,
        Self::DisableProtection,
    ];
}

/// How replication is doing (MO-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// As it should be.
    Healthy,
    /// Behind its objective.
    Warning,
    /// Not replicating although it should.
    Critical,
    /// Not expected to replicate.
    NotApplicable,
}

/// Whether a test failover has been held (MO-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestFailoverStatus {
    /// None has succeeded since the item became protected (FO-19).
    Recommended,
    /// At least one has succeeded and was cleaned up.
    Performed,
    /// None can be held now.
    NotApplicable,
}

/// How a recovery point was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As if the power had failed at that moment.
    Crash,
    /// With the applications at rest (RP-19).
    App,
}

/// A state of all disks of a machine that can be failed over to. Immutable until deleted (RP-20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryPoint {
    /// The point.
    pub id: PointId,
    /// The moment it shows, by the source site's clock.
    pub time: Timestamp,
    /// How it was taken.
    pub consistency: Consistency,
    /// Whether it is built; a point still in the landing log is not (RP-04).
    pub processed: bool,
    /// The moment it shares with points of other machines of its group; `None` if it was taken alone.
    pub multi_vm: Option<GroupPointId>,
    /// Name of the moment on the source.
    pub change_id: ChangeId,
    /// Bytes of disk content that travelled for it.
    pub transferred: Bytes,
    /// The volume of each disk, in disk order; empty until processed.
    pub volumes: Vec<(DiskId, VolumeId)>,
}

/// A transfer for which the source could not tell what had changed: its disks were compared with the replica chunk by
/// chunk, and only what differs was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resynchronisation {
    /// The moment of the source that was received so, by its site's clock.
    pub at: Timestamp,
    /// Why the source could not tell.
    pub why: ChangesUnavailable,
    /// Bytes of disk that were compared.
    pub compared: Bytes,
    /// Bytes of disk content that travelled.
    pub sent: Bytes,
}

/// What the target machine shall look like; may be changed until failover (FO-17).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSettings {
    /// Name of the machine on the recovery side.
    pub machine: MachineId,
    /// Memory in bytes; the size decides if one is named.
    pub memory: Bytes,
    /// Network. `None`: nobody has chosen one yet; the machine would come up in the production network, and
    /// [`ItemView::issues`] says so.
    #[serde(default)]
    pub network: Option<Network>,
    /// Resource group, size, availability set, kind of disks, subnet, address.
    #[serde(default)]
    pub placement: Placement,
    /// The certificate that data in the cloud is encrypted with; a failback must bring it (HF-14).
    #[serde(default)]
    pub encrypted_with: Option<String>,
}

impl TargetSettings {
    /// A machine in the production network, and all else as the platform chooses.
    #[must_use]
    pub fn new(machine: impl Into<MachineId>, memory: Bytes) -> Self {
        Self {
            machine: machine.into(),
            memory,
            network: Some(Network::Production),
            placement: Placement::default(),
            encrypted_with: None,
        }
    }
}

/// Something in an item's configuration that would keep it from failing over (MO-03).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationIssue {
    /// Kind of issue.
    pub class: IssueClass,
    /// What was found, and what to do.
    pub what: String,
}

/// Kind of configuration issue (MO-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssueClass {
    /// A setting that was never made.
    MissingConfiguration,
    /// A setting that names something which is not there.
    MissingResource,
    /// The subscription has not enough left.
    SubscriptionQuota,
    /// Software that is out of date.
    SoftwareUpdate,
}

/// An item as its core shows it (MO-06).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemView {
    /// The item.
    pub id: ItemId,
    /// State.
    pub protection: Protection,
    /// Health of its replication.
    pub health: Health,
    /// Why it is not healthy; empty if it is. A warning may be: data older than the policy's threshold, a
    /// resynchronisation under way, or an application-consistent point that could not be taken.
    pub trouble: String,
    /// Site and machine on the primary side.
    pub primary: (SiteId, MachineId),
    /// Site and machine on the recovery side.
    pub recovery: (SiteId, MachineId),
    /// What may be asked now.
    pub allowed: Vec<Operation>,
    /// The job that holds the item, if one does.
    pub job: Option<JobId>,
    /// Policy in force in the current direction.
    pub policy: PolicyView,
    /// Its replication group.
    pub group: Option<GroupId>,
    /// Points in the current direction that can be chosen, oldest first, those in the landing log last.
    pub points: Vec<RecoveryPoint>,
    /// The point failed over to, from failover to commit.
    pub failed_over_to: Option<PointId>,
    /// The machine of a test failover that was not cleaned up yet.
    pub test_failover: Option<MachineId>,
    /// Whether a test failover has been held.
    pub test_failover_status: TestFailoverStatus,
    /// A data synchronisation into the primary machine was broken off: that machine must not be used until
    /// another failback has completed (HF-19, HF-20).
    pub synchronisation_incomplete: bool,
    /// What the machine will look like on the recovery side (FO-17).
    pub target: TargetSettings,
    /// What was found at the last look at the configuration (MO-03).
    pub issues: Vec<ConfigurationIssue>,
    /// Transfers since replication in the current direction began for which the source could not tell what had changed,
    /// oldest first. A core may forget old ones.
    #[serde(default)]
    pub resynchronisations: Vec<Resynchronisation>,
}
