//! Errors of cores and platforms, with codes that are stable from release to release.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Stable reason for which a core refused or failed. Tests and callers match on it, never on the
/// message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The operation is not allowed in the item's state (LC-02).
    NotAllowedInState,
    /// No such site, machine, item, point or job.
    UnknownId,
    /// The item has no recovery point that fits the request (LC-03, FB-01).
    NoRecoveryPoint,
    /// The named recovery point was deleted, or is outside the retention window (RP-14).
    PointExpired,
    /// The requested direction is not the one in which the item can fail over (LC-08).
    WrongDirection,
    /// This core does not support the operation; see its capabilities.
    NotSupported,
    /// Another job is working on the item.
    Busy,
    /// The source could not be shut down, which the request requires (PF-04).
    ShutdownFailed,
    /// The request is malformed or a field is missing.
    BadRequest,
    /// The policy takes no application-consistent points (RP-06).
    AppConsistencyDisabled,
    /// A point shared by several machines can be chosen only for a plan with a replication group
    /// (RP-07).
    MultiVmNeedsGroup,
    /// A failback policy cannot be changed (PO-03).
    ReadOnly,
    /// The object is still in use.
    InUse,
    /// The machine is already protected.
    AlreadyProtected,
    /// The target copy cannot be made bootable on the target platform (HY-08).
    HydrationFailed,
    /// The configuration server does not answer (RE-06).
    ConfigurationServerDisconnected,
    /// The machine is not in the configuration server's database (RE-07).
    MachineNotRegistered,
    /// The request names no process server (RE-25, RE-29).
    ProcessServerNotGiven,
    /// There is no such process server at the machine's site (IN-01).
    ProcessServerUnknown,
    /// The process server does not answer (IN-05).
    ProcessServerDisconnected,
    /// The private connection from cloud to premises is down, or does not exist (IN-02).
    PrivateLinkDown,
    /// A port that failback needs is blocked; the message names it (RE-13).
    PortBlocked,
    /// The request names no master target (RE-25).
    MasterTargetNotGiven,
    /// There is no such master target at the receiving site (PH-02).
    MasterTargetUnknown,
    /// The master target does not answer (IN-05).
    MasterTargetDisconnected,
    /// The master target is registered with another configuration server (PO-05).
    MasterTargetForeign,
    /// The operating system of the master target differs from the machine's (RE-11).
    MasterTargetWrongOs,
    /// The master target has snapshots (RE-08).
    MasterTargetHasSnapshots,
    /// The master target has the same UUID as the machine (RE-17).
    UuidClash,
    /// No more disks can be attached to the master target (EX-B3).
    MasterTargetFull,
    /// The request names no retention drive (RE-25).
    RetentionDriveNotGiven,
    /// The master target has no such retention drive (IN-04).
    RetentionDriveUnknown,
    /// The request names no datastore (RE-25, RE-26).
    DatastoreNotGiven,
    /// There is no such datastore.
    DatastoreUnknown,
    /// The datastore is not mounted for writing on the master target's host (RE-28).
    DatastoreNotMounted,
    /// The account cannot list datastores (RE-15).
    DatastoresNotListed,
    /// vCenter does not answer (RE-14, IN-05).
    VcenterDisconnected,
    /// vCenter has not been discovered (RE-18).
    VcenterNotDiscovered,
    /// A host has a free licence, which does not allow failback (RE-19).
    HostEditionFree,
    /// This release of the operating system does not support failback from a physical server
    /// (RE-20).
    ReleaseNotSupported,
    /// The machine's migration was declared complete (RE-21).
    MachineMigrated,
    /// The cloud machine was moved to another resource group (RE-22).
    MachineMoved,
    /// The cloud machine was deleted (RE-23).
    CloudMachineGone,
    /// The cloud machine is off (EX-B1).
    CloudMachineOff,
    /// A physical server needs a VMware site to fail back to, and none was named (PH-02).
    FailbackSiteNotGiven,
    /// This machine cannot fail back to that kind of site (PH-01), or runs on that site already.
    FailbackSiteUnfit,
    /// A machine of that name exists already and does not belong to the item (EX-B2).
    NameTaken,
    /// The connection to the Hyper-V host or VMM is down (HF-02).
    HostDisconnected,
    /// There is no such host (HF-22).
    HostUnknown,
    /// The host is not prepared to run machines (HF-24).
    HostNotPrepared,
    /// The host has no virtual switch with the name of the original one (HF-23).
    SwitchMissing,
    /// The machine no longer exists, and the request does not ask for a new one (HF-22).
    MachineMissing,
    /// A Hyper-V machine cannot fail back from managed disks (HF-26).
    ManagedDisks,
    /// The data in the cloud is encrypted and the request contains no certificate (HF-14).
    CertificateNotGiven,
    /// The certificate is not the one with which the data was encrypted (HF-14).
    CertificateWrong,
    /// The target platform does not allow this name (FO-18).
    IllegalName,
    /// The target platform does not allow so many disks (FO-18).
    TooManyDisks,
    /// The machines of the replication group have different operating systems (RE-10).
    GroupMixesOs,
    /// The machines of the replication group have different master targets (RE-12).
    GroupMixesMasterTargets,
    /// A disk of the source has another size than its replica, which the core cannot change
    /// (EX-R12).
    DiskResized,
    /// A platform refused or failed.
    Platform,
    /// The job was cancelled (FO-12).
    Cancelled,
    /// A job failed for a reason that a retry cannot cure.
    NotCurable,
    /// Another job has worked on the item or plan since the job failed, and a retry would undo it.
    MovedOn,
    /// There is a plan of that name already.
    PlanExists,
    /// A plan has more groups or more items than the capabilities allow (EX-P1).
    PlanTooLarge,
    /// A machine of a replication group can do this only together with the others, through a plan
    /// (EX-R13).
    OnlyThroughPlan,
    /// One or more machines of a plan failed.
    MemberFailed,
    /// A script of a plan failed: it could not be started, exited with an error, wrote to standard
    /// error, or timed out (EX-T6).
    ScriptFailed,
    /// The core's store cannot be read or written.
    Store,
    /// The core gave no answer, or one that breaks the wire protocol; the message says which. The
    /// suite's side of a connection produces this code, and a core does not.
    Protocol,
}

impl ErrorCode {
    /// Whether a job that failed with this code may be retried, because the cause can be repaired
    /// (JO-03, RE-16).
    #[must_use]
    pub fn is_curable(self) -> bool {
        // In these cases the request itself is wrong, or its subject is gone for good.
        !matches!(
            self,
            Self::BadRequest
                | Self::Cancelled
                | Self::NotSupported
                | Self::PointExpired
                | Self::UnknownId
                | Self::WrongDirection
        )
    }
}

/// The refusal or failure of a core.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[error("{message}")]
pub struct CoreError {
    /// Stable reason.
    pub code: ErrorCode,
    /// What was tried, what was found, and what to do next.
    pub message: String,
}

impl CoreError {
    /// Creates an error.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Kind of a platform error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformErrorKind {
    /// No such machine, volume, snapshot or export.
    NotFound,
    /// The object exists already.
    Exists,
    /// Impossible in the machine's current power state.
    WrongPowerState,
    /// The site, the link to it, or a component cannot be reached.
    Unreachable,
    /// A time limit was exceeded.
    TimedOut,
    /// There is no space left.
    Full,
    /// The platform does not have this feature.
    Unsupported,
    /// The applications inside a guest could not be quiesced.
    NotQuiesced,
    /// The platform's account lacks the permission.
    Denied,
    /// Any other error; see the message.
    Failed,
}

/// The refusal or failure of a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[error("{site}: {message}")]
pub struct PlatformError {
    /// The site.
    pub site: String,
    /// Kind of failure.
    pub kind: PlatformErrorKind,
    /// What was tried and what was found.
    pub message: String,
}

impl From<PlatformError> for CoreError {
    fn from(error: PlatformError) -> Self {
        Self::new(ErrorCode::Platform, error.to_string())
    }
}
