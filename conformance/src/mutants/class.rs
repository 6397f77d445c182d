//! What kinds of faults there are.

use std::fmt;

/// The kind of fault that a mutant has. Products that replicate for disaster recovery have had
/// faults of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MutantClass {
    /// Replication ends although nobody asked for that.
    ReplicationStops,
    /// Changes of one transfer, or of one disk, never arrive.
    TransferSkipped,
    /// Changes that arrive last before a failover never arrive.
    LastTransferLost,
    /// Zeroes that a guest writes never arrive.
    ZeroesSkipped,
    /// The end of each change, or of each disk, is cut off.
    ShortTail,
    /// Data is not what the source wrote: stale, torn or altered.
    DataAltered,
    /// What was written is not made durable.
    WriteCacheIgnored,
    /// Data arrives at the wrong place, or twice.
    DataMisplaced,
    /// Disks are exchanged or missing.
    DisksSwapped,
    /// Another recovery point is used than the one that was asked for.
    WrongPoint,
    /// Machines of a group are not in the state of one moment, or in each other's.
    WrongGroupMember,
    /// Applications are not quiesced for an application-consistent point.
    QuiesceSkipped,
    /// A stored recovery point changes.
    PointModified,
    /// Recovery points are deleted too early or kept too long.
    PointsKeptOrDeleted,
    /// Recovery points are said to be newer than their data.
    RpoUnderstated,
    /// A test failover has effects outside its own machine, or leaves something behind.
    TestFailoverLeaks,
    /// Source and target run at once.
    BothSidesRun,
    /// A failover starts no machine.
    NothingBooted,
    /// A machine is started before its last data has arrived.
    BootedTooEarly,
    /// Hydration is missing, not shown, or done where it is not due.
    Hydration,
    /// Everything is transferred where only differences are due.
    SilentFullCopy,
    /// A replicated disk is written that is not the target's.
    ForeignDiskWritten,
    /// Times, amounts or states are reported that are not true.
    FalseReport,
    /// What was known or at work is lost when the core is closed and opened again.
    StateForgotten,
    /// What a commit or a clean-up has to remove is kept.
    CloudCopyKept,
    /// Replication goes on after a failover, a commit or a cancellation.
    ReplicationAfterEnd,
    /// A request is accepted whose precondition does not hold.
    PreconditionIgnored,
    /// A request is refused although its preconditions hold.
    PreconditionInvented,
    /// A refusal has the wrong reason, or changes something.
    UnsoundRefusal,
    /// A request is accepted and not carried out, or not as it was made.
    RequestIgnored,
    /// A recovery plan is not followed.
    PlanNotFollowed,
    /// Target settings or policies have no effect.
    SettingsIgnored,
    /// A target machine is not made as it has to be.
    WrongTarget,
}

impl MutantClass {
    /// The class as reports print it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::ReplicationStops => "replication stops",
            Self::TransferSkipped => "transfer skipped",
            Self::LastTransferLost => "last transfer lost",
            Self::ZeroesSkipped => "zeroes skipped",
            Self::ShortTail => "short tail",
            Self::DataAltered => "data altered",
            Self::WriteCacheIgnored => "write cache ignored",
            Self::DataMisplaced => "data misplaced",
            Self::DisksSwapped => "disks swapped",
            Self::WrongPoint => "wrong point",
            Self::WrongGroupMember => "wrong group member",
            Self::QuiesceSkipped => "quiesce skipped",
            Self::PointModified => "point modified",
            Self::PointsKeptOrDeleted => "points kept or deleted",
            Self::RpoUnderstated => "RPO understated",
            Self::TestFailoverLeaks => "test failover leaks",
            Self::BothSidesRun => "both sides run",
            Self::NothingBooted => "nothing booted",
            Self::BootedTooEarly => "booted too early",
            Self::Hydration => "hydration",
            Self::SilentFullCopy => "silent full copy",
            Self::ForeignDiskWritten => "foreign disk written",
            Self::FalseReport => "false report",
            Self::StateForgotten => "state forgotten",
            Self::CloudCopyKept => "cloud copy kept",
            Self::ReplicationAfterEnd => "replication after the end",
            Self::PreconditionIgnored => "precondition ignored",
            Self::PreconditionInvented => "precondition invented",
            Self::UnsoundRefusal => "unsound refusal",
            Self::RequestIgnored => "request ignored",
            Self::PlanNotFollowed => "plan not followed",
            Self::SettingsIgnored => "settings ignored",
            Self::WrongTarget => "wrong target",
        }
    }
}

impl fmt::Display for MutantClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words())
    }
}
