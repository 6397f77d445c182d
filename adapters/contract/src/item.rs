//! Replicated items: their state and their recovery points.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Bytes, ChangeId, ChangesUnavailable, Consistency, DiskId, GroupId, GroupPointId, ItemId, JobId,
    MachineId, Network, NicSpec, Placement, PointId, PolicyView, Side, SiteId, Timestamp, VolumeId,
};

/// Phase of an item's cycle, independent of the active side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The first full copy is in progress; failover is not yet possible (LC-03).
    InitialReplication,
    /// Changes are being replicated and there are recovery points.
    Protected,
    /// The target was built and started; another point can still be chosen (LC-07).
    CommitPending,
    /// The failover is final; there is no replication in either direction (LC-05, LC-06).
    Committed,
    /// Replication was stopped and does not resume by itself (FO-12).
    Stopped,
}

/// The state of an item in its cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Protection {
    /// Phase.
    pub phase: Phase,
    /// The production side, whose machine runs (LC-04).
    pub active: Side,
}

/// An operation on an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// A failover that works without the source.
    UnplannedFailover,
    /// A failover that shuts the source down first and loses nothing.
    PlannedFailover,
    /// A test failover.
    TestFailover,
    /// Clean-up after a test failover.
    TestFailoverCleanup,
    /// The second phase of a failback that synchronises its data first (HF-08).
    CompleteFailover,
    /// Cancel a failover in progress or waiting.
    CancelFailover,
    /// Choose another recovery point before commit.
    ChangePoint,
    /// Make a failover final.
    Commit,
    /// Replicate in the opposite direction.
    Reprotect,
    /// Replicate to the cloud again after failback of a Hyper-V machine (HF-17).
    ReverseReplicate,
    /// Stop protection.
    DisableProtection,
    /// Compare the source with its replica on demand (FX-41 to FX-45).
    Verify,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 12] = [
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
        Self::Verify,
    ];
}

/// Health of replication (MO-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Replication meets its objective.
    Healthy,
    /// Replication is behind its objective, or has just begun to fail.
    Warning,
    /// There is no replication although there should be.
    Critical,
    /// No replication is expected.
    NotApplicable,
}

/// Whether there has been a test failover (MO-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TestFailoverStatus {
    /// No test failover has succeeded since the item became protected (FO-19).
    Recommended,
    /// At least one test failover has succeeded and was cleaned up.
    Performed,
    /// A test failover is currently impossible.
    NotApplicable,
}

/// A state of all disks of a machine to which it can fail over. Immutable until it is deleted
/// (RP-20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryPoint {
    /// The point.
    pub id: PointId,
    /// The moment of the state, by the source site's clock: that of the snapshot from which it was
    /// made. Everything that was durable at this moment is in the state.
    pub time: Timestamp,
    /// Consistency.
    pub consistency: Consistency,
    /// Whether it is built; a point that is still in the landing log is not (RP-04).
    pub processed: bool,
    /// The moment shared with points of other machines of the group; `None` if it was taken alone.
    pub multi_vm: Option<GroupPointId>,
    /// The source's id of the moment.
    pub change_id: ChangeId,
    /// Bytes of disk content transferred for it, as the core counts them.
    pub transferred: Bytes,
    /// The volume of each disk, in disk order; empty until it is processed.
    pub volumes: Vec<(DiskId, VolumeId)>,
}

impl RecoveryPoint {
    /// The largest piece in which differences are transferred where a rule asks for nothing else
    /// (RE-04): a piece that contains a difference is sent as a whole.
    pub const LARGEST_PIECE: Bytes = Bytes(64 * 1024);
}

/// A transfer without change information from the source: its disks were compared with the replica
/// chunk by chunk, and only differences were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resynchronisation {
    /// The moment of the transferred state, by the source site's clock.
    pub at: Timestamp,
    /// Why the source had no change information.
    pub why: ChangesUnavailable,
    /// Bytes of disk that were compared.
    pub compared: Bytes,
    /// Bytes of disk content that were sent.
    pub sent: Bytes,
}

/// The result of a verification: every disk of the source was read and compared with its replica,
/// without trust in change tracking or in allocation maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// The moment of the source's state that was compared, by the source site's clock.
    pub at: Timestamp,
    /// Bytes of disk that were compared.
    pub compared: Bytes,
    /// Bytes of disk that differed although the source had not reported them as changed, in pieces
    /// of any size up to [`RecoveryPoint::LARGEST_PIECE`]. 0: the replica lacked nothing.
    pub different: Bytes,
}

/// Settings of the target machine; they can be changed until failover (FO-17).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetSettings {
    /// Name of the machine on the recovery side.
    pub machine: MachineId,
    /// Memory in bytes; ignored if a size is given.
    pub memory: Bytes,
    /// Network. `None`: not yet chosen; the machine would start in the production network, and
    /// [`ItemView::issues`] reports that.
    #[serde(default)]
    pub network: Option<Network>,
    /// Resource group, size, availability set, kind of disks, subnet and address.
    #[serde(default)]
    pub placement: Placement,
    /// The certificate with which data in the cloud is encrypted; a failback request must contain
    /// it (HF-14).
    #[serde(default)]
    pub encrypted_with: Option<String>,
    /// Its further network cards, in the order in which the source has them (FX-65). A card of the
    /// source that is not listed is in the network of the first one, with everything else chosen by
    /// the platform. For a test failover all cards are in the network of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_nics: Vec<NicSpec>,
}

impl TargetSettings {
    /// A machine in the production network, with everything else chosen by the platform.
    #[must_use]
    pub fn new(machine: impl Into<MachineId>, memory: Bytes) -> Self {
        Self {
            machine: machine.into(),
            memory,
            network: Some(Network::Production),
            placement: Placement::default(),
            encrypted_with: None,
            more_nics: Vec::new(),
        }
    }
}

/// A problem in an item's configuration that would prevent a failover (MO-03).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationIssue {
    /// Kind of issue.
    pub class: IssueClass,
    /// The problem, and what to do.
    pub what: String,
}

/// Kind of configuration issue (MO-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IssueClass {
    /// A setting is missing.
    MissingConfiguration,
    /// A setting refers to a resource that does not exist.
    MissingResource,
    /// The quota of the subscription is not sufficient.
    SubscriptionQuota,
    /// Software is out of date.
    SoftwareUpdate,
}

/// An item as reported by its core (MO-06).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemView {
    /// The item.
    pub id: ItemId,
    /// State.
    pub protection: Protection,
    /// Health of its replication.
    pub health: Health,
    /// Why it is not healthy; empty if it is. Reasons for a warning are data older than the
    /// policy's threshold, a resynchronisation in progress, or a failure to take an
    /// application-consistent point.
    pub trouble: String,
    /// Site and machine on the primary side.
    pub primary: (SiteId, MachineId),
    /// Site and machine on the recovery side.
    pub recovery: (SiteId, MachineId),
    /// Operations that are currently allowed, in any order. While a job works on the item, they are
    /// at most those that are requests to this job: complete and cancel a failover.
    pub allowed: Vec<Operation>,
    /// The job that is working on the item, if there is one.
    pub job: Option<JobId>,
    /// Policy in force in the current direction.
    pub policy: PolicyView,
    /// Its replication group.
    pub group: Option<GroupId>,
    /// Points in the current direction that can be chosen, oldest first; those in the landing log
    /// come last.
    pub points: Vec<RecoveryPoint>,
    /// The point failed over to, from failover to commit.
    pub failed_over_to: Option<PointId>,
    /// The machine of a test failover that has not been cleaned up. Its name is the core's own.
    pub test_failover: Option<MachineId>,
    /// Whether there has been a test failover.
    pub test_failover_status: TestFailoverStatus,
    /// Whether a data synchronisation into the primary machine was interrupted: that machine must
    /// not be used until another failback has completed (HF-19, HF-20).
    pub synchronisation_incomplete: bool,
    /// Settings of the machine on the recovery side (FO-17).
    pub target: TargetSettings,
    /// Problems found by the last check of the configuration (MO-03), in any order.
    pub issues: Vec<ConfigurationIssue>,
    /// Transfers without change information since replication in the current direction started,
    /// oldest first. A core may drop old ones.
    #[serde(default)]
    pub resynchronisations: Vec<Resynchronisation>,
    /// The result of the last verification since replication in the current direction started.
    #[serde(default)]
    pub verification: Option<Verification>,
}
