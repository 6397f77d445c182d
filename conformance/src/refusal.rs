//! What a core may answer to a request that a rule forbids, in both tiers.

use contract::{ErrorCode, ItemView, JobId};

/// Codes that say that an operation is not possible in a state.
pub(crate) const NOT_HERE: &[ErrorCode] = &[ErrorCode::NotAllowedInState, ErrorCode::NotSupported];

/// Codes by which a core refuses a test failover after the commit, which has deleted the points.
pub(crate) const NOT_HERE_OR_NO_POINTS: &[ErrorCode] =
    &[ErrorCode::NotAllowedInState, ErrorCode::NotSupported, ErrorCode::NoRecoveryPoint];

/// Codes by which a core refuses a failover of a machine that does not replicate: there is no point
/// to fail over to, and no direction in which the machine can fail over.
pub(crate) const UNPROTECTED: &[ErrorCode] = &[
    ErrorCode::NotAllowedInState,
    ErrorCode::NotSupported,
    ErrorCode::NoRecoveryPoint,
    ErrorCode::WrongDirection,
];

/// Codes by which a core refuses to change to a point after the commit, which has deleted it.
pub(crate) const NOT_HERE_OR_NO_POINT: &[ErrorCode] = &[
    ErrorCode::NotAllowedInState,
    ErrorCode::NotSupported,
    ErrorCode::NoRecoveryPoint,
    ErrorCode::PointExpired,
    ErrorCode::UnknownId,
];

/// Codes by which a core refuses a reprotection in the wrong direction that names no component: a
/// core may look at either first.
pub(crate) const WRONG_WAY_OR_INCOMPLETE: &[ErrorCode] = &[
    ErrorCode::WrongDirection,
    ErrorCode::ProcessServerNotGiven,
    ErrorCode::MasterTargetNotGiven,
    ErrorCode::RetentionDriveNotGiven,
    ErrorCode::DatastoreNotGiven,
];

/// An answer that may be the id of a job.
pub(crate) trait MayStartJob {
    /// The job that was started.
    fn job(&self) -> Option<&JobId>;
}

impl MayStartJob for JobId {
    fn job(&self) -> Option<&JobId> {
        (!self.0.is_empty()).then_some(self)
    }
}

impl MayStartJob for () {
    fn job(&self) -> Option<&JobId> {
        None
    }
}

impl MayStartJob for ItemView {
    fn job(&self) -> Option<&JobId> {
        None
    }
}
