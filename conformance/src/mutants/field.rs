//! The faults that products had at the sites that they drive, by name.

/// What a core that is sound otherwise does wrong at its sites, as products did that public reports
/// speak of. Which rules must break is in [`mutants`](super::mutants).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldFault {
    /// Merges no volume any more once a merge has failed.
    StuckMerge,
    /// Takes what could not be powered off or deleted for deleted.
    IgnoresDeletionErrors,
    /// Takes a machine for started whose start was refused.
    IgnoresStartErrors,
    /// Takes points for application-consistent whose applications could not be quiesced.
    LabelsUnquiesced,
    /// Goes by its memory of the machines that it has made.
    RemembersMachines,
    /// Takes the first disk for copied once a full copy was interrupted.
    ResumesWithHole,
    /// Removes the cloud machine when replication from it ends.
    EndsWithTheMachine,
    /// Removes a machine that has the name of one that it makes.
    ClearsTheWay,
    /// Takes the silence of a site for success.
    SilenceIsSuccess,
    /// Starts the machines of failovers from the disks of the point itself.
    RunsOnThePoint,
    /// Makes the machine that failed over like the old one when it replicates back.
    KeepsOldSide,
    /// Knows only the disks that a machine had at first.
    IgnoresNewDisk,
    /// Reads disks that have snapshots without what lies below the last one.
    ReadsTopOnly,
    /// Reads a clock that stands still when the host's goes back.
    ClockNeverGoesBack,
    /// Finds machines by their UUID.
    FindsByUuid,
    /// Takes its edits of the system disk back once a machine that it has started is off.
    TakesHydrationBack,
}
