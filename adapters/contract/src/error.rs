//! What can go wrong, with codes that stay the same from release to release.

use serde::{Deserialize, Serialize};

/// Stable reason why a core refused or failed. Tests and callers match on it, never on the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The operation is not allowed in the item's state (LC-02).
    NotAllowedInState,
    /// No such site, machine, item, point or job.
    UnknownId,
    /// The item has no recovery point that fits the request (LC-03, FB-01).
    NoRecoveryPoint,
    /// The named recovery point exists no more, or is outside the retention window (RP-14).
    PointExpired,
    /// The direction asked for is not the one the item can go (LC-08).
    WrongDirection,
    /// This core does not do that; its capabilities say so.
    NotSupported,
    /// Another job holds the item.
    Busy,
    /// The source could not be shut down and the request demands it (PF-04).
    ShutdownFailed,
    /// The request is malformed or a field is missing.
    BadRequest,
    /// The policy takes no application-consistent points (RP-06).
    AppConsistencyDisabled,
    /// A point of several machines is for plans with a replication group (RP-07).
    MultiVmNeedsGroup,
    /// A failback policy cannot be changed (PO-03).
    ReadOnly,
    /// Something else still uses it.
    InUse,
    /// The machine is already protected.
    AlreadyProtected,
    /// The target copy cannot be made to boot on the target platform (HY-08).
    HydrationFailed,
    /// The configuration server does not answer (RE-06).
    ConfigurationServerDisconnected,
    /// The machine is not in the configuration server's database (RE-07).
    MachineNotRegistered,
    /// The request names no process server (RE-25, RE-29).
    ProcessServerNotGiven,
    /// There is no such process server where the machine runs (IN-01).
    ProcessServerUnknown,
    /// The process server does not answer (IN-05).
    ProcessServerDisconnected,
    /// The private connection from cloud to premises is down, or there is none (IN-02).
    PrivateLinkDown,
    /// A port that failback needs does not pass; the sentence names it (RE-13).
    PortBlocked,
    /// The request names no master target (RE-25).
    MasterTargetNotGiven,
    /// There is no such master target at the site that receives (PH-02).
    MasterTargetUnknown,
    /// The master target does not answer (IN-05).
    MasterTargetDisconnected,
    /// The master target is another configuration server's (PO-05).
    MasterTargetForeign,
    /// The master target has another operating system than the machine (RE-11).
    MasterTargetWrongOs,
    /// There are snapshots of the master target (RE-08).
    MasterTargetHasSnapshots,
    /// The master target has the machine's own UUID (RE-17).
    UuidClash,
    /// The master target carries as many disks as it can (EX-B3).
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
    /// A host has a free licence, which allows no failback (RE-19).
    HostEditionFree,
    /// This release of the operating system cannot fail back from a physical server (RE-20).
    ReleaseNotSupported,
    /// The machine's migration was declared complete (RE-21).
    MachineMigrated,
    /// The cloud machine was moved to another resource group (RE-22).
    MachineMoved,
    /// The cloud machine was deleted (RE-23).
    CloudMachineGone,
    /// The cloud machine does not run (EX-B1).
    CloudMachineOff,
    /// A physical server needs a VMware site to come back to, and none was named (PH-02).
    FailbackSiteNotGiven,
    /// The site is of a kind to which this machine cannot fail back (PH-01).
    FailbackSiteUnfit,
    /// A machine of that name is there already, and is none of the item's (EX-B2).
    NameTaken,
    /// The connection to the Hyper-V host or VMM is down (HF-02).
    HostDisconnected,
    /// There is no such host (HF-22).
    HostUnknown,
    /// The host is not prepared to run machines (HF-24).
    HostNotPrepared,
    /// The host has no virtual switch of the original one's name (HF-23).
    SwitchMissing,
    /// The machine exists no more, and the request does not say that it shall be made (HF-22).
    MachineMissing,
    /// A Hyper-V machine cannot fail back from managed disks (HF-26).
    ManagedDisks,
    /// Data in the cloud is encrypted and the request brings no certificate (HF-14).
    CertificateNotGiven,
    /// The certificate is not the one data was encrypted with (HF-14).
    CertificateWrong,
    /// The target platform does not allow that name (FO-18).
    IllegalName,
    /// The target platform does not allow so many disks (FO-18).
    TooManyDisks,
    /// Machines of the replication group have different operating systems (RE-10).
    GroupMixesOs,
    /// Machines of the replication group have different master targets (RE-12).
    GroupMixesMasterTargets,
    /// A platform refused or failed.
    Platform,
    /// The job was cancelled (FO-12).
    Cancelled,
    /// A job failed for a reason that no retry cures: the same would be asked again in vain.
    NotCurable,
    /// Since the job failed another has worked on its item or plan; its retry would undo that.
    MovedOn,
    /// A plan of that name exists.
    PlanExists,
    /// A plan has more groups or more items than the capabilities allow (EX-P1).
    PlanTooLarge,
    /// A machine of a replication group goes only together with the others, through a plan (EX-R13).
    OnlyThroughPlan,
    /// A machine of a plan, or several, could not do their part.
    MemberFailed,
    /// A script of a plan failed: not started, ended non-zero, spoke on stderr, or took too long (EX-T6).
    ScriptFailed,
    /// The core's own store cannot be read or written.
    Store,
}

impl ErrorCode {
    /// Whether a job that failed with it may be retried, because what is wrong can be put right (JO-03, RE-16).
    #[must_use]
    pub fn is_curable(self) -> bool {
        // What is wrong with these is the request itself, or what it asks for is gone for good.
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

/// A core's refusal or failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct CoreError {
    /// Stable reason.
    pub code: ErrorCode,
    /// What was tried, what was found, what to do next.
    pub message: String,
}

impl CoreError {
    /// An error with this code and sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Kind of a platform's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformErrorKind {
    /// No such machine, volume, view or export.
    NotFound,
    /// The thing exists already.
    Exists,
    /// Not possible while the machine runs, or only while it runs.
    WrongPowerState,
    /// The site, its link or a component cannot be reached.
    Unreachable,
    /// A bounded wait ran out.
    TimedOut,
    /// No room left.
    Full,
    /// The platform has no such ability.
    Unsupported,
    /// The applications inside a guest could not be brought to rest.
    NotQuiesced,
    /// The account that the platform was given may not do that.
    Denied,
    /// Anything else; the sentence says what.
    Failed,
}

/// A platform's refusal or failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{site}: {message}")]
pub struct PlatformError {
    /// Where.
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
