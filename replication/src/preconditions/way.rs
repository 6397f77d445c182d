//! Operations with preconditions, and when these are checked.

/// An operation with preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// A failover or a test failover from the primary side.
    Out,
    /// Reprotection of the machine in the cloud.
    ReprotectBack,
    /// Failback: a failover from the recovery side.
    Back,
    /// Reprotection of the machine on the primary side.
    ReprotectOut,
}

/// When a precondition is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Before a job exists: the operation is refused.
    Before,
    /// In the job's first step: the job fails and can be retried.
    InJob,
}
