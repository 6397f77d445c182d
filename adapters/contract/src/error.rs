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
